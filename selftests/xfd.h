/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The architecture as the XFD tests use it: AMX instructions, tile patterns,
 * XSAVE layout.  Everything here runs in a guest at ring 0 as well as in a host
 * task at ring 3; what is for the host alone is in xfd_host.h.
 *
 * The words are the SDM's (vol. 1, "Managing State Using the XSAVE Feature
 * Set"), and one of the project's: tiles are "dormant" while IA32_XFD[18]=1 and
 * XTILEDATA is in use.
 */
#ifndef SELFTESTS_XFD_H
#define SELFTESTS_XFD_H

#include <stdbool.h>
#include <stddef.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"

/*
 * Palette 1.  The conformance test compares these with CPUID leaf 1DH; all
 * other tests rely on them.
 */
#define XFD_TILES		8
#define XFD_TILE_ROWS		16
#define XFD_TILE_COLSB		64
#define XFD_TILE_BYTES		(XFD_TILE_ROWS * XFD_TILE_COLSB)
#define XFD_TILES_BYTES		(XFD_TILES * XFD_TILE_BYTES)

/* The component that the tests put under XFD. */
#define XFD_TILEDATA		XFEATURE_MASK_XTILE_DATA

/* A KVM hypercall number that KVM does not know: handled in the kernel. */
#define XFD_VMCALL_NR		0x584644

struct xfd_tilecfg {
	u8 palette_id;
	u8 start_row;
	u8 reserved[14];
	u16 colsb[16];
	u8 rows[16];
} __aligned(64);

/* One vCPU's or host task's tiles in memory: what it loads, what it reads back. */
struct xfd_tiles {
	u8 want[XFD_TILES_BYTES];
	u8 got[XFD_TILES_BYTES];
	struct xfd_tilecfg cfg;
	struct xfd_tilecfg cfg_got;
} __aligned(4096);

/* The assemblers that the kernel supports do not all know AMX: use bytes. */
#define ASM_LDTILECFG		".byte 0xc4, 0xe2, 0x78, 0x49, 0x00\n\t"
#define ASM_STTILECFG		".byte 0xc4, 0xe2, 0x79, 0x49, 0x00\n\t"
#define ASM_TILERELEASE		".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0\n\t"
/* TILEZERO tmm0 */
#define ASM_TILEZERO		".byte 0xc4, 0xe2, 0x7b, 0x49, 0xc0\n\t"
/* (%rax,%rdx,1), @modrm chooses the tile: 0x04 | tile << 3 */
#define ASM_TILELOADD(modrm)	".byte 0xc4, 0xe2, 0x7b, 0x4b, " #modrm ", 0x10\n\t"
#define ASM_TILELOADDT1(modrm)	".byte 0xc4, 0xe2, 0x79, 0x4b, " #modrm ", 0x10\n\t"
#define ASM_TILESTORED(modrm)	".byte 0xc4, 0xe2, 0x7a, 0x4b, " #modrm ", 0x10\n\t"
/* tmm0 += tmm1 * tmm2 */
#define ASM_TDPBSSD		".byte 0xc4, 0xe2, 0x6b, 0x5e, 0xc1\n\t"
#define ASM_TDPBSUD		".byte 0xc4, 0xe2, 0x6a, 0x5e, 0xc1\n\t"
#define ASM_TDPBUSD		".byte 0xc4, 0xe2, 0x69, 0x5e, 0xc1\n\t"
#define ASM_TDPBUUD		".byte 0xc4, 0xe2, 0x68, 0x5e, 0xc1\n\t"
#define ASM_TDPBF16PS		".byte 0xc4, 0xe2, 0x6a, 0x5c, 0xc1\n\t"

#define ASM_NEXT_TILE		"add %[tile_bytes], %%rax\n\t"

static inline void xfd_ldtilecfg(const struct xfd_tilecfg *cfg)
{
	asm volatile(ASM_LDTILECFG : : "a"(cfg) : "memory");
}

static inline void xfd_sttilecfg(struct xfd_tilecfg *cfg)
{
	asm volatile(ASM_STTILECFG : : "a"(cfg) : "memory");
}

static inline void xfd_tilerelease(void)
{
	asm volatile(ASM_TILERELEASE : : : "memory");
}

/* All eight tiles, each row of 64 bytes after the other. */
static inline void xfd_tiles_load(const u8 *data)
{
	asm volatile(ASM_TILELOADD(0x04) ASM_NEXT_TILE
		     ASM_TILELOADD(0x0c) ASM_NEXT_TILE
		     ASM_TILELOADD(0x14) ASM_NEXT_TILE
		     ASM_TILELOADD(0x1c) ASM_NEXT_TILE
		     ASM_TILELOADD(0x24) ASM_NEXT_TILE
		     ASM_TILELOADD(0x2c) ASM_NEXT_TILE
		     ASM_TILELOADD(0x34) ASM_NEXT_TILE
		     ASM_TILELOADD(0x3c)
		     : "+a"(data)
		     : "d"((u64)XFD_TILE_COLSB), [tile_bytes]"i"(XFD_TILE_BYTES)
		     : "memory", "cc");
}

