/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KVM's permission for tiles, asked for too late, and not at all.
 */
#ifndef SELFTESTS_HOSTILE_PERMISSION_H
#define SELFTESTS_HOSTILE_PERMISSION_H

#include "target.h"

void op_permission(struct attacker *a, struct target *t);

/*
 * A process without KVM's permission, as a child of main()'s has none yet: the first vCPU
 * decides, and what comes after it is too late.  Was all as it must be?
 */
bool permission_try(void);

#endif /* SELFTESTS_HOSTILE_PERMISSION_H */
