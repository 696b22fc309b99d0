/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The library of these tests, beside KVM's own.  One noun a file:
 *
 *	harness.h	how a program begins and runs its tests; not included here, as
 *			it is for the one file that has main()
 *	expect.h	xfd_expect: stock, unattached or attached, and the guest's copy
 *	option.h	long options
 *	amx.h		xfd_require_amx(); what CPUID says
 *	tiles.h		AMX instructions; patterns in tiles, filled, loaded, compared
 *	state.h		armed, live, dormant, pending: a guest enters and checks them
 *	nm.h		#NM that is none of XFD's
 *	vcpu.h		running a vCPU, what its guest says, and its MSRs; xfd_vmcall()
 *	image.h		XSAVE images
 *	model.h		a model of XFD's state, and images that carry it
 *	real_mode.h	a guest in real mode and SMM
 *	meet.h		a guest that meets events, and what makes them happen
 *	fep.h		forced emulation
 *	fault.h		memory that fails
 *	random.h	seeds
 *	task.h		tasks of the host that use tiles
 *	cpu.h		the host's CPUs and their MSRs
 *	module.h	xfd_switch.ko, and other modules
 *	kmsg.h		the kernel log, and the taint
 *	fpu_user.h	the kernel uses the FPU, by kmod/xfd_fpu_user.c
 *	msr_lists.h	the VMX MSR lists
 *	trace.h		the kernel's accesses of XFD and XFD_ERR
 *	counters.h	the module's counters, and trace events of the same
 *
 * The words are the SDM's (vol. 1, "Managing State Using the XSAVE Feature
 * Set"), and one of the project's: tiles are "dormant" while IA32_XFD[18]=1 and
 * XTILEDATA is in use.
 *
 * A program:
 *
 *	XFD_FIXTURE_EMPTY(x);
 *
 *	TEST_F_TIMEOUT(x, something, 60)
 *	{
 *		vm = vm_create_with_one_vcpu(&vcpu, guest_code);
 *		xfd_vm_expect(vm, xfd_expect);
 *		TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
 *		kvm_vm_free(vm);
 *	}
 *
 *	static struct xfd_option options[] = {
 *		{ "fpu-user", "PATH", "xfd_fpu_user.ko, to be loaded" },
 *		{}
 *	};
 *
 *	int main(int argc, char *argv[])
 *	{
 *		argc = xfd_begin(argc, argv, options);
 *		xfd_require_amx();
 *		if (options[0].value)
 *			xfd_test_module_load(options[0].value);
 *		return xfd_run_tests(argc, argv);
 *	}
 *
 * The guest's copy of xfd_expect is that of an attached VM until xfd_vm_expect():
 * who forgets that demands too much, not too little.
 */
#ifndef SELFTESTS_LIB_XFD_H
#define SELFTESTS_LIB_XFD_H

#include "amx.h"
#include "counters.h"
#include "cpu.h"
#include "expect.h"
#include "fault.h"
#include "fep.h"
#include "fpu_user.h"
#include "image.h"
#include "kmsg.h"
#include "meet.h"
#include "model.h"
#include "module.h"
#include "msr_lists.h"
#include "nm.h"
#include "option.h"
#include "random.h"
#include "real_mode.h"
#include "state.h"
#include "task.h"
#include "tiles.h"
#include "trace.h"
#include "vcpu.h"

#endif /* SELFTESTS_LIB_XFD_H */
