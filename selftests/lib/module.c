// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading of kernel modules. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "module.h"
#include "test_util.h"

int xfd_strategies(const char *path, const char *names[XFD_MAX_STRATEGIES])
{
	/* Its text is "WHAT: FIRST (default), SECOND, ..." */
	static const char parm[] = "parm=strategy:";
	char *image, *list, *name;
	struct stat st;
	int fd, n = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	TEST_ASSERT(fd >= 0 && !fstat(fd, &st), "%s: %s", path, strerror(errno));
	image = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	TEST_ASSERT(image != MAP_FAILED, "%s: %s", path, strerror(errno));
	close(fd);

	list = memmem(image, st.st_size, parm, strlen(parm));
	TEST_ASSERT(list, "%s has no \"%s\"", path, parm);
	list = strdup(list);
	munmap(image, st.st_size);
	TEST_ASSERT(list && strstr(list, ": "), "no list of strategies in \"%s\"", list);

	for (name = strtok(strstr(list, ": ") + 1, ","); name; name = strtok(NULL, ",")) {
		TEST_ASSERT(n < XFD_MAX_STRATEGIES, "too many strategies");
		name += strspn(name, " ");
		name[strcspn(name, " ")] = 0;
		names[n++] = name;
	}
	return n;
}

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

void xfd_test_module_load(const char *path)
{
	int ret = xfd_module_load(path, "");

	if (ret && ret != -EEXIST)
		ksft_exit_fail_msg("cannot load %s: %s\n", path, strerror(-ret));
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

bool xfd_strategy_is(const char *strategy)
{
	FILE *f = fopen("/sys/module/" XFD_MODULE "/parameters/strategy", "r");
	char name[64] = "";

	if (!f)
		return false;
	if (fscanf(f, "%63s", name) != 1)
		name[0] = 0;
	fclose(f);
	return !strcmp(name, strategy);
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

void xfd_write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	TEST_ASSERT(fd >= 0, "cannot open %s, errno = %d", path, errno);
	TEST_ASSERT(write(fd, text, strlen(text)) == strlen(text),
		    "cannot write '%s' to %s, errno = %d", text, path, errno);
	close(fd);
}

void xfd_write_long(const char *path, long n)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", n);
	xfd_write_to(path, text);
}
