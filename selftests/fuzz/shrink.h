/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Smaller programs that differ still.
 */
#ifndef SELFTESTS_FUZZ_SHRINK_H
#define SELFTESTS_FUZZ_SHRINK_H

#include "../lib/program.h"

/* Takes away what is not needed for a difference. */
void shrink(struct xfd_program *p);

#endif /* SELFTESTS_FUZZ_SHRINK_H */
