// SPDX-License-Identifier: GPL-2.0
/* The VMM's disturbances: its ioctls, a new VM, a new task of the host's. */
#include <sched.h>
#include <stdlib.h>

#include "disturb.h"
#include "task.h"
#include "../lib/xfd.h"

/* What the guest has here, by its own word; XINUSE from when it could be seen. */
static u8 state_here(struct machine *m, bool in_handler)
{
	s64 i = m->guest->now;
	u8 state, seen;

	seen = in_handler ? m->undisturbed->ops[i].in_handler[0] : m->undisturbed->ops[i].before[0];
	for (state = seen; !(state & STATE_XCR0) && i >= 0; i--)
		state = m->undisturbed->ops[i].before[0];
	return seen | (state & (STATE_XTILECFG | STATE_XTILEDATA));
}

static void check(struct machine *m, u8 state)
{
	u64 xfd = vcpu_get_msr(m->vcpu, MSR_IA32_XFD);
	u64 xfd_err = vcpu_get_msr(m->vcpu, MSR_IA32_XFD_ERR), host;
	struct kvm_xsave *image = xfd_image_get(m->vcpu);
	u64 xstate_bv = xfd_image_header(image)->xstate_bv & XFEATURE_MASK_XTILE;
	u64 want = 0;

	if (xfd != (state & STATE_XFD ? XFD_TILEDATA : 0))
		machine_say(m, "KVM_GET_MSRS: XFD=%lx", xfd);
	if (xfd_err != (state & STATE_XFD_ERR ? XFD_TILEDATA : 0))
		machine_say(m, "KVM_GET_MSRS: XFD_ERR=%lx", xfd_err);
	if (state & STATE_XTILECFG)
		want |= XFEATURE_MASK_XTILE_CFG;
	if (state & STATE_XTILEDATA && (m->xstate || !(state & STATE_XFD)))
		want |= XFD_TILEDATA;
	if (xstate_bv != want)
		machine_say(m, "KVM_GET_XSAVE2: XSTATE_BV is %lx, not %lx", xstate_bv, want);
	free(image);
	if (xfd_rdmsr_on_cpu(sched_getcpu(), MSR_IA32_XFD_ERR, &host) && host)
		machine_say(m, "XFD_ERR of the host is %lx", host);
}

static void toggle(struct machine *m, u32 msr)
{
	u64 value = vcpu_get_msr(m->vcpu, msr);

	vcpu_set_msr(m->vcpu, msr, value ^ XFD_TILEDATA);
	vcpu_run_complete_io(m->vcpu);
	if (vcpu_get_msr(m->vcpu, msr) != (value ^ XFD_TILEDATA))
		machine_say(m, "KVM_SET_MSRS of MSR %x is forgotten", msr);
	vcpu_set_msr(m->vcpu, msr, value);
}

static void set_msrs(struct machine *m, bool xfd_err_first)
{
	u64 xfd = vcpu_get_msr(m->vcpu, MSR_IA32_XFD);
	u64 xfd_err = vcpu_get_msr(m->vcpu, MSR_IA32_XFD_ERR);

	if (xfd_err_first)
		vcpu_set_msr(m->vcpu, MSR_IA32_XFD_ERR, xfd_err);
	vcpu_set_msr(m->vcpu, MSR_IA32_XFD, xfd);
	if (!xfd_err_first)
		vcpu_set_msr(m->vcpu, MSR_IA32_XFD_ERR, xfd_err);
}

static void new_vm(struct machine *m, bool xsave_first)
{
	struct kvm_x86_state *s = vcpu_save_state(m->vcpu);
	bool filtered = m->filtered;

	kvm_vm_release(m->vm);
	m->vcpu = vm_recreate_with_one_vcpu(m->vm);
	machine_equip(m);
	machine_set_filter(m, filtered);
	vcpu_sregs_set(m->vcpu, &s->sregs);
	if (xsave_first)
		vcpu_xsave_set(m->vcpu, s->xsave);
	vcpu_msrs_set(m->vcpu, &s->msrs);
	vcpu_xcrs_set(m->vcpu, &s->xcrs);
	if (!xsave_first)
		vcpu_xsave_set(m->vcpu, s->xsave);
	vcpu_events_set(m->vcpu, &s->events);
	vcpu_mp_state_set(m->vcpu, &s->mp_state);
	vcpu_debugregs_set(m->vcpu, &s->debugregs);
	vcpu_regs_set(m->vcpu, &s->regs);
	if (s->nested.size)
		vcpu_nested_state_set(m->vcpu, &s->nested);
	kvm_x86_state_cleanup(s);
	if (m->stepping)
		machine_set_stepping(m, true);
}

void disturb(struct machine *m)
{
	bool in_handler = m->guest->in_handler;
	const struct xfd_program *p = m->program;
	const struct xfd_disturb *d = in_handler ? &p->in_handler[m->guest->now] :
						   &p->before[m->guest->now];
	u8 state = state_here(m, in_handler);
	bool in_use = state & STATE_XTILEDATA;
	/* Its tiles are not in images. */
	bool unsaved = in_use && state & STATE_XFD && !m->xstate;
	struct kvm_xsave *image;

	switch (d->kind) {
	case XFD_DISTURB_USERSPACE:
		if (d->arg & 1)
			task_wake(&tasks[0]);
		break;
	case XFD_DISTURB_IMMEDIATE_EXIT:
		vcpu_run_complete_io(m->vcpu);
		break;
	case XFD_DISTURB_GET:
		check(m, state);
		break;
	case XFD_DISTURB_SET_MSRS:
		set_msrs(m, d->arg & 1);
		break;
	case XFD_DISTURB_SET_XSAVE:
		if (unsaved)
			break;
		image = xfd_image_get(m->vcpu);
		vcpu_xsave_set(m->vcpu, image);
		free(image);
		break;
	case XFD_DISTURB_TOGGLE_XFD:
		if (in_use && xfd_dormant_may_go())
			break;
		toggle(m, MSR_IA32_XFD);
		break;
	case XFD_DISTURB_TOGGLE_XFD_ERR:
		toggle(m, MSR_IA32_XFD_ERR);
		break;
	case XFD_DISTURB_NEW_VM:
		if (!unsaved)
			new_vm(m, d->arg & 1);
		break;
	case XFD_DISTURB_FILTER:
		machine_set_filter(m, true);
		break;
	case XFD_DISTURB_UNFILTER:
		machine_set_filter(m, false);
		break;
	case XFD_DISTURB_STEP:
		machine_set_stepping(m, true);
		break;
	case XFD_DISTURB_FIRST_USE:
		xfd_first_use(vcpu_cpu, 100);
		break;
	}
}
