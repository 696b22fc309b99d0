/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In the guest: the operations of programs, and of what they consist what begins and ends a
 * program, too.
 */
#ifndef SELFTESTS_FUZZ_OP_H
#define SELFTESTS_FUZZ_OP_H

#include "../lib/program.h"

/*
 * Executes it.  Returns the vector of what it raised, or 0; *@value is what it has read, and
 * *@hash how many bytes it has written, for guest_hash_of().
 */
u8 guest_do(const struct xfd_op *op, bool emulated, u64 *value, u64 *hash);

/* The hash of what it has written. */
u64 guest_hash_of(const struct xfd_op *op, u64 bytes);

/* These return a vector likewise. */
u8 guest_tiles_store(u8 *data);
u8 guest_xmm_load(const u8 *data);
u8 guest_xmm_store(u8 *data);

#endif /* SELFTESTS_FUZZ_OP_H */
