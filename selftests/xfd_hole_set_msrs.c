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
#include "xfd_host.h"

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
	struct kvm_xsave *xsave = calloc(1, vm_check_cap(vcpu->vm, KVM_CAP_XSAVE2));

	TEST_ASSERT(xsave, "out of memory");
	vcpu_xsave2_get(vcpu, xsave);
	TEST_ASSERT(*(u64 *)((u8 *)xsave + 512) & XFD_TILEDATA,
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

static void run_order(const void *arg)
{
	enum order order = *(const enum order *)arg;
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

#define ORDER(_order, _name)							\
	{ .name = _name, .fn = run_order, .arg = &(enum order){ _order } }

static const struct xfd_test tests[] = {
	/* Fine on Linux 7.3.4: first, so that they are seen there. */
	ORDER(SET_MSRS_SET_XSAVE, "set_msrs_then_set_xsave"),
	ORDER(SET_MSRS, "set_msrs"),
	ORDER(SET_XSAVE_SET_MSRS, "set_xsave_then_set_msrs"),
	ORDER(SET_MSRS_TWICE, "set_msrs_set_xsave_set_msrs"),
	ORDER(NEW_VCPU, "new_vcpu_set_xsave_then_set_msrs"),
	ORDER(NEW_VCPU_SET_MSRS_FIRST, "new_vcpu_set_msrs_around_set_xsave"),
};

int main(int argc, char *argv[])
{
	const char *why;
	int i;

	ksft_print_header();
	why = xfd_require_amx();
	if (why)
		ksft_exit_skip("%s\n", why);

	ksft_set_plan(argc > 1 ? 1 : ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (argc > 1 && strcmp(argv[1], tests[i].name))
			continue;
		xfd_report(&tests[i], xfd_run_one(&tests[i], 20));
	}
	ksft_finished();
}
