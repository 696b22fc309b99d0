/* SPDX-License-Identifier: GPL-2.0 */
/*
 * xfd_fpu_user.ko, which uses the FPU in the kernel while a guest's registers are
 * loaded: kmod/xfd_fpu_user.c says what its parameters are.
 */
#ifndef SELFTESTS_LIB_FPU_USER_H
#define SELFTESTS_LIB_FPU_USER_H

#include <stdbool.h>

void xfd_fpu_user_unload(void);

bool xfd_fpu_user_loaded(void);

/* How often it does so, for contexts that are a matter of time. */
#define XFD_FPU_USER_PERIOD_US	500
void xfd_fpu_user_set_period(int us);

/* It starts to use the FPU in this context, upon the vCPUs of this process on @cpu. */
void xfd_fpu_user_start(const char *context, int cpu);

/* And stops.  Does nothing where it is not loaded. */
void xfd_fpu_user_stop(void);

/* One of its counters. */
long xfd_fpu_user_count(const char *name);

/*
 * Has the kernel PREEMPT_RT?  There softirqs are threads, and no hardirq may use the
 * FPU.
 */
bool xfd_preempt_rt(void);

#endif /* SELFTESTS_LIB_FPU_USER_H */
