/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module counts of a vCPU, of a VM and of all, as its files in debugfs
 * show it, and the trace events of the same.
 */
#ifndef SELFTESTS_LIB_COUNTERS_H
#define SELFTESTS_LIB_COUNTERS_H

#include <stddef.h>

#include <linux/types.h>

#include "kvm_util.h"

/* In the order of the files' lines. */
enum xfd_counter {
	XFD_VCPUS,
	XFD_EXITS,
	XFD_EXITS_WITHOUT_SAVE,
	XFD_LOADS,
	XFD_SAVES,
	/* By why the MSRs are saved. */
	XFD_SAVES_SWITCH,
	XFD_SAVES_USERSPACE,
	XFD_SAVES_TASK,
	XFD_SAVES_SOFTIRQ,
	XFD_SAVES_HARDIRQ,
	XFD_SAVES_ACCESS,
	XFD_SAVES_STRATEGY,
	XFD_SAVES_DORMANT,
	XFD_RDMSR_XFD,
	XFD_RDMSR_XFD_ERR,
	XFD_WRMSR_XFD,
	XFD_WRMSR_XFD_ERR,
	XFD_NR_COUNTERS,
};

extern const char * const xfd_counter_names[XFD_NR_COUNTERS];

struct xfd_counters {
	s64 of[XFD_NR_COUNTERS];
};

/* A file's name: of all vCPUs, of those of @vm, and of one of them. */
const char *xfd_counters_summary(void);
const char *xfd_counters_of_vm(struct kvm_vm *vm);
const char *xfd_counters_of_vcpu(struct kvm_vcpu *vcpu);

/* Fails the test if the file has other lines than it should. */
struct xfd_counters xfd_counters_read(const char *path);

struct xfd_counters xfd_counters_minus(struct xfd_counters a, struct xfd_counters b);

/*
 * Traces VM-exits, loads and saves of this thread, and the kernel's accesses of both
 * MSRs there.  Not by the tracer's own filter of threads: to that, a thread that is
 * being scheduled out is the next one already.
 */
void xfd_observe_begin(void);

/*
 * Ends it, and makes counters of the events on @cpu, as far as events have them;
 * XFD_VCPUS is 0.  @accesses is what the kernel's accessors traced, in the counters'
 * words: the rest of its counters is 0.
 */
struct xfd_counters xfd_observe_end(int cpu, struct xfd_counters *accesses);

#endif /* SELFTESTS_LIB_COUNTERS_H */
