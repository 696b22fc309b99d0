// SPDX-License-Identifier: GPL-2.0
/* Running a vCPU, and looking at its MSRs. */
#include "vcpu.h"

u64 xfd_vcpu_says(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		return uc.args[1];
	case UCALL_DONE:
		return XFD_GUEST_DONE;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		break;
	case UCALL_NONE:
		return XFD_GUEST_SILENT;
	}
	TEST_FAIL("Unknown ucall %lu", uc.cmd);
}

u64 xfd_vcpu_run(struct kvm_vcpu *vcpu)
{
	u64 said;

	vcpu_run(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
	said = xfd_vcpu_says(vcpu);
	TEST_ASSERT(said != XFD_GUEST_SILENT, "not a ucall: port 0x%x", vcpu->run->io.port);
	return said;
}

void xfd_vcpu_check_msrs(struct kvm_vcpu *vcpu, u64 xfd, u64 xfd_err)
{
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD), xfd);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR), xfd_err);
}
