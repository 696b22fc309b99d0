/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A random guest program and its disturbances: made of a seed, as text and back.
 * fuzz/op.c executes its operations, and fuzz/disturb.c most of the disturbances.
 *
 * The text is one word for each operation, with commas between them:
 *
 *	DISTURBANCE:ARG@OPERATION:ARG:ON_NM@DISTURBANCE:ARG
 *
 * The disturbance before the "@" comes before the operation, the one behind it in the
 * handler of its #NM.  Words for what the whole program has come first.
 */
#ifndef SELFTESTS_LIB_PROGRAM_H
#define SELFTESTS_LIB_PROGRAM_H

#include <stdbool.h>
#include <stdio.h>

#include <linux/types.h>

#define XFD_PROGRAM_OPS		32

enum xfd_op_kind {
	XFD_OP_END,
	XFD_OP_WRMSR_XFD,
	XFD_OP_WRMSR_XFD_ERR,
	XFD_OP_RDMSR_XFD,
	XFD_OP_RDMSR_XFD_ERR,
	XFD_OP_LDTILECFG,
	XFD_OP_STTILECFG,
	/* All tiles, or tile 0. */
	XFD_OP_TILES_LOAD,
	XFD_OP_TILE_LOAD,
	XFD_OP_TILES_STORE,
	XFD_OP_TILEZERO,
	XFD_OP_TDPBSSD,
	XFD_OP_TILERELEASE,
	XFD_OP_XSAVE,
	XFD_OP_XSAVEC,
	XFD_OP_XSAVEOPT,
	XFD_OP_XSAVES,
	XFD_OP_XRSTOR,
	XFD_OP_XRSTORS,
	XFD_OP_SET_TS,
	XFD_OP_CLEAR_TS,
	/* XSETBV without XTILECFG and XTILEDATA, and with them. */
	XFD_OP_XCR0_OFF,
	XFD_OP_XCR0_ON,
	XFD_OP_XMM_LOAD,
	XFD_OP_XMM_STORE,
	XFD_NR_OPS,
};

/* What the handler of a #NM does. */
enum xfd_on_nm {
	/* Skips the instruction. */
	XFD_NM_SKIP,
	/* Writes 0 to XFD_ERR, and skips it. */
	XFD_NM_CLEAR,
	/* Writes 0 to XFD_ERR, XFD and CR0.TS, and tries again: once. */
	XFD_NM_RETRY,
	XFD_NR_ON_NM,
};

enum xfd_disturb_kind {
	XFD_DISTURB_NONE,
	/* An exit that KVM handles in the kernel. */
	XFD_DISTURB_VMCALL,
	/* The operation is executed by KVM's instruction emulator, where that knows it. */
	XFD_DISTURB_EMULATE,

	/* An exit to userspace; @arg & 1: a task with tiles runs then. */
	XFD_DISTURB_USERSPACE,
	XFD_DISTURB_IMMEDIATE_EXIT,
	/* KVM_GET_MSRS and KVM_GET_XSAVE2 tell what the guest has. */
	XFD_DISTURB_GET,
	/* KVM_SET_MSRS of what the guest has; @arg & 1: XFD_ERR first. */
	XFD_DISTURB_SET_MSRS,
	/* KVM_SET_XSAVE of what KVM_GET_XSAVE2 returned. */
	XFD_DISTURB_SET_XSAVE,
	/* KVM_SET_MSRS of what the guest does not have, KVM_RUN without a VM-entry, and back. */
	XFD_DISTURB_TOGGLE_XFD,
	XFD_DISTURB_TOGGLE_XFD_ERR,
	/* Into a new VM; @arg & 1: XSAVE state before the MSRs. */
	XFD_DISTURB_NEW_VM,
	/* From now on the VMM executes the guest's RDMSR and WRMSR; and no longer. */
	XFD_DISTURB_FILTER,
	XFD_DISTURB_UNFILTER,
	/* The VMM steps over the operation. */
	XFD_DISTURB_STEP,
	/* A new task of the host's uses tiles for the first time. */
	XFD_DISTURB_FIRST_USE,

	/* The guest wakes a task within KVM_RUN, which preempts it. */
	XFD_DISTURB_PREEMPT_AMX,
	XFD_DISTURB_PREEMPT_PLAIN,
	/* It sends the vCPU's thread a signal, or moves it to another CPU. */
	XFD_DISTURB_SIGNAL,
	XFD_DISTURB_MIGRATE,
	XFD_NR_DISTURB,
};

/* In which contexts the kernel uses the FPU meanwhile: kmod/xfd_fpu_user.c. */
enum xfd_fpu_context {
	XFD_FPU_OFF, XFD_FPU_TASK, XFD_FPU_KTHREAD, XFD_FPU_SOFTIRQ, XFD_FPU_HARDIRQ,
	XFD_FPU_SWAP, XFD_FPU_RDMSR, XFD_NR_FPU,
};

struct xfd_op {
	u8 kind;
	u8 arg;
	u8 on_nm;
};

struct xfd_disturb {
	u8 kind;
	u8 arg;
};

struct xfd_program {
	u32 nr_ops;
	/* An enum xfd_fpu_context. */
	u32 fpu;
	/* In a new VM, whose guest has not written XFD yet. */
	bool fresh;
	/* With KVM_CAP_X86_XFD_XSTATE. */
	bool xstate;
	/* The VMM's own thread uses tiles. */
	bool own_tiles;
	/* As the guest of a guest, but not undisturbed. */
	bool nested;
	/* The one behind them is XFD_OP_END. */
	struct xfd_op ops[XFD_PROGRAM_OPS + 1];
	struct xfd_disturb before[XFD_PROGRAM_OPS + 1];
	struct xfd_disturb in_handler[XFD_PROGRAM_OPS + 1];
};

/* What seeds may use here. */
struct xfd_program_rules {
	/* KVM_CAP_X86_XFD_XSTATE, forced emulation, xfd_fpu_user.ko. */
	bool xstate;
	bool emulation;
	bool fpu_user;
	/* VMX for guests. */
	bool nested;
};

/* Seeds of which the kernel uses the FPU in the same context. */
#define XFD_PROGRAM_BATCH	16

extern const char * const xfd_fpu_names[XFD_NR_FPU];

const char *xfd_disturb_name(enum xfd_disturb_kind kind);

void xfd_program_make(struct xfd_program *p, u64 seed, const struct xfd_program_rules *rules);

/* Without operation @i and its disturbances. */
void xfd_program_drop(struct xfd_program *p, u32 i);

u32 xfd_program_disturbances(const struct xfd_program *p);

/* The text, and the same with a line for each operation, for people. */
void xfd_program_print(const struct xfd_program *p, FILE *f);
void xfd_program_list(const struct xfd_program *p, FILE *f);

/* Returns the word that is wrong, or NULL. */
const char *xfd_program_parse(struct xfd_program *p, const char *text);

#endif /* SELFTESTS_LIB_PROGRAM_H */
