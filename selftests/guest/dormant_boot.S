/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From the reset vector to dormant.c, in 64-bit mode with tiles.  There is no IDT:
 * whatever raises an exception shuts the machine down.
 */
#include "dormant.h"

/* dormant.lds links the program where it runs; this is how far from there it lies at RESET. */
#define ROM		(0xffff0000 - 0x10000)
#define PAGE_TABLES	0x1000
#define STACK		0xf000

#define CR0_PE		(1 << 0)
#define CR0_MP		(1 << 1)
#define CR0_NE		(1 << 5)
#define CR0_PG		(1 << 31)
#define CR4_PAE		(1 << 5)
#define CR4_OSXSAVE	(1 << 18)
#define MSR_EFER	0xc0000080
#define EFER_LME	(1 << 8)
/* x87, SSE, XTILECFG and XTILEDATA */
#define XCR0		(1 << 0 | 1 << 1 | 1 << 17 | 1 << 18)
/* Of page tables: present, writable; a page of 2 MiB */
#define TABLE		0x3
#define LARGE		0x83

	.section .reset, "ax"
	.code16
	.globl reset
reset:
	cli
	jmp	real

	.section .text.boot, "ax"
real:
	/* CS is at 0xffff0000 still. */
	lgdtl	%cs:(gdt_in_rom - 0x10000)
	movl	$(CR0_PE | CR0_MP | CR0_NE), %eax
	movl	%eax, %cr0
	ljmpl	$(code32 - gdt), $(protected + ROM)

	.code32
protected:
	movw	$(data - gdt), %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$0xffff0000, %esi
	movl	$0x10000, %edi
	movl	$0x10000, %ecx
	rep movsb
	ljmp	$(code32 - gdt), $in_memory
in_memory:
	/* The first GiB, at its own addresses: the GDT has to be there. */
	lgdt	gdt_in_memory
	movl	$(PAGE_TABLES + 0x1000 + TABLE), PAGE_TABLES
	movl	$(PAGE_TABLES + 0x2000 + TABLE), PAGE_TABLES + 0x1000
	movl	$LARGE, %eax
	movl	$(PAGE_TABLES + 0x2000), %edi
1:	movl	%eax, (%edi)
	addl	$8, %edi
	addl	$0x200000, %eax
	cmpl	$(PAGE_TABLES + 0x3000), %edi
	jb	1b

	movl	$(CR4_PAE | CR4_OSXSAVE), %eax
	movl	%eax, %cr4
	movl	$PAGE_TABLES, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$CR0_PG, %eax
	movl	%eax, %cr0
	ljmp	$(code64 - gdt), $long_mode

	.code64
long_mode:
	movl	$STACK, %esp
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	movl	$XCR0, %eax
	xsetbv
	call	run
1:	hlt
	jmp	1b

/* void load_tiles(const void *config, const void *from) */
	.globl load_tiles
load_tiles:
	ldtilecfg (%rdi)
	movl	$COLSB, %eax
	.irp	tile, 0, 1, 2, 3, 4, 5, 6, 7
	tileloadd (%rsi,%rax,1), %tmm\tile
	addq	$TILE_SIZE, %rsi
	.endr
	ret

/* void store_tiles(void *to) */
	.globl store_tiles
store_tiles:
	movl	$COLSB, %eax
	.irp	tile, 0, 1, 2, 3, 4, 5, 6, 7
	tilestored %tmm\tile, (%rdi,%rax,1)
	addq	$TILE_SIZE, %rdi
	.endr
	ret

	.balign	8
gdt:
	.quad	0
code32:
	.quad	0x00cf9b000000ffff
data:
	.quad	0x00cf93000000ffff
code64:
	.quad	0x00af9b000000ffff
	.set	GDT_LIMIT, . - gdt - 1
gdt_in_rom:
	.word	GDT_LIMIT
	.long	gdt + ROM
gdt_in_memory:
	.word	GDT_LIMIT
	.long	gdt
