/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tasks that the guest wakes: they preempt it, by their priority.  And the CPUs, which the
 * vCPU's thread shares with them.
 */
#ifndef SELFTESTS_FUZZ_TASK_H
#define SELFTESTS_FUZZ_TASK_H

#include <pthread.h>

#include "../lib/program.h"
#include "../lib/tiles.h"

#define NR_TASKS	4

struct task {
	enum xfd_disturb_kind kind;
	int event;
	pthread_t thread;
	struct xfd_tiles *tiles;
	bool lost;
};

extern struct task tasks[NR_TASKS];

/* Where they may be; the second is -1 where there is none. */
extern int vcpu_cpus[2];

/* Where the vCPU's thread is. */
extern int vcpu_cpu;

/* Together with the vCPU's thread, which is the caller's. */
void tasks_start(void);

/* All of them, and the vCPU's thread. */
void move_to(int where);

void task_wake(struct task *t);

/* Has the calling thread got these in its tiles? */
bool tiles_are(struct xfd_tiles *t);

#endif /* SELFTESTS_FUZZ_TASK_H */
