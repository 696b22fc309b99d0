// SPDX-License-Identifier: GPL-2.0
/*
 * Userspace that means ill: seeds of KVM ioctls that are wrong, too early, too late, half of
 * them in pages that are not there, with memory that fails where the kernel has fault
 * injection, and by two threads at once.  Documentation/hostile.rst has the table of what
 * each must return; most must return exactly one thing.
 *
 *	alone		one thread: what each ioctl returns is known, and so is what the vCPU
 *			has afterwards, whether it succeeded or not
 *	race		two threads on one vCPU, whose descriptors are closed while it runs
 *	permission	KVM's permission for tiles, asked for too late, and not at all
 *	leaks		what the others have leaked, where the kernel has kmemleak
 *
 * All the while there are a victim, a VM whose guest checks all that it has, and a task of the
 * host's with tiles.  The kernel's complaints are up to the harness, and the lab.
 *
 * A failure names its seed: --seeds=N-N repeats it alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		36000

/* Where the guest leaves for userspace; the library's own port is another. */
#define PORT		0x584

#define STEPS_PER_SEED	64
/* How many VMs a set of memory serves, one after the other. */
#define SEEDS_PER_VM	32
/* __msr_io() takes no more. */
#define MAX_MSRS	256
#define MAX_CPUID	256

static u64 first_seed = 1, last_seed;
static u64 wanted_ioctls = 2000;
static const char *module = XFD_MODULE_PATH;
static const char *strategies[XFD_MAX_STRATEGIES];
static int nr_strategies;

/*
 * The guests.
 */

/* What the guest must find, and what it is to enter then. */
static struct order {
	struct xfd_model before, after;
	/* Of the race. */
	u64 spin;
	u64 rounds;
} order;

static void guest_leave(void)
{
	/* The images that userspace sets have someone else's registers. */
	asm volatile("outb %%al, %%dx" : : "a"(0), "d"(PORT)
		     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
		       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
		       "xmm15");
}

static void guest_code(void)
{
	for (;;) {
		xfd_guest_check(&order.before);
		xfd_guest_enter(&order.after);
		xfd_vmcall();
		guest_leave();
	}
}

/* Nothing that it has stays: userspace sets it meanwhile. */
static void guest_race(void)
{
	u64 i;

	for (i = 0;; i++) {
		wrmsr(MSR_IA32_XFD, i & 1 ? XFD_TILEDATA : 0);
		/* #NM, or #UD without a configuration. */
		xfd_tile_load_safe(xfd_patterns[1].want);
		wrmsr(MSR_IA32_XFD_ERR, i & 2 ? XFD_TILEDATA : 0);
		xfd_ldtilecfg(&xfd_patterns[1].cfg);
		xfd_tile_load_safe(xfd_patterns[2].want);
		if (i & 4)
			xfd_vmcall();
		if (i & 8)
			xfd_tilerelease();
		WRITE_ONCE(order.rounds, order.rounds + 1);
		if (!READ_ONCE(order.spin))
			guest_leave();
	}
}

/*
 * An attacker, one for each thread.
 */
#define MAX_ERRNO_SEEN	134

struct tally {
	u64 ioctls;
	/* By errno, 0 for none. */
	u64 by_errno[MAX_ERRNO_SEEN];
	/* How many met a fault that was injected, and how many failed by one. */
	u64 faults, failed;
};

struct attacker {
	struct xfd_random random;
	u64 seed;
	int step;
	const char *op;
	/* What fails with this step's ioctls. */
	bool inject;
	struct tally tally;
	/* Pages, of which the last is inaccessible: a buffer ends at @end or beyond it. */
	u8 *pages, *end;
	u8 *image, *image_after;
};

#define PAGES		8

static void attacker_init(struct attacker *a)
{
	size_t size = (PAGES + 1) * getpagesize();

	a->pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(a->pages != MAP_FAILED, "out of memory");
	a->end = a->pages + PAGES * getpagesize();
	TEST_ASSERT(!mprotect(a->end, getpagesize(), PROT_NONE), "mprotect()");
	a->image = calloc(1, PAGES * getpagesize());
	a->image_after = calloc(1, PAGES * getpagesize());
	TEST_ASSERT(a->image && a->image_after, "out of memory");
	if (xfd_fault_available())
		xfd_fault_setup();
}

static void attacker_free(struct attacker *a)
{
	munmap(a->pages, (PAGES + 1) * getpagesize());
	free(a->image);
	free(a->image_after);
}

static void attacker_seed(struct attacker *a, u64 seed)
{
	a->seed = seed;
	a->random.state = seed;
	a->step = 0;
}

static u64 below(struct attacker *a, u64 n)
{
	return xfd_random_below(&a->random, n);
}

static bool one_in(struct attacker *a, u64 n)
{
	return xfd_one_in(&a->random, n);
}

/* In the attacker's pages; all of it is there. */
static void *buffer(struct attacker *a, size_t size)
{
	TEST_ASSERT(size <= a->end - a->pages, "%zu bytes", size);
	memset(a->end - size, 0, size);
	return a->end - size;
}

/* Of what @ptr points to, which buffer() has returned, the end is not there any more. */
static void *cut_short(struct attacker *a, void *ptr)
{
	size_t size = a->end - (u8 *)ptr, cut = 1 + below(a, size);

	memmove(ptr + cut, ptr, size - cut);
	return ptr + cut;
}

static __noreturn void fail(struct attacker *a, const char *what)
{
	ksft_print_msg("seed %lu, step %d, %s: %s\n", a->seed, a->step, a->op, what);
	ksft_print_msg("again: --seeds=%lu-%lu\n", a->seed, a->seed);
	TEST_FAIL("%s: %s", a->op, what);
}

/* What a call returned is as KVM's own: a negative errno. */
static long count(struct attacker *a, long ret)
{
	if (ret < 0)
		ret = -errno;
	a->tally.ioctls++;
	a->tally.by_errno[ret < 0 ? min_t(long, -ret, MAX_ERRNO_SEEN - 1) : 0]++;
	return ret;
}

static long call(struct attacker *a, int fd, unsigned long cmd, unsigned long arg)
{
	return count(a, ioctl(fd, cmd, arg));
}

/* A descriptor, whichever. */
#define SOME_FD		LONG_MAX

static bool is(long got, long want)
{
	return got == want || (want == SOME_FD && got >= 0);
}

/* Most have few points at which they can fail; whatever is created has many. */
static int some_point(struct attacker *a, unsigned long cmd)
{
	bool creates = cmd == KVM_CREATE_VM || cmd == KVM_CREATE_VCPU;

	return 1 + below(a, 1 << below(a, creates ? 8 : 3));
}

