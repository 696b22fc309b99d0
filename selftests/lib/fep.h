/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KVM's prefix for forced emulation, UD2 and "kvm": KVM executes the instruction
 * after it in the guest's stead, where the host allows that.
 */
#ifndef SELFTESTS_LIB_FEP_H
#define SELFTESTS_LIB_FEP_H

/* Why it cannot be allowed, or NULL. */
const char *xfd_fep_missing(void);

/* Sets KVM's parameter; returns what it was before. */
int xfd_fep_allow(int value);

#endif /* SELFTESTS_LIB_FEP_H */
