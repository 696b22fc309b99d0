// SPDX-License-Identifier: GPL-2.0
/*
 * IA32_XFD and IA32_XFD_ERR of a guest in real mode, which KVM may virtualize by
 * virtual-8086 mode, and in SMM: the MSRs are the same there, and #NM by XRSTOR is.
 *
 *	real_mode	the VMM puts the guest there, and back
 *	smm		SMI, and RSM
 *
 * each from each state (lib/state.h), and with an exit to userspace there, or
 * preempted by a task that uses tiles.
 *
 * KVM virtualizes real mode as it must without kvm_intel's unrestricted_guest, or
 * ept: run it with both, too.
 */
#include "smm.h"

#include "lib/harness.h"
#include "lib/meet.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		60

#define SMRAM_GPA	0x1000000

FIXTURE(real_mode) {
	struct xfd_meeting m;
	/* At 0. */
	u8 *page;
};

XFD_FIXTURE_STATES_AND_EVENTS(real_mode);
XFD_FIXTURE_STATES_WITH(real_mode, userspace, USERSPACE);
XFD_FIXTURE_STATES_WITH(real_mode, preempt, PREEMPT);

FIXTURE_SETUP(real_mode)
{
	struct xfd_meeting *m = &self->m;

	xfd_meeting_create(m, xfd_meet_guest, variant->state, variant->event);
	self->page = addr_gpa2hva(m->vm, 0);
	m->neighbour.progress = (u64 *)(self->page + RM_PROGRESS);
	xfd_meeting_begin(m);
}

FIXTURE_TEARDOWN(real_mode)
{
	xfd_meeting_end(&self->m);
}

static void fill_page_0(u8 *page, u64 state, bool preempt)
{
	/* The vector of #NM: offset and segment. */
	*(u16 *)(page + NM_VECTOR * 4) = RM_CODE + (rm_nm - rm_start);
	*(u16 *)(page + NM_VECTOR * 4 + 2) = 0;
	*(u16 *)(page + RM_NEXT_RECORD) = RM_RECORDS;
	*(u32 *)(page + RM_XFD_ERR) = xfd_state_xfd_err(state);
	page[RM_XRSTOR] = !!xfd_state_xfd(state);
	page[RM_PREEMPT] = preempt;
	memcpy(page + RM_CODE, rm_start, rm_end - rm_start);
	/* XSTATE_BV */
	*(u64 *)(page + RM_XSAVE + 512) = XFD_TILEDATA;
}

static void enter_real_mode(struct kvm_vcpu *vcpu)
{
	struct kvm_segment data = { .limit = 0xffff, .type = 3, .present = 1, .s = 1 };
	struct kvm_segment code = data;
	struct kvm_regs regs = { .rip = RM_CODE, .rsp = RM_STACK, .rflags = 2 };
	struct kvm_sregs sregs;

	code.type = 11;
	vcpu_sregs_get(vcpu, &sregs);
	sregs.cr0 &= ~(X86_CR0_PE | X86_CR0_PG);
	sregs.efer &= ~(EFER_LME | EFER_LMA);
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.idt.base = 0;
	sregs.idt.limit = 0x3ff;
	vcpu_sregs_set(vcpu, &sregs);
	vcpu_regs_set(vcpu, &regs);
}

static void check_records(const u8 *page, u64 state)
{
	u64 xfd_err = xfd_state_xfd_err(state);
	/* Twice, in the handler of each #NM, and at the end. */
	u64 want[] = { xfd_err, xfd_err, xfd_err, XFD_TILEDATA, xfd_err };
	const struct rm_record *r = (void *)(page + RM_RECORDS);
	int i, n = (*(u16 *)(page + RM_NEXT_RECORD) - RM_RECORDS) / sizeof(*r);

	if (!xfd_state_xfd(state))
		want[3] = want[4];
	TEST_ASSERT_EQ(n, (int)ARRAY_SIZE(want) - !xfd_state_xfd(state));
	for (i = 0; i < n; i++) {
		TEST_ASSERT_EQ((u64)r[i].xfd, xfd_state_xfd(state));
		TEST_ASSERT_EQ((u64)r[i].xfd_err, want[i]);
		if (xfd_dormant_may_go() && state == XFD_DORMANT)
			continue;
		TEST_ASSERT_EQ(r[i].xinuse & XFEATURE_MASK_XTILE,
			       XFEATURE_MASK_XTILE_CFG | xfd_state_xinuse(state));
	}
}

TEST_F_TIMEOUT(real_mode, records, TIMEOUT)
{
	struct xfd_meeting *m = &self->m;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	while (xfd_meeting_run(m) != XFD_GUEST_DONE) {
		fill_page_0(self->page, variant->state, variant->event == XFD_PREEMPT);
		vcpu_run_complete_io(m->vcpu);
		vcpu_sregs_get(m->vcpu, &sregs);
		vcpu_regs_get(m->vcpu, &regs);
		enter_real_mode(m->vcpu);

		vcpu_run(m->vcpu);
		TEST_ASSERT_KVM_EXIT_REASON(m->vcpu, KVM_EXIT_IO);
		TEST_ASSERT_EQ(m->vcpu->run->io.port, RM_PORT);
		xfd_meeting_check(m, xfd_state_xfd(variant->state),
				  xfd_state_xfd_err(variant->state));
		check_records(self->page, variant->state);

		vcpu_run_complete_io(m->vcpu);
		vcpu_sregs_set(m->vcpu, &sregs);
		vcpu_regs_set(m->vcpu, &regs);
	}
}

FIXTURE(smm) {
	struct xfd_meeting m;
};

XFD_FIXTURE_STATES_AND_EVENTS(smm);
XFD_FIXTURE_STATES_WITH(smm, userspace, USERSPACE);
XFD_FIXTURE_STATES_WITH(smm, preempt, PREEMPT);

FIXTURE_SETUP(smm)
{
	struct xfd_meeting *m = &self->m;

	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		SKIP(return, "KVM has no SMM");

	xfd_meeting_create(m, xfd_meet_guest, variant->state, variant->event);
	setup_smram(m->vm, m->vcpu, SMRAM_GPA, smi_start, smi_end - smi_start);
	/* All that SMM is interrupted, too. */
	xfd_meeting_begin(m);
}

FIXTURE_TEARDOWN(smm)
{
	xfd_meeting_end(&self->m);
}

static void check_smi_out(struct xfd_meeting *m, u64 value)
{
	struct kvm_run *run = m->vcpu->run;

	vcpu_run(m->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(m->vcpu, KVM_EXIT_IO);
	TEST_ASSERT_EQ(run->io.port, RM_PORT);
	TEST_ASSERT_EQ((u64)*(u32 *)((u8 *)run + run->io.data_offset), value);
	xfd_meeting_check(m, m->guest->xfd, m->guest->xfd_err);
}

TEST_F_TIMEOUT(smm, smi_and_rsm, TIMEOUT)
{
	struct xfd_meeting *m = &self->m;

	while (xfd_meeting_run(m) != XFD_GUEST_DONE) {
		inject_smi(m->vcpu);
		check_smi_out(m, m->guest->xfd);
		check_smi_out(m, m->guest->xfd_err);
	}
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	return xfd_run_tests(argc, argv);
}
