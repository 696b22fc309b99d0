/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the VMM does to disturb a guest.
 */
#ifndef SELFTESTS_FUZZ_DISTURB_H
#define SELFTESTS_FUZZ_DISTURB_H

#include "machine.h"

/* As the program says of the operation that the guest is at: it has asked for it. */
void disturb(struct machine *m);

#endif /* SELFTESTS_FUZZ_DISTURB_H */