/*
 * The call returns what is wanted.  With memory that fails it may return ENOMEM or EFAULT
 * instead, which nobody may then see of the vCPU; only if something did fail.  Returns whether
 * it was what is wanted; *@result is what it was.
 */
static bool __expect(struct attacker *a, int fd, unsigned long cmd, unsigned long arg, long want,
		     long *result)
{
	enum xfd_fault what = cmd == KVM_RUN ? XFD_FAULT_MEMORY : XFD_FAULT_ALL;
	bool failed = false;
	char text[160];
	long got;

	if (a->inject)
		xfd_fault_arm(what, some_point(a, cmd));
	got = call(a, fd, cmd, arg);
	if (a->inject)
		failed = xfd_fault_disarm(what);
	a->tally.faults += failed;
	*result = got;
	if (is(got, want))
		return true;
	if (failed && (got == -ENOMEM || got == -EFAULT)) {
		a->tally.failed++;
		return false;
	}
	snprintf(text, sizeof(text), "ioctl 0x%lx returns %ld (%s), must return %ld (%s)%s", cmd,
		 got, got < 0 ? strerror(-got) : "success", want,
		 want < 0 ? strerror(-want) : "success", failed ? ", ENOMEM or EFAULT" : "");
	fail(a, text);
}

static bool expect(struct attacker *a, int fd, unsigned long cmd, const void *arg, long want)
{
	long got;

	return __expect(a, fd, cmd, (unsigned long)arg, want, &got);
}

/*
 * A target: one vCPU, and all that is known of it.
 */
struct target {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct xfd_rules rules;
	struct xfd_model model;
	u32 image_size;
	/* How a vCPU is when the library has made it. */
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_cpuid2 *cpuid;
	/* It has been in the guest: its CPUID stays. */
	bool has_run;
	int next_vcpu_id;
	struct order *order;
};

static int cpuid_size(const struct kvm_cpuid2 *cpuid)
{
	return sizeof(*cpuid) + cpuid->nent * sizeof(cpuid->entries[0]);
}

static void target_create(struct target *t, void (*guest)(void))
{
	memset(t, 0, sizeof(*t));
	t->vm = vm_create_with_one_vcpu(&t->vcpu, guest);
	xfd_patterns_fill(t->vm);
	vcpu_regs_get(t->vcpu, &t->regs);
	vcpu_sregs_get(t->vcpu, &t->sregs);
	vcpu_xcrs_get(t->vcpu, &t->xcrs);
	t->cpuid = malloc(cpuid_size(t->vcpu->cpuid));
	TEST_ASSERT(t->cpuid, "out of memory");
	memcpy(t->cpuid, t->vcpu->cpuid, cpuid_size(t->vcpu->cpuid));
	t->image_size = xfd_image_size(t->vm);
	t->order = xfd_guest_ptr(t->vm, order);
	t->rules.attached = xfd_vm_attached(t->vm->fd);
	t->next_vcpu_id = 1;
}

/* A new VM with the same memory; the guest begins anew. */
static void target_recreate(struct target *t)
{
	kvm_vm_restart(t->vm);
	t->vcpu = vm_vcpu_recreate(t->vm, 0);
	vcpu_sregs_set(t->vcpu, &t->sregs);
	vcpu_xcrs_set(t->vcpu, &t->xcrs);
	vcpu_regs_set(t->vcpu, &t->regs);
	t->model = (struct xfd_model){};
	t->rules = (struct xfd_rules){ .attached = xfd_vm_attached(t->vm->fd) };
	t->has_run = false;
	t->next_vcpu_id = 1;
}

static void target_free(struct target *t)
{
	kvm_vm_free(t->vm);
	free(t->cpuid);
}

static void run(struct attacker *a, struct target *t, const struct xfd_model *enter)
{
	struct kvm_run *r = t->vcpu->run;

	t->order->before = t->model;
	t->order->after = *enter;
	if (!expect(a, t->vcpu->fd, KVM_RUN, 0, 0)) {
		/* It has failed, and must be none the worse for it. */
		a->inject = false;
		expect(a, t->vcpu->fd, KVM_RUN, 0, 0);
	}
	t->has_run = true;
	if (r->exit_reason != KVM_EXIT_IO || r->io.port != PORT) {
		xfd_vcpu_says(t->vcpu);
		fail(a, "the guest did not leave by its port");
	}
	t->model = *enter;
	xfd_model_exit(&t->model, &t->rules);
}

static u64 get_msr(struct attacker *a, struct target *t, u32 index)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry.index = index };

	if (call(a, t->vcpu->fd, KVM_GET_MSRS, (unsigned long)&msrs) != 1)
		fail(a, "KVM_GET_MSRS failed");
	return msrs.entry.data;
}

static void check_msrs(struct attacker *a, struct target *t)
{
	if (get_msr(a, t, MSR_IA32_XFD) != t->model.xfd)
		fail(a, "XFD is another");
	if (get_msr(a, t, MSR_IA32_XFD_ERR) != t->model.xfd_err)
		fail(a, "XFD_ERR is another");
}

/* Fills @image, all of it checked as far as it is known. */
static void get_image(struct attacker *a, struct target *t, u8 *image)
{
	if (call(a, t->vcpu->fd, KVM_GET_XSAVE2, (unsigned long)image))
		fail(a, "KVM_GET_XSAVE2 failed");
	xfd_image_check((struct kvm_xsave *)image, xfd_model_get_xsave(&t->model, &t->rules),
			t->model.tilecfg);
}

static void check_all(struct attacker *a, struct target *t)
{
	check_msrs(a, t);
	get_image(a, t, a->image_after);
}

/*
 * What the attacker does.
 */

/* Any of the four states, or that of a guest that has no tiles at all. */
static struct xfd_model some_state(struct attacker *a)
{
	u64 tilecfg = !one_in(a, 8);

	return (struct xfd_model){
		.xfd = one_in(a, 2) ? XFD_TILEDATA : 0,
		.xfd_err = one_in(a, 4) ? XFD_TILEDATA : 0,
		.tilecfg = tilecfg,
		.tiles = tilecfg ? below(a, XFD_PATTERNS) : 0,
	};
}

static void op_run(struct attacker *a, struct target *t)
{
	struct xfd_model enter = some_state(a);

	run(a, t, &enter);
}

