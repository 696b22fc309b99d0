/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The states that a guest's XFD, XFD_ERR and tiles can be in together, for a
 * guest that uses tiles lazily, as Linux does: how it enters them, at ring 0 of
 * any mode that has tiles, and everything that it sees of them there.
 */
#ifndef SELFTESTS_XFD_STATE_H
#define SELFTESTS_XFD_STATE_H

#include "xfd.h"

enum xfd_state {
	/* XFD[18]=1, tiles initial. */
	XFD_ARMED,
	/* XFD=0, tiles in use. */
	XFD_LIVE,
	/* XFD[18]=1, tiles in use. */
	XFD_DORMANT,
	/* As armed, and XFD_ERR[18]=1 left by a #NM. */
	XFD_PENDING,
	XFD_NR_STATES,
};

static const char * const xfd_state_names[] = { "armed", "live", "dormant", "pending" };

static inline u64 xfd_state_xfd(enum xfd_state state)
{
	return state == XFD_LIVE ? 0 : XFD_TILEDATA;
}

static inline u64 xfd_state_xfd_err(enum xfd_state state)
{
	return state == XFD_PENDING ? XFD_TILEDATA : 0;
}

static inline u64 xfd_state_xinuse(enum xfd_state state)
{
	return state == XFD_LIVE || state == XFD_DORMANT ? XFD_TILEDATA : 0;
}

/* From any state to @state, with the tiles of @t where they are in use. */
static inline void xfd_state_enter(struct xfd_tiles *t, enum xfd_state state)
{
	wrmsr(MSR_IA32_XFD, 0);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	if (xfd_state_xinuse(state)) {
		xfd_tiles_use(t);
	} else {
		xfd_tilerelease();
		xfd_ldtilecfg(&t->cfg);
	}
	wrmsr(MSR_IA32_XFD, xfd_state_xfd(state));
	if (state == XFD_PENDING)
		GUEST_ASSERT_EQ(xfd_tile_load_safe(t->want), NM_VECTOR);
}

/*
 * Tiles in use are those of @t, whatever XFD is.  If @tolerate and @dormant they
 * may instead be initial, as XINUSE then says, and are loaded again.
 */
static inline void xfd_state_check_tiles(struct xfd_tiles *t, bool dormant, bool tolerate)
{
	u64 in_use = xfd_xinuse() & XFD_TILEDATA;
	u64 xfd = rdmsr(MSR_IA32_XFD);
	u64 lost;

	wrmsr(MSR_IA32_XFD, 0);
	lost = xfd_tiles_lost(t);
	if (lost) {
		__GUEST_ASSERT(dormant && tolerate, "%lu bytes of %d lost", lost, XFD_TILES_BYTES);
		__GUEST_ASSERT(xfd_tiles_initial(t),
			       "tiles neither kept nor initial: %lu bytes differ", lost);
		GUEST_ASSERT_EQ(in_use, 0ull);
		xfd_tiles_use(t);
	} else {
		GUEST_ASSERT_EQ(in_use, XFD_TILEDATA);
	}
	wrmsr(MSR_IA32_XFD, xfd);
}

/* Everything that a guest can see of its state, and that it keeps working. */
static inline void xfd_state_check(struct xfd_tiles *t, enum xfd_state state, bool tolerate)
{
	bool dormant = state == XFD_DORMANT;

	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), xfd_state_xfd(state));
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_state_xfd_err(state));
	if (!(dormant && tolerate))
		GUEST_ASSERT_EQ(xfd_xinuse() & XFD_TILEDATA, xfd_state_xinuse(state));
	GUEST_ASSERT_EQ(xfd_xinuse() & XFEATURE_MASK_XTILE_CFG, XFEATURE_MASK_XTILE_CFG);
	xfd_sttilecfg(&t->cfg_got);
	GUEST_ASSERT(!memcmp(&t->cfg, &t->cfg_got, sizeof(t->cfg)));

	/* #NM where XFD says so, with its reason. */
	if (xfd_state_xfd(state)) {
		wrmsr(MSR_IA32_XFD_ERR, 0);
		GUEST_ASSERT_EQ(xfd_tile_load_safe(t->want), NM_VECTOR);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), XFD_TILEDATA);
		wrmsr(MSR_IA32_XFD_ERR, xfd_state_xfd_err(state));
	}
	if (xfd_state_xinuse(state))
		xfd_state_check_tiles(t, dormant, tolerate);
}

#define XFD_NO_SSE	__attribute__((target("general-regs-only"), unused))

/*
 * A #NM that is none of XFD's, as @cr0_bit, TS or EM, makes FNOP raise it; returns
 * the vector.  SSE instructions raise it as well, and the compiler uses those in
 * the library's handling of exceptions: it needs xfd_nm_handler().
 */
static noinline XFD_NO_SSE u8 xfd_other_nm(u64 cr0_bit)
{
	u64 cr0 = get_cr0();
	u8 vector;

	set_cr0(cr0 | cr0_bit);
	vector = kvm_asm_safe("fnop");
	set_cr0(cr0);
	return vector;
}

/* For vm_install_exception_handler(): serves kvm_asm_safe() as the library does. */
static XFD_NO_SSE void xfd_nm_handler(struct ex_regs *regs)
{
	if (regs->r9 != KVM_EXCEPTION_MAGIC || regs->rip != regs->r10) {
		set_cr0(get_cr0() & ~(X86_CR0_TS | X86_CR0_EM));
		GUEST_FAIL("#NM at RIP %lx", regs->rip);
	}
	regs->rip = regs->r11;
	regs->r9 = regs->vector;
	regs->r10 = regs->error_code;
}

#endif /* SELFTESTS_XFD_STATE_H */
