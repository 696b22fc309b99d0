// SPDX-License-Identifier: GPL-2.0
/* The host's CPUs and their MSRs. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "cpu.h"
#include "kvm_util.h"
#include "processor.h"

int xfd_cpu(int nr)
{
	cpu_set_t set;
	int cpu;

	TEST_ASSERT(!sched_getaffinity(0, sizeof(set), &set), "sched_getaffinity() failed");
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &set) && !nr--)
			return cpu;
	}
	return -1;
}

static int open_online(int cpu)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return open(path, O_WRONLY);
}

bool xfd_cpu_can_go_offline(int cpu)
{
	int fd = open_online(cpu);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

bool xfd_cpu_set_online(int cpu, bool online)
{
	int fd = open_online(cpu);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, online ? "1" : "0", 1) == 1;
	close(fd);
	return done;
}

static int open_msrs(int cpu, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
	return open(path, flags);
}

bool xfd_rdmsr_on_cpu(int cpu, u32 msr, u64 *value)
{
	int fd = open_msrs(cpu, O_RDONLY);
	bool done;

	if (fd < 0)
		return false;
	done = pread(fd, value, sizeof(*value), msr) == sizeof(*value);
	close(fd);
	return done;
}

bool xfd_wrmsr_on_cpu(int cpu, u32 msr, u64 value)
{
	int fd = open_msrs(cpu, O_WRONLY);
	bool done;

	if (fd < 0)
		return false;
	done = pwrite(fd, &value, sizeof(value), msr) == sizeof(value);
	close(fd);
	return done;
}

void xfd_check_cpu_xfd_err(int cpu)
{
	u64 value;

	if (xfd_rdmsr_on_cpu(cpu, MSR_IA32_XFD_ERR, &value))
		TEST_ASSERT_EQ(value, 0ull);
}

void xfd_check_host_msrs(u64 xfd)
{
	int cpu = sched_getcpu();
	u64 value;
	int i;

	/*
	 * It takes a system call to read XFD, and if the thread is preempted in
	 * there it sees another thread's: then try again.
	 */
	for (i = 0; i < 5; i++) {
		xfd_check_cpu_xfd_err(cpu);
		if (!xfd_rdmsr_on_cpu(cpu, MSR_IA32_XFD, &value) || value == xfd)
			return;
	}
	TEST_FAIL("XFD is 0x%lx in user mode, not 0x%lx", value, xfd);
}
