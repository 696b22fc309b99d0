// SPDX-License-Identifier: GPL-2.0
/* Guests that meet events, and the host tasks that make those happen. */
#include <unistd.h>

#include "cpu.h"
#include "expect.h"
#include "meet.h"
#include "nm.h"
#include "vcpu.h"

struct xfd_meet xfd_meet;
struct xfd_tiles xfd_meet_tiles;

void xfd_meet_sync(u64 what, u64 xfd, u64 xfd_err)
{
	xfd_meet.xfd = xfd;
	xfd_meet.xfd_err = xfd_err;
	GUEST_SYNC(what);
}

void xfd_meet_event(u64 xfd, u64 xfd_err)
{
	u64 i, start;

	switch (xfd_meet.event) {
	case XFD_VMCALL:
		for (i = 0; i < 20; i++)
			xfd_vmcall();
		break;
	case XFD_USERSPACE:
		xfd_meet_sync(XFD_MEET_EVENT, xfd, xfd_err);
		break;
	case XFD_PREEMPT:
		start = READ_ONCE(xfd_meet.progress);
		while (READ_ONCE(xfd_meet.progress) - start < 3)
			cpu_relax();
		break;
	case XFD_MIGRATE:
		WRITE_ONCE(xfd_meet.waiting, xfd_meet.waiting + 1);
		while (READ_ONCE(xfd_meet.happened) != xfd_meet.waiting)
			cpu_relax();
		break;
	}
}

void xfd_meet_check_msrs(u64 xfd, u64 xfd_err)
{
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), xfd);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_err);
}

void xfd_meet_with_msrs(u64 xfd, u64 xfd_err)
{
	xfd_meet_check_msrs(xfd, xfd_err);
	xfd_meet_event(xfd, xfd_err);
	xfd_meet_check_msrs(xfd, xfd_err);
}

void xfd_meet_enter(u64 state)
{
	xfd_tiles_fill(&xfd_meet_tiles, 1 + state);
	xfd_state_enter(&xfd_meet_tiles, state);
}

void xfd_meet_check(u64 state)
{
	xfd_state_check(&xfd_meet_tiles, state);
}

#define ROUNDS	3

void xfd_meet_guest(void)
{
	u64 state = xfd_meet.state;
	int i;

	xfd_meet_enter(state);
	for (i = 0; i < ROUNDS; i++) {
		xfd_meet_check(state);
		xfd_meet_sync(XFD_MEET_EVENT, xfd_state_xfd(state), xfd_state_xfd_err(state));
		xfd_meet_check(state);
	}
	GUEST_DONE();
}

void xfd_meeting_create(struct xfd_meeting *m, void (*guest)(void), enum xfd_state state,
			enum xfd_event event)
{
	memset(m, 0, sizeof(*m));
	m->event = event;
	m->cpus[0] = xfd_cpu(0);
	m->cpus[1] = xfd_cpu(1);

	m->vm = vm_create(1);
	/* For real mode; KVM wants to know before there is a vCPU. */
	TEST_ASSERT(!__vm_ioctl(m->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul),
		    "KVM_SET_TSS_ADDR failed, errno = %d", errno);
	m->vcpu = vm_vcpu_add(m->vm, 0, guest);
	kvm_arch_vm_finalize_vcpus(m->vm);
	vm_install_exception_handler(m->vm, NM_VECTOR, xfd_nm_handler);
	xfd_vm_expect(m->vm, xfd_expect);

	m->guest = xfd_guest_ptr(m->vm, xfd_meet);
	m->guest->event = event;
	m->guest->state = state;
	m->neighbour.progress = &m->guest->progress;
}

static void *mover_fn(void *arg)
{
	struct xfd_meeting *m = arg;
	u64 happened = 0;

	while (!READ_ONCE(m->done)) {
		if (READ_ONCE(m->guest->waiting) == happened) {
			usleep(500);
			continue;
		}
		happened++;
		pin_task_to_cpu(m->vcpu_thread, m->cpus[happened & 1]);
		WRITE_ONCE(m->guest->happened, happened);
	}
	return NULL;
}

void xfd_meeting_begin(struct xfd_meeting *m)
{
	m->vcpu_thread = pthread_self();
	/* Threads inherit the affinity: this one must be free of it. */
	if (m->event == XFD_MIGRATE)
		TEST_ASSERT(!pthread_create(&m->mover, NULL, mover_fn, m), "pthread_create()");
	pin_self_to_cpu(m->cpus[0]);
	m->neighbour.cpu = m->cpus[0];
	m->neighbour.amx = true;
	m->neighbour.seed = 200;
	if (m->event == XFD_PREEMPT)
		xfd_neighbour_start(&m->neighbour);
}

void xfd_meeting_end(struct xfd_meeting *m)
{
	WRITE_ONCE(m->done, true);
	if (m->event == XFD_MIGRATE)
		pthread_join(m->mover, NULL);
	if (m->event == XFD_PREEMPT)
		xfd_neighbour_stop(&m->neighbour);
	kvm_vm_free(m->vm);
}

void xfd_meeting_check(struct xfd_meeting *m, u64 xfd, u64 xfd_err)
{
	xfd_check_host_msrs(XFD_TILEDATA);
	xfd_vcpu_check_msrs(m->vcpu, xfd, xfd_err);
}

u64 xfd_meeting_run(struct xfd_meeting *m)
{
	u64 sync = xfd_vcpu_run(m->vcpu);

	if (sync != XFD_GUEST_DONE)
		xfd_meeting_check(m, m->guest->xfd, m->guest->xfd_err);
	return sync;
}

void xfd_meeting_run_all(struct xfd_meeting *m)
{
	while (xfd_meeting_run(m) != XFD_GUEST_DONE)
		continue;
}
