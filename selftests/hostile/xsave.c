// SPDX-License-Identifier: GPL-2.0
/* KVM_SET_XSAVE and KVM_GET_XSAVE2. */
#include <errno.h>

#include "xsave.h"
#include "../lib/xfd.h"

/* As xfd_state_test has it, of one vCPU in all its life. */
static u32 mxcsr_mask(void)
{
	static u32 mask;
	u8 area[512] __aligned(16);

	if (!mask) {
		memset(area, 0, sizeof(area));
		asm volatile("fxsave %0" : "+m"(area));
		mask = *(u32 *)&area[28] ?: 0xffbf;
	}
	return mask;
}

bool spoil(struct attacker *a, struct kvm_xsave *image)
{
	struct xstate_header *header = xfd_image_header(image);
	u64 bit = BIT_ULL(below(a, 64));

	switch (below(a, 4)) {
	case 0:
		header->xstate_bv |= bit;
		return bit & ~kvm_cpu_supported_xcr0();
	case 1:
		header->xcomp_bv |= bit;
		return true;
	case 2:
		header->reserved[below(a, ARRAY_SIZE(header->reserved))] |= bit;
		return true;
	default:
		header->xstate_bv |= XFEATURE_MASK_SSE;
		*xfd_image_mxcsr(image) |= BIT(below(a, 32));
		return *xfd_image_mxcsr(image) & ~mxcsr_mask();
	}
}

void op_set_xsave(struct attacker *a, struct target *t)
{
	u64 tilecfg = !one_in(a, 8), tiles = below(a, XFD_PATTERNS);
	struct kvm_xsave *image;
	bool bad = false;

	get_image(a, t, a->image);
	image = buffer(a, t->image_size);
	memcpy(image, a->image, t->image_size);
	xfd_image_put_tiles(image, tiles, tilecfg);
	if (!one_in(a, 3))
		bad = spoil(a, image);
	/* A bit that is none too many may be one of the tiles'. */
	if (!bad)
		xfd_image_put_tiles(image, tiles, tilecfg);

	if (expect(a, t->vcpu->fd, KVM_SET_XSAVE, image, bad ? -EINVAL : 0) && !bad) {
		xfd_model_set_xsave(&t->model, &t->rules, tiles, tilecfg);
		check_all(a, t);
		return;
	}
	check_all(a, t);
	if (!xfd_same(a->image, a->image_after, t->image_size))
		fail(a, "KVM_SET_XSAVE failed, and changed something");
}

void op_get_xsave(struct attacker *a, struct target *t)
{
	void *image = buffer(a, t->image_size);

	if (one_in(a, 4)) {
		/* It has no room for tiles. */
		expect(a, t->vcpu->fd, KVM_GET_XSAVE, image, -EINVAL);
		return;
	}
	if (expect(a, t->vcpu->fd, KVM_GET_XSAVE2, image, 0))
		xfd_image_check(image, xfd_model_get_xsave(&t->model, &t->rules),
				t->model.tilecfg);
	check_msrs(a, t);
}
