// SPDX-License-Identifier: GPL-2.0
/*
 * IA32_XFD, IA32_XFD_ERR, XINUSE and tiles of a guest that is a hypervisor (L1)
 * with a guest of its own (L2).  Neither MSR is in the VMCS, so that both levels
 * share all of it, and a VM-entry or VM-exit between them changes of it what L1's
 * MSR lists say and nothing else.  That is what a CPU of L1's own would do.
 *
 * Most tests are "nested.<event>.<what>": either level, some times, meets the event
 * and checks itself.
 *
 * What:
 *	share		L1 and L2 take turns in entering a state, and find the other's
 *	nm		L2's #NM reaches L2 by itself
 *	nm_intercepted	L2's #NM, of both kinds, reaches L1, which reads XFD_ERR, and
 *			hands it on or disarms XFD and runs L2 again
 *	msr_bitmap	L2 reads and writes both MSRs, with each intercepted by L1 or not
 *	no_msr_bitmap	all are
 *	first_msr_bitmap the same while L2 is the first to write XFD, upon which L0 no
 *			longer intercepts what L1 does
 *	neighbours	L1 intercepts some accesses of MSRs that follow each other, whose bits
 *			L0 merges at once
 *	msr_lists	VM-entry MSR-load, VM-exit MSR-store and MSR-load lists; the TSC
 *			is in the second one as well, for which KVM has a list of its own
 *	bad_msr_list	a VM-entry MSR-load list that fails after the first entry
 * and "first_write.by_<whom>.<msr>": the vCPU's first value other than 0 in either
 * MSR, by each of those who can write one; with all events.
 *
 * Events:
 *	kernel		exits that the kernel handles
 *	userspace	an exit to userspace, where KVM_GET_MSRS tells the values
 *	save_restore	the same, and the vCPU is moved to another VM, with the nested
 *			state, and the tiles that XFD disables where KVM can transfer them
 *	preempt		by a task that uses tiles
 */
#include <errno.h>

#include "vmx.h"

#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		60

/* What L1 makes L2 read where it intercepts that: not what the MSR has. */
#define L1_SAYS		0x123456789abcdef0ull

/* Interruption information: valid, a hardware exception. */
#define NM_INTR_INFO	(BIT(31) | 3 << 8 | NM_VECTOR)

enum event { KERNEL, USERSPACE, SAVE_RESTORE, PREEMPT, ALL_EVENTS };

/* What a GUEST_SYNC() asks the host for. */
enum sync { SYNC_EVENT, SYNC_SET_MSRS };

static const u32 msrs[] = { MSR_IA32_XFD, MSR_IA32_XFD_ERR };

/* Values of both MSRs. */
struct values {
	u64 msr[ARRAY_SIZE(msrs)];
};

static struct values values(u64 xfd, u64 xfd_err)
{
	return (struct values){ { xfd, xfd_err } };
}

static const struct values all_values[] = {
	{ { 0, 0 } },
	{ { XFD_TILEDATA, 0 } },
	{ { 0, XFD_TILEDATA } },
	{ { XFD_TILEDATA, XFD_TILEDATA } },
};

/* In guest memory; the host sees it by way of xfd_guest_ptr(). */
static struct {
	u64 event;
	/* A test's parameter. */
	u64 variant;
	u64 state;
	u64 seed;
	u64 launched;
	/* What L1 tells L2 to write, and L2 tells L1 that it read. */
	struct values write, read;
	/* What the vCPU has at a GUEST_SYNC(), or the host is to give it. */
	struct values now;
	/* Written by xfd_neighbour. */
	u64 progress;
	u64 lists_gpa;
} control;

static struct {
	struct vmx_msr_entry entry_load[ARRAY_SIZE(msrs)];
	/* The last one is the TSC. */
	struct vmx_msr_entry exit_store[ARRAY_SIZE(msrs) + 1];
	struct vmx_msr_entry exit_load[ARRAY_SIZE(msrs)];
} lists __aligned(128);

static struct xfd_tiles tiles;

/*
 * Either level.
 */
static void set_values(struct values v)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		wrmsr(msrs[i], v.msr[i]);
}

