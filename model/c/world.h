/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts in C know of each other and of the explorer. */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include <asm/fpu/types.h>

#define NR_VCPUS	2
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

/* What the explorer itself keeps; world.rs has the same. */
struct shadow {
	u8 notifier[NR_VCPUS];	/* whether KVM_RUN has called the module's run_begin() */
	u8 rest[32 - NR_VCPUS];
};

extern struct shadow *shadow;

/* What the explorer wants: of tasks, the vCPUs' threads come first. */
struct setup {
	u64 xmm[8];		/* what each task has in its registers */
	u8 task[8];		/* whether it runs at all */
	u8 attached[NR_VCPUS];
	u8 cap[NR_VCPUS];	/* KVM_CAP_X86_XFD_XSTATE */
	u8 has_vmexit;
	u8 msr_lists;
};

/* A CPU between two steps. */
struct view {
	u64 xfd_state;
	u64 fpstate_xfd;	/* that of the registers' owner, if it is no kernel thread */
	s32 task;
	s32 live;		/* the vCPU whose MSRs are live, -1 if none */
	u8 load;		/* TIF_NEED_FPU_LOAD */
	u8 valid;		/* fpregs_state_valid() of the current task */
	u8 guest;		/* its fpstate is a guest's */
	u8 quiet;		/* nothing is locked */
	u8 listed;		/* whoever is live has the CPU switch the MSRs */
};

/* Makes memory a part of the state. */
void model_state(void *at, size_t size);
#define STATE(x)	model_state(&(x), sizeof(x))

void fpstate_state(struct fpstate *fpstate);
void kvm_create(int v, const struct setup *setup);
void kvm_state(int v);
struct fpu_guest_xfd *kvm_guest_xfd(int v);

#endif
