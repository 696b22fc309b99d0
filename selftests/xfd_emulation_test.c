// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions that KVM may execute in the guest's stead, and that have to do with
 * tiles, XFD or #NM: whoever switches the MSRs must not notice.
 *
 *	xcr0		XSETBV clears XCR0[18:17]: the tiles stay, XGETBV(1) hides them
 *	nm.other	MOV to CR0 sets TS or EM: #NM because of these leaves XFD_ERR alone
 *	nm.tile_and_ts	a tile instruction with XFD[18]=1 and CR0.TS=1: whatever the CPU
 *			writes to XFD_ERR, it stays
 *	fep		RDMSR, WRMSR and XSETBV behind KVM's prefix for forced emulation
 *
 * with each event of lib/meet.h, and xcr0 in each state of lib/state.h.
 */
#include "lib/harness.h"
#include "lib/meet.h"
#include "lib/xfd.h"

#define ROUNDS		3
/* Seconds of the machine's own clock. */
#define TIMEOUT		60

static void check_without_xcr0(u64 xfd, u64 xfd_err)
{
	xfd_meet_with_msrs(xfd, xfd_err);
	GUEST_ASSERT_EQ(xfd_xinuse() & XFEATURE_MASK_XTILE, 0ull);
	GUEST_ASSERT_EQ(kvm_asm_safe(ASM_TILESTORED(0x04), "a"(xfd_meet_tiles.got),
				     "d"((u64)XFD_TILE_COLSB)), UD_VECTOR);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_err);
}

FIXTURE(xcr0) {
	struct xfd_meeting m;
};

XFD_FIXTURE_STATES_AND_EVENTS(xcr0);
XFD_FIXTURE_STATES_WITH(xcr0, vmcall, VMCALL);
XFD_FIXTURE_STATES_WITH(xcr0, userspace, USERSPACE);
XFD_FIXTURE_STATES_WITH(xcr0, preempt, PREEMPT);
XFD_FIXTURE_STATES_WITH(xcr0, migrate, MIGRATE);

static void guest_xcr0(void)
{
	u64 state = xfd_meet.state, xcr0 = xgetbv(0);
	u64 xfd = xfd_state_xfd(state), xfd_err = xfd_state_xfd_err(state);
	int i;

	xfd_meet_enter(state);
	for (i = 0; i < ROUNDS; i++) {
		xsetbv(0, xcr0 & ~XFEATURE_MASK_XTILE);
		check_without_xcr0(xfd, xfd_err);
		/* XFD does not depend on XCR0. */
		wrmsr(MSR_IA32_XFD, xfd ^ XFD_TILEDATA);
		check_without_xcr0(xfd ^ XFD_TILEDATA, xfd_err);
		wrmsr(MSR_IA32_XFD, xfd);
		check_without_xcr0(xfd, xfd_err);
		xsetbv(0, xcr0);
		/* Live tiles were dormant for a while, too. */
		if (xfd_state_xinuse(state))
			xfd_state_check_tiles(&xfd_meet_tiles, true);
		xfd_meet_check(state);
	}
	GUEST_ASSERT_EQ(xsetbv_safe(0, xcr0 & ~XFEATURE_MASK_XTILE_DATA), GP_VECTOR);
	xfd_meet_check(state);
	GUEST_DONE();
}

FIXTURE_SETUP(xcr0)
{
	if (variant->event == XFD_MIGRATE && xfd_cpu(1) < 0)
		SKIP(return, "one CPU");
	xfd_meeting_create(&self->m, guest_xcr0, variant->state, variant->event);
	xfd_meeting_begin(&self->m);
}

FIXTURE_TEARDOWN(xcr0)
{
	xfd_meeting_end(&self->m);
}

TEST_F_TIMEOUT(xcr0, cleared, TIMEOUT)
{
	xfd_meeting_run_all(&self->m);
}

FIXTURE(nm) {
	struct xfd_meeting m;
};

XFD_FIXTURE_EVENTS(nm);

FIXTURE_SETUP(nm)
{
	if (variant->event == XFD_MIGRATE && xfd_cpu(1) < 0)
		SKIP(return, "one CPU");
	xfd_meeting_create(&self->m, NULL, XFD_ARMED, variant->event);
	xfd_meeting_begin(&self->m);
}

FIXTURE_TEARDOWN(nm)
{
	xfd_meeting_end(&self->m);
}

static void guest_other_nm(void)
{
	static const u64 states[] = { XFD_ARMED, XFD_DORMANT, XFD_PENDING };
	u64 state;
	int i;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		state = states[i];
		xfd_meet_enter(state);
		GUEST_ASSERT_EQ(xfd_other_nm(X86_CR0_TS), NM_VECTOR);
		xfd_meet_with_msrs(xfd_state_xfd(state), xfd_state_xfd_err(state));
		GUEST_ASSERT_EQ(xfd_other_nm(X86_CR0_EM), NM_VECTOR);
		xfd_meet_with_msrs(xfd_state_xfd(state), xfd_state_xfd_err(state));
		xfd_meet_check(state);
	}
	GUEST_DONE();
}

