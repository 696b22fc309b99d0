// SPDX-License-Identifier: GPL-2.0
/* Programs without what is not needed for a difference. */
#include "run.h"
#include "shrink.h"

static bool shrinks_to(struct xfd_program *p, const struct xfd_program *smaller)
{
	struct result both[2];

	if (!differs(smaller, both))
		return false;
	*p = *smaller;
	printf("# %u operations, %u disturbances\n", p->nr_ops, xfd_program_disturbances(p));
	fflush(stdout);
	return true;
}

/* Tries without @flag, which is one of @smaller's. */
static bool shrinks_without(struct xfd_program *p, struct xfd_program *smaller, bool *flag)
{
	bool set = *flag;

	*flag = false;
	return set && shrinks_to(p, smaller);
}

static bool shrink_flags(struct xfd_program *p)
{
	struct xfd_program smaller = *p;
	bool shrunk = false;

	/* VMs take longest. */
	shrunk |= shrinks_without(p, &smaller, &smaller.fresh);
	smaller = *p;
	shrunk |= shrinks_without(p, &smaller, &smaller.nested);
	smaller = *p;
	shrunk |= shrinks_without(p, &smaller, &smaller.own_tiles);
	smaller = *p;
	shrunk |= shrinks_without(p, &smaller, &smaller.xstate);
	smaller = *p;
	smaller.fpu = XFD_FPU_OFF;
	return (p->fpu && shrinks_to(p, &smaller)) || shrunk;
}

/* In chunks at first. */
static bool shrink_ops(struct xfd_program *p)
{
	struct xfd_program smaller;
	bool shrunk = false;
	u32 i, j, chunk;

	for (chunk = XFD_PROGRAM_OPS / 2; chunk; chunk /= 2) {
		for (i = 0; i + chunk <= p->nr_ops;) {
			smaller = *p;
			for (j = 0; j < chunk; j++)
				xfd_program_drop(&smaller, i);
			if (shrinks_to(p, &smaller))
				shrunk = true;
			else
				i += chunk;
		}
	}
	return shrunk;
}

static bool shrink_disturbances(struct xfd_program *p)
{
	struct xfd_program smaller;
	bool shrunk = false;
	u32 i;

	for (i = 0; i <= p->nr_ops; i++) {
		if (p->before[i].kind) {
			smaller = *p;
			smaller.before[i] = (struct xfd_disturb){};
			shrunk |= shrinks_to(p, &smaller);
		}
		if (p->in_handler[i].kind) {
			smaller = *p;
			smaller.in_handler[i] = (struct xfd_disturb){};
			shrunk |= shrinks_to(p, &smaller);
		}
	}
	return shrunk;
}

void shrink(struct xfd_program *p)
{
	bool shrunk;

	do {
		shrunk = shrink_flags(p);
		shrunk |= shrink_ops(p);
		shrunk |= shrink_disturbances(p);
	} while (shrunk);
}
