/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whatever else a VMM sets: CPUID, the capability, and what has nothing to do with XFD; and all of
 * it in pages that are not there.
 */
#ifndef SELFTESTS_HOSTILE_SETTING_H
#define SELFTESTS_HOSTILE_SETTING_H

#include "target.h"

/* The same again; another one, or none, which KVM takes until the guest has run. */
void op_set_cpuid(struct attacker *a, struct target *t);

void op_enable_cap(struct attacker *a, struct target *t);

/* All that is copied before it is looked at, half of it in a page that is not there. */
void op_fault(struct attacker *a, struct target *t);

/* State that has nothing to do with XFD, and that KVM refuses. */
void op_refused(struct attacker *a, struct target *t);

#endif /* SELFTESTS_HOSTILE_SETTING_H */
