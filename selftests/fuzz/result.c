// SPDX-License-Identifier: GPL-2.0
/* How two results of a program differ, and the words for it. */
#include <string.h>

#include <linux/kernel.h>

#include "result.h"

bool result_same(const struct result *a, const struct result *b)
{
	return !memcmp(&a->log, &b->log, sizeof(a->log)) && !a->said[0] && !b->said[0];
}

static const char *state_words(u8 state)
{
	static char words[4][64];
	static int next;
	char *s = words[next++ % 4];

	snprintf(s, 64, "XFD=%d XFD_ERR=%d cfg=%d tiles=%d XCR0=%d TS=%d%s",
		 !!(state & STATE_XFD), !!(state & STATE_XFD_ERR), !!(state & STATE_XTILECFG),
		 !!(state & STATE_XTILEDATA), !!(state & STATE_XCR0), !!(state & STATE_TS),
		 state & STATE_STRANGE ? " and more" : "");
	return state & STATE_SEEN ? s : "it never came there";
}

static void print_states(u32 i, const char *when, u8 undisturbed, u8 disturbed)
{
	if (undisturbed != disturbed)
		printf("#   %s operation %u: %s, undisturbed: %s\n", when, i,
		       state_words(disturbed), state_words(undisturbed));
}

void print_difference(const struct xfd_program *p, const struct result both[2])
{
	static const char * const ends[] = { "XMM registers", "TILECFG", "tiles" };
	const struct log *a = &both[0].log, *b = &both[1].log;
	u32 i;

	for (i = 0; i < 2; i++) {
		if (both[i].said[0])
			printf("#   %s: %s\n", i ? "disturbed" : "undisturbed", both[i].said);
	}
	for (i = 0; i <= p->nr_ops; i++) {
		print_states(i, "before what disturbs", a->ops[i].before[0], b->ops[i].before[0]);
		print_states(i, "before", a->ops[i].before[1], b->ops[i].before[1]);
		print_states(i, "in the handler, before what disturbs,", a->ops[i].in_handler[0],
			     b->ops[i].in_handler[0]);
		print_states(i, "in the handler of", a->ops[i].in_handler[1],
			     b->ops[i].in_handler[1]);
		if (a->ops[i].vector != b->ops[i].vector)
			printf("#   operation %u: exception %u, undisturbed: %u\n", i,
			       b->ops[i].vector, a->ops[i].vector);
		if (a->ops[i].value != b->ops[i].value)
			printf("#   operation %u: result %lx, undisturbed: %lx\n", i,
			       (u64)b->ops[i].value, (u64)a->ops[i].value);
	}
	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		if (a->end[i] != b->end[i])
			printf("#   at the end other %s\n", ends[i]);
	}
}
