// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading of kernel modules. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "module.h"
#include "test_util.h"

const char * const xfd_strategies[XFD_NR_STRATEGIES] = { "lazy", "xinuse", "eager", "autoload" };

int xfd_module_load(const char *path, const char *params)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);
	return ret;
}

int xfd_module_unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

void xfd_strategy_load(const char *path, const char *strategy)
{
	char params[64];
	int ret;

	snprintf(params, sizeof(params), "strategy=%s", strategy);
	ret = xfd_module_load(path, params);
	TEST_ASSERT(!ret, "loading %s with %s: %s", path, params, strerror(-ret));
}

void xfd_strategy_unload(void)
{
	int ret = xfd_module_unload(XFD_MODULE);

	TEST_ASSERT(!ret, "unloading: %s, %ld hold it", strerror(-ret),
		    xfd_module_refs(XFD_MODULE));
}

long xfd_module_refs(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", name);
	return xfd_read_long(path);
}

long xfd_read_long(const char *path)
{
	FILE *f = fopen(path, "r");
	long n;

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}
