// SPDX-License-Identifier: GPL-2.0
/*
 * A VMM denies a guest accesses of IA32_XFD and IA32_XFD_ERR, by
 * KVM_X86_SET_MSR_FILTER, and allows them again: the intercepts follow, and both
 * MSRs keep what they have.
 *
 *	state.denied_and_allowed	at run time, each of the denials there are
 *	state.emulated_by_vmm		all, and the VMM executes them by
 *					KVM_{G,S}ET_MSRS
 *	new_vcpu.denied_first		before the vCPU's first run
 *
 * the first two in each state of lib/state.h.
 */
#include "lib/harness.h"
#include "lib/meet.h"
#include "lib/xfd.h"

#define ROUNDS		3
/* Seconds of the machine's own clock. */
#define TIMEOUT		60

/* What a denied RDMSR returns. */
#define VMM_SAYS	0x123456789abcdef0ull
/* Accesses of an MSR, to be told from the few exits that happen anyway. */
#define ACCESSES	100

/*
 * The bits of a denial: of XFD_ERR rather than XFD, of writes rather than reads,
 * and with an exit to the VMM rather than with #GP.
 */
#define DENY_XFD_ERR	BIT(0)
#define DENY_WRITE	BIT(1)
#define DENY_EXIT	BIT(2)
#define NR_DENIALS	8

/* What a GUEST_SYNC() asks the host for; the denial is xfd_meet.variant. */
enum { SYNC_DENY = XFD_MEET_EVENT + 1, SYNC_ALLOW, SYNC_COUNT };

static const u32 msrs[] = { MSR_IA32_XFD, MSR_IA32_XFD_ERR };

/*
 * The guest.
 */
static void check_denied(u64 denial, u64 value)
{
	u32 msr = msrs[!!(denial & DENY_XFD_ERR)];
	u8 vector = denial & DENY_EXIT ? 0 : GP_VECTOR;
	u64 read;

	if (denial & DENY_WRITE) {
		GUEST_ASSERT_EQ(wrmsr_safe(msr, value ^ XFD_TILEDATA), vector);
		GUEST_ASSERT_EQ(rdmsr(msr), value);
		return;
	}
	GUEST_ASSERT_EQ(rdmsr_safe(msr, &read), vector);
	if (denial & DENY_EXIT)
		GUEST_ASSERT_EQ(read, VMM_SAYS);
	/* It can still be written. */
	wrmsr(msr, value);
}

/* Nothing here exits, but for writes of XFD_ERR in VMs that KVM switches XFD for. */
static void count_passthrough(void)
{
	u64 xfd = rdmsr(MSR_IA32_XFD), xfd_err = rdmsr(MSR_IA32_XFD_ERR);
	int i;

	xfd_meet_sync(SYNC_COUNT, xfd, xfd_err);
	for (i = 0; i < ACCESSES; i++) {
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), xfd);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_err);
		wrmsr(MSR_IA32_XFD, xfd);
		if (xfd_expect == XFD_ATTACHED)
			wrmsr(MSR_IA32_XFD_ERR, xfd_err);
	}
	xfd_meet_sync(SYNC_COUNT, xfd, xfd_err);
}

static void guest_denied_and_allowed(void)
{
	u64 state = xfd_meet.state;
	u64 xfd = xfd_state_xfd(state), xfd_err = xfd_state_xfd_err(state);
	u64 denial;
	int i;

	/* KVM passes XFD through once it has been set. */
	xfd_meet_enter(XFD_ARMED);
	xfd_meet_enter(state);
	count_passthrough();
	for (denial = 0; denial < NR_DENIALS; denial++) {
		xfd_meet_enter(state);
		xfd_meet.variant = denial;
		xfd_meet_sync(SYNC_DENY, xfd, xfd_err);
		for (i = 0; i < ROUNDS; i++) {
			check_denied(denial, denial & DENY_XFD_ERR ? xfd_err : xfd);
			xfd_vmcall();
			xfd_meet_sync(XFD_MEET_EVENT, xfd, xfd_err);
		}
		xfd_meet_sync(SYNC_ALLOW, xfd, xfd_err);
		xfd_meet_check(state);
		count_passthrough();
	}
	GUEST_DONE();
}

static void guest_denied_first(void)
{
	u64 state;

	/* Denied. */
	GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, XFD_TILEDATA), GP_VECTOR);
	xfd_meet_check_msrs(0, 0);
	xfd_meet_sync(SYNC_ALLOW, 0, 0);
	xfd_meet_check_msrs(0, 0);
	for (state = 0; state < XFD_NR_STATES; state++) {
		xfd_meet_enter(state);
		xfd_meet_sync(XFD_MEET_EVENT, xfd_state_xfd(state), xfd_state_xfd_err(state));
		xfd_meet_check(state);
		count_passthrough();
	}
	GUEST_DONE();
}

/*
 * The VMM.
 */
static void set_filter(struct xfd_meeting *m, int nr, struct kvm_msr_filter_range *ranges,
		       bool exit)
{
	static u8 none;
	struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW };
	int i;

	for (i = 0; i < nr; i++) {
		filter.ranges[i] = ranges[i];
		filter.ranges[i].nmsrs = 1;
		filter.ranges[i].bitmap = &none;
	}
	vm_enable_cap(m->vm, KVM_CAP_X86_USER_SPACE_MSR, exit ? KVM_MSR_EXIT_REASON_FILTER : 0);
	vm_ioctl(m->vm, KVM_X86_SET_MSR_FILTER, &filter);
}

