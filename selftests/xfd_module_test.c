// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading and unloading of xfd_switch.ko: what it refuses, with which errno and
 * which line in the kernel log, and whom it serves.
 *
 * With --refused only that is tested: that loading fails with this errno, and that
 * the kernel log has an error that says --says.
 */
#include <errno.h>
#include <sys/stat.h>

#include "lib/harness.h"
#include "lib/xfd.h"

#define OTHER		"xfd_switch_other"
#define PARAMETER	"/sys/module/" XFD_MODULE "/parameters/strategy"

/* Loading takes memory, and so time. */
#define TIMEOUT		60

enum { MODULE, OTHER_MODULE, REFUSED, SAYS };

static struct xfd_option options[] = {
	[MODULE] = { "module", "PATH", "the module (default " XFD_MODULE_PATH ")" },
	[OTHER_MODULE] = { "other", "PATH", "another module that provides the same hooks" },
	[REFUSED] = { "refused", "ERRNO", "loading must fail with this errno, by name" },
	[SAYS] = { "says", "TEXT", "and the kernel log must have an error with this text" },
	{}
};

static const struct {
	const char *name;
	int error;
} errnos[] = {
	{ "ENOENT",	ENOENT },
	{ "ENODEV",	ENODEV },
	{ "EOPNOTSUPP",	EOPNOTSUPP },
};

static const char *module = XFD_MODULE_PATH;
static int kmsg;

static int errno_by_name(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(errnos); i++) {
		if (!strcmp(errnos[i].name, name))
			return errnos[i].error;
	}
	ksft_exit_fail_msg("no test knows the errno %s\n", name);
}

/* What the tests before may have left behind, or logged. */
static void start_over(void)
{
	xfd_module_unload(XFD_MODULE);
	xfd_module_unload(OTHER);
	xfd_kmsg_has(kmsg, XFD_KMSG_ERR, "");
}

static bool loaded(const char *name)
{
	return xfd_module_refs(name) >= 0;
}

static bool logged(int level, const char *text)
{
	return xfd_kmsg_has(kmsg, level, text);
}

/* Is a VM that is created now attached? */
static bool new_vm_attached(void)
{
	struct kvm_vm *vm = vm_create(1);
	bool attached = xfd_vm_attached(vm->fd);

	kvm_vm_free(vm);
	return attached;
}

static bool strategy_is(const char *name)
{
	char line[64] = "";
	FILE *f = fopen(PARAMETER, "r");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
	}
	line[strcspn(line, "\n")] = 0;
	return !strcmp(line, name);
}

/* Loads with @params, which choose the strategy @name, and unloads again. */
static void check_loads_as(const char *params, const char *name)
{
	char line[80];

	start_over();
	snprintf(line, sizeof(line), XFD_MODULE ": strategy %s for VMs created from now on", name);
	TEST_ASSERT(!new_vm_attached(), "a VM is attached without the module");
	TEST_ASSERT_EQ(xfd_module_load(module, params), 0);
	TEST_ASSERT(strategy_is(name), "the parameter does not say %s", name);
	TEST_ASSERT(logged(XFD_KMSG_INFO, line), "the log does not say \"%s\"", line);
	TEST_ASSERT(new_vm_attached(), "a new VM is not attached");
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), 0);
	TEST_ASSERT(!loaded(XFD_MODULE), "it is still there");
	TEST_ASSERT(logged(XFD_KMSG_INFO, XFD_MODULE ": unloaded"), "unloading was not logged");
	TEST_ASSERT(!new_vm_attached(), "a VM is attached after the module");
}

/* A strategy is loaded, shown, logged, unloaded. */
FIXTURE(strategy) {
};

FIXTURE_VARIANT(strategy) {
	const char *params;
	const char *name;
};

FIXTURE_VARIANT_ADD(strategy, lazy) { "strategy=lazy", "lazy" };
FIXTURE_VARIANT_ADD(strategy, xinuse) { "strategy=xinuse", "xinuse" };
FIXTURE_VARIANT_ADD(strategy, eager) { "strategy=eager", "eager" };
FIXTURE_VARIANT_ADD(strategy, autoload) { "strategy=autoload", "autoload" };
FIXTURE_VARIANT_ADD(strategy, default) { "", "lazy" };
/* Of two the last one counts. */
FIXTURE_VARIANT_ADD(strategy, last_of_two) { "strategy=eager strategy=xinuse", "xinuse" };

