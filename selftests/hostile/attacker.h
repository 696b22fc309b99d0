/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An attacker, one for each thread: his seed, what he passes to ioctls, and what these return.
 */
#ifndef SELFTESTS_HOSTILE_ATTACKER_H
#define SELFTESTS_HOSTILE_ATTACKER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include <linux/compiler.h>

#include "tally.h"
#include "../lib/random.h"

struct attacker {
	struct xfd_random random;
	u64 seed;
	int step;
	const char *op;
	/* What fails with this step's ioctls. */
	bool inject;
	struct tally tally;
	/* Pages, of which the last is inaccessible: a buffer ends at @end or beyond it. */
	u8 *pages, *end;
	u8 *image, *image_after;
};

/* In the thread whose ioctls they will be. */
void attacker_init(struct attacker *a);
void attacker_free(struct attacker *a);

/* From the first step of this seed. */
void attacker_seed(struct attacker *a, u64 seed);

u64 below(struct attacker *a, u64 n);
bool one_in(struct attacker *a, u64 n);

/* In the attacker's pages; all of it is there. */
void *buffer(struct attacker *a, size_t size);

/* Of what @ptr points to, which buffer() has returned, the end is not there any more. */
void *cut_short(struct attacker *a, void *ptr);

/* Ends the test, with the seed. */
void __noreturn fail(struct attacker *a, const char *what);

/* What a call returned is as KVM's own: a negative errno. */
long count(struct attacker *a, long ret);

/* An ioctl, counted. */
long call(struct attacker *a, int fd, unsigned long cmd, unsigned long arg);

/* A descriptor, whichever. */
#define SOME_FD		LONG_MAX

/*
 * The call returns what is wanted.  With memory that fails it may return ENOMEM or EFAULT
 * instead, which nobody may then see of the vCPU; only if something did fail.  Returns whether
 * it was what is wanted; *@result is what it was.
 */
bool __expect(struct attacker *a, int fd, unsigned long cmd, unsigned long arg, long want,
	      long *result);
bool expect(struct attacker *a, int fd, unsigned long cmd, const void *arg, long want);

#endif /* SELFTESTS_HOSTILE_ATTACKER_H */
