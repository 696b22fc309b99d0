/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The others, who must not notice anything: a victim, a VM whose guest checks all that it has,
 * and a task of the host's with tiles.
 */
#ifndef SELFTESTS_HOSTILE_OTHERS_H
#define SELFTESTS_HOSTILE_OTHERS_H

#include <pthread.h>

#include "target.h"

struct others {
	struct target victim;
	struct attacker observer;
	pthread_t victim_thread, task_thread;
	u64 victim_rounds, task_rounds;
	bool stop;
};

/* @seed makes what the victim enters. */
void others_begin(struct others *o, u64 seed);
void others_end(struct others *o);

#endif /* SELFTESTS_HOSTILE_OTHERS_H */
