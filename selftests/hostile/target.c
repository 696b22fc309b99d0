// SPDX-License-Identifier: GPL-2.0
/* Targets, and what must be found in them. */
#include "target.h"
#include "../lib/xfd.h"

int cpuid_size(const struct kvm_cpuid2 *cpuid)
{
	return sizeof(*cpuid) + cpuid->nent * sizeof(cpuid->entries[0]);
}

void target_create(struct target *t, void (*guest)(void))
{
	memset(t, 0, sizeof(*t));
	t->vm = vm_create_with_one_vcpu(&t->vcpu, guest);
	xfd_patterns_fill(t->vm);
	vcpu_regs_get(t->vcpu, &t->regs);
	vcpu_sregs_get(t->vcpu, &t->sregs);
	vcpu_xcrs_get(t->vcpu, &t->xcrs);
	t->cpuid = malloc(cpuid_size(t->vcpu->cpuid));
	TEST_ASSERT(t->cpuid, "out of memory");
	memcpy(t->cpuid, t->vcpu->cpuid, cpuid_size(t->vcpu->cpuid));
	t->image_size = xfd_image_size(t->vm);
	t->order = xfd_guest_ptr(t->vm, order);
	t->rules.attached = xfd_vm_attached(t->vm->fd);
	t->next_vcpu_id = 1;
}

void target_recreate(struct target *t)
{
	kvm_vm_restart(t->vm);
	t->vcpu = vm_vcpu_recreate(t->vm, 0);
	vcpu_sregs_set(t->vcpu, &t->sregs);
	vcpu_xcrs_set(t->vcpu, &t->xcrs);
	vcpu_regs_set(t->vcpu, &t->regs);
	t->model = (struct xfd_model){};
	t->rules = (struct xfd_rules){ .attached = xfd_vm_attached(t->vm->fd) };
	t->has_run = false;
	t->next_vcpu_id = 1;
}

void target_free(struct target *t)
{
	kvm_vm_free(t->vm);
	free(t->cpuid);
}

void run(struct attacker *a, struct target *t, const struct xfd_model *enter)
{
	struct kvm_run *r = t->vcpu->run;

	t->order->before = t->model;
	t->order->after = *enter;
	if (!expect(a, t->vcpu->fd, KVM_RUN, 0, 0)) {
		/* It has failed, and must be none the worse for it. */
		a->inject = false;
		expect(a, t->vcpu->fd, KVM_RUN, 0, 0);
	}
	t->has_run = true;
	if (r->exit_reason != KVM_EXIT_IO || r->io.port != PORT) {
		xfd_vcpu_says(t->vcpu);
		fail(a, "the guest did not leave by its port");
	}
	t->model = *enter;
	xfd_model_exit(&t->model, &t->rules);
}

static u64 get_msr(struct attacker *a, struct target *t, u32 index)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry.index = index };

	if (call(a, t->vcpu->fd, KVM_GET_MSRS, (unsigned long)&msrs) != 1)
		fail(a, "KVM_GET_MSRS failed");
	return msrs.entry.data;
}

void check_msrs(struct attacker *a, struct target *t)
{
	if (get_msr(a, t, MSR_IA32_XFD) != t->model.xfd)
		fail(a, "XFD is another");
	if (get_msr(a, t, MSR_IA32_XFD_ERR) != t->model.xfd_err)
		fail(a, "XFD_ERR is another");
}

void get_image(struct attacker *a, struct target *t, u8 *image)
{
	if (call(a, t->vcpu->fd, KVM_GET_XSAVE2, (unsigned long)image))
		fail(a, "KVM_GET_XSAVE2 failed");
	xfd_image_check((struct kvm_xsave *)image, xfd_model_get_xsave(&t->model, &t->rules),
			t->model.tilecfg);
}

void check_all(struct attacker *a, struct target *t)
{
	check_msrs(a, t);
	get_image(a, t, a->image_after);
}