static void check_values(struct values v)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		GUEST_ASSERT_EQ(rdmsr(msrs[i]), v.msr[i]);
}

/* The event, with @now in the MSRs. */
static void meet(struct values now)
{
	u64 i, start;

	switch (control.event) {
	case KERNEL:
		/* Never passed through, and no L1 here intercepts it. */
		for (i = 0; i < 20; i++)
			rdmsr(MSR_IA32_MISC_ENABLE);
		break;
	case USERSPACE:
	case SAVE_RESTORE:
		control.now = now;
		GUEST_SYNC(SYNC_EVENT);
		break;
	case PREEMPT:
		start = READ_ONCE(control.progress);
		while (READ_ONCE(control.progress) - start < 3)
			cpu_relax();
		break;
	}
}

static void meet_in_state(void)
{
	meet(values(xfd_state_xfd(control.state), xfd_state_xfd_err(control.state)));
	xfd_state_check(&tiles, control.state);
}

/* The same for a guest that has tiles in use, whatever XFD is. */
static void meet_with_values(struct values v)
{
	check_values(v);
	meet(v);
	check_values(v);
	/* L2's accesses of both MSRs are emulated: the CPU's own must be the same. */
	if (v.msr[0]) {
		wrmsr(MSR_IA32_XFD_ERR, 0);
		GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
		check_values(values(XFD_TILEDATA, XFD_TILEDATA));
		wrmsr(MSR_IA32_XFD_ERR, v.msr[1]);
	}
	/* If XFD is 0 now, it may not have been since the last check. */
	xfd_state_check_tiles(&tiles, true);
}

static void use_tiles(void)
{
	u64 xfd = rdmsr(MSR_IA32_XFD);

	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, control.seed++);
	xfd_tiles_use(&tiles);
	wrmsr(MSR_IA32_XFD, xfd);
}

static void enter_state(u64 state)
{
	control.state = state % XFD_NR_STATES;
	xfd_tiles_fill(&tiles, control.seed++);
	xfd_state_enter(&tiles, control.state);
}

/*
 * L1.
 */
static void start_l1(struct vmx_pages *vmx, void (*l2)(void), bool msr_bitmap)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2);
	if (msr_bitmap)
		vmwrite(CPU_BASED_VM_EXEC_CONTROL,
			vmreadz(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_USE_MSR_BITMAPS);
}

/* HOST_RSP as it was last written. */
static u64 host_rsp;

/*
 * VMLAUNCH or VMRESUME; returns 0 after a VM-exit.  Other than the library's, and
 * like real hypervisors, it writes to the VMCS only what has changed: KVM does
 * less for a VMCS that is as it was.
 */
static noinline u64 enter_l2(void)
{
	u64 failed;

	asm volatile("push $0\n\t"
		     "cmp %%rsp, %[host_rsp]\n\t"
		     "je 1f\n\t"
		     "mov %%rsp, %[host_rsp]\n\t"
		     "vmwrite %%rsp, %[rsp_field]\n\t"
		     "lea 4f(%%rip), %%rax\n\t"
		     "vmwrite %%rax, %[rip_field]\n"
		     "1:\n\t"
		     "cmp $0, %[launched]\n\t"
		     VMX_SWITCH_GPRS_ASM
		     "jne 2f\n\t"
		     "vmlaunch\n\t"
		     "jmp 3f\n"
		     "2:\n\t"
		     "vmresume\n"
		     "3:\n\t"
		     "incq (%%rsp)\n"
		     "4:\n\t"
		     VMX_SWITCH_GPRS_ASM
		     "pop %%rax\n\t"
		     : "=&a"(failed), [host_rsp]"+m"(host_rsp)
		     : [rsp_field]"r"((u64)HOST_RSP), [rip_field]"r"((u64)HOST_RIP),
		       [launched]"r"(control.launched), GUEST_REGS_OFFSETS
		     : "memory", "cc");
	return failed;
}

/* Until L2's next VM-exit, or until VM-entry fails. */
static void run_l2(u32 exit_reason)
{
	GUEST_ASSERT(!enter_l2());
	GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), exit_reason);
	if (!(exit_reason & EXIT_REASON_FAILED_VMENTRY))
		control.launched = true;
}

