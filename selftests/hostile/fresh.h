/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VMs and vCPUs that are there for one step.
 */
#ifndef SELFTESTS_HOSTILE_FRESH_H
#define SELFTESTS_HOSTILE_FRESH_H

#include "target.h"

/* The VMs of a program that closes everything in any order, and creates what it must not. */
void op_fresh_vm(struct attacker *a, struct target *t);

/* A vCPU more, which nobody runs: before its CPUID it has neither XFD nor tiles. */
void op_fresh_vcpu(struct attacker *a, struct target *t);

#endif /* SELFTESTS_HOSTILE_FRESH_H */
