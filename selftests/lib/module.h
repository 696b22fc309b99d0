/* SPDX-License-Identifier: GPL-2.0 */
/*
 * xfd_switch.ko as seen from user space: loading and unloading it, and who holds
 * it.  Any other module likewise.
 */
#ifndef SELFTESTS_LIB_MODULE_H
#define SELFTESTS_LIB_MODULE_H

#include <stdbool.h>

#include <linux/kvm.h>

#define XFD_MODULE		"xfd_switch"
#define XFD_MODULE_PATH		"/lib/modules/xfd_switch.ko"

/* Of linux/kvm.h with the series. */
#ifndef KVM_CAP_X86_XFD_XSTATE
#define KVM_CAP_X86_XFD_XSTATE	252
#endif

/* More than a module will have. */
#define XFD_MAX_STRATEGIES	16

/*
 * The names of all strategies that the module in this file has, as its modinfo
 * says; the first is its default.  They stay.  Returns how many there are.
 */
int xfd_strategies(const char *path, const char *names[XFD_MAX_STRATEGIES]);

/* Returns 0 or -errno. */
int xfd_module_load(const char *path, const char *params);

/* A module of kmod/, unless it is there already; without it the program ends. */
void xfd_test_module_load(const char *path);

/* Returns 0 or -errno: -EWOULDBLOCK if somebody holds the module. */
int xfd_module_unload(const char *name);

/* The same with xfd_switch.ko, where a failure is the test's. */
void xfd_strategy_load(const char *path, const char *strategy);
void xfd_strategy_unload(void);

/* Is the module loaded with this strategy? */
bool xfd_strategy_is(const char *strategy);

/* How many hold the module; -1 if it is not loaded (or built in). */
long xfd_module_refs(const char *name);

/* A number in a file, or -1. */
long xfd_read_long(const char *path);

/* Writes a setting of the kernel's, which must succeed. */
void xfd_write_to(const char *path, const char *text);
void xfd_write_long(const char *path, long n);

#endif /* SELFTESTS_LIB_MODULE_H */
