// SPDX-License-Identifier: GPL-2.0
/*
 * Which accesses of IA32_XFD and IA32_XFD_ERR are made for a vCPU, one by one.  If
 * no module serves it, they are the same on a stock kernel, on a patched one without
 * the module, and for a VM that is older than the module, while that is loaded and
 * when it is gone again, with the same values and between the same VM-exits and
 * VM-entries.  If it is attached, they are what its strategy promises.
 *
 * What is expected of KVM was read off Linux 7.3.4, and of a strategy off what its
 * file in rust/strategy says; both are written down below.  With --minimal it is
 * what patches/minimal makes of KVM's: XFD is read when the guest's registers are
 * saved, which is once for each KVM_RUN and switch to another task, and after an
 * exit for #NM.  Tests:
 *
 *	alone.<name>.traced		the kernel that this runs on
 *
 * and with --module also
 *
 *	older.<name>.<strategy>		the VM is older than the module
 *	attached.<name>.<strategy>	the VM is attached
 */
#include <errno.h>

#include "lib/harness.h"
#include "lib/xfd.h"

#define TIMEOUT		60
#define MAX_TRIES	5

enum { MODULE, WITH_MINIMAL };

static struct xfd_option options[] = {
	[MODULE] = { "module", "PATH", "xfd_switch.ko, to be loaded" },
	[WITH_MINIMAL] = { "minimal", NULL, "the kernel has patches/minimal" },
	{}
};

static struct control {
	/* Written by xfd_neighbour. */
	u64 progress;
} control;

static struct xfd_tiles tiles;

/*
 * The guests.  Each gets ready, then says so by GUEST_SYNC(), and goes from one
 * GUEST_SYNC() to the next with what its name says, always in the same way.
 */
static void guest_vmcalls(void)
{
	for (;;) {
		GUEST_SYNC(0);
		xfd_vmcall();
		xfd_vmcall();
	}
}

static void guest_arming(void)
{
	GUEST_SYNC(0);
	xfd_vmcall();
	/* The first write is the last that exits. */
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_vmcall();
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_vmcall();
	GUEST_SYNC(0);
}

static void guest_armed(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	guest_vmcalls();
}

static void guest_live(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, 1);
	xfd_tiles_use(&tiles);
	guest_vmcalls();
}

/* On stock an exit to userspace loses dormant tiles: load them again. */
static void guest_dormant(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_tiles_fill(&tiles, 1);
	for (;;) {
		GUEST_SYNC(0);
		wrmsr(MSR_IA32_XFD, 0);
		xfd_tiles_use(&tiles);
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		xfd_vmcall();
		xfd_vmcall();
	}
}

static void guest_pending(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_tilecfg_fill(&tiles.cfg);
	xfd_ldtilecfg(&tiles.cfg);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
	guest_vmcalls();
}

static void guest_nm(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_tilecfg_fill(&tiles.cfg);
	xfd_ldtilecfg(&tiles.cfg);
	for (;;) {
		GUEST_SYNC(0);
		GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
		xfd_vmcall();
		wrmsr(MSR_IA32_XFD_ERR, 0);
		xfd_vmcall();
	}
}

static void guest_spinning(void)
{
	u64 start;

	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, 1);
	xfd_tiles_use(&tiles);
	sti();
	/* Once without waiting: see create_vm(). */
	GUEST_SYNC(0);
	READ_ONCE(control.progress);
	for (;;) {
		GUEST_SYNC(0);
		start = READ_ONCE(control.progress);
		/* No PAUSE: that might exit. */
		while (READ_ONCE(control.progress) - start < 3)
			;
	}
}

/* XFD is as it was at reset, and so no #NM is pending. */
static void guest_unarmed_xfd_err(void)
{
	for (;;) {
		GUEST_SYNC(0);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0);
		wrmsr(MSR_IA32_XFD_ERR, 0);
	}
}

static void guest_without_xfd(void)
{
	u64 value;

	for (;;) {
		GUEST_SYNC(0);
		GUEST_ASSERT_EQ(rdmsr_safe(MSR_IA32_XFD, &value), GP_VECTOR);
		GUEST_ASSERT_EQ(rdmsr_safe(MSR_IA32_XFD_ERR, &value), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, 0), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD_ERR, 0), GP_VECTOR);
		xfd_vmcall();
	}
}