FIXTURE_SETUP(strategy)
{
}

FIXTURE_TEARDOWN(strategy)
{
}

TEST_F_TIMEOUT(strategy, loads, TIMEOUT)
{
	check_loads_as(variant->params, variant->name);
}

XFD_FIXTURE_EMPTY(parameter);

/* The strategy of a loaded module can be read, not written. */
TEST_F_TIMEOUT(parameter, read_only, TIMEOUT)
{
	struct stat st;

	start_over();
	TEST_ASSERT_EQ(xfd_module_load(module, ""), 0);
	TEST_ASSERT(!stat(PARAMETER, &st), "no " PARAMETER);
	TEST_ASSERT_EQ(st.st_mode & 0777, 0444);
}

XFD_FIXTURE_EMPTY(files);

/* Whoever reads the counters holds the module; and they go with it. */
TEST_F_TIMEOUT(files, held_open, TIMEOUT)
{
	char c;
	int fd;

	start_over();
	TEST_ASSERT(access(xfd_counters_summary(), F_OK), "counters of no module");
	TEST_ASSERT_EQ(xfd_module_load(module, ""), 0);
	fd = open(xfd_counters_summary(), O_RDONLY);
	TEST_ASSERT(fd >= 0 && read(fd, &c, 1) == 1, "cannot read them, errno = %d", errno);
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), -EWOULDBLOCK);
	close(fd);
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), 0);
	TEST_ASSERT(access(xfd_counters_summary(), F_OK), "counters of no module");
}

/* Each is refused with EINVAL and a line that tells what there is. */
FIXTURE(wrong) {
};

FIXTURE_VARIANT(wrong) {
	const char *params;
	/* Letters to append. */
	int more;
};

FIXTURE_VARIANT_ADD(wrong, unknown) { "strategy=bogus" };
FIXTURE_VARIANT_ADD(wrong, empty) { "strategy=" };
FIXTURE_VARIANT_ADD(wrong, without_value) { "strategy" };
FIXTURE_VARIANT_ADD(wrong, beginning) { "strategy=laz" };
FIXTURE_VARIANT_ADD(wrong, and_more) { "strategy=lazyy" };
FIXTURE_VARIANT_ADD(wrong, capitals) { "strategy=LAZY" };
FIXTURE_VARIANT_ADD(wrong, list) { "strategy=lazy,eager" };
FIXTURE_VARIANT_ADD(wrong, two_in_one) { "strategy=\"lazy eager\"" };
FIXTURE_VARIANT_ADD(wrong, before_right) { "strategy=bogus strategy=lazy" };
FIXTURE_VARIANT_ADD(wrong, too_long) { "strategy=lazy", 2986 };

FIXTURE_SETUP(wrong)
{
}

FIXTURE_TEARDOWN(wrong)
{
}

TEST_F_TIMEOUT(wrong, refused, TIMEOUT)
{
	char line[256] = XFD_MODULE ": unknown strategy; use strategy=";
	const char *names[XFD_MAX_STRATEGIES];
	char params[3000] = "";
	int i, n;

	n = xfd_strategies(module, names);
	for (i = 0; i < n; i++) {
		if (i)
			strcat(line, i < n - 1 ? ", " : " or ");
		strcat(line, names[i]);
	}
	snprintf(params, sizeof(params), "%s", variant->params);
	memset(params + strlen(params), 'y', variant->more);

	start_over();
	TEST_ASSERT_EQ(xfd_module_load(module, params), -EINVAL);
	TEST_ASSERT(logged(XFD_KMSG_ERR, line), "the log does not say \"%s\"", line);
	TEST_ASSERT(!loaded(XFD_MODULE), "it is there nevertheless");
}

/* A second provider of the hooks: EBUSY, and who was first goes on. */
XFD_FIXTURE_EMPTY(second);

static const char busy[] = "another module switches XFD for KVM: unload that first";