static void skip_l2_instruction(void)
{
	vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) + vmreadz(VM_EXIT_INSTRUCTION_LEN));
}

static void run_l2_to_vmcall(void)
{
	run_l2(EXIT_REASON_VMCALL);
	skip_l2_instruction();
}

/*
 * share
 */
static void l2_share(void)
{
	for (;;) {
		xfd_state_check(&tiles, control.state);
		meet_in_state();
		enter_state(control.state + 2);
		vmcall();
	}
}

static void l1_share(struct vmx_pages *vmx)
{
	int i;

	start_l1(vmx, l2_share, true);
	enter_state(0);
	/* Each level enters each state. */
	for (i = 0; i < XFD_NR_STATES; i++) {
		meet_in_state();
		run_l2_to_vmcall();
		xfd_state_check(&tiles, control.state);
		meet_in_state();
		enter_state(control.state + 1);
	}
	GUEST_DONE();
}

/*
 * nm, nm_intercepted
 */
static void l2_nm(void)
{
	const struct values err = values(XFD_TILEDATA, XFD_TILEDATA);
	bool intercepted = control.variant;
	struct values after;

	for (;;) {
		GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
		check_values(err);
		meet(err);
		check_values(err);

		/* L1 disarms, without L2's knowing. */
		if (intercepted)
			GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), 0);
		vmcall();

		/* A #NM for another reason leaves XFD_ERR alone. */
		GUEST_ASSERT_EQ(xfd_other_nm(X86_CR0_TS), NM_VECTOR);
		after = values(XFD_TILEDATA, xfd_state_xfd_err(control.state));
		check_values(after);
		meet(after);
		check_values(after);
		vmcall();
	}
}

/* L2's #NM, seen by L1 with @now in the MSRs. */
static void run_l2_to_nm(struct values now)
{
	run_l2(EXIT_REASON_EXCEPTION_NMI);
	GUEST_ASSERT_EQ(vmreadz(VM_EXIT_INTR_INFO), NM_INTR_INFO);
	check_values(now);
	meet(now);
	check_values(now);
}

static void inject_nm(void)
{
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, NM_INTR_INFO);
}

static void l1_nm(struct vmx_pages *vmx)
{
	static const u64 states[] = { XFD_ARMED, XFD_DORMANT, XFD_PENDING };
	const struct values err = values(XFD_TILEDATA, XFD_TILEDATA);
	bool intercepted = control.variant;
	int i;

	start_l1(vmx, l2_nm, true);
	if (intercepted)
		vmwrite(EXCEPTION_BITMAP, BIT(NM_VECTOR));

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		enter_state(states[i]);
		if (intercepted) {
			run_l2_to_nm(err);
			inject_nm();
			run_l2_to_nm(err);
			/* Before L2 loads one of them. */
			if (states[i] == XFD_DORMANT)
				xfd_state_check_tiles(&tiles, true);
			set_values(values(0, 0));
		}
		run_l2_to_vmcall();
		check_values(intercepted ? values(0, 0) : err);
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		wrmsr(MSR_IA32_XFD_ERR, 0);
		if (states[i] == XFD_DORMANT)
			xfd_state_check_tiles(&tiles, true);

		enter_state(states[i]);
		if (intercepted) {
			run_l2_to_nm(values(XFD_TILEDATA, xfd_state_xfd_err(states[i])));
			inject_nm();
		}
		run_l2_to_vmcall();
		xfd_state_check(&tiles, states[i]);
	}
	GUEST_DONE();
}

/*
 * msr_bitmap, no_msr_bitmap, first_msr_bitmap
 */
static void l2_msrs(void)
{
	int i;

	for (;;) {
		for (i = 0; i < ARRAY_SIZE(msrs); i++)
			control.read.msr[i] = rdmsr(msrs[i]);
		for (i = 0; i < ARRAY_SIZE(msrs); i++)
			wrmsr(msrs[i], control.write.msr[i]);
		vmcall();
	}
}

