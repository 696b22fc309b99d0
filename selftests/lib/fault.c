// SPDX-License-Identifier: GPL-2.0
/* Fault injection. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fault.h"
#include "module.h"
#include "test_util.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"

/* lab/src/machine/splats.rs knows it. */
#define THREAD_NAME	"memory-fails"

#define TIMES		DEBUGFS "failslab/times"

static __thread int nth_fd = -1;
static __thread int make_it_fail_fd = -1;

static void reopen(int *fd, const char *path)
{
	if (*fd >= 0)
		close(*fd);
	*fd = open(path, O_RDWR | O_CLOEXEC);
	TEST_ASSERT(*fd >= 0, "cannot open %s", path);
}

bool xfd_fault_available(void)
{
	return !access(FAIL_NTH, W_OK) && !access(TIMES, W_OK);
}

void xfd_fault_setup(void)
{
	static const char * const settings[][2] = {
		{ DEBUGFS "failslab/verbose", "0" },
		{ DEBUGFS "fail_page_alloc/verbose", "0" },
		{ DEBUGFS "fail_usercopy/verbose", "0" },
		/* Allocations that may wait are the usual ones. */
		{ DEBUGFS "failslab/ignore-gfp-wait", "N" },
		{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N" },
		{ DEBUGFS "fail_page_alloc/min-order", "0" },
		/* For XFD_FAULT_MEMORY: of threads that ask for it, as many as "times" says. */
		{ TIMES, "0" },
		{ DEBUGFS "failslab/task-filter", "Y" },
		{ DEBUGFS "failslab/probability", "100" },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		xfd_write_to(settings[i][0], settings[i][1]);
	prctl(PR_SET_NAME, THREAD_NAME);
	reopen(&nth_fd, FAIL_NTH);
	reopen(&make_it_fail_fd, "/proc/thread-self/make-it-fail");
}

/* The kernel may fail this, too, when that is what has been asked for. */
static bool write_to(int fd, int n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", n);

	return pwrite(fd, text, length, 0) == length;
}

void xfd_fault_arm(enum xfd_fault what, int nth)
{
	if (what == XFD_FAULT_ALL) {
		TEST_ASSERT(write_to(nth_fd, nth), "cannot write to " FAIL_NTH);
		return;
	}
	xfd_write_long(DEBUGFS "failslab/interval", nth);
	xfd_write_long(TIMES, 1);
	TEST_ASSERT(write_to(make_it_fail_fd, 1), "cannot make it fail");
}

/* What is left, which reading counts down: 1 fails the read itself. */
static bool disarm_nth(void)
{
	char text[16] = "";
	ssize_t n = pread(nth_fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return false;
	if (!atoi(text))
		return true;
	/* And so does writing. */
	while (!write_to(nth_fd, 0))
		;
	return false;
}

static bool disarm_memory(void)
{
	TEST_ASSERT(write_to(make_it_fail_fd, 0), "cannot let it succeed again");
	return !xfd_read_long(TIMES);
}

bool xfd_fault_disarm(enum xfd_fault what)
{
	int error = errno;
	bool failed = what == XFD_FAULT_ALL ? disarm_nth() : disarm_memory();

	errno = error;
	return failed;
}
