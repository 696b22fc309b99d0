// SPDX-License-Identifier: GPL-2.0
/* The kernel uses the FPU, by xfd_fpu_user.ko. */
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

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	xfd_write_to(path, value);
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
	xfd_write_long(PARAMETERS "period_us", us);
}

void xfd_fpu_user_start(const char *context, int cpu)
{
	xfd_write_long(PARAMETERS "tgid", getpid());
	xfd_write_long(PARAMETERS "cpu", cpu);
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
