// SPDX-License-Identifier: GPL-2.0
/* XSAVE images: their size, and where the components are. */
#include "image.h"

u32 xfd_image_size(struct kvm_vm *vm)
{
	int size = vm_check_cap(vm, KVM_CAP_XSAVE2);

	TEST_ASSERT(size > (int)sizeof(struct kvm_xsave), "KVM_CAP_XSAVE2 is %d", size);
	return size;
}

struct kvm_xsave *xfd_image_get(struct kvm_vcpu *vcpu)
{
	struct kvm_xsave *image = calloc(1, xfd_image_size(vcpu->vm));

	TEST_ASSERT(image, "out of memory");
	vcpu_xsave2_get(vcpu, image);
	return image;
}

u8 *xfd_image_component(struct kvm_xsave *image, u64 component)
{
	u32 eax, ebx, ecx, edx;

	__cpuid(0xd, ilog2(component), &eax, &ebx, &ecx, &edx);
	return (u8 *)image + ebx;
}
