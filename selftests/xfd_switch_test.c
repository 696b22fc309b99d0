// SPDX-License-Identifier: GPL-2.0
/*
 * What whoever switches IA32_XFD and IA32_XFD_ERR between host and guest owes to
 * both: after any event a vCPU finds its XFD, XFD_ERR, XINUSE, TILECFG and tiles
 * as a CPU of its own would have kept them; the VMM reads and writes the guest's
 * values; and the host and other vCPUs see nothing of them.
 *
 * Most subtests are "<event>.<state>".  The guest enters the state, and then,
 * some rounds, meets the event and checks itself.
 *
 * States: see xfd_state.h.
 *
 * Events:
 *	vmcall		exits that the kernel handles
 *	userspace	an exit to userspace, where KVM_GET_MSRS tells the values
 *	set_msrs	the same, and KVM_SET_MSRS with what the guest has
 *	get_xsave	the same, and KVM_GET_XSAVE2
 *	set_xsave	the same, and KVM_SET_XSAVE with what that returned
 *	signal		KVM_RUN ends with EINTR
 *	preempt_amx	within KVM_RUN, by a task that uses tiles
 *	preempt_plain	within KVM_RUN, by a task that does not
 *	migrate		within KVM_RUN, to another CPU
 *
 * --tolerate-dormant-loss is for kernels, stock's among them, that let dormant
 * tiles go: then these may also be initial afterwards (all of them, and XINUSE
 * says so), while all else must hold.  A name runs only that subtest.
 */
#include <errno.h>
#include <setjmp.h>

#include "xfd_host.h"
#include "xfd_state.h"

#define ROUNDS		3
#define NR_VCPUS	5
/* Seconds of the machine's own clock. */
#define TIMEOUT		60

enum event {
	VMCALL, USERSPACE, SET_MSRS, GET_XSAVE, SET_XSAVE, SIGNAL, PREEMPT_AMX,
	PREEMPT_PLAIN, MIGRATE, HOST_FIRST_USE, HOST_NO_PERMISSION, NR_EVENTS,
	/* Of the tests with several vCPUs. */
	BARRIER = NR_EVENTS,
};

static const char * const event_names[] = {
	"vmcall", "userspace", "set_msrs", "get_xsave", "set_xsave", "signal", "preempt_amx",
	"preempt_plain", "migrate", "host_first_use", "host_no_permission",
};

/* Per vCPU, in guest memory; the host sees it by way of xfd_guest_ptr(). */
struct control {
	u64 state;
	u64 event;
	u64 seed;
	u64 tolerate;
	u64 rounds;
	/* The round whose event the guest waits for; the last that has happened. */
	u64 waiting;
	u64 happened;
	/* Written by xfd_neighbour. */
	u64 progress;
} __aligned(64);

static struct control controls[NR_VCPUS];
static struct xfd_tiles tiles[NR_VCPUS];
static bool tolerate;

/*
 * The guest.
 */
static void guest_wait(struct control *c, u64 round)
{
	u64 i, start;

	switch (c->event) {
	case VMCALL:
		for (i = 0; i < 100; i++)
			xfd_vmcall();
		break;
	case USERSPACE:
	case SET_MSRS:
	case GET_XSAVE:
	case SET_XSAVE:
		GUEST_SYNC(round);
		break;
	case PREEMPT_AMX:
	case PREEMPT_PLAIN:
		start = READ_ONCE(c->progress);
		for (i = 0; READ_ONCE(c->progress) - start < 3; i++) {
			if (!(i % 16))
				xfd_vmcall();
			cpu_relax();
		}
		break;
	case BARRIER:
		/* Each of the others must have come this far: they share our CPU. */
		WRITE_ONCE(c->waiting, round + 1);
		for (i = 0; i < NR_VCPUS; i++) {
			while (READ_ONCE(controls[i].waiting) < round + 1)
				cpu_relax();
		}
		break;
	default:
		WRITE_ONCE(c->waiting, round + 1);
		for (i = 0; READ_ONCE(c->happened) < round + 1; i++) {
			if (!(i % 16))
				xfd_vmcall();
			cpu_relax();
		}
		break;
	}
}

