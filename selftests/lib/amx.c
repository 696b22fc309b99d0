// SPDX-License-Identifier: GPL-2.0
/* AMX and XFD as CPUID, Linux and KVM offer them. */
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "amx.h"

const char *xfd_amx_missing(void)
{
	const int nr = ilog2(XFD_TILEDATA);
	u64 supported = 0;
	struct kvm_device_attr attr = {
		.attr = KVM_X86_XCOMP_GUEST_SUPP,
		.addr = (unsigned long)&supported,
	};
	u32 eax, ebx, ecx, edx;
	int fd, ret;

	__cpuid(0xd, 1, &eax, &ebx, &ecx, &edx);
	if (!(eax & BIT(4)))
		return "the CPU has no XFD: CPUID.(0DH,1).EAX[4]=0";
	__cpuid(0xd, nr, &eax, &ebx, &ecx, &edx);
	if (!(ecx & BIT(2)))
		return "the CPU has no XFD for XTILEDATA: CPUID.(0DH,18).ECX[2]=0";

	fd = open(KVM_DEV_PATH, O_RDWR);
	if (fd < 0)
		return "cannot open /dev/kvm";
	ret = ioctl(fd, KVM_GET_DEVICE_ATTR, &attr);
	close(fd);
	if (ret || !(supported & XFD_TILEDATA))
		return "KVM does not offer XTILEDATA to guests (KVM_X86_XCOMP_GUEST_SUPP)";

	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, nr))
		return "no permission for XTILEDATA in guests (ARCH_REQ_XCOMP_GUEST_PERM)";
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, nr))
		return "no permission for XTILEDATA in this process (ARCH_REQ_XCOMP_PERM)";
	if (!kvm_cpu_has(X86_FEATURE_XFD))
		return "KVM does not show XFD to guests";
	return NULL;
}

void xfd_require_amx(void)
{
	const char *why = xfd_amx_missing();

	__TEST_REQUIRE(!why, "%s", why);
}

u64 xfd_cpuid_mask(void)
{
	u32 eax, ebx, ecx, edx;
	u64 mask = 0;
	int i;

	for (i = 2; i < 63; i++) {
		__cpuid(0xd, i, &eax, &ebx, &ecx, &edx);
		if (eax && (ecx & BIT(2)))
			mask |= BIT_ULL(i);
	}
	return mask;
}

u32 xfd_compacted_offset(u64 xcomp_bv, int nr)
{
	u32 eax, ebx, ecx, edx, offset = sizeof(struct xstate);
	int i;

	for (i = 2; i <= nr; i++) {
		if (!(xcomp_bv & BIT_ULL(i)))
			continue;
		__cpuid(0xd, i, &eax, &ebx, &ecx, &edx);
		if (ecx & BIT(1))
			offset = (offset + 63) & ~63u;
		if (i < nr)
			offset += eax;
	}
	return offset;
}
