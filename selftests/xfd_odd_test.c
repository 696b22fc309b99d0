// SPDX-License-Identifier: GPL-2.0
/*
 * IA32_XFD and IA32_XFD_ERR of guests that do what few guests do, and of VMMs that
 * interfere: whoever switches the MSRs must not notice.
 *
 *	xcr0.*		XSETBV clears XCR0[18:17]: the tiles stay, XGETBV(1) hides them
 *	real_mode.*	real mode, which KVM may virtualize by virtual-8086 mode: #NM
 *			by XRSTOR, and both MSRs
 *	other_nm.*	#NM because of CR0.TS or CR0.EM leaves XFD_ERR alone
 *	tile_nm_ts.*	a tile instruction with XFD[18]=1 and CR0.TS=1: whatever the CPU
 *			writes to XFD_ERR, it stays
 *	fep.*		KVM emulates RDMSR, WRMSR and XSETBV
 *	msr_filter.*	the VMM denies accesses at run time, and allows them again
 *	msr_filter_first  the same before the vCPU's first run
 *	msr_filter_vmm.*  the VMM denies all, and emulates them with KVM_{G,S}ET_MSRS
 *	debug_step.*	the VMM steps over a tile instruction
 *	debug_first_write  or over the guest's first write of XFD, with tiles in use
 *	debug_hw_bp.*	and stops there at a breakpoint in DR0
 *	debug_sw_bp.*	or at an INT3
 *	smm.*		SMI, and RSM
 *	reserved_bits	those that CPUID does not enumerate raise #GP
 *	no_xfd		CPUID has no XFD: neither MSR is there
 *	xfd_taken	the VMM sets XFD, and then takes it from CPUID
 *
 * States: see xfd_state.h.  Events: vmcall, userspace, preempt (by a task that
 * uses tiles, while the guest does not exit by itself), migrate.
 *
 * KVM virtualizes real mode as it must without kvm_intel's unrestricted_guest, or
 * ept: run it with both, too.
 *
 * --tolerate-dormant-loss: see xfd_switch_test.c.  It is for VMs that KVM itself
 * switches XFD for, and leaves out what KVM is known to get wrong for those.
 * --stock is the same, and leaves out what else a Linux 7.3.4 gets wrong.  A name
 * runs only that subtest.
 */
#include <errno.h>

#include "smm.h"
#include "xfd_host.h"
#include "xfd_real_mode.h"
#include "xfd_state.h"

#define ROUNDS		3
/* Seconds of the machine's own clock. */
#define TIMEOUT		60

#define FORCED_EMULATION "/sys/module/kvm/parameters/force_emulation_prefix"
#define SMRAM_GPA	0x1000000
/* What a denied RDMSR returns. */
#define VMM_SAYS	0x123456789abcdef0ull
/* Accesses of an MSR, to be told from the few exits that happen anyway. */
#define ACCESSES	100

enum event { VMCALL, USERSPACE, PREEMPT, MIGRATE, NR_EVENTS };

static const char * const event_names[] = { "vmcall", "userspace", "preempt", "migrate" };

/* What a GUEST_SYNC() asks the host for. */
enum sync { SYNC_EVENT, SYNC_DENY, SYNC_ALLOW, SYNC_COUNT };

static const u32 msrs[] = { MSR_IA32_XFD, MSR_IA32_XFD_ERR };

/* In guest memory; the host sees it by way of xfd_guest_ptr(). */
static struct {
	u64 event;
	u64 state;
	u64 tolerate;
	/* A subtest's parameter. */
	u64 variant;
	/* What the vCPU has at a GUEST_SYNC(). */
	u64 xfd, xfd_err;
	/* The event that the guest waits for; the last that has happened. */
	u64 waiting;
	u64 happened;
	/* Written by xfd_neighbour. */
	u64 progress;
} control;

static struct xfd_tiles tiles;

/*
 * The guest.
 */
static void sync_with_host(enum sync what, u64 xfd, u64 xfd_err)
{
	control.xfd = xfd;
	control.xfd_err = xfd_err;
	GUEST_SYNC(what);
}

/* The event, with these values in the MSRs. */
static void meet(u64 xfd, u64 xfd_err)
{
	u64 i, start;

	switch (control.event) {
	case VMCALL:
		for (i = 0; i < 20; i++)
			xfd_vmcall();
		break;
	case USERSPACE:
		sync_with_host(SYNC_EVENT, xfd, xfd_err);
		break;
	case PREEMPT:
		start = READ_ONCE(control.progress);
		while (READ_ONCE(control.progress) - start < 3)
			cpu_relax();
		break;
	case MIGRATE:
		WRITE_ONCE(control.waiting, control.waiting + 1);
		while (READ_ONCE(control.happened) != control.waiting)
			cpu_relax();
		break;
	}
}

