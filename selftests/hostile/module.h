/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module.  While an attached VM is there, it stays.  With --expect=unattached the attacker
 * itself loads and unloads it, and the VMs that he creates are what they are by that.
 */
#ifndef SELFTESTS_HOSTILE_MODULE_H
#define SELFTESTS_HOSTILE_MODULE_H

#include "target.h"

struct module_state {
	bool loaded;
	/* VMs that hold it. */
	int held;
};

extern struct module_state module_state;

/* The file that it is loaded from. */
void module_is_at(const char *path);

void op_module(struct attacker *a, struct target *t);

/* Who holds the module is known at any time, except for VMs that RCU still has to free. */
void check_holders(struct attacker *a);

#endif /* SELFTESTS_HOSTILE_MODULE_H */
