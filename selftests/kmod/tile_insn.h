/* SPDX-License-Identifier: GPL-2.0 */
/*
 * AMX's instructions as bytes: the assemblers that the kernel supports do not all
 * know them.  Of the preprocessor alone, for the kernel and for programs.
 */
#ifndef SELFTESTS_KMOD_TILE_INSN_H
#define SELFTESTS_KMOD_TILE_INSN_H

/* Of the memory that RAX points to */
#define ASM_LDTILECFG		".byte 0xc4, 0xe2, 0x78, 0x49, 0x00\n\t"
#define ASM_STTILECFG		".byte 0xc4, 0xe2, 0x79, 0x49, 0x00\n\t"
#define ASM_TILERELEASE		".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0\n\t"
/* TILEZERO tmm0 */
#define ASM_TILEZERO		".byte 0xc4, 0xe2, 0x7b, 0x49, 0xc0\n\t"
/* (%rax,%rdx,1), @modrm chooses the tile: 0x04 | tile << 3 */
#define ASM_TILELOADD(modrm)	".byte 0xc4, 0xe2, 0x7b, 0x4b, " #modrm ", 0x10\n\t"
#define ASM_TILELOADDT1(modrm)	".byte 0xc4, 0xe2, 0x79, 0x4b, " #modrm ", 0x10\n\t"
#define ASM_TILESTORED(modrm)	".byte 0xc4, 0xe2, 0x7a, 0x4b, " #modrm ", 0x10\n\t"
/* The same of tmm0, (%rax) and no index; and without a SIB byte, which is none. */
#define ASM_TILELOADD_NO_INDEX	".byte 0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x20\n\t"
#define ASM_TILESTORED_NO_INDEX	".byte 0xc4, 0xe2, 0x7a, 0x4b, 0x04, 0x20\n\t"
#define ASM_TILELOADD_NO_SIB	".byte 0xc4, 0xe2, 0x7b, 0x4b, 0x00\n\t"
#define ASM_TILESTORED_NO_SIB	".byte 0xc4, 0xe2, 0x7a, 0x4b, 0x00\n\t"
/* tmm0 += tmm1 * tmm2 */
#define ASM_TDPBSSD		".byte 0xc4, 0xe2, 0x6b, 0x5e, 0xc1\n\t"
#define ASM_TDPBSUD		".byte 0xc4, 0xe2, 0x6a, 0x5e, 0xc1\n\t"
#define ASM_TDPBUSD		".byte 0xc4, 0xe2, 0x69, 0x5e, 0xc1\n\t"
#define ASM_TDPBUUD		".byte 0xc4, 0xe2, 0x68, 0x5e, 0xc1\n\t"
#define ASM_TDPBF16PS		".byte 0xc4, 0xe2, 0x6a, 0x5c, 0xc1\n\t"

#endif /* SELFTESTS_KMOD_TILE_INSN_H */