TEST_F_TIMEOUT(nm, other, TIMEOUT)
{
	vcpu_arch_set_entry_point(self->m.vcpu, guest_other_nm);
	xfd_meeting_run_all(&self->m);
}

static noinline XFD_NO_SSE u8 tile_load_with_ts(const u8 *data)
{
	u64 cr0 = get_cr0();
	u8 vector;

	set_cr0(cr0 | X86_CR0_TS);
	vector = xfd_tile_load_safe(data);
	set_cr0(cr0);
	return vector;
}

static void guest_tile_and_ts(void)
{
	u64 xfd_err;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		xfd_meet_enter(XFD_ARMED);
		GUEST_ASSERT_EQ(tile_load_with_ts(xfd_meet_tiles.want), NM_VECTOR);
		xfd_err = rdmsr(MSR_IA32_XFD_ERR);
		GUEST_ASSERT(!(xfd_err & ~XFD_TILEDATA));
		xfd_meet_with_msrs(XFD_TILEDATA, xfd_err);
	}
	GUEST_DONE();
}

TEST_F_TIMEOUT(nm, tile_and_ts, TIMEOUT)
{
	/* It takes #NM with CR0.TS=1 for one that does not change XFD_ERR. */
	if (xfd_expect != XFD_ATTACHED)
		SKIP(return, "KVM gets it wrong where it switches XFD itself");
	vcpu_arch_set_entry_point(self->m.vcpu, guest_tile_and_ts);
	xfd_meeting_run_all(&self->m);
}

static void fep_check_msrs(u64 xfd, u64 xfd_err)
{
	u64 value;

	GUEST_ASSERT_EQ(rdmsr_safe_fep(MSR_IA32_XFD, &value), 0);
	GUEST_ASSERT_EQ(value, xfd);
	GUEST_ASSERT_EQ(rdmsr_safe_fep(MSR_IA32_XFD_ERR, &value), 0);
	GUEST_ASSERT_EQ(value, xfd_err);
}

static u8 fep_wrmsr(u32 msr, u64 value)
{
	return kvm_asm_safe_fep("wrmsr", "a"((u32)value), "d"(value >> 32), "c"(msr));
}

static void fep_xsetbv(u64 value)
{
	GUEST_ASSERT_EQ(kvm_asm_safe_fep("xsetbv", "a"((u32)value), "d"(value >> 32), "c"(0)), 0);
}

/* The state, with all accesses of the MSRs emulated. */
static void fep_round(u64 state)
{
	u64 xfd = xfd_state_xfd(state), xfd_err = xfd_state_xfd_err(state);
	u64 xcr0 = xgetbv(0);
	int i;

	fep_check_msrs(xfd, xfd_err);
	xfd_meet_event(xfd, xfd_err);
	fep_check_msrs(xfd, xfd_err);

	/* Other values, and back. */
	for (i = 0; i < 2; i++) {
		xfd ^= XFD_TILEDATA;
		xfd_err ^= XFD_TILEDATA;
		GUEST_ASSERT_EQ(fep_wrmsr(MSR_IA32_XFD, xfd), 0);
		GUEST_ASSERT_EQ(fep_wrmsr(MSR_IA32_XFD_ERR, xfd_err), 0);
		xfd_meet_check_msrs(xfd, xfd_err);
		xfd_meet_event(xfd, xfd_err);
		fep_check_msrs(xfd, xfd_err);
		xfd_meet_check_msrs(xfd, xfd_err);
		fep_xsetbv(xcr0 & ~XFEATURE_MASK_XTILE);
		check_without_xcr0(xfd, xfd_err);
		fep_xsetbv(xcr0);
	}
	GUEST_ASSERT_EQ(fep_wrmsr(MSR_IA32_XFD, ~0ull), GP_VECTOR);
	GUEST_ASSERT_EQ(fep_wrmsr(MSR_IA32_XFD_ERR, ~0ull), GP_VECTOR);

	if (xfd_state_xinuse(state))
		xfd_state_check_tiles(&xfd_meet_tiles, true);
	xfd_meet_check(state);
}

static void guest_fep(void)
{
	u64 state;

	for (state = 0; state < XFD_NR_STATES; state++) {
		xfd_meet_enter(state);
		fep_round(state);
	}
	GUEST_DONE();
}

FIXTURE(fep) {
	int old_fep;
};

XFD_FIXTURE_EVENTS(fep);

FIXTURE_SETUP(fep)
{
	const char *why = xfd_fep_missing();

	if (why)
		SKIP(return, "%s", why);
	if (variant->event == XFD_MIGRATE && xfd_cpu(1) < 0)
		SKIP(return, "one CPU");
	self->old_fep = xfd_fep_allow(1);
}

/* After a failure, too. */
FIXTURE_TEARDOWN_PARENT(fep)
{
	xfd_fep_allow(self->old_fep);
}

TEST_F_TIMEOUT(fep, all_states, TIMEOUT)
{
	struct xfd_meeting m;

	xfd_meeting_create(&m, guest_fep, XFD_ARMED, variant->event);
	xfd_meeting_begin(&m);
	xfd_meeting_run_all(&m);
	xfd_meeting_end(&m);
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	return xfd_run_tests(argc, argv);
}
