// SPDX-License-Identifier: GPL-2.0
/* The module's counters, and the trace events of the same. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "counters.h"
#include "module.h"
#include "processor.h"
#include "trace.h"

#define DEBUGFS		"/sys/kernel/debug"
#define FPU_EVENTS	XFD_TRACE_INSTANCE "/events/x86_fpu/x86_fpu_guest_xfd_"

const char * const xfd_counter_names[XFD_NR_COUNTERS] = {
	[XFD_VCPUS]		 = "vcpus",
	[XFD_EXITS]		 = "exits",
	[XFD_EXITS_WITHOUT_SAVE] = "exits_without_save",
	[XFD_LOADS]		 = "loads",
	[XFD_SAVES]		 = "saves",
	[XFD_SAVES_SWITCH]	 = "saves_switch",
	[XFD_SAVES_USERSPACE]	 = "saves_userspace",
	[XFD_SAVES_TASK]	 = "saves_task",
	[XFD_SAVES_SOFTIRQ]	 = "saves_softirq",
	[XFD_SAVES_HARDIRQ]	 = "saves_hardirq",
	[XFD_SAVES_ACCESS]	 = "saves_access",
	[XFD_SAVES_STRATEGY]	 = "saves_strategy",
	[XFD_SAVES_DORMANT]	 = "saves_dormant",
	[XFD_RDMSR_XFD]		 = "rdmsr_xfd",
	[XFD_RDMSR_XFD_ERR]	 = "rdmsr_xfd_err",
	[XFD_WRMSR_XFD]		 = "wrmsr_xfd",
	[XFD_WRMSR_XFD_ERR]	 = "wrmsr_xfd_err",
};

const char *xfd_counters_summary(void)
{
	return DEBUGFS "/xfd_switch/summary";
}

/* KVM names a VM by the process that has created it, and by its file there. */
const char *xfd_counters_of_vm(struct kvm_vm *vm)
{
	static char path[128];

	snprintf(path, sizeof(path), DEBUGFS "/kvm/%d-%d/xfd_switch", getpid(), vm->fd);
	return path;
}

const char *xfd_counters_of_vcpu(struct kvm_vcpu *vcpu)
{
	static char path[128];

	snprintf(path, sizeof(path), DEBUGFS "/kvm/%d-%d/vcpu%u/xfd_switch", getpid(),
		 vcpu->vm->fd, vcpu->id);
	return path;
}

struct xfd_counters xfd_counters_read(const char *path)
{
	struct xfd_counters c = {};
	char line[128], name[64];
	FILE *f = fopen(path, "r");
	int i = 0;

	TEST_ASSERT(f, "cannot open %s, errno = %d", path, errno);
	while (fgets(line, sizeof(line), f)) {
		TEST_ASSERT(i < XFD_NR_COUNTERS &&
			    sscanf(line, "%63s %ld\n", name, (long *)&c.of[i]) == 2 &&
			    !strcmp(name, xfd_counter_names[i]),
			    "%s: not the line for %s: %s", path,
			    i < XFD_NR_COUNTERS ? xfd_counter_names[i] : "the end", line);
		i++;
	}
	fclose(f);
	TEST_ASSERT(i == XFD_NR_COUNTERS, "%s has %d lines", path, i);
	return c;
}

struct xfd_counters xfd_counters_minus(struct xfd_counters a, struct xfd_counters b)
{
	int i;

	for (i = 0; i < XFD_NR_COUNTERS; i++)
		a.of[i] -= b.of[i];
	return a;
}

/* Of this thread alone, wherever it is interrupted. */
static void watch(const char *event, const char *condition)
{
	char path[160], filter[160];

	snprintf(filter, sizeof(filter), "common_pid == %ld%s", syscall(SYS_gettid), condition);
	snprintf(path, sizeof(path), "%s/filter", event);
	xfd_write_to(path, filter);
	snprintf(path, sizeof(path), "%s/enable", event);
	xfd_write_to(path, "1");
}

void xfd_observe_begin(void)
{
	static const char msrs[] = " && (msr == 0x1c4 || msr == 0x1c5)";

	watch(XFD_TRACE_INSTANCE "/events/kvm/kvm_exit", "");
	watch(FPU_EVENTS "load", "");
	watch(FPU_EVENTS "save", "");
	watch(XFD_TRACE_INSTANCE "/events/msr/read_msr", msrs);
	watch(XFD_TRACE_INSTANCE "/events/msr/write_msr", msrs);
	xfd_trace_begin();
}

/* Adds the saves of this reason, as the event calls it. */
static void add_save(struct xfd_counters *c, const char *why)
{
	int i;

	c->of[XFD_SAVES]++;
	for (i = XFD_SAVES_SWITCH; i <= XFD_SAVES_STRATEGY; i++) {
		if (!strcmp(xfd_counter_names[i] + strlen("saves_"), why)) {
			c->of[i]++;
			return;
		}
	}
	TEST_FAIL("saved for no known reason: %s", why);
}

#define VALUES	" xfd: %lx xfd_err: %lx in_use: %lx dormant: %lx host_xfd: %lx"

struct xfd_counters xfd_observe_end(int cpu, struct xfd_counters *accesses)
{
	unsigned long xfd, xfd_err, in_use, dormant, host_xfd;
	FILE *f = xfd_trace_end_open(cpu);
	struct xfd_counters c = {};
	struct xfd_access a;
	char line[512], why[32];
	const char *p;

	memset(accesses, 0, sizeof(*accesses));
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#')
			continue;
		if (xfd_trace_is_access(line, &a)) {
			bool err = a.msr == MSR_IA32_XFD_ERR;

			accesses->of[a.write ? XFD_WRMSR_XFD + err : XFD_RDMSR_XFD + err]++;
			continue;
		}
		if (strstr(line, " kvm_exit: ")) {
			c.of[XFD_EXITS]++;
			continue;
		}
		p = strstr(line, "_guest_xfd_save: why: ");
		if (p) {
			TEST_ASSERT(sscanf(p, "_guest_xfd_save: why: %31s" VALUES, why, &xfd,
					   &xfd_err, &in_use, &dormant, &host_xfd) == 6,
				    "not a save: %s", line);
			add_save(&c, why);
			c.of[XFD_SAVES_DORMANT] += !!dormant;
		} else {
			p = strstr(line, "_guest_xfd_load: ");
			TEST_ASSERT(p && sscanf(p, "_guest_xfd_load:" VALUES, &xfd, &xfd_err,
						&in_use, &dormant, &host_xfd) == 5,
				    "not an event that was asked for: %s", line);
			c.of[XFD_LOADS]++;
		}
		TEST_ASSERT(dormant == (xfd & in_use), "dormant is in use: %s", line);
		/* The MSRs go from the one value to the other. */
		c.of[XFD_WRMSR_XFD] += xfd != host_xfd;
		c.of[XFD_WRMSR_XFD_ERR] += !!xfd_err;
	}
	fclose(f);
	c.of[XFD_EXITS_WITHOUT_SAVE] = c.of[XFD_EXITS] - c.of[XFD_SAVES];
	c.of[XFD_RDMSR_XFD] = c.of[XFD_SAVES];
	c.of[XFD_RDMSR_XFD_ERR] = c.of[XFD_SAVES];
	return c;
}
