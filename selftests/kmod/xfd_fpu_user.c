// SPDX-License-Identifier: GPL-2.0
/*
 * Uses the FPU in the kernel while a guest's registers are loaded, and looks
 * there at what must not be seen of the guest.  For xfd_event_test and
 * xfd_hole_sequences.
 *
 * Everything is a module parameter, below /sys/module/xfd_fpu_user/parameters:
 *
 *	tgid		The process whose vCPUs are meant.
 *	cpu		The CPU of those, for "kthread", "softirq" and "hardirq".
 *	period_us	How often, likewise.
 *	context		Where, and what starts it:
 *			"task"		in a vCPU's thread, on each of its hypercalls
 *			"kthread"	in a kernel thread that preempts them
 *			"softirq"	in a timer's softirq
 *			"hardirq"	in a timer's interrupt
 *			"swap"		likewise, but once for each time that a vCPU's
 *					thread swaps its registers and the guest's, and
 *					each time a little later than the time before
 *			"rdmsr"		in an interrupt that each read of XFD or XFD_ERR by
 *					a vCPU's thread raises, and which comes before the
 *					next instruction if interrupts are enabled
 *			"off"		nowhere
 *
 *	uses		How often it was done since it was started,
 *	in_guest	and of these, how often upon a guest of @tgid: after its
 *			VM-exit, and before the VM-entry that follows.
 *	refused		How often the FPU was not usable.
 *	reads		"rdmsr": how many of those reads there were,
 *	late		and for how many the interrupt had to wait, as interrupts were
 *			disabled.
 *	xfd_err		How often XFD_ERR was not 0 there: the host's #NM handler
 *			would have taken a guest's for its own.
 *	dormant		How often XFD disabled a component in use: it is lost.
 */
#include <linux/cpufeature.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <uapi/linux/sched/types.h>

#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>
#include <asm/msr-trace.h>
#include <asm/special_insns.h>

enum context { OFF, TASK, KTHREAD, SOFTIRQ, HARDIRQ, SWAP, RDMSR };

/* About one instruction of the emulator, and all that a swap takes. */
#define SWEEP_STEP_NS	50
#define SWEEP_END_NS	20000

static const char * const context_names[] = {
	[OFF]		= "off",
	[TASK]		= "task",
	[KTHREAD]	= "kthread",
	[SOFTIRQ]	= "softirq",
	[HARDIRQ]	= "hardirq",
	[SWAP]		= "swap",
	[RDMSR]		= "rdmsr",
};

static int tgid;
module_param(tgid, int, 0644);

static int cpu;
module_param(cpu, int, 0644);

static uint period_us = 500;
module_param(period_us, uint, 0644);

/* A vCPU that adds to one at the same time as another may make it too low, but not 0. */
static ulong uses;
module_param(uses, ulong, 0444);

static ulong in_guest;
module_param(in_guest, ulong, 0444);

static ulong refused;
module_param(refused, ulong, 0444);

static ulong reads;
module_param(reads, ulong, 0444);

static ulong late;
module_param(late, ulong, 0444);

static ulong xfd_err;
module_param(xfd_err, ulong, 0444);

static ulong dormant;
module_param(dormant, ulong, 0444);

/* Leave nothing of what kernel_fpu_begin() has to have saved. */
static void clobber_registers(void)
{
	static const u64 garbage[2] = { 0x5a5a5a5a5a5a5a5aull, 0xa5a5a5a5a5a5a5a5ull };

	asm volatile("movdqu %0, %%xmm0\n\t"
		     "movdqu %0, %%xmm1\n\t"
		     "movdqu %0, %%xmm2\n\t"
		     "movdqu %0, %%xmm3\n\t"
		     "movdqu %0, %%xmm4\n\t"
		     "movdqu %0, %%xmm5\n\t"
		     "movdqu %0, %%xmm6\n\t"
		     "movdqu %0, %%xmm7\n\t"
		     "movdqu %0, %%xmm8\n\t"
		     "movdqu %0, %%xmm9\n\t"
		     "movdqu %0, %%xmm10\n\t"
		     "movdqu %0, %%xmm11\n\t"
		     "movdqu %0, %%xmm12\n\t"
		     "movdqu %0, %%xmm13\n\t"
		     "movdqu %0, %%xmm14\n\t"
		     "movdqu %0, %%xmm15"
		     : : "m"(garbage));
	tile_release();
}

static void use_fpu(bool upon_guest)
{
	u64 value;

	/* irq_fpu_usable() warns in an NMI, and an int3 of a kprobe is like one. */
	if (in_nmi() || !irq_fpu_usable()) {
		refused++;
		return;
	}

	kernel_fpu_begin();
	rdmsrq(MSR_IA32_XFD_ERR, value);
	if (value)
		xfd_err++;
	rdmsrq(MSR_IA32_XFD, value);
	if (value & xfeatures_in_use())
		dormant++;
	clobber_registers();
	kernel_fpu_end();

	uses++;
	if (upon_guest)
		in_guest++;
}

/* KVM keeps PF_VCPU set until the interrupt that ended a guest's run is served. */
static bool interrupted_guest(void)
{
	return current->tgid == tgid && (current->flags & PF_VCPU);
}

static enum context context;
static struct hrtimer timer;

static enum hrtimer_restart timer_expired(struct hrtimer *t)
{
	use_fpu(interrupted_guest());
	if (context == SWAP)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(t, us_to_ktime(period_us));
	return HRTIMER_RESTART;
}

static void start_timer_here(void *mode)
{
	hrtimer_start(&timer, us_to_ktime(period_us), *(enum hrtimer_mode *)mode);
}

