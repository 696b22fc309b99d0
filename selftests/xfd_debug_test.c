// SPDX-License-Identifier: GPL-2.0
/*
 * A VMM debugs a guest that uses XFD, and stops it just where IA32_XFD or
 * IA32_XFD_ERR change.
 *
 *	step		it steps over a tile instruction
 *	hw_bp		and stops there at a breakpoint in DR0
 *	sw_bp		or at an INT3
 *	first_write	it steps over the guest's first write of XFD, with tiles in use
 *
 * the first three in each state of lib/state.h.
 */
#include "lib/harness.h"
#include "lib/meet.h"
#include "lib/xfd.h"

#define ROUNDS		3
/* Seconds of the machine's own clock. */
#define TIMEOUT		60

static noinline u8 debug_tile_load_safe(const u8 *data)
{
	u8 vector;

	/* Whether to come by the INT3. */
	if (xfd_meet.variant)
		asm volatile("debug_int3: int3");
	vector = kvm_asm_safe("debug_tile_load:" ASM_TILELOADD(0x04),
			      "a"(data), "d"((u64)XFD_TILE_COLSB));
	asm volatile("debug_end: nop");
	return vector;
}

static void guest_tile_load(void)
{
	u64 state = xfd_meet.state;
	u64 xfd = xfd_state_xfd(state), xfd_err = xfd_state_xfd_err(state);
	int i;

	xfd_meet_enter(state);
	for (i = 0; i < ROUNDS; i++) {
		xfd_meet_sync(XFD_MEET_EVENT, xfd, xfd_err);
		GUEST_ASSERT_EQ(debug_tile_load_safe(xfd_meet_tiles.want), xfd ? NM_VECTOR : 0);
		xfd_meet_check_msrs(xfd, xfd);
		wrmsr(MSR_IA32_XFD_ERR, xfd_err);
		xfd_meet_check(state);
	}
	GUEST_DONE();
}

/* Places in the guest's code. */
extern char debug_int3[], debug_tile_load[], debug_end[], debug_first_write[];

static void set_debug(struct kvm_vcpu *vcpu, u32 control, const char *dr0)
{
	struct kvm_guest_debug debug = { .control = control };

	if (dr0) {
		debug.arch.debugreg[0] = (unsigned long)dr0;
		debug.arch.debugreg[7] = 0x402;
	}
	vcpu_guest_debug_set(vcpu, &debug);
}

/* Until the VMM is told of a debug event; returns where. */
static u64 run_to_debug(struct xfd_meeting *m)
{
	vcpu_run(m->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(m->vcpu, KVM_EXIT_DEBUG);
	return m->vcpu->run->debug.arch.pc;
}

FIXTURE(tile_load) {
	struct xfd_meeting m;
};

XFD_FIXTURE_STATES(tile_load);

FIXTURE_SETUP(tile_load)
{
	xfd_meeting_create(&self->m, guest_tile_load, variant->state, XFD_VMCALL);
	xfd_meeting_begin(&self->m);
}

FIXTURE_TEARDOWN(tile_load)
{
	xfd_meeting_end(&self->m);
}

static void step_over_tile_load(struct xfd_meeting *m)
{
	bool seen = false;
	u64 pc;

	do {
		/* KVM wants to be told before each step. */
		set_debug(m->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, NULL);
		pc = run_to_debug(m);
		if (pc == (u64)debug_tile_load) {
			seen = true;
			xfd_meeting_check(m, m->guest->xfd, m->guest->xfd_err);
		}
	} while (pc != (u64)debug_end);
	TEST_ASSERT(seen, "the tile instruction was not stepped over");
	/* XFD, as XFD_ERR has it now. */
	xfd_meeting_check(m, m->guest->xfd, m->guest->xfd);
	set_debug(m->vcpu, 0, NULL);
}

TEST_F_TIMEOUT(tile_load, step, TIMEOUT)
{
	while (xfd_meeting_run(&self->m) != XFD_GUEST_DONE)
		step_over_tile_load(&self->m);
}

TEST_F_TIMEOUT(tile_load, hw_bp, TIMEOUT)
{
	const u32 control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	struct xfd_meeting *m = &self->m;

	while (xfd_meeting_run(m) != XFD_GUEST_DONE) {
		set_debug(m->vcpu, control, debug_tile_load);
		TEST_ASSERT_EQ(run_to_debug(m), (u64)debug_tile_load);
		xfd_meeting_check(m, m->guest->xfd, m->guest->xfd_err);
		/* The debug registers stay with the VMM, for an address that is not reached. */
		set_debug(m->vcpu, control, debug_int3);
	}
}

TEST_F_TIMEOUT(tile_load, sw_bp, TIMEOUT)
{
	struct xfd_meeting *m = &self->m;
	struct kvm_regs regs;

	m->guest->variant = true;
	while (xfd_meeting_run(m) != XFD_GUEST_DONE) {
		set_debug(m->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, NULL);
		TEST_ASSERT_EQ(run_to_debug(m), (u64)debug_int3);
		xfd_meeting_check(m, m->guest->xfd, m->guest->xfd_err);
		vcpu_regs_get(m->vcpu, &regs);
		regs.rip++;
		vcpu_regs_set(m->vcpu, &regs);
	}
}

XFD_FIXTURE_EMPTY(first_write);

static void guest_first_write(void)
{
	xfd_tiles_fill(&xfd_meet_tiles, 1);
	xfd_tiles_use(&xfd_meet_tiles);
	xfd_meet_sync(XFD_MEET_EVENT, 0, 0);
	asm volatile("wrmsr\n"
		     "debug_first_write:"
		     : : "c"(MSR_IA32_XFD), "a"((u32)XFD_TILEDATA), "d"(0) : "memory");
	xfd_meet_check(XFD_DORMANT);
	GUEST_DONE();
}

/*
 * KVM emulates that write, with the guest's registers in the CPU, and returns to
 * the VMM before it enters the guest again.
 */
TEST_F_TIMEOUT(first_write, step, TIMEOUT)
{
	struct xfd_meeting m;

	xfd_meeting_create(&m, guest_first_write, XFD_ARMED, XFD_VMCALL);
	TEST_ASSERT_EQ(xfd_meeting_run(&m), XFD_MEET_EVENT);
	do {
		set_debug(m.vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, NULL);
	} while (run_to_debug(&m) != (u64)debug_first_write);
	set_debug(m.vcpu, 0, NULL);
	xfd_meeting_check(&m, XFD_TILEDATA, 0);
	TEST_ASSERT_EQ(xfd_meeting_run(&m), XFD_GUEST_DONE);
	xfd_meeting_end(&m);
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	return xfd_run_tests(argc, argv);
}
