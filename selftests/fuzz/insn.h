/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In the guest: its instructions.  XMM registers are the programs', here and in all other files
 * of the guest: the compiler must not use them.
 */
#ifndef SELFTESTS_FUZZ_INSN_H
#define SELFTESTS_FUZZ_INSN_H

#include "processor.h"

#include "../lib/fep.h"
#include "../lib/tiles.h"

#pragma GCC push_options
#pragma GCC target("general-regs-only")

#define __guest_try(safe_insn, inputs...)					\
({										\
	u64 error_code;								\
	u8 vector;								\
										\
	asm volatile(safe_insn							\
		     : KVM_ASM_SAFE_OUTPUTS(vector, error_code)			\
		     : inputs							\
		     : KVM_ASM_SAFE_CLOBBERS, "memory");			\
	vector;									\
})

#define guest_try(insn, inputs...)		__guest_try(KVM_ASM_SAFE(insn), inputs)

/* By KVM's instruction emulator. */
#define guest_try_emulated(insn, inputs...)	__guest_try(KVM_ASM_SAFE_FEP(insn), inputs)

static inline void guest_out(u16 port)
{
	asm volatile("outb %%al, %%dx" : : "a"(0), "d"(port) : "memory");
}

static inline void guest_zero(void *to, u64 bytes)
{
	u64 count = bytes / 8;

	asm volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0ull) : "memory");
}

/* Of words. */
static inline u64 guest_hash(const void *of, u64 bytes)
{
	const u64 *word = of, *end = of + bytes;
	u64 hash = 0;

	for (; word < end; word++)
		hash = (hash ^ *word) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 32;
}

static inline u64 guest_rdmsr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return low | (u64)high << 32;
}

static inline void guest_wrmsr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 guest_xgetbv(u32 index)
{
	u32 low, high;

	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index) : "memory");
	return low | (u64)high << 32;
}

static inline u64 guest_cr0(void)
{
	u64 cr0;

	asm volatile("mov %%cr0, %0" : "=r"(cr0) : : "memory");
	return cr0;
}

static inline u8 guest_xsetbv(bool on)
{
	u64 xcr0 = guest_xgetbv(0) & ~XFEATURE_MASK_XTILE;

	if (on)
		xcr0 |= XFEATURE_MASK_XTILE;
	return guest_try("xsetbv", "a"((u32)xcr0), "d"((u32)(xcr0 >> 32)), "c"(0));
}

#pragma GCC pop_options

#endif /* SELFTESTS_FUZZ_INSN_H */