static int start_timer(enum hrtimer_mode mode)
{
	hrtimer_setup(&timer, timer_expired, CLOCK_MONOTONIC, mode);
	return smp_call_function_single(cpu, start_timer_here, &mode, true);
}

static struct task_struct *thread;

static int thread_fn(void *unused)
{
	/* Else it would wait until the vCPU has had its time. */
	sched_set_fifo(current);
	while (!kthread_should_stop()) {
		ktime_t period = us_to_ktime(period_us);

		set_current_state(TASK_INTERRUPTIBLE);
		schedule_hrtimeout(&period, HRTIMER_MODE_REL);
		use_fpu(false);
	}
	return 0;
}

static int start_kthread(void)
{
	struct task_struct *new = kthread_run_on_cpu(thread_fn, NULL, cpu, "xfd_fpu_user/%u");

	if (IS_ERR(new))
		return PTR_ERR(new);
	thread = new;
	return 0;
}

static int on_hypercall(struct kprobe *p, struct pt_regs *regs)
{
	if (current->tgid == tgid)
		use_fpu(true);
	return 0;
}

static struct kprobe hypercall_probe = {
	.symbol_name = "kvm_emulate_hypercall",
	.pre_handler = on_hypercall,
};

static u64 sweep_ns;

static int on_swap(struct kprobe *p, struct pt_regs *regs)
{
	if (current->tgid != tgid || hrtimer_active(&timer))
		return 0;
	hrtimer_start(&timer, ns_to_ktime(sweep_ns), HRTIMER_MODE_REL_PINNED_HARD);
	sweep_ns = (sweep_ns + SWEEP_STEP_NS) % SWEEP_END_NS;
	return 0;
}

static struct kprobe swap_probe = {
	.symbol_name = "fpu_swap_kvm_fpstate",
	.pre_handler = on_swap,
};

static int start_sweep(void)
{
	sweep_ns = 0;
	hrtimer_setup(&timer, timer_expired, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	return register_kprobe(&swap_probe);
}

static void read_irq(struct irq_work *work)
{
	use_fpu(false);
}

static struct irq_work read_work = IRQ_WORK_INIT_HARD(read_irq);

static void on_read(void *unused, unsigned int msr, u64 value, int failed)
{
	/* The reads of use_fpu() are in the interrupt. */
	if (current->tgid != tgid || !in_task() || (msr != MSR_IA32_XFD && msr != MSR_IA32_XFD_ERR))
		return;

	reads++;
	irq_work_queue(&read_work);
	if (irqs_disabled()) {
		late++;
		return;
	}
	while (irq_work_is_busy(&read_work))
		cpu_relax();
}

static void stop_reads(void)
{
	unregister_trace_read_msr(on_read, NULL);
	tracepoint_synchronize_unregister();
	irq_work_sync(&read_work);
}

static void stop_probe(struct kprobe *probe)
{
	unregister_kprobe(probe);
	/* What it knows of the address is void if KVM is reloaded. */
	probe->addr = NULL;
	probe->flags = 0;
}

static void stop(void)
{
	switch (context) {
	case OFF:
		break;
	case TASK:
		stop_probe(&hypercall_probe);
		break;
	case KTHREAD:
		kthread_stop(thread);
		break;
	case SWAP:
		stop_probe(&swap_probe);
		fallthrough;
	case SOFTIRQ:
	case HARDIRQ:
		hrtimer_cancel(&timer);
		break;
	case RDMSR:
		stop_reads();
		break;
	}
	context = OFF;
}

static int start(enum context new)
{
	uses = 0;
	in_guest = 0;
	refused = 0;
	reads = 0;
	late = 0;
	xfd_err = 0;
	dormant = 0;

	switch (new) {
	case TASK:
		return register_kprobe(&hypercall_probe);
	case KTHREAD:
		return start_kthread();
	case SOFTIRQ:
		return start_timer(HRTIMER_MODE_REL_PINNED_SOFT);
	case HARDIRQ:
		return start_timer(HRTIMER_MODE_REL_PINNED_HARD);
	case SWAP:
		return start_sweep();
	case RDMSR:
		return register_trace_read_msr(on_read, NULL);
	default:
		return 0;
	}
}

static bool ready;

/* Parameters are set one at a time: the lock is theirs. */
static int context_set(const char *val, const struct kernel_param *kp)
{
	int new = sysfs_match_string(context_names, val);
	int ret;

	if (new < 0)
		return new;
	/* insmod sets parameters before there is anything that could stop it again. */
	if (!ready || !period_us)
		return -EINVAL;

	stop();
	if (new == OFF)
		return 0;

	/* A timer asks for it. */
	context = new;
	ret = start(new);
	if (ret)
		context = OFF;
	return ret;
}

static int context_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", context_names[context]);
}

static const struct kernel_param_ops context_ops = {
	.set = context_set,
	.get = context_get,
};
module_param_cb(context, &context_ops, NULL, 0644);

static int __init xfd_fpu_user_init(void)
{
	if (!cpu_feature_enabled(X86_FEATURE_XFD) || !cpu_feature_enabled(X86_FEATURE_AMX_TILE)) {
		pr_err("xfd_fpu_user: this CPU has no XFD, or no AMX\n");
		return -ENODEV;
	}
	ready = true;
	return 0;
}
module_init(xfd_fpu_user_init);

static void __exit xfd_fpu_user_exit(void)
{
	stop();
}
module_exit(xfd_fpu_user_exit);

MODULE_DESCRIPTION("Kernel-mode FPU use upon KVM guests, for tests");
MODULE_LICENSE("GPL");