static void check_msrs(u64 xfd, u64 xfd_err)
{
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), xfd);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_err);
}

static void meet_and_check_msrs(u64 xfd, u64 xfd_err)
{
	check_msrs(xfd, xfd_err);
	meet(xfd, xfd_err);
	check_msrs(xfd, xfd_err);
}

static void enter_state(u64 state)
{
	xfd_tiles_fill(&tiles, 1 + state);
	xfd_state_enter(&tiles, state);
}

static void check_state(u64 state)
{
	xfd_state_check(&tiles, state, control.tolerate);
}

/* xcr0.* */
static void check_without_xcr0(u64 xfd, u64 xfd_err)
{
	check_msrs(xfd, xfd_err);
	meet(xfd, xfd_err);
	check_msrs(xfd, xfd_err);
	GUEST_ASSERT_EQ(xfd_xinuse() & XFEATURE_MASK_XTILE, 0ull);
	GUEST_ASSERT_EQ(xfd_tile_store_safe(tiles.got), UD_VECTOR);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_err);
}

static void guest_xcr0(void)
{
	u64 state = control.state, xcr0 = xgetbv(0);
	u64 xfd = xfd_state_xfd(state), xfd_err = xfd_state_xfd_err(state);
	int i;

	enter_state(state);
	for (i = 0; i < ROUNDS; i++) {
		xsetbv(0, xcr0 & ~XFEATURE_MASK_XTILE);
		check_without_xcr0(xfd, xfd_err);
		/* XFD does not depend on XCR0. */
		wrmsr(MSR_IA32_XFD, xfd ^ XFD_TILEDATA);
		check_without_xcr0(xfd ^ XFD_TILEDATA, xfd_err);
		wrmsr(MSR_IA32_XFD, xfd);
		check_without_xcr0(xfd, xfd_err);
		xsetbv(0, xcr0);
		/* Live tiles were dormant for a while, too. */
		if (xfd_state_xinuse(state))
			xfd_state_check_tiles(&tiles, true, control.tolerate);
		check_state(state);
	}
	GUEST_ASSERT_EQ(xsetbv_safe(0, xcr0 & ~XFEATURE_MASK_XTILE_DATA), GP_VECTOR);
	check_state(state);
	GUEST_DONE();
}

/* other_nm.* */
static void guest_other_nm(void)
{
	static const u64 states[] = { XFD_ARMED, XFD_DORMANT, XFD_PENDING };
	u64 state;
	int i;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		state = states[i];
		enter_state(state);
		GUEST_ASSERT_EQ(xfd_other_nm(X86_CR0_TS), NM_VECTOR);
		meet_and_check_msrs(xfd_state_xfd(state), xfd_state_xfd_err(state));
		GUEST_ASSERT_EQ(xfd_other_nm(X86_CR0_EM), NM_VECTOR);
		meet_and_check_msrs(xfd_state_xfd(state), xfd_state_xfd_err(state));
		check_state(state);
	}
	GUEST_DONE();
}

/* tile_nm_ts.* */
static noinline XFD_NO_SSE u8 tile_load_with_ts(const u8 *data)
{
	u64 cr0 = get_cr0();
	u8 vector;

	set_cr0(cr0 | X86_CR0_TS);
	vector = xfd_tile_load_safe(data);
	set_cr0(cr0);
	return vector;
}

static void guest_tile_nm_ts(void)
{
	u64 xfd_err;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		enter_state(XFD_ARMED);
		GUEST_ASSERT_EQ(tile_load_with_ts(tiles.want), NM_VECTOR);
		xfd_err = rdmsr(MSR_IA32_XFD_ERR);
		GUEST_ASSERT(!(xfd_err & ~XFD_TILEDATA));
		meet_and_check_msrs(XFD_TILEDATA, xfd_err);
	}
	GUEST_DONE();
}

/* fep.* */
static void fep_check_msrs(u64 xfd, u64 xfd_err)
{
	u64 value;

	GUEST_ASSERT_EQ(rdmsr_safe_fep(MSR_IA32_XFD, &value), 0);
	GUEST_ASSERT_EQ(value, xfd);
	GUEST_ASSERT_EQ(rdmsr_safe_fep(MSR_IA32_XFD_ERR, &value), 0);
	GUEST_ASSERT_EQ(value, xfd_err);
}

static u8 fep_wrmsr(u32 msr, u64 value)
{
	return kvm_asm_safe_fep("wrmsr", "a"((u32)value), "d"(value >> 32), "c"(msr));
}

static void fep_xsetbv(u64 value)
{
	GUEST_ASSERT_EQ(kvm_asm_safe_fep("xsetbv", "a"((u32)value), "d"(value >> 32), "c"(0)), 0);
}

