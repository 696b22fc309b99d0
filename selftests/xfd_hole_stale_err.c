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
 * -u MODULE unloads the KVM vendor module before and tests the CPU alone: KVM may
 * clear XFD_ERR as well when it leaves the CPU.
 */
#include <errno.h>
#include <getopt.h>

#include "xfd_host.h"
#include "xfd_module.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		30

static int cpu;

static u64 cpu_xfd_err(void)
{
	u64 value;

	TEST_ASSERT(xfd_rdmsr_on_cpu(cpu, MSR_IA32_XFD_ERR, &value), "cannot read XFD_ERR");
	return value;
}

static void cpu_set_xfd_err(u64 value)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
	fd = open(path, O_WRONLY);
	TEST_ASSERT(fd >= 0 && pwrite(fd, &value, sizeof(value), MSR_IA32_XFD_ERR) == sizeof(value),
		    "cannot write XFD_ERR by %s, errno = %d", path, errno);
	close(fd);
}

static void cpu_online(bool online)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	fd = open(path, O_WRONLY);
	TEST_ASSERT(fd >= 0 && write(fd, online ? "1" : "0", 1) == 1,
		    "cannot write %d to %s, errno = %d", online, path, errno);
	close(fd);
}

static void leave_stale(void)
{
	cpu_set_xfd_err(XFD_TILEDATA);
	TEST_ASSERT_EQ(cpu_xfd_err(), XFD_TILEDATA);
	cpu_online(false);
	cpu_online(true);
}

static void host(const void *arg)
{
	leave_stale();
	TEST_ASSERT_EQ(cpu_xfd_err(), 0);
}

/* A #NM of another cause, as a guest kernel with lazy FPU switching has it. */
static u64 nm_xfd_err;

static void guest_nm(struct ex_regs *regs)
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

static void guest(const void *arg)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	vm_install_exception_handler(vm, NM_VECTOR, guest_nm);
	leave_stale();
	pin_self_to_cpu(cpu);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	static const struct xfd_test on_host = { .name = "host", .fn = host };
	static const struct xfd_test in_guest = { .name = "guest", .fn = guest };
	const char *why, *module = NULL;
	int option;

	while ((option = getopt(argc, argv, "u:")) != -1) {
		if (option != 'u')
			return KSFT_FAIL;
		module = optarg;
	}

	ksft_print_header();
	why = xfd_require_amx();
	cpu = xfd_cpu(1);
	if (!why && cpu < 0)
		why = "one CPU";
	if (!why && access("/dev/cpu/0/msr", W_OK))
		why = "no msr driver";
	if (why)
		ksft_exit_skip("%s\n", why);
	if (module && xfd_module_unload(module))
		ksft_exit_fail_msg("cannot unload %s\n", module);

	ksft_set_plan(module ? 1 : 2);
	xfd_report(&on_host, xfd_run_one(&on_host, TIMEOUT));
	if (!module)
		xfd_report(&in_guest, xfd_run_one(&in_guest, TIMEOUT));
	ksft_finished();
}
