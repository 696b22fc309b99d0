/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's CPUs: which there are, taking them offline, and what is in their
 * XFD and XFD_ERR.  The latter takes the msr driver.
 */
#ifndef SELFTESTS_LIB_CPU_H
#define SELFTESTS_LIB_CPU_H

#include <stdbool.h>

#include <linux/types.h>

/* The @nr-th CPU that this process may run on, or -1. */
int xfd_cpu(int nr);

/* Has the kernel a switch for it? */
bool xfd_cpu_can_go_offline(int cpu);

/* Returns whether that succeeded. */
bool xfd_cpu_set_online(int cpu, bool online);

/* Returns false where there is no msr driver. */
bool xfd_rdmsr_on_cpu(int cpu, u32 msr, u64 *value);

bool xfd_wrmsr_on_cpu(int cpu, u32 msr, u64 value);

/* No guest's XFD_ERR is on a CPU where no vCPU is in KVM_RUN. */
void xfd_check_cpu_xfd_err(int cpu);

/*
 * The MSRs of a thread in user mode, which stays on its CPU: XFD_ERR is 0, and
 * XFD is @xfd, the thread's own.
 */
void xfd_check_host_msrs(u64 xfd);

#endif /* SELFTESTS_LIB_CPU_H */