/* The state, with all accesses of the MSRs emulated. */
static void fep_round(u64 state)
{
	u64 xfd = xfd_state_xfd(state), xfd_err = xfd_state_xfd_err(state);
	u64 xcr0 = xgetbv(0);
	int i;

	fep_check_msrs(xfd, xfd_err);
	meet(xfd, xfd_err);
	fep_check_msrs(xfd, xfd_err);

	/* Other values, and back. */
	for (i = 0; i < 2; i++) {
		xfd ^= XFD_TILEDATA;
		xfd_err ^= XFD_TILEDATA;
		GUEST_ASSERT_EQ(fep_wrmsr(MSR_IA32_XFD, xfd), 0);
		GUEST_ASSERT_EQ(fep_wrmsr(MSR_IA32_XFD_ERR, xfd_err), 0);
		check_msrs(xfd, xfd_err);
		meet(xfd, xfd_err);
		fep_check_msrs(xfd, xfd_err);
		check_msrs(xfd, xfd_err);
		fep_xsetbv(xcr0 & ~XFEATURE_MASK_XTILE);
		check_without_xcr0(xfd, xfd_err);
		fep_xsetbv(xcr0);
	}
	GUEST_ASSERT_EQ(fep_wrmsr(MSR_IA32_XFD, ~0ull), GP_VECTOR);
	GUEST_ASSERT_EQ(fep_wrmsr(MSR_IA32_XFD_ERR, ~0ull), GP_VECTOR);

	if (xfd_state_xinuse(state))
		xfd_state_check_tiles(&tiles, true, control.tolerate);
	check_state(state);
}

static void guest_fep(void)
{
	u64 state;

	for (state = 0; state < XFD_NR_STATES; state++) {
		enter_state(state);
		fep_round(state);
	}
	GUEST_DONE();
}

/*
 * msr_filter*.  The bits of a denial: of XFD_ERR rather than XFD, of writes rather
 * than reads, and with an exit to the VMM rather than with #GP.
 */
#define DENY_XFD_ERR	BIT(0)
#define DENY_WRITE	BIT(1)
#define DENY_EXIT	BIT(2)
#define NR_DENIALS	8

static void check_denied(u64 denial, u64 value)
{
	u32 msr = msrs[!!(denial & DENY_XFD_ERR)];
	u8 vector = denial & DENY_EXIT ? 0 : GP_VECTOR;
	u64 read;

	if (denial & DENY_WRITE) {
		GUEST_ASSERT_EQ(wrmsr_safe(msr, value ^ XFD_TILEDATA), vector);
		GUEST_ASSERT_EQ(rdmsr(msr), value);
		return;
	}
	GUEST_ASSERT_EQ(rdmsr_safe(msr, &read), vector);
	if (denial & DENY_EXIT)
		GUEST_ASSERT_EQ(read, VMM_SAYS);
	/* It can still be written. */
	wrmsr(msr, value);
}

/* Nothing here exits, but for writes of XFD_ERR in VMs that KVM switches XFD for. */
static void count_passthrough(void)
{
	u64 xfd = rdmsr(MSR_IA32_XFD), xfd_err = rdmsr(MSR_IA32_XFD_ERR);
	int i;

	sync_with_host(SYNC_COUNT, xfd, xfd_err);
	for (i = 0; i < ACCESSES; i++) {
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), xfd);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), xfd_err);
		wrmsr(MSR_IA32_XFD, xfd);
		if (!control.tolerate)
			wrmsr(MSR_IA32_XFD_ERR, xfd_err);
	}
	sync_with_host(SYNC_COUNT, xfd, xfd_err);
}

static void guest_msr_filter(void)
{
	u64 state = control.state, xfd = xfd_state_xfd(state), xfd_err = xfd_state_xfd_err(state);
	u64 denial;
	int i;

	/* KVM passes XFD through once it has been set. */
	enter_state(XFD_ARMED);
	enter_state(state);
	count_passthrough();
	for (denial = 0; denial < NR_DENIALS; denial++) {
		enter_state(state);
		control.variant = denial;
		sync_with_host(SYNC_DENY, xfd, xfd_err);
		for (i = 0; i < ROUNDS; i++) {
			check_denied(denial, denial & DENY_XFD_ERR ? xfd_err : xfd);
			xfd_vmcall();
			sync_with_host(SYNC_EVENT, xfd, xfd_err);
		}
		sync_with_host(SYNC_ALLOW, xfd, xfd_err);
		check_state(state);
		count_passthrough();
	}
	GUEST_DONE();
}

