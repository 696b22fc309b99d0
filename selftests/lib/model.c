// SPDX-License-Identifier: GPL-2.0
/* The model of XFD's state, in the host, in the guest, and in images. */
#include "model.h"
#include "vcpu.h"

struct xfd_tiles xfd_patterns[XFD_PATTERNS];

void xfd_model_set_xfd(struct xfd_model *m, const struct xfd_rules *rules, u64 xfd)
{
	m->xfd = xfd;
	if (xfd && !rules->attached)
		m->tiles = 0;
}

void xfd_model_set_xsave(struct xfd_model *m, const struct xfd_rules *rules, u64 tiles,
			 u64 tilecfg)
{
	m->tiles = m->xfd && !rules->xstate ? 0 : tiles;
	m->tilecfg = tilecfg;
}

u64 xfd_model_get_xsave(const struct xfd_model *m, const struct xfd_rules *rules)
{
	return m->xfd && !rules->xstate ? 0 : m->tiles;
}

void xfd_model_exit(struct xfd_model *m, const struct xfd_rules *rules)
{
	if (m->xfd && !rules->attached)
		m->tiles = 0;
}

bool xfd_same(const void *a, const void *b, u64 bytes)
{
	const u64 *x = a, *y = b;
	u64 i;

	for (i = 0; i < bytes / sizeof(*x); i++) {
		if (x[i] != y[i])
			return false;
	}
	return true;
}

void xfd_guest_look(const struct xfd_model *m)
{
	struct xfd_tiles *t = &xfd_patterns[m->tiles];
	u64 in_use = (m->tiles ? XFD_TILEDATA : 0) |
		     (m->tilecfg ? XFEATURE_MASK_XTILE_CFG : 0);

	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), m->xfd);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), m->xfd_err);
	GUEST_ASSERT_EQ(xfd_xinuse() & XFEATURE_MASK_XTILE, in_use);
	if (!m->tilecfg)
		return;

	xfd_sttilecfg(&t->cfg_got);
	GUEST_ASSERT(xfd_same(&xfd_patterns[1].cfg, &t->cfg_got, sizeof(t->cfg_got)));
	if (!m->xfd) {
		xfd_tiles_store(t->got);
		GUEST_ASSERT(xfd_same(t->want, t->got, sizeof(t->got)));
	}
}

void xfd_guest_check(const struct xfd_model *m)
{
	struct xfd_model unarmed = *m;

	xfd_guest_look(m);
	if (!m->xfd)
		return;

	/* Without a configuration tile instructions raise #UD. */
	if (m->tilecfg) {
		wrmsr(MSR_IA32_XFD_ERR, 0);
		GUEST_ASSERT_EQ(xfd_tile_load_safe(xfd_patterns[1].want), NM_VECTOR);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), m->xfd);
		wrmsr(MSR_IA32_XFD_ERR, m->xfd_err);
	}
	wrmsr(MSR_IA32_XFD, 0);
	unarmed.xfd = 0;
	xfd_guest_look(&unarmed);
	wrmsr(MSR_IA32_XFD, m->xfd);
}

void xfd_guest_enter(const struct xfd_model *m)
{
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tilerelease();
	if (m->tilecfg)
		xfd_ldtilecfg(&xfd_patterns[1].cfg);
	if (m->tiles)
		xfd_tiles_load(xfd_patterns[m->tiles].want);
	wrmsr(MSR_IA32_XFD, m->xfd);
	wrmsr(MSR_IA32_XFD_ERR, m->xfd_err);
}

void xfd_patterns_fill(struct kvm_vm *vm)
{
	int i;

	for (i = 1; i < XFD_PATTERNS && !xfd_patterns[i].want[0]; i++)
		xfd_tiles_fill(&xfd_patterns[i], 10 * i);
	memcpy(xfd_guest_ptr(vm, xfd_patterns), xfd_patterns, sizeof(xfd_patterns));
}

void xfd_image_put_tiles(struct kvm_xsave *image, u64 tiles, u64 tilecfg)
{
	struct xstate_header *header = xfd_image_header(image);

	header->xstate_bv &= ~XFEATURE_MASK_XTILE;
	header->xstate_bv |= (tiles ? XFD_TILEDATA : 0) |
			     (tilecfg ? XFEATURE_MASK_XTILE_CFG : 0);
	memcpy(xfd_image_component(image, XFEATURE_MASK_XTILE_CFG),
	       &xfd_patterns[tilecfg].cfg, sizeof(xfd_patterns[0].cfg));
	memcpy(xfd_image_component(image, XFD_TILEDATA),
	       xfd_patterns[tiles].want, sizeof(xfd_patterns[0].want));
}

void xfd_image_check(struct kvm_xsave *image, u64 tiles, u64 tilecfg)
{
	struct xstate_header *header = xfd_image_header(image);
	int i;

	TEST_ASSERT_EQ(header->xstate_bv & XFEATURE_MASK_XTILE,
		       (tiles ? XFD_TILEDATA : 0) | (tilecfg ? XFEATURE_MASK_XTILE_CFG : 0));
	TEST_ASSERT_EQ(header->xcomp_bv, 0);
	for (i = 0; i < ARRAY_SIZE(header->reserved); i++)
		TEST_ASSERT_EQ(header->reserved[i], 0);
	TEST_ASSERT(xfd_same(xfd_image_component(image, XFEATURE_MASK_XTILE_CFG),
			     &xfd_patterns[tilecfg].cfg, sizeof(xfd_patterns[0].cfg)),
		    "TILECFG in the image is not %s", tilecfg ? "the guest's" : "initial");
	TEST_ASSERT(xfd_same(xfd_image_component(image, XFD_TILEDATA),
			     xfd_patterns[tiles].want, sizeof(xfd_patterns[0].want)),
		    "the tiles in the image are not %s", tiles ? "the guest's" : "initial");
}
