// SPDX-License-Identifier: GPL-2.0
/* KVM_RUN. */
#include <errno.h>

#include "run.h"

struct xfd_model some_state(struct attacker *a)
{
	u64 tilecfg = !one_in(a, 8);

	return (struct xfd_model){
		.xfd = one_in(a, 2) ? XFD_TILEDATA : 0,
		.xfd_err = one_in(a, 4) ? XFD_TILEDATA : 0,
		.tilecfg = tilecfg,
		.tiles = tilecfg ? below(a, XFD_PATTERNS) : 0,
	};
}

void op_run(struct attacker *a, struct target *t)
{
	struct xfd_model enter = some_state(a);

	run(a, t, &enter);
}

void op_run_refused(struct attacker *a, struct target *t)
{
	struct kvm_run *r = t->vcpu->run;

	switch (below(a, 4)) {
	case 0:
		expect(a, t->vcpu->fd, KVM_RUN, (void *)(1 + below(a, 1000)), -EINVAL);
		break;
	case 1:
		r->immediate_exit = 1;
		expect(a, t->vcpu->fd, KVM_RUN, NULL, -EINTR);
		r->immediate_exit = 0;
		break;
	case 2:
		r->kvm_valid_regs = BIT_ULL(20 + below(a, 40));
		expect(a, t->vcpu->fd, KVM_RUN, NULL, -EINVAL);
		r->kvm_valid_regs = 0;
		break;
	case 3:
		r->kvm_dirty_regs = BIT_ULL(20 + below(a, 40));
		expect(a, t->vcpu->fd, KVM_RUN, NULL, -EINVAL);
		r->kvm_dirty_regs = 0;
		break;
	}
	check_all(a, t);
}
