// SPDX-License-Identifier: GPL-2.0
/* KVM_CREATE_VM and KVM_CREATE_VCPU. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "fresh.h"
#include "module.h"
#include "../lib/xfd.h"

void op_fresh_vm(struct attacker *a, struct target *t)
{
	bool protected = one_in(a, 4), bad = one_in(a, 4), first;
	unsigned long type = bad ? 1000 + below(a, 1000) : protected ? KVM_X86_SW_PROTECTED_VM :
						KVM_X86_DEFAULT_VM;
	bool attached = module_state.loaded && !protected;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_XFD_XSTATE };
	int kvm = open(KVM_DEV_PATH, O_RDWR | O_CLOEXEC);
	long vm, vcpu = -1, got;

	TEST_ASSERT(kvm >= 0, "cannot open " KVM_DEV_PATH);
	if (!__expect(a, kvm, KVM_CREATE_VM, type, bad ? -EINVAL : SOME_FD, &vm) || bad) {
		close(kvm);
		check_holders(a);
		return;
	}
	close(kvm);
	module_state.held += attached;
	expect(a, vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_XFD_XSTATE, attached);
	check_holders(a);
	if (one_in(a, 2))
		expect(a, vm, KVM_ENABLE_CAP, &cap, attached ? 0 : -EINVAL);
	if (one_in(a, 2))
		expect(a, vm, KVM_CREATE_IRQCHIP, NULL, 0);
	if (one_in(a, 4))
		__expect(a, vm, KVM_CREATE_VCPU, UINT_MAX - below(a, 1000), -EINVAL, &got);
	if (__expect(a, vm, KVM_CREATE_VCPU, 0, SOME_FD, &vcpu)) {
		a->inject &= one_in(a, 2);
		__expect(a, vm, KVM_CREATE_VCPU, 0, -EEXIST, &got);
		expect(a, vcpu, KVM_SET_CPUID2, t->cpuid, 0);
	} else {
		vcpu = -1;
	}
	first = one_in(a, 2);
	close(first ? vm : vcpu);
	if (first && vcpu >= 0) {
		check_holders(a);
		expect(a, vcpu, KVM_ENABLE_CAP, &cap, -EINVAL);
	}
	close(first ? vcpu : vm);
	module_state.held -= attached;
	check_holders(a);
}

void op_fresh_vcpu(struct attacker *a, struct target *t)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry.index = MSR_IA32_XFD };
	struct kvm_xsave *image;
	long vcpu;

	if (t->next_vcpu_id > 8)
		return;
	if (!__expect(a, t->vm->fd, KVM_CREATE_VCPU, t->next_vcpu_id, SOME_FD, &vcpu))
		return;
	t->next_vcpu_id++;
	expect(a, vcpu, KVM_SET_MSRS, &msrs, 1);
	msrs.entry.data = XFD_TILEDATA;
	expect(a, vcpu, KVM_SET_MSRS, &msrs, 0);
	get_image(a, t, a->image);
	image = buffer(a, t->image_size);
	memcpy(image, a->image, t->image_size);
	xfd_image_put_tiles(image, 1, 1);
	expect(a, vcpu, KVM_SET_XSAVE, image, -EINVAL);
	if (expect(a, vcpu, KVM_SET_CPUID2, t->cpuid, 0)) {
		expect(a, vcpu, KVM_SET_XSAVE, image, 0);
		/* That would be to kill stock. */
		if (xfd_expect != XFD_STOCK)
			expect(a, vcpu, KVM_SET_MSRS, &msrs, 1);
		expect(a, vcpu, KVM_GET_XSAVE2, image, 0);
	}
	close(vcpu);
	check_all(a, t);
}
