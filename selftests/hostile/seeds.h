/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which seeds are run.
 */
#ifndef SELFTESTS_HOSTILE_SEEDS_H
#define SELFTESTS_HOSTILE_SEEDS_H

#include <stdbool.h>

#include <linux/types.h>

#define STEPS_PER_SEED	64

struct seeds {
	/* No last one where @ioctls says when to end. */
	u64 first, last;
	u64 ioctls;
};

/* Is @seed to be run, when @ioctls of the @wanted have been done? */
static inline bool more(const struct seeds *s, u64 seed, u64 ioctls, u64 wanted)
{
	return s->last ? seed <= s->last : ioctls < wanted;
}

#endif /* SELFTESTS_HOSTILE_SEEDS_H */
