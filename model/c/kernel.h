/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of the kernel as the shipped files need to compile for the host. It is
 * included before each of them, and stands for all headers that are not taken
 * from the tree.
 *
 * What the CPU does is asked of struct host, which the explorer fills in. The
 * instructions themselves are in the shipped files' inline assembly: macros of
 * the assembler turn each into a call.
 */
#ifndef MODEL_KERNEL_H
#define MODEL_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_X86_64 1
#define CONFIG_X86_DEBUG_FPU 1
#define CONFIG_KVM 1
#define CONFIG_X86_USER_SHADOW_STACK 1
/* -DCONFIG_PREEMPT_RT=1 makes the other kernel. */

/* linux/kconfig.h: an option that is not there is 0. */
#define IS_ENABLED(option) IS_ENABLED_(option)
#define IS_ENABLED_(value) IS_ENABLED__(COMMA_##value)
#define COMMA_1 0,
#define IS_ENABLED__(junk) IS_ENABLED___(junk 1, 0)
#define IS_ENABLED___(junk, value, ...) value

/* linux/types.h and linux/compiler.h */
typedef uint8_t u8, __u8;
typedef uint16_t u16, __u16;
typedef uint32_t u32, __u32;
typedef uint64_t u64;
typedef unsigned long long __u64;
typedef int8_t s8, __s8;
typedef int16_t __s16;
typedef int32_t s32, __s32;
typedef int64_t s64;
typedef long long __s64;
typedef uint32_t compat_uptr_t;

#define __user
#define __percpu
#define __force
#define __init
#define __initdata
#define __ro_after_init
#define noinstr
#define noinline		__attribute__((noinline))
#undef __always_inline
#define __always_inline		inline __attribute__((always_inline))
#define __packed		__attribute__((packed))
#define __aligned(x)		__attribute__((aligned(x)))
#define __pure			__attribute__((pure))
#define fallthrough		__attribute__((fallthrough))
#define likely(x)		__builtin_expect(!!(x), 1)
#define unlikely(x)		__builtin_expect(!!(x), 0)
#define READ_ONCE(x)		(*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value)	(*(volatile typeof(x) *)&(x) = (value))
#define BIT(n)			(1UL << (n))
#define BIT_ULL(n)		(1ULL << (n))
#define _BITUL(n)		(1UL << (n))
#define BITS_PER_BYTE		8
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define ALIGN(x, a)		(((x) + (a) - 1) & ~((typeof(x))(a) - 1))
#define sizeof_field(type, field) sizeof(((type *)0)->field)
#define BUILD_BUG_ON(x)		_Static_assert(!(x), #x)
#define BUILD_BUG_ON_INVALID(x)	((void)sizeof((long)(x)))
#define __DECLARE_FLEX_ARRAY(type, name) struct { struct { } empty; type name[]; }
#define __stringify(x)		#x
#define min(a, b)		((a) < (b) ? (a) : (b))
#define EXPORT_SYMBOL(x)
#define EXPORT_SYMBOL_GPL(x)
#define EXPORT_SYMBOL_FOR_KVM(x)
#define EXPORT_SYMBOL_FOR_MODULES(x, names)
#define arch_initcall(f)	int initcall_##f(void) { return f(); }
#define PAGE_SIZE		4096
#define SMP_CACHE_BYTES		64
#define jiffies			0

static inline int fls64(u64 x)
{
	return x ? 64 - __builtin_clzll(x) : 0;
}

static inline unsigned int next_bit(u64 mask, unsigned int from, unsigned int size)
{
	u64 rest = from < 64 ? mask >> from << from : 0;

	return rest ? min((unsigned int)__builtin_ctzll(rest), size) : size;
}

#define for_each_set_bit_from(bit, p, size) \
	for ((bit) = next_bit(*(p), bit, size); (bit) < (size); (bit) = next_bit(*(p), (bit) + 1, size))
#define for_each_set_bit(bit, p, size) \
	for ((bit) = next_bit(*(p), 0, size); (bit) < (size); (bit) = next_bit(*(p), (bit) + 1, size))

static inline void *memchr_inv(const void *p, int c, size_t size)
{
	const u8 *byte = p;

	while (size--)
		if (*byte++ != (u8)c)
			return (void *)(byte - 1);
	return NULL;
}

static inline void sort(void *base, size_t n, size_t size,
			int (*compare)(const void *, const void *), void *swap)
{
	qsort(base, n, size, compare);
}

/* Where all is that may be a part of the state: each access is a point. */
#define in_arena	__attribute__((section("arena")))

/* What comes after a point. */
enum { BEFORE_READ, BEFORE_WRITE, BETWEEN_CALLS };

