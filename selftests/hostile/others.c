// SPDX-License-Identifier: GPL-2.0
/* The others, in threads of their own. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"

#include "module.h"
#include "others.h"
#include "run.h"
#include "../lib/xfd.h"

/* They are to be there at any time, but not to take the attacker's. */
#define BREAK_US	20000

static void *victim_fn(void *arg)
{
	struct others *o = arg;
	struct xfd_model enter;

	while (!READ_ONCE(o->stop)) {
		o->observer.step++;
		enter = some_state(&o->observer);
		run(&o->observer, &o->victim, &enter);
		check_msrs(&o->observer, &o->victim);
		o->victim_rounds++;
		usleep(BREAK_US);
	}
	return NULL;
}

static void *task_fn(void *arg)
{
	struct xfd_tiles *tiles = xfd_tiles_alloc();
	struct others *o = arg;

	while (!READ_ONCE(o->stop)) {
		xfd_tiles_fill(tiles, o->task_rounds);
		xfd_tiles_use(tiles);
		usleep(BREAK_US);
		TEST_ASSERT(!xfd_tiles_lost(tiles), "a task of the host's has lost tiles");
		o->task_rounds++;
	}
	xfd_tilerelease();
	free(tiles);
	return NULL;
}

void others_begin(struct others *o, u64 seed)
{
	memset(o, 0, sizeof(*o));
	o->observer.op = "the victim";
	attacker_seed(&o->observer, seed);
	target_create(&o->victim, guest_code);
	module_state.loaded = xfd_module_refs(XFD_MODULE) >= 0;
	module_state.held = o->victim.rules.attached;
	TEST_ASSERT(!pthread_create(&o->victim_thread, NULL, victim_fn, o), "pthread_create()");
	TEST_ASSERT(!pthread_create(&o->task_thread, NULL, task_fn, o), "pthread_create()");
}

void others_end(struct others *o)
{
	WRITE_ONCE(o->stop, true);
	pthread_join(o->victim_thread, NULL);
	pthread_join(o->task_thread, NULL);
	ksft_print_msg("beside it: %lu rounds of the victim, %lu of the task\n", o->victim_rounds,
		       o->task_rounds);
	TEST_ASSERT(o->victim_rounds && o->task_rounds, "nobody was beside it");
	target_free(&o->victim);
}
