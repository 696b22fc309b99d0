// SPDX-License-Identifier: GPL-2.0
/* KVM_SET_CPUID2, KVM_ENABLE_CAP, and more that KVM refuses. */
#include <errno.h>

#include "setting.h"
#include "../lib/xfd.h"

#define MAX_CPUID	256

void op_set_cpuid(struct attacker *a, struct target *t)
{
	struct kvm_cpuid2 *cpuid = buffer(a, cpuid_size(t->cpuid));
	struct kvm_cpuid_entry2 *e;

	memcpy(cpuid, t->cpuid, cpuid_size(t->cpuid));
	switch (below(a, 4)) {
	case 0:
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, 0);
		break;
	case 1:
		cpuid->nent = MAX_CPUID + 1 + below(a, 1000);
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, -E2BIG);
		break;
	case 2:
		if (!t->has_run)
			break;
		e = &cpuid->entries[below(a, cpuid->nent)];
		(&e->eax)[below(a, 4)] ^= BIT(below(a, 32));
		/* KVM's own bits, of the state of the vCPU: it puts them right. */
		if (e->function == 1 || e->function == 7 || e->function == 0xd ||
		    e->function >> 28 == 4)
			break;
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, -EINVAL);
		break;
	case 3:
		if (!t->has_run)
			break;
		cpuid->nent = below(a, cpuid->nent);
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, -EINVAL);
		break;
	}
	check_all(a, t);
}

void op_enable_cap(struct attacker *a, struct target *t)
{
	struct kvm_enable_cap *cap = buffer(a, sizeof(*cap));
	bool bad;

	cap->cap = KVM_CAP_X86_XFD_XSTATE;
	if (one_in(a, 3))
		cap->flags = one_in(a, 2) ? 1 : xfd_random(&a->random);
	if (one_in(a, 3))
		cap->args[0] = one_in(a, 2) ? 1 : xfd_random(&a->random);
	/* Not every time, or all but the beginning would be with it. */
	if (!cap->flags && !cap->args[0] && !one_in(a, 4))
		cap->args[0] = 1;
	bad = cap->flags || cap->args[0] || !t->rules.attached;
	if (one_in(a, 4)) {
		expect(a, t->vcpu->fd, KVM_ENABLE_CAP, cap, -EINVAL);
		check_all(a, t);
		return;
	}
	if (expect(a, t->vm->fd, KVM_ENABLE_CAP, cap, bad ? -EINVAL : 0) && !bad)
		t->rules.xstate = true;
	expect(a, t->vm->fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_XFD_XSTATE,
	       t->rules.attached);
	check_all(a, t);
}

void op_fault(struct attacker *a, struct target *t)
{
	static const struct {
		unsigned long cmd;
		size_t size;
	} cmds[] = {
		{ KVM_SET_XSAVE, 0 }, { KVM_GET_XSAVE2, 0 },
		{ KVM_SET_MSRS, sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry) },
		{ KVM_GET_MSRS, sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry) },
		{ KVM_SET_CPUID2, sizeof(struct kvm_cpuid2) + sizeof(struct kvm_cpuid_entry2) },
		{ KVM_SET_XCRS, sizeof(struct kvm_xcrs) },
		{ KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs) },
		{ KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events) },
		{ KVM_SET_MP_STATE, sizeof(struct kvm_mp_state) },
		{ KVM_SET_SREGS, sizeof(struct kvm_sregs) },
		{ KVM_SET_REGS, sizeof(struct kvm_regs) },
		{ KVM_SET_FPU, sizeof(struct kvm_fpu) },
		{ KVM_ENABLE_CAP, sizeof(struct kvm_enable_cap) },
		{ KVM_SET_ONE_REG, sizeof(struct kvm_one_reg) },
	};
	int i = below(a, ARRAY_SIZE(cmds));
	unsigned long cmd = cmds[i].cmd;
	size_t size = cmds[i].size ?: t->image_size;
	u8 *ptr = buffer(a, size);

	switch (cmd) {
	case KVM_SET_XSAVE:
		get_image(a, t, a->image);
		memcpy(ptr, a->image, size);
		xfd_image_put_tiles((struct kvm_xsave *)ptr, 1 + below(a, 2), 1);
		break;
	case KVM_SET_MSRS:
	case KVM_GET_MSRS:
		((struct kvm_msrs *)ptr)->nmsrs = 1;
		((struct kvm_msrs *)ptr)->entries[0].index = MSR_IA32_XFD;
		break;
	case KVM_SET_CPUID2:
		((struct kvm_cpuid2 *)ptr)->nent = 1;
		break;
	}
	expect(a, cmd == KVM_ENABLE_CAP ? t->vm->fd : t->vcpu->fd, cmd, cut_short(a, ptr), -EFAULT);
	check_all(a, t);
}

void op_refused(struct attacker *a, struct target *t)
{
	union {
		struct kvm_xcrs xcrs;
		struct kvm_vcpu_events events;
		struct kvm_debugregs debugregs;
		struct kvm_mp_state mp_state;
		struct kvm_sregs sregs;
		struct kvm_nested_state nested;
		struct kvm_signal_mask mask;
	} *u = buffer(a, sizeof(*u));
	unsigned long cmd = 0;
	long want = -EINVAL;

	switch (below(a, 8)) {
	case 0:
		cmd = KVM_SET_XCRS;
		u->xcrs.nr_xcrs = 1;
		/* Tiles without x87, or half of the tiles. */
		u->xcrs.xcrs[0].value = one_in(a, 2) ? XFEATURE_MASK_XTILE :
				XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_XTILE_DATA;
		break;
	case 1:
		cmd = KVM_SET_XCRS;
		u->xcrs.nr_xcrs = KVM_MAX_XCRS + 1 + below(a, 1000);
		break;
	case 2:
		cmd = KVM_SET_VCPU_EVENTS;
		u->events.flags = BIT(16 + below(a, 16));
		break;
	case 3:
		cmd = KVM_SET_DEBUGREGS;
		u->debugregs.flags = 1 + below(a, 1000);
		break;
	case 4:
		cmd = KVM_SET_MP_STATE;
		u->mp_state.mp_state = 1000 + below(a, 1000);
		break;
	case 5:
		cmd = KVM_SET_SREGS;
		u->sregs = t->sregs;
		u->sregs.cr4 |= BIT_ULL(40 + below(a, 20));
		break;
	case 6:
		cmd = KVM_SET_SIGNAL_MASK;
		u->mask.len = 9 + below(a, 1000);
		break;
	case 7:
		cmd = _IOW(KVMIO, 0xff, u64);
		break;
	}
	expect(a, t->vcpu->fd, cmd, u, want);
	check_all(a, t);
}
