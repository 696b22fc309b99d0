// SPDX-License-Identifier: GPL-2.0
/*
 * Whatever userspace and the guest do to XFD, XFD_ERR and tiles, in whatever
 * order: no host #NM and no warning, and all that either sees is what the model in
 * lib/model.h says.  CVE-2026-23005 and the oops of xfd_hole_set_msrs are of this
 * class.
 *
 * The operations are KVM_SET_MSRS, KVM_SET_XSAVE with several images, good and
 * bad, KVM_GET_XSAVE2, and runs of the guest that do one thing each.  Tests:
 *
 *	all	each sequence of three of them, by one walk that has them all in
 *			it (a de Bruijn sequence), so that each starts from whatever state
 *			those before it left; --length=4 for four, which takes its time
 *	random	random ones
 *	preempted	random ones, with a task that uses tiles on the same CPU
 *	fpu_<context>	random ones, with a kernel that uses the FPU meanwhile, in several
 *			contexts; see kmod/xfd_fpu_user.c
 *	fresh	short random ones, each on a vCPU of its own, as much depends on
 *			what is the first value of XFD other than 0
 *
 * and in attached VMs each again with KVM_CAP_X86_XFD_XSTATE.
 * On stock KVM_SET_MSRS of XFD over tiles in use is left out, which kills Linux 7.3.4.
 */
#include <errno.h>
#include <time.h>

#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		600

/* Where the guest leaves for userspace; the library's own port is another. */
#define PORT		0x584

static int length = 3;
static u64 steps = 2000;
static u64 seed;

/*
 * The guest's runs first.
 */
enum op {
	/* Look at everything that needs no write; at everything. */
	LOOK, CHECK,
	WRITE_XFD_0, WRITE_XFD_1,
	/* By a #NM, if XFD and the configuration of the tiles allow for one. */
	GET_XFD_ERR_1, WRITE_XFD_ERR_0,
	/* Under whatever XFD: armed becomes dormant. */
	LOAD_TILES, RELEASE_TILES,
	NR_RUNS,

	SET_XFD_0 = NR_RUNS, SET_XFD_1,
	SET_XFD_ERR_0, SET_XFD_ERR_1,
	SET_XSAVE_TILES, SET_XSAVE_NO_TILES, SET_XSAVE_BAD,
	GET_XSAVE,
	NR_OPS,
};

static const char * const op_names[] = {
	"look", "check", "write_xfd_0", "write_xfd_1", "get_xfd_err_1", "write_xfd_err_0",
	"load_tiles", "release_tiles", "SET_XFD_0", "SET_XFD_1", "SET_XFD_ERR_0",
	"SET_XFD_ERR_1", "SET_XSAVE_TILES", "SET_XSAVE_NO_TILES", "SET_XSAVE_BAD", "GET_XSAVE",
};

/* What the guest is to do next, what it must find, and what it must then have. */
static struct order {
	u64 op;
	struct xfd_model before;
	struct xfd_model after;
	/* Its tiles may go at any moment: don't look at them afterwards. */
	u64 may_lose;
} order;

static void guest_do(const struct order *o)
{
	switch (o->op) {
	case CHECK:
		xfd_guest_check(&o->before);
		break;
	case WRITE_XFD_0:
		wrmsr(MSR_IA32_XFD, 0);
		break;
	case WRITE_XFD_1:
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		break;
	case GET_XFD_ERR_1:
		if (o->before.xfd && o->before.tilecfg)
			GUEST_ASSERT_EQ(xfd_tile_load_safe(xfd_patterns[1].want), NM_VECTOR);
		else
			wrmsr(MSR_IA32_XFD_ERR, XFD_TILEDATA);
		break;
	case WRITE_XFD_ERR_0:
		wrmsr(MSR_IA32_XFD_ERR, 0);
		break;
	case LOAD_TILES:
		if (o->before.xfd)
			wrmsr(MSR_IA32_XFD, 0);
		xfd_tiles_use(&xfd_patterns[o->after.tiles]);
		if (o->before.xfd)
			wrmsr(MSR_IA32_XFD, o->before.xfd);
		break;
	case RELEASE_TILES:
		xfd_tilerelease();
		break;
	}
}

static void guest_code(void)
{
	const struct order *o = &order;

	for (;;) {
		xfd_guest_look(&o->before);
		guest_do(o);
		if (!o->may_lose) {
			xfd_guest_look(&o->after);
			xfd_vmcall();
			xfd_guest_look(&o->after);
		}
		/* The images that userspace sets have someone else's registers. */
		asm volatile("outb %%al, %%dx" : : "a"(0), "d"(PORT)
			     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
			       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
			       "xmm13", "xmm14", "xmm15");
	}
}

