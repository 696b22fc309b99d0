// SPDX-License-Identifier: GPL-2.0
/* A guest enters the states of XFD, XFD_ERR and tiles, and checks them. */
#include "expect.h"
#include "state.h"

void xfd_state_enter(struct xfd_tiles *t, enum xfd_state state)
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

void xfd_state_check_tiles(struct xfd_tiles *t, bool dormant)
{
	u64 in_use = xfd_xinuse() & XFD_TILEDATA;
	u64 xfd = rdmsr(MSR_IA32_XFD);
	u64 lost;

	wrmsr(MSR_IA32_XFD, 0);
	lost = xfd_tiles_lost(t);
	if (lost) {
		__GUEST_ASSERT(dormant && xfd_dormant_may_go(), "%lu bytes of %d lost", lost,
			       XFD_TILES_BYTES);
		__GUEST_ASSERT(xfd_tiles_initial(t),
			       "tiles neither kept nor initial: %lu bytes differ", lost);
		GUEST_ASSERT_EQ(in_use, 0ull);
		xfd_tiles_use(t);
	} else {
		GUEST_ASSERT_EQ(in_use, XFD_TILEDATA);
	}
	wrmsr(MSR_IA32_XFD, xfd);
}

void xfd_state_check(struct xfd_tiles *t, enum xfd_state state)
{
	bool dormant = state == XFD_DORMANT;

	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), xfd_state_xfd(state));
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_state_xfd_err(state));
	if (!(dormant && xfd_dormant_may_go()))
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
		xfd_state_check_tiles(t, dormant);
}
