// SPDX-License-Identifier: GPL-2.0
/* arch_prctl(), and tiles without permission. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "permission.h"
#include "../lib/xfd.h"

void op_permission(struct attacker *a, struct target *t)
{
	bool guest = one_in(a, 2), have = one_in(a, 2);
	unsigned long component = have ? ilog2(XFD_TILEDATA) : 64 + below(a, 1000);
	long ret, want = have ? 0 : -EINVAL;

	ret = count(a, syscall(SYS_arch_prctl,
			       guest ? ARCH_REQ_XCOMP_GUEST_PERM : ARCH_REQ_XCOMP_PERM, component));
	if (ret != want)
		fail(a, "arch_prctl() is wrong about a component");
}

static bool fails_with(long ret, int error)
{
	return ret == -1 && errno == error;
}

/* What is wrong, or NULL. */
static const char *permission_child(void)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entry;
	} cpuid = {
		.header.nent = 1,
		.entry.function = 0xd,
		.entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.entry.eax = XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_XTILE,
	};
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry.index = MSR_IA32_XFD, .entry.data = XFD_TILEDATA };
	struct kvm_xsave image = {};
	int kvm = open(KVM_DEV_PATH, O_RDWR | O_CLOEXEC), vm, vcpu, i;

	/* A VM alone decides nothing. */
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return "KVM_CREATE_VCPU";
	for (i = 0; i < 100; i++) {
		if (!fails_with(syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM,
					ilog2(XFD_TILEDATA)), EBUSY))
			return "permission comes too late, which must be EBUSY";
		if (!fails_with(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), EPERM))
			return "KVM_SET_CPUID2 with tiles must be EPERM";
		if (ioctl(vcpu, KVM_SET_MSRS, &msrs))
			return "KVM_SET_MSRS sets XFD";
		xfd_image_header(&image)->xstate_bv = XFEATURE_MASK_XTILE;
		if (!fails_with(ioctl(vcpu, KVM_SET_XSAVE, &image), EINVAL))
			return "KVM_SET_XSAVE with tiles must be EINVAL";
		xfd_image_header(&image)->xstate_bv = 0;
		if (ioctl(vcpu, KVM_SET_XSAVE, &image))
			return "KVM_SET_XSAVE";
	}
	return NULL;
}

bool permission_try(void)
{
	const char *wrong;
	int status;
	pid_t pid;

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		wrong = permission_child();
		if (wrong)
			ksft_print_msg("permission: %s (%s)\n", wrong, strerror(errno));
		fflush(stdout);
		_exit(!!wrong);
	}
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid()");
	return !status;
}