/* KVM_RUN that must not come as far as the guest. */
static void op_run_refused(struct attacker *a, struct target *t)
{
	struct kvm_run *r = t->vcpu->run;

	switch (below(a, 4)) {
	case 0:
		expect(a, t->vcpu->fd, KVM_RUN, (void *)(1 + below(a, 1000)), -EINVAL);
		break;
	case 1:
		r->immediate_exit = 1;
		expect(a, t->vcpu->fd, KVM_RUN, NULL, -EINTR);
		r->immediate_exit = 0;
		break;
	case 2:
		r->kvm_valid_regs = BIT_ULL(20 + below(a, 40));
		expect(a, t->vcpu->fd, KVM_RUN, NULL, -EINVAL);
		r->kvm_valid_regs = 0;
		break;
	case 3:
		r->kvm_dirty_regs = BIT_ULL(20 + below(a, 40));
		expect(a, t->vcpu->fd, KVM_RUN, NULL, -EINVAL);
		r->kvm_dirty_regs = 0;
		break;
	}
	check_all(a, t);
}

/* A value of XFD or of XFD_ERR; two in three are none. */
static u64 some_xfd(struct attacker *a)
{
	u64 value = one_in(a, 2) ? XFD_TILEDATA : 0;

	if (one_in(a, 3))
		return value;
	return one_in(a, 4) ? xfd_random(&a->random) | BIT(1) : value | BIT_ULL(below(a, 64));
}

static bool is_xfd(u64 value)
{
	return !(value & ~XFD_TILEDATA);
}

/* Stock dies of XFD over tiles that are in memory: see xfd_hole_set_msrs. */
static bool kills_stock(struct target *t, u64 xfd)
{
	return xfd_expect == XFD_STOCK && t->model.tiles && xfd == XFD_TILEDATA;
}

static void model_set_msr(struct target *t, u32 index, u64 value)
{
	if (index == MSR_IA32_XFD)
		xfd_model_set_xfd(&t->model, &t->rules, value);
	else
		t->model.xfd_err = value;
}

/* Up to 8 of both MSRs: KVM takes those before the first that is none. */
static void op_set_msrs(struct attacker *a, struct target *t)
{
	int i, nr = 1 + (one_in(a, 2) ? below(a, 8) : 0), good = 0;
	struct kvm_msrs *msrs = buffer(a, sizeof(*msrs) + nr * sizeof(msrs->entries[0]));
	struct kvm_msr_entry *e;

	msrs->nmsrs = nr;
	for (i = 0; i < nr; i++) {
		e = &msrs->entries[i];
		e->index = one_in(a, 2) ? MSR_IA32_XFD : MSR_IA32_XFD_ERR;
		e->data = some_xfd(a);
		if (kills_stock(t, e->data))
			e->data = 0;
	}
	while (good < nr && is_xfd(msrs->entries[good].data))
		good++;
	if (expect(a, t->vcpu->fd, KVM_SET_MSRS, msrs, good)) {
		for (i = 0; i < good; i++)
			model_set_msr(t, msrs->entries[i].index, msrs->entries[i].data);
	}
	check_msrs(a, t);
}

static void op_one_reg(struct attacker *a, struct target *t)
{
	u32 index = one_in(a, 2) ? MSR_IA32_XFD : MSR_IA32_XFD_ERR;
	u64 *value = buffer(a, sizeof(*value));
	struct kvm_one_reg reg = {
		.id = KVM_X86_REG_MSR(index),
		.addr = (unsigned long)value,
	};

	*value = some_xfd(a);
	if (kills_stock(t, *value))
		*value = 0;
	if (expect(a, t->vcpu->fd, KVM_SET_ONE_REG, &reg, is_xfd(*value) ? 0 : -EINVAL) &&
	    is_xfd(*value))
		model_set_msr(t, index, *value);
	check_msrs(a, t);
	reg.addr++;
	expect(a, t->vcpu->fd, one_in(a, 2) ? KVM_SET_ONE_REG : KVM_GET_ONE_REG, &reg, -EFAULT);
	check_msrs(a, t);
}

static void op_msrs_refused(struct attacker *a, struct target *t)
{
	struct kvm_msrs *msrs = buffer(a, sizeof(*msrs));

	msrs->nmsrs = MAX_MSRS + (one_in(a, 2) ? below(a, 1000) : 0);
	if (one_in(a, 4))
		msrs->nmsrs = -1;
	expect(a, t->vcpu->fd, one_in(a, 2) ? KVM_SET_MSRS : KVM_GET_MSRS, msrs, -E2BIG);
	check_msrs(a, t);
}

/* As xfd_state_test has it, of one vCPU in all its life. */
static u32 mxcsr_mask(void)
{
	static u32 mask;
	u8 area[512] __aligned(16);

	if (!mask) {
		memset(area, 0, sizeof(area));
		asm volatile("fxsave %0" : "+m"(area));
		mask = *(u32 *)&area[28] ?: 0xffbf;
	}
	return mask;
}

/* What KVM must refuse in an image; false if this is nothing. */
static bool spoil(struct attacker *a, struct kvm_xsave *image)
{
	struct xstate_header *header = xfd_image_header(image);
	u64 bit = BIT_ULL(below(a, 64));

	switch (below(a, 4)) {
	case 0:
		header->xstate_bv |= bit;
		return bit & ~kvm_cpu_supported_xcr0();
	case 1:
		header->xcomp_bv |= bit;
		return true;
	case 2:
		header->reserved[below(a, ARRAY_SIZE(header->reserved))] |= bit;
		return true;
	default:
		header->xstate_bv |= XFEATURE_MASK_SSE;
		*xfd_image_mxcsr(image) |= BIT(below(a, 32));
		return *xfd_image_mxcsr(image) & ~mxcsr_mask();
	}
}

/*
 * An image with any tiles, dormant ones included; or one that KVM must refuse, which leaves
 * all as it was.
 */
static void op_set_xsave(struct attacker *a, struct target *t)
{
	u64 tilecfg = !one_in(a, 8), tiles = below(a, XFD_PATTERNS);
	struct kvm_xsave *image;
	bool bad = false;

	get_image(a, t, a->image);
	image = buffer(a, t->image_size);
	memcpy(image, a->image, t->image_size);
	xfd_image_put_tiles(image, tiles, tilecfg);
	if (!one_in(a, 3))
		bad = spoil(a, image);
	/* A bit that is none too many may be one of the tiles'. */
	if (!bad)
		xfd_image_put_tiles(image, tiles, tilecfg);

	if (expect(a, t->vcpu->fd, KVM_SET_XSAVE, image, bad ? -EINVAL : 0) && !bad) {
		xfd_model_set_xsave(&t->model, &t->rules, tiles, tilecfg);
		check_all(a, t);
		return;
	}
	check_all(a, t);
	if (!xfd_same(a->image, a->image_after, t->image_size))
		fail(a, "KVM_SET_XSAVE failed, and changed something");
}

