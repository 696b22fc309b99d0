// SPDX-License-Identifier: GPL-2.0
/* The kernel uses the FPU, by xfd_fpu_user.ko. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "fpu_user.h"
#include "module.h"
#include "test_util.h"

#define NAME		"xfd_fpu_user"
#define PARAMETERS	"/sys/module/" NAME "/parameters/"

static void set(const char *name, const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_WRONLY);
	TEST_ASSERT(fd >= 0 && write(fd, value, strlen(value)) == strlen(value),
		    "cannot write '%s' to %s, errno = %d", value, path, errno);
	close(fd);
}

static void set_number(const char *name, int value)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", value);
	set(name, number);
}

void xfd_fpu_user_load(const char *path)
{
	int ret = xfd_module_load(path, "");

	if (ret && ret != -EEXIST)
		ksft_exit_fail_msg("cannot load %s: %s\n", path, strerror(-ret));
}

void xfd_fpu_user_unload(void)
{
	xfd_module_unload(NAME);
}

bool xfd_fpu_user_loaded(void)
{
	return !access(PARAMETERS, F_OK);
}

void xfd_fpu_user_set_period(int us)
{
	set_number("period_us", us);
}

void xfd_fpu_user_start(const char *context, int cpu)
{
	set_number("tgid", getpid());
	set_number("cpu", cpu);
	set("context", context);
}

void xfd_fpu_user_stop(void)
{
	if (xfd_fpu_user_loaded())
		set("context", "off");
}

bool xfd_preempt_rt(void)
{
	struct utsname u;

	return !uname(&u) && strstr(u.version, "PREEMPT_RT");
}

long xfd_fpu_user_count(const char *name)
{
	char path[128];
	long n;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	n = xfd_read_long(path);
	TEST_ASSERT(n >= 0, "cannot read %s", path);
	return n;
}
