// SPDX-License-Identifier: GPL-2.0
/* Tasks of the host that use tiles. */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "task.h"

struct xfd_tiles *xfd_tiles_alloc(void)
{
	struct xfd_tiles *tiles = aligned_alloc(__alignof__(*tiles), sizeof(*tiles));

	TEST_ASSERT(tiles, "out of memory");
	return tiles;
}

static void *neighbour_fn(void *arg)
{
	struct xfd_neighbour *n = arg;

	pin_self_to_cpu(n->cpu);
	xfd_tiles_fill(n->tiles, n->seed);
	do {
		if (n->amx)
			xfd_tiles_use(n->tiles);
		/* About a quarter of a tick, with the tiles in use. */
		xfd_bytes_differ(n->tiles->want, n->tiles->want, XFD_TILES_BYTES / 2);
		if (n->amx)
			n->bytes_lost += xfd_tiles_lost(n->tiles);
		n->rounds++;
		if (n->progress)
			WRITE_ONCE(*n->progress, READ_ONCE(*n->progress) + 1);
	} while (!READ_ONCE(n->stop));
	if (n->amx)
		xfd_tilerelease();
	return NULL;
}

void xfd_neighbour_start(struct xfd_neighbour *n)
{
	n->tiles = xfd_tiles_alloc();
	TEST_ASSERT(!pthread_create(&n->thread, NULL, neighbour_fn, n), "pthread_create() failed");
}

void xfd_neighbour_stop(struct xfd_neighbour *n)
{
	WRITE_ONCE(n->stop, true);
	pthread_join(n->thread, NULL);
	free(n->tiles);
	TEST_ASSERT(!n->bytes_lost, "the host task lost %lu bytes of its own tiles in %lu rounds",
		    n->bytes_lost, n->rounds);
}

static void *first_use_fn(void *arg)
{
	struct xfd_neighbour *n = arg;

	pin_self_to_cpu(n->cpu);
	xfd_tiles_fill(n->tiles, n->seed);
	xfd_tiles_use(n->tiles);
	/* Let a guest have the CPU while these are in use. */
	usleep(5000);
	n->bytes_lost = xfd_tiles_lost(n->tiles);
	xfd_tilerelease();
	return NULL;
}

void xfd_first_use(int cpu, u64 seed)
{
	struct xfd_neighbour n = { .cpu = cpu, .seed = seed, .tiles = xfd_tiles_alloc() };

	TEST_ASSERT(!pthread_create(&n.thread, NULL, first_use_fn, &n), "pthread_create() failed");
	pthread_join(n.thread, NULL);
	TEST_ASSERT(!n.bytes_lost, "the host thread lost %lu bytes", n.bytes_lost);
	free(n.tiles);
}

static sigjmp_buf sigill_env;

static void sigill_handler(int sig)
{
	siglongjmp(sigill_env, 1);
}

static bool used_without_sigill(const struct xfd_tiles *tiles)
{
	if (sigsetjmp(sigill_env, 1))
		return false;
	xfd_tiles_use(tiles);
	return true;
}

int xfd_use_without_permission(int times)
{
	struct sigaction old, new = { .sa_handler = sigill_handler };
	struct xfd_tiles *tiles = xfd_tiles_alloc();
	int i, used = 0;

	sigaction(SIGILL, &new, &old);
	xfd_tiles_fill(tiles, 1);
	for (i = 0; i < times; i++) {
		/* Wake up right after whatever had the CPU meanwhile. */
		usleep(1000);
		used += used_without_sigill(tiles);
	}
	sigaction(SIGILL, &old, NULL);
	free(tiles);
	return used;
}

long xfd_involuntary_switches(void)
{
	struct rusage ru;

	TEST_ASSERT(!getrusage(RUSAGE_THREAD, &ru), "getrusage() failed");
	return ru.ru_nivcsw;
}
