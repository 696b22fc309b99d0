/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is expected of a VM's XFD: the one policy of all these programs, by the
 * option --expect.
 */
#ifndef SELFTESTS_LIB_EXPECT_H
#define SELFTESTS_LIB_EXPECT_H

#include <stdbool.h>

#include "kvm_util.h"

/*
 * Of what kind a VM is, which says how much can be demanded.  In ascending order:
 *
 *	stock		The kernel lacks the series.  Its known bugs are not demanded
 *			to be absent, nor is what the next kind lacks.
 *	unattached	It has the series, but no module serves the VM: KVM itself
 *			switches XFD as it always did.  Tiles that are dormant (in use
 *			while XFD[18]=1) may go with an exit to userspace or a task
 *			switch; XFD_ERR's writes exit.
 *	attached	A strategy of the module serves it.  Nothing is lost.
 */
enum xfd_kind { XFD_STOCK, XFD_UNATTACHED, XFD_ATTACHED };

/*
 * The kind that is expected of the VMs of this program; a guest has a copy of its
 * own.  Until it is set, and in a guest that has not been told, all is demanded.
 */
extern enum xfd_kind xfd_expect;

/* May dormant tiles go?  In a guest as well. */
static inline bool xfd_dormant_may_go(void)
{
	return xfd_expect != XFD_ATTACHED;
}

/* Tells the guest of @vm what is expected of it. */
void xfd_vm_expect(struct kvm_vm *vm, enum xfd_kind kind);

/* The kind of VM that this kernel would create now. */
enum xfd_kind xfd_kind_of_new_vm(void);

/*
 * Sets xfd_expect to the kind with this name, or without a name to what a VM that
 * is created now is.  The name must agree with that, or the program ends.  Not so
 * for a negative control, which demands more than there is, and must do so.
 */
void xfd_expect_set(const char *name, bool control);

/* Is the VM attached?  Only those of an attached VM can have the capability. */
bool xfd_vm_attached(int vm_fd);

#endif /* SELFTESTS_LIB_EXPECT_H */
