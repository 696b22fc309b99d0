// SPDX-License-Identifier: GPL-2.0
/*
 * The machine's tasks and CPUs, and what the kernel around the FPU core does
 * with them: switches, interrupts, the way to user mode.
 */
#include "kernel.h"

#include <asm/fpu/api.h>
#include <asm/fpu/guest_xfd.h>
#include <asm/fpu/sched.h>
#include <asm/fpu/xstate.h>

#include "world.h"

/* The threads of two vCPUs, a task with AMX, one without, and each CPU's idle task. */
enum { TASK_VCPU0, TASK_VCPU1, TASK_AMX, TASK_PLAIN, TASK_IDLE0, TASK_IDLE1, NR_TASKS, TASK_CHILD = NR_TASKS };

struct task {
	struct task_struct task;
	struct fpu fpu;
};

const struct host *model;
struct shadow *shadow;
struct cpu cpus[NR_CPUS];
u64 this_cpu;
unsigned int mxcsr_feature_mask = 0xffff;
u64 xstate_fx_sw_bytes[USER_XSTATE_FX_SW_WORDS];

extern u64 xfd_state[NR_CPUS];
extern struct fpstate init_fpstate;

static struct sighand_struct sighand;
static struct task tasks[NR_TASKS + 1] in_arena;
static u8 heap[1 << 16] in_arena __aligned(64);
extern char __start_arena[], __stop_arena[];
static size_t heap_used;
static bool points;

struct range {
	void *at;
	u64 size;
};

static struct range state[256];
static u64 state_parts;

void *vzalloc(size_t size)
{
	void *p = heap + heap_used;

	heap_used += ALIGN(size, 64);
	if (heap_used > sizeof(heap))
		abort();
	return memset(p, 0, size);
}

void vfree(void *p)
{
}

void update_regset_xstate_info(unsigned int size, u64 mask)
{
}

void model_state(void *at, size_t size)
{
	if (state_parts == ARRAY_SIZE(state))
		abort();
	state[state_parts++] = (struct range){ at, size };
}

void fpstate_state(struct fpstate *fpstate)
{
	struct xregs_state *xsave = &fpstate->regs.xsave;

	model_state(fpstate, offsetof(struct fpstate, regs));
	model_state(xsave->i387.xmm_space, 8);
	STATE(xsave->header.xfeatures);
	STATE(xsave->header.xcomp_bv);
	if (fpstate->xfeatures & XFEATURE_MASK_XTILE_DATA) {
		u64 bv = xsave->header.xfeatures;

		xsave->header.xfeatures |= XFEATURE_MASK_XTILE_DATA;
		model_state(get_xsave_addr(xsave, XFEATURE_XTILE_DATA), 8);
		xsave->header.xfeatures = bv;
	}
}

#define POISON	0x5a5a5a

/* Poisons registers that are in memory: all of them if the CPU has them, or tiles that are initial. */
static void forget_regs(struct fpstate *fpstate, bool stale)
{
	struct xregs_state *xsave = &fpstate->regs.xsave;

	if (stale) {
		xsave->header.xfeatures = XFEATURE_MASK_SSE;
		*(u64 *)xsave->i387.xmm_space = POISON;
	}
	if ((fpstate->xfeatures & XFEATURE_MASK_XTILE_DATA) &&
	    !(xsave->header.xfeatures & XFEATURE_MASK_XTILE_DATA) &&
	    (xsave->header.xcomp_bv & XFEATURE_MASK_XTILE_DATA)) {
		xsave->header.xfeatures |= XFEATURE_MASK_XTILE_DATA;
		*(u64 *)get_xsave_addr(xsave, XFEATURE_XTILE_DATA) = POISON;
		xsave->header.xfeatures &= ~XFEATURE_MASK_XTILE_DATA;
	}
}

/*
 * The inline assembly's instructions. Each call keeps all registers but those
 * that the instruction writes.
 */
#define hidden		__attribute__((visibility("hidden")))

u64 model_rdi hidden;
int model_fault hidden;

u64 model_do_xgetbv(u32 index)
{
	return model->xgetbv(index);
}

