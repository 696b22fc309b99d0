// SPDX-License-Identifier: GPL-2.0
/*
 * IA32_XFD and IA32_XFD_ERR are what the guest's CPUID says.
 *
 *	reserved_bits	bits that CPUID does not enumerate raise #GP
 *	refused		a write that is refused has KVM prepare nothing for XFD
 *	no_xfd		without XFD neither MSR is there
 *	xfd_taken	nor if the VMM sets XFD before it takes it from CPUID
 */
#include "lib/harness.h"
#include "lib/meet.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		60

static const u32 msrs[] = { MSR_IA32_XFD, MSR_IA32_XFD_ERR };

FIXTURE(cpuid) {
	struct xfd_meeting m;
};

FIXTURE_SETUP(cpuid)
{
	xfd_meeting_create(&self->m, NULL, XFD_ARMED, XFD_VMCALL);
}

FIXTURE_TEARDOWN(cpuid)
{
	xfd_meeting_end(&self->m);
}

static void check_reserved_bits(void)
{
	u64 mask = xfd_cpuid_mask(), value;
	int i, bit;

	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		value = rdmsr(msrs[i]);
		for (bit = 0; bit < 64; bit++) {
			if (mask & BIT_ULL(bit))
				continue;
			GUEST_ASSERT_EQ(wrmsr_safe(msrs[i], BIT_ULL(bit)), GP_VECTOR);
			GUEST_ASSERT_EQ(wrmsr_safe(msrs[i], BIT_ULL(bit) | mask), GP_VECTOR);
		}
		GUEST_ASSERT_EQ(rdmsr(msrs[i]), value);
	}
}

static void guest_reserved_bits(void)
{
	u64 mask = xfd_cpuid_mask();

	GUEST_ASSERT(mask & XFD_TILEDATA);
	/* While KVM emulates the writes, and when it may not any more. */
	check_reserved_bits();
	wrmsr(MSR_IA32_XFD, mask);
	wrmsr(MSR_IA32_XFD_ERR, mask);
	check_reserved_bits();
	xfd_meet_sync(XFD_MEET_EVENT, mask, mask);
	xfd_meet_check_msrs(mask, mask);
	GUEST_DONE();
}

TEST_F_TIMEOUT(cpuid, reserved_bits, TIMEOUT)
{
	struct xfd_meeting *m = &self->m;
	int i, bit;

	vcpu_arch_set_entry_point(m->vcpu, guest_reserved_bits);
	TEST_ASSERT_EQ(xfd_meeting_run(m), XFD_MEET_EVENT);
	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		for (bit = 0; bit < 64; bit++) {
			if (m->guest->xfd & BIT_ULL(bit))
				continue;
			TEST_ASSERT(_vcpu_set_msr(m->vcpu, msrs[i], BIT_ULL(bit)) != 1,
				    "KVM_SET_MSRS(%x) took bit %d", msrs[i], bit);
		}
	}
	TEST_ASSERT_EQ(xfd_meeting_run(m), XFD_GUEST_DONE);
}

static void guest_refused(void)
{
	u64 mask = xfd_cpuid_mask();

	GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, ~mask), GP_VECTOR);
	xfd_meet_sync(XFD_MEET_EVENT, 0, 0);
	wrmsr(MSR_IA32_XFD, mask);
	GUEST_DONE();
}

/* Entries of the MSR lists show what KVM has prepared: only autoload has any. */
static void refused(struct xfd_meeting *m, bool then_write)
{
	int want = then_write && xfd_strategy_is("autoload") ? 6 : 0;
	int entries;

	vcpu_arch_set_entry_point(m->vcpu, guest_refused);
	TEST_ASSERT_EQ(xfd_meeting_run(m), XFD_MEET_EVENT);
	TEST_ASSERT(_vcpu_set_msr(m->vcpu, MSR_IA32_XFD, ~m->guest->xfd & ~XFD_TILEDATA) != 1,
		    "KVM_SET_MSRS took reserved bits");
	if (then_write)
		TEST_ASSERT_EQ(xfd_meeting_run(m), XFD_GUEST_DONE);
	entries = xfd_msr_list_entries(m->vcpu);
	TEST_ASSERT(entries >= 0, "KVM does not say what is in the lists");
	TEST_ASSERT_EQ(entries, want);
}

TEST_F_TIMEOUT(cpuid, refused, TIMEOUT)
{
	refused(&self->m, false);
}

TEST_F_TIMEOUT(cpuid, refused_then_taken, TIMEOUT)
{
	refused(&self->m, true);
}

static void guest_no_xfd(void)
{
	u64 value;
	int i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		GUEST_ASSERT_EQ(rdmsr_safe(msrs[i], &value), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(msrs[i], 0), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(msrs[i], XFD_TILEDATA), GP_VECTOR);
	}
	GUEST_DONE();
}

TEST_F_TIMEOUT(cpuid, no_xfd, TIMEOUT)
{
	struct xfd_meeting *m = &self->m;

	vcpu_arch_set_entry_point(m->vcpu, guest_no_xfd);
	vcpu_clear_cpuid_feature(m->vcpu, X86_FEATURE_XFD);
	TEST_ASSERT_EQ(xfd_meeting_run(m), XFD_GUEST_DONE);
}

TEST_F_TIMEOUT(cpuid, xfd_taken, TIMEOUT)
{
	struct xfd_meeting *m = &self->m;

	/* It passes through what it has passed through once. */
	if (xfd_expect == XFD_STOCK)
		SKIP(return, "Linux 7.3.4 gets it wrong");

	vcpu_arch_set_entry_point(m->vcpu, guest_no_xfd);
	vcpu_set_msr(m->vcpu, MSR_IA32_XFD, XFD_TILEDATA);
	vcpu_clear_cpuid_feature(m->vcpu, X86_FEATURE_XFD);
	TEST_ASSERT_EQ(xfd_meeting_run(m), XFD_GUEST_DONE);
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	return xfd_run_tests(argc, argv);
}
