// SPDX-License-Identifier: GPL-2.0
/*
 * What whoever switches IA32_XFD and IA32_XFD_ERR between host and guest owes to
 * both: after any event a vCPU finds its XFD, XFD_ERR, XINUSE, TILECFG and tiles
 * as a CPU of its own would have kept them; the VMM reads and writes the guest's
 * values; and the host and other vCPUs see nothing of them.
 *
 * Most tests are "event.<state>.<event>".  The guest enters the state, and then,
 * some rounds, meets the event and checks itself.
 *
 * States: see lib/state.h.
 *
 * Events:
 *	vmcall		exits that the kernel handles
 *	userspace	an exit to userspace, where KVM_GET_MSRS tells the values
 *	set_msrs	the same, and KVM_SET_MSRS with what the guest has
 *	get_xsave	the same, and KVM_GET_XSAVE2
 *	set_xsave	the same, and KVM_SET_XSAVE with what that returned; its tests are
 *			"image.<state>.set_xsave"
 *	signal		KVM_RUN ends with EINTR
 *	preempt_amx	within KVM_RUN, by a task that uses tiles
 *	preempt_plain	within KVM_RUN, by a task that does not
 *	migrate		within KVM_RUN, to another CPU
 *
 * "vm.*" are the others.
 *
 * Where dormant tiles may go (see lib/expect.h) these may also be initial afterwards,
 * all of them, and XINUSE says so, while all else must hold.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/xfd.h"

#define ROUNDS		3
#define NR_VCPUS	5
/* Seconds of the machine's own clock. */
#define TIMEOUT		60

enum event {
	VMCALL, USERSPACE, SET_MSRS, GET_XSAVE, SET_XSAVE, SIGNAL, PREEMPT_AMX,
	PREEMPT_PLAIN, MIGRATE, HOST_FIRST_USE, HOST_NO_PERMISSION,
	/* Of the tests with several vCPUs. */
	BARRIER,
};

/* Per vCPU, in guest memory; the host sees it by way of xfd_guest_ptr(). */
struct control {
	u64 state;
	u64 event;
	u64 seed;
	u64 rounds;
	/* The round whose event the guest waits for; the last that has happened. */
	u64 waiting;
	u64 happened;
	/* Written by xfd_neighbour. */
	u64 progress;
} __aligned(64);

static struct control controls[NR_VCPUS];
static struct xfd_tiles tiles[NR_VCPUS];

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
	xfd_state_check(t, c->state);
	for (round = 0; round < c->rounds; round++) {
		guest_wait(c, round);
		xfd_state_check(t, c->state);
	}
	GUEST_DONE();
}

/*
 * The host: the VMM's view at an exit to userspace.
 */
static void check_msrs(struct kvm_vcpu *vcpu, enum xfd_state state)
{
	xfd_vcpu_check_msrs(vcpu, xfd_state_xfd(state), xfd_state_xfd_err(state));
}

/* The image has the tiles of a live guest, and no tiles where XFD[18]=1. */
static void check_xsave(struct kvm_vcpu *vcpu, struct kvm_xsave *xsave, enum xfd_state state)
{
	u64 xstate_bv = xfd_image_header(xsave)->xstate_bv;
	u8 *image = xfd_image_component(xsave, XFD_TILEDATA);
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
		xsave = xfd_image_get(vcpu);
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
	u64 said;

	for (;;) {
		if (__vcpu_run(vcpu)) {
			TEST_ASSERT(errno == EINTR && c->event == SIGNAL,
				    "KVM_RUN failed, errno = %d", errno);
			xfd_check_cpu_xfd_err(sched_getcpu());
			check_msrs(vcpu, c->state);
			a->eintr++;
			continue;
		}
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
		said = xfd_vcpu_says(vcpu);
		if (said == XFD_GUEST_DONE)
			return;
		TEST_ASSERT(said < ROUNDS, "an exit that nobody asked for");
		at_userspace_exit(vcpu, c, said);
	}
}

static struct control *prepare_vcpu(struct kvm_vcpu *vcpu, u64 nr, enum xfd_state state)
{
	struct control *c = xfd_guest_ptr(vcpu->vm, controls[nr]);

	vcpu_args_set(vcpu, 1, nr);
	c->state = state;
	c->seed = 1 + 10 * nr;
	return c;
}

/*
 * One vCPU, in one state.
 */
struct run {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct control *c;
	struct actor actor;
};

FIXTURE(event) {
	struct run run;
};

XFD_FIXTURE_STATES(event);

static void setup(struct run *r, enum xfd_state state)
{
	r->vm = vm_create_with_one_vcpu(&r->vcpu, guest_main);
	xfd_vm_expect(r->vm, xfd_expect);
	r->c = prepare_vcpu(r->vcpu, 0, state);
	r->c->rounds = ROUNDS;
	r->actor = (struct actor){
		.c = r->c,
		.vcpu_thread = pthread_self(),
		.cpus = { xfd_cpu(0), xfd_cpu(1) },
	};
	signal(SIGUSR1, empty_handler);
}

FIXTURE_SETUP(event)
{
	setup(&self->run, variant->state);
}

FIXTURE_TEARDOWN(event)
{
	kvm_vm_free(self->run.vm);
}

