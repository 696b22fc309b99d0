// SPDX-License-Identifier: GPL-2.0
/*
 * What the module shows of itself: trace events, and counters in debugfs.  All of its
 * VMs must be attached.
 *
 * agree.<state>.<what>: a guest in that state (lib/state.h) does something, or the host
 * does it to the guest.  Whatever the strategy makes of it, the vCPU's counters have
 * grown by exactly what trace events tell of loads, saves and VM-exits, and of reads
 * and writes of the MSRs.  And the saves are for the reason that they should be.
 *
 *	vmcall		VM-exits that KVM handles
 *	userspace	exits to userspace
 *	preempt		another task has the CPU meanwhile
 *	fpu_task	the kernel uses the FPU in the vCPU's thread,
 *	fpu_softirq	in a softirq,
 *	fpu_hardirq	and in a hardirq
 *	access		KVM emulates RDMSR of XFD
 *
 * The last four are skipped where xfd_fpu_user.ko or forced emulation are not there.
 *
 * The rest is about the events of a vCPU's life, and about the files.
 */
#include <errno.h>

#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		60

#define VMCALLS		20
#define EXITS		5
#define FPU_USES	4
/* Of a guest, once more. */
#define RUNS		5
/* Events on a CPU, with room to spare. */
#define MAX_EVENTS	50000

static struct xfd_option options[] = {
	{ "fpu-user", "PATH", "xfd_fpu_user.ko, to be loaded" },
	{}
};

enum act { VMCALL, USERSPACE, PREEMPT, FPU_TASK, FPU_SOFTIRQ, FPU_HARDIRQ, ACCESS };

static struct control {
	u64 state;
	u64 what;
	/* The guest has seen what progress began with. */
	u64 waits;
	/* Written by xfd_neighbour, or when the kernel has used the FPU. */
	u64 progress;
} control;

static struct xfd_tiles tiles;

/* Exits all the time, until the host has done what it is to do. */
static void guest_wait(u64 times)
{
	u64 start = READ_ONCE(control.progress);

	WRITE_ONCE(control.waits, 1);
	while (READ_ONCE(control.progress) - start < times)
		xfd_vmcall();
}

static void guest_once(void)
{
	u64 value;
	int i;

	switch (control.what) {
	case VMCALL:
	case FPU_TASK:
		for (i = 0; i < VMCALLS; i++)
			xfd_vmcall();
		break;
	case USERSPACE:
		for (i = 0; i < EXITS; i++)
			GUEST_SYNC(1);
		break;
	case PREEMPT:
		guest_wait(3);
		break;
	case FPU_SOFTIRQ:
	case FPU_HARDIRQ:
		guest_wait(1);
		break;
	case ACCESS:
		for (i = 0; i < EXITS; i++) {
			GUEST_ASSERT(!rdmsr_safe_fep(MSR_IA32_XFD, &value));
			GUEST_ASSERT_EQ(value, xfd_state_xfd(control.state));
		}
		break;
	}
}

static void guest(void)
{
	xfd_tiles_fill(&tiles, 1);
	/* Whatever the state, there is something to switch. */
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_state_enter(&tiles, control.state);
	for (;;) {
		GUEST_SYNC(0);
		guest_once();
	}
}

/* What a strategy makes of MSRs that would be live. */
enum maker { LIVE, SAVES, LISTS };

static enum maker maker(enum xfd_state state)
{
	if (xfd_strategy_is("autoload"))
		return LISTS;
	if (xfd_strategy_is("eager"))
		return SAVES;
	return xfd_strategy_is("xinuse") && xfd_state_xinuse(state) ? SAVES : LIVE;
}

/* A vCPU, and what was found out of it. */
struct agreement {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct control *c;
	/* By its counters, by trace events of loads and saves, and by those of accesses. */
	struct xfd_counters got, traced, accesses;
	enum xfd_state state;
	enum maker maker;
};