static inline void xfd_tiles_store(u8 *data)
{
	asm volatile(ASM_TILESTORED(0x04) ASM_NEXT_TILE
		     ASM_TILESTORED(0x0c) ASM_NEXT_TILE
		     ASM_TILESTORED(0x14) ASM_NEXT_TILE
		     ASM_TILESTORED(0x1c) ASM_NEXT_TILE
		     ASM_TILESTORED(0x24) ASM_NEXT_TILE
		     ASM_TILESTORED(0x2c) ASM_NEXT_TILE
		     ASM_TILESTORED(0x34) ASM_NEXT_TILE
		     ASM_TILESTORED(0x3c)
		     : "+a"(data)
		     : "d"((u64)XFD_TILE_COLSB), [tile_bytes]"i"(XFD_TILE_BYTES)
		     : "memory", "cc");
}

/* TILELOADD of tile 0 in a guest; returns the vector of its exception, or 0. */
static inline u8 xfd_tile_load_safe(const u8 *data)
{
	return kvm_asm_safe(ASM_TILELOADD(0x04), "a"(data), "d"((u64)XFD_TILE_COLSB));
}

/* TILESTORED of tile 0 in a guest; faults with #UD if TILECFG was lost. */
static inline u8 xfd_tile_store_safe(u8 *data)
{
	return kvm_asm_safe(ASM_TILESTORED(0x04), "a"(data), "d"((u64)XFD_TILE_COLSB));
}

/* XGETBV with ECX=1: XCR0 & XINUSE.  Never exits, is not affected by XFD. */
static inline u64 xfd_xinuse(void)
{
	return xgetbv(1);
}

/* A VM-exit that KVM handles without leaving the kernel. */
static inline void xfd_vmcall(void)
{
	u64 rax = XFD_VMCALL_NR;

	/* KVM's answer is in RAX; it leaves all else alone. */
	asm volatile("vmcall" : "+a"(rax) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
}

/* Every component that XFD can disarm on this CPU: CPUID.(0DH,i).ECX[2]. */
static inline u64 xfd_cpuid_mask(void)
{
	u64 mask = 0;
	u32 eax, ebx, ecx, edx;
	int i;

	for (i = 2; i < 63; i++) {
		__cpuid(0xd, i, &eax, &ebx, &ecx, &edx);
		if (eax && (ecx & BIT(2)))
			mask |= BIT_ULL(i);
	}
	return mask;
}

static inline void xfd_tilecfg_fill(struct xfd_tilecfg *cfg)
{
	int i;

	memset(cfg, 0, sizeof(*cfg));
	cfg->palette_id = 1;
	for (i = 0; i < XFD_TILES; i++) {
		cfg->colsb[i] = XFD_TILE_COLSB;
		cfg->rows[i] = XFD_TILE_ROWS;
	}
}

/*
 * A byte of the pattern: never 0, so that each byte of a tile that went back to
 * its initial state is seen; and at the same place different for any two seeds
 * that differ by less than 255.
 */
static inline u8 xfd_pattern(u64 seed, u32 i)
{
	u64 tile = i / XFD_TILE_BYTES, byte = i % XFD_TILE_BYTES;

	return 1 + (seed * 41 + tile * 101 + byte * 7) % 255;
}

static inline void xfd_tiles_fill(struct xfd_tiles *t, u64 seed)
{
	u32 i;

	for (i = 0; i < XFD_TILES_BYTES; i++)
		t->want[i] = xfd_pattern(seed, i);
	memset(t->got, 0, sizeof(t->got));
	xfd_tilecfg_fill(&t->cfg);
	memset(&t->cfg_got, 0, sizeof(t->cfg_got));
}

/* Configure the tiles and load the pattern.  XFD[18] must be 0. */
static inline void xfd_tiles_use(const struct xfd_tiles *t)
{
	xfd_ldtilecfg(&t->cfg);
	xfd_tiles_load(t->want);
}

static inline u64 xfd_bytes_differ(const u8 *a, const u8 *b, u64 n)
{
	u64 i, differ = 0;

	for (i = 0; i < n; i++)
		differ += a[i] != b[i];
	return differ;
}

static inline bool xfd_bytes_are(const u8 *a, u8 value, u64 n)
{
	u64 i;

	for (i = 0; i < n; i++) {
		if (a[i] != value)
			return false;
	}
	return true;
}

/* Read the tiles back; returns the number of bytes lost.  XFD[18] must be 0. */
static inline u64 xfd_tiles_lost(struct xfd_tiles *t)
{
	xfd_tiles_store(t->got);
	return xfd_bytes_differ(t->want, t->got, XFD_TILES_BYTES);
}

/* After xfd_tiles_lost(): are all tiles as TILERELEASE leaves them? */
static inline bool xfd_tiles_initial(const struct xfd_tiles *t)
{
	return xfd_bytes_are(t->got, 0, XFD_TILES_BYTES);
}

/*
 * The offset of component @nr in the compacted format with @xcomp_bv: SDM
 * vol. 1, "Compacted Format of the Extended Region of an XSAVE Area".
 */
static inline u32 xfd_compacted_offset(u64 xcomp_bv, int nr)
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

#endif /* SELFTESTS_XFD_H */