/*
 * What is traced.  Not vcpu_run(), nor xfd_vcpu_run(): with them the library ends
 * the I/O of GUEST_SYNC() by one KVM_RUN more.
 */
static void run_once(struct kvm_vcpu *vcpu)
{
	TEST_ASSERT(!__vcpu_run(vcpu), "KVM_RUN failed, errno = %d", errno);
}

static void run_twice(struct kvm_vcpu *vcpu)
{
	run_once(vcpu);
	run_once(vcpu);
}

static void run_interrupted(struct kvm_vcpu *vcpu)
{
	vcpu->run->immediate_exit = 1;
	TEST_ASSERT(__vcpu_run(vcpu) && errno == EINTR, "KVM_RUN: errno = %d", errno);
	vcpu->run->immediate_exit = 0;
}

static void run_ioctls(struct kvm_vcpu *vcpu)
{
	u64 xfd = vcpu_get_msr(vcpu, MSR_IA32_XFD);
	u64 xfd_err = vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR);
	struct kvm_xsave *xsave = xfd_image_get(vcpu);

	vcpu_xsave_set(vcpu, xsave);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, xfd_err);
	vcpu_set_msr(vcpu, MSR_IA32_XFD, xfd);
	free(xsave);
}

static void run_preempted(struct kvm_vcpu *vcpu)
{
	struct control *c = xfd_guest_ptr(vcpu->vm, control);
	struct xfd_neighbour neighbour = { .cpu = xfd_cpu(0), .progress = &c->progress };

	xfd_neighbour_start(&neighbour);
	run_once(vcpu);
	xfd_neighbour_stop(&neighbour);
}

/*
 * The VMM's thread has XFD[18]=1 while it has not used tiles itself, and a guest
 * has XFD=0 before it writes it: hence the writes at the ends.  See lib/trace.h.
 */
#define XFD_SET		"40000"

/* A save of what the guest has in XFD, and no #NM pending. */
#define SAVE_0		"R4:0 R5:0"
#define SAVE_SET	"R4:" XFD_SET " R5:0"

/* Who makes the accesses. */
enum maker { STOCK, MINIMAL, LAZY, XINUSE, EAGER, AUTOLOAD, NR_MAKERS };

static const char * const strategies[NR_MAKERS] = {
	[LAZY] = "lazy",
	[XINUSE] = "xinuse",
	[EAGER] = "eager",
	[AUTOLOAD] = "autoload",
};

struct scenario {
	void (*guest)(void);
	void (*run)(struct kvm_vcpu *vcpu);
	/* A strategy that is not there is like stock. */
	const char *want[NR_MAKERS];
	bool without_xfd;
	/* The VMM uses tiles itself. */
	bool host_amx;
	/* May have exits for interrupts, and must have been preempted. */
	bool preempted;
};

static const struct scenario never = {
	.guest = guest_vmcalls,
	.run = run_once,
	.want[STOCK] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
	.want[MINIMAL] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
};

static const struct scenario never_host_amx = {
	.guest = guest_vmcalls,
	.run = run_once,
	.host_amx = true,
	.want[STOCK] = "> <VMCALL > <VMCALL > <IO_INSTRUCTION",
	.want[MINIMAL] = "> <VMCALL > <VMCALL > <IO_INSTRUCTION R4:0",
};

static const struct scenario unarmed_xfd_err = {
	.guest = guest_unarmed_xfd_err,
	.run = run_once,
	.want[STOCK] = "W4:0 > <MSR_WRITE > <IO_INSTRUCTION W4:" XFD_SET,
	.want[MINIMAL] = "W4:0 > <MSR_WRITE > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
};

#define WITHOUT_XFD \
	"> <MSR_READ > <MSR_READ > <MSR_WRITE > <MSR_WRITE > <VMCALL > <IO_INSTRUCTION"

static const struct scenario without_xfd = {
	.guest = guest_without_xfd,
	.run = run_once,
	.without_xfd = true,
	.host_amx = true,
	.want[STOCK] = WITHOUT_XFD,
	/* It has been given tiles, though. */
	.want[MINIMAL] = WITHOUT_XFD " R4:0",
};