static void op_get_xsave(struct attacker *a, struct target *t)
{
	void *image = buffer(a, t->image_size);

	if (one_in(a, 4)) {
		/* It has no room for tiles. */
		expect(a, t->vcpu->fd, KVM_GET_XSAVE, image, -EINVAL);
		return;
	}
	if (expect(a, t->vcpu->fd, KVM_GET_XSAVE2, image, 0))
		xfd_image_check(image, xfd_model_get_xsave(&t->model, &t->rules),
				t->model.tilecfg);
	check_msrs(a, t);
}

/* The same again; another one, or none, which KVM takes until the guest has run. */
static void op_set_cpuid(struct attacker *a, struct target *t)
{
	struct kvm_cpuid2 *cpuid = buffer(a, cpuid_size(t->cpuid));
	struct kvm_cpuid_entry2 *e;

	memcpy(cpuid, t->cpuid, cpuid_size(t->cpuid));
	switch (below(a, 4)) {
	case 0:
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, 0);
		break;
	case 1:
		cpuid->nent = MAX_CPUID + 1 + below(a, 1000);
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, -E2BIG);
		break;
	case 2:
		if (!t->has_run)
			break;
		e = &cpuid->entries[below(a, cpuid->nent)];
		(&e->eax)[below(a, 4)] ^= BIT(below(a, 32));
		/* KVM's own bits, of the state of the vCPU: it puts them right. */
		if (e->function == 1 || e->function == 7 || e->function == 0xd ||
		    e->function >> 28 == 4)
			break;
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, -EINVAL);
		break;
	case 3:
		if (!t->has_run)
			break;
		cpuid->nent = below(a, cpuid->nent);
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, -EINVAL);
		break;
	}
	check_all(a, t);
}

static void op_enable_cap(struct attacker *a, struct target *t)
{
	struct kvm_enable_cap *cap = buffer(a, sizeof(*cap));
	bool bad;

	cap->cap = KVM_CAP_X86_XFD_XSTATE;
	if (one_in(a, 3))
		cap->flags = one_in(a, 2) ? 1 : xfd_random(&a->random);
	if (one_in(a, 3))
		cap->args[0] = one_in(a, 2) ? 1 : xfd_random(&a->random);
	/* Not every time, or all but the beginning would be with it. */
	if (!cap->flags && !cap->args[0] && !one_in(a, 4))
		cap->args[0] = 1;
	bad = cap->flags || cap->args[0] || !t->rules.attached;
	if (one_in(a, 4)) {
		expect(a, t->vcpu->fd, KVM_ENABLE_CAP, cap, -EINVAL);
		check_all(a, t);
		return;
	}
	if (expect(a, t->vm->fd, KVM_ENABLE_CAP, cap, bad ? -EINVAL : 0) && !bad)
		t->rules.xstate = true;
	expect(a, t->vm->fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_XFD_XSTATE,
	       t->rules.attached);
	check_all(a, t);
}

/* All that is copied before it is looked at, half of it in a page that is not there. */
static void op_fault(struct attacker *a, struct target *t)
{
	static const struct {
		unsigned long cmd;
		size_t size;
	} cmds[] = {
		{ KVM_SET_XSAVE, 0 }, { KVM_GET_XSAVE2, 0 },
		{ KVM_SET_MSRS, sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry) },
		{ KVM_GET_MSRS, sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry) },
		{ KVM_SET_CPUID2, sizeof(struct kvm_cpuid2) + sizeof(struct kvm_cpuid_entry2) },
		{ KVM_SET_XCRS, sizeof(struct kvm_xcrs) },
		{ KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs) },
		{ KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events) },
		{ KVM_SET_MP_STATE, sizeof(struct kvm_mp_state) },
		{ KVM_SET_SREGS, sizeof(struct kvm_sregs) },
		{ KVM_SET_REGS, sizeof(struct kvm_regs) },
		{ KVM_SET_FPU, sizeof(struct kvm_fpu) },
		{ KVM_ENABLE_CAP, sizeof(struct kvm_enable_cap) },
		{ KVM_SET_ONE_REG, sizeof(struct kvm_one_reg) },
	};
	int i = below(a, ARRAY_SIZE(cmds));
	unsigned long cmd = cmds[i].cmd;
	size_t size = cmds[i].size ?: t->image_size;
	u8 *ptr = buffer(a, size);

	switch (cmd) {
	case KVM_SET_XSAVE:
		get_image(a, t, a->image);
		memcpy(ptr, a->image, size);
		xfd_image_put_tiles((struct kvm_xsave *)ptr, 1 + below(a, 2), 1);
		break;
	case KVM_SET_MSRS:
	case KVM_GET_MSRS:
		((struct kvm_msrs *)ptr)->nmsrs = 1;
		((struct kvm_msrs *)ptr)->entries[0].index = MSR_IA32_XFD;
		break;
	case KVM_SET_CPUID2:
		((struct kvm_cpuid2 *)ptr)->nent = 1;
		break;
	}
	expect(a, cmd == KVM_ENABLE_CAP ? t->vm->fd : t->vcpu->fd, cmd, cut_short(a, ptr), -EFAULT);
	check_all(a, t);
}

/* State that has nothing to do with XFD, and that KVM refuses. */
static void op_refused(struct attacker *a, struct target *t)
{
	union {
		struct kvm_xcrs xcrs;
		struct kvm_vcpu_events events;
		struct kvm_debugregs debugregs;
		struct kvm_mp_state mp_state;
		struct kvm_sregs sregs;
		struct kvm_nested_state nested;
		struct kvm_signal_mask mask;
	} *u = buffer(a, sizeof(*u));
	unsigned long cmd = 0;
	long want = -EINVAL;

	switch (below(a, 8)) {
	case 0:
		cmd = KVM_SET_XCRS;
		u->xcrs.nr_xcrs = 1;
		/* Tiles without x87, or half of the tiles. */
		u->xcrs.xcrs[0].value = one_in(a, 2) ? XFEATURE_MASK_XTILE :
				XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_XTILE_DATA;
		break;
	case 1:
		cmd = KVM_SET_XCRS;
		u->xcrs.nr_xcrs = KVM_MAX_XCRS + 1 + below(a, 1000);
		break;
	case 2:
		cmd = KVM_SET_VCPU_EVENTS;
		u->events.flags = BIT(16 + below(a, 16));
		break;
	case 3:
		cmd = KVM_SET_DEBUGREGS;
		u->debugregs.flags = 1 + below(a, 1000);
		break;
	case 4:
		cmd = KVM_SET_MP_STATE;
		u->mp_state.mp_state = 1000 + below(a, 1000);
		break;
	case 5:
		cmd = KVM_SET_SREGS;
		u->sregs = t->sregs;
		u->sregs.cr4 |= BIT_ULL(40 + below(a, 20));
		break;
	case 6:
		cmd = KVM_SET_SIGNAL_MASK;
		u->mask.len = 9 + below(a, 1000);
		break;
	case 7:
		cmd = _IOW(KVMIO, 0xff, u64);
		break;
	}
	expect(a, t->vcpu->fd, cmd, u, want);
	check_all(a, t);
}