/* What the explorer does for the kernel, and its CPU. */
struct host {
	u64 (*rdmsr)(u32 msr);
	void (*wrmsr)(u32 msr, u64 value);
	u64 (*xgetbv)(u32 index);
	void (*xsetbv)(u32 index, u64 value);
	void (*xsaves)(void *area, u64 mask);
	/* Returns the number of the exception that it raises, 0 if none. */
	int (*xrstors)(void *area, u64 mask);
	void (*tilerelease)(void);
	void (*cpuid)(u32 leaf, u32 index, u32 *regs);
	/* The kernel computes with vector registers. */
	void (*clobber)(void);
	/* Here an interrupt may come, or the task be preempted, and perhaps moved to another CPU. */
	void (*point)(u32 kind, const void *from, const void *at, u64 size);
	void (*warn)(const char *condition, const char *file, int line);
	/* What the strategy decides on a VM-exit: whether to save, and what to disarm. */
	bool (*vmexit)(u64 *disarm);
};

extern const struct host *model;

/* A point at which the task may also come back on another CPU. */
void model_point(void);

/* linux/bug.h, linux/printk.h: each warning is a violation. */
#define WARN_ON(x) ({						\
	bool warns = !!(x);					\
	if (unlikely(warns))					\
		model->warn(#x, __FILE__, __LINE__);		\
	unlikely(warns);					\
})
#define WARN_ON_ONCE(x)		WARN_ON(x)
#define WARN_ONCE(x, ...)	WARN_ON(x)
#define pr_info(...)		do { } while (0)
#define pr_warn(...)		do { } while (0)
#define pr_err(...)		do { } while (0)
#define pr_err_once(...)	do { } while (0)

/* linux/preempt.h, linux/irqflags.h: a CPU's own. */
#define NR_CPUS			2
#define SOFTIRQ_OFFSET		0x100
#define SOFTIRQ_DISABLE_OFFSET	0x200
#define SOFTIRQ_MASK		0xff00
#define HARDIRQ_OFFSET		0x10000

struct task_struct;

struct cpu {
	struct task_struct *running;
	u32 preempt_count;
	u32 irqs_disabled;
};

extern struct cpu cpus[NR_CPUS];
extern u64 this_cpu;	/* of a u64: it is a part of the state, with its address */

#define current			(cpus[this_cpu].running)
#define smp_processor_id()	((int)this_cpu)
#define preempt_count()		(cpus[this_cpu].preempt_count)
#define irqs_disabled()		(cpus[this_cpu].irqs_disabled)
#define softirq_count()		(preempt_count() & SOFTIRQ_MASK)
#define in_hardirq()		(preempt_count() & HARDIRQ_OFFSET)
#define in_serving_softirq()	(softirq_count() & SOFTIRQ_OFFSET)
#define in_nmi()		false
#define preempt_disable()	do { model_point(); preempt_count()++; } while (0)
#define preempt_enable()	do { preempt_count()--; model_point(); } while (0)
#define local_irq_disable()	do { model_point(); irqs_disabled() = 1; } while (0)
#define local_irq_enable()	do { irqs_disabled() = 0; model_point(); } while (0)
#define preemptible()		(!preempt_count() && !irqs_disabled())

static inline void local_bh_disable(void)
{
	model_point();
	preempt_count() += SOFTIRQ_DISABLE_OFFSET;
}

static inline void local_bh_enable(void)
{
	/* It may run softirqs, which enable interrupts. */
	WARN_ON(irqs_disabled());
	preempt_count() -= SOFTIRQ_DISABLE_OFFSET;
	model_point();
}

#define lockdep_assert_irqs_disabled()		WARN_ON(!irqs_disabled())
#define lockdep_assert_preemption_disabled()	WARN_ON(preemptible())
#define lockdep_assert_preemption_enabled()	WARN_ON(!preemptible())
#define lockdep_assert_held(lock)		do { } while (0)

/* linux/percpu.h: the accessors without a lock warn as DEBUG_PREEMPT does. */
#define DEFINE_PER_CPU(type, name)	typeof(type) name[NR_CPUS] in_arena
#define DECLARE_PER_CPU(type, name)	extern typeof(type) name[NR_CPUS]
#define this_cpu_read(x)		((x)[this_cpu])
#define this_cpu_write(x, value)	((void)((x)[this_cpu] = (value)))
#define __this_cpu_read(x)		(*({ WARN_ON(preemptible()); &(x)[this_cpu]; }))
#define __this_cpu_write(x, value)	({ WARN_ON(preemptible()); (void)((x)[this_cpu] = (value)); })

