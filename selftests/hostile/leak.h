/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What has been leaked since the kernel has booted.
 */
#ifndef SELFTESTS_HOSTILE_LEAK_H
#define SELFTESTS_HOSTILE_LEAK_H

#include <stdbool.h>

/* Has the kernel got kmemleak?  It does not scan of itself then. */
bool has_kmemleak(void);

/* Prints all leaks, which must be none. */
void check_leaks(void);

#endif /* SELFTESTS_HOSTILE_LEAK_H */
