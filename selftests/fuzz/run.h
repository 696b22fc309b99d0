/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Running programs, undisturbed and disturbed.
 */
#ifndef SELFTESTS_FUZZ_RUN_H
#define SELFTESTS_FUZZ_RUN_H

#include "result.h"
#include "../lib/program.h"

/* What was run disturbed. */
struct counts {
	u64 operations;
	u64 disturbances[XFD_NR_DISTURB];
};

extern struct counts counts;

/* Before the first one. */
void runs_begin(void);

/* The next one begins with new VMs, as the first one did. */
void runs_forget(void);

/* Undisturbed where @undisturbed, the log of that, is NULL. */
void run(const struct xfd_program *p, const struct log *undisturbed, struct result *result);

/* Counted, and with tiles of the VMM's own if the program has them. */
void run_disturbed(const struct xfd_program *p, const struct log *undisturbed,
		   struct result *result);

/* The kernel uses the FPU meanwhile; what it saw of a guest is in @result then. */
void fpu_user_begin(enum xfd_fpu_context context);
void fpu_user_end(enum xfd_fpu_context context, struct result *result);

/* Runs it both ways, and more than once; @both are the results: undisturbed first. */
bool differs(const struct xfd_program *p, struct result both[2]);

#endif /* SELFTESTS_FUZZ_RUN_H */