FIXTURE(agree) {
	struct agreement a;
};

XFD_FIXTURE_STATES(agree);

FIXTURE_SETUP(agree)
{
	xfd_trace_setup(MAX_EVENTS);
	self->a.state = variant->state;
	self->a.maker = maker(variant->state);
	self->a.vm = vm_create_with_one_vcpu(&self->a.vcpu, guest);
	self->a.c = xfd_guest_ptr(self->a.vm, control);
	self->a.c->state = variant->state;
	xfd_vm_expect(self->a.vm, xfd_expect);
}

FIXTURE_TEARDOWN(agree)
{
	kvm_vm_free(self->a.vm);
	xfd_trace_remove();
}

static void assert_same(enum xfd_counter i, struct xfd_counters *a, struct xfd_counters *b,
			const char *whose)
{
	TEST_ASSERT(a->of[i] == b->of[i], "%s: counted %ld, %s %ld", xfd_counter_names[i],
		    (long)a->of[i], whose, (long)b->of[i]);
}

/* The guest does @what, and comes to its next GUEST_SYNC(0). */
static void observe(struct agreement *a, enum act what)
{
	struct xfd_counters before;
	const char *path;
	int i;

	/* The neighbours are to be free of this. */
	pin_self_to_cpu(xfd_cpu(0));
	a->c->what = what;

	path = xfd_counters_of_vcpu(a->vcpu);
	before = xfd_counters_read(path);
	xfd_observe_begin();
	while (xfd_vcpu_run(a->vcpu))
		continue;
	a->traced = xfd_observe_end(xfd_cpu(0), &a->accesses);
	a->got = xfd_counters_minus(xfd_counters_read(path), before);

	for (i = 0; i < XFD_NR_COUNTERS; i++)
		assert_same(i, &a->got, &a->traced, "traced");
}

/* Nobody else in this thread reads either MSR, or writes XFD_ERR. */
static void assert_accesses(struct agreement *a)
{
	assert_same(XFD_RDMSR_XFD, &a->got, &a->accesses, "accessed");
	assert_same(XFD_RDMSR_XFD_ERR, &a->got, &a->accesses, "accessed");
	assert_same(XFD_WRMSR_XFD_ERR, &a->got, &a->accesses, "accessed");
}

/* All of the saves, of which there are @min or more, are for @why, but for exits to userspace. */
static void assert_saves(struct agreement *a, enum xfd_counter why, s64 min)
{
	const s64 *of = a->got.of;
	s64 dormant = a->state == XFD_DORMANT ? of[XFD_SAVES] : 0;
	int i;

	if (a->maker == LISTS) {
		TEST_ASSERT_EQ(of[XFD_SAVES] + of[XFD_LOADS], 0);
		return;
	}
	TEST_ASSERT_EQ(of[XFD_SAVES_DORMANT], dormant);
	if (a->maker == SAVES) {
		/* Before anybody else can.  KVM's fast path is not left for each exit. */
		TEST_ASSERT_EQ(of[XFD_SAVES_STRATEGY], of[XFD_SAVES]);
		TEST_ASSERT(of[XFD_SAVES] >= min, "%ld saves", (long)of[XFD_SAVES]);
		return;
	}
	TEST_ASSERT(of[why] >= min, "%s: %ld", xfd_counter_names[why], (long)of[why]);
	for (i = XFD_SAVES_SWITCH; i <= XFD_SAVES_STRATEGY; i++) {
		/* The host's scheduler takes the CPU away whenever it likes. */
		if (i != why && i != XFD_SAVES_USERSPACE && i != XFD_SAVES_SWITCH)
			TEST_ASSERT(!of[i], "%s: %ld", xfd_counter_names[i], (long)of[i]);
	}
}