/* An access by L2 that exits to L1, which has @now in the MSRs and leaves it there. */
static void run_l2_to_msr(u32 exit_reason, u32 msr, struct values now)
{
	run_l2(exit_reason);
	GUEST_ASSERT_EQ((u32)guest_regs.rcx, msr);
	meet_with_values(now);
	skip_l2_instruction();
}

/* Bits of @intercepted: reads of XFD and XFD_ERR, then writes. */
static void check_l2_msrs(struct values now, struct values write, u64 intercepted)
{
	u64 i;

	set_values(now);
	meet_with_values(now);
	control.write = write;
	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		if (!(intercepted & BIT(i)))
			continue;
		run_l2_to_msr(EXIT_REASON_MSR_READ, msrs[i], now);
		guest_regs.rax = (u32)L1_SAYS;
		guest_regs.rdx = L1_SAYS >> 32;
	}
	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		if (!(intercepted & BIT(i + 2))) {
			/* L2 has written it when the next one exits. */
			now.msr[i] = write.msr[i];
			continue;
		}
		run_l2_to_msr(EXIT_REASON_MSR_WRITE, msrs[i], now);
		GUEST_ASSERT_EQ(guest_regs.rdx << 32 | (u32)guest_regs.rax, write.msr[i]);
	}
	run_l2_to_vmcall();
	meet_with_values(now);
}

static void check_l2_msrs_all_values(u64 intercepted)
{
	const u64 n = ARRAY_SIZE(all_values);
	struct values now;
	u64 i, k;

	for (i = 0; i < n; i++) {
		now = all_values[i];
		/* Neither MSR keeps its value. */
		check_l2_msrs(now, all_values[n - 1 - i], intercepted);
		for (k = 0; k < ARRAY_SIZE(msrs); k++)
			GUEST_ASSERT_EQ(control.read.msr[k],
					intercepted & BIT(k) ? L1_SAYS : now.msr[k]);
	}
}

static void set_bit_if(u8 *bits, u32 nr, bool set)
{
	u8 bit = BIT(nr % 8);

	bits[nr / 8] = set ? bits[nr / 8] | bit : bits[nr / 8] & ~bit;
}

static void intercept(struct vmx_pages *vmx, u32 msr, bool reads, bool writes)
{
	/* MSRs 0 to 1FFFH and C0000000H to C0001FFFH: reads, then writes of both. */
	u8 *bitmap = vmx->msr + (msr >= 0xc0000000 ? 1024 : 0);

	set_bit_if(bitmap, msr & 0x1fff, reads);
	set_bit_if(bitmap + 2048, msr & 0x1fff, writes);
}

static void set_msr_bitmap(struct vmx_pages *vmx, u64 intercepted)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		intercept(vmx, msrs[i], intercepted & BIT(i), intercepted & BIT(i + 2));
}

static void l1_msr_bitmap(struct vmx_pages *vmx)
{
	static const u64 intercepted[] = { 0, 0xf, 0x9, 0x6, 0 };
	int i;

	start_l1(vmx, l2_msrs, true);
	enter_state(XFD_DORMANT);
	for (i = 0; i < ARRAY_SIZE(intercepted); i++) {
		set_msr_bitmap(vmx, intercepted[i]);
		check_l2_msrs_all_values(intercepted[i]);
	}
	GUEST_DONE();
}

static void l1_no_msr_bitmap(struct vmx_pages *vmx)
{
	start_l1(vmx, l2_msrs, false);
	enter_state(XFD_DORMANT);
	check_l2_msrs_all_values(0xf);
	GUEST_DONE();
}

/* Other than l2_msrs(), it reads when it has written. */
static void l2_write_and_read(void)
{
	int i;

	for (;;) {
		for (i = 0; i < ARRAY_SIZE(msrs); i++)
			wrmsr(msrs[i], control.write.msr[i]);
		for (i = 0; i < ARRAY_SIZE(msrs); i++)
			control.read.msr[i] = rdmsr(msrs[i]);
		vmcall();
	}
}

