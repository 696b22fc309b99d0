// SPDX-License-Identifier: GPL-2.0
/* Counts of ioctls. */
#include <string.h>

#include "kselftest.h"

#include "tally.h"

void tally_add(struct tally *to, const struct tally *from)
{
	int i;

	to->ioctls += from->ioctls;
	to->faults += from->faults;
	to->failed += from->failed;
	for (i = 0; i < MAX_ERRNO_SEEN; i++)
		to->by_errno[i] += from->by_errno[i];
}

void tally_report(const struct tally *tally, u64 seeds)
{
	int i;

	ksft_print_msg("hostile: seeds %lu\n", seeds);
	ksft_print_msg("hostile: ioctls %lu\n", tally->ioctls);
	for (i = 0; i < MAX_ERRNO_SEEN; i++) {
		if (tally->by_errno[i])
			ksft_print_msg("hostile: errno %s %lu\n", i ? strerrorname_np(i) : "0",
				       tally->by_errno[i]);
	}
	ksft_print_msg("hostile: faults %lu\n", tally->faults);
	ksft_print_msg("hostile: failed_by_fault %lu\n", tally->failed);
}
