/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU as the VMM has it: running it, what its guest says, and its MSRs.
 */
#ifndef SELFTESTS_LIB_VCPU_H
#define SELFTESTS_LIB_VCPU_H

#include "kvm_util.h"
#include "processor.h"

/* A KVM hypercall number that KVM does not know: handled in the kernel. */
#define XFD_VMCALL_NR		0x584644

/* What a guest passes to GUEST_SYNC() never collides with these. */
#define XFD_GUEST_DONE		(~0ull)
#define XFD_GUEST_SILENT	(~1ull)

/* Where a global of the guest's image lies in this process. */
#define xfd_guest_ptr(vm, g)	addr_gva2hva(vm, (gva_t)&(g))

/* In the guest: a VM-exit that KVM handles without leaving the kernel. */
static inline void xfd_vmcall(void)
{
	u64 rax = XFD_VMCALL_NR;

	/* KVM's answer is in RAX; it leaves all else alone. */
	asm volatile("vmcall" : "+a"(rax) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
}

/*
 * What the guest said when KVM_RUN last returned: GUEST_SYNC()'s argument,
 * XFD_GUEST_DONE, or XFD_GUEST_SILENT where the exit is for something else.  An
 * assertion of the guest's that failed ends the test.
 */
u64 xfd_vcpu_says(struct kvm_vcpu *vcpu);

/* Run to the guest's next GUEST_SYNC(); returns its argument, or XFD_GUEST_DONE. */
u64 xfd_vcpu_run(struct kvm_vcpu *vcpu);

/* Both MSRs, by KVM_GET_MSRS, are these. */
void xfd_vcpu_check_msrs(struct kvm_vcpu *vcpu, u64 xfd, u64 xfd_err);

#endif /* SELFTESTS_LIB_VCPU_H */