static void deny(struct xfd_meeting *m, u64 denial)
{
	struct kvm_msr_filter_range range = {
		.base = msrs[!!(denial & DENY_XFD_ERR)],
		.flags = denial & DENY_WRITE ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ,
	};

	set_filter(m, 1, &range, denial & DENY_EXIT);
}

static bool is_msr_exit(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_X86_RDMSR || run->exit_reason == KVM_EXIT_X86_WRMSR;
}

/* As xfd_meeting_run(); @msr_exit answers the exits for denied accesses. */
static u64 run_filtered(struct xfd_meeting *m, void (*msr_exit)(struct xfd_meeting *m))
{
	u64 sync;

	for (;;) {
		vcpu_run(m->vcpu);
		if (!is_msr_exit(m->vcpu->run))
			break;
		m->vcpu->run->msr.error = 0;
		msr_exit(m);
	}
	TEST_ASSERT_KVM_EXIT_REASON(m->vcpu, KVM_EXIT_IO);
	sync = xfd_vcpu_says(m->vcpu);
	if (sync != XFD_GUEST_DONE)
		xfd_meeting_check(m, m->guest->xfd, m->guest->xfd_err);
	return sync;
}

/* The one that is denied; a write has no effect. */
static void msr_exit_check(struct xfd_meeting *m)
{
	struct kvm_run *run = m->vcpu->run;
	u64 denial = m->guest->variant;

	TEST_ASSERT_EQ(run->exit_reason, denial & DENY_WRITE ? KVM_EXIT_X86_WRMSR :
							       KVM_EXIT_X86_RDMSR);
	TEST_ASSERT_EQ(run->msr.index, msrs[!!(denial & DENY_XFD_ERR)]);
	TEST_ASSERT_EQ(run->msr.reason, KVM_MSR_EXIT_REASON_FILTER);
	run->msr.data = VMM_SAYS;
	xfd_meeting_check(m, m->guest->xfd, m->guest->xfd_err);
}

static void run_as_told(struct xfd_meeting *m)
{
	bool counting = false;
	u64 exits = 0, before, sync;

	while ((sync = run_filtered(m, msr_exit_check)) != XFD_GUEST_DONE) {
		switch (sync) {
		case SYNC_DENY:
			deny(m, m->guest->variant);
			break;
		case SYNC_ALLOW:
			set_filter(m, 0, NULL, false);
			break;
		case SYNC_COUNT:
			before = exits;
			exits = vcpu_get_stat(m->vcpu, exits);
			if (counting)
				TEST_ASSERT(exits - before < ACCESSES,
					    "%lu exits: not passed through", exits - before);
			counting = !counting;
			break;
		default:
			TEST_ASSERT_EQ(sync, XFD_MEET_EVENT);
		}
	}
}

FIXTURE(state) {
	struct xfd_meeting m;
};

XFD_FIXTURE_STATES(state);

FIXTURE_SETUP(state)
{
	xfd_meeting_create(&self->m, NULL, variant->state, XFD_VMCALL);
	xfd_meeting_begin(&self->m);
}

FIXTURE_TEARDOWN(state)
{
	xfd_meeting_end(&self->m);
}

TEST_F_TIMEOUT(state, denied_and_allowed, TIMEOUT)
{
	vcpu_arch_set_entry_point(self->m.vcpu, guest_denied_and_allowed);
	run_as_told(&self->m);
}

/* What a VMM that denies accesses for reasons of its own would do. */
static void msr_exit_emulate(struct xfd_meeting *m)
{
	struct kvm_run *run = m->vcpu->run;

	if (run->exit_reason == KVM_EXIT_X86_RDMSR)
		run->msr.data = vcpu_get_msr(m->vcpu, run->msr.index);
	else
		run->msr.error = _vcpu_set_msr(m->vcpu, run->msr.index, run->msr.data) != 1;
}

TEST_F_TIMEOUT(state, emulated_by_vmm, TIMEOUT)
{
	struct kvm_msr_filter_range ranges[] = {
		{ .base = msrs[0], .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE },
		{ .base = msrs[1], .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE },
	};

	if (xfd_dormant_may_go() && variant->state == XFD_DORMANT)
		SKIP(return, "KVM_SET_MSRS(XFD) over tiles in use: see xfd_hole_set_msrs");

	vcpu_arch_set_entry_point(self->m.vcpu, xfd_meet_guest);
	set_filter(&self->m, ARRAY_SIZE(ranges), ranges, true);
	while (run_filtered(&self->m, msr_exit_emulate) != XFD_GUEST_DONE)
		continue;
}

XFD_FIXTURE_EMPTY(new_vcpu);

TEST_F_TIMEOUT(new_vcpu, denied_first, TIMEOUT)
{
	struct xfd_meeting m;

	xfd_meeting_create(&m, guest_denied_first, XFD_ARMED, XFD_VMCALL);
	xfd_meeting_begin(&m);
	deny(&m, DENY_WRITE);
	run_as_told(&m);
	xfd_meeting_end(&m);
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	return xfd_run_tests(argc, argv);
}
