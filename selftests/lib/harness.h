/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kselftest_harness.h as these programs use it.  For the one file that has main():
 * the harness keeps its lists in the file that includes it.
 *
 *	int main(int argc, char *argv[])
 *	{
 *		argc = xfd_begin(argc, argv, options);
 *		xfd_require_amx();
 *		if (xfd_expect != XFD_ATTACHED)
 *			xfd_leave_out_fixture("xstate");
 *		return xfd_run_tests(argc, argv);
 *	}
 *
 * What a test asserts it asserts by KVM's TEST_ASSERT*() and GUEST_ASSERT*(), which
 * end the test's process; of the harness's own, ASSERT_*() would do as well, and
 * SKIP() is what skips one test.
 *
 * What this adds to the harness: --expect, and each program's own long options; an
 * error where a name selects no test; and that a test fails during which the kernel
 * is tainted by a warning or an oops.
 */
#ifndef SELFTESTS_LIB_HARNESS_H
#define SELFTESTS_LIB_HARNESS_H

#include <assert.h>

#include "kselftest_harness.h"

#include "expect.h"
#include "kmsg.h"
#include "option.h"
#include "state.h"

/* Names to leave out that a program can have. */
#define XFD_MAX_LEFT_OUT	8

static struct xfd_option xfd_common_options[] = {
	{ "expect", "KIND", "of VMs: stock, unattached or attached (default: what they are)" },
	{ "control", NULL, "a negative control: --expect is more than they are" },
	{}
};

static struct {
	const char *option;
	const char *name;
} xfd_left_out[XFD_MAX_LEFT_OUT];

static int xfd_nr_left_out;

/* One variant of a fixture for each state: its tests are "fixture.state.test" then. */
#define XFD_FIXTURE_STATES(type)					\
	struct _fixture_variant_##type {				\
		enum xfd_state state;					\
	};								\
	FIXTURE_VARIANT_ADD(type, armed) { .state = XFD_ARMED };	\
	FIXTURE_VARIANT_ADD(type, live) { .state = XFD_LIVE };		\
	FIXTURE_VARIANT_ADD(type, dormant) { .state = XFD_DORMANT };	\
	FIXTURE_VARIANT_ADD(type, pending) { .state = XFD_PENDING }

/* One for each event of lib/meet.h. */
#define XFD_FIXTURE_EVENTS(type)					\
	struct _fixture_variant_##type {				\
		enum xfd_event event;					\
	};								\
	FIXTURE_VARIANT_ADD(type, vmcall) { .event = XFD_VMCALL };	\
	FIXTURE_VARIANT_ADD(type, userspace) { .event = XFD_USERSPACE };\
	FIXTURE_VARIANT_ADD(type, preempt) { .event = XFD_PREEMPT };	\
	FIXTURE_VARIANT_ADD(type, migrate) { .event = XFD_MIGRATE }

/* One for each state with some of the events: "fixture.state_event.test". */
#define XFD_FIXTURE_STATES_AND_EVENTS(type)				\
	struct _fixture_variant_##type {				\
		enum xfd_state state;					\
		enum xfd_event event;					\
	}