static void guest_msr_filter_first(void)
{
	u64 state;

	/* Denied. */
	GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, XFD_TILEDATA), GP_VECTOR);
	check_msrs(0, 0);
	sync_with_host(SYNC_ALLOW, 0, 0);
	check_msrs(0, 0);
	for (state = 0; state < XFD_NR_STATES; state++) {
		enter_state(state);
		sync_with_host(SYNC_EVENT, xfd_state_xfd(state), xfd_state_xfd_err(state));
		check_state(state);
		count_passthrough();
	}
	GUEST_DONE();
}

/* Also: a guest that is to see nothing at all of what the host does. */
static void guest_rounds(void)
{
	u64 state = control.state;
	int i;

	enter_state(state);
	for (i = 0; i < ROUNDS; i++) {
		check_state(state);
		sync_with_host(SYNC_EVENT, xfd_state_xfd(state), xfd_state_xfd_err(state));
		check_state(state);
	}
	GUEST_DONE();
}

/* debug_* */
extern char debug_int3[], debug_tile_load[], debug_end[], debug_first_write[];

static noinline u8 debug_tile_load_safe(const u8 *data)
{
	u8 vector;

	if (control.variant)
		asm volatile("debug_int3: int3");
	vector = kvm_asm_safe("debug_tile_load:" ASM_TILELOADD(0x04),
			      "a"(data), "d"((u64)XFD_TILE_COLSB));
	asm volatile("debug_end: nop");
	return vector;
}

static void guest_debug(void)
{
	u64 state = control.state, xfd = xfd_state_xfd(state), xfd_err = xfd_state_xfd_err(state);
	int i;

	enter_state(state);
	for (i = 0; i < ROUNDS; i++) {
		sync_with_host(SYNC_EVENT, xfd, xfd_err);
		GUEST_ASSERT_EQ(debug_tile_load_safe(tiles.want), xfd ? NM_VECTOR : 0);
		check_msrs(xfd, xfd);
		wrmsr(MSR_IA32_XFD_ERR, xfd_err);
		check_state(state);
	}
	GUEST_DONE();
}

static void guest_debug_first_write(void)
{
	xfd_tiles_fill(&tiles, 1);
	xfd_tiles_use(&tiles);
	sync_with_host(SYNC_EVENT, 0, 0);
	asm volatile("wrmsr\n"
		     "debug_first_write:"
		     : : "c"(MSR_IA32_XFD), "a"((u32)XFD_TILEDATA), "d"(0) : "memory");
	check_state(XFD_DORMANT);
	GUEST_DONE();
}

/* reserved_bits */
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
	sync_with_host(SYNC_EVENT, mask, mask);
	check_msrs(mask, mask);
	GUEST_DONE();
}

/* no_xfd, xfd_taken */
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

/*
 * The host.
 */
static bool tolerate, stock;

struct scenario {
	void (*host)(const struct scenario *s);
	void (*guest)(void);
	u64 event;
	u64 state;
	u64 variant;
};

struct machine {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	typeof(control) *c;
	/* The CPUs that it runs on; -1 if there is no second one. */
	int cpus[2];
	pthread_t vcpu_thread, mover;
	bool done;
	struct xfd_neighbour neighbour;
};

static void create_machine(struct machine *m, const struct scenario *s)
{
	memset(m, 0, sizeof(*m));
	m->cpus[0] = xfd_cpu(0);
	m->cpus[1] = xfd_cpu(1);

	m->vm = vm_create(1);
	/* For real mode; KVM wants to know before there is a vCPU. */
	TEST_ASSERT(!__vm_ioctl(m->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul),
		    "KVM_SET_TSS_ADDR failed, errno = %d", errno);
	m->vcpu = vm_vcpu_add(m->vm, 0, s->guest);
	kvm_arch_vm_finalize_vcpus(m->vm);
	vm_install_exception_handler(m->vm, NM_VECTOR, xfd_nm_handler);

	m->c = xfd_guest_ptr(m->vm, control);
	m->c->event = s->event;
	m->c->state = s->state;
	m->c->variant = s->variant;
	m->c->tolerate = tolerate;
	m->neighbour.progress = &m->c->progress;
}

static void check_values(struct kvm_vcpu *vcpu, u64 xfd, u64 xfd_err)
{
	xfd_check_host_msrs(XFD_TILEDATA);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD), xfd);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR), xfd_err);
}

/* To the guest's next GUEST_SYNC(), where it has what it says. */
static u64 run_to_sync(struct machine *m)
{
	u64 sync = xfd_vcpu_run(m->vcpu);

	if (sync != XFD_GUEST_DONE)
		check_values(m->vcpu, m->c->xfd, m->c->xfd_err);
	return sync;
}

static void *mover_fn(void *arg)
{
	struct machine *m = arg;
	u64 happened = 0;

	while (!READ_ONCE(m->done)) {
		if (READ_ONCE(m->c->waiting) == happened) {
			usleep(500);
			continue;
		}
		happened++;
		pin_task_to_cpu(m->vcpu_thread, m->cpus[happened & 1]);
		WRITE_ONCE(m->c->happened, happened);
	}
	return NULL;
}

