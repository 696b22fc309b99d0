/* SPDX-License-Identifier: GPL-2.0 */
/*
 * XFD and XFD_ERR, set to what they can have and to what they cannot.
 */
#ifndef SELFTESTS_HOSTILE_MSR_H
#define SELFTESTS_HOSTILE_MSR_H

#include "target.h"

/* A value of XFD or of XFD_ERR; two in three are none. */
u64 some_xfd(struct attacker *a);

bool is_xfd(u64 value);

/* Up to 8 of both MSRs: KVM takes those before the first that is none. */
void op_set_msrs(struct attacker *a, struct target *t);

void op_one_reg(struct attacker *a, struct target *t);
void op_msrs_refused(struct attacker *a, struct target *t);

#endif /* SELFTESTS_HOSTILE_MSR_H */