static void l1_first_msr_bitmap(struct vmx_pages *vmx)
{
	int i, round;

	start_l1(vmx, l2_write_and_read, true);
	set_msr_bitmap(vmx, 0x3);
	control.write = values(XFD_TILEDATA, 0);
	/* L2's first write of XFD, and the rounds when vmcs02 has L0's new bitmap. */
	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(msrs); i++) {
			run_l2(EXIT_REASON_MSR_READ);
			GUEST_ASSERT_EQ((u32)guest_regs.rcx, msrs[i]);
			guest_regs.rax = (u32)L1_SAYS;
			guest_regs.rdx = L1_SAYS >> 32;
			skip_l2_instruction();
			meet(control.write);
		}
		run_l2_to_vmcall();
		for (i = 0; i < ARRAY_SIZE(msrs); i++)
			GUEST_ASSERT_EQ(control.read.msr[i], L1_SAYS);
		check_values(control.write);
	}
	GUEST_DONE();
}

/*
 * neighbours
 */
static const u32 bases[] = { MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE };

static void l2_bases(void)
{
	int i;

	for (;;) {
		for (i = 0; i < ARRAY_SIZE(bases); i++)
			wrmsr(bases[i], rdmsr(bases[i]));
		vmcall();
	}
}

static void run_l2_to_base(u32 exit_reason, u32 msr)
{
	run_l2(exit_reason);
	GUEST_ASSERT_EQ((u32)guest_regs.rcx, msr);
	skip_l2_instruction();
}

static void l1_neighbours(struct vmx_pages *vmx)
{
	const u64 n = ARRAY_SIZE(bases);
	u64 intercepted, i;

	start_l1(vmx, l2_bases, true);
	enter_state(XFD_DORMANT);
	for (intercepted = 0; intercepted < BIT(2 * n); intercepted++) {
		for (i = 0; i < n; i++)
			intercept(vmx, bases[i], intercepted & BIT(i), intercepted & BIT(i + n));
		for (i = 0; i < n; i++) {
			if (intercepted & BIT(i)) {
				run_l2_to_base(EXIT_REASON_MSR_READ, bases[i]);
				/* Any address will do. */
				guest_regs.rax = 0;
				guest_regs.rdx = 0;
			}
			if (intercepted & BIT(i + n))
				run_l2_to_base(EXIT_REASON_MSR_WRITE, bases[i]);
		}
		run_l2_to_vmcall();
		meet_in_state();
	}
	GUEST_DONE();
}

/*
 * msr_lists, bad_msr_list
 */
static void fill_list(struct vmx_msr_entry *list, struct values v)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		list[i] = (struct vmx_msr_entry){ .index = msrs[i], .value = v.msr[i] };
}

/* Bits of @used: VM-entry MSR-load, VM-exit MSR-store, VM-exit MSR-load. */
static void use_lists(u64 used)
{
	const u64 n = ARRAY_SIZE(msrs);

	vmwrite(VM_ENTRY_MSR_LOAD_ADDR, control.lists_gpa + offsetof(typeof(lists), entry_load));
	vmwrite(VM_EXIT_MSR_STORE_ADDR, control.lists_gpa + offsetof(typeof(lists), exit_store));
	vmwrite(VM_EXIT_MSR_LOAD_ADDR, control.lists_gpa + offsetof(typeof(lists), exit_load));
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, used & BIT(0) ? n : 0);
	vmwrite(VM_EXIT_MSR_STORE_COUNT, used & BIT(1) ? n + 1 : 0);
	vmwrite(VM_EXIT_MSR_LOAD_COUNT, used & BIT(2) ? n : 0);
}

static void l2_lists(void)
{
	for (;;) {
		meet_with_values(control.read);
		set_values(control.write);
		meet_with_values(control.write);
		vmcall();
	}
}

