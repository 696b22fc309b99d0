/* SPDX-License-Identifier: GPL-2.0 */
/*
 * xfd_switch.ko as seen from user space: loading and unloading it, who holds it,
 * which VMs it serves, and what it says in the kernel log.
 */
#ifndef SELFTESTS_XFD_MODULE_H
#define SELFTESTS_XFD_MODULE_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/kvm.h>

#define XFD_MODULE		"xfd_switch"
#define XFD_MODULE_PATH		"/lib/modules/xfd_switch.ko"

/* Of linux/kvm.h with the series. */
#ifndef KVM_CAP_X86_XFD_XSTATE
#define KVM_CAP_X86_XFD_XSTATE	252
#endif

/* All that the shipped module has; the first is its default. */
static const char * const xfd_strategies[] = { "lazy", "xinuse", "eager", "autoload" };

/* Returns 0 or -errno. */
static inline int xfd_module_load(const char *path, const char *params)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);
	return ret;
}

/* Returns 0 or -errno: -EWOULDBLOCK if somebody holds the module. */
static inline int xfd_module_unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* A number in a file, or -1. */
static inline long xfd_read_long(const char *path)
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

/* How many hold the module; -1 if it is not loaded (or built in). */
static inline long xfd_module_refs(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", name);
	return xfd_read_long(path);
}

/* Is the VM attached?  Only those of an attached VM can have the capability. */
static inline bool xfd_vm_attached(int vm_fd)
{
	return ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_XFD_XSTATE) == 1;
}

/* From the end of the kernel log on; -1 if it cannot be read. */
static inline int xfd_kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/*
 * Has the kernel log got a line of this level with this text since the last
 * call?  Reads all that there is.  Levels are those of syslog(2): 3 is KERN_ERR.
 */
static inline bool xfd_kmsg_has(int fd, int level, const char *text)
{
	bool found = false;
	char line[8192];
	ssize_t n;

	while ((n = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[n > 0 ? n : 0] = 0;
		found |= (strtoul(line, NULL, 10) & 7) == level && strstr(line, text);
	}
	return found;
}

#endif /* SELFTESTS_XFD_MODULE_H */