static const struct scenario arming = {
	.guest = guest_arming,
	.run = run_once,
	.want[STOCK] =
		"W4:0 > <VMCALL > <MSR_WRITE W4:" XFD_SET " > <VMCALL R4:0 > <VMCALL R4:" XFD_SET
		" > <IO_INSTRUCTION R4:" XFD_SET,
	.want[MINIMAL] =
		"W4:0 > <VMCALL > <MSR_WRITE W4:" XFD_SET
		" > <VMCALL > <VMCALL > <IO_INSTRUCTION R4:" XFD_SET,
	.want[LAZY] =
		"W4:0 > <VMCALL > <MSR_WRITE W4:" XFD_SET
		" > <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_SET,
	.want[XINUSE] =
		"W4:0 > <VMCALL > <MSR_WRITE W4:" XFD_SET
		" > <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_SET,
	.want[EAGER] =
		"W4:0 > <VMCALL > <MSR_WRITE W4:" XFD_SET " > <VMCALL " SAVE_0
		" > <VMCALL " SAVE_SET " W4:0 W4:" XFD_SET " > <IO_INSTRUCTION " SAVE_SET
		" W4:0 W4:" XFD_SET,
	.want[AUTOLOAD] =
		"W4:0 > <VMCALL > <MSR_WRITE > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
};

static const struct scenario armed = {
	.guest = guest_armed,
	.run = run_once,
	.want[STOCK] =
		"> <VMCALL R4:" XFD_SET " > <VMCALL R4:" XFD_SET " > <IO_INSTRUCTION R4:" XFD_SET,
	.want[MINIMAL] = "> <VMCALL > <VMCALL > <IO_INSTRUCTION R4:" XFD_SET,
	.want[LAZY] = "> <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_SET,
	.want[XINUSE] = "> <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_SET,
	.want[EAGER] =
		"W4:0 W4:" XFD_SET " > <VMCALL " SAVE_SET " W4:0 W4:" XFD_SET
		" > <VMCALL " SAVE_SET " W4:0 W4:" XFD_SET " > <IO_INSTRUCTION " SAVE_SET
		" W4:0 W4:" XFD_SET,
	.want[AUTOLOAD] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
};

static const struct scenario live = {
	.guest = guest_live,
	.run = run_once,
	.want[STOCK] = "W4:0 > <VMCALL R4:0 > <VMCALL R4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
	.want[MINIMAL] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
	.want[LAZY] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_0 " W4:" XFD_SET,
	.want[XINUSE] =
		"W4:0 > <VMCALL " SAVE_0 " > <VMCALL " SAVE_0 " > <IO_INSTRUCTION " SAVE_0
		" W4:" XFD_SET,
	.want[EAGER] =
		"W4:0 > <VMCALL " SAVE_0 " > <VMCALL " SAVE_0 " > <IO_INSTRUCTION " SAVE_0
		" W4:" XFD_SET,
	.want[AUTOLOAD] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
};

static const struct scenario live_userspace = {
	.guest = guest_live,
	.run = run_twice,
	.want[STOCK] =
		"W4:0 > <VMCALL R4:0 > <VMCALL R4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET
		" W4:0 > <VMCALL R4:0 > <VMCALL R4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
	.want[MINIMAL] =
		"W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION R4:0 W4:" XFD_SET
		" W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
	.want[LAZY] =
		"W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_0 " W4:" XFD_SET
		" W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_0 " W4:" XFD_SET,
	.want[XINUSE] =
		"W4:0 > <VMCALL " SAVE_0 " > <VMCALL " SAVE_0 " > <IO_INSTRUCTION " SAVE_0
		" W4:" XFD_SET " W4:0 > <VMCALL " SAVE_0 " > <VMCALL " SAVE_0
		" > <IO_INSTRUCTION " SAVE_0 " W4:" XFD_SET,
	.want[EAGER] =
		"W4:0 > <VMCALL " SAVE_0 " > <VMCALL " SAVE_0 " > <IO_INSTRUCTION " SAVE_0
		" W4:" XFD_SET " W4:0 > <VMCALL " SAVE_0 " > <VMCALL " SAVE_0
		" > <IO_INSTRUCTION " SAVE_0 " W4:" XFD_SET,
	.want[AUTOLOAD] =
		"W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET
		" W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
};

static const struct scenario live_interrupted = {
	.guest = guest_live,
	.run = run_interrupted,
	.want[STOCK] = "W4:0 W4:" XFD_SET,
	.want[MINIMAL] = "W4:0 R4:0 W4:" XFD_SET,
};