static void guest_main(u64 nr)
{
	struct control *c = &controls[nr];
	struct xfd_tiles *t = &tiles[nr];
	u64 round;

	xfd_tiles_fill(t, c->seed);
	/* What makes KVM pass the MSR through, for the live state as well. */
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_state_enter(t, c->state);
	xfd_state_check(t, c->state, c->tolerate);
	for (round = 0; round < c->rounds; round++) {
		guest_wait(c, round);
		xfd_state_check(t, c->state, c->tolerate);
	}
	GUEST_DONE();
}

/*
 * The host: the VMM's view at an exit to userspace.
 */
static void check_msrs(struct kvm_vcpu *vcpu, enum xfd_state state)
{
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD), xfd_state_xfd(state));
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR), xfd_state_xfd_err(state));
}

static struct kvm_xsave *get_xsave(struct kvm_vcpu *vcpu)
{
	int size = vm_check_cap(vcpu->vm, KVM_CAP_XSAVE2);
	struct kvm_xsave *xsave = calloc(1, size);

	TEST_ASSERT(size > sizeof(*xsave) && xsave, "KVM_CAP_XSAVE2 is %d", size);
	vcpu_xsave2_get(vcpu, xsave);
	return xsave;
}

/* The image has the tiles of a live guest, and no tiles where XFD[18]=1. */
static void check_xsave(struct kvm_vcpu *vcpu, struct kvm_xsave *xsave, enum xfd_state state)
{
	u64 xstate_bv = *(u64 *)((u8 *)xsave + 512);
	u8 *image = (u8 *)xsave + kvm_cpu_property(X86_PROPERTY_XSTATE_TILE_OFFSET);
	u8 *want = xfd_guest_ptr(vcpu->vm, tiles[0].want);

	TEST_ASSERT_EQ(xstate_bv & XFD_TILEDATA, state == XFD_LIVE ? XFD_TILEDATA : 0);
	if (state == XFD_LIVE)
		TEST_ASSERT_EQ(xfd_bytes_differ(image, want, XFD_TILES_BYTES), 0ull);
}

static void at_userspace_exit(struct kvm_vcpu *vcpu, struct control *c, u64 round)
{
	struct kvm_xsave *xsave;

	xfd_check_cpu_xfd_err(sched_getcpu());
	check_msrs(vcpu, c->state);

	switch (c->event) {
	case SET_MSRS:
		/* In either order: VMMs differ. */
		if (round & 1) {
			vcpu_set_msr(vcpu, MSR_IA32_XFD, xfd_state_xfd(c->state));
			vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, xfd_state_xfd_err(c->state));
		} else {
			vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, xfd_state_xfd_err(c->state));
			vcpu_set_msr(vcpu, MSR_IA32_XFD, xfd_state_xfd(c->state));
		}
		break;
	case GET_XSAVE:
	case SET_XSAVE:
		xsave = get_xsave(vcpu);
		check_xsave(vcpu, xsave, c->state);
		if (c->event == SET_XSAVE)
			vcpu_xsave_set(vcpu, xsave);
		free(xsave);
		break;
	}
	check_msrs(vcpu, c->state);
}

/*
 * The thread that makes things happen to a vCPU while its guest spins.
 */
struct actor {
	struct control *c;
	pthread_t vcpu_thread;
	u64 eintr;
	int cpus[2];
	pthread_t thread;
	const char *failure;
};

static void empty_handler(int sig)
{
}

/*
 * A process without permission for tiles gets SIGILL for them, whatever guest
 * was on its CPU before.  Only exec() gives a permission back.
 */