/*
 * The module.  While an attached VM is there, it stays.  With --expect=unattached the attacker
 * itself loads and unloads it, and the VMs that he creates are what they are by that.
 */
static struct {
	bool loaded;
	/* VMs that hold it. */
	int held;
} module_state;

static bool with_faults(struct attacker *a, int ret, bool failed)
{
	errno = -ret;
	count(a, ret < 0 ? -1 : 0);
	a->tally.faults += failed;
	if (!failed || ret >= 0)
		return false;
	a->tally.failed++;
	return true;
}

static void op_module(struct attacker *a, struct target *t)
{
	char params[64], text[128];
	bool failed = false;
	int got, want;

	if (xfd_expect == XFD_STOCK)
		return;
	if (one_in(a, 2)) {
		want = !module_state.loaded ? -ENOENT : module_state.held ? -EWOULDBLOCK : 0;
		if (a->inject)
			xfd_fault_arm(XFD_FAULT_ALL, 1 + below(a, 4));
		got = xfd_module_unload(XFD_MODULE);
		if (a->inject)
			failed = xfd_fault_disarm(XFD_FAULT_ALL);
		if (!got)
			module_state.loaded = false;
	} else {
		bool bad = one_in(a, 2);

		/* The kernel looks for the name first. */
		want = module_state.loaded ? -EEXIST : bad ? -EINVAL : 0;
		snprintf(params, sizeof(params), "strategy=%s",
			 bad ? "none" : strategies[below(a, nr_strategies)]);
		/* Not too often where it succeeds: it waits for grace periods. */
		if (!want && !one_in(a, 2))
			return;
		if (a->inject)
			xfd_fault_arm(XFD_FAULT_ALL, 1 + below(a, 200));
		got = xfd_module_load(module, params);
		if (a->inject)
			failed = xfd_fault_disarm(XFD_FAULT_ALL);
		if (!got)
			module_state.loaded = true;
	}
	/* Under memory that fails, the loader's own errnos are many. */
	if (with_faults(a, got, failed) || got == want)
		return;
	snprintf(text, sizeof(text), "returns %d (%s), must return %d (%s)", got, strerror(-got),
		 want, strerror(-want));
	fail(a, text);
}

/* Who holds the module is known at any time, except for VMs that RCU still has to free. */
static void check_holders(struct attacker *a)
{
	long refs = xfd_module_refs(XFD_MODULE);
	char text[64];

	if (refs == (module_state.loaded ? module_state.held : -1))
		return;
	snprintf(text, sizeof(text), "%ld hold the module, not %d", refs,
		 module_state.loaded ? module_state.held : -1);
	fail(a, text);
}

/* The VMs of a program that closes everything in any order, and creates what it must not. */
static void op_fresh_vm(struct attacker *a, struct target *t)
{
	bool protected = one_in(a, 4), bad = one_in(a, 4), first;
	unsigned long type = bad ? 1000 + below(a, 1000) : protected ? KVM_X86_SW_PROTECTED_VM :
						KVM_X86_DEFAULT_VM;
	bool attached = module_state.loaded && !protected;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_XFD_XSTATE };
	int kvm = open(KVM_DEV_PATH, O_RDWR | O_CLOEXEC);
	long vm, vcpu = -1, got;

	TEST_ASSERT(kvm >= 0, "cannot open " KVM_DEV_PATH);
	if (!__expect(a, kvm, KVM_CREATE_VM, type, bad ? -EINVAL : SOME_FD, &vm) || bad) {
		close(kvm);
		check_holders(a);
		return;
	}
	close(kvm);
	module_state.held += attached;
	expect(a, vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_XFD_XSTATE, attached);
	check_holders(a);
	if (one_in(a, 2))
		expect(a, vm, KVM_ENABLE_CAP, &cap, attached ? 0 : -EINVAL);
	if (one_in(a, 2))
		expect(a, vm, KVM_CREATE_IRQCHIP, NULL, 0);
	if (one_in(a, 4))
		__expect(a, vm, KVM_CREATE_VCPU, UINT_MAX - below(a, 1000), -EINVAL, &got);
	if (__expect(a, vm, KVM_CREATE_VCPU, 0, SOME_FD, &vcpu)) {
		a->inject &= one_in(a, 2);
		__expect(a, vm, KVM_CREATE_VCPU, 0, -EEXIST, &got);
		expect(a, vcpu, KVM_SET_CPUID2, t->cpuid, 0);
	} else {
		vcpu = -1;
	}
	first = one_in(a, 2);
	close(first ? vm : vcpu);
	if (first && vcpu >= 0) {
		check_holders(a);
		expect(a, vcpu, KVM_ENABLE_CAP, &cap, -EINVAL);
	}
	close(first ? vcpu : vm);
	module_state.held -= attached;
	check_holders(a);
}

/* A vCPU more, which nobody runs: before its CPUID it has neither XFD nor tiles. */
static void op_fresh_vcpu(struct attacker *a, struct target *t)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry.index = MSR_IA32_XFD };
	struct kvm_xsave *image;
	long vcpu;

	if (t->next_vcpu_id > 8)
		return;
	if (!__expect(a, t->vm->fd, KVM_CREATE_VCPU, t->next_vcpu_id, SOME_FD, &vcpu))
		return;
	t->next_vcpu_id++;
	expect(a, vcpu, KVM_SET_MSRS, &msrs, 1);
	msrs.entry.data = XFD_TILEDATA;
	expect(a, vcpu, KVM_SET_MSRS, &msrs, 0);
	get_image(a, t, a->image);
	image = buffer(a, t->image_size);
	memcpy(image, a->image, t->image_size);
	xfd_image_put_tiles(image, 1, 1);
	expect(a, vcpu, KVM_SET_XSAVE, image, -EINVAL);
	if (expect(a, vcpu, KVM_SET_CPUID2, t->cpuid, 0)) {
		expect(a, vcpu, KVM_SET_XSAVE, image, 0);
		/* That would be to kill stock. */
		if (xfd_expect != XFD_STOCK)
			expect(a, vcpu, KVM_SET_MSRS, &msrs, 1);
		expect(a, vcpu, KVM_GET_XSAVE2, image, 0);
	}
	close(vcpu);
	check_all(a, t);
}

