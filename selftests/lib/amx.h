/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whether this machine and its KVM have AMX with XFD, the permission that Linux
 * wants for it, and what CPUID says of the XSAVE areas with it.
 */
#ifndef SELFTESTS_LIB_AMX_H
#define SELFTESTS_LIB_AMX_H

#include "tiles.h"

/*
 * Permission for XTILEDATA in guests and in host tasks; a reason why not, or NULL.
 * Must precede anything that reads KVM's supported CPUID.
 */
const char *xfd_amx_missing(void);

/* The same, but without it the program ends, and is skipped. */
void xfd_require_amx(void);

/* Every component that XFD can disarm on this CPU: CPUID.(0DH,i).ECX[2]. */
u64 xfd_cpuid_mask(void);

/*
 * The offset of component @nr in the compacted format with @xcomp_bv: SDM
 * vol. 1, "Compacted Format of the Extended Region of an XSAVE Area".
 */
u32 xfd_compacted_offset(u64 xcomp_bv, int nr);

#endif /* SELFTESTS_LIB_AMX_H */