static void host_no_permission(struct actor *a)
{
	char cpu[16];
	int status;
	pid_t pid;

	snprintf(cpu, sizeof(cpu), "%d", a->cpus[0]);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		execl("/proc/self/exe", "xfd_switch_test", "--use-tiles-without-permission",
		      cpu, NULL);
		_exit(KSFT_FAIL);
	}
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed, errno = %d", errno);
	TEST_ASSERT(WIFEXITED(status) && !WEXITSTATUS(status),
		    "a task without permission used tiles, or died: status %x", status);
}

static sigjmp_buf sigill_env;

static void sigill_handler(int sig)
{
	siglongjmp(sigill_env, 1);
}

static int use_tiles_without_permission(int cpu)
{
	static struct xfd_tiles t;
	int i, used = 0;

	pin_self_to_cpu(cpu);
	signal(SIGILL, sigill_handler);
	xfd_tiles_fill(&t, 1);
	for (i = 0; i < 20; i++) {
		/* Wake up right after the guest. */
		usleep(1000);
		if (sigsetjmp(sigill_env, 1))
			continue;
		xfd_tiles_use(&t);
		used++;
	}
	return used ? KSFT_FAIL : KSFT_PASS;
}

static void *actor_fn(void *arg)
{
	struct actor *a = arg;
	u64 round, eintr;

	for (round = 0; round < a->c->rounds; round++) {
		while (READ_ONCE(a->c->waiting) < round + 1)
			usleep(500);
		switch (a->c->event) {
		case MIGRATE:
			pin_task_to_cpu(a->vcpu_thread, a->cpus[!(round & 1)]);
			break;
		case SIGNAL:
			eintr = READ_ONCE(a->eintr);
			while (READ_ONCE(a->eintr) == eintr) {
				pthread_kill(a->vcpu_thread, SIGUSR1);
				usleep(2000);
			}
			break;
		case HOST_FIRST_USE:
			xfd_first_use(a->cpus[0], 100 + round);
			break;
		case HOST_NO_PERMISSION:
			host_no_permission(a);
			break;
		}
		WRITE_ONCE(a->c->happened, round + 1);
	}
	return NULL;
}

/* Until the guest is done, through signals and exits to userspace. */
static void run_to_the_end(struct kvm_vcpu *vcpu, struct control *c, struct actor *a)
{
	struct ucall uc;
	int ret;

	for (;;) {
		ret = __vcpu_run(vcpu);
		if (ret) {
			TEST_ASSERT(errno == EINTR && c->event == SIGNAL,
				    "KVM_RUN failed, errno = %d", errno);
			xfd_check_cpu_xfd_err(sched_getcpu());
			check_msrs(vcpu, c->state);
			a->eintr++;
			continue;
		}
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
		switch (get_ucall(vcpu, &uc)) {
		case UCALL_SYNC:
			at_userspace_exit(vcpu, c, uc.args[1]);
			break;
		case UCALL_DONE:
			return;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("Unknown ucall %lu", uc.cmd);
		}
	}
}

struct scenario {
	enum event event;
	enum xfd_state state;
};