void model_do_xsetbv(u32 index, u64 value)
{
	model->xsetbv(index, value);
}

void model_do_xsaves(void *area, u64 mask)
{
	model->xsaves(area, mask);
}

void model_do_xrstors(void *area, u64 mask)
{
	model_fault = model->xrstors(area, mask);
}

void model_do_fixup_restore(void)
{
	if (!model_fault)
		return;
	model_fault = 0;
	fpu_reset_from_exception_fixup();
}

asm(".macro thunk name\n"
    ".globl model_\\name\n"
    "model_\\name:\n"
    "	push %rbp\n	mov %rsp, %rbp\n"
    "	push model_rdi(%rip)\n"
    "	push %rax\n	push %rcx\n	push %rdx\n	push %rsi\n	push %rdi\n"
    "	push %r8\n	push %r9\n	push %r10\n	push %r11\n"
    "	and $-16, %rsp\n"
    ".endm\n"
    ".macro thunk_end\n"
    "	mov -24(%rbp), %rcx\n	mov -40(%rbp), %rsi\n"
    "	mov -56(%rbp), %r8\n	mov -64(%rbp), %r9\n"
    "	mov -72(%rbp), %r10\n	mov -80(%rbp), %r11\n"
    "	leave\n	ret\n"
    ".endm\n"
    ".text\n"
    "thunk xgetbv\n"
    "	mov %ecx, %edi\n	call model_do_xgetbv\n"
    "	mov %rax, %rdx\n	shr $32, %rdx\n	mov %eax, %eax\n"
    "	mov -48(%rbp), %rdi\n"
    "thunk_end\n"
    ".macro thunk_mask name, rdi\n"
    "thunk \\name\n"
    "	mov %eax, %esi\n	shl $32, %rdx\n	or %rdx, %rsi\n"
    "	.ifc \\name, xsetbv\n	mov %ecx, %edi\n	.endif\n"
    "	call model_do_\\name\n"
    "	mov -16(%rbp), %rax\n	mov -32(%rbp), %rdx\n	mov \\rdi(%rbp), %rdi\n"
    "thunk_end\n"
    ".endm\n"
    "thunk_mask xsetbv, -48\n"
    "thunk_mask xsaves, -8\n"
    "thunk_mask xrstors, -8\n"
    "thunk fixup_restore\n"
    "	call model_do_fixup_restore\n"
    "	mov -16(%rbp), %rax\n	mov -32(%rbp), %rdx\n	mov -48(%rbp), %rdi\n"
    "thunk_end\n"
    "thunk fixup_fault\n"
    "	movslq model_fault(%rip), %rax\n	movl $0, model_fault(%rip)\n"
    "	mov -32(%rbp), %rdx\n	mov -48(%rbp), %rdi\n"
    "thunk_end\n");

/*
 * The compiler calls these before each access of memory (-fsanitize=thread), and
 * so makes each a point for an interrupt. Only what is a part of the state counts.
 */
static inline void access(u32 kind, void *at, size_t size, void *from)
{
	if (points && at >= (void *)__start_arena && at < (void *)__stop_arena)
		model->point(kind, from, at, size);
}

#define ACCESS(size)							\
	void __tsan_read##size(void *at)				\
	{								\
		access(BEFORE_READ, at, size, __builtin_return_address(0)); \
	}								\
	void __tsan_write##size(void *at)				\
	{								\
		access(BEFORE_WRITE, at, size, __builtin_return_address(0)); \
	}

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

void __tsan_read_range(void *at, size_t size)
{
	access(BEFORE_READ, at, size, __builtin_return_address(0));
}

void __tsan_write_range(void *at, size_t size)
{
	access(BEFORE_WRITE, at, size, __builtin_return_address(0));
}

void __tsan_func_entry(void *caller) { }
void __tsan_func_exit(void) { }
void __tsan_init(void) { }

void model_point(void)
{
	if (points)
		model->point(BETWEEN_CALLS, __builtin_return_address(0), NULL, 0);
}