TEST_F_TIMEOUT(agree, vmcall, TIMEOUT)
{
	xfd_vcpu_run(self->a.vcpu);
	observe(&self->a, VMCALL);
	assert_accesses(&self->a);
	assert_saves(&self->a, XFD_SAVES_USERSPACE, 1);
	if (self->a.maker == LIVE)
		TEST_ASSERT(self->a.got.of[XFD_EXITS_WITHOUT_SAVE] >= VMCALLS, "exits save");
	if (self->a.maker == SAVES)
		TEST_ASSERT(self->a.got.of[XFD_SAVES] >= VMCALLS, "exits do not save");
}

TEST_F_TIMEOUT(agree, userspace, TIMEOUT)
{
	xfd_vcpu_run(self->a.vcpu);
	observe(&self->a, USERSPACE);
	assert_accesses(&self->a);
	assert_saves(&self->a, XFD_SAVES_USERSPACE, EXITS + 1);
	if (self->a.maker != LISTS)
		TEST_ASSERT(self->a.got.of[XFD_LOADS] >= EXITS + 1, "not loaded each time");
}

TEST_F_TIMEOUT(agree, preempt, TIMEOUT)
{
	struct xfd_neighbour neighbour = {
		.cpu = xfd_cpu(0), .amx = true, .seed = 200, .progress = &self->a.c->progress,
	};

	xfd_vcpu_run(self->a.vcpu);
	xfd_neighbour_start(&neighbour);
	observe(&self->a, PREEMPT);
	xfd_neighbour_stop(&neighbour);
	assert_saves(&self->a, XFD_SAVES_SWITCH, 1);
}

static const char *fpu_counter;
static bool done;

/* Says so when the kernel has used the FPU often enough since the guest waits for it. */
static void *fpu_watcher(void *arg)
{
	struct control *c = arg;
	long start;

	/* A guest that does something else will be done. */
	while (!READ_ONCE(done) && !READ_ONCE(c->waits))
		usleep(500);
	start = xfd_fpu_user_count(fpu_counter);
	while (!READ_ONCE(done) && xfd_fpu_user_count(fpu_counter) - start < FPU_USES)
		usleep(500);
	WRITE_ONCE(c->progress, c->progress + 1);
	return NULL;
}

static void observe_fpu(struct agreement *a, enum act what, const char *context,
			enum xfd_counter why)
{
	bool rt = what != FPU_TASK && xfd_preempt_rt();
	pthread_t watcher;

	/* With PREEMPT_RT a softirq is another thread, and no hardirq may use the FPU. */
	fpu_counter = !rt ? "in_guest" : what == FPU_HARDIRQ ? "refused" : "uses";

	xfd_vcpu_run(a->vcpu);
	xfd_fpu_user_start(context, xfd_cpu(0));
	TEST_ASSERT(!pthread_create(&watcher, NULL, fpu_watcher, a->c), "pthread_create()");
	observe(a, what);
	WRITE_ONCE(done, true);
	pthread_join(watcher, NULL);
	xfd_fpu_user_stop();
	/* Not assert_accesses(): xfd_fpu_user.ko reads both MSRs. */
	assert_saves(a, rt ? XFD_SAVES_SWITCH : why, rt ? 0 : FPU_USES);
}

/* Why that cannot be, or NULL. */
static const char *fpu_missing(enum act what)
{
	if (!xfd_fpu_user_loaded())
		return "xfd_fpu_user.ko is not loaded";
	return what != FPU_TASK && xfd_cpu(1) < 0 ? "one CPU: nobody to see when it is enough" :
						    NULL;
}

TEST_F_TIMEOUT(agree, fpu_task, TIMEOUT)
{
	const char *missing = fpu_missing(FPU_TASK);

	if (missing)
		SKIP(return, "%s", missing);
	observe_fpu(&self->a, FPU_TASK, "task", XFD_SAVES_TASK);
}

TEST_F_TIMEOUT(agree, fpu_softirq, TIMEOUT)
{
	const char *missing = fpu_missing(FPU_SOFTIRQ);

	if (missing)
		SKIP(return, "%s", missing);
	observe_fpu(&self->a, FPU_SOFTIRQ, "softirq", XFD_SAVES_SOFTIRQ);
}