static void run(struct run *r, enum event event)
{
	r->c->event = event;
	pin_self_to_cpu(r->actor.cpus[0]);
	run_to_the_end(r->vcpu, r->c, &r->actor);
}

/* With a thread that makes it happen. */
static void run_with_actor(struct run *r, enum event event)
{
	/* The actor looks at it; and it would inherit the affinity. */
	r->c->event = event;
	TEST_ASSERT(!pthread_create(&r->actor.thread, NULL, actor_fn, &r->actor),
		    "pthread_create()");
	run(r, event);
	pthread_join(r->actor.thread, NULL);
}

static void run_with_neighbour(struct run *r, enum event event)
{
	struct xfd_neighbour neighbour = {
		.cpu = r->actor.cpus[0],
		.amx = event == PREEMPT_AMX,
		.seed = 200,
		.progress = &r->c->progress,
	};
	long switches;

	pin_self_to_cpu(r->actor.cpus[0]);
	xfd_neighbour_start(&neighbour);
	switches = xfd_involuntary_switches();
	run(r, event);
	switches = xfd_involuntary_switches() - switches;
	xfd_neighbour_stop(&neighbour);
	TEST_ASSERT(switches > 0, "the vCPU was never preempted");
}

TEST_F_TIMEOUT(event, vmcall, TIMEOUT)
{
	run(&self->run, VMCALL);
}

TEST_F_TIMEOUT(event, userspace, TIMEOUT)
{
	run(&self->run, USERSPACE);
}

TEST_F_TIMEOUT(event, set_msrs, TIMEOUT)
{
	run(&self->run, SET_MSRS);
}

TEST_F_TIMEOUT(event, get_xsave, TIMEOUT)
{
	run(&self->run, GET_XSAVE);
}

TEST_F_TIMEOUT(event, signal, TIMEOUT)
{
	run_with_actor(&self->run, SIGNAL);
	TEST_ASSERT(self->run.actor.eintr >= ROUNDS, "KVM_RUN was interrupted %lu times",
		    self->run.actor.eintr);
}

TEST_F_TIMEOUT(event, preempt_amx, TIMEOUT)
{
	run_with_neighbour(&self->run, PREEMPT_AMX);
}

TEST_F_TIMEOUT(event, preempt_plain, TIMEOUT)
{
	run_with_neighbour(&self->run, PREEMPT_PLAIN);
}

TEST_F_TIMEOUT(event, migrate, TIMEOUT)
{
	if (self->run.actor.cpus[1] < 0)
		SKIP(return, "one CPU");
	run_with_actor(&self->run, MIGRATE);
	TEST_ASSERT_EQ(sched_getcpu(), self->run.actor.cpus[ROUNDS & 1]);
}

TEST_F_TIMEOUT(event, host_first_use, TIMEOUT)
{
	run_with_actor(&self->run, HOST_FIRST_USE);
}

TEST_F_TIMEOUT(event, host_no_permission, TIMEOUT)
{
	run_with_actor(&self->run, HOST_NO_PERMISSION);
}

/* The image that KVM returns of a dormant guest has no tiles to set: not that one. */
FIXTURE(image) {
	struct run run;
};

FIXTURE_VARIANT(image) {
	enum xfd_state state;
};

FIXTURE_VARIANT_ADD(image, armed) { .state = XFD_ARMED };
FIXTURE_VARIANT_ADD(image, live) { .state = XFD_LIVE };
FIXTURE_VARIANT_ADD(image, pending) { .state = XFD_PENDING };

FIXTURE_SETUP(image)
{
	setup(&self->run, variant->state);
}

FIXTURE_TEARDOWN(image)
{
	kvm_vm_free(self->run.vm);
}

TEST_F_TIMEOUT(image, set_xsave, TIMEOUT)
{
	run(&self->run, SET_XSAVE);
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
	xfd_vm_expect(vm, xfd_expect);
	if (host_task)
		xfd_neighbour_start(&neighbour);
	for (i = 0; i < NR_VCPUS; i++) {
		struct control *c = prepare_vcpu(vcpus[i], i, states[i]);

		c->event = BARRIER;
		c->rounds = 4 * ROUNDS;
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

XFD_FIXTURE_EMPTY(vm);

TEST_F_TIMEOUT(vm, vcpus_share_a_cpu, TIMEOUT)
{
	run_vcpus(false);
}

TEST_F_TIMEOUT(vm, vcpus_and_a_task_share_a_cpu, TIMEOUT)
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

TEST_F_TIMEOUT(vm, xfd_err_without_xfd, TIMEOUT)
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

TEST_F_TIMEOUT(vm, set_msrs_new_values, TIMEOUT)
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

/* What host_no_permission() executes. */
static int use_tiles_without_permission(int cpu)
{
	pin_self_to_cpu(cpu);
	return xfd_use_without_permission(20) ? KSFT_FAIL : KSFT_PASS;
}

int main(int argc, char *argv[])
{
	if (argc == 3 && !strcmp(argv[1], "--use-tiles-without-permission"))
		return use_tiles_without_permission(atoi(argv[2]));

	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	return xfd_run_tests(argc, argv);
}