static void run_scenario(const void *arg)
{
	const struct scenario *s = arg;
	struct actor actor = { .vcpu_thread = pthread_self(), .cpus = { xfd_cpu(0), xfd_cpu(1) } };
	struct xfd_neighbour neighbour = { .cpu = actor.cpus[0], .seed = 200 };
	bool preempt = s->event == PREEMPT_AMX || s->event == PREEMPT_PLAIN;
	bool acted = s->event == SIGNAL || s->event == MIGRATE ||
		     s->event == HOST_FIRST_USE || s->event == HOST_NO_PERMISSION;
	struct kvm_vcpu *vcpu;
	struct control *c;
	struct kvm_vm *vm;
	long switches;

	if (s->event == MIGRATE && actor.cpus[1] < 0)
		xfd_skip("one CPU");

	vm = vm_create_with_one_vcpu(&vcpu, guest_main);
	vcpu_args_set(vcpu, 1, 0);
	c = xfd_guest_ptr(vm, controls[0]);
	c->state = s->state;
	c->event = s->event;
	c->seed = 1;
	c->rounds = ROUNDS;
	c->tolerate = tolerate;
	actor.c = c;
	signal(SIGUSR1, empty_handler);

	/* Threads inherit the affinity: the actor first, free of it. */
	if (acted)
		TEST_ASSERT(!pthread_create(&actor.thread, NULL, actor_fn, &actor),
			    "pthread_create()");
	pin_self_to_cpu(actor.cpus[0]);
	if (preempt) {
		neighbour.amx = s->event == PREEMPT_AMX;
		neighbour.progress = &c->progress;
		xfd_neighbour_start(&neighbour);
	}

	switches = xfd_involuntary_switches();
	run_to_the_end(vcpu, c, &actor);
	switches = xfd_involuntary_switches() - switches;

	if (acted)
		pthread_join(actor.thread, NULL);
	if (preempt) {
		xfd_neighbour_stop(&neighbour);
		TEST_ASSERT(switches > 0, "the vCPU was never preempted");
	}
	if (s->event == SIGNAL)
		TEST_ASSERT(actor.eintr >= ROUNDS, "KVM_RUN was interrupted %lu times",
			    actor.eintr);
	if (s->event == MIGRATE)
		TEST_ASSERT_EQ(sched_getcpu(), actor.cpus[ROUNDS & 1]);
	kvm_vm_free(vm);
}

/*
 * Several vCPUs on one CPU, in all states and with different tiles, none of
 * which leaves KVM_RUN: whatever one sees of another is caught by its checks.
 */
struct vcpu_thread {
	struct kvm_vcpu *vcpu;
	struct control *c;
	int cpu;
	pthread_t thread;
};

static void *vcpu_thread_fn(void *arg)
{
	struct vcpu_thread *t = arg;

	pin_self_to_cpu(t->cpu);
	run_to_the_end(t->vcpu, t->c, NULL);
	return NULL;
}

static void run_vcpus(bool host_task)
{
	static const enum xfd_state states[NR_VCPUS] = {
		XFD_LIVE, XFD_DORMANT, XFD_ARMED, XFD_PENDING, XFD_LIVE,
	};
	struct xfd_neighbour neighbour = { .cpu = xfd_cpu(0), .amx = true, .seed = 200 };
	struct vcpu_thread threads[NR_VCPUS];
	struct kvm_vcpu *vcpus[NR_VCPUS];
	struct kvm_vm *vm;
	int i;

	vm = vm_create_with_vcpus(NR_VCPUS, guest_main, vcpus);
	if (host_task)
		xfd_neighbour_start(&neighbour);
	for (i = 0; i < NR_VCPUS; i++) {
		struct control *c = xfd_guest_ptr(vm, controls[i]);

		vcpu_args_set(vcpus[i], 1, (u64)i);
		c->state = states[i];
		c->event = BARRIER;
		c->seed = 1 + 10 * i;
		c->rounds = 4 * ROUNDS;
		c->tolerate = tolerate;
		threads[i].vcpu = vcpus[i];
		threads[i].c = c;
		threads[i].cpu = neighbour.cpu;
	}
	for (i = 0; i < NR_VCPUS; i++)
		TEST_ASSERT(!pthread_create(&threads[i].thread, NULL, vcpu_thread_fn, &threads[i]),
			    "pthread_create()");
	for (i = 0; i < NR_VCPUS; i++)
		pthread_join(threads[i].thread, NULL);
	if (host_task)
		xfd_neighbour_stop(&neighbour);
	kvm_vm_free(vm);
}

static void vcpus_share_a_cpu(const void *arg)
{
	run_vcpus(false);
}

static void vcpus_and_a_task_share_a_cpu(const void *arg)
{
	run_vcpus(true);
}

