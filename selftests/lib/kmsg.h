/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel log: what it says from some moment on; and whether the kernel is
 * tainted by a warning or an oops.
 */
#ifndef SELFTESTS_LIB_KMSG_H
#define SELFTESTS_LIB_KMSG_H

#include <stdbool.h>

#include <linux/bits.h>

/* Levels, as syslog(2) has them. */
#define XFD_KMSG_ERR		3
#define XFD_KMSG_WARNING	4
#define XFD_KMSG_INFO		6

/* From the end of the kernel log on; -1 if it cannot be read. */
int xfd_kmsg_open(void);

/*
 * Has the kernel log got a line of this level with this text since the last
 * call?  Reads all that there is.
 */
bool xfd_kmsg_has(int fd, int level, const char *text);

/* As include/linux/panic.h numbers them. */
#define XFD_TAINT_DIE		BIT(7)
#define XFD_TAINT_WARN		BIT(9)

/* The taint bits that a WARN and an oops set, as far as they are set. */
unsigned long xfd_taint(void);

#endif /* SELFTESTS_LIB_KMSG_H */