static void op_permission(struct attacker *a, struct target *t)
{
	bool guest = one_in(a, 2), have = one_in(a, 2);
	unsigned long component = have ? ilog2(XFD_TILEDATA) : 64 + below(a, 1000);
	long ret, want = have ? 0 : -EINVAL;

	ret = count(a, syscall(SYS_arch_prctl,
			       guest ? ARCH_REQ_XCOMP_GUEST_PERM : ARCH_REQ_XCOMP_PERM, component));
	if (ret != want)
		fail(a, "arch_prctl() is wrong about a component");
}

static const struct op {
	const char *name;
	int weight;
	void (*fn)(struct attacker *a, struct target *t);
} ops[] = {
	{ "run",		16,	op_run },
	{ "run, refused",	4,	op_run_refused },
	{ "KVM_SET_MSRS",	12,	op_set_msrs },
	{ "KVM_SET_ONE_REG",	6,	op_one_reg },
	{ "KVM_SET_MSRS, refused", 2,	op_msrs_refused },
	{ "KVM_SET_XSAVE",	20,	op_set_xsave },
	{ "KVM_GET_XSAVE2",	6,	op_get_xsave },
	{ "KVM_SET_CPUID2",	4,	op_set_cpuid },
	{ "KVM_ENABLE_CAP",	6,	op_enable_cap },
	{ "a page that is not there", 10, op_fault },
	{ "other state",	6,	op_refused },
	{ "the module",		2,	op_module },
	{ "another VM",		3,	op_fresh_vm },
	{ "another vCPU",	3,	op_fresh_vcpu },
	{ "arch_prctl()",	2,	op_permission },
};

static const struct op *some_op(struct attacker *a)
{
	int i, sum = 0, n;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	n = below(a, sum);
	for (i = 0; n >= ops[i].weight; i++)
		n -= ops[i].weight;
	return &ops[i];
}

/*
 * The others.
 */

/* They are to be there at any time, but not to take the attacker's. */
#define BREAK_US	20000

struct others {
	struct target victim;
	struct attacker observer;
	pthread_t victim_thread, task_thread;
	u64 victim_rounds, task_rounds;
	bool stop;
};

static void *victim_fn(void *arg)
{
	struct others *o = arg;
	struct xfd_model enter;

	while (!READ_ONCE(o->stop)) {
		o->observer.step++;
		enter = some_state(&o->observer);
		run(&o->observer, &o->victim, &enter);
		check_msrs(&o->observer, &o->victim);
		o->victim_rounds++;
		usleep(BREAK_US);
	}
	return NULL;
}

static void *task_fn(void *arg)
{
	struct xfd_tiles *tiles = xfd_tiles_alloc();
	struct others *o = arg;

	while (!READ_ONCE(o->stop)) {
		xfd_tiles_fill(tiles, o->task_rounds);
		xfd_tiles_use(tiles);
		usleep(BREAK_US);
		TEST_ASSERT(!xfd_tiles_lost(tiles), "a task of the host's has lost tiles");
		o->task_rounds++;
	}
	xfd_tilerelease();
	free(tiles);
	return NULL;
}

static void others_begin(struct others *o)
{
	memset(o, 0, sizeof(*o));
	o->observer.op = "the victim";
	attacker_seed(&o->observer, first_seed);
	target_create(&o->victim, guest_code);
	module_state.loaded = xfd_module_refs(XFD_MODULE) >= 0;
	module_state.held = o->victim.rules.attached;
	TEST_ASSERT(!pthread_create(&o->victim_thread, NULL, victim_fn, o), "pthread_create()");
	TEST_ASSERT(!pthread_create(&o->task_thread, NULL, task_fn, o), "pthread_create()");
}

static void others_end(struct others *o)
{
	WRITE_ONCE(o->stop, true);
	pthread_join(o->victim_thread, NULL);
	pthread_join(o->task_thread, NULL);
	ksft_print_msg("beside it: %lu rounds of the victim, %lu of the task\n", o->victim_rounds,
		       o->task_rounds);
	TEST_ASSERT(o->victim_rounds && o->task_rounds, "nobody was beside it");
	target_free(&o->victim);
}

/* As the lab reads it. */
static void report(const struct tally *tally, u64 seeds)
{
	int i;

	ksft_print_msg("hostile: seeds %lu\n", seeds);
	ksft_print_msg("hostile: ioctls %lu\n", tally->ioctls);
	for (i = 0; i < MAX_ERRNO_SEEN; i++) {
		if (tally->by_errno[i])
			ksft_print_msg("hostile: errno %s %lu\n", i ? strerrorname_np(i) : "0",
				       tally->by_errno[i]);
	}
	ksft_print_msg("hostile: faults %lu\n", tally->faults);
	ksft_print_msg("hostile: failed_by_fault %lu\n", tally->failed);
}

static bool more(u64 seed, u64 ioctls, u64 wanted)
{
	return last_seed ? seed <= last_seed : ioctls < wanted;
}

XFD_FIXTURE_EMPTY(hostile);

TEST_F_TIMEOUT(hostile, alone, TIMEOUT)
{
	/* Of four ioctls three are of this test. */
	const u64 wanted = wanted_ioctls - wanted_ioctls / 4;
	bool faults = xfd_fault_available();
	struct attacker a = {};
	const struct op *op;
	struct others o;
	struct target t;
	u64 seed;

	others_begin(&o);
	attacker_init(&a);
	for (seed = first_seed; more(seed, a.tally.ioctls, wanted); seed++) {
		attacker_seed(&a, seed);
		if (seed == first_seed || seed % SEEDS_PER_VM == 0)
			target_create(&t, guest_code);
		else
			target_recreate(&t);
		a.op = "a new VM";
		if (t.rules.attached != module_state.loaded)
			fail(&a, "whether it is attached is not as the module is loaded");
		module_state.held += t.rules.attached;
		for (a.step = 0; a.step < STEPS_PER_SEED; a.step++) {
			op = some_op(&a);
			a.op = op->name;
			a.inject = faults && one_in(&a, 3);
			op->fn(&a, &t);
		}
		a.inject = false;
		a.op = "the end";
		run(&a, &t, &(struct xfd_model){});
		module_state.held -= t.rules.attached;
		if ((seed + 1) % SEEDS_PER_VM == 0 || !more(seed + 1, a.tally.ioctls, wanted))
			target_free(&t);
		else
			kvm_vm_release(t.vm);
		check_holders(&a);
	}
	if (xfd_expect == XFD_UNATTACHED && module_state.loaded)
		xfd_strategy_unload();
	others_end(&o);
	report(&a.tally, seed - first_seed);
	attacker_free(&a);
}

