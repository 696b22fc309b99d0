/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The XSAVE image that KVM_GET_XSAVE2 fills and KVM_SET_XSAVE takes.
 */
#ifndef SELFTESTS_LIB_IMAGE_H
#define SELFTESTS_LIB_IMAGE_H

#include "kvm_util.h"
#include "processor.h"

/* As KVM_CAP_XSAVE2 has it: with tiles it is larger than struct kvm_xsave. */
u32 xfd_image_size(struct kvm_vm *vm);

/* The vCPU's, by KVM_GET_XSAVE2; to be freed. */
struct kvm_xsave *xfd_image_get(struct kvm_vcpu *vcpu);

static inline struct xstate_header *xfd_image_header(struct kvm_xsave *image)
{
	return &((struct xstate *)image)->header;
}

static inline u32 *xfd_image_mxcsr(struct kvm_xsave *image)
{
	return (u32 *)((u8 *)image + 24);
}

/* Where a component is, given its bit. */
u8 *xfd_image_component(struct kvm_xsave *image, u64 component);

#endif /* SELFTESTS_LIB_IMAGE_H */
