/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a guest executes in real mode, and in SMM.  It reads XFD, XFD_ERR and
 * XINUSE, takes a #NM because of CR0.TS and one because of XFD, and tells the host.
 *
 * Code and data are in the page at 0, which the library uses for nothing.
 */
#ifndef SELFTESTS_XFD_REAL_MODE_H
#define SELFTESTS_XFD_REAL_MODE_H

#include <linux/stringify.h>
#include <linux/types.h>

/* Counts up while the guest is preempted, as xfd_neighbour::progress. */
#define RM_PROGRESS	0x500
/* u16: where the next record goes. */
#define RM_NEXT_RECORD	0x508
/* u32: what the handler of #NM writes to XFD_ERR. */
#define RM_XFD_ERR	0x50c
/* u8: whether to execute XRSTOR, and to wait until preempted. */
#define RM_XRSTOR	0x510
#define RM_PREEMPT	0x511
#define RM_RECORDS	0x540
#define RM_CODE		0x600
/* An XSAVE area, of which XRSTOR reads no more than the header before its #NM. */
#define RM_XSAVE	0x800
#define RM_STACK	0x1ff0
/* An OUT to this one exits to the VMM. */
#define RM_PORT		0x80

#define RM(x)		__stringify(RM_##x)

/* What the guest sees at some point. */
struct rm_record {
	u32 xfd;
	u32 xfd_err;
	u32 xinuse;
	u32 unused;
};

extern char rm_start[], rm_nm[], rm_end[], smi_start[], smi_end[];

asm(".pushsection .rodata\n\t"
	".code16\n"
	"rm_start:\n\t"
	"call rm_record\n\t"
	"cmpb $0, " RM(PREEMPT) "\n\t"
	"je 2f\n\t"
	"mov " RM(PROGRESS) ", %ebx\n"
	"1:\n\t"
	"pause\n\t"
	"mov " RM(PROGRESS) ", %eax\n\t"
	"sub %ebx, %eax\n\t"
	"cmp $3, %eax\n\t"
	"jb 1b\n"
	"2:\n\t"
	"call rm_record\n\t"
	/* #NM that is not XFD's; rm_nm skips three bytes. */
	"mov %cr0, %eax\n\t"
	"or $8, %al\n\t"
	"mov %eax, %cr0\n\t"
	"fnop\n\t"
	"nop\n\t"
	"clts\n\t"
	/* #NM that is. */
	"cmpb $0, " RM(XRSTOR) "\n\t"
	"je 3f\n\t"
	"mov $0x40000, %eax\n\t"
	"xor %edx, %edx\n\t"
	"mov $" RM(XSAVE) ", %si\n\t"
	"xrstor (%si)\n"
	"3:\n\t"
	"call rm_record\n\t"
	"out %al, $" RM(PORT) "\n"
	"4:\n\t"
	"jmp 4b\n"
	"rm_nm:\n\t"
	"call rm_record\n\t"
	"mov $" __stringify(MSR_IA32_XFD_ERR) ", %ecx\n\t"
	"mov " RM(XFD_ERR) ", %eax\n\t"
	"xor %edx, %edx\n\t"
	"wrmsr\n\t"
	"mov %sp, %bp\n\t"
	"addw $3, (%bp)\n\t"
	"iret\n"
	"rm_record:\n\t"
	"mov " RM(NEXT_RECORD) ", %di\n\t"
	"mov $" __stringify(MSR_IA32_XFD) ", %ecx\n\t"
	"rdmsr\n\t"
	"mov %eax, (%di)\n\t"
	"mov $" __stringify(MSR_IA32_XFD_ERR) ", %ecx\n\t"
	"rdmsr\n\t"
	"mov %eax, 4(%di)\n\t"
	"mov $1, %ecx\n\t"
	"xgetbv\n\t"
	"mov %eax, 8(%di)\n\t"
	"addw $16, " RM(NEXT_RECORD) "\n\t"
	"ret\n"
	"rm_end:\n"
	"smi_start:\n\t"
	"mov $" __stringify(MSR_IA32_XFD) ", %ecx\n\t"
	"rdmsr\n\t"
	"out %eax, $" RM(PORT) "\n\t"
	"mov $" __stringify(MSR_IA32_XFD_ERR) ", %ecx\n\t"
	"rdmsr\n\t"
	"out %eax, $" RM(PORT) "\n\t"
	"rsm\n"
	"smi_end:\n\t"
	".code64\n\t"
	".popsection");

#endif /* SELFTESTS_XFD_REAL_MODE_H */
