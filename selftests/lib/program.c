// SPDX-License-Identifier: GPL-2.0
/* Random guest programs: from a seed, to text and back. */
#include <stdlib.h>
#include <string.h>

#include <linux/kernel.h>

#include "test_util.h"

#include "program.h"

/* How often each is chosen, and below what its argument is. */
struct choice {
	const char *name;
	u8 weight;
	u8 args;
	/* Of an operation: may it raise #NM? */
	bool nm;
};

static const struct choice ops[XFD_NR_OPS] = {
	[XFD_OP_END]		= { "end", 0, 1 },
	[XFD_OP_WRMSR_XFD]	= { "wrmsr_xfd", 12, 8 },
	[XFD_OP_WRMSR_XFD_ERR]	= { "wrmsr_xfd_err", 5, 8 },
	[XFD_OP_RDMSR_XFD]	= { "rdmsr_xfd", 3, 1 },
	[XFD_OP_RDMSR_XFD_ERR]	= { "rdmsr_xfd_err", 3, 1 },
	[XFD_OP_LDTILECFG]	= { "ldtilecfg", 4, 8, true },
	[XFD_OP_STTILECFG]	= { "sttilecfg", 1, 1, true },
	[XFD_OP_TILES_LOAD]	= { "tiles_load", 8, 2, true },
	[XFD_OP_TILE_LOAD]	= { "tile_load", 4, 2, true },
	[XFD_OP_TILES_STORE]	= { "tiles_store", 8, 1, true },
	[XFD_OP_TILEZERO]	= { "tilezero", 2, 1, true },
	[XFD_OP_TDPBSSD]	= { "tdpbssd", 2, 1, true },
	[XFD_OP_TILERELEASE]	= { "tilerelease", 3, 1, true },
	[XFD_OP_XSAVE]		= { "xsave", 2, 8, true },
	[XFD_OP_XSAVEC]		= { "xsavec", 2, 8, true },
	[XFD_OP_XSAVEOPT]	= { "xsaveopt", 1, 8, true },
	[XFD_OP_XSAVES]		= { "xsaves", 2, 8, true },
	[XFD_OP_XRSTOR]		= { "xrstor", 4, 8, true },
	[XFD_OP_XRSTORS]	= { "xrstors", 3, 8, true },
	[XFD_OP_SET_TS]		= { "set_ts", 1, 1 },
	[XFD_OP_CLEAR_TS]	= { "clear_ts", 2, 1 },
	[XFD_OP_XCR0_OFF]	= { "xcr0_off", 1, 1 },
	[XFD_OP_XCR0_ON]	= { "xcr0_on", 2, 1 },
	[XFD_OP_XMM_LOAD]	= { "xmm_load", 2, 2, true },
	[XFD_OP_XMM_STORE]	= { "xmm_store", 2, 1, true },
};

static const struct choice disturbances[XFD_NR_DISTURB] = {
	[XFD_DISTURB_NONE]		= { "none", 0, 1 },
	[XFD_DISTURB_VMCALL]		= { "vmcall", 6, 1 },
	[XFD_DISTURB_EMULATE]		= { "emulate", 4, 1 },
	[XFD_DISTURB_USERSPACE]		= { "userspace", 4, 2 },
	[XFD_DISTURB_IMMEDIATE_EXIT]	= { "immediate_exit", 1, 1 },
	[XFD_DISTURB_GET]		= { "get", 3, 1 },
	[XFD_DISTURB_SET_MSRS]		= { "set_msrs", 3, 2 },
	[XFD_DISTURB_SET_XSAVE]		= { "set_xsave", 3, 1 },
	[XFD_DISTURB_TOGGLE_XFD]	= { "toggle_xfd", 2, 1 },
	[XFD_DISTURB_TOGGLE_XFD_ERR]	= { "toggle_xfd_err", 2, 1 },
	[XFD_DISTURB_NEW_VM]		= { "new_vm", 1, 2 },
	[XFD_DISTURB_FILTER]		= { "filter", 1, 1 },
	[XFD_DISTURB_UNFILTER]		= { "unfilter", 1, 1 },
	[XFD_DISTURB_STEP]		= { "step", 1, 1 },
	[XFD_DISTURB_FIRST_USE]		= { "first_use", 1, 1 },
	[XFD_DISTURB_PREEMPT_AMX]	= { "preempt_amx", 7, 1 },
	[XFD_DISTURB_PREEMPT_PLAIN]	= { "preempt_plain", 4, 1 },
	[XFD_DISTURB_SIGNAL]		= { "signal", 3, 1 },
	[XFD_DISTURB_MIGRATE]		= { "migrate", 4, 1 },
};