static void l1_msr_lists(struct vmx_pages *vmx)
{
	const struct values unset = { { L1_SAYS, L1_SAYS } };
	struct vmx_msr_entry *tsc = &lists.exit_store[ARRAY_SIZE(msrs)];
	struct values own, entry, l2, exit, stored;
	u64 used, i, k, began;

	start_l1(vmx, l2_lists, true);
	enter_state(XFD_DORMANT);

	for (used = 0; used < 8; used++) {
		use_lists(used);
		/* All four differ, so that none passes for another. */
		for (i = 0; i < 4; i++) {
			own = all_values[i];
			entry = all_values[i ^ 1];
			l2 = all_values[i ^ 2];
			exit = all_values[i ^ 3];
			fill_list(lists.entry_load, entry);
			fill_list(lists.exit_store, unset);
			*tsc = (struct vmx_msr_entry){ .index = MSR_IA32_TSC };
			fill_list(lists.exit_load, exit);
			control.read = used & BIT(0) ? entry : own;
			control.write = l2;

			set_values(own);
			meet_with_values(own);
			began = rdtsc();
			run_l2_to_vmcall();
			if (used & BIT(1))
				GUEST_ASSERT(tsc->value > began && tsc->value < rdtsc());
			stored = used & BIT(1) ? l2 : unset;
			for (k = 0; k < ARRAY_SIZE(msrs); k++)
				GUEST_ASSERT_EQ(lists.exit_store[k].value, stored.msr[k]);
			meet_with_values(used & BIT(2) ? exit : l2);
		}
	}
	GUEST_DONE();
}

static void l2_never_runs(void)
{
	GUEST_FAIL("L2 runs though its VM-entry must fail");
}

/* What the list loaded before it failed is there, or what the VM-exit list says. */
static void l1_bad_msr_list(struct vmx_pages *vmx)
{
	u64 used, i;

	start_l1(vmx, l2_never_runs, true);
	enter_state(XFD_DORMANT);
	fill_list(lists.entry_load, values(0, BIT(0)));

	for (i = 0; i < ARRAY_SIZE(all_values); i++) {
		struct values own = all_values[i], exit = all_values[i ^ 3];

		for (used = 1; used <= 5; used += 4) {
			use_lists(used);
			fill_list(lists.exit_load, exit);
			set_values(own);
			meet_with_values(own);
			run_l2(EXIT_REASON_MSR_LOAD_FAIL | EXIT_REASON_FAILED_VMENTRY);
			GUEST_ASSERT_EQ(vmreadz(EXIT_QUALIFICATION), 2);
			own.msr[0] = 0;
			meet_with_values(used & BIT(2) ? exit : own);
			own = all_values[i];
		}
	}
	GUEST_DONE();
}

/*
 * first_write_*
 */
enum writer {
	BY_L1, BY_L2, BY_ENTRY_LIST, BY_BAD_ENTRY_LIST, BY_EXIT_LIST, BY_USERSPACE,
};

/* Not SAVE_RESTORE: the vCPU of the new VM gets its first value from the host. */
static void meet_all(struct values v)
{
	static const enum event events[] = { KERNEL, USERSPACE, PREEMPT, KERNEL };
	int i;

	for (i = 0; i < ARRAY_SIZE(events); i++) {
		control.event = events[i];
		meet_with_values(v);
	}
}

static void write_if(enum writer writer)
{
	if (control.variant == writer)
		set_values(control.write);
}

static void l2_first_write(void)
{
	bool written = control.variant == BY_ENTRY_LIST || control.variant == BY_BAD_ENTRY_LIST;

	check_values(written ? control.write : all_values[0]);
	write_if(BY_L2);
	if (control.variant == BY_USERSPACE) {
		control.now = control.write;
		GUEST_SYNC(SYNC_SET_MSRS);
		check_values(control.write);
		use_tiles();
	}
	if (control.variant == BY_L2 || control.variant == BY_USERSPACE)
		meet_all(control.write);
	vmcall();
	meet_all(control.write);
	vmcall();
}

/* VM-entry loads the MSR that is not to be 0, and fails at the other one. */
static void fail_first_write(void)
{
	int first = control.write.msr[0] ? 0 : 1;

	lists.entry_load[0] = (struct vmx_msr_entry){
		.index = msrs[first], .value = control.write.msr[first],
	};
	lists.entry_load[1] = (struct vmx_msr_entry){ .index = msrs[!first], .value = BIT(0) };
	use_lists(BIT(0));
	run_l2(EXIT_REASON_MSR_LOAD_FAIL | EXIT_REASON_FAILED_VMENTRY);
	GUEST_ASSERT_EQ(vmreadz(EXIT_QUALIFICATION), 2);
	use_lists(0);
	meet_all(control.write);
}