static const struct scenario live_preempted = {
	.guest = guest_spinning,
	.run = run_preempted,
	.preempted = true,
	.want[STOCK] = "W4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
	.want[MINIMAL] = "W4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
};

static const struct scenario live_ioctls = {
	.guest = guest_live,
	.run = run_ioctls,
	.want[STOCK] = "",
	.want[MINIMAL] = "",
};

static const struct scenario dormant = {
	.guest = guest_dormant,
	.run = run_once,
	.want[STOCK] =
		"> <VMCALL R4:" XFD_SET " > <VMCALL R4:" XFD_SET " > <IO_INSTRUCTION R4:" XFD_SET,
	.want[MINIMAL] = "> <VMCALL > <VMCALL > <IO_INSTRUCTION R4:" XFD_SET,
	.want[LAZY] =
		"W4:0 W4:" XFD_SET " > <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_SET
		" W4:0 W4:" XFD_SET,
	.want[XINUSE] =
		"W4:0 W4:" XFD_SET " > <VMCALL " SAVE_SET " W4:0 W4:" XFD_SET
		" > <VMCALL " SAVE_SET " W4:0 W4:" XFD_SET " > <IO_INSTRUCTION " SAVE_SET
		" W4:0 W4:" XFD_SET,
	.want[EAGER] =
		"W4:0 W4:" XFD_SET " > <VMCALL " SAVE_SET " W4:0 W4:" XFD_SET
		" > <VMCALL " SAVE_SET " W4:0 W4:" XFD_SET " > <IO_INSTRUCTION " SAVE_SET
		" W4:0 W4:" XFD_SET,
	.want[AUTOLOAD] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
};

static const struct scenario pending = {
	.guest = guest_pending,
	.run = run_once,
	.want[STOCK] =
		"W5:" XFD_SET " > <VMCALL R4:" XFD_SET " W5:0 W5:" XFD_SET " > <VMCALL R4:" XFD_SET
		" W5:0 W5:" XFD_SET " > <IO_INSTRUCTION R4:" XFD_SET " W5:0",
	.want[MINIMAL] =
		"W5:" XFD_SET " > <VMCALL W5:0 W5:" XFD_SET " > <VMCALL W5:0 W5:" XFD_SET
		" > <IO_INSTRUCTION W5:0 R4:" XFD_SET,
	.want[LAZY] =
		"W5:" XFD_SET " > <VMCALL > <VMCALL > <IO_INSTRUCTION R4:" XFD_SET " R5:" XFD_SET
		" W5:0",
	.want[XINUSE] =
		"W5:" XFD_SET " > <VMCALL > <VMCALL > <IO_INSTRUCTION R4:" XFD_SET " R5:" XFD_SET
		" W5:0",
	.want[EAGER] =
		"W4:0 W4:" XFD_SET " W5:" XFD_SET " > <VMCALL R4:" XFD_SET " R5:" XFD_SET
		" W5:0 W4:0 W4:" XFD_SET " W5:" XFD_SET " > <VMCALL R4:" XFD_SET " R5:" XFD_SET
		" W5:0 W4:0 W4:" XFD_SET " W5:" XFD_SET " > <IO_INSTRUCTION R4:" XFD_SET
		" R5:" XFD_SET " W5:0 W4:0 W4:" XFD_SET,
	.want[AUTOLOAD] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
};

static const struct scenario pending_ioctls = {
	.guest = guest_pending,
	.run = run_ioctls,
	.want[STOCK] = "",
	.want[MINIMAL] = "",
};

static const struct scenario nm = {
	.guest = guest_nm,
	.run = run_once,
	.want[STOCK] =
		"> <EXCEPTION_NMI R4:" XFD_SET " R5:" XFD_SET " W5:0 W5:" XFD_SET
		" > <VMCALL R4:" XFD_SET " W5:0 W5:" XFD_SET " > <MSR_WRITE R4:" XFD_SET
		" W5:0 > <VMCALL R4:" XFD_SET " > <IO_INSTRUCTION R4:" XFD_SET,
	.want[MINIMAL] =
		"> <EXCEPTION_NMI R4:" XFD_SET " R5:" XFD_SET " W5:0 W5:" XFD_SET
		" > <VMCALL W5:0 W5:" XFD_SET
		" > <MSR_WRITE W5:0 > <VMCALL > <IO_INSTRUCTION R4:" XFD_SET,
	.want[LAZY] = "> <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_SET,
	.want[XINUSE] = "> <VMCALL > <VMCALL > <IO_INSTRUCTION " SAVE_SET,
	.want[EAGER] =
		"W4:0 W4:" XFD_SET " > <VMCALL R4:" XFD_SET " R5:" XFD_SET " W5:0 W4:0 W4:" XFD_SET
		" W5:" XFD_SET " > <VMCALL " SAVE_SET " W4:0 W4:" XFD_SET
		" > <IO_INSTRUCTION " SAVE_SET " W4:0 W4:" XFD_SET,
	.want[AUTOLOAD] = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
};