/* __schedule() and __switch_to(), the notifier as the module has it */
void world_switch(int to)
{
	struct task_struct *prev = current;
	int v = (struct task *)prev - tasks;
	u32 was_disabled = irqs_disabled();

	irqs_disabled() = 1;
	if (v < NR_VCPUS && shadow->notifier[v]) {
		kvm_guest_xfd(v)->why = FPU_GUEST_XFD_SWITCH;
		fpu_save_guest_xfd(kvm_guest_xfd(v), 0);
	}
	preempt_count()++;
	switch_fpu(prev, smp_processor_id());
	preempt_count()--;
	current = &tasks[to].task;
	irqs_disabled() = was_disabled;
}

/* exit_to_user_mode_prepare() */
void world_to_user(void)
{
	local_irq_disable();
	fpregs_assert_state_consistent();
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
	irqs_disabled() = 0;
}

static void use_fpu(void)
{
	kernel_fpu_begin();
	model->clobber();
	kernel_fpu_end();
}

/* An interrupt whose handler uses the FPU if it may */
void world_hardirq(void)
{
	irqs_disabled() = 1;
	preempt_count() += HARDIRQ_OFFSET;
	if (irq_fpu_usable())
		use_fpu();
	preempt_count() -= HARDIRQ_OFFSET;
	irqs_disabled() = 0;
}

/* A softirq on the way out of an interrupt, that uses the FPU */
void world_softirq(void)
{
	preempt_count() += SOFTIRQ_OFFSET;
	if (irq_fpu_usable())
		use_fpu();
	preempt_count() -= SOFTIRQ_OFFSET;
}

/* The kernel uses the FPU for the current task: in a system call, or KVM in KVM_RUN */
void world_kernel_fpu(void)
{
	model_point();
	use_fpu();
	model_point();
}

/* Signals, ptrace, core dumps */
void world_sync(void)
{
	model_point();
	fpu_sync_fpstate(x86_task_fpu(current));
	model_point();
}

/* fork(); nothing becomes of the child */
void world_fork(void)
{
	model_point();
	fpu_clone(&tasks[TASK_CHILD].task, 0, false, 0);
	model_point();
}

void world_idle(void)
{
	preempt_count()++;
	fpu_idle_fpregs();
	preempt_count()--;
}

/*
 * Between two steps: poison what is stale, so that whoever uses it is found out,
 * and states that differ in nothing else are one.
 */
void world_forget(void)
{
	for (int t = 0; t < TASK_IDLE0; t++) {
		struct fpu *fpu = &tasks[t].fpu;
		bool running = false, owns = false;

		for (int c = 0; c < NR_CPUS; c++) {
			running |= cpus[c].running == &tasks[t].task;
			owns |= fpu_fpregs_owner_ctx[c] == fpu;
		}
		if (!owns)
			fpu->last_cpu = -1;
		if (running && !test_tsk_thread_flag(&tasks[t].task, TIF_NEED_FPU_LOAD))
			forget_regs(fpu->fpstate, true);
		forget_regs(&fpu->__fpstate, false);
		forget_regs(fpu->fpstate, false);
	}
	for (int v = 0; v < NR_VCPUS; v++) {
		forget_regs(kvm_guest_xfd(v)->fpu->fpstate, false);
		/* Whoever saves says why: this would be counted, but not as a save. */
		kvm_guest_xfd(v)->why = FPU_GUEST_XFD_FPREGS + 1;
	}
	for (int c = 0; c < NR_CPUS; c++) {
		struct fpu_guest_xfd *live = fpu_live_guest_xfd[c];

		if (live) {
			xfd_state[c] = POISON;
			live->fpu->fpstate->xfd = POISON;
			live->saved_xfd = POISON;
			live->saved_xfd_err = POISON;
		}
	}
}

