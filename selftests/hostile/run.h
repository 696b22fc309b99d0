/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KVM_RUN, as it must succeed and as it must not.
 */
#ifndef SELFTESTS_HOSTILE_RUN_H
#define SELFTESTS_HOSTILE_RUN_H

#include "target.h"

/* Any of the four states, or that of a guest that has no tiles at all. */
struct xfd_model some_state(struct attacker *a);

void op_run(struct attacker *a, struct target *t);

/* It must not come as far as the guest. */
void op_run_refused(struct attacker *a, struct target *t);

#endif /* SELFTESTS_HOSTILE_RUN_H */