/* Takes all occurrences of @sub out; returns how many there were. */
static int cut(char *words, const char *sub)
{
	size_t n = strlen(sub);
	int count = 0;
	char *p;

	while ((p = strstr(words, sub))) {
		memmove(p, p + n, strlen(p + n) + 1);
		count++;
	}
	return count;
}

/*
 * A vCPU is preempted after an exit for an interrupt: takes those out, with the
 * accesses that they cost, and the plain ones.  Returns whether there was one.  An
 * access in the middle of the switch counts as the other task's.  Where the interrupt
 * came while the kernel was on its way, the switch stays.
 */
static bool cut_preemptions(char *words, bool minimal)
{
	bool preempted = cut(words, minimal ? "<EXTERNAL_INTERRUPT / / W4:0 > " :
					      "<EXTERNAL_INTERRUPT R4:0 / / W4:0 > ");

	cut(words, minimal ? "<EXTERNAL_INTERRUPT > " : "<EXTERNAL_INTERRUPT R4:0 > ");
	return preempted;
}

/*
 * Takes out the switches before and after it, which are the neighbour's.  Returns
 * whether what is left has a switch in it, or an interrupt that nobody waited for.
 */
static bool is_disturbed(char *words)
{
	size_t before = strspn(words, "/ "), n;

	memmove(words, words + before, strlen(words + before) + 1);
	for (n = strlen(words); n && strchr("/ ", words[n - 1]); n--)
		words[n - 1] = 0;
	return strstr(words, "EXTERNAL_INTERRUPT") || strstr(words, "/");
}

static struct kvm_vm *create_vm(const struct scenario *s, struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, s->guest);

	if (s->without_xfd)
		vcpu_clear_cpuid_feature(*vcpu, X86_FEATURE_XFD);
	xfd_vcpu_run(*vcpu);
	/* Once more, so that no page is touched for the first time later. */
	if (s->guest != guest_arming)
		xfd_vcpu_run(*vcpu);
	return vm;
}

/* Returns right after a tick of this CPU, so that the next is as far as can be. */
static void wait_for_tick(void)
{
	struct timespec before, now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &before);
	do
		clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	while (now.tv_sec == before.tv_sec && now.tv_nsec == before.tv_nsec);
}

static char *trace(const struct scenario *s, struct kvm_vcpu *vcpu)
{
	char *words;

	xfd_trace_begin();
	if (!s->preempted)
		wait_for_tick();
	s->run(vcpu);
	words = xfd_trace_end_words(xfd_cpu(0));
	/* An assertion of the guest's that failed. */
	xfd_vcpu_says(vcpu);
	return words;
}

enum when {
	NO_MODULE,
	/* The VM is older than the module, which is loaded, or is gone again. */
	MODULE_LOADED,
	MODULE_UNLOADED,
	VM_ATTACHED,
};

static const char * const when_names[] = {
	"no module", "module loaded", "module unloaded", "VM attached",
};

static void check(const struct scenario *s, enum maker by, enum when when)
{
	const char *strategy = strategies[by];
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	enum maker maker;
	bool disturbed;
	char *words;
	int try = 0;

	do {
		if (when == VM_ATTACHED)
			xfd_strategy_load(options[MODULE].value, strategy);
		vm = create_vm(s, &vcpu);
		if (when == MODULE_LOADED || when == MODULE_UNLOADED)
			xfd_strategy_load(options[MODULE].value, strategy);
		if (when == MODULE_UNLOADED)
			xfd_strategy_unload();
		TEST_ASSERT_EQ(xfd_vm_attached(vm->fd), when == VM_ATTACHED);

		words = trace(s, vcpu);
		maker = when == VM_ATTACHED || !strategy ? by : STOCK;
		disturbed = s->preempted && !cut_preemptions(words, maker == MINIMAL);
		disturbed |= is_disturbed(words);
		if (!disturbed) {
			const char *want = s->want[maker] ?: s->want[STOCK];

			TEST_ASSERT(!strcmp(words, want), "%s:\n  want %s\n  got  %s",
				    when_names[when], want, words);
		}
		free(words);
		kvm_vm_free(vm);
		if (when == MODULE_LOADED || when == VM_ATTACHED)
			xfd_strategy_unload();
	} while (disturbed && ++try < MAX_TRIES);
	TEST_ASSERT(!disturbed, "no run as it should be in %d tries", MAX_TRIES);
}