static void l1_first_write(struct vmx_pages *vmx)
{
	start_l1(vmx, l2_first_write, true);
	fill_list(lists.entry_load, control.write);
	fill_list(lists.exit_load, control.write);
	if (control.variant == BY_ENTRY_LIST)
		use_lists(BIT(0));
	if (control.variant == BY_EXIT_LIST)
		use_lists(BIT(2));
	/* xfd_hole_set_msrs tells what becomes of tiles in use. */
	if (control.variant != BY_USERSPACE)
		use_tiles();
	check_values(all_values[0]);

	if (control.variant == BY_BAD_ENTRY_LIST)
		fail_first_write();
	run_l2_to_vmcall();
	write_if(BY_L1);
	check_values(control.write);
	run_l2_to_vmcall();
	meet_all(control.write);
	control.event = SAVE_RESTORE;
	meet_with_values(control.write);
	GUEST_DONE();
}

/*
 * The host.
 */
struct machine {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	typeof(control) *guest;
	struct xfd_neighbour neighbour;
};

/* Have KVM transfer dormant tiles, if it keeps any. */
static void enable_xfd_xstate(struct kvm_vm *vm)
{
	if (vm_check_cap(vm, KVM_CAP_X86_XFD_XSTATE))
		vm_enable_cap(vm, KVM_CAP_X86_XFD_XSTATE, 0);
}

static void create(struct machine *m, enum event event)
{
	gva_t vmx_gva;

	m->vm = vm_create_with_one_vcpu(&m->vcpu, NULL);
	enable_xfd_xstate(m->vm);
	xfd_vm_expect(m->vm, xfd_expect);
	vcpu_alloc_vmx(m->vm, &vmx_gva);
	vcpu_args_set(m->vcpu, 1, vmx_gva);
	vm_install_exception_handler(m->vm, NM_VECTOR, xfd_nm_handler);
	m->guest = xfd_guest_ptr(m->vm, control);
	m->guest->event = event;
	m->guest->seed = 1;
	m->guest->lists_gpa = addr_gva2gpa(m->vm, (gva_t)&lists);

	m->neighbour = (struct xfd_neighbour){
		.cpu = xfd_cpu(0), .amx = true, .seed = 200,
		.progress = &m->guest->progress,
	};
	pin_self_to_cpu(m->neighbour.cpu);
	if (event == PREEMPT || event == ALL_EVENTS)
		xfd_neighbour_start(&m->neighbour);
}

static void destroy(struct machine *m, enum event event)
{
	if (event == PREEMPT || event == ALL_EVENTS)
		xfd_neighbour_stop(&m->neighbour);
	kvm_vm_free(m->vm);
}

static void check_msrs(struct kvm_vcpu *vcpu, const struct values *values)
{
	xfd_vcpu_check_msrs(vcpu, values->msr[0], values->msr[1]);
}

static void move_to_new_vm(struct machine *m)
{
	struct kvm_x86_state *state = vcpu_save_state(m->vcpu);

	kvm_vm_release(m->vm);
	m->vcpu = vm_recreate_with_one_vcpu(m->vm);
	enable_xfd_xstate(m->vm);
	vcpu_load_state(m->vcpu, state);
	kvm_x86_state_cleanup(state);
}

static void run(struct machine *m, void (*l1)(struct vmx_pages *vmx))
{
	typeof(control) *c = m->guest;
	u64 sync;
	int i;

	vcpu_arch_set_entry_point(m->vcpu, l1);
	while ((sync = xfd_vcpu_run(m->vcpu)) != XFD_GUEST_DONE) {
		if (sync == SYNC_SET_MSRS) {
			for (i = 0; i < ARRAY_SIZE(msrs); i++)
				vcpu_set_msr(m->vcpu, msrs[i], c->now.msr[i]);
		}
		check_msrs(m->vcpu, &c->now);
		if (sync == SYNC_EVENT && c->event == SAVE_RESTORE) {
			move_to_new_vm(m);
			check_msrs(m->vcpu, &c->now);
		}
	}
}

FIXTURE(nested) {
	struct machine m;
};