TEST_F_TIMEOUT(second, provider, TIMEOUT)
{
	const char *other = options[OTHER_MODULE].value;

	if (!other)
		SKIP(return, "no --other");
	start_over();
	TEST_ASSERT_EQ(xfd_module_load(module, ""), 0);
	TEST_ASSERT_EQ(xfd_module_load(other, ""), -EBUSY);
	TEST_ASSERT(logged(XFD_KMSG_ERR, busy), "the log does not say \"%s\"", busy);
	TEST_ASSERT(!loaded(OTHER), "it is there nevertheless");
	TEST_ASSERT(new_vm_attached(), "the first does not go on");
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), 0);
}

/* The first after the second, until that is gone. */
TEST_F_TIMEOUT(second, other_way_round, TIMEOUT)
{
	const char *other = options[OTHER_MODULE].value;

	if (!other)
		SKIP(return, "no --other");
	start_over();
	TEST_ASSERT_EQ(xfd_module_load(other, ""), 0);
	TEST_ASSERT_EQ(xfd_module_load(module, ""), -EBUSY);
	TEST_ASSERT(logged(XFD_KMSG_ERR, busy), "the log does not say \"%s\"", busy);
	TEST_ASSERT(!loaded(XFD_MODULE), "it is there nevertheless");
	TEST_ASSERT(new_vm_attached(), "the first does not go on");
	TEST_ASSERT_EQ(xfd_module_unload(OTHER), 0);
	TEST_ASSERT_EQ(xfd_module_load(module, ""), 0);
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), 0);
}

/* Who holds the module. */
XFD_FIXTURE_EMPTY(vm);

TEST_F_TIMEOUT(vm, older_does_not_pin, TIMEOUT)
{
	struct kvm_vm *vm;

	start_over();
	vm = vm_create(1);
	TEST_ASSERT_EQ(xfd_module_load(module, ""), 0);
	TEST_ASSERT_EQ(xfd_module_refs(XFD_MODULE), 0);
	TEST_ASSERT(!xfd_vm_attached(vm->fd), "it is attached");
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), 0);
	kvm_vm_free(vm);
}

/* EWOULDBLOCK for as long as it lives; one that is older does not change that. */
TEST_F_TIMEOUT(vm, younger_pins, TIMEOUT)
{
	struct kvm_vm *older, *vm;

	start_over();
	older = vm_create(1);
	TEST_ASSERT_EQ(xfd_module_load(module, ""), 0);
	vm = vm_create(1);
	TEST_ASSERT(xfd_vm_attached(vm->fd), "it is not attached");
	TEST_ASSERT_EQ(xfd_module_refs(XFD_MODULE), 1);
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), -EWOULDBLOCK);
	TEST_ASSERT(loaded(XFD_MODULE), "it is gone");
	kvm_vm_free(vm);
	TEST_ASSERT_EQ(xfd_module_refs(XFD_MODULE), 0);
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), 0);
	kvm_vm_free(older);
}

/* What --refused is for. */
XFD_FIXTURE_EMPTY(module);

TEST_F_TIMEOUT(module, refused, TIMEOUT)
{
	int error = errno_by_name(options[REFUSED].value);
	/* That a symbol is missing is the module loader's to say. */
	int level = error == ENOENT ? XFD_KMSG_WARNING : XFD_KMSG_ERR;
	const char *text = options[SAYS].value ?: "";

	TEST_ASSERT_EQ(xfd_module_load(module, ""), -error);
	TEST_ASSERT(!loaded(XFD_MODULE), "it is there nevertheless");
	TEST_ASSERT(logged(level, text), "the log does not say \"%s\"", text);
}

static void require_readable(const char *path)
{
	if (access(path, R_OK))
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
}

int main(int argc, char *argv[])
{
	static const char * const others[] = {
		"strategy", "parameter", "files", "wrong", "second", "vm",
	};
	int i;

	argc = xfd_begin(argc, argv, options);
	if (options[MODULE].value)
		module = options[MODULE].value;
	require_readable(module);
	if (options[OTHER_MODULE].value)
		require_readable(options[OTHER_MODULE].value);
	kmsg = xfd_kmsg_open();
	if (kmsg < 0)
		ksft_exit_fail_msg("/dev/kmsg: %s\n", strerror(errno));

	if (options[REFUSED].value) {
		errno_by_name(options[REFUSED].value);
		for (i = 0; i < ARRAY_SIZE(others); i++)
			xfd_leave_out_fixture(others[i]);
	} else {
		xfd_leave_out_fixture("module");
	}
	return xfd_run_tests(argc, argv);
}