/* Before the guest runs; ends with stop_event(). */
static void start_event(struct machine *m, u64 event)
{
	if (event == MIGRATE && m->cpus[1] < 0)
		xfd_skip("one CPU");

	m->vcpu_thread = pthread_self();
	/* Threads inherit the affinity: this one must be free of it. */
	if (event == MIGRATE)
		TEST_ASSERT(!pthread_create(&m->mover, NULL, mover_fn, m), "pthread_create()");
	pin_self_to_cpu(m->cpus[0]);
	m->neighbour.cpu = m->cpus[0];
	m->neighbour.amx = true;
	m->neighbour.seed = 200;
	if (event == PREEMPT)
		xfd_neighbour_start(&m->neighbour);
}

static void stop_event(struct machine *m, u64 event)
{
	WRITE_ONCE(m->done, true);
	if (event == MIGRATE)
		pthread_join(m->mover, NULL);
	if (event == PREEMPT)
		xfd_neighbour_stop(&m->neighbour);
}

static void run_plain(const struct scenario *s)
{
	struct machine m;

	create_machine(&m, s);
	start_event(&m, s->event);
	while (run_to_sync(&m) != XFD_GUEST_DONE)
		continue;
	stop_event(&m, s->event);
	kvm_vm_free(m.vm);
}

static void run_attached_only(const struct scenario *s)
{
	/* It takes #NM with CR0.TS=1 for one that does not change XFD_ERR. */
	if (tolerate)
		xfd_skip("KVM gets it wrong where it switches XFD itself");
	run_plain(s);
}

static bool set_forced_emulation(char value)
{
	int fd = open(FORCED_EMULATION, O_WRONLY);
	bool done = fd >= 0 && write(fd, &value, 1) == 1;

	close(fd);
	return done;
}

static void run_fep(const struct scenario *s)
{
	if (!set_forced_emulation('1'))
		xfd_skip("cannot write " FORCED_EMULATION);
	run_plain(s);
	set_forced_emulation('0');
}

/* real_mode.*  The guest is put there, and back, by the VMM. */
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
		if (tolerate && state == XFD_DORMANT)
			continue;
		TEST_ASSERT_EQ(r[i].xinuse & XFEATURE_MASK_XTILE,
			       XFEATURE_MASK_XTILE_CFG | xfd_state_xinuse(state));
	}
}

static void run_real_mode(const struct scenario *s)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct machine m;
	u8 *page;

	create_machine(&m, s);
	page = addr_gpa2hva(m.vm, 0);
	m.neighbour.progress = (u64 *)(page + RM_PROGRESS);
	start_event(&m, s->event);

	while (run_to_sync(&m) != XFD_GUEST_DONE) {
		fill_page_0(page, s->state, s->event == PREEMPT);
		vcpu_run_complete_io(m.vcpu);
		vcpu_sregs_get(m.vcpu, &sregs);
		vcpu_regs_get(m.vcpu, &regs);
		enter_real_mode(m.vcpu);

		vcpu_run(m.vcpu);
		TEST_ASSERT_KVM_EXIT_REASON(m.vcpu, KVM_EXIT_IO);
		TEST_ASSERT_EQ(m.vcpu->run->io.port, RM_PORT);
		check_values(m.vcpu, xfd_state_xfd(s->state), xfd_state_xfd_err(s->state));
		check_records(page, s->state);

		vcpu_run_complete_io(m.vcpu);
		vcpu_sregs_set(m.vcpu, &sregs);
		vcpu_regs_set(m.vcpu, &regs);
	}
	stop_event(&m, s->event);
	kvm_vm_free(m.vm);
}

/* smm.* */
static void check_smi_out(struct machine *m, u64 value)
{
	struct kvm_run *run = m->vcpu->run;

	vcpu_run(m->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(m->vcpu, KVM_EXIT_IO);
	TEST_ASSERT_EQ(run->io.port, RM_PORT);
	TEST_ASSERT_EQ((u64)*(u32 *)((u8 *)run + run->io.data_offset), value);
	check_values(m->vcpu, m->c->xfd, m->c->xfd_err);
}

static void run_smm(const struct scenario *s)
{
	struct machine m;

	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		xfd_skip("KVM has no SMM");

	create_machine(&m, s);
	setup_smram(m.vm, m.vcpu, SMRAM_GPA, smi_start, smi_end - smi_start);
	/* All that SMM is interrupted, too. */
	start_event(&m, s->event);
	while (run_to_sync(&m) != XFD_GUEST_DONE) {
		inject_smi(m.vcpu);
		check_smi_out(&m, m.c->xfd);
		check_smi_out(&m, m.c->xfd_err);
	}
	stop_event(&m, s->event);
	kvm_vm_free(m.vm);
}

/* msr_filter* */
static void set_filter(struct machine *m, int nr, struct kvm_msr_filter_range *ranges, bool exit)
{
	static u8 none;
	struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW };
	int i;

	for (i = 0; i < nr; i++) {
		filter.ranges[i] = ranges[i];
		filter.ranges[i].nmsrs = 1;
		filter.ranges[i].bitmap = &none;
	}
	vm_enable_cap(m->vm, KVM_CAP_X86_USER_SPACE_MSR, exit ? KVM_MSR_EXIT_REASON_FILTER : 0);
	vm_ioctl(m->vm, KVM_X86_SET_MSR_FILTER, &filter);
}

