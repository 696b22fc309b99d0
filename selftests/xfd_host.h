/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the XFD tests do on the host: permission for AMX, running a table of
 * named subtests as TAP, running a vCPU, and the tasks that disturb it.
 */
#ifndef SELFTESTS_XFD_HOST_H
#define SELFTESTS_XFD_HOST_H

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest.h"
#include "xfd.h"

/* What a guest passes to GUEST_SYNC() never collides with it. */
#define XFD_GUEST_DONE		(~0ull)

/* Taint bits that a WARN and an oops set. */
#define XFD_TAINT_DIE		BIT(7)
#define XFD_TAINT_WARN		BIT(9)

struct xfd_test {
	const char *name;
	void (*fn)(const void *arg);
	const void *arg;
};

static inline u64 xfd_taint(void)
{
	u64 taint = 0;
	FILE *f = fopen("/proc/sys/kernel/tainted", "r");

	if (f) {
		if (fscanf(f, "%lu", &taint) != 1)
			taint = 0;
		fclose(f);
	}
	return taint & (XFD_TAINT_DIE | XFD_TAINT_WARN);
}

static inline __noreturn void xfd_skip(const char *why)
{
	printf("skipped: %s\n", why);
	fflush(stdout);
	_exit(KSFT_SKIP);
}

/*
 * Run one subtest in a process of its own, so that a failed assertion of the
 * library, which exits, and a hang cost only this one.  What it prints becomes
 * TAP diagnostics ahead of its result.  Returns its KSFT_* code.
 */
static inline int xfd_run_one(const struct xfd_test *t, unsigned int seconds)
{
	u64 taint = xfd_taint();
	int fds[2], status;
	char line[512];
	pid_t pid;
	FILE *out;

	TEST_ASSERT(!pipe(fds), "pipe() failed, errno = %d", errno);
	fflush(stdout);

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		alarm(seconds);
		t->fn(t->arg);
		fflush(stdout);
		_exit(KSFT_PASS);
	}

	close(fds[1]);
	out = fdopen(fds[0], "r");
	TEST_ASSERT(out, "fdopen() failed, errno = %d", errno);
	while (fgets(line, sizeof(line), out))
		ksft_print_msg("%s%s", line, strchr(line, '\n') ? "" : "\n");
	fclose(out);

	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed, errno = %d", errno);
	if (xfd_taint() & ~taint) {
		ksft_print_msg("%s: the host kernel printed a warning or an oops\n", t->name);
		return KSFT_FAIL;
	}
	if (WIFSIGNALED(status)) {
		if (WTERMSIG(status) == SIGALRM)
			ksft_print_msg("%s: hung for %u s\n", t->name, seconds);
		else
			ksft_print_msg("%s: killed by signal %d\n", t->name, WTERMSIG(status));
		return KSFT_FAIL;
	}
	return WEXITSTATUS(status);
}

static inline void xfd_report(const struct xfd_test *t, int code)
{
	if (code == KSFT_PASS)
		ksft_test_result_pass("%s\n", t->name);
	else if (code == KSFT_SKIP)
		ksft_test_result_skip("%s\n", t->name);
	else
		ksft_test_result_fail("%s\n", t->name);
}

/*
 * Permission for XTILEDATA in guests (@guest) and in host tasks; a reason why
 * not, or NULL.  Must precede anything that reads KVM's supported CPUID.
 */
static inline const char *xfd_require_amx(void)
{
	const int nr = ilog2(XFD_TILEDATA);
	u64 supported = 0;
	struct kvm_device_attr attr = {
		.attr = KVM_X86_XCOMP_GUEST_SUPP,
		.addr = (unsigned long)&supported,
	};
	u32 eax, ebx, ecx, edx;
	int fd, ret;

	__cpuid(0xd, 1, &eax, &ebx, &ecx, &edx);
	if (!(eax & BIT(4)))
		return "the CPU has no XFD: CPUID.(0DH,1).EAX[4]=0";
	__cpuid(0xd, nr, &eax, &ebx, &ecx, &edx);
	if (!(ecx & BIT(2)))
		return "the CPU has no XFD for XTILEDATA: CPUID.(0DH,18).ECX[2]=0";

	fd = open(KVM_DEV_PATH, O_RDWR);
	if (fd < 0)
		return "cannot open /dev/kvm";
	ret = ioctl(fd, KVM_GET_DEVICE_ATTR, &attr);
	close(fd);
	if (ret || !(supported & XFD_TILEDATA))
		return "KVM does not offer XTILEDATA to guests (KVM_X86_XCOMP_GUEST_SUPP)";

	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, nr))
		return "no permission for XTILEDATA in guests (ARCH_REQ_XCOMP_GUEST_PERM)";
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, nr))
		return "no permission for XTILEDATA in this process (ARCH_REQ_XCOMP_PERM)";
	if (!kvm_cpu_has(X86_FEATURE_XFD))
		return "KVM does not show XFD to guests";
	return NULL;
}

/* Run to the guest's next GUEST_SYNC(); returns its argument, or XFD_GUEST_DONE. */
static inline u64 xfd_vcpu_run(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	for (;;) {
		vcpu_run(vcpu);
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_SYNC:
			return uc.args[1];
		case UCALL_PRINTF:
			printf("%s", uc.buffer);
			break;
		case UCALL_DONE:
			return XFD_GUEST_DONE;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("Unknown ucall %lu", uc.cmd);
		}
	}
}

