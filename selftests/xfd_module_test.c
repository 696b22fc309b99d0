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
 * -l	... and that the kernel log has a line with this text; nothing else is
 *	tested then
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest.h"
#include "kvm_util.h"

#define NAME		"xfd_switch"
#define OTHER_NAME	"xfd_switch_broken"

static const struct {
	const char *name;
	int error;
} errnos[] = {
	{ "ENOENT",	ENOENT },
	{ "ENODEV",	ENODEV },
	{ "EOPNOTSUPP",	EOPNOTSUPP },
};

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

/* Returns 0 or -errno. */
static int load(const char *path, const char *params)
{
	int fd = open(path, O_RDONLY);
	int ret;

	if (fd < 0)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	ret = syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);
	return ret;
}

/* Returns 0 or -errno. */
static int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* Whether the kernel log has got a line with this text since the last call. */
static bool logged(const char *text)
{
	bool found = false;
	char line[1024];
	ssize_t n;

	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[n > 0 ? n : 0] = 0;
		found |= !!strstr(line, text);
	}
	return found;
}

static bool strategy_is(const char *name)
{
	char line[64] = "";
	FILE *f = fopen("/sys/module/" NAME "/parameters/strategy", "r");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
	}
	line[strcspn(line, "\n")] = 0;
	return !strcmp(line, name);
}

static void test_strategies(const char *module)
{
	static const char * const names[] = { "xinuse", "eager", "lazy" };
	char params[32];
	bool ok;
	int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(params, sizeof(params), "strategy=%s", names[i]);
		ok = !load(module, params) && strategy_is(names[i]) && logged(names[i]);
		ok &= !unload(NAME) && logged("unloaded");
		ksft_test_result(ok, "strategy=%s is loaded, shown, logged, unloaded\n",
				 names[i]);
	}
}

static void test_refusals(const char *module)
{
	ksft_test_result(load(module, "strategy=bogus") == -EINVAL &&
			 logged("unknown strategy; use strategy="),
			 "an unknown strategy is refused: EINVAL\n");

	ksft_test_result(load(module, "strategy=") == -EINVAL &&
			 logged("unknown strategy"),
			 "an empty strategy is refused: EINVAL\n");

	ksft_test_result(load(module, "strategy") == -EINVAL,
			 "a strategy without a value is refused: EINVAL\n");

	ksft_test_result(!load(module, "") && load(module, "") == -EEXIST &&
			 !unload(NAME),
			 "the module cannot be loaded twice: EEXIST\n");
}

static void test_other_provider(const char *module, const char *other)
{
	if (!other) {
		ksft_test_result_skip("a second provider is refused (no -o)\n");
		return;
	}

	ksft_test_result(!load(module, "") && load(other, "") == -EBUSY &&
			 logged("another module switches XFD") && !unload(NAME),
			 "a second provider is refused: EBUSY\n");

	ksft_test_result(!load(other, "") && !unload(OTHER_NAME),
			 "the second provider loads when the first is gone\n");
}

static void test_vm_pins_module(const char *module)
{
	struct kvm_vm *older, *vm;
	bool ok;

	older = vm_create(1);
	ok = !load(module, "") && !unload(NAME);
	ksft_test_result(ok, "a VM older than the module does not pin it\n");

	if (load(module, ""))
		ksft_exit_fail_msg("cannot load %s\n", module);
	vm = vm_create(1);
	ksft_test_result(unload(NAME) == -EWOULDBLOCK,
			 "a VM younger than the module pins it\n");

	kvm_vm_free(vm);
	ksft_test_result(!unload(NAME), "... for as long as it lives\n");
	kvm_vm_free(older);
}

int main(int argc, char *argv[])
{
	const char *module = "/lib/modules/xfd_switch.ko", *other = NULL, *line = "";
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

	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (kmsg < 0)
		ksft_exit_fail_msg("/dev/kmsg: %s\n", strerror(errno));
	lseek(kmsg, 0, SEEK_END);

	ksft_print_header();

	if (error) {
		ksft_set_plan(1);
		ret = load(module, "");
		ksft_test_result(ret == -error && logged(line),
				 "the module is refused: %s, \"%s\"\n",
				 strerror(-ret), line);
		ksft_finished();
	}

	ksft_set_plan(other ? 12 : 11);
	test_strategies(module);
	test_refusals(module);
	test_other_provider(module, other);
	test_vm_pins_module(module);
	ksft_finished();
}
