/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of what a vCPU has of XFD, which says what KVM's ioctls and the guest
 * must find; the guest's check against it; and the XSAVE images that carry it.
 */
#ifndef SELFTESTS_XFD_MODEL_H
#define SELFTESTS_XFD_MODEL_H

#include "xfd_host.h"

/* What tiles may hold: nothing (0, their initial state), or one of two patterns. */
#define XFD_PATTERNS	3

/*
 * What KVM does with tiles that are in use while XFD[18]=1, "dormant" ones.
 */
struct xfd_rules {
	/* The VM is attached: they stay.  Else they go on the next exit to userspace. */
	bool attached;
	/* KVM_CAP_X86_XFD_XSTATE is enabled: they are in images, too. */
	bool xstate;
};

struct xfd_model {
	u64 xfd;
	u64 xfd_err;
	/* Which of the patterns. */
	u64 tiles;
	/* TILECFG is in use, with the one configuration that there is here. */
	u64 tilecfg;
};

/* KVM_SET_MSRS, or an emulated write of the guest's. */
static inline void xfd_model_set_xfd(struct xfd_model *m, const struct xfd_rules *rules, u64 xfd)
{
	m->xfd = xfd;
	if (xfd && !rules->attached)
		m->tiles = 0;
}

/* KVM_SET_XSAVE of an image with these tiles. */
static inline void xfd_model_set_xsave(struct xfd_model *m, const struct xfd_rules *rules,
				       u64 tiles, u64 tilecfg)
{
	m->tiles = m->xfd && !rules->xstate ? 0 : tiles;
	m->tilecfg = tilecfg;
}

/* KVM_GET_XSAVE2: the tiles in the image. */
static inline u64 xfd_model_get_xsave(const struct xfd_model *m, const struct xfd_rules *rules)
{
	return m->xfd && !rules->xstate ? 0 : m->tiles;
}

/* An exit to userspace, or a task switch. */
static inline void xfd_model_exit(struct xfd_model *m, const struct xfd_rules *rules)
{
	if (m->xfd && !rules->attached)
		m->tiles = 0;
}

/*
 * The guest's side.  Globals lie at the same address in guest and host; the host
 * reaches those of a VM by xfd_guest_ptr().
 */
static struct xfd_tiles xfd_patterns[XFD_PATTERNS];

static inline bool xfd_same(const void *a, const void *b, u64 bytes)
{
	const u64 *x = a, *y = b;
	u64 i;

	for (i = 0; i < bytes / sizeof(*x); i++) {
		if (x[i] != y[i])
			return false;
	}
	return true;
}

/* Whatever can be seen without a write to either MSR. */
static inline void xfd_guest_look(const struct xfd_model *m)
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

/* All there is.  The guest is in the same state afterwards. */
static inline void xfd_guest_check(const struct xfd_model *m)
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

/* From whatever state to this one. */
static inline void xfd_guest_enter(const struct xfd_model *m)
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

/* The host's patterns, and the same for the guest of @vm. */
static inline void xfd_patterns_fill(struct kvm_vm *vm)
{
	int i;

	for (i = 1; i < XFD_PATTERNS && !xfd_patterns[i].want[0]; i++)
		xfd_tiles_fill(&xfd_patterns[i], 10 * i);
	memcpy(xfd_guest_ptr(vm, xfd_patterns), xfd_patterns, sizeof(xfd_patterns));
}

/*
 * The image that KVM_GET_XSAVE2 fills and KVM_SET_XSAVE takes.
 */
static inline struct xstate_header *xfd_image_header(struct kvm_xsave *image)
{
	return &((struct xstate *)image)->header;
}

static inline u32 *xfd_image_mxcsr(struct kvm_xsave *image)
{
	return (u32 *)((u8 *)image + 24);
}

static inline u8 *xfd_image_component(struct kvm_xsave *image, u64 component)
{
	u32 eax, ebx, ecx, edx;

	__cpuid(0xd, ilog2(component), &eax, &ebx, &ecx, &edx);
	return (u8 *)image + ebx;
}

static inline u32 xfd_image_size(struct kvm_vm *vm)
{
	int size = vm_check_cap(vm, KVM_CAP_XSAVE2);

	TEST_ASSERT(size > sizeof(struct kvm_xsave), "KVM_CAP_XSAVE2 is %d", size);
	return size;
}

static inline struct kvm_xsave *xfd_image_get(struct kvm_vcpu *vcpu)
{
	struct kvm_xsave *image = calloc(1, xfd_image_size(vcpu->vm));

	TEST_ASSERT(image, "out of memory");
	vcpu_xsave2_get(vcpu, image);
	return image;
}

static inline void xfd_image_put_tiles(struct kvm_xsave *image, u64 tiles, u64 tilecfg)
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

/*
 * The bytes of the header and of both tile components are these and no others,
 * on every kernel: an image of ours is then one of stock's, and the other way
 * round, unless KVM_CAP_X86_XFD_XSTATE was asked for.
 */
static inline void xfd_image_check(struct kvm_xsave *image, u64 tiles, u64 tilecfg)
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

#endif /* SELFTESTS_XFD_MODEL_H */
