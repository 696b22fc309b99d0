// SPDX-License-Identifier: GPL-2.0
/*
 * XRSTORS of a guest's registers faults as KVM_RUN begins.  The kernel then loads
 * initial registers, and the XFD that goes with them, which is not the guest's.  The
 * guest loses its registers, but finds its own XFD and XFD_ERR; and so does the thread
 * that runs it, when KVM_RUN has returned.
 *
 *	fault.<state>.xrstors
 *	unarmed.xrstors		of a guest that has never written XFD, and has tiles
 *
 * No image from userspace does this, as what KVM is given is checked: kmod/xfd_bad_xstate.c
 * makes the fault.
 */
#include <sys/syscall.h>

#include "lib/harness.h"
#include "lib/xfd.h"

#define TIMEOUT		60

#define TID		"/sys/module/xfd_bad_xstate/parameters/tid"

static struct xfd_tiles tiles;
static u64 guest_state;

static void guest_code(void)
{
	xfd_tiles_fill(&tiles, 1);
	/* What makes KVM pass the MSR through. */
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_state_enter(&tiles, guest_state);
	GUEST_SYNC(0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), xfd_state_xfd(guest_state));
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_state_xfd_err(guest_state));
	/* Its tiles, if it had any, are gone with the fault. */
	GUEST_ASSERT_EQ(xfd_xinuse() & XFD_TILEDATA, 0);
	GUEST_DONE();
}

static void guest_unarmed(void)
{
	xfd_tiles_fill(&tiles, 1);
	GUEST_SYNC(0);
	/* There is no #NM. */
	xfd_tiles_use(&tiles);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), 0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0);
	GUEST_DONE();
}

/* The next KVM_RUN, which is the last, begins with the fault. */
static void run_with_fault(struct kvm_vcpu *vcpu)
{
	xfd_write_long(TID, syscall(SYS_gettid));
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	xfd_check_host_msrs(XFD_TILEDATA);
	TEST_ASSERT(!xfd_read_long(TID), "XRSTORS had no fault");
}

FIXTURE(fault) {
};

XFD_FIXTURE_STATES(fault);

FIXTURE_SETUP(fault)
{
	pin_self_to_cpu(xfd_cpu(0));
}

FIXTURE_TEARDOWN(fault)
{
}

TEST_F_TIMEOUT(fault, xrstors, TIMEOUT)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, guest_code);

	xfd_vm_expect(vm, xfd_expect);
	*(u64 *)xfd_guest_ptr(vm, guest_state) = variant->state;
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	run_with_fault(vcpu);
	kvm_vm_free(vm);
}

XFD_FIXTURE_EMPTY(unarmed);

TEST_F_TIMEOUT(unarmed, xrstors, TIMEOUT)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, guest_unarmed);

	pin_self_to_cpu(xfd_cpu(0));
	xfd_vm_expect(vm, xfd_expect);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	run_with_fault(vcpu);
	kvm_vm_free(vm);
}

enum { BAD_XSTATE };

static struct xfd_option options[] = {
	[BAD_XSTATE] = { "bad-xstate", "PATH", "xfd_bad_xstate.ko, to be loaded" },
	{}
};

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	xfd_require_amx();
	xfd_taints = XFD_TAINT_WARN;
	if (options[BAD_XSTATE].value)
		xfd_test_module_load(options[BAD_XSTATE].value);
	return xfd_run_tests(argc, argv);
}