static void deny(struct machine *m, u64 denial)
{
	struct kvm_msr_filter_range range = {
		.base = msrs[!!(denial & DENY_XFD_ERR)],
		.flags = denial & DENY_WRITE ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ,
	};

	set_filter(m, 1, &range, denial & DENY_EXIT);
}

static bool is_msr_exit(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_X86_RDMSR || run->exit_reason == KVM_EXIT_X86_WRMSR;
}

/* As run_to_sync(); @msr_exit answers the exits for denied accesses. */
static u64 run_filtered(struct machine *m, void (*msr_exit)(struct machine *m))
{
	struct ucall uc;

	for (;;) {
		vcpu_run(m->vcpu);
		if (is_msr_exit(m->vcpu->run)) {
			m->vcpu->run->msr.error = 0;
			msr_exit(m);
			continue;
		}
		TEST_ASSERT_KVM_EXIT_REASON(m->vcpu, KVM_EXIT_IO);
		switch (get_ucall(m->vcpu, &uc)) {
		case UCALL_SYNC:
			check_values(m->vcpu, m->c->xfd, m->c->xfd_err);
			return uc.args[1];
		case UCALL_DONE:
			return XFD_GUEST_DONE;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("Unknown ucall %lu", uc.cmd);
		}
	}
}

/* The one that is denied; a write has no effect. */
static void msr_exit_check(struct machine *m)
{
	struct kvm_run *run = m->vcpu->run;
	u64 denial = m->c->variant;

	TEST_ASSERT_EQ(run->exit_reason, denial & DENY_WRITE ? KVM_EXIT_X86_WRMSR :
							       KVM_EXIT_X86_RDMSR);
	TEST_ASSERT_EQ(run->msr.index, msrs[!!(denial & DENY_XFD_ERR)]);
	TEST_ASSERT_EQ(run->msr.reason, KVM_MSR_EXIT_REASON_FILTER);
	run->msr.data = VMM_SAYS;
	check_values(m->vcpu, m->c->xfd, m->c->xfd_err);
}

static void run_msr_filter(const struct scenario *s)
{
	bool counting = false;
	u64 exits = 0, before, sync;
	struct machine m;

	create_machine(&m, s);
	start_event(&m, s->event);
	if (s->guest == guest_msr_filter_first)
		deny(&m, DENY_WRITE);

	while ((sync = run_filtered(&m, msr_exit_check)) != XFD_GUEST_DONE) {
		switch (sync) {
		case SYNC_DENY:
			deny(&m, m.c->variant);
			break;
		case SYNC_ALLOW:
			set_filter(&m, 0, NULL, false);
			break;
		case SYNC_COUNT:
			before = exits;
			exits = vcpu_get_stat(m.vcpu, exits);
			if (counting)
				TEST_ASSERT(exits - before < ACCESSES,
					    "%lu exits: not passed through", exits - before);
			counting = !counting;
			break;
		}
	}
	stop_event(&m, s->event);
	kvm_vm_free(m.vm);
}

/* What a VMM that denies accesses for reasons of its own would do. */
static void msr_exit_emulate(struct machine *m)
{
	struct kvm_run *run = m->vcpu->run;

	if (run->exit_reason == KVM_EXIT_X86_RDMSR)
		run->msr.data = vcpu_get_msr(m->vcpu, run->msr.index);
	else
		run->msr.error = _vcpu_set_msr(m->vcpu, run->msr.index, run->msr.data) != 1;
}

static void run_msr_filter_vmm(const struct scenario *s)
{
	struct kvm_msr_filter_range ranges[] = {
		{ .base = msrs[0], .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE },
		{ .base = msrs[1], .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE },
	};
	struct machine m;

	if (tolerate && s->state == XFD_DORMANT)
		xfd_skip("KVM_SET_MSRS(XFD) over tiles in use: see xfd_hole_set_msrs");

	create_machine(&m, s);
	start_event(&m, s->event);
	set_filter(&m, ARRAY_SIZE(ranges), ranges, true);
	while (run_filtered(&m, msr_exit_emulate) != XFD_GUEST_DONE)
		continue;
	stop_event(&m, s->event);
	kvm_vm_free(m.vm);
}

