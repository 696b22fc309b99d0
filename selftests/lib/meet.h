/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that meets an event with known values in XFD and XFD_ERR: the guest's
 * part of it, and the VMM and the host tasks that make the event happen.
 */
#ifndef SELFTESTS_LIB_MEET_H
#define SELFTESTS_LIB_MEET_H

#include <pthread.h>

#include "kvm_util.h"
#include "state.h"
#include "task.h"
#include "tiles.h"

/* What a guest may meet. */
enum xfd_event {
	/* Exits that the kernel handles. */
	XFD_VMCALL,
	/* An exit to userspace, where the VMM looks at both MSRs. */
	XFD_USERSPACE,
	/* Preemption by a task that uses tiles, while the guest does not exit by itself. */
	XFD_PREEMPT,
	/* To another CPU and back, likewise. */
	XFD_MIGRATE,
};

/* The guest's memory of it; the host has it as xfd_meeting::guest. */
struct xfd_meet {
	/* enum xfd_event */
	u64 event;
	/* A test's parameters. */
	u64 state;
	u64 variant;
	/* What the vCPU has at a GUEST_SYNC(). */
	u64 xfd, xfd_err;
	/* The migration that the guest waits for; the last that has happened. */
	u64 waiting;
	u64 happened;
	/* Written by the neighbour. */
	u64 progress;
};

extern struct xfd_meet xfd_meet;
extern struct xfd_tiles xfd_meet_tiles;

/* What a GUEST_SYNC() is for, where a test has no more kinds of them. */
#define XFD_MEET_EVENT	0

/*
 * In the guest.  Here and below @xfd and @xfd_err are what is in the MSRs.
 */

/* Tells the host, which checks the values and does @what. */
void xfd_meet_sync(u64 what, u64 xfd, u64 xfd_err);

/* The event. */
void xfd_meet_event(u64 xfd, u64 xfd_err);

void xfd_meet_check_msrs(u64 xfd, u64 xfd_err);

/* The MSRs, the event, and the MSRs again. */
void xfd_meet_with_msrs(u64 xfd, u64 xfd_err);

/* As in state.h, with other tiles for each state. */
void xfd_meet_enter(u64 state);
void xfd_meet_check(u64 state);

/* Guest code: enters a state, and is to see nothing at all of what the host does. */
void xfd_meet_guest(void);

/*
 * The host.
 */
struct xfd_meeting {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct xfd_meet *guest;
	enum xfd_event event;
	/* The CPUs that it runs on; -1 if there is no second one. */
	int cpus[2];
	pthread_t vcpu_thread, mover;
	bool done;
	struct xfd_neighbour neighbour;
};

/* A VM with one vCPU, in real mode or not. */
void xfd_meeting_create(struct xfd_meeting *m, void (*guest)(void), enum xfd_state state,
			enum xfd_event event);

/* The event can happen from now on; ends with xfd_meeting_end(). */
void xfd_meeting_begin(struct xfd_meeting *m);

void xfd_meeting_end(struct xfd_meeting *m);

/* Both MSRs: the host's, in this thread, and the vCPU's. */
void xfd_meeting_check(struct xfd_meeting *m, u64 xfd, u64 xfd_err);

/* To the guest's next xfd_meet_sync(), where it has what it says; as xfd_vcpu_run(). */
u64 xfd_meeting_run(struct xfd_meeting *m);

/* To the guest's end. */
void xfd_meeting_run_all(struct xfd_meeting *m);

#endif /* SELFTESTS_LIB_MEET_H */
