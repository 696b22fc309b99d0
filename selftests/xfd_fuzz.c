// SPDX-License-Identifier: GPL-2.0
/*
 * Random guest programs of XFD, XFD_ERR, tiles, XSAVE and #NM, each of which runs twice:
 * undisturbed, and then with exits, preemption, migration, FPU use in the kernel, a VMM's ioctls,
 * ... between any two of its operations.  Whatever the guest can see must be the same both times,
 * byte for byte.
 *
 * No model says what is right: the CPU does, when nobody interferes.
 *
 *	--seeds=FIRST-LAST	the programs; lib/program.h says what they are made of
 *	--program=TEXT		this one instead, as a difference has printed it
 *
 * The first difference ends it.  The program is shrunk as long as it differs, and printed with the
 * command that runs it again.  If it differs only after others, the command has these, too.
 *
 * Where dormant tiles may go (lib/expect.h) programs leave them out: they release tiles before XFD
 * disables them.
 */
#include "fuzz/result.h"
#include "fuzz/run.h"
#include "fuzz/shrink.h"
#include "lib/program.h"
#include "lib/xfd.h"

enum { SEEDS, PROGRAM, FPU_USER };

static struct xfd_option options[] = {
	[SEEDS] = { "seeds", "FIRST-LAST", "which programs (default: 1-200)" },
	[PROGRAM] = { "program", "TEXT", "this one instead" },
	[FPU_USER] = { "fpu-user", "PATH", "xfd_fpu_user.ko, to be loaded" },
	{}
};

static struct xfd_option common[] = {
	{ "expect", "KIND", "of VMs: stock, unattached or attached (default: what they are)" },
	{ "control", NULL, "a negative control: --expect is more than they are" },
	{}
};

/* A difference, and the seed and the program that have it. */
struct found {
	u64 seed;
	struct xfd_program program;
	struct result both[2];
};

/* But for its last option. */
static void print_command(void)
{
	int i;

	printf("#   xfd_fuzz");
	for (i = 0; i < 2; i++) {
		if (common[i].value)
			printf(" --%s%s%s", common[i].name, common[i].value[0] ? "=" : "",
			       common[i].value);
	}
	if (options[FPU_USER].value)
		printf(" --fpu-user=%s", options[FPU_USER].value);
}

static void print_program(const struct xfd_program *p)
{
	print_command();
	printf(" --program=");
	xfd_program_print(p, stdout);
	printf("\n");
}

/* Shrinks it, if it differs by itself. */
static bool report(const struct found *found)
{
	struct xfd_program p = found->program;
	struct result both[2];

	printf("# seed %lu:\n", found->seed);
	printf("# a program of %u operations and %u disturbances differs:\n", p.nr_ops,
	       xfd_program_disturbances(&p));
	print_difference(&p, found->both);
	print_program(&p);
	fflush(stdout);
	if (!differs(&p, both))
		return false;
	shrink(&p);
	if (!differs(&p, both))
		printf("# it differs at times; here it did not:\n");
	printf("# the smallest like it has %u operations and %u disturbances:\n", p.nr_ops,
	       xfd_program_disturbances(&p));
	xfd_program_list(&p, stdout);
	print_difference(&p, both);
	printf("# it is run by:\n");
	print_program(&p);
	return true;
}

/* The seed that is being run disturbed, and how many have been. */
static u64 seed, seeds_done;

static void print_counts(u64 differences)
{
	u64 sum = 0;
	int i;

	printf("#");
	for (i = XFD_DISTURB_NONE + 1; i < XFD_NR_DISTURB; i++) {
		printf(" %s %lu", xfd_disturb_name(i), counts.disturbances[i]);
		sum += counts.disturbances[i];
	}
	printf("\n# fuzz: {\"seeds\":%lu,\"operations\":%lu,", seeds_done, counts.operations);
	printf("\"disturbances\":%lu,\"differences\":%lu}\n", sum, differences);
}

/* All of a batch undisturbed, and then all of it disturbed.  False if one differs. */
static bool batch(u64 first, u64 last, const struct xfd_program_rules *rules,
		  struct found *found)
{
	static struct xfd_program programs[XFD_PROGRAM_BATCH];
	static struct result undisturbed[XFD_PROGRAM_BATCH];
	struct result disturbed = {};
	u64 i, nr = last - first + 1;

