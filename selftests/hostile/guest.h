/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guests: one that checks all that it has, and one that is raced for.
 */
#ifndef SELFTESTS_HOSTILE_GUEST_H
#define SELFTESTS_HOSTILE_GUEST_H

#include "../lib/model.h"

/* Where the guest leaves for userspace; the library's own port is another. */
#define PORT		0x584

/* What the guest must find, and what it is to enter then. */
struct order {
	struct xfd_model before, after;
	/* Of the race. */
	u64 spin;
	u64 rounds;
};

/* In the guest; the host has it as target::order. */
extern struct order order;

/* Finds what it must, enters what it is to, and leaves. */
void guest_code(void);

/* Nothing that it has stays: userspace sets it meanwhile. */
void guest_race(void);

#endif /* SELFTESTS_HOSTILE_GUEST_H */
