// SPDX-License-Identifier: GPL-2.0
/*
 * XFD_ERR is not 0 when a CPU comes up: INIT leaves it alone, so that it still has
 * what firmware or a kernel before kexec left there.  Linux 7.3.4 leaves it, too.
 *
 * Whoever gets a #NM of another cause then takes it for one of XFD's.  Of the host's
 * user tasks none does; but guests do, and as KVM writes XFD_ERR only if the
 * guest's is not 0, a guest finds the host's in its own.
 *
 * A CPU is taken offline and online again here, after a write by the msr driver.
 * --unload=MODULE unloads the KVM vendor module before and tests the CPU alone: KVM
 * may clear XFD_ERR as well when it leaves the CPU.
 */
#include <errno.h>

#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		30

static int cpu;

static u64 cpu_xfd_err(void)
{
	u64 value;

	TEST_ASSERT(xfd_rdmsr_on_cpu(cpu, MSR_IA32_XFD_ERR, &value), "cannot read XFD_ERR");
	return value;
}

static void leave_stale(void)
{
	TEST_ASSERT(xfd_wrmsr_on_cpu(cpu, MSR_IA32_XFD_ERR, XFD_TILEDATA),
		    "cannot write XFD_ERR by the msr driver, errno = %d", errno);
	TEST_ASSERT_EQ(cpu_xfd_err(), XFD_TILEDATA);
	TEST_ASSERT(xfd_cpu_set_online(cpu, false), "CPU %d does not go offline", cpu);
	TEST_ASSERT(xfd_cpu_set_online(cpu, true), "CPU %d does not come online", cpu);
}

XFD_FIXTURE_EMPTY(host);

TEST_F_TIMEOUT(host, cpu_comes_up, TIMEOUT)
{
	leave_stale();
	TEST_ASSERT_EQ(cpu_xfd_err(), 0);
}

/* A #NM of another cause, as a guest kernel with lazy FPU switching has it. */
static u64 nm_xfd_err;

static void nm_handler(struct ex_regs *regs)
{
	nm_xfd_err = rdmsr(MSR_IA32_XFD_ERR);
	set_cr0(get_cr0() & ~X86_CR0_TS);
}

static void guest_code(void)
{
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);

	nm_xfd_err = ~0ull;
	set_cr0(get_cr0() | X86_CR0_TS);
	asm volatile("fnop" : : : "memory");
	GUEST_ASSERT_EQ(nm_xfd_err, 0ull);
	GUEST_DONE();
}

XFD_FIXTURE_EMPTY(guest);

TEST_F_TIMEOUT(guest, other_nm, TIMEOUT)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	vm_install_exception_handler(vm, NM_VECTOR, nm_handler);
	leave_stale();
	pin_self_to_cpu(cpu);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

static struct xfd_option options[] = {
	{ "unload", "MODULE", "unload it before, and test the host alone" },
	{}
};

int main(int argc, char *argv[])
{
	const char *module;

	argc = xfd_begin(argc, argv, options);
	xfd_require_amx();
	cpu = xfd_cpu(1);
	__TEST_REQUIRE(cpu >= 0, "one CPU");
	__TEST_REQUIRE(!access("/dev/cpu/0/msr", W_OK), "no msr driver");

	module = options[0].value;
	if (module) {
		if (xfd_module_unload(module))
			ksft_exit_fail_msg("cannot unload %s\n", module);
		xfd_leave_out_fixture("guest");
	}
	return xfd_run_tests(argc, argv);
}