/* linux/jump_label.h, linux/static_call.h */
struct static_key { u64 enabled; };
#define DEFINE_STATIC_KEY_FALSE(name)	struct static_key name
#define DECLARE_STATIC_KEY_FALSE(name)	extern struct static_key name
#define static_branch_unlikely(key)	((key)->enabled)
#define static_branch_enable(key)	((void)((key)->enabled = 1))
#define static_branch_disable(key)	((void)((key)->enabled = 0))
#define DECLARE_STATIC_CALL(name, f)	extern typeof(&(f)) static_call_##name
#define DEFINE_STATIC_CALL_NULL(name, f) typeof(&(f)) static_call_##name
#define static_call_update(name, f)	((void)(static_call_##name = (f)))
#define static_call_cond(name)		(static_call_##name ?: (typeof(static_call_##name))static_call_nothing)

static inline void static_call_nothing(void)
{
}

/* linux/mutex.h, linux/spinlock.h: nobody contends. */
#define DEFINE_MUTEX(name)		int name
#define guard(class)			(void)
#define spin_lock_irq(lock)		do { (void)(lock); local_irq_disable(); } while (0)
#define spin_unlock_irq(lock)		do { (void)(lock); local_irq_enable(); } while (0)

/* asm/cpufeature.h: a CPU with AMX, XFD, XSAVES and shadow stacks, and little else. */
#include <asm/cpufeatures.h>

static __always_inline bool cpu_feature_enabled(unsigned int feature)
{
	switch (feature) {
	case X86_FEATURE_FPU:
	case X86_FEATURE_FXSR:
	case X86_FEATURE_XMM:
	case X86_FEATURE_XSAVE:
	case X86_FEATURE_XSAVEOPT:
	case X86_FEATURE_XSAVEC:
	case X86_FEATURE_XSAVES:
	case X86_FEATURE_XGETBV1:
	case X86_FEATURE_XCOMPACTED:
	case X86_FEATURE_XFD:
	case X86_FEATURE_AMX_TILE:
	case X86_FEATURE_SHSTK:
		return true;
	}
	return false;
}

#define boot_cpu_has(feature)		cpu_feature_enabled(feature)
#define static_cpu_has_bug(bug)		false
#define setup_clear_cpu_cap(feature)	do { } while (0)
#define setup_force_cpu_cap(feature)	do { } while (0)
#define cr4_set_bits(bits)		do { } while (0)
#define cr4_clear_bits(bits)		do { } while (0)
#define X86_CR4_OSXSAVE			BIT(18)
#define CPUID_LEAF_XSTATE		0x0d
#define CPUID_LEAF_TILE			0x1d

static inline void cpuid_count(u32 leaf, u32 index, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	u32 regs[4];

	model->cpuid(leaf, index, regs);
	*eax = regs[0];
	*ebx = regs[1];
	*ecx = regs[2];
	*edx = regs[3];
}

/* asm/msr.h */
#include <asm/msr-index.h>

#define rdmsrq(msr, value)	((void)((value) = model->rdmsr(msr)))
#define wrmsrq(msr, value)	model->wrmsr(msr, value)

/* asm/special_insns.h */
static inline void tile_release(void)
{
	model->tilerelease();
}

/*
 * asm/alternative.h, asm/asm.h. The instruction is what the CPU has, and an
 * exception table entry a look at what the instruction before it has raised.
 */
#define ALTERNATIVE(old, new, feature)			new
#define ALTERNATIVE_3(old, n1, f1, n2, f2, n3, f3)	n3
#define EX_TYPE_FPU_RESTORE	"restore"
#define EX_TYPE_FAULT_MCE_SAFE	"fault"
#define _ASM_EXTABLE(from, to)				""
#define _ASM_EXTABLE_TYPE(from, to, type)		"\n\tcall model_fixup_" type "\n"
#define _ASM_EXTABLE_TYPE_REG(from, to, type, reg)	""
#define ASM_STAC		""
#define ASM_CLAC		""
#define stac()			do { } while (0)
#define clac()			do { } while (0)
#define might_fault()		do { } while (0)