const char * const xfd_fpu_names[XFD_NR_FPU] = {
	[XFD_FPU_OFF]		= "off",
	[XFD_FPU_TASK]		= "task",
	[XFD_FPU_KTHREAD]	= "kthread",
	[XFD_FPU_SOFTIRQ]	= "softirq",
	[XFD_FPU_HARDIRQ]	= "hardirq",
	[XFD_FPU_SWAP]		= "swap",
	[XFD_FPU_RDMSR]		= "rdmsr",
};

static const char * const on_nm_names[XFD_NR_ON_NM] = {
	[XFD_NM_SKIP]	= "skip",
	[XFD_NM_CLEAR]	= "clear",
	[XFD_NM_RETRY]	= "retry",
};

const char *xfd_disturb_name(enum xfd_disturb_kind kind)
{
	return disturbances[kind].name;
}

/* xorshift64*: the same on every machine. */
static u64 below(u64 *state, u64 n)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (*state * 0x2545f4914f6cdd1dull >> 32) % n;
}

/* Seeds that are neighbours have nothing in common: splitmix64. */
static u64 begin(u64 seed)
{
	seed += 0x9e3779b97f4a7c15ull;
	seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9ull;
	seed = (seed ^ seed >> 27) * 0x94d049bb133111ebull;
	return (seed ^ seed >> 31) | 1;
}

static u8 choose(u64 *random, const struct choice *choices, int nr)
{
	int i, sum = 0, n;

	for (i = 0; i < nr; i++)
		sum += choices[i].weight;
	n = below(random, sum);
	for (i = 0; n >= choices[i].weight; i++)
		n -= choices[i].weight;
	return i;
}

static void add(struct xfd_program *p, u64 *random, enum xfd_op_kind kind, u8 arg)
{
	if (p->nr_ops == XFD_PROGRAM_OPS)
		return;
	p->ops[p->nr_ops++] = (struct xfd_op){
		kind, arg, ops[kind].nm ? below(random, XFD_NR_ON_NM) : XFD_NM_SKIP
	};
}

/* The states of lib/state.h, which are rare else. */
static void add_state(struct xfd_program *p, u64 *random)
{
	u64 state = below(random, 4);

	add(p, random, XFD_OP_LDTILECFG, 0);
	if (state < 3) {
		add(p, random, XFD_OP_WRMSR_XFD, 0);
		add(p, random, XFD_OP_TILES_LOAD, below(random, 2));
	}
	if (state < 2)
		add(p, random, XFD_OP_WRMSR_XFD, 1);
	if (state == 3) {
		add(p, random, XFD_OP_WRMSR_XFD, 1);
		add(p, random, XFD_OP_TILE_LOAD, 0);
	}
}

static bool is_msr_op(const struct xfd_op *op)
{
	return op->kind >= XFD_OP_WRMSR_XFD && op->kind <= XFD_OP_RDMSR_XFD_ERR;
}

static struct xfd_disturb choose_disturbance(u64 *random, const struct xfd_program_rules *rules,
					     const struct xfd_op *op, bool in_handler)
{
	struct xfd_disturb d = {};

	d.kind = choose(random, disturbances, XFD_NR_DISTURB);
	/* KVM may do these in the guest's stead: see that it does. */
	if (is_msr_op(op) && !below(random, 4))
		d.kind = below(random, 2) ? XFD_DISTURB_STEP : XFD_DISTURB_EMULATE;
	d.arg = below(random, disturbances[d.kind].args);
	/* An operation as a whole is stepped over, and emulated. */
	if (in_handler && (d.kind == XFD_DISTURB_STEP || d.kind == XFD_DISTURB_EMULATE))
		d.kind = XFD_DISTURB_VMCALL;
	if (d.kind == XFD_DISTURB_EMULATE && !rules->emulation)
		d.kind = XFD_DISTURB_VMCALL;
	return d;
}