static void begin(const struct scenario *s)
{
	pin_self_to_cpu(xfd_cpu(0));
	/* If the test before died with the module loaded. */
	if (options[MODULE].value)
		xfd_module_unload(XFD_MODULE);
	if (s->host_amx) {
		xfd_tiles_fill(&tiles, 1);
		xfd_tiles_use(&tiles);
		xfd_tilerelease();
	}
	xfd_trace_setup(1000);
	xfd_trace_enable_own_exits();
}

/* No module is loaded. */
FIXTURE(alone) {
};

FIXTURE_VARIANT(alone) {
	const struct scenario *scenario;
};

FIXTURE_VARIANT_ADD(alone, never) { &never };
FIXTURE_VARIANT_ADD(alone, never_host_amx) { &never_host_amx };
FIXTURE_VARIANT_ADD(alone, unarmed_xfd_err) { &unarmed_xfd_err };
FIXTURE_VARIANT_ADD(alone, without_xfd) { &without_xfd };
FIXTURE_VARIANT_ADD(alone, arming) { &arming };
FIXTURE_VARIANT_ADD(alone, armed) { &armed };
FIXTURE_VARIANT_ADD(alone, live) { &live };
FIXTURE_VARIANT_ADD(alone, live_userspace) { &live_userspace };
FIXTURE_VARIANT_ADD(alone, live_interrupted) { &live_interrupted };
FIXTURE_VARIANT_ADD(alone, live_preempted) { &live_preempted };
FIXTURE_VARIANT_ADD(alone, live_ioctls) { &live_ioctls };
FIXTURE_VARIANT_ADD(alone, dormant) { &dormant };
FIXTURE_VARIANT_ADD(alone, pending) { &pending };
FIXTURE_VARIANT_ADD(alone, pending_ioctls) { &pending_ioctls };
FIXTURE_VARIANT_ADD(alone, nm) { &nm };

FIXTURE_SETUP(alone)
{
	begin(variant->scenario);
}

FIXTURE_TEARDOWN(alone)
{
	xfd_trace_remove();
}

TEST_F_TIMEOUT(alone, traced, TIMEOUT)
{
	check(variant->scenario, options[WITH_MINIMAL].value ? MINIMAL : STOCK, NO_MODULE);
}

/* The VM is older than the module, which is loaded, and is gone again. */
FIXTURE(older) {
};

FIXTURE_VARIANT(older) {
	const struct scenario *scenario;
};

FIXTURE_VARIANT_ADD(older, never) { &never };
FIXTURE_VARIANT_ADD(older, never_host_amx) { &never_host_amx };
FIXTURE_VARIANT_ADD(older, unarmed_xfd_err) { &unarmed_xfd_err };
FIXTURE_VARIANT_ADD(older, without_xfd) { &without_xfd };
FIXTURE_VARIANT_ADD(older, arming) { &arming };
FIXTURE_VARIANT_ADD(older, armed) { &armed };
FIXTURE_VARIANT_ADD(older, live) { &live };
FIXTURE_VARIANT_ADD(older, live_userspace) { &live_userspace };
FIXTURE_VARIANT_ADD(older, live_interrupted) { &live_interrupted };
FIXTURE_VARIANT_ADD(older, live_preempted) { &live_preempted };
FIXTURE_VARIANT_ADD(older, live_ioctls) { &live_ioctls };
FIXTURE_VARIANT_ADD(older, dormant) { &dormant };
FIXTURE_VARIANT_ADD(older, pending) { &pending };
FIXTURE_VARIANT_ADD(older, pending_ioctls) { &pending_ioctls };
FIXTURE_VARIANT_ADD(older, nm) { &nm };

FIXTURE_SETUP(older)
{
	begin(variant->scenario);
}

FIXTURE_TEARDOWN(older)
{
	xfd_trace_remove();
}