TEST_F_TIMEOUT(agree, fpu_hardirq, TIMEOUT)
{
	const char *missing = fpu_missing(FPU_HARDIRQ);

	if (missing)
		SKIP(return, "%s", missing);
	observe_fpu(&self->a, FPU_HARDIRQ, "hardirq", XFD_SAVES_HARDIRQ);
}

TEST_F_TIMEOUT(agree, access, TIMEOUT)
{
	const char *missing = xfd_fep_missing();
	int fep;

	if (missing)
		SKIP(return, "%s", missing);
	fep = xfd_fep_allow(1);
	xfd_vcpu_run(self->a.vcpu);
	observe(&self->a, ACCESS);
	xfd_fep_allow(fep);
	assert_accesses(&self->a);
	assert_saves(&self->a, XFD_SAVES_ACCESS, EXITS);
}

/* How many lines of the trace are of this event and say this. */
static int count_lines(FILE *f, const char *event, const char *says)
{
	char line[512];
	int n = 0;

	rewind(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, event) && strstr(line, says);
	return n;
}

static void guest_arms(void)
{
	GUEST_SYNC(0);
	wrmsr(MSR_IA32_XFD, 0);
	GUEST_SYNC(1);
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	GUEST_SYNC(2);
	GUEST_DONE();
}

XFD_FIXTURE_EMPTY(life);

/* A vCPU is attached when it is created, and armed by its first XFD other than 0. */
TEST_F_TIMEOUT(life, events, TIMEOUT)
{
	char attach[2][64], arm[64], strategy[32] = "";
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm;
	FILE *f;
	int i;

	f = fopen("/sys/module/xfd_switch/parameters/strategy", "r");
	TEST_ASSERT(f && fscanf(f, "%31s", strategy) == 1, "no strategy");
	fclose(f);
	for (i = 0; i < 2; i++)
		sprintf(attach[i], " vm: kvm-%d vcpu: %d strategy: %s\n", getpid(), i, strategy);
	sprintf(arm, " vm: kvm-%d vcpu: 0 xfd: %lx\n", getpid(), (unsigned long)XFD_TILEDATA);

	pin_self_to_cpu(xfd_cpu(0));
	xfd_trace_setup(MAX_EVENTS);
	xfd_write_to(XFD_TRACE_INSTANCE "/events/xfd_switch/enable", "1");
	xfd_trace_begin();
	vm = vm_create_with_vcpus(2, guest_arms, vcpus);
	/* Up to where it has written 0. */
	xfd_vcpu_run(vcpus[0]);
	xfd_vcpu_run(vcpus[0]);
	f = xfd_trace_end_open(xfd_cpu(0));
	TEST_ASSERT_EQ(count_lines(f, "xfd_switch_attach:", ""), 2);
	TEST_ASSERT_EQ(count_lines(f, "xfd_switch_attach:", attach[0]), 1);
	TEST_ASSERT_EQ(count_lines(f, "xfd_switch_attach:", attach[1]), 1);
	TEST_ASSERT_EQ(count_lines(f, "xfd_switch_arm:", ""), 0);
	fclose(f);

	xfd_trace_begin();
	while (xfd_vcpu_run(vcpus[0]) != XFD_GUEST_DONE)
		continue;
	f = xfd_trace_end_open(xfd_cpu(0));
	TEST_ASSERT_EQ(count_lines(f, "xfd_switch_arm:", ""), 1);
	TEST_ASSERT_EQ(count_lines(f, "xfd_switch_arm:", arm), 1);
	fclose(f);

	/* Userspace arms as well. */
	xfd_trace_begin();
	vcpu_set_msr(vcpus[1], MSR_IA32_XFD, XFD_TILEDATA);
	f = xfd_trace_end_open(xfd_cpu(0));
	TEST_ASSERT_EQ(count_lines(f, "xfd_switch_arm:", " vcpu: 1 "), 1);
	fclose(f);

	kvm_vm_free(vm);
	xfd_trace_remove();
}