/*
 * Two threads on one vCPU.  KVM lets one ioctl of a vCPU wait for the other, so that what is
 * wrong stays wrong, whoever comes first.
 */
struct race {
	struct target *t;
	/* An image that is good, but for its tiles, which are any. */
	u8 *image;
	pthread_t threads[2];
	pthread_barrier_t end;
	int steps;
	/* Not both: a copy that fails is fatal where it is of a signal's frame. */
	bool faults, signals;
};

struct racer {
	struct attacker a;
	struct race *race;
	int nr;
};

static void nothing(int signal)
{
}

static void race_msrs(struct attacker *a, struct target *t)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = {
		.header.nmsrs = 1,
		.entry.index = one_in(a, 2) ? MSR_IA32_XFD : MSR_IA32_XFD_ERR,
		.entry.data = some_xfd(a),
	};

	if (xfd_expect == XFD_STOCK && msrs.entry.index == MSR_IA32_XFD)
		msrs.entry.data = 0;
	expect(a, t->vcpu->fd, KVM_SET_MSRS, &msrs, is_xfd(msrs.entry.data));
	if (expect(a, t->vcpu->fd, KVM_GET_MSRS, &msrs, 1) && !is_xfd(msrs.entry.data))
		fail(a, "KVM_GET_MSRS returns what is no value of this MSR");
}

static void race_xsave(struct attacker *a, struct race *r)
{
	struct kvm_xsave *image = buffer(a, r->t->image_size);
	bool bad;

	memcpy(image, r->image, r->t->image_size);
	bad = one_in(a, 2) && spoil(a, image);
	if (!bad)
		xfd_image_put_tiles(image, below(a, XFD_PATTERNS), 1);
	if (one_in(a, 4))
		expect(a, r->t->vcpu->fd, KVM_SET_XSAVE, cut_short(a, image), -EFAULT);
	else
		expect(a, r->t->vcpu->fd, KVM_SET_XSAVE, image, bad ? -EINVAL : 0);
}

static void race_run(struct attacker *a, struct target *t)
{
	long got;

	/* The other thread's next, maybe. */
	WRITE_ONCE(t->vcpu->run->immediate_exit, one_in(a, 4));
	got = call(a, t->vcpu->fd, KVM_RUN, 0);
	if (got && got != -EINTR)
		fail(a, strerror(-got));
}

static void race_cpuid(struct attacker *a, struct target *t)
{
	struct kvm_cpuid2 *cpuid = buffer(a, cpuid_size(t->cpuid));

	memcpy(cpuid, t->cpuid, cpuid_size(t->cpuid));
	if (one_in(a, 2)) {
		expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, 0);
		return;
	}
	cpuid->nent = below(a, cpuid->nent);
	expect(a, t->vcpu->fd, KVM_SET_CPUID2, cpuid, -EINVAL);
}

static void race_cap(struct attacker *a, struct target *t)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_XFD_XSTATE,
		.args[0] = one_in(a, 2),
	};

	expect(a, t->vm->fd, KVM_ENABLE_CAP, &cap,
	       t->rules.attached && !cap.args[0] ? 0 : -EINVAL);
}

static void race_step(struct racer *racer)
{
	struct attacker *a = &racer->a;
	struct race *r = racer->race;
	struct target *t = r->t;
	long got;

	a->op = "race";
	switch (below(a, 12)) {
	case 0 ... 3:
		race_run(a, t);
		break;
	case 4 ... 5:
		race_msrs(a, t);
		break;
	case 6 ... 7:
		race_xsave(a, r);
		break;
	case 8:
		expect(a, t->vcpu->fd, KVM_GET_XSAVE2, buffer(a, t->image_size), 0);
		break;
	case 9:
		race_cpuid(a, t);
		break;
	case 10:
		race_cap(a, t);
		__expect(a, t->vm->fd, KVM_CREATE_VCPU, 0, -EEXIST, &got);
		break;
	case 11:
		if (r->signals)
			pthread_kill(r->threads[!racer->nr], SIGUSR1);
		break;
	}
}

static void *race_fn(void *arg)
{
	struct racer *racer = arg;
	struct attacker *a = &racer->a;
	struct race *r = racer->race;

	attacker_init(a);
	for (a->step = 0; a->step < r->steps; a->step++) {
		a->inject = r->faults && one_in(a, 4);
		race_step(racer);
	}
	attacker_free(a);
	/* Until then either may signal the other. */
	pthread_barrier_wait(&r->end);
	return NULL;
}

/* KVM_RUN, with a guest that stays in there while its VMM closes all that it has. */
static void *closed_fn(void *arg)
{
	struct racer *racer = arg;

	racer->a.op = "closed while it runs";
	if (call(&racer->a, racer->race->t->vcpu->fd, KVM_RUN, 0))
		fail(&racer->a, "KVM_RUN failed");
	return NULL;
}

static void leave_race(struct attacker *a, struct target *t)
{
	struct kvm_run *r = t->vcpu->run;

	r->immediate_exit = 0;
	if (call(a, t->vcpu->fd, KVM_RUN, 0))
		fail(a, "KVM_RUN fails after the race");
	if (r->exit_reason != KVM_EXIT_IO || r->io.port != PORT)
		fail(a, "the guest does not leave by its port any more");
}

static void close_under_run(struct race *r, struct racer *racer)
{
	struct target *t = r->t;
	u64 rounds;

	t->order->spin = 1;
	rounds = READ_ONCE(t->order->rounds);
	TEST_ASSERT(!pthread_create(&r->threads[0], NULL, closed_fn, racer), "pthread_create()");
	while (READ_ONCE(t->order->rounds) < rounds + 3)
		usleep(100);
	kvm_vm_release(t->vm);
	rounds = READ_ONCE(t->order->rounds);
	while (READ_ONCE(t->order->rounds) < rounds + 3)
		usleep(100);
	if (t->rules.attached)
		check_holders(&racer->a);
	WRITE_ONCE(t->order->spin, 0);
	pthread_join(r->threads[0], NULL);
}

static void tally_add(struct tally *to, const struct tally *from)
{
	int i;

	to->ioctls += from->ioctls;
	to->faults += from->faults;
	to->failed += from->failed;
	for (i = 0; i < MAX_ERRNO_SEEN; i++)
		to->by_errno[i] += from->by_errno[i];
}