/*
 * XFD_ERR by KVM_SET_MSRS, on a vCPU that never wrote XFD: the guest reads the
 * MSR without an exit, so it must have got there.
 */
static void guest_xfd_err_only(void)
{
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	xfd_vmcall();
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	GUEST_SYNC(0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), 0ull);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	xfd_vmcall();
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	GUEST_DONE();
}

static void xfd_err_without_xfd(const void *arg)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_xfd_err_only);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, XFD_TILEDATA);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	xfd_check_cpu_xfd_err(sched_getcpu());
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR), XFD_TILEDATA);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 1);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR), 0);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, XFD_TILEDATA);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

/* The values that userspace sets are those that the guest then has. */
static void guest_new_msrs(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	GUEST_SYNC(0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), XFD_TILEDATA);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	xfd_ldtilecfg(&tiles[0].cfg);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles[0].want), NM_VECTOR);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	GUEST_SYNC(1);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), 0ull);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles[0].want), 0);
	GUEST_DONE();
}

static void set_msrs_new_values(const void *arg)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_new_msrs);
	xfd_tilecfg_fill(xfd_guest_ptr(vm, tiles[0].cfg));
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	vcpu_set_msr(vcpu, MSR_IA32_XFD, XFD_TILEDATA);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, XFD_TILEDATA);
	TEST_ASSERT(_vcpu_set_msr(vcpu, MSR_IA32_XFD, ~0ull) != 1, "XFD took reserved bits");
	TEST_ASSERT(_vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, ~0ull) != 1,
		    "XFD_ERR took reserved bits");
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 1);
	vcpu_set_msr(vcpu, MSR_IA32_XFD, 0);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

static const struct xfd_test more_tests[] = {
	{ .name = "vcpus_share_a_cpu", .fn = vcpus_share_a_cpu },
	{ .name = "vcpus_and_a_task_share_a_cpu", .fn = vcpus_and_a_task_share_a_cpu },
	{ .name = "xfd_err_without_xfd", .fn = xfd_err_without_xfd },
	{ .name = "set_msrs_new_values", .fn = set_msrs_new_values },
};

static struct scenario scenarios[NR_EVENTS * XFD_NR_STATES];
static struct xfd_test tests[NR_EVENTS * XFD_NR_STATES + ARRAY_SIZE(more_tests)];

static int all_tests(void)
{
	int event, state, n = 0;
	char *name;

	for (event = 0; event < NR_EVENTS; event++) {
		for (state = 0; state < XFD_NR_STATES; state++) {
			/* The image that KVM returns of a dormant guest has no tiles. */
			if (event == SET_XSAVE && state == XFD_DORMANT)
				continue;
			TEST_ASSERT(asprintf(&name, "%s.%s", event_names[event],
					     xfd_state_names[state]) > 0, "out of memory");
			scenarios[n].event = event;
			scenarios[n].state = state;
			tests[n].name = name;
			tests[n].fn = run_scenario;
			tests[n].arg = &scenarios[n];
			n++;
		}
	}
	memcpy(&tests[n], more_tests, sizeof(more_tests));
	return n + ARRAY_SIZE(more_tests);
}

int main(int argc, char *argv[])
{
	const char *why, *only = NULL;
	int i, n;

	if (argc == 3 && !strcmp(argv[1], "--use-tiles-without-permission"))
		return use_tiles_without_permission(atoi(argv[2]));

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--tolerate-dormant-loss"))
			tolerate = true;
		else
			only = argv[i];
	}

	ksft_print_header();
	why = xfd_require_amx();
	if (why)
		ksft_exit_skip("%s\n", why);

	n = all_tests();
	ksft_set_plan(only ? 1 : n);
	for (i = 0; i < n; i++) {
		if (!only || !strcmp(only, tests[i].name))
			xfd_report(&tests[i], xfd_run_one(&tests[i], TIMEOUT));
	}
	ksft_finished();
}
