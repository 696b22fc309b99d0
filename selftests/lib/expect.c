// SPDX-License-Identifier: GPL-2.0
/* What is expected of a VM's XFD, compared with what the VM is. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "expect.h"
#include "module.h"

static const char * const kind_names[] = {
	[XFD_STOCK] = "stock",
	[XFD_UNATTACHED] = "unattached",
	[XFD_ATTACHED] = "attached",
};

enum xfd_kind xfd_expect = XFD_ATTACHED;

void xfd_vm_expect(struct kvm_vm *vm, enum xfd_kind kind)
{
	write_guest_global(vm, xfd_expect, kind);
}

bool xfd_vm_attached(int vm_fd)
{
	return ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_XFD_XSTATE) == 1;
}

/* The series shows nowhere but in what it exports to KVM. */
static bool kernel_has_series(void)
{
	char line[512], name[128];
	bool found = false;
	FILE *f;

	f = fopen("/proc/kallsyms", "r");
	if (!f)
		ksft_exit_fail_msg("cannot tell a patched kernel from stock: /proc/kallsyms: %s\n",
				   strerror(errno));
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%*s %*s %127s", name) == 1 &&
			!strcmp(name, "fpu_load_guest_xfd");
	fclose(f);
	return found;
}

enum xfd_kind xfd_kind_of_new_vm(void)
{
	enum xfd_kind kind = kernel_has_series() ? XFD_UNATTACHED : XFD_STOCK;
	int kvm, vm;

	kvm = open(KVM_DEV_PATH, O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return kind;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm >= 0 && xfd_vm_attached(vm))
		kind = XFD_ATTACHED;
	close(vm);
	close(kvm);
	return kind;
}

void xfd_expect_set(const char *name, bool control)
{
	enum xfd_kind kind, real = xfd_kind_of_new_vm();

	if (!name) {
		if (control)
			ksft_exit_fail_msg("--control needs --expect=\n");
		xfd_expect = real;
		return;
	}
	for (kind = XFD_STOCK; kind <= XFD_ATTACHED; kind++) {
		if (!strcmp(kind_names[kind], name))
			break;
	}
	if (kind > XFD_ATTACHED)
		ksft_exit_fail_msg("--expect=%s: use stock, unattached or attached\n", name);
	if (!control && kind != real)
		ksft_exit_fail_msg("--expect=%s, but VMs are %s here\n", name, kind_names[real]);
	if (control && kind <= real)
		ksft_exit_fail_msg("--expect=%s --control, but VMs are %s here, which is enough\n",
				   name, kind_names[real]);
	xfd_expect = kind;
}