/* What a state has to say of a CPU. */
void world_view(int cpu, struct view *view)
{
	struct task_struct *task = cpus[cpu].running;
	int t = (struct task *)task - tasks;
	struct fpu_guest_xfd *live = fpu_live_guest_xfd[cpu];

	memset(view, 0, sizeof(*view));
	view->task = t;
	view->xfd_state = xfd_state[cpu];
	view->live = !live ? -1 : live == kvm_guest_xfd(0) ? 0 : 1;
	view->listed = live && live->listed_xfd;
	view->load = test_tsk_thread_flag(task, TIF_NEED_FPU_LOAD);
	if (!(task->flags & PF_KTHREAD)) {
		struct fpu *fpu = &tasks[t].fpu;

		view->fpstate_xfd = fpu->fpstate->xfd;
		view->valid = fpu_fpregs_owner_ctx[cpu] == fpu && fpu->last_cpu == cpu;
		view->guest = fpu->fpstate != &tasks[t].fpu.__fpstate && fpu->__task_fpstate;
	}
	view->quiet = !cpus[cpu].preempt_count && !cpus[cpu].irqs_disabled &&
		      kernel_fpu_allowed[cpu];
}

extern int initcall_xfd_update_static_branch(void);
extern void fpu__init_system_xstate(unsigned int legacy_size);
extern void fpu__init_cpu_xstate(void);
extern void fpstate_reset(struct fpu *fpu);

/* Boots, and makes the tasks and vCPUs. */
void world_init(const struct host *h, struct shadow *s, const struct setup *setup)
{
	model = h;
	shadow = s;
	for (int c = 0; c < NR_CPUS; c++) {
		cpus[c].running = &tasks[TASK_IDLE0 + c].task;
		kernel_fpu_allowed[c] = true;
	}
	preempt_disable();
	fpu__init_system_xstate(sizeof(struct fxregs_state));
	initcall_xfd_update_static_branch();

	for (int t = 0; t <= TASK_CHILD; t++) {
		struct task_struct *task = &tasks[t].task;

		task->group_leader = task;
		task->sighand = &sighand;
		task->ti_flags = BIT(TIF_NEED_FPU_LOAD);
		fpstate_reset(&tasks[t].fpu);
		memcpy(&tasks[t].fpu.fpstate->regs, &init_fpstate.regs, sizeof(struct xregs_state));
		tasks[t].fpu.last_cpu = -1;
		tasks[t].fpu.fpstate->regs.xsave.header.xfeatures = XFEATURE_MASK_SSE;
		*(u64 *)tasks[t].fpu.fpstate->regs.fxsave.xmm_space = setup->xmm[t];
	}
	preempt_enable();
	for (int c = 0; c < NR_CPUS; c++) {
		this_cpu = c;
		preempt_disable();
		fpu__init_cpu_xstate();
		preempt_enable();
		tasks[TASK_IDLE0 + c].task.flags = PF_KTHREAD;
	}
	this_cpu = 0;

	/* arch_prctl(ARCH_REQ_XCOMP_PERM), and the task's first #NM: handle_xfd_event() */
	current = &tasks[TASK_AMX].task;
	if (fpu_xstate_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA))
		abort();
	world_to_user();
	if (xfd_enable_feature(XFEATURE_MASK_XTILE_DATA))
		abort();
	world_switch(TASK_IDLE0);

	for (int v = 0; v < NR_VCPUS; v++) {
		current = &tasks[v].task;
		if (fpu_xstate_prctl(ARCH_REQ_XCOMP_GUEST_PERM, XFEATURE_XTILE_DATA))
			abort();
		kvm_create(v, setup);
	}
	current = &tasks[TASK_IDLE0].task;
	fpu_fpregs_owner_ctx[0] = NULL;

	STATE(xfd_state);
	STATE(fpu_live_guest_xfd);
	STATE(fpu_fpregs_owner_ctx);
	STATE(kernel_fpu_allowed);
	STATE(cpus);
	for (int t = 0; t < TASK_IDLE0; t++) {
		if (!setup->task[t])
			continue;
		STATE(tasks[t].task.ti_flags);
		STATE(tasks[t].fpu.last_cpu);
		STATE(tasks[t].fpu.fpstate);
		STATE(tasks[t].fpu.__task_fpstate);
		fpstate_state(tasks[t].fpu.fpstate);
		if (t < NR_VCPUS)
			kvm_state(t);
	}
	STATE(this_cpu);
}

void world_points(bool on)
{
	points = on;
}

/* Where the shared object is. */
extern const char __ehdr_start[] hidden;

const void *world_base(void)
{
	return __ehdr_start;
}

u64 world_state(struct range **parts)
{
	*parts = state;
	return state_parts;
}