FIXTURE_VARIANT(nested) {
	enum event event;
};

FIXTURE_VARIANT_ADD(nested, kernel) { .event = KERNEL };
FIXTURE_VARIANT_ADD(nested, userspace) { .event = USERSPACE };
FIXTURE_VARIANT_ADD(nested, save_restore) { .event = SAVE_RESTORE };
FIXTURE_VARIANT_ADD(nested, preempt) { .event = PREEMPT };

FIXTURE_SETUP(nested)
{
	create(&self->m, variant->event);
}

FIXTURE_TEARDOWN(nested)
{
	destroy(&self->m, variant->event);
}

TEST_F_TIMEOUT(nested, share, TIMEOUT)
{
	run(&self->m, l1_share);
}

TEST_F_TIMEOUT(nested, nm, TIMEOUT)
{
	run(&self->m, l1_nm);
}

TEST_F_TIMEOUT(nested, nm_intercepted, TIMEOUT)
{
	self->m.guest->variant = true;
	run(&self->m, l1_nm);
}

TEST_F_TIMEOUT(nested, msr_bitmap, TIMEOUT)
{
	run(&self->m, l1_msr_bitmap);
}

TEST_F_TIMEOUT(nested, no_msr_bitmap, TIMEOUT)
{
	run(&self->m, l1_no_msr_bitmap);
}

TEST_F_TIMEOUT(nested, first_msr_bitmap, TIMEOUT)
{
	run(&self->m, l1_first_msr_bitmap);
}

TEST_F_TIMEOUT(nested, neighbours, TIMEOUT)
{
	run(&self->m, l1_neighbours);
}

TEST_F_TIMEOUT(nested, msr_lists, TIMEOUT)
{
	run(&self->m, l1_msr_lists);
}

TEST_F_TIMEOUT(nested, bad_msr_list, TIMEOUT)
{
	run(&self->m, l1_bad_msr_list);
}

FIXTURE(first_write) {
	struct machine m;
};

FIXTURE_VARIANT(first_write) {
	enum writer writer;
};

FIXTURE_VARIANT_ADD(first_write, by_l1) { .writer = BY_L1 };
FIXTURE_VARIANT_ADD(first_write, by_l2) { .writer = BY_L2 };
FIXTURE_VARIANT_ADD(first_write, by_entry_list) { .writer = BY_ENTRY_LIST };
FIXTURE_VARIANT_ADD(first_write, by_bad_entry_list) { .writer = BY_BAD_ENTRY_LIST };
FIXTURE_VARIANT_ADD(first_write, by_exit_list) { .writer = BY_EXIT_LIST };
FIXTURE_VARIANT_ADD(first_write, by_userspace) { .writer = BY_USERSPACE };

FIXTURE_SETUP(first_write)
{
	create(&self->m, ALL_EVENTS);
	self->m.guest->variant = variant->writer;
}

FIXTURE_TEARDOWN(first_write)
{
	destroy(&self->m, ALL_EVENTS);
}

/*
 * Linux 7.3.4 intercepts #NM from the first XFD on in the VMCS that is current,
 * and only there: if that is L2's, L1's later #NMs go unnoticed, and leave an
 * XFD_ERR in the CPU that the host and other guests see.
 */
static bool stock_fails(enum writer writer)
{
	return writer == BY_L2 || writer == BY_ENTRY_LIST || writer == BY_BAD_ENTRY_LIST ||
	       writer == BY_USERSPACE;
}

TEST_F_TIMEOUT(first_write, xfd, TIMEOUT)
{
	if (xfd_expect == XFD_STOCK && stock_fails(variant->writer))
		SKIP(return, "Linux 7.3.4 gets it wrong");
	self->m.guest->write = values(XFD_TILEDATA, 0);
	run(&self->m, l1_first_write);
}

TEST_F_TIMEOUT(first_write, xfd_err, TIMEOUT)
{
	self->m.guest->write = values(0, XFD_TILEDATA);
	run(&self->m, l1_first_write);
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	__TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_VMX),
		       "KVM does not show VMX to guests (kvm_intel.nested=0?)");
	return xfd_run_tests(argc, argv);
}
