/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tasks of the host that disturb a vCPU, with tiles of their own.
 */
#ifndef SELFTESTS_LIB_TASK_H
#define SELFTESTS_LIB_TASK_H

#include <pthread.h>

#include "tiles.h"

/*
 * A busy task on one CPU, with tiles of its own if @amx, which it checks all
 * the time.  @progress, if set, is a counter in guest memory: a guest that
 * shares the CPU and sees it grow has been preempted within KVM_RUN by a task
 * that had its own tiles loaded.
 */
struct xfd_neighbour {
	int cpu;
	bool amx;
	u64 seed;
	u64 *progress;
	u64 rounds;
	u64 bytes_lost;
	bool stop;
	struct xfd_tiles *tiles;
	pthread_t thread;
};

void xfd_neighbour_start(struct xfd_neighbour *n);

/* Fails the test if the task lost tiles. */
void xfd_neighbour_stop(struct xfd_neighbour *n);

/* Tiles in memory for a task of the host's; to be freed. */
struct xfd_tiles *xfd_tiles_alloc(void);

/* First use of tiles by a new thread on @cpu: a #NM of the host's. */
void xfd_first_use(int cpu, u64 seed);

/*
 * This task uses tiles for which it has no permission, @times times, with a pause
 * before each.  Returns how often it was not stopped by SIGILL.
 */
int xfd_use_without_permission(int times);

/* How often this thread was preempted. */
long xfd_involuntary_switches(void);

#endif /* SELFTESTS_LIB_TASK_H */