TEST_F_TIMEOUT(hostile, race, TIMEOUT)
{
	const u64 wanted = wanted_ioctls / 4;
	struct racer racers[2];
	struct tally sum = {};
	struct attacker a = {};
	struct others o;
	struct target t;
	struct race r = { .t = &t, .steps = STEPS_PER_SEED };
	u64 seed;
	int i;

	signal(SIGUSR1, nothing);
	others_begin(&o);
	attacker_init(&a);
	pthread_barrier_init(&r.end, NULL, 2);
	target_create(&t, guest_race);
	r.image = calloc(1, t.image_size);
	TEST_ASSERT(r.image, "out of memory");
	for (seed = first_seed; more(seed, sum.ioctls, wanted); seed++) {
		attacker_seed(&a, seed);
		a.op = "race";
		module_state.held += t.rules.attached;
		r.faults = xfd_fault_available() && seed % 2;
		r.signals = !r.faults;
		t.order->spin = 0;
		vcpu_run(t.vcpu);
		if (call(&a, t.vcpu->fd, KVM_GET_XSAVE2, (unsigned long)r.image))
			fail(&a, "KVM_GET_XSAVE2 failed");
		for (i = 0; i < 2; i++) {
			memset(&racers[i], 0, sizeof(racers[i]));
			racers[i].race = &r;
			racers[i].nr = i;
			attacker_seed(&racers[i].a, seed);
			racers[i].a.random.state += i * 0x5851f42d4c957f2dull;
			/* Until the second one is there, the first disturbs itself. */
			r.threads[1] = pthread_self();
			TEST_ASSERT(!pthread_create(&r.threads[i], NULL, race_fn, &racers[i]),
				    "pthread_create()");
		}
		for (i = 0; i < 2; i++)
			pthread_join(r.threads[i], NULL);
		leave_race(&a, &t);
		close_under_run(&r, &racers[0]);
		module_state.held -= t.rules.attached;
		check_holders(&a);
		for (i = 0; i < 2; i++)
			tally_add(&sum, &racers[i].a.tally);
		target_recreate(&t);
	}
	tally_add(&sum, &a.tally);
	target_free(&t);
	free(r.image);
	others_end(&o);
	report(&sum, seed - first_seed);
	attacker_free(&a);
}

/*
 * A process without KVM's permission, as a child of main()'s has none yet: the first vCPU
 * decides, and what comes after it is too late.
 */
static bool permission_ok;

static bool fails_with(long ret, int error)
{
	return ret == -1 && errno == error;
}

/* What is wrong, or NULL. */
static const char *permission_child(void)
{
	struct {
		struct kvm_cpuid2 header;
		struct kvm_cpuid_entry2 entry;
	} cpuid = {
		.header.nent = 1,
		.entry.function = 0xd,
		.entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.entry.eax = XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_XTILE,
	};
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = { .header.nmsrs = 1, .entry.index = MSR_IA32_XFD, .entry.data = XFD_TILEDATA };
	struct kvm_xsave image = {};
	int kvm = open(KVM_DEV_PATH, O_RDWR | O_CLOEXEC), vm, vcpu, i;

	/* A VM alone decides nothing. */
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return "KVM_CREATE_VCPU";
	for (i = 0; i < 100; i++) {
		if (!fails_with(syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM,
					ilog2(XFD_TILEDATA)), EBUSY))
			return "permission comes too late, which must be EBUSY";
		if (!fails_with(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), EPERM))
			return "KVM_SET_CPUID2 with tiles must be EPERM";
		if (ioctl(vcpu, KVM_SET_MSRS, &msrs))
			return "KVM_SET_MSRS sets XFD";
		xfd_image_header(&image)->xstate_bv = XFEATURE_MASK_XTILE;
		if (!fails_with(ioctl(vcpu, KVM_SET_XSAVE, &image), EINVAL))
			return "KVM_SET_XSAVE with tiles must be EINVAL";
		xfd_image_header(&image)->xstate_bv = 0;
		if (ioctl(vcpu, KVM_SET_XSAVE, &image))
			return "KVM_SET_XSAVE";
	}
	return NULL;
}

static void permission_try(void)
{
	const char *wrong;
	int status;
	pid_t pid;

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		wrong = permission_child();
		if (wrong)
			ksft_print_msg("permission: %s (%s)\n", wrong, strerror(errno));
		fflush(stdout);
		_exit(!!wrong);
	}
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid()");
	permission_ok = !status;
}

TEST_F_TIMEOUT(hostile, permission, TIMEOUT)
{
	TEST_ASSERT(permission_ok, "see above");
}

/*
 * What has been leaked since the kernel has booted.
 */
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"

static bool has_kmemleak(void)
{
	int fd = open(KMEMLEAK, O_WRONLY | O_CLOEXEC);
	bool has = fd >= 0 && write(fd, "scan=off", 8) == 8;

	if (fd >= 0)
		close(fd);
	return has;
}

TEST_F_TIMEOUT(hostile, leaks, TIMEOUT)
{
	char line[512];
	int leaks = 0;
	FILE *f;

	/*
	 * kmemleak takes what is younger than 5 seconds for something on its way, and so what
	 * has changed since the last scan.
	 */
	sleep(6);
	xfd_write_to(KMEMLEAK, "scan");
	xfd_write_to(KMEMLEAK, "scan");
	f = fopen(KMEMLEAK, "r");
	TEST_ASSERT(f, "cannot open " KMEMLEAK);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		ksft_print_msg("%s\n", line);
		leaks += !strncmp(line, "unreferenced object", 19);
	}
	fclose(f);
	ksft_print_msg("hostile: leaks %d\n", leaks);
	TEST_ASSERT(!leaks, "%d leaks", leaks);
}

enum { IOCTLS, SEEDS, FIRST, MODULE };

static struct xfd_option options[] = {
	[IOCTLS] = { "ioctls", "N", "seeds until there have been so many (default: 2000)" },
	[SEEDS] = { "seeds", "FIRST-LAST", "these seeds instead" },
	[FIRST] = { "first", "SEED", "the seed to begin with (default: 1)" },
	[MODULE] = { "module", "PATH", "default: " XFD_MODULE_PATH },
	{}
};

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	if (options[IOCTLS].value)
		wanted_ioctls = atoi_positive("--ioctls", options[IOCTLS].value);
	if (options[FIRST].value)
		first_seed = atoi_positive("--first", options[FIRST].value);
	if (options[SEEDS].value &&
	    (sscanf(options[SEEDS].value, "%lu-%lu", &first_seed, &last_seed) != 2 ||
	     !first_seed || last_seed < first_seed))
		ksft_exit_fail_msg("--seeds=%s: not FIRST-LAST\n", options[SEEDS].value);
	if (options[MODULE].value)
		module = options[MODULE].value;
	permission_try();
	xfd_require_amx();
	if (!has_kmemleak())
		xfd_leave_out("-T", "leaks");
	if (xfd_expect != XFD_STOCK)
		nr_strategies = xfd_strategies(module, strategies);
	return xfd_run_tests(argc, argv);
}
