// SPDX-License-Identifier: GPL-2.0
/* One thread. */
#include "alone.h"
#include "module.h"
#include "op.h"
#include "others.h"
#include "target.h"
#include "../lib/xfd.h"

/* How many VMs a set of memory serves, one after the other. */
#define SEEDS_PER_VM	32

void alone(const struct seeds *seeds)
{
	/* Of four ioctls three are of this test. */
	const u64 wanted = seeds->ioctls - seeds->ioctls / 4;
	bool faults = xfd_fault_available();
	struct attacker a = {};
	const struct op *op;
	struct others o;
	struct target t;
	u64 seed;

	others_begin(&o, seeds->first);
	attacker_init(&a);
	for (seed = seeds->first; more(seeds, seed, a.tally.ioctls, wanted); seed++) {
		attacker_seed(&a, seed);
		if (seed == seeds->first || seed % SEEDS_PER_VM == 0)
			target_create(&t, guest_code);
		else
			target_recreate(&t);
		a.op = "a new VM";
		if (t.rules.attached != module_state.loaded)
			fail(&a, "whether it is attached is not as the module is loaded");
		module_state.held += t.rules.attached;
		for (a.step = 0; a.step < STEPS_PER_SEED; a.step++) {
			op = some_op(&a);
			a.op = op->name;
			a.inject = faults && one_in(&a, 3);
			op->fn(&a, &t);
		}
		a.inject = false;
		a.op = "the end";
		run(&a, &t, &(struct xfd_model){});
		module_state.held -= t.rules.attached;
		if ((seed + 1) % SEEDS_PER_VM == 0 ||
		    !more(seeds, seed + 1, a.tally.ioctls, wanted))
			target_free(&t);
		else
			kvm_vm_release(t.vm);
		check_holders(&a);
	}
	if (xfd_expect == XFD_UNATTACHED && module_state.loaded)
		xfd_strategy_unload();
	others_end(&o);
	tally_report(&a.tally, seed - seeds->first);
	attacker_free(&a);
}
