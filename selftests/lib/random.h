/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbers that look random, the same ones for the same seed.
 */
#ifndef SELFTESTS_LIB_RANDOM_H
#define SELFTESTS_LIB_RANDOM_H

#include <stdbool.h>

#include <linux/types.h>

struct xfd_random {
	u64 state;
};

/* splitmix64: each seed is as good as any other. */
static inline u64 xfd_random(struct xfd_random *r)
{
	u64 z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline u64 xfd_random_below(struct xfd_random *r, u64 n)
{
	return xfd_random(r) % n;
}

static inline bool xfd_one_in(struct xfd_random *r, u64 n)
{
	return !xfd_random_below(r, n);
}

#endif /* SELFTESTS_LIB_RANDOM_H */
