// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading and unloading of xfd_switch.ko: what it refuses, with which errno and
 * which line in the kernel log, and whom it serves.
 *
 *   xfd_module_test [-m MODULE] [-o OTHER] [-e ERRNO -l LINE]
 *
 * -m	the module (default /lib/modules/xfd_switch.ko)
 * -o	another module that provides the same hooks
 * -e	expect that loading fails with this errno, by name ...
 * -l	... and that the kernel log has an error with this text; nothing else is
 *	tested then
 */
#include <sys/stat.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "xfd_module.h"

#define OTHER		"xfd_switch_broken"
#define PARAMETER	"/sys/module/" XFD_MODULE "/parameters/strategy"

/* Levels of the kernel log. */
#define ERR		3
#define WARNING		4
#define INFO		6

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
	xfd_kmsg_has(kmsg, ERR, "");
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
static bool loads_as(const char *params, const char *name)
{
	char line[80];
	bool ok;

	start_over();
	snprintf(line, sizeof(line), XFD_MODULE ": strategy %s for VMs created from now on", name);
	ok = !new_vm_attached();
	ok &= !xfd_module_load(module, params) && strategy_is(name) && logged(INFO, line);
	ok &= new_vm_attached();
	ok &= !xfd_module_unload(XFD_MODULE) && !loaded(XFD_MODULE);
	ok &= logged(INFO, XFD_MODULE ": unloaded");
	return ok && !new_vm_attached();
}

static void test_strategies(void)
{
	struct stat st;
	char params[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(xfd_strategies); i++) {
		snprintf(params, sizeof(params), "strategy=%s", xfd_strategies[i]);
		ksft_test_result(loads_as(params, xfd_strategies[i]),
				 "strategy=%s is loaded, shown, logged, unloaded\n",
				 xfd_strategies[i]);
	}
	ksft_test_result(loads_as("", xfd_strategies[0]), "the default is strategy=%s\n",
			 xfd_strategies[0]);
	ksft_test_result(loads_as("strategy=eager strategy=xinuse", "xinuse"),
			 "of two strategies the last one counts\n");

	start_over();
	ksft_test_result(!xfd_module_load(module, "") && !stat(PARAMETER, &st) &&
			 (st.st_mode & 0777) == 0444,
			 "the strategy of a loaded module can be read, not written\n");
}

/* Each with EINVAL and a line that tells what there is. */
static void test_wrong_strategies(void)
{
	static char too_long[3000] = "strategy=lazy";
	static const struct {
		const char *params, *what;
	} wrong[] = {
		{ "strategy=bogus", "an unknown strategy" },
		{ "strategy=", "an empty strategy" },
		{ "strategy", "a strategy without a value" },
		{ "strategy=laz", "the beginning of a strategy" },
		{ "strategy=lazyy", "a strategy and more" },
		{ "strategy=LAZY", "a strategy in capitals" },
		{ "strategy=lazy,eager", "a list of strategies" },
		{ "strategy=\"lazy eager\"", "two strategies in one" },
		{ "strategy=bogus strategy=lazy", "a right strategy after a wrong one" },
		{ too_long, "a strategy of 3000 letters" },
	};
	char line[256] = XFD_MODULE ": unknown strategy; use strategy=";
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(xfd_strategies); i++) {
		if (i)
			strcat(line, i < ARRAY_SIZE(xfd_strategies) - 1 ? ", " : " or ");
		strcat(line, xfd_strategies[i]);
	}
	memset(too_long + strlen(too_long), 'y', sizeof(too_long) - strlen(too_long) - 1);

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		start_over();
		ret = xfd_module_load(module, wrong[i].params);
		ksft_test_result(ret == -EINVAL && logged(ERR, line) && !loaded(XFD_MODULE),
				 "%s is refused: EINVAL\n", wrong[i].what);
	}
}

static void test_other_provider(const char *other)
{
	static const char line[] = "another module switches XFD for KVM: unload that first";
	bool ok;

	if (!other) {
		ksft_test_result_skip("a second provider is refused (no -o)\n");
		ksft_test_result_skip("so is the first after the second (no -o)\n");
		return;
	}

	start_over();
	ok = !xfd_module_load(module, "");
	ok &= xfd_module_load(other, "") == -EBUSY && logged(ERR, line) && !loaded(OTHER);
	/* Who was first goes on. */
	ok &= new_vm_attached() && !xfd_module_unload(XFD_MODULE);
	ksft_test_result(ok, "a second provider is refused: EBUSY\n");

	start_over();
	ok = !xfd_module_load(other, "");
	ok &= xfd_module_load(module, "") == -EBUSY && logged(ERR, line) && !loaded(XFD_MODULE);
	ok &= new_vm_attached() && !xfd_module_unload(OTHER);
	ok &= !xfd_module_load(module, "") && !xfd_module_unload(XFD_MODULE);
	ksft_test_result(ok, "so is the first after the second, until that is gone\n");
}

static void test_vms_pin_module(void)
{
	struct kvm_vm *older, *vm;

	start_over();
	older = vm_create(1);
	ksft_test_result(!xfd_module_load(module, "") && !xfd_module_refs(XFD_MODULE) &&
			 !xfd_vm_attached(older->fd) && !xfd_module_unload(XFD_MODULE),
			 "a VM older than the module does not pin it\n");

	start_over();
	xfd_module_load(module, "");
	vm = vm_create(1);
	ksft_test_result(xfd_vm_attached(vm->fd) && xfd_module_refs(XFD_MODULE) == 1 &&
			 xfd_module_unload(XFD_MODULE) == -EWOULDBLOCK && loaded(XFD_MODULE),
			 "a VM younger than the module pins it: EWOULDBLOCK\n");

	kvm_vm_free(vm);
	ksft_test_result(!xfd_module_refs(XFD_MODULE) && !xfd_module_unload(XFD_MODULE),
			 "... for as long as it lives\n");
	kvm_vm_free(older);
}

int main(int argc, char *argv[])
{
	const char *other = NULL, *line = "";
	int opt, error = 0, ret;

	while ((opt = getopt(argc, argv, "m:o:e:l:")) != -1) {
		switch (opt) {
		case 'm':
			module = optarg;
			break;
		case 'o':
			other = optarg;
			break;
		case 'e':
			error = errno_by_name(optarg);
			break;
		case 'l':
			line = optarg;
			break;
		default:
			ksft_exit_fail_msg("usage: %s [-m MODULE] [-o OTHER] [-e ERRNO -l LINE]\n",
					   argv[0]);
		}
	}

	kmsg = xfd_kmsg_open();
	if (kmsg < 0)
		ksft_exit_fail_msg("/dev/kmsg: %s\n", strerror(errno));
	if (access(module, R_OK) || (other && access(other, R_OK)))
		ksft_exit_fail_msg("%s: %s\n", access(module, R_OK) ? module : other,
				   strerror(errno));

	ksft_print_header();

	if (error) {
		ksft_set_plan(1);
		ret = xfd_module_load(module, "");
		/* That a symbol is missing is the module loader's to say. */
		ksft_test_result(ret == -error && !loaded(XFD_MODULE) &&
				 logged(error == ENOENT ? WARNING : ERR, line),
				 "the module is refused: %s, \"%s\"\n",
				 strerror(-ret), line);
		ksft_finished();
	}

	ksft_set_plan(22);
	test_strategies();
	test_wrong_strategies();
	test_other_provider(other);
	test_vms_pin_module();
	ksft_finished();
}
