/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM with the guest in it.
 */
#ifndef SELFTESTS_FUZZ_MACHINE_H
#define SELFTESTS_FUZZ_MACHINE_H

#include "kvm_util.h"

#include "guest.h"
#include "result.h"

/* A VM, and what has come of its program. */
struct machine {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct guest *guest;
	const struct xfd_program *program;
	bool xstate;
	bool filtered;
	/* Exits for RDMSR and WRMSR since then. */
	u64 filter_exits;
	bool stepping;
	/* Of the run without disturbances; NULL while that runs. */
	const struct log *undisturbed;
	struct result *result;
};

/* Its guest waits for a program. */
void machine_create(struct machine *m, bool xstate, bool nested);

/* Does nothing where it has not been created. */
void machine_destroy(struct machine *m);

/* What a new VM's file descriptor has. */
void machine_equip(struct machine *m);

/* RDMSR and WRMSR of XFD and XFD_ERR exit to the VMM. */
void machine_set_filter(struct machine *m, bool on);

/* Single-stepping. */
void machine_set_stepping(struct machine *m, bool on);

/* What it has seen that it must not: the first counts. */
void machine_say(struct machine *m, const char *format, ...);

#endif /* SELFTESTS_FUZZ_MACHINE_H */
