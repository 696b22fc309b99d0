/* SPDX-License-Identifier: GPL-2.0 */
/* The VMX MSR lists, which the CPU itself works off on each VM-exit and VM-entry. */
#ifndef SELFTESTS_LIB_MSR_LISTS_H
#define SELFTESTS_LIB_MSR_LISTS_H

struct kvm_vcpu;

/* How many entries they have in all; -1 if KVM is not kvm-intel.  Ends the vCPU. */
int xfd_msr_list_entries(struct kvm_vcpu *vcpu);

#endif /* SELFTESTS_LIB_MSR_LISTS_H */
