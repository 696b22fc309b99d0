// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading the module, and who holds it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "module.h"
#include "../lib/xfd.h"

struct module_state module_state;

static const char *module;
static const char *strategies[XFD_MAX_STRATEGIES];
static int nr_strategies;

void module_is_at(const char *path)
{
	module = path;
	nr_strategies = xfd_strategies(module, strategies);
}

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

void op_module(struct attacker *a, struct target *t)
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

void check_holders(struct attacker *a)
{
	long refs = xfd_module_refs(XFD_MODULE);
	char text[64];

	if (refs == (module_state.loaded ? module_state.held : -1))
		return;
	snprintf(text, sizeof(text), "%ld hold the module, not %d", refs,
		 module_state.loaded ? module_state.held : -1);
	fail(a, text);
}
