// SPDX-License-Identifier: GPL-2.0
/* In the guest: the operations of programs. */
#include "guest.h"
#include "insn.h"
#include "op.h"
#include "../lib/xfd.h"

/* See insn.h. */
#pragma GCC target("general-regs-only")

static u64 msr_value(u8 arg)
{
	switch (arg) {
	case 6:
		return XFEATURE_MASK_XTILE_CFG;
	case 7:
		return ~0ull;
	default:
		return arg & 1 ? XFD_TILEDATA : 0;
	}
}

static u8 guest_do_wrmsr(u32 msr, u64 value, bool emulated)
{
	if (guest.clean && msr == MSR_IA32_XFD && value) {
		/* Not seen, and not released, without XCR0. */
		if (!(guest_xgetbv(0) & XFD_TILEDATA))
			return 0;
		if (guest_xgetbv(1) & XFD_TILEDATA)
			asm volatile(ASM_TILERELEASE : : : "memory");
	}
	if (emulated)
		return guest_try_emulated("wrmsr", "c"(msr), "a"((u32)value),
					  "d"((u32)(value >> 32)));
	return guest_try("wrmsr", "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

static u8 guest_do_rdmsr(u32 msr, u64 *value, bool emulated)
{
	u32 low, high;
	u64 error_code;
	u8 vector;

	if (emulated)
		asm volatile(KVM_ASM_SAFE_FEP("rdmsr")
			     : "=a"(low), "=d"(high), KVM_ASM_SAFE_OUTPUTS(vector, error_code)
			     : "c"(msr)
			     : KVM_ASM_SAFE_CLOBBERS, "memory");
	else
		asm volatile(KVM_ASM_SAFE("rdmsr")
			     : "=a"(low), "=d"(high), KVM_ASM_SAFE_OUTPUTS(vector, error_code)
			     : "c"(msr)
			     : KVM_ASM_SAFE_CLOBBERS, "memory");
	*value = vector ? 0 : low | (u64)high << 32;
	return vector;
}

/*
 * AMX instructions don't look at CR0.TS.  If XFD makes one raise #NM while it is set, stock
 * takes the #NM for one of CR0.TS, and leaves XFD_ERR in the CPU for whoever is next.
 */
static bool guest_lets_xfd_err_stay(const struct xfd_op *op)
{
	return op->kind >= XFD_OP_TILES_LOAD && op->kind <= XFD_OP_TDPBSSD && guest.stock;
}

/* Of all eight: what the first does not raise no other does. */
#define GUEST_TRY_TILES(insn, data)						\
({										\
	const u8 *tile = data;							\
	u64 error_code;								\
	u8 vector;								\
										\
	asm volatile(KVM_ASM_SAFE(insn)						\
		     : "+a"(tile), KVM_ASM_SAFE_OUTPUTS(vector, error_code)	\
		     : "d"((u64)XFD_TILE_COLSB), [tile_bytes]"i"(XFD_TILE_BYTES)\
		     : KVM_ASM_SAFE_CLOBBERS, "memory", "cc");			\
	vector;									\
})

static u8 guest_tiles_load(const u8 *data)
{
	return GUEST_TRY_TILES(ASM_TILELOADD(0x04) ASM_NEXT_TILE ASM_TILELOADD(0x0c) ASM_NEXT_TILE
			       ASM_TILELOADD(0x14) ASM_NEXT_TILE ASM_TILELOADD(0x1c) ASM_NEXT_TILE
			       ASM_TILELOADD(0x24) ASM_NEXT_TILE ASM_TILELOADD(0x2c) ASM_NEXT_TILE
			       ASM_TILELOADD(0x34) ASM_NEXT_TILE ASM_TILELOADD(0x3c), data);
}

u8 guest_tiles_store(u8 *data)
{
	return GUEST_TRY_TILES(ASM_TILESTORED(0x04) ASM_NEXT_TILE ASM_TILESTORED(0x0c)
			       ASM_NEXT_TILE ASM_TILESTORED(0x14) ASM_NEXT_TILE
			       ASM_TILESTORED(0x1c) ASM_NEXT_TILE ASM_TILESTORED(0x24)
			       ASM_NEXT_TILE ASM_TILESTORED(0x2c) ASM_NEXT_TILE
			       ASM_TILESTORED(0x34) ASM_NEXT_TILE ASM_TILESTORED(0x3c), data);
}

u8 guest_xmm_load(const u8 *data)
{
	return guest_try("movdqu 0x00(%%rax), %%xmm0\n\tmovdqu 0x10(%%rax), %%xmm1\n\t"
			 "movdqu 0x20(%%rax), %%xmm2\n\tmovdqu 0x30(%%rax), %%xmm3\n\t"
			 "movdqu 0x40(%%rax), %%xmm4\n\tmovdqu 0x50(%%rax), %%xmm5\n\t"
			 "movdqu 0x60(%%rax), %%xmm6\n\tmovdqu 0x70(%%rax), %%xmm15", "a"(data));
}

u8 guest_xmm_store(u8 *data)
{
	return guest_try("movdqu %%xmm0, 0x00(%%rax)\n\tmovdqu %%xmm1, 0x10(%%rax)\n\t"
			 "movdqu %%xmm2, 0x20(%%rax)\n\tmovdqu %%xmm3, 0x30(%%rax)\n\t"
			 "movdqu %%xmm4, 0x40(%%rax)\n\tmovdqu %%xmm5, 0x50(%%rax)\n\t"
			 "movdqu %%xmm6, 0x60(%%rax)\n\tmovdqu %%xmm15, 0x70(%%rax)", "a"(data));
}

#define XSTATE_TRY(insn, area, mask)						\
	guest_try(insn " (%%rdi)", "D"(area), "a"((u32)(mask)), "d"(0))

u8 guest_do(const struct xfd_op *op, bool emulated, u64 *value, u64 *hash)
{
	/* XINUSE of other components is up to the CPU. */
	static const u32 masks[] = {
		XFEATURE_MASK_XTILE, XFD_TILEDATA, XFEATURE_MASK_XTILE | XFEATURE_MASK_SSE,
		XFEATURE_MASK_XTILE_CFG,
	};
	const u8 *pattern = xfd_patterns[1 + (op->arg & 1)].want;
	u8 *area = guest.areas[op->arg & 1];
	u32 mask = masks[op->arg >> 1 & 3];
	u8 vector;

	if (guest_lets_xfd_err_stay(op))
		asm volatile("clts" : : : "memory");

	switch (op->kind) {
	case XFD_OP_WRMSR_XFD:
		return guest_do_wrmsr(MSR_IA32_XFD, msr_value(op->arg), emulated);
	case XFD_OP_WRMSR_XFD_ERR:
		return guest_do_wrmsr(MSR_IA32_XFD_ERR, msr_value(op->arg), emulated);
	case XFD_OP_RDMSR_XFD:
		return guest_do_rdmsr(MSR_IA32_XFD, value, emulated);
	case XFD_OP_RDMSR_XFD_ERR:
		return guest_do_rdmsr(MSR_IA32_XFD_ERR, value, emulated);
	case XFD_OP_LDTILECFG:
		return guest_try(ASM_LDTILECFG,
				 "a"(&guest.cfgs[op->arg >= 4 && op->arg < 7 ? op->arg - 3 : 0]));
	case XFD_OP_STTILECFG:
		*hash = sizeof(struct xfd_tilecfg);
		return guest_try(ASM_STTILECFG, "a"(guest.buffer));
	case XFD_OP_TILES_LOAD:
		return guest_tiles_load(pattern);
	case XFD_OP_TILE_LOAD:
		return guest_try(ASM_TILELOADD(0x04), "a"(pattern), "d"((u64)XFD_TILE_COLSB));
	case XFD_OP_TILES_STORE:
		*hash = XFD_TILES_BYTES;
		return guest_tiles_store(guest.buffer);
	case XFD_OP_TILEZERO:
		/* XINUSE of tiles that are all 0 is up to the CPU: let there be one that is not. */
		vector = guest_try(ASM_TILELOADD(0x0c), "a"(pattern), "d"((u64)XFD_TILE_COLSB));
		return vector ?: guest_try(ASM_TILEZERO);
	case XFD_OP_TDPBSSD:
		return guest_try(ASM_TDPBSSD);
	case XFD_OP_TILERELEASE:
		return guest_try(ASM_TILERELEASE);
	case XFD_OP_XSAVE:
		*hash = AREA_BYTES;
		return XSTATE_TRY("xsave64", area, mask);
	case XFD_OP_XSAVEC:
		*hash = AREA_BYTES;
		return XSTATE_TRY("xsavec64", area, mask);
	case XFD_OP_XSAVEOPT:
		*hash = AREA_BYTES;
		return XSTATE_TRY("xsaveopt64", area, mask);
	case XFD_OP_XSAVES:
		*hash = AREA_BYTES;
		return XSTATE_TRY("xsaves64", area, mask);
	case XFD_OP_XRSTOR:
		return XSTATE_TRY("xrstor64", area, mask);
	case XFD_OP_XRSTORS:
		return XSTATE_TRY("xrstors64", area, mask);
	case XFD_OP_SET_TS:
		asm volatile("mov %0, %%cr0" : : "r"(guest_cr0() | X86_CR0_TS) : "memory");
		return 0;
	case XFD_OP_CLEAR_TS:
		return emulated ? guest_try_emulated("clts", "a"(0)) : guest_try("clts", "a"(0));
	case XFD_OP_XCR0_OFF:
		return guest_xsetbv(false);
	case XFD_OP_XCR0_ON:
		return guest_xsetbv(true);
	case XFD_OP_XMM_LOAD:
		return guest_xmm_load(pattern);
	case XFD_OP_XMM_STORE:
		*hash = 0x80;
		return guest_xmm_store(guest.buffer);
	}
	return 0;
}

/*
 * Of an area the header and what follows the legacy region and AVX's, where all else
 * that programs save is.  Of the header no bits of SSE.
 */
u64 guest_hash_of(const struct xfd_op *op, u64 bytes)
{
	const u8 *area = guest.areas[op->arg & 1];
	const u64 *header = (const u64 *)(area + 512);

	u64 hash;

	if (bytes != AREA_BYTES) {
		hash = guest_hash(guest.buffer, bytes);
		guest_zero(guest.buffer, bytes);
		return hash;
	}
	hash = guest_hash(area + 576, AREA_BYTES - 576);
	return hash ^ (header[0] & XFEATURE_MASK_XTILE) ^ header[1];
}