asm(".macro xgetbv\n\tcall model_xgetbv\n\t.endm\n"
    ".macro xsetbv\n\tcall model_xsetbv\n\t.endm\n"
    ".macro area_op to, mem:vararg\n"
    "\tmov %rdi, model_rdi(%rip)\n\tlea \\mem, %rdi\n\tcall \\to\n\t.endm\n"
    ".macro xsaves64 mem:vararg\n\tarea_op model_xsaves, \\mem\n\t.endm\n"
    ".macro xrstors64 mem:vararg\n\tarea_op model_xrstors, \\mem\n\t.endm\n"
    /* Of what a signal frame needs nothing runs. */
    ".macro xsave64 mem:vararg\n\tud2\n\t.endm\n"
    ".macro xrstor64 mem:vararg\n\tud2\n\t.endm\n"
    /* The legacy area of init_fpstate: what is in the explorer's own registers is not the model's. */
    ".macro fxsaveq mem:vararg\n\t.endm\n"
    ".macro fninit\n\t.endm\n");

/* asm/processor.h, linux/sched.h */
struct thread_struct {
	u32 pkru;
};

struct sighand_struct {
	int siglock;
};

struct task_struct {
	unsigned long flags;
	unsigned long ti_flags;
	struct task_struct *group_leader;
	struct sighand_struct *sighand;
	unsigned long sas_ss_size;
	struct thread_struct thread;
} __aligned(64);

#define PF_KTHREAD		0x00200000
#define PF_USER_WORKER		0x00004000
#define TIF_NEED_FPU_LOAD	22
#define CLONE_THREAD		0x00010000

#define test_tsk_thread_flag(task, flag)	(!!((task)->ti_flags & BIT(flag)))
#define set_tsk_thread_flag(task, flag)		((void)((task)->ti_flags |= BIT(flag)))
#define test_thread_flag(flag)			test_tsk_thread_flag(current, flag)
#define set_thread_flag(flag)			set_tsk_thread_flag(current, flag)
#define clear_thread_flag(flag)			((void)(current->ti_flags &= ~BIT(flag)))
#define for_each_thread(leader, t)		for ((t) = (leader); (t); (t) = NULL)

struct fpu;
struct fpu *x86_task_fpu(struct task_struct *task);

/* asm/fpu/signal.h, asm/fpu/regset.h */
struct fpstate;
void restore_fpregs_from_fpstate(struct fpstate *fpstate, u64 mask);
void update_regset_xstate_info(unsigned int size, u64 xstate_mask);

/* linux/vmalloc.h */
void *vzalloc(size_t size);
void vfree(void *p);

/* linux/regset.h */
struct membuf {
	void *p;
	size_t left;
};

static inline void membuf_write(struct membuf *to, const void *from, size_t size)
{
	size = min(size, to->left);
	memcpy(to->p, from, size);
	to->p += size;
	to->left -= size;
}

static inline void membuf_zero(struct membuf *to, size_t size)
{
	size = min(size, to->left);
	memset(to->p, 0, size);
	to->p += size;
	to->left -= size;
}

/* uapi/asm/kvm.h */
struct kvm_xsave {
	u32 region[1024];
};

/* linux/uaccess.h: userspace's memory is the kernel's. */
#define __get_user(x, p)	((x) = *(p), 0)
#define __put_user(x, p)	(*(p) = (x), 0)
#define put_user(x, p)		__put_user(x, p)
#define copy_from_user(to, from, size) (memcpy(to, from, size), 0)

/* What else they name. */
#define USER_XSTATE_FX_SW_WORDS		6
#define X86_TRAP_NM			7
#define X86_TRAP_GP			13
#define X86_TRAP_MF			16
#define FPE_FLTINV			7
#define FPE_FLTDIV			3
#define FPE_FLTOVF			4
#define FPE_FLTUND			5
#define FPE_FLTRES			6
#define ENOTSUPP			524
#define ARCH_GET_XCOMP_SUPP		0x1021
#define ARCH_GET_XCOMP_PERM		0x1022
#define ARCH_REQ_XCOMP_PERM		0x1023
#define ARCH_GET_XCOMP_GUEST_PERM	0x1024
#define ARCH_REQ_XCOMP_GUEST_PERM	0x1025
#define array_index_nospec(i, size)	(i)
#define alternatives_patched		true
#define pkru_write_default()		do { } while (0)
#define get_sigframe_size()		8192UL
#define trace_x86_fpu_before_save(fpu)		do { } while (0)
#define trace_x86_fpu_after_save(fpu)		do { } while (0)
#define trace_x86_fpu_regs_deactivated(fpu)	do { } while (0)
#define trace_x86_fpu_regs_activated(fpu)	do { } while (0)
#define trace_x86_fpu_copy_dst(fpu)		do { } while (0)
#define trace_x86_fpu_dropped(fpu)		do { } while (0)
#define trace_x86_fpu_guest_xfd_load(guest)	do { } while (0)
#define trace_x86_fpu_guest_xfd_save(guest)	do { } while (0)

struct seq_file;
struct pid_namespace;
struct pid;

#endif