/* A walk: one vCPU, and what has been done to it. */
struct walk {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct xfd_rules rules;
	struct xfd_model state;
	struct order *order;
	struct kvm_xsave *images[XFD_PATTERNS];
	struct kvm_xsave *image;
	/* The pattern that was loaded last. */
	u64 tiles;
	u64 bad;
	u64 left_out;
	u64 nr_done;
	u8 done[16];
};

static const struct walk *walking;

/* A failed assertion exits. */
static void say_how_it_came_to_that(void)
{
	const struct walk *w = walking;
	u64 i, n = min_t(u64, w->nr_done, ARRAY_SIZE(w->done));

	printf("# after %lu operations, the last of them:", w->nr_done);
	for (i = w->nr_done - n; i < w->nr_done; i++)
		printf(" %s", op_names[w->done[i % ARRAY_SIZE(w->done)]]);
	printf("\n");
}

static u64 next_tiles(struct walk *w)
{
	w->tiles = w->tiles == 1 ? 2 : 1;
	return w->tiles;
}

static void run_guest(struct walk *w, enum op op)
{
	struct order *o = w->order;

	o->op = op;
	o->before = w->state;
	switch (op) {
	case WRITE_XFD_0:
		w->state.xfd = 0;
		break;
	case WRITE_XFD_1:
		w->state.xfd = XFD_TILEDATA;
		break;
	case GET_XFD_ERR_1:
		w->state.xfd_err = XFD_TILEDATA;
		break;
	case WRITE_XFD_ERR_0:
		w->state.xfd_err = 0;
		break;
	case LOAD_TILES:
		w->state.tiles = next_tiles(w);
		w->state.tilecfg = 1;
		break;
	case RELEASE_TILES:
		w->state.tiles = 0;
		w->state.tilecfg = 0;
		break;
	default:
		break;
	}
	o->after = w->state;
	o->may_lose = w->state.xfd && w->state.tiles && !w->rules.attached;

	vcpu_run(w->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(w->vcpu, KVM_EXIT_IO);
	/* Else it ends the test. */
	if (w->vcpu->run->io.port != PORT)
		TEST_ASSERT_EQ(xfd_vcpu_says(w->vcpu), XFD_GUEST_SILENT);
	xfd_model_exit(&w->state, &w->rules);
}

static void set_msr(struct walk *w, u32 msr, u64 value)
{
	TEST_ASSERT_EQ(_vcpu_set_msr(w->vcpu, msr, value), 1);
	if (msr == MSR_IA32_XFD)
		xfd_model_set_xfd(&w->state, &w->rules, value);
	else
		w->state.xfd_err = value;
}

static void set_xsave(struct walk *w, u64 tiles)
{
	vcpu_xsave_set(w->vcpu, w->images[tiles]);
	xfd_model_set_xsave(&w->state, &w->rules, tiles, !!tiles);
}

/* With tiles that the vCPU does not have, and something that KVM must refuse. */
static void set_xsave_bad(struct walk *w)
{
	struct kvm_xsave *image = w->images[next_tiles(w)];
	struct xstate_header *header = xfd_image_header(image);
	u32 *mxcsr = xfd_image_mxcsr(image);
	struct xstate_header saved_header = *header;
	u32 saved_mxcsr = *mxcsr;

	switch (w->bad++ % 4) {
	case 0:
		header->xstate_bv |= BIT_ULL(62);
		break;
	case 1:
		header->xcomp_bv = XFD_TILEDATA;
		break;
	case 2:
		header->reserved[5] = BIT_ULL(63);
		break;
	case 3:
		*mxcsr = ~0u;
		break;
	}
	TEST_ASSERT(__vcpu_ioctl(w->vcpu, KVM_SET_XSAVE, image) == -1 && errno == EINVAL,
		    "KVM_SET_XSAVE took a bad image, or errno is %d", errno);
	*header = saved_header;
	*mxcsr = saved_mxcsr;
}

static void step(struct walk *w, enum op op)
{
	if (xfd_expect == XFD_STOCK && op == SET_XFD_1 && w->state.tiles) {
		w->left_out++;
		return;
	}

	w->done[w->nr_done++ % ARRAY_SIZE(w->done)] = op;
	switch (op) {
	case SET_XFD_0:
		set_msr(w, MSR_IA32_XFD, 0);
		break;
	case SET_XFD_1:
		set_msr(w, MSR_IA32_XFD, XFD_TILEDATA);
		break;
	case SET_XFD_ERR_0:
		set_msr(w, MSR_IA32_XFD_ERR, 0);
		break;
	case SET_XFD_ERR_1:
		set_msr(w, MSR_IA32_XFD_ERR, XFD_TILEDATA);
		break;
	case SET_XSAVE_TILES:
		set_xsave(w, next_tiles(w));
		break;
	case SET_XSAVE_NO_TILES:
		set_xsave(w, 0);
		break;
	case SET_XSAVE_BAD:
		set_xsave_bad(w);
		break;
	case GET_XSAVE:
		vcpu_xsave2_get(w->vcpu, w->image);
		xfd_image_check(w->image, xfd_model_get_xsave(&w->state, &w->rules),
				w->state.tilecfg);
		break;
	default:
		run_guest(w, op);
		break;
	}
	TEST_ASSERT_EQ(vcpu_get_msr(w->vcpu, MSR_IA32_XFD), w->state.xfd);
	TEST_ASSERT_EQ(vcpu_get_msr(w->vcpu, MSR_IA32_XFD_ERR), w->state.xfd_err);
}

static void walk_begin(struct walk *w, bool xstate)
{
	u64 i;

	memset(w, 0, sizeof(*w));
	w->vm = vm_create_with_one_vcpu(&w->vcpu, guest_code);
	w->rules.attached = xfd_expect == XFD_ATTACHED;
	w->rules.xstate = xstate;
	if (xstate)
		vm_enable_cap(w->vm, KVM_CAP_X86_XFD_XSTATE, 0);
	w->order = xfd_guest_ptr(w->vm, order);
	xfd_patterns_fill(w->vm);

	w->image = xfd_image_get(w->vcpu);
	for (i = 0; i < XFD_PATTERNS; i++) {
		w->images[i] = xfd_image_get(w->vcpu);
		xfd_image_put_tiles(w->images[i], i, !!i);
		/* For MXCSR to count. */
		xfd_image_header(w->images[i])->xstate_bv |= XFEATURE_MASK_FP | XFEATURE_MASK_SSE;
	}
	if (!walking)
		atexit(say_how_it_came_to_that);
	walking = w;
}

static void walk_end(struct walk *w)
{
	u64 i;

	free(w->image);
	for (i = 0; i < XFD_PATTERNS; i++)
		free(w->images[i]);
	kvm_vm_free(w->vm);
}

/*
 * The de Bruijn sequence of all words of @length letters: the Lyndon words whose
 * length divides it, in lexicographic order, one after the other (Fredricksen,
 * Kessler and Maiorana).
 */
static void step_all(struct walk *w, u8 *word, int t, int period)
{
	int i;

	if (t > length) {
		for (i = 1; i <= period && !(length % period); i++)
			step(w, word[i]);
		return;
	}
	word[t] = word[t - period];
	step_all(w, word, t + 1, period);
	for (i = word[t - period] + 1; i < NR_OPS; i++) {
		word[t] = i;
		step_all(w, word, t + 1, t);
	}
}

static u64 random_state;

/* xorshift64*: the same on every machine. */
static u64 random_below(u64 n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (random_state * 0x2545f4914f6cdd1dull >> 32) % n;
}

static void random_begin(void)
{
	random_state = seed * 0x9e3779b97f4a7c15ull | 1;
	ksft_print_msg("seed %lu\n", seed);
}

FIXTURE(walk) {
};

FIXTURE_VARIANT(walk) {
	/* With KVM_CAP_X86_XFD_XSTATE. */
	bool xstate;
};

FIXTURE_VARIANT_ADD(walk, plain) { .xstate = false };
FIXTURE_VARIANT_ADD(walk, xstate) { .xstate = true };

FIXTURE_SETUP(walk)
{
}

/* A test that failed may have left it on. */
FIXTURE_TEARDOWN_PARENT(walk)
{
	if (!xfd_fpu_user_loaded())
		return;
	xfd_fpu_user_stop();
	xfd_fpu_user_set_period(XFD_FPU_USER_PERIOD_US);
}

TEST_F_TIMEOUT(walk, all, TIMEOUT)
{
	u8 word[16] = {};
	struct walk w;
	int i;

	walk_begin(&w, variant->xstate);
	step_all(&w, word, 1, 1);
	/* It is a cycle. */
	for (i = 1; i < length; i++)
		step(&w, 0);
	ksft_print_msg("%lu operations, %lu left out\n", w.nr_done, w.left_out);
	walk_end(&w);
}

static void random_walk(bool xstate)
{
	struct walk w;
	u64 i;

	random_begin();
	walk_begin(&w, xstate);
	for (i = 0; i < steps; i++)
		step(&w, random_below(NR_OPS));
	walk_end(&w);
}

TEST_F_TIMEOUT(walk, random, TIMEOUT)
{
	random_walk(variant->xstate);
}

TEST_F_TIMEOUT(walk, preempted, TIMEOUT)
{
	struct xfd_neighbour neighbour = { .cpu = xfd_cpu(0), .amx = true, .seed = 200 };
	long switches = xfd_involuntary_switches();

	pin_self_to_cpu(neighbour.cpu);
	xfd_neighbour_start(&neighbour);
	random_walk(variant->xstate);
	xfd_neighbour_stop(&neighbour);
	switches = xfd_involuntary_switches() - switches;
	ksft_print_msg("%ld switches\n", switches);
	TEST_ASSERT(switches > 0, "the vCPU's thread was never switched out");
}

static const char not_loaded[] = "xfd_fpu_user.ko is not loaded";

static void walk_with_fpu_user(const char *context, bool xstate)
{
	pin_self_to_cpu(xfd_cpu(0));
	xfd_fpu_user_set_period(50);
	xfd_fpu_user_start(context, xfd_cpu(0));
	random_walk(xstate);
	xfd_fpu_user_stop();

	ksft_print_msg("%ld uses, %ld upon the guest\n", xfd_fpu_user_count("uses"),
		       xfd_fpu_user_count("in_guest"));
	TEST_ASSERT(xfd_fpu_user_count("uses") > 0 ||
		    (xfd_preempt_rt() && xfd_fpu_user_count("refused") > 0),
		    "the kernel never used the FPU");
	/* Else XFD_ERR is seen by the interrupt that ended the guest's run: nobody minds. */
	if (xfd_expect == XFD_ATTACHED) {
		TEST_ASSERT_EQ(xfd_fpu_user_count("xfd_err"), 0l);
		TEST_ASSERT_EQ(xfd_fpu_user_count("dormant"), 0l);
	}
}

TEST_F_TIMEOUT(walk, fpu_task, TIMEOUT)
{
	if (!xfd_fpu_user_loaded())
		SKIP(return, "%s", not_loaded);
	walk_with_fpu_user("task", variant->xstate);
}

TEST_F_TIMEOUT(walk, fpu_softirq, TIMEOUT)
{
	if (!xfd_fpu_user_loaded())
		SKIP(return, "%s", not_loaded);
	walk_with_fpu_user("softirq", variant->xstate);
}

TEST_F_TIMEOUT(walk, fpu_hardirq, TIMEOUT)
{
	if (!xfd_fpu_user_loaded())
		SKIP(return, "%s", not_loaded);
	walk_with_fpu_user("hardirq", variant->xstate);
}

TEST_F_TIMEOUT(walk, fpu_swap, TIMEOUT)
{
	if (!xfd_fpu_user_loaded())
		SKIP(return, "%s", not_loaded);
	walk_with_fpu_user("swap", variant->xstate);
}

TEST_F_TIMEOUT(walk, fresh, TIMEOUT)
{
	struct walk w;
	u64 i, j;

	random_begin();
	for (i = 0; i < steps / 50; i++) {
		walk_begin(&w, variant->xstate);
		for (j = 0; j < 10; j++)
			step(&w, random_below(NR_OPS));
		/* See what has become of it. */
		step(&w, CHECK);
		walk_end(&w);
	}
}

enum { LENGTH, STEPS, SEED, FPU_USER };

static struct xfd_option options[] = {
	[LENGTH] = { "length", "N", "of the sequences of \"all\" (default: 3)" },
	[STEPS] = { "steps", "N", "of the random ones (default: 2000)" },
	[SEED] = { "seed", "N", "of the random ones (default: the time)" },
	[FPU_USER] = { "fpu-user", "PATH", "xfd_fpu_user.ko, to be loaded for fpu_*" },
	{}
};

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	if (options[LENGTH].value)
		length = atoi_positive("--length", options[LENGTH].value);
	if (options[STEPS].value)
		steps = atoi_positive("--steps", options[STEPS].value);
	seed = options[SEED].value ? atoi_positive("--seed", options[SEED].value) : time(NULL);

	xfd_require_amx();
	if (options[FPU_USER].value)
		xfd_test_module_load(options[FPU_USER].value);
	if (xfd_expect != XFD_ATTACHED)
		xfd_leave_out_variant("xstate");
	return xfd_run_tests(argc, argv);
}
