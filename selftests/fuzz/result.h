/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What comes of a program: what its guest saw, which the guest writes down, and what the VMM
 * saw that it must not.
 */
#ifndef SELFTESTS_FUZZ_RESULT_H
#define SELFTESTS_FUZZ_RESULT_H

#include <linux/bits.h>

#include "../lib/program.h"

/* All of a guest's state that can be read at any time, in bits. */
enum {
	STATE_XFD = BIT(0),
	STATE_XFD_ERR = BIT(1),
	STATE_XTILECFG = BIT(2),
	STATE_XTILEDATA = BIT(3),
	STATE_XCR0 = BIT(4),
	STATE_TS = BIT(5),
	/* Bits of either MSR that the guest cannot have set. */
	STATE_STRANGE = BIT(6),
	/* The guest came here. */
	STATE_SEEN = BIT(7),
};

/* What a guest sees; compared byte by byte. */
struct log {
	struct {
		/* Around its disturbance, and in the handler of its #NM likewise. */
		u8 before[2];
		u8 in_handler[2];
		u8 vector;
		u64 value;
	} ops[XFD_PROGRAM_OPS + 1];
	/* Tiles, their configuration and XMM registers at the end. */
	u64 end[3];
};

struct result {
	struct log log;
	/* What the VMM saw that it must not. */
	char said[256];
};

/* The logs are the same, and the VMM said nothing. */
bool result_same(const struct result *a, const struct result *b);

/* In what they differ: undisturbed first. */
void print_difference(const struct xfd_program *p, const struct result both[2]);

#endif /* SELFTESTS_FUZZ_RESULT_H */