void xfd_program_make(struct xfd_program *p, u64 seed, const struct xfd_program_rules *rules)
{
	static const u8 densities[] = { 2, 3, 6, 12 };
	u64 random = begin(seed / XFD_PROGRAM_BATCH);
	u64 density, length;
	u32 i;

	memset(p, 0, sizeof(*p));
	p->fpu = below(&random, XFD_NR_FPU);
	if (!rules->fpu_user)
		p->fpu = XFD_FPU_OFF;

	random = begin(~seed);
	p->fresh = !below(&random, 4);
	p->xstate = below(&random, 2) && rules->xstate;
	p->own_tiles = !below(&random, 4);
	p->nested = !below(&random, 8) && rules->nested;
	density = densities[below(&random, ARRAY_SIZE(densities))];
	length = 4 + below(&random, XFD_PROGRAM_OPS - 3);

	/* KVM treats a guest's first write of XFD like no other: with tiles in use it matters. */
	if (p->fresh)
		add_state(p, &random);
	while (p->nr_ops < length) {
		u8 kind = choose(&random, ops, XFD_NR_OPS);

		if (!below(&random, 10))
			add_state(p, &random);
		else
			add(p, &random, kind, below(&random, ops[kind].args));
	}
	for (i = 0; i <= p->nr_ops; i++) {
		if (!below(&random, is_msr_op(&p->ops[i]) ? (density + 1) / 2 : density))
			p->before[i] = choose_disturbance(&random, rules, &p->ops[i], false);
		if (ops[p->ops[i].kind].nm && !below(&random, density))
			p->in_handler[i] = choose_disturbance(&random, rules, &p->ops[i], true);
	}
}

void xfd_program_drop(struct xfd_program *p, u32 i)
{
	u32 behind = p->nr_ops - i;

	memmove(&p->ops[i], &p->ops[i + 1], behind * sizeof(p->ops[0]));
	memmove(&p->before[i], &p->before[i + 1], behind * sizeof(p->before[0]));
	memmove(&p->in_handler[i], &p->in_handler[i + 1], behind * sizeof(p->in_handler[0]));
	p->nr_ops--;
}

u32 xfd_program_disturbances(const struct xfd_program *p)
{
	u32 i, n = 0;

	for (i = 0; i <= p->nr_ops; i++)
		n += !!p->before[i].kind + !!p->in_handler[i].kind;
	return n;
}

static void print_header(const struct xfd_program *p, FILE *f, const char *end)
{
	if (p->fresh)
		fprintf(f, "fresh%s", end);
	if (p->xstate)
		fprintf(f, "xstate%s", end);
	if (p->own_tiles)
		fprintf(f, "own_tiles%s", end);
	if (p->nested)
		fprintf(f, "nested%s", end);
	if (p->fpu)
		fprintf(f, "fpu_%s%s", xfd_fpu_names[p->fpu], end);
}

static void print_disturbance(const struct xfd_disturb *d, FILE *f)
{
	fprintf(f, "%s:%u", disturbances[d->kind].name, d->arg);
}

void xfd_program_print(const struct xfd_program *p, FILE *f)
{
	u32 i;

	print_header(p, f, ",");
	for (i = 0; i <= p->nr_ops; i++) {
		const struct xfd_op *op = &p->ops[i];

		if (i)
			fprintf(f, ",");
		if (p->before[i].kind) {
			print_disturbance(&p->before[i], f);
			fprintf(f, "@");
		}
		fprintf(f, "%s:%u", ops[op->kind].name, op->arg);
		if (ops[op->kind].nm)
			fprintf(f, ":%s", on_nm_names[op->on_nm]);
		if (p->in_handler[i].kind) {
			fprintf(f, "@");
			print_disturbance(&p->in_handler[i], f);
		}
	}
}

