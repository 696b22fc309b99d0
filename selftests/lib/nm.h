/* SPDX-License-Identifier: GPL-2.0 */
/*
 * #NM in a guest that is none of XFD's: what raises it, and a handler for it.
 *
 * With CR0.TS=1 SSE instructions raise it as well, and the compiler uses those, in
 * the library's handling of exceptions, too: whatever runs then must be built
 * without (XFD_NO_SSE), and #NM needs the handler below.
 */
#ifndef SELFTESTS_LIB_NM_H
#define SELFTESTS_LIB_NM_H

#include "kvm_util.h"
#include "processor.h"

#define XFD_NO_SSE	__attribute__((target("general-regs-only")))

/* For vm_install_exception_handler(): serves kvm_asm_safe() as the library does. */
void xfd_nm_handler(struct ex_regs *regs);

/* A #NM that FNOP raises because of @cr0_bit, TS or EM; returns the vector. */
u8 xfd_other_nm(u64 cr0_bit);

#endif /* SELFTESTS_LIB_NM_H */
