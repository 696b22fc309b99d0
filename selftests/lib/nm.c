// SPDX-License-Identifier: GPL-2.0
/* #NM that is none of XFD's. */
#include "nm.h"

XFD_NO_SSE void xfd_nm_handler(struct ex_regs *regs)
{
	if (regs->r9 != KVM_EXCEPTION_MAGIC || regs->rip != regs->r10) {
		set_cr0(get_cr0() & ~(X86_CR0_TS | X86_CR0_EM));
		GUEST_FAIL("#NM at RIP %lx", regs->rip);
	}
	regs->rip = regs->r11;
	regs->r9 = regs->vector;
	regs->r10 = regs->error_code;
}

XFD_NO_SSE u8 xfd_other_nm(u64 cr0_bit)
{
	u64 cr0 = get_cr0();
	u8 vector;

	set_cr0(cr0 | cr0_bit);
	vector = kvm_asm_safe("fnop");
	set_cr0(cr0);
	return vector;
}
