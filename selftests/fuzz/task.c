// SPDX-License-Identifier: GPL-2.0
/* What disturbs a guest from outside of its VMM. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "task.h"
#include "../lib/xfd.h"

struct task tasks[NR_TASKS] = {
	{ XFD_DISTURB_PREEMPT_AMX },
	{ XFD_DISTURB_PREEMPT_PLAIN },
	{ XFD_DISTURB_SIGNAL },
	{ XFD_DISTURB_MIGRATE },
};

int vcpu_cpus[2];
int vcpu_cpu;

static pthread_t vcpu_thread;

void move_to(int where)
{
	int i;

	vcpu_cpu = where;
	pin_task_to_cpu(vcpu_thread, where);
	for (i = 0; i < ARRAY_SIZE(tasks); i++)
		pin_task_to_cpu(tasks[i].thread, where);
}

bool tiles_are(struct xfd_tiles *t)
{
	xfd_tiles_store(t->got);
	return xfd_same(t->want, t->got, sizeof(t->got));
}

static void *task_fn(void *arg)
{
	struct task *t = arg;
	u64 n;

	if (t->kind == XFD_DISTURB_PREEMPT_AMX) {
		t->tiles = xfd_tiles_alloc();
		xfd_tiles_fill(t->tiles, 200);
		xfd_tiles_use(t->tiles);
	}
	while (read(t->event, &n, sizeof(n)) == sizeof(n)) {
		switch (t->kind) {
		case XFD_DISTURB_PREEMPT_AMX:
			t->lost |= !tiles_are(t->tiles);
			break;
		case XFD_DISTURB_SIGNAL:
			pthread_kill(vcpu_thread, SIGUSR1);
			break;
		case XFD_DISTURB_MIGRATE:
			if (vcpu_cpus[1] >= 0)
				move_to(vcpu_cpus[vcpu_cpu == vcpu_cpus[0]]);
			break;
		default:
			/* Registers of its own. */
			asm volatile("pcmpeqb %%xmm0, %%xmm0" : : : "xmm0");
			break;
		}
	}
	return NULL;
}

static void empty_handler(int sig)
{
}

void tasks_start(void)
{
	struct sched_param priority = { .sched_priority = 10 };
	int i;

	vcpu_cpus[0] = xfd_cpu(0);
	vcpu_cpus[1] = xfd_cpu(1);
	vcpu_thread = pthread_self();
	signal(SIGUSR1, empty_handler);
	for (i = 0; i < ARRAY_SIZE(tasks); i++) {
		struct task *t = &tasks[i];

		t->event = eventfd(0, EFD_CLOEXEC);
		TEST_ASSERT(t->event >= 0, "eventfd(): errno %d", errno);
		TEST_ASSERT(!pthread_create(&t->thread, NULL, task_fn, t), "pthread_create()");
		TEST_ASSERT(!pthread_setschedparam(t->thread, SCHED_FIFO, &priority),
			    "pthread_setschedparam()");
	}
	move_to(vcpu_cpus[0]);
}

void task_wake(struct task *t)
{
	u64 one = 1;

	TEST_ASSERT_EQ(write(t->event, &one, sizeof(one)), (ssize_t)sizeof(one));
}