/* Where a global of the guest's image lies in this process. */
#define xfd_guest_ptr(vm, g)	addr_gva2hva(vm, (gva_t)&(g))

/* The @nr-th CPU that this process may run on, or -1. */
static inline int xfd_cpu(int nr)
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

static inline long xfd_involuntary_switches(void)
{
	struct rusage ru;

	TEST_ASSERT(!getrusage(RUSAGE_THREAD, &ru), "getrusage() failed");
	return ru.ru_nivcsw;
}

/*
 * A busy task on one CPU, with tiles of its own if @amx, which it checks all
 * the time.  @progress, if set, is a counter in guest memory: a guest that
 * shares the CPU and sees it grow has been preempted within KVM_RUN by a task
 * that had its own tiles loaded.
 */
struct xfd_neighbour {
	int cpu;
	bool amx;
	u64 seed;
	u64 *progress;
	u64 rounds;
	u64 bytes_lost;
	bool stop;
	struct xfd_tiles *tiles;
	pthread_t thread;
};

static inline void *xfd_neighbour_fn(void *arg)
{
	struct xfd_neighbour *n = arg;

	pin_self_to_cpu(n->cpu);
	xfd_tiles_fill(n->tiles, n->seed);
	do {
		if (n->amx)
			xfd_tiles_use(n->tiles);
		/* About a quarter of a tick, with the tiles in use. */
		xfd_bytes_differ(n->tiles->want, n->tiles->want, XFD_TILES_BYTES / 2);
		if (n->amx)
			n->bytes_lost += xfd_tiles_lost(n->tiles);
		n->rounds++;
		if (n->progress)
			WRITE_ONCE(*n->progress, READ_ONCE(*n->progress) + 1);
	} while (!READ_ONCE(n->stop));
	if (n->amx)
		xfd_tilerelease();
	return NULL;
}

static inline void xfd_neighbour_start(struct xfd_neighbour *n)
{
	TEST_ASSERT(!posix_memalign((void **)&n->tiles, 4096, sizeof(*n->tiles)), "out of memory");
	TEST_ASSERT(!pthread_create(&n->thread, NULL, xfd_neighbour_fn, n),
		    "pthread_create() failed");
}

static inline void xfd_neighbour_stop(struct xfd_neighbour *n)
{
	WRITE_ONCE(n->stop, true);
	pthread_join(n->thread, NULL);
	free(n->tiles);
	TEST_ASSERT(!n->bytes_lost, "the host task lost %lu bytes of its own tiles in %lu rounds",
		    n->bytes_lost, n->rounds);
}

static inline void *xfd_first_use_fn(void *arg)
{
	struct xfd_neighbour *n = arg;

	pin_self_to_cpu(n->cpu);
	xfd_tiles_fill(n->tiles, n->seed);
	xfd_tiles_use(n->tiles);
	/* Let a guest have the CPU while these are in use. */
	usleep(5000);
	n->bytes_lost = xfd_tiles_lost(n->tiles);
	xfd_tilerelease();
	return NULL;
}

/* First use of tiles by a new thread on @cpu: a #NM of the host's. */
static inline void xfd_first_use(int cpu, u64 seed)
{
	struct xfd_neighbour n = { .cpu = cpu, .seed = seed };

	TEST_ASSERT(!posix_memalign((void **)&n.tiles, 4096, sizeof(*n.tiles)), "out of memory");
	TEST_ASSERT(!pthread_create(&n.thread, NULL, xfd_first_use_fn, &n), "pthread_create()");
	pthread_join(n.thread, NULL);
	TEST_ASSERT(!n.bytes_lost, "the host thread lost %lu bytes", n.bytes_lost);
	free(n.tiles);
}

/* Needs the msr driver, and returns false without it. */
static inline bool xfd_rdmsr_on_cpu(int cpu, u32 msr, u64 *value)
{
	char path[64];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	done = pread(fd, value, sizeof(*value), msr) == sizeof(*value);
	close(fd);
	return done;
}

/* No guest's XFD_ERR is on a CPU where no vCPU is in KVM_RUN. */
static inline void xfd_check_cpu_xfd_err(int cpu)
{
	u64 value;

	if (xfd_rdmsr_on_cpu(cpu, MSR_IA32_XFD_ERR, &value))
		TEST_ASSERT_EQ(value, 0ull);
}

/*
 * The MSRs of a thread in user mode, which stays on its CPU: XFD_ERR is 0, and
 * XFD is @xfd, the thread's own.  It takes a system call to read it, and if the
 * thread is preempted in there it sees another thread's: then try again.
 */
static inline void xfd_check_host_msrs(u64 xfd)
{
	int cpu = sched_getcpu();
	u64 value;
	int i;

	for (i = 0; i < 5; i++) {
		xfd_check_cpu_xfd_err(cpu);
		if (!xfd_rdmsr_on_cpu(cpu, MSR_IA32_XFD, &value) || value == xfd)
			return;
	}
	TEST_FAIL("XFD is 0x%lx in user mode, not 0x%lx", value, xfd);
}

#endif /* SELFTESTS_XFD_HOST_H */