/* debug_* */
enum debug { STEP, HW_BP, SW_BP };

static void set_debug(struct kvm_vcpu *vcpu, u32 control, const char *dr0)
{
	struct kvm_guest_debug debug = { .control = control };

	if (dr0) {
		debug.arch.debugreg[0] = (unsigned long)dr0;
		debug.arch.debugreg[7] = 0x402;
	}
	vcpu_guest_debug_set(vcpu, &debug);
}

/* Until the VMM is told of a debug event; returns where. */
static u64 run_to_debug(struct machine *m)
{
	vcpu_run(m->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(m->vcpu, KVM_EXIT_DEBUG);
	return m->vcpu->run->debug.arch.pc;
}

static void step_over_tile_load(struct machine *m)
{
	bool seen = false;
	u64 pc;

	do {
		/* KVM wants to be told before each step. */
		set_debug(m->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, NULL);
		pc = run_to_debug(m);
		if (pc == (u64)debug_tile_load) {
			seen = true;
			check_values(m->vcpu, m->c->xfd, m->c->xfd_err);
		}
	} while (pc != (u64)debug_end);
	TEST_ASSERT(seen, "the tile instruction was not stepped over");
	/* XFD, as XFD_ERR has it now. */
	check_values(m->vcpu, m->c->xfd, m->c->xfd);
	set_debug(m->vcpu, 0, NULL);
}

static void break_at_tile_load(struct machine *m)
{
	set_debug(m->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, debug_tile_load);
	TEST_ASSERT_EQ(run_to_debug(m), (u64)debug_tile_load);
	check_values(m->vcpu, m->c->xfd, m->c->xfd_err);
	/* The debug registers stay with the VMM, for an address that is not reached. */
	set_debug(m->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, debug_int3);
}

static void break_before_tile_load(struct machine *m)
{
	struct kvm_regs regs;

	set_debug(m->vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, NULL);
	TEST_ASSERT_EQ(run_to_debug(m), (u64)debug_int3);
	check_values(m->vcpu, m->c->xfd, m->c->xfd_err);
	vcpu_regs_get(m->vcpu, &regs);
	regs.rip++;
	vcpu_regs_set(m->vcpu, &regs);
}

static void run_debug(const struct scenario *s)
{
	struct machine m;

	create_machine(&m, s);
	m.c->variant = s->variant == SW_BP;
	start_event(&m, s->event);
	while (run_to_sync(&m) != XFD_GUEST_DONE) {
		switch (s->variant) {
		case STEP:
			step_over_tile_load(&m);
			break;
		case HW_BP:
			break_at_tile_load(&m);
			break;
		case SW_BP:
			break_before_tile_load(&m);
			break;
		}
	}
	stop_event(&m, s->event);
	kvm_vm_free(m.vm);
}

/*
 * KVM emulates that write, with the guest's registers in the CPU, and returns to
 * the VMM before it enters the guest again.
 */
static void run_debug_first_write(const struct scenario *s)
{
	struct machine m;

	create_machine(&m, s);
	TEST_ASSERT_EQ(run_to_sync(&m), SYNC_EVENT);
	do {
		set_debug(m.vcpu, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, NULL);
	} while (run_to_debug(&m) != (u64)debug_first_write);
	set_debug(m.vcpu, 0, NULL);
	check_values(m.vcpu, XFD_TILEDATA, 0);
	TEST_ASSERT_EQ(run_to_sync(&m), XFD_GUEST_DONE);
	kvm_vm_free(m.vm);
}

/* reserved_bits, no_xfd, xfd_taken */
static void run_reserved_bits(const struct scenario *s)
{
	struct machine m;
	int i, bit;

	create_machine(&m, s);
	TEST_ASSERT_EQ(run_to_sync(&m), SYNC_EVENT);
	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		for (bit = 0; bit < 64; bit++) {
			if (m.c->xfd & BIT_ULL(bit))
				continue;
			TEST_ASSERT(_vcpu_set_msr(m.vcpu, msrs[i], BIT_ULL(bit)) != 1,
				    "KVM_SET_MSRS(%x) took bit %d", msrs[i], bit);
		}
	}
	TEST_ASSERT_EQ(run_to_sync(&m), XFD_GUEST_DONE);
	kvm_vm_free(m.vm);
}