/* And these are the events: XFD_@EVENT, and @name in what their tests are called. */
#define XFD_FIXTURE_STATES_WITH(type, name, EVENT) \
	struct _fixture_variant_##type; \
	FIXTURE_VARIANT_ADD(type, armed_##name) { .state = XFD_ARMED, .event = XFD_##EVENT }; \
	FIXTURE_VARIANT_ADD(type, live_##name) { .state = XFD_LIVE, .event = XFD_##EVENT }; \
	FIXTURE_VARIANT_ADD(type, dormant_##name) { .state = XFD_DORMANT, .event = XFD_##EVENT }; \
	FIXTURE_VARIANT_ADD(type, pending_##name) { .state = XFD_PENDING, .event = XFD_##EVENT }

/* A fixture whose tests begin and end everything by themselves. */
#define XFD_FIXTURE_EMPTY(type)						\
	FIXTURE(type) { };						\
	static_assert(!sizeof(FIXTURE_DATA(type)), "not empty");	\
	FIXTURE_SETUP(type) { }						\
	FIXTURE_TEARDOWN(type) { }

typedef void (*xfd_test_visitor)(struct __fixture_metadata *f,
				 struct __fixture_variant_metadata *v,
				 struct __test_metadata *t, void *arg);

static void xfd_visit_tests(xfd_test_visitor visit, void *arg)
{
	struct __fixture_variant_metadata no_variant = { .name = "" }, *v;
	struct __fixture_metadata *f;
	struct __test_metadata *t;

	for (f = __fixture_list; f; f = f->next) {
		for (v = f->variant ?: &no_variant; v; v = v->next) {
			for (t = f->tests; t; t = t->next)
				visit(f, v, t, arg);
		}
	}
}

static void xfd_print_name(struct __fixture_metadata *f, struct __fixture_variant_metadata *v,
			   struct __test_metadata *t, void *arg)
{
	fprintf(stderr, "\t%s%s%s.%s\n", f->name, v->name[0] ? "." : "", v->name, t->name);
}

/* An option of the harness that takes a name, and whether there is one like that. */
struct xfd_selection {
	int opt;
	const char *name;
	bool found;
};

static void xfd_match(struct __fixture_metadata *f, struct __fixture_variant_metadata *v,
		      struct __test_metadata *t, void *arg)
{
	struct xfd_selection *s = arg;
	char name[1024];

	switch (tolower(s->opt)) {
	case 'f':
		s->found |= !strcmp(s->name, f->name);
		break;
	case 'v':
		s->found |= !strcmp(s->name, v->name);
		break;
	case 't':
		s->found |= !strcmp(s->name, t->name);
		break;
	case 'r':
		snprintf(name, sizeof(name), "%s%s%s.%s", f->name, v->name[0] ? "." : "",
			 v->name, t->name);
		s->found |= !strcmp(s->name, name);
		break;
	}
}

static __noreturn void xfd_no_such_test(const char *option, const char *name)
{
	fprintf(stderr, "%s%s: no such test, fixture or variant.  For -r, there are:\n", option,
		name);
	xfd_visit_tests(xfd_print_name, NULL);
	exit(KSFT_FAIL);
}

/* The harness would run no test, and call that a success. */
static void xfd_check_names(int argc, char *argv[])
{
	struct xfd_selection s = {};

	optind = 1;
	while ((s.opt = getopt(argc, argv, "dF:f:V:v:t:T:r:")) != -1) {
		if (s.opt == 'd')
			continue;
		s.name = optarg;
		s.found = false;
		xfd_visit_tests(xfd_match, &s);
		if (!s.found)
			xfd_no_such_test((char []){ '-', s.opt, ' ', 0 }, s.name);
	}
	if (optind < argc)
		xfd_no_such_test("(without an option) ", argv[optind]);
}

/*
 * Takes our options out of the arguments, sets xfd_expect, and ends the program
 * where there is nothing to run.  Returns how many arguments are left.
 */
static int xfd_begin(int argc, char *argv[], struct xfd_option *own)
{
	int ret;

	argc = xfd_options_take(argc, argv, xfd_common_options, own);
	ret = test_harness_argv_check(argc, argv);
	if (ret != KSFT_PASS) {
		xfd_options_print(xfd_common_options);
		xfd_options_print(own);
		exit(ret);
	}
	xfd_check_names(argc, argv);
	xfd_expect_set(xfd_common_options[0].value, xfd_common_options[1].value);
	return argc;
}

/*
 * Of the tests that are for other kernels, or VMs, than those here: as if they did
 * not exist, where SKIP() would say that something is missing.  @option is that of
 * the harness: -F for a fixture, -V a variant, -T a test.
 */
static inline void xfd_leave_out(const char *option, const char *name)
{
	TEST_ASSERT(xfd_nr_left_out < XFD_MAX_LEFT_OUT, "too many names left out");
	xfd_left_out[xfd_nr_left_out].option = option;
	xfd_left_out[xfd_nr_left_out++].name = name;
}

static inline void xfd_leave_out_fixture(const char *name)
{
	xfd_leave_out("-F", name);
}

/* Of each fixture that has a variant with this name. */
static inline void xfd_leave_out_variant(const char *name)
{
	xfd_leave_out("-V", name);
}

typedef void (*xfd_test_fn)(struct __test_metadata *t, struct __fixture_variant_metadata *v);

/* What the tests of this program make of the kernel: XFD_TAINT_*. */
static unsigned long xfd_taints;

/* A test, and the function that the harness has made for it. */
static struct xfd_watched {
	struct __test_metadata *test;
	xfd_test_fn fn;
	struct xfd_watched *next;
} *xfd_watched;

/* In the process that the harness starts for the test, outside of the test's own. */
static void xfd_run_watched(struct __test_metadata *t, struct __fixture_variant_metadata *v)
{
	unsigned long taint = xfd_taint() | xfd_taints;
	struct xfd_watched *w;

	for (w = xfd_watched; w->test != t;)
		w = w->next;
	w->fn(t, v);
	if (xfd_taint() & ~taint) {
		ksft_print_msg("%s: the host kernel printed a warning or an oops\n", t->name);
		t->exit_code = KSFT_FAIL;
	}
}

static void xfd_watch(struct __fixture_metadata *f, struct __fixture_variant_metadata *v,
		      struct __test_metadata *t, void *arg)
{
	struct xfd_watched *w;

	/* With another variant of its fixture. */
	if (t->fn == xfd_run_watched)
		return;
	w = malloc(sizeof(*w));
	TEST_ASSERT(w, "out of memory");
	*w = (struct xfd_watched){ t, t->fn, xfd_watched };
	xfd_watched = w;
	t->fn = xfd_run_watched;
}

struct xfd_arguments {
	int argc;
	char **argv;
	int nr_tests;
};

static void xfd_count(struct __fixture_metadata *f, struct __fixture_variant_metadata *v,
		      struct __test_metadata *t, void *arg)
{
	struct xfd_arguments *a = arg;

	a->nr_tests += test_enabled(a->argc, a->argv, f, v, t);
}

/* As test_harness_run(); @argc is what xfd_begin() returned. */
static int xfd_run_tests(int argc, char *argv[])
{
	struct xfd_arguments a = {};
	int i;

	/* The first that matches counts. */
	a.argv = calloc(argc + 2 * xfd_nr_left_out + 1, sizeof(*a.argv));
	TEST_ASSERT(a.argv, "out of memory");
	a.argv[a.argc++] = argv[0];
	for (i = 0; i < xfd_nr_left_out; i++) {
		a.argv[a.argc++] = (char *)xfd_left_out[i].option;
		a.argv[a.argc++] = (char *)xfd_left_out[i].name;
	}
	for (i = 1; i < argc; i++)
		a.argv[a.argc++] = argv[i];

	xfd_visit_tests(xfd_count, &a);
	if (!a.nr_tests)
		ksft_exit_fail_msg("none of the tests asked for is one for this kernel\n");
	xfd_visit_tests(xfd_watch, NULL);
	/* It goes through the arguments once more. */
	optind = 1;
	return test_harness_run(a.argc, a.argv);
}

#endif /* SELFTESTS_LIB_HARNESS_H */