	printf("# seeds %lu-%lu\n", first, last);
	fflush(stdout);
	for (i = 0; i < nr; i++) {
		xfd_program_make(&programs[i], first + i, rules);
		run(&programs[i], NULL, &undisturbed[i]);
	}
	fpu_user_begin(programs[0].fpu);
	for (i = 0; i < nr; i++) {
		seed = first + i;
		seeds_done++;
		run_disturbed(&programs[i], &undisturbed[i].log, &disturbed);
		if (i + 1 == nr || !result_same(&undisturbed[i], &disturbed))
			fpu_user_end(programs[0].fpu, &disturbed);
		if (!result_same(&undisturbed[i], &disturbed)) {
			*found = (struct found){
				.seed = seed,
				.program = programs[i],
				.both = { undisturbed[i], disturbed },
			};
			return false;
		}
	}
	return true;
}

/* False after the first that differs. */
static bool batches(u64 first, u64 last, const struct xfd_program_rules *rules,
		    struct found *found)
{
	bool well = true;

	while (well && first <= last) {
		u64 end = min_t(u64, last, first | (XFD_PROGRAM_BATCH - 1));

		well = batch(first, end, rules, found);
		first = end + 1;
	}
	return well;
}

/* How many of the seeds since @first have to run before one that doesn't differ by itself. */
static void report_seeds(u64 first, const struct found *found,
			 const struct xfd_program_rules *rules)
{
	struct found again;
	u64 from, back;

	printf("# it does not differ by itself: what ran before it has a part in it\n");
	for (back = 1;; back *= 2) {
		from = found->seed - min_t(u64, back, found->seed - first);
		runs_forget();
		if (!batches(from, found->seed, rules, &again))
			break;
		if (from == first) {
			printf("# it differs at times; here it did not:\n");
			break;
		}
	}
	printf("# it is run by:\n");
	print_command();
	printf(" --seeds=%lu-%lu\n", from, found->seed);
}

static bool run_seeds(u64 first, u64 last, const struct xfd_program_rules *rules)
{
	static struct found found;
	bool well = batches(first, last, rules, &found);

	if (!well) {
		struct counts of_seeds = counts;
		u64 done = seeds_done;

		if (!report(&found))
			report_seeds(first, &found, rules);
		counts = of_seeds;
		seeds_done = done;
	}
	print_counts(!well);
	return well;
}

static bool run_program(const struct xfd_program *p)
{
	struct result both[2];

	xfd_program_list(p, stdout);
	if (!differs(p, both))
		return true;
	print_difference(p, both);
	return false;
}

static int fep_before = -1;
static bool finished;

/* An assertion that fails exits. */
static void clean_up(void)
{
	if (!finished) {
		printf("# an assertion failed in seed %lu\n", seed);
		print_counts(1);
		printf("not ok 1 fuzz\n");
	}
	xfd_fpu_user_stop();
	if (fep_before >= 0)
		xfd_fep_allow(fep_before);
}

int main(int argc, char *argv[])
{
	const char *seeds = "1-200", *wrong;
	struct xfd_program_rules rules;
	struct xfd_program program;
	u64 first, last;
	char rest;
	bool well;

	argc = xfd_options_take(argc, argv, common, options);
	if (argc > 1) {
		xfd_options_print(common);
		xfd_options_print(options);
		return KSFT_FAIL;
	}
	xfd_expect_set(common[0].value, common[1].value);
	if (options[SEEDS].value)
		seeds = options[SEEDS].value;
	if (sscanf(seeds, "%lu-%lu%c", &first, &last, &rest) != 2 || first > last)
		ksft_exit_fail_msg("--seeds=%s: give FIRST-LAST\n", seeds);
	if (options[PROGRAM].value) {
		wrong = xfd_program_parse(&program, options[PROGRAM].value);
		if (wrong)
			ksft_exit_fail_msg("--program=: what is this: %s\n", wrong);
	}
	xfd_require_amx();
	if (options[FPU_USER].value)
		xfd_test_module_load(options[FPU_USER].value);

	rules = (struct xfd_program_rules){
		.xstate = xfd_kind_of_new_vm() == XFD_ATTACHED,
		/* Which stock gets wrong: see xfd_hole_emulated_write. */
		.emulation = xfd_expect != XFD_STOCK && !xfd_fep_missing(),
		.fpu_user = xfd_fpu_user_loaded(),
		/* Of L2's first write of XFD stock makes nothing: see xfd_nested_test. */
		.nested = xfd_expect != XFD_STOCK && kvm_cpu_has(X86_FEATURE_VMX),
	};
	atexit(clean_up);
	if (rules.emulation)
		fep_before = xfd_fep_allow(1);
	runs_begin();

	ksft_print_header();
	ksft_set_plan(1);
	if (options[PROGRAM].value)
		well = run_program(&program);
	else
		well = run_seeds(first, last, &rules);
	finished = true;
	ksft_test_result(well, "fuzz\n");
	runs_forget();
	ksft_finished();
}
