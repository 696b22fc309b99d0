// SPDX-License-Identifier: GPL-2.0
/* An attacker's ioctls, and his pages. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kernel.h>
#include <linux/kvm.h>

#include "kselftest.h"
#include "test_util.h"

#include "attacker.h"
#include "../lib/fault.h"

#define PAGES		8

void attacker_init(struct attacker *a)
{
	size_t size = (PAGES + 1) * getpagesize();

	a->pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(a->pages != MAP_FAILED, "out of memory");
	a->end = a->pages + PAGES * getpagesize();
	TEST_ASSERT(!mprotect(a->end, getpagesize(), PROT_NONE), "mprotect()");
	a->image = calloc(1, PAGES * getpagesize());
	a->image_after = calloc(1, PAGES * getpagesize());
	TEST_ASSERT(a->image && a->image_after, "out of memory");
	if (xfd_fault_available())
		xfd_fault_setup();
}

void attacker_free(struct attacker *a)
{
	munmap(a->pages, (PAGES + 1) * getpagesize());
	free(a->image);
	free(a->image_after);
}

void attacker_seed(struct attacker *a, u64 seed)
{
	a->seed = seed;
	a->random.state = seed;
	a->step = 0;
}

u64 below(struct attacker *a, u64 n)
{
	return xfd_random_below(&a->random, n);
}

bool one_in(struct attacker *a, u64 n)
{
	return xfd_one_in(&a->random, n);
}

void *buffer(struct attacker *a, size_t size)
{
	TEST_ASSERT(size <= a->end - a->pages, "%zu bytes", size);
	memset(a->end - size, 0, size);
	return a->end - size;
}

void *cut_short(struct attacker *a, void *ptr)
{
	size_t size = a->end - (u8 *)ptr, cut = 1 + below(a, size);

	memmove(ptr + cut, ptr, size - cut);
	return ptr + cut;
}

void __noreturn fail(struct attacker *a, const char *what)
{
	ksft_print_msg("seed %lu, step %d, %s: %s\n", a->seed, a->step, a->op, what);
	ksft_print_msg("again: --seeds=%lu-%lu\n", a->seed, a->seed);
	TEST_FAIL("%s: %s", a->op, what);
}

long count(struct attacker *a, long ret)
{
	if (ret < 0)
		ret = -errno;
	a->tally.ioctls++;
	a->tally.by_errno[ret < 0 ? min_t(long, -ret, MAX_ERRNO_SEEN - 1) : 0]++;
	return ret;
}

long call(struct attacker *a, int fd, unsigned long cmd, unsigned long arg)
{
	return count(a, ioctl(fd, cmd, arg));
}

static bool is(long got, long want)
{
	return got == want || (want == SOME_FD && got >= 0);
}

/* Most have few points at which they can fail; whatever is created has many. */
static int some_point(struct attacker *a, unsigned long cmd)
{
	bool creates = cmd == KVM_CREATE_VM || cmd == KVM_CREATE_VCPU;

	return 1 + below(a, 1 << below(a, creates ? 8 : 3));
}

bool __expect(struct attacker *a, int fd, unsigned long cmd, unsigned long arg, long want,
	      long *result)
{
	enum xfd_fault what = cmd == KVM_RUN ? XFD_FAULT_MEMORY : XFD_FAULT_ALL;
	bool failed = false;
	char text[160];
	long got;

	if (a->inject)
		xfd_fault_arm(what, some_point(a, cmd));
	got = call(a, fd, cmd, arg);
	if (a->inject)
		failed = xfd_fault_disarm(what);
	a->tally.faults += failed;
	*result = got;
	if (is(got, want))
		return true;
	if (failed && (got == -ENOMEM || got == -EFAULT)) {
		a->tally.failed++;
		return false;
	}
	snprintf(text, sizeof(text), "ioctl 0x%lx returns %ld (%s), must return %ld (%s)%s", cmd,
		 got, got < 0 ? strerror(-got) : "success", want,
		 want < 0 ? strerror(-want) : "success", failed ? ", ENOMEM or EFAULT" : "");
	fail(a, text);
}

bool expect(struct attacker *a, int fd, unsigned long cmd, const void *arg, long want)
{
	long got;

	return __expect(a, fd, cmd, (unsigned long)arg, want, &got);
}
