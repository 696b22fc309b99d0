/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an attacker does in one step, and how often.
 */
#ifndef SELFTESTS_HOSTILE_OP_H
#define SELFTESTS_HOSTILE_OP_H

#include "target.h"

struct op {
	const char *name;
	int weight;
	void (*fn)(struct attacker *a, struct target *t);
};

const struct op *some_op(struct attacker *a);

#endif /* SELFTESTS_HOSTILE_OP_H */