void xfd_program_list(const struct xfd_program *p, FILE *f)
{
	u32 i;

	fprintf(f, "#  ");
	print_header(p, f, " ");
	fprintf(f, "\n");
	for (i = 0; i <= p->nr_ops; i++) {
		const struct xfd_op *op = &p->ops[i];

		if (p->before[i].kind) {
			fprintf(f, "#       ");
			print_disturbance(&p->before[i], f);
			fprintf(f, "\n");
		}
		fprintf(f, "# %3u. %s", i, ops[op->kind].name);
		if (ops[op->kind].args > 1)
			fprintf(f, " %u", op->arg);
		if (ops[op->kind].nm)
			fprintf(f, " (#NM: %s)", on_nm_names[op->on_nm]);
		if (p->in_handler[i].kind) {
			fprintf(f, ", in the handler ");
			print_disturbance(&p->in_handler[i], f);
		}
		fprintf(f, "\n");
	}
}

/* NAME:ARG:NAME, of which only the first is needed. */
struct word {
	const char *name;
	unsigned int arg;
	const char *on_nm;
};

static bool split(char *text, struct word *w)
{
	char *save, *arg;

	w->name = strtok_r(text, ":", &save);
	arg = strtok_r(NULL, ":", &save);
	w->on_nm = strtok_r(NULL, ":", &save);
	w->arg = arg ? atoi(arg) : 0;
	return w->name;
}

static int find(const char *name, const struct choice *choices, int nr)
{
	while (--nr >= 0) {
		if (!strcmp(choices[nr].name, name))
			break;
	}
	return nr;
}

/* One with an "@" is several parts, the second of them or the first is the operation. */
static bool parse_op(struct xfd_program *p, char *text)
{
	struct xfd_op *op = &p->ops[p->nr_ops];
	struct xfd_disturb *d = &p->before[p->nr_ops];
	bool found = false;
	struct word w;
	char *part, *save;
	int kind, i;

	for (part = strtok_r(text, "@", &save); part; part = strtok_r(NULL, "@", &save)) {
		if (!split(part, &w))
			return false;
		kind = find(w.name, disturbances, XFD_NR_DISTURB);
		if (kind >= 0) {
			*d = (struct xfd_disturb){ kind, w.arg };
			continue;
		}
		kind = find(w.name, ops, XFD_NR_OPS);
		if (kind < 0 || found)
			return false;
		found = true;
		op->kind = kind;
		op->arg = w.arg;
		for (i = 0; w.on_nm && i < XFD_NR_ON_NM; i++) {
			if (!strcmp(on_nm_names[i], w.on_nm))
				op->on_nm = i;
		}
		d = &p->in_handler[p->nr_ops];
	}
	return found;
}

static bool parse_header(struct xfd_program *p, const char *word)
{
	struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{ "fresh", &p->fresh }, { "xstate", &p->xstate },
		{ "own_tiles", &p->own_tiles }, { "nested", &p->nested },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		if (!strcmp(word, flags[i].name)) {
			*flags[i].flag = true;
			return true;
		}
	}
	for (i = 0; i < XFD_NR_FPU; i++) {
		if (!strncmp(word, "fpu_", 4) && !strcmp(word + 4, xfd_fpu_names[i])) {
			p->fpu = i;
			return true;
		}
	}
	return false;
}

const char *xfd_program_parse(struct xfd_program *p, const char *text)
{
	char *copy = strdup(text), *save, *word;
	bool ended = false;

	TEST_ASSERT(copy, "out of memory");
	memset(p, 0, sizeof(*p));
	for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		const char *here = text + (word - copy);

		if (parse_header(p, word))
			continue;
		if (ended || p->nr_ops > XFD_PROGRAM_OPS || !parse_op(p, word))
			return here;
		ended = p->ops[p->nr_ops].kind == XFD_OP_END;
		if (!ended)
			p->nr_ops++;
	}
	free(copy);
	return p->nr_ops > XFD_PROGRAM_OPS ? "too many operations" : NULL;
}
