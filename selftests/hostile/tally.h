/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What ioctls have returned, counted.
 */
#ifndef SELFTESTS_HOSTILE_TALLY_H
#define SELFTESTS_HOSTILE_TALLY_H

#include <linux/types.h>

#define MAX_ERRNO_SEEN	134

struct tally {
	u64 ioctls;
	/* By errno, 0 for none. */
	u64 by_errno[MAX_ERRNO_SEEN];
	/* How many met a fault that was injected, and how many failed by one. */
	u64 faults, failed;
};

void tally_add(struct tally *to, const struct tally *from);

/* As the lab reads it. */
void tally_report(const struct tally *tally, u64 seeds);

#endif /* SELFTESTS_HOSTILE_TALLY_H */
