/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's accesses of IA32_XFD and IA32_XFD_ERR, and VM-exits and VM-entries,
 * in an instance of the tracer that has nothing else in it.  Code that bypasses
 * the kernel's accessors would not be seen.
 */
#ifndef SELFTESTS_LIB_TRACE_H
#define SELFTESTS_LIB_TRACE_H

#include <stdbool.h>
#include <stdio.h>

#include <linux/types.h>

#define XFD_TRACEFS		"/sys/kernel/tracing"
#define XFD_TRACE_INSTANCE	XFD_TRACEFS "/instances/xfd_test"

/* One of them, as its line in the trace has it. */
struct xfd_access {
	bool write;
	unsigned int msr;
	unsigned long value;
};

struct xfd_accesses {
	s64 rdmsr_xfd, wrmsr_xfd, rdmsr_xfd_err, wrmsr_xfd_err;
};

/* Makes the instance, with room for @nr accesses on each CPU; all events are off. */
void xfd_trace_setup(u64 nr);

void xfd_trace_remove(void);

/* Not only the buffer: an event that is on costs instructions. */
void xfd_trace_enable(bool on);

/* VM-exits, VM-entries and switches to another task, too, and only what this thread does. */
void xfd_trace_enable_own_exits(void);

/*
 * VM-exits, VM-entries, returns of KVM_RUN to userspace and switches to another task, of
 * this thread, by the TSC; no accesses.
 */
void xfd_trace_enable_latencies(void);

/* The buffer is empty, and takes what happens from now on. */
void xfd_trace_begin(void);

/* Stops; returns what @cpu has, to be read line by line and closed.  None may be lost. */
FILE *xfd_trace_end_open(int cpu);

/* Is this line one of an access? */
bool xfd_trace_is_access(const char *line, struct xfd_access *a);

/* What happened on @cpu until now, counted. */
struct xfd_accesses xfd_trace_end(int cpu);

/*
 * The same as a string of words, to be freed:
 *
 *	>		VM-entry
 *	<REASON		VM-exit
 *	R4:v R5:v	RDMSR of XFD (1C4H) and of XFD_ERR (1C5H), and what it returned
 *	W4:v W5:v	WRMSR
 *	/		a switch to another task, or back
 */
char *xfd_trace_end_words(int cpu);

#endif /* SELFTESTS_LIB_TRACE_H */
