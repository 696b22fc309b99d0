/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault injection: memory, and copies from and to userspace, that fail in one system
 * call of the calling thread (Documentation/fault-injection/ of the kernel).
 */
#ifndef SELFTESTS_LIB_FAULT_H
#define SELFTESTS_LIB_FAULT_H

#include <stdbool.h>

enum xfd_fault {
	/* Whatever the kernel can fail, by /proc/thread-self/fail-nth. */
	XFD_FAULT_ALL,
	/*
	 * Slabs alone.  What KVM reads of a guest's memory is a copy from userspace, too,
	 * and one that fails is MMIO to its emulator: no guest could be trusted after that.
	 */
	XFD_FAULT_MEMORY,
};

/* Has the kernel got it? */
bool xfd_fault_available(void);

/*
 * For this thread, before it lets anything fail: nothing fails of itself, and the kernel
 * says nothing of what does.  The thread gets a name by which the lab knows whose
 * allocation it was that the kernel complains of.
 */
void xfd_fault_setup(void);

/* The @nth of what can fail from now on fails, from 1 on.  End with xfd_fault_disarm(). */
void xfd_fault_arm(enum xfd_fault what, int nth);

/* Has anything failed?  errno stays. */
bool xfd_fault_disarm(enum xfd_fault what);

#endif /* SELFTESTS_LIB_FAULT_H */
