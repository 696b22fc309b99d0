/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of what a vCPU has of XFD, which says what KVM's ioctls and the guest
 * must find; the guest's check against it; and the images that carry it.
 */
#ifndef SELFTESTS_LIB_MODEL_H
#define SELFTESTS_LIB_MODEL_H

#include "image.h"
#include "tiles.h"

/* What tiles may hold: nothing (0, their initial state), or one of two patterns. */
#define XFD_PATTERNS	3

/* Globals lie at the same address in guest and host; see xfd_guest_ptr(). */
extern struct xfd_tiles xfd_patterns[XFD_PATTERNS];

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
void xfd_model_set_xfd(struct xfd_model *m, const struct xfd_rules *rules, u64 xfd);

/* KVM_SET_XSAVE of an image with these tiles. */
void xfd_model_set_xsave(struct xfd_model *m, const struct xfd_rules *rules, u64 tiles,
			 u64 tilecfg);

/* KVM_GET_XSAVE2: the tiles in the image. */
u64 xfd_model_get_xsave(const struct xfd_model *m, const struct xfd_rules *rules);

/* An exit to userspace, or a task switch. */
void xfd_model_exit(struct xfd_model *m, const struct xfd_rules *rules);

/* Compared by words. */
bool xfd_same(const void *a, const void *b, u64 bytes);

/* In the guest: whatever can be seen without a write to either MSR. */
void xfd_guest_look(const struct xfd_model *m);

/* All there is.  The guest is in the same state afterwards. */
void xfd_guest_check(const struct xfd_model *m);

/* From whatever state to this one. */
void xfd_guest_enter(const struct xfd_model *m);

/* The host's patterns, and the same for the guest of @vm. */
void xfd_patterns_fill(struct kvm_vm *vm);

/* Puts these tiles into an image, whatever it had. */
void xfd_image_put_tiles(struct kvm_xsave *image, u64 tiles, u64 tilecfg);

/*
 * The bytes of the header and of both tile components are these and no others,
 * on every kernel: an image of ours is then one of stock's, and the other way
 * round, unless KVM_CAP_X86_XFD_XSTATE was asked for.
 */
void xfd_image_check(struct kvm_xsave *image, u64 tiles, u64 tilecfg);

#endif /* SELFTESTS_LIB_MODEL_H */
