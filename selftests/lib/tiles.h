/* SPDX-License-Identifier: GPL-2.0 */
/*
 * AMX's tiles: the instructions, and patterns that show each byte that is lost.
 * All of it runs in a guest at ring 0 as well as in a host task at ring 3, but
 * for the *_safe() ones, which are for guests.
 */
#ifndef SELFTESTS_LIB_TILES_H
#define SELFTESTS_LIB_TILES_H

#include <stdbool.h>
#include <stddef.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"

#include "../kmod/tile_insn.h"

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

/* XGETBV with ECX=1: XCR0 & XINUSE.  Never exits, is not affected by XFD. */
static inline u64 xfd_xinuse(void)
{
	return xgetbv(1);
}

/* Compared byte by byte: how many differ, and whether they are all @value. */
u64 xfd_bytes_differ(const u8 *a, const u8 *b, u64 n);
bool xfd_bytes_are(const u8 *a, u8 value, u64 n);

/* All tiles, with all their rows and columns. */
void xfd_tilecfg_fill(struct xfd_tilecfg *cfg);

/*
 * The pattern of this seed, for xfd_tiles_use().  No byte of it is 0, so that each
 * of a tile that went back to its initial state is seen; and at the same place
 * bytes differ for any two seeds that differ by less than 255.
 */
void xfd_tiles_fill(struct xfd_tiles *t, u64 seed);

/* Configure the tiles and load the pattern.  XFD[18] must be 0. */
void xfd_tiles_use(const struct xfd_tiles *t);

/* Read the tiles back; returns the number of bytes lost.  XFD[18] must be 0. */
u64 xfd_tiles_lost(struct xfd_tiles *t);

/* After xfd_tiles_lost(): are all tiles as TILERELEASE leaves them? */
bool xfd_tiles_initial(const struct xfd_tiles *t);

#endif /* SELFTESTS_LIB_TILES_H */
