// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_SET_MSRS(IA32_XFD) over tiles in use: on Linux 7.3.4 the next KVM_RUN
 * oopses the host.
 *
 * fpu_update_guest_xfd() drops the tiles from the guest's saved state, but only
 * if the calling task's TIF_NEED_FPU_LOAD is set, which in an ioctl it is not.
 * XFD[18]=1 and XSTATE_BV[18]=1 then meet in the XRSTORS that loads the guest's
 * state, which raises #NM in the kernel.
 *
 * Nothing that userspace sets, in whatever order, may do that.  What becomes of
 * the tiles is up to KVM: all kept or all initial.
 */
#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		20

static struct xfd_tiles tiles;

static void guest_code(void)
{
	u64 lost;

	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, 1);
	xfd_tiles_use(&tiles);
	GUEST_SYNC(0);

	/* Userspace has set XFD meanwhile. */
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), XFD_TILEDATA);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	GUEST_SYNC(1);

	wrmsr(MSR_IA32_XFD, 0);
	GUEST_ASSERT_EQ(xfd_xinuse() & XFEATURE_MASK_XTILE_CFG, XFEATURE_MASK_XTILE_CFG);
	lost = xfd_tiles_lost(&tiles);
	__GUEST_ASSERT(!lost || xfd_tiles_initial(&tiles),
		       "tiles neither kept nor initial: %lu bytes differ", lost);

	/* And they can be used again. */
	xfd_tiles_use(&tiles);
	GUEST_ASSERT_EQ(xfd_tiles_lost(&tiles), 0ull);
	GUEST_DONE();
}

static struct kvm_xsave *get_xsave(struct kvm_vcpu *vcpu)
{
	struct kvm_xsave *xsave = xfd_image_get(vcpu);

	TEST_ASSERT(xfd_image_header(xsave)->xstate_bv & XFD_TILEDATA,
		    "KVM_GET_XSAVE2 left the tiles of a live guest out");
	return xsave;
}

enum order {
	/* The vCPU's tiles are in use; KVM_SET_MSRS. */
	SET_MSRS,
	/* The same, after KVM_SET_XSAVE of its own state. */
	SET_XSAVE_SET_MSRS,
	/* The other way round. */
	SET_MSRS_SET_XSAVE,
	/* XFD set, cleared and set again, with the state set between. */
	SET_MSRS_TWICE,
	/* A new vCPU that has never run gets the state and then XFD, as on migration. */
	NEW_VCPU,
	NEW_VCPU_SET_MSRS_FIRST,
};

static void run_order(enum order order)
{
	struct kvm_x86_state *state;
	struct kvm_vcpu *vcpu;
	struct kvm_xsave *xsave;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	xsave = get_xsave(vcpu);

	if (order == NEW_VCPU || order == NEW_VCPU_SET_MSRS_FIRST) {
		state = vcpu_save_state(vcpu);
		kvm_vm_release(vm);
		vcpu = vm_recreate_with_one_vcpu(vm);
		if (order == NEW_VCPU_SET_MSRS_FIRST)
			vcpu_set_msr(vcpu, MSR_IA32_XFD, XFD_TILEDATA);
		/* The library sets the MSRs, XFD=0 among them, and then XSAVE. */
		vcpu_load_state(vcpu, state);
		kvm_x86_state_cleanup(state);
	}

	switch (order) {
	case SET_XSAVE_SET_MSRS:
		vcpu_xsave_set(vcpu, xsave);
		vcpu_set_msr(vcpu, MSR_IA32_XFD, XFD_TILEDATA);
		break;
	case SET_MSRS_SET_XSAVE:
		vcpu_set_msr(vcpu, MSR_IA32_XFD, XFD_TILEDATA);
		vcpu_xsave_set(vcpu, xsave);
		break;
	case SET_MSRS_TWICE:
		vcpu_set_msr(vcpu, MSR_IA32_XFD, XFD_TILEDATA);
		vcpu_set_msr(vcpu, MSR_IA32_XFD, 0);
		vcpu_xsave_set(vcpu, xsave);
		vcpu_set_msr(vcpu, MSR_IA32_XFD, XFD_TILEDATA);
		break;
	default:
		vcpu_set_msr(vcpu, MSR_IA32_XFD, XFD_TILEDATA);
		break;
	}
	free(xsave);

	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 1);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD), XFD_TILEDATA);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

FIXTURE(order) {
};

FIXTURE_VARIANT(order) {
	enum order order;
};

/* Fine on Linux 7.3.4: first, so that it is seen there. */
FIXTURE_VARIANT_ADD(order, set_msrs_then_set_xsave) { .order = SET_MSRS_SET_XSAVE };
FIXTURE_VARIANT_ADD(order, set_msrs) { .order = SET_MSRS };
FIXTURE_VARIANT_ADD(order, set_xsave_then_set_msrs) { .order = SET_XSAVE_SET_MSRS };
FIXTURE_VARIANT_ADD(order, set_msrs_set_xsave_set_msrs) { .order = SET_MSRS_TWICE };
FIXTURE_VARIANT_ADD(order, new_vcpu_set_xsave_then_set_msrs) { .order = NEW_VCPU };
FIXTURE_VARIANT_ADD(order, new_vcpu_set_msrs_around_set_xsave) {
	.order = NEW_VCPU_SET_MSRS_FIRST,
};

FIXTURE_SETUP(order)
{
}

FIXTURE_TEARDOWN(order)
{
}

TEST_F_TIMEOUT(order, kept_or_initial, TIMEOUT)
{
	run_order(variant->order);
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	return xfd_run_tests(argc, argv);
}