static void check_older(const struct scenario *s, enum maker by)
{
	check(s, by, MODULE_LOADED);
	check(s, by, MODULE_UNLOADED);
}

TEST_F_TIMEOUT(older, lazy, TIMEOUT)
{
	check_older(variant->scenario, LAZY);
}

TEST_F_TIMEOUT(older, xinuse, TIMEOUT)
{
	check_older(variant->scenario, XINUSE);
}

TEST_F_TIMEOUT(older, eager, TIMEOUT)
{
	check_older(variant->scenario, EAGER);
}

TEST_F_TIMEOUT(older, autoload, TIMEOUT)
{
	check_older(variant->scenario, AUTOLOAD);
}

/* The VM is attached. */
FIXTURE(attached) {
};

FIXTURE_VARIANT(attached) {
	const struct scenario *scenario;
};

FIXTURE_VARIANT_ADD(attached, never) { &never };
FIXTURE_VARIANT_ADD(attached, never_host_amx) { &never_host_amx };
FIXTURE_VARIANT_ADD(attached, unarmed_xfd_err) { &unarmed_xfd_err };
FIXTURE_VARIANT_ADD(attached, without_xfd) { &without_xfd };
FIXTURE_VARIANT_ADD(attached, arming) { &arming };
FIXTURE_VARIANT_ADD(attached, armed) { &armed };
FIXTURE_VARIANT_ADD(attached, live) { &live };
FIXTURE_VARIANT_ADD(attached, live_userspace) { &live_userspace };
FIXTURE_VARIANT_ADD(attached, live_interrupted) { &live_interrupted };
FIXTURE_VARIANT_ADD(attached, dormant) { &dormant };
FIXTURE_VARIANT_ADD(attached, pending) { &pending };
FIXTURE_VARIANT_ADD(attached, nm) { &nm };

FIXTURE_SETUP(attached)
{
	begin(variant->scenario);
}

FIXTURE_TEARDOWN(attached)
{
	xfd_trace_remove();
}

TEST_F_TIMEOUT(attached, lazy, TIMEOUT)
{
	check(variant->scenario, LAZY, VM_ATTACHED);
}

TEST_F_TIMEOUT(attached, xinuse, TIMEOUT)
{
	check(variant->scenario, XINUSE, VM_ATTACHED);
}

TEST_F_TIMEOUT(attached, eager, TIMEOUT)
{
	check(variant->scenario, EAGER, VM_ATTACHED);
}

TEST_F_TIMEOUT(attached, autoload, TIMEOUT)
{
	check(variant->scenario, AUTOLOAD, VM_ATTACHED);
}

/* Userspace may set the MSRs of a vCPU whose guest has no XFD: it still has none. */
static void set_without_xfd(const char *strategy)
{
	static const u32 msrs[] = { MSR_IA32_XFD, MSR_IA32_XFD_ERR };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i;

	xfd_module_unload(XFD_MODULE);
	xfd_strategy_load(options[MODULE].value, strategy);
	vm = vm_create_with_one_vcpu(&vcpu, guest_without_xfd);
	TEST_ASSERT(xfd_vm_attached(vm->fd), "the VM is not attached");
	vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_XFD);
	xfd_vcpu_run(vcpu);
	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		vcpu_set_msr(vcpu, msrs[i], XFD_TILEDATA);
		xfd_vcpu_run(vcpu);
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, msrs[i]), XFD_TILEDATA);
	}
	kvm_vm_free(vm);
	xfd_strategy_unload();
}

XFD_FIXTURE_EMPTY(set_without_xfd);

TEST_F_TIMEOUT(set_without_xfd, lazy, TIMEOUT)
{
	set_without_xfd("lazy");
}

TEST_F_TIMEOUT(set_without_xfd, xinuse, TIMEOUT)
{
	set_without_xfd("xinuse");
}

TEST_F_TIMEOUT(set_without_xfd, eager, TIMEOUT)
{
	set_without_xfd("eager");
}

TEST_F_TIMEOUT(set_without_xfd, autoload, TIMEOUT)
{
	set_without_xfd("autoload");
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	xfd_require_amx();
	if (!options[MODULE].value) {
		xfd_leave_out_fixture("older");
		xfd_leave_out_fixture("attached");
		xfd_leave_out_fixture("set_without_xfd");
	}
	return xfd_run_tests(argc, argv);
}
