// SPDX-License-Identifier: GPL-2.0
/* KVM_SET_MSRS and KVM_SET_ONE_REG. */
#include <errno.h>

#include "msr.h"
#include "../lib/xfd.h"

/* __msr_io() takes no more. */
#define MAX_MSRS	256

u64 some_xfd(struct attacker *a)
{
	u64 value = one_in(a, 2) ? XFD_TILEDATA : 0;

	if (one_in(a, 3))
		return value;
	return one_in(a, 4) ? xfd_random(&a->random) | BIT(1) : value | BIT_ULL(below(a, 64));
}

bool is_xfd(u64 value)
{
	return !(value & ~XFD_TILEDATA);
}

/* Stock dies of XFD over tiles that are in memory: see xfd_hole_set_msrs. */
static bool kills_stock(struct target *t, u64 xfd)
{
	return xfd_expect == XFD_STOCK && t->model.tiles && xfd == XFD_TILEDATA;
}

static void model_set_msr(struct target *t, u32 index, u64 value)
{
	if (index == MSR_IA32_XFD)
		xfd_model_set_xfd(&t->model, &t->rules, value);
	else
		t->model.xfd_err = value;
}

void op_set_msrs(struct attacker *a, struct target *t)
{
	int i, nr = 1 + (one_in(a, 2) ? below(a, 8) : 0), good = 0;
	struct kvm_msrs *msrs = buffer(a, sizeof(*msrs) + nr * sizeof(msrs->entries[0]));
	struct kvm_msr_entry *e;

	msrs->nmsrs = nr;
	for (i = 0; i < nr; i++) {
		e = &msrs->entries[i];
		e->index = one_in(a, 2) ? MSR_IA32_XFD : MSR_IA32_XFD_ERR;
		e->data = some_xfd(a);
		if (kills_stock(t, e->data))
			e->data = 0;
	}
	while (good < nr && is_xfd(msrs->entries[good].data))
		good++;
	if (expect(a, t->vcpu->fd, KVM_SET_MSRS, msrs, good)) {
		for (i = 0; i < good; i++)
			model_set_msr(t, msrs->entries[i].index, msrs->entries[i].data);
	}
	check_msrs(a, t);
}

void op_one_reg(struct attacker *a, struct target *t)
{
	u32 index = one_in(a, 2) ? MSR_IA32_XFD : MSR_IA32_XFD_ERR;
	u64 *value = buffer(a, sizeof(*value));
	struct kvm_one_reg reg = {
		.id = KVM_X86_REG_MSR(index),
		.addr = (unsigned long)value,
	};

	*value = some_xfd(a);
	if (kills_stock(t, *value))
		*value = 0;
	if (expect(a, t->vcpu->fd, KVM_SET_ONE_REG, &reg, is_xfd(*value) ? 0 : -EINVAL) &&
	    is_xfd(*value))
		model_set_msr(t, index, *value);
	check_msrs(a, t);
	reg.addr++;
	expect(a, t->vcpu->fd, one_in(a, 2) ? KVM_SET_ONE_REG : KVM_GET_ONE_REG, &reg, -EFAULT);
	check_msrs(a, t);
}

void op_msrs_refused(struct attacker *a, struct target *t)
{
	struct kvm_msrs *msrs = buffer(a, sizeof(*msrs));

	msrs->nmsrs = MAX_MSRS + (one_in(a, 2) ? below(a, 1000) : 0);
	if (one_in(a, 4))
		msrs->nmsrs = -1;
	expect(a, t->vcpu->fd, one_in(a, 2) ? KVM_SET_MSRS : KVM_GET_MSRS, msrs, -E2BIG);
	check_msrs(a, t);
}
