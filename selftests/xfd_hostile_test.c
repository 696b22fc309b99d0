// SPDX-License-Identifier: GPL-2.0
/*
 * Userspace that means ill: seeds of KVM ioctls that are wrong, too early, too late, half of
 * them in pages that are not there, with memory that fails where the kernel has fault
 * injection, and by two threads at once.  Documentation/hostile.rst has the table of what
 * each must return; most must return exactly one thing.
 *
 *	alone		one thread: what each ioctl returns is known, and so is what the vCPU
 *			has afterwards, whether it succeeded or not
 *	race		two threads on one vCPU, whose descriptors are closed while it runs
 *	permission	KVM's permission for tiles, asked for too late, and not at all
 *	leaks		what the others have leaked, where the kernel has kmemleak
 *
 * All the while there are a victim, a VM whose guest checks all that it has, and a task of the
 * host's with tiles.  The kernel's complaints are up to the harness, and the lab.
 *
 * A failure names its seed: --seeds=N-N repeats it alone.
 */
#include "hostile/alone.h"
#include "hostile/leak.h"
#include "hostile/module.h"
#include "hostile/permission.h"
#include "hostile/race.h"
#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		36000

static struct seeds seeds = { .first = 1, .ioctls = 2000 };
static bool permission_ok;

XFD_FIXTURE_EMPTY(hostile);

TEST_F_TIMEOUT(hostile, alone, TIMEOUT)
{
	alone(&seeds);
}

TEST_F_TIMEOUT(hostile, race, TIMEOUT)
{
	race(&seeds);
}

TEST_F_TIMEOUT(hostile, permission, TIMEOUT)
{
	TEST_ASSERT(permission_ok, "see above");
}

TEST_F_TIMEOUT(hostile, leaks, TIMEOUT)
{
	check_leaks();
}

enum { IOCTLS, SEEDS, FIRST, MODULE };

static struct xfd_option options[] = {
	[IOCTLS] = { "ioctls", "N", "seeds until there have been so many (default: 2000)" },
	[SEEDS] = { "seeds", "FIRST-LAST", "these seeds instead" },
	[FIRST] = { "first", "SEED", "the seed to begin with (default: 1)" },
	[MODULE] = { "module", "PATH", "default: " XFD_MODULE_PATH },
	{}
};

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	if (options[IOCTLS].value)
		seeds.ioctls = atoi_positive("--ioctls", options[IOCTLS].value);
	if (options[FIRST].value)
		seeds.first = atoi_positive("--first", options[FIRST].value);
	if (options[SEEDS].value &&
	    (sscanf(options[SEEDS].value, "%lu-%lu", &seeds.first, &seeds.last) != 2 ||
	     !seeds.first || seeds.last < seeds.first))
		ksft_exit_fail_msg("--seeds=%s: not FIRST-LAST\n", options[SEEDS].value);
	permission_ok = permission_try();
	xfd_require_amx();
	if (!has_kmemleak())
		xfd_leave_out("-T", "leaks");
	if (xfd_expect != XFD_STOCK)
		module_is_at(options[MODULE].value ?: XFD_MODULE_PATH);
	return xfd_run_tests(argc, argv);
}