XFD_FIXTURE_EMPTY(files);

/* A VM's file is the sum of its vCPUs', and the summary keeps what is gone. */
TEST_F_TIMEOUT(files, sums, TIMEOUT)
{
	struct xfd_counters before, vcpu, other, of_vm, sum;
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm;
	int i;

	before = xfd_counters_read(xfd_counters_summary());
	vm = vm_create_with_vcpus(2, guest_arms, vcpus);
	for (i = 0; i < 2; i++) {
		while (xfd_vcpu_run(vcpus[i]) != XFD_GUEST_DONE)
			continue;
	}
	/* So that they differ; the first one has had the page faults. */
	for (i = 0; i < RUNS; i++) {
		vcpu_set_msr(vcpus[1], MSR_IA32_XFD, 0);
		vcpu_arch_set_entry_point(vcpus[1], guest_arms);
		while (xfd_vcpu_run(vcpus[1]) != XFD_GUEST_DONE)
			continue;
	}

	vcpu = xfd_counters_read(xfd_counters_of_vcpu(vcpus[0]));
	other = xfd_counters_read(xfd_counters_of_vcpu(vcpus[1]));
	of_vm = xfd_counters_read(xfd_counters_of_vm(vm));
	sum = xfd_counters_minus(xfd_counters_read(xfd_counters_summary()), before);
	TEST_ASSERT_EQ(vcpu.of[XFD_VCPUS], 1);
	TEST_ASSERT(vcpu.of[XFD_EXITS] && other.of[XFD_EXITS] &&
		    other.of[XFD_EXITS] != vcpu.of[XFD_EXITS], "the vCPUs do not differ");
	if (!xfd_strategy_is("autoload"))
		TEST_ASSERT(vcpu.of[XFD_SAVES] && other.of[XFD_SAVES] > vcpu.of[XFD_SAVES],
			    "the vCPUs do not differ");
	for (i = 0; i < XFD_NR_COUNTERS; i++) {
		TEST_ASSERT_EQ(of_vm.of[i], vcpu.of[i] + other.of[i]);
		TEST_ASSERT_EQ(sum.of[i], of_vm.of[i]);
	}

	kvm_vm_free(vm);
	sum = xfd_counters_minus(xfd_counters_read(xfd_counters_summary()), before);
	TEST_ASSERT_EQ(sum.of[XFD_VCPUS], 0);
	for (i = XFD_EXITS; i < XFD_NR_COUNTERS; i++)
		TEST_ASSERT_EQ(sum.of[i], of_vm.of[i]);
}

/* A file that is open when its VM goes away says so, and does no harm. */
TEST_F_TIMEOUT(files, outlive, TIMEOUT)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, guest_arms);
	int of_vcpu = open(xfd_counters_of_vcpu(vcpu), O_RDONLY);
	int of_vm = open(xfd_counters_of_vm(vm), O_RDONLY);
	char c;

	TEST_ASSERT(of_vcpu >= 0 && of_vm >= 0, "cannot open them, errno = %d", errno);
	TEST_ASSERT_EQ(read(of_vcpu, &c, 1), 1);
	kvm_vm_free(vm);
	TEST_ASSERT(read(of_vcpu, &c, 1) == -1 && errno == EIO, "errno = %d", errno);
	TEST_ASSERT(read(of_vm, &c, 1) == -1 && errno == EIO, "errno = %d", errno);
	close(of_vcpu);
	close(of_vm);
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	xfd_require_amx();
	if (xfd_expect != XFD_ATTACHED)
		ksft_exit_skip("VMs are not attached: there is nothing to see\n");
	if (options[0].value)
		xfd_test_module_load(options[0].value);
	return xfd_run_tests(argc, argv);
}