static void run_no_xfd(const struct scenario *s)
{
	struct machine m;

	/* It passes through what it has passed through once. */
	if (s->variant && stock)
		xfd_skip("Linux 7.3.4 gets it wrong");

	create_machine(&m, s);
	if (s->variant)
		vcpu_set_msr(m.vcpu, MSR_IA32_XFD, XFD_TILEDATA);
	vcpu_clear_cpuid_feature(m.vcpu, X86_FEATURE_XFD);
	TEST_ASSERT_EQ(run_to_sync(&m), XFD_GUEST_DONE);
	kvm_vm_free(m.vm);
}

static void run_scenario(const void *arg)
{
	const struct scenario *s = arg;

	s->host(s);
}

#define EACH_STATE	1
#define EACH_EVENT	2

static const struct {
	const char *name;
	/* EACH_* */
	int each;
	struct scenario scenario;
} whats[] = {
	{ "xcr0", EACH_STATE | EACH_EVENT, { run_plain, guest_xcr0 } },
	{ "real_mode", EACH_STATE | EACH_EVENT, { run_real_mode, guest_rounds } },
	{ "other_nm", EACH_EVENT, { run_plain, guest_other_nm } },
	{ "tile_nm_ts", EACH_EVENT, { run_attached_only, guest_tile_nm_ts } },
	{ "fep", EACH_EVENT, { run_fep, guest_fep } },
	{ "msr_filter", EACH_STATE, { run_msr_filter, guest_msr_filter } },
	{ "msr_filter_first", 0, { run_msr_filter, guest_msr_filter_first } },
	{ "msr_filter_vmm", EACH_STATE, { run_msr_filter_vmm, guest_rounds } },
	{ "debug_step", EACH_STATE, { run_debug, guest_debug, .variant = STEP } },
	{ "debug_first_write", 0, { run_debug_first_write, guest_debug_first_write } },
	{ "debug_hw_bp", EACH_STATE, { run_debug, guest_debug, .variant = HW_BP } },
	{ "debug_sw_bp", EACH_STATE, { run_debug, guest_debug, .variant = SW_BP } },
	{ "smm", EACH_STATE | EACH_EVENT, { run_smm, guest_rounds } },
	{ "reserved_bits", 0, { run_reserved_bits, guest_reserved_bits } },
	{ "no_xfd", 0, { run_no_xfd, guest_no_xfd } },
	{ "xfd_taken", 0, { run_no_xfd, guest_no_xfd, .variant = true } },
};

#define MAX_TESTS	(ARRAY_SIZE(whats) * NR_EVENTS * XFD_NR_STATES)

static struct scenario scenarios[MAX_TESTS];
static struct xfd_test tests[MAX_TESTS];

/* Where the VMM or the code at 0 does what happens, there is but one event more. */
static bool has_event(void (*host)(const struct scenario *s), u64 event)
{
	if (host == run_real_mode || host == run_smm)
		return event == USERSPACE || event == PREEMPT;
	return true;
}

static void add_test(int n, int what, u64 state, u64 event)
{
	bool each_state = whats[what].each & EACH_STATE;
	bool each_event = whats[what].each & EACH_EVENT;
	char *name;

	TEST_ASSERT(asprintf(&name, "%s%s%s%s%s", whats[what].name,
			     each_state ? "." : "", each_state ? xfd_state_names[state] : "",
			     each_event ? "." : "", each_event ? event_names[event] : "") > 0,
		    "out of memory");
	scenarios[n] = whats[what].scenario;
	scenarios[n].state = state;
	scenarios[n].event = event;
	tests[n] = (struct xfd_test){ .name = name, .fn = run_scenario, .arg = &scenarios[n] };
}

static int all_tests(void)
{
	u64 event, events, state, states;
	int what, n = 0;

	for (what = 0; what < ARRAY_SIZE(whats); what++) {
		states = whats[what].each & EACH_STATE ? XFD_NR_STATES : 1;
		events = whats[what].each & EACH_EVENT ? NR_EVENTS : 1;
		for (state = 0; state < states; state++) {
			for (event = 0; event < events; event++) {
				if (events == 1 || has_event(whats[what].scenario.host, event))
					add_test(n++, what, state, event);
			}
		}
	}
	return n;
}

int main(int argc, char *argv[])
{
	const char *why, *only = NULL;
	int i, n;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--stock"))
			stock = true;
		else if (!strcmp(argv[i], "--tolerate-dormant-loss"))
			tolerate = true;
		else
			only = argv[i];
	}

	tolerate |= stock;

	ksft_print_header();
	why = xfd_require_amx();
	if (why)
		ksft_exit_skip("%s\n", why);

	n = all_tests();
	ksft_set_plan(only ? 1 : n);
	for (i = 0; i < n; i++) {
		if (!only || !strcmp(only, tests[i].name))
			xfd_report(&tests[i], xfd_run_one(&tests[i], TIMEOUT));
	}
	ksft_finished();
}
