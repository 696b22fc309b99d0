// SPDX-License-Identifier: GPL-2.0
/*
 * As xfd_switch_test, with the events that come from elsewhere: from the kernel
 * below KVM, from other CPUs, and from whoever handles the vCPU's thread.
 *
 * Most tests are "event.<state>.<event>".  The guest enters the state, and then, some
 * rounds, meets the event and checks itself.  Whenever the vCPU's thread is outside of
 * KVM_RUN, KVM_GET_MSRS must tell the guest's values, the CPU's MSRs must have the
 * task's, and the task's own tiles, if it uses any, must be there.
 *
 * States: see lib/state.h.
 *
 * Events:
 *	fpu_task	kernel_fpu_begin() in the vCPU's thread, within KVM_RUN
 *	fpu_kthread	in a kernel thread that preempts it
 *	fpu_softirq	in a softirq after a VM-exit
 *	fpu_hardirq	in the interrupt that is the VM-exit
 *	fpu_swap	in an interrupt while KVM_RUN swaps guest and task registers
 *	fpu_rdmsr	in an interrupt right after each RDMSR of XFD and XFD_ERR, with
 *			exits to userspace that save the guest's
 *	halt		the guest executes HLT until its APIC timer expires, while a
 *			task uses tiles
 *	sleep		the thread sleeps outside of KVM_RUN, likewise
 *	offline		the vCPU's CPU is taken offline, and online again
 *	init		another vCPU sends INIT and SIPI: neither MSR and no tile changes
 *	reset		the VMM resets the vCPU: all of it is initial
 *	cr0_ts		#NM because of CR0.TS, which leaves XFD_ERR alone
 *	immediate_exit	KVM_RUN with immediate_exit
 *	run_einval	KVM_RUN fails for what is in struct kvm_run
 *	run_efault	KVM_RUN fails for memory that is not there
 *	run_fail_entry	the VM-entry fails
 *	stop		SIGSTOP, SIGCONT, and meanwhile a task uses tiles
 *	ptrace		a tracer reads the thread's own registers, and writes them
 *	fork		the thread forks
 *	exec		and it becomes another program, which finds nothing of all that
 *
 * vcpus.crowd_<n>: that many vCPUs in all states, moved between two CPUs, where
 * threads use tiles for the first time.
 *
 * The fpu_* events are skipped where xfd_fpu_user.ko is not there.
 */
#include <elf.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "apic.h"
#include "lib/harness.h"
#include "lib/xfd.h"

#define ROUNDS		4
#define MAX_VCPUS	8
/* Seconds of the machine's own clock. */
#define TIMEOUT		60

/* How often the kernel is to use the FPU in each round. */
#define FPU_USES	4
/* Exits to userspace in each round: the interrupt sweeps over them once. */
#define SWAPS		200
#define EXITS		10

/* A port that tells the VMM nothing. */
#define SWAP_PORT	0xf5

#define TIMER_VECTOR	0x40
/* Long enough for KVM not to poll, and for a task to have its turn. */
#define TIMER_NS	3000000

/* Where SIPI starts the guest in real mode, and the port that tells the VMM. */
#define SIPI_GPA	0x1000
#define SIPI_PORT	0xf4

/* Seeds of the tiles of others than vCPUs. */
#define SEED_OWN	150
#define SEED_NEIGHBOUR	200

/* One for each vCPU, in guest memory; the host sees it by way of xfd_guest_ptr(). */
struct control {
	/* The struct event, at the same address in guest and host. */
	u64 event;
	u64 state;
	u64 seed;
	/* Survives a reset. */
	u64 round;
	/* Rounds whose event the guest waits for; those whose event has happened. */
	u64 waiting;
	u64 happened;
} __aligned(64);

/* A test's process; its first thread runs the vCPU that is tested. */
struct run {
	const struct event *event;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct control *c;
	int cpus[2];
	u64 eintr;
	pthread_t vcpu_thread, actor_thread, sender_thread;
	struct xfd_neighbour neighbour;
	struct xfd_tiles *own;
	/* Of the vCPU, to be restored. */
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xsave *xsave;
	struct kvm_vcpu *sender;
	/* Pipes to and from another process. */
	int request, answer;
};

struct event {
	/* The guest's part; returns when the event has happened. */
	void (*guest)(struct control *c, struct xfd_tiles *t);
	/* Before the guest runs. */
	void (*prepare)(struct run *r);
	/* In a thread of its own, while the guest waits. */
	void (*act)(struct run *r, u64 round);
	/* In the vCPU's thread: upon GUEST_SYNC(), or another exit or error. */
	void (*at_sync)(struct run *r, u64 round);
	void (*at_exit)(struct run *r, int error);
	/* When the guest is done. */
	void (*finish)(struct run *r);
	/* Needs a second CPU; and runs the vCPU there, and takes it offline. */
	bool second_cpu, offline;
	/* The vCPU's thread has tiles of its own. */
	bool own_tiles;
	/* Where the kernel is to use the FPU. */
	const char *fpu_context;
};

static struct control controls[MAX_VCPUS];
static struct xfd_tiles tiles[MAX_VCPUS];
static u64 nr_vcpus;

/*
 * The guest.
 */
static void guest_spin(struct control *c, struct xfd_tiles *t)
{
	u64 i;

	WRITE_ONCE(c->waiting, c->round + 1);
	for (i = 0; READ_ONCE(c->happened) <= c->round; i++) {
		if (!(i % 16))
			xfd_vmcall();
		cpu_relax();
	}
}

static void guest_sync(struct control *c, struct xfd_tiles *t)
{
	GUEST_SYNC(c->round);
}

static void guest_sync_and_spin(struct control *c, struct xfd_tiles *t)
{
	GUEST_SYNC(c->round);
	guest_spin(c, t);
}

/* Until all are here: they cannot be without leaving the CPU to each other. */
static void guest_barrier(struct control *c, struct xfd_tiles *t)
{
	u64 i;

	WRITE_ONCE(c->waiting, c->round + 1);
	for (i = 0; i < nr_vcpus; i++) {
		while (READ_ONCE(controls[i].waiting) <= c->round) {
			xfd_vmcall();
			cpu_relax();
		}
	}
}

static void guest_exit_times(struct control *c, int times)
{
	int i;

	GUEST_SYNC(c->round);
	for (i = 0; i < times; i++)
		asm volatile("outb %%al, %[port]" : : "a"(0), [port]"i"(SWAP_PORT));
}

static void guest_exit_often(struct control *c, struct xfd_tiles *t)
{
	guest_exit_times(c, SWAPS);
}

static void guest_exit_few(struct control *c, struct xfd_tiles *t)
{
	guest_exit_times(c, EXITS);
}

static u64 timer_expired;

static void guest_timer_handler(struct ex_regs *regs)
{
	WRITE_ONCE(timer_expired, timer_expired + 1);
	x2apic_write_reg(APIC_EOI, 0);
}

static void guest_halt(struct control *c, struct xfd_tiles *t)
{
	u64 before = READ_ONCE(timer_expired);

	x2apic_enable();
	/* One tick per nanosecond. */
	x2apic_write_reg(APIC_TDCR, 0xb);
	x2apic_write_reg(APIC_LVTT, APIC_LVT_TIMER_ONESHOT | TIMER_VECTOR);
	x2apic_write_reg(APIC_TMICT, TIMER_NS);
	while (READ_ONCE(timer_expired) == before) {
		safe_halt();
		cli();
	}
}

static void guest_send_init(void)
{
	const u64 target = 1ull << 32;
	u64 round;

	x2apic_enable();
	for (round = 0; round < ROUNDS; round++) {
		while (READ_ONCE(controls[0].waiting) <= round)
			cpu_relax();
		x2apic_write_reg(APIC_ICR, target | APIC_INT_ASSERT | APIC_DM_INIT);
		x2apic_write_reg(APIC_ICR, target | APIC_INT_ASSERT | APIC_DM_STARTUP |
					   SIPI_GPA / PAGE_SIZE);
	}
	GUEST_DONE();
}

static u8 xarea[16384] __aligned(64);

/* With CR0.TS=1: see lib/nm.h. */
static noinline XFD_NO_SSE void guest_cr0_ts_probe(u8 *sse, u8 *xrstor)
{
	set_cr0(get_cr0() | X86_CR0_TS);
	*sse = kvm_asm_safe("movaps %%xmm0, %%xmm0", "a"(0));
	xfd_vmcall();
	/* XSTATE_BV[18]=1: with XFD[18]=1 there are two reasons for #NM. */
	*xrstor = kvm_asm_safe("xrstor64 (%%rdi)", "D"(xarea), "a"((u32)XFD_TILEDATA), "d"(0));
	xfd_vmcall();
	set_cr0(get_cr0() & ~X86_CR0_TS);
}

static void guest_cr0_ts(struct control *c, struct xfd_tiles *t)
{
	u8 sse, xrstor;

	((struct xstate *)xarea)->header.xstate_bv = XFD_TILEDATA;
	guest_cr0_ts_probe(&sse, &xrstor);
	GUEST_ASSERT_EQ(sse, NM_VECTOR);
	GUEST_ASSERT_EQ(xrstor, NM_VECTOR);
}

static u8 *absent_page;

static void guest_touch_absent(struct control *c, struct xfd_tiles *t)
{
	GUEST_SYNC(c->round);
	READ_ONCE(*absent_page);
}

/*
 * The kernel uses the FPU: see kmod/xfd_fpu_user.c.
 */
static void prepare_fpu(struct run *r)
{
	xfd_fpu_user_start(r->event->fpu_context, r->cpus[0]);
}

static bool fpu_in_hardirq(const char *context)
{
	return !strcmp(context, "hardirq") || !strcmp(context, "swap") ||
	       !strcmp(context, "rdmsr");
}

/* What counts that the kernel has used the FPU there. */
static const char *fpu_counter(const char *context)
{
	bool rt = xfd_preempt_rt();

	if (rt && !strcmp(context, "hardirq"))
		return "refused";
	/* The thread that it hits is another one in a thread of the kernel's. */
	if (!strcmp(context, "kthread") || (rt && !strcmp(context, "softirq")))
		return "uses";
	return "in_guest";
}

static void act_fpu(struct run *r, u64 round)
{
	const char *counter = fpu_counter(r->event->fpu_context);
	long before = xfd_fpu_user_count(counter);

	while (xfd_fpu_user_count(counter) < before + FPU_USES)
		usleep(500);
}

static void check_vcpu_msrs(struct run *r)
{
	xfd_vcpu_check_msrs(r->vcpu, xfd_state_xfd(r->c->state), xfd_state_xfd_err(r->c->state));
}

/* Exits to userspace, which are no UCALLs. */
static void swap_registers(struct run *r, int times)
{
	int i;

	for (i = 0; i < times; i++) {
		TEST_ASSERT(!__vcpu_run(r->vcpu), "KVM_RUN failed, errno = %d", errno);
		TEST_ASSERT_KVM_EXIT_REASON(r->vcpu, KVM_EXIT_IO);
		TEST_ASSERT_EQ(r->vcpu->run->io.port, SWAP_PORT);
		check_vcpu_msrs(r);
	}
}

static void fpu_swap_at_sync(struct run *r, u64 round)
{
	long before = xfd_fpu_user_count("uses");

	swap_registers(r, SWAPS);
	if (!xfd_preempt_rt())
		TEST_ASSERT(xfd_fpu_user_count("uses") > before, "there were no interrupts");
	TEST_ASSERT(xfd_fpu_user_count("refused"), "none came where it would do harm");
}

/*
 * Where the MSRs are saved with interrupts enabled, the interrupt comes between the
 * two RDMSRs, and must be refused the FPU.
 */
static void fpu_rdmsr_at_sync(struct run *r, u64 round)
{
	long before = xfd_fpu_user_count("reads");

	swap_registers(r, EXITS);
	ksft_print_msg("%ld reads; in all %ld refused, %ld used, %ld late\n",
		       xfd_fpu_user_count("reads") - before, xfd_fpu_user_count("refused"),
		       xfd_fpu_user_count("uses"), xfd_fpu_user_count("late"));
	/* VMX MSR lists are worked off without a read. */
	if (!xfd_strategy_is("autoload"))
		TEST_ASSERT(xfd_fpu_user_count("reads") >= before + EXITS, "there were no reads");
}

static void finish_fpu(struct run *r)
{
	xfd_fpu_user_stop();
	if (xfd_preempt_rt() && fpu_in_hardirq(r->event->fpu_context))
		TEST_ASSERT_EQ(xfd_fpu_user_count("uses"), 0l);
	/*
	 * Where KVM itself clears XFD_ERR it does so only when it has handled the
	 * interrupt that was the VM-exit.
	 */
	if (!xfd_dormant_may_go())
		TEST_ASSERT_EQ(xfd_fpu_user_count("xfd_err"), 0);
	if (!(xfd_dormant_may_go() && r->c->state == XFD_DORMANT))
		TEST_ASSERT_EQ(xfd_fpu_user_count("dormant"), 0);
}

/*
 * Idle.
 */
static void prepare_neighbour(struct run *r)
{
	r->neighbour.cpu = r->cpus[0];
	r->neighbour.amx = true;
	r->neighbour.seed = SEED_NEIGHBOUR;
	xfd_neighbour_start(&r->neighbour);
}

static void finish_neighbour(struct run *r)
{
	struct rusage ru;

	xfd_neighbour_stop(&r->neighbour);
	TEST_ASSERT(!getrusage(RUSAGE_THREAD, &ru), "getrusage() failed");
	TEST_ASSERT(ru.ru_nvcsw >= ROUNDS, "the vCPU's thread slept only %ld times", ru.ru_nvcsw);
	TEST_ASSERT(r->neighbour.rounds >= ROUNDS, "the task ran only %lu times",
		    r->neighbour.rounds);
}

static void prepare_halt(struct run *r)
{
	vm_install_exception_handler(r->vm, TIMER_VECTOR, guest_timer_handler);
	prepare_neighbour(r);
}

static void sleep_at_sync(struct run *r, u64 round)
{
	usleep(TIMER_NS / 1000);
}

/*
 * CPU hotplug.
 */
static void act_offline(struct run *r, u64 round)
{
	bool online = round & 1;

	/* It may be anywhere since its only CPU went: not on the one that is tested. */
	if (online)
		pin_task_to_cpu(r->vcpu_thread, r->cpus[0]);
	TEST_ASSERT(xfd_cpu_set_online(r->cpus[1], online), "CPU %d cannot be taken %s, errno = %d",
		    r->cpus[1], online ? "online" : "offline", errno);
	if (!online)
		return;
	xfd_check_cpu_xfd_err(r->cpus[1]);
	pin_task_to_cpu(r->vcpu_thread, r->cpus[1]);
}

static void finish_offline(struct run *r)
{
	TEST_ASSERT_EQ(sched_getcpu(), r->cpus[1]);
}

/*
 * INIT and RESET.
 */
static void *sender_fn(void *arg)
{
	struct run *r = arg;

	pin_self_to_cpu(r->cpus[1]);
	TEST_ASSERT_EQ(xfd_vcpu_run(r->sender), XFD_GUEST_DONE);
	return NULL;
}

static void prepare_init(struct run *r)
{
	/* mov $0, %al; out %al, $SIPI_PORT */
	static const u8 real_mode_code[] = { 0xb0, 0x00, 0xe6, SIPI_PORT };

	/* Its APIC ID is 0, and that of the vCPU under test 1. */
	r->sender = vm_vcpu_add(r->vm, 0, guest_send_init);
	TEST_ASSERT_EQ(vm_phy_page_alloc(r->vm, SIPI_GPA, 0), SIPI_GPA);
	memcpy(addr_gpa2hva(r->vm, SIPI_GPA), real_mode_code, sizeof(real_mode_code));
	TEST_ASSERT(!pthread_create(&r->sender_thread, NULL, sender_fn, r), "pthread_create()");
}

static void finish_init(struct run *r)
{
	pthread_join(r->sender_thread, NULL);
}

/* The guest spins from here on. */
static void init_at_sync(struct run *r, u64 round)
{
	vcpu_run_complete_io(r->vcpu);
	vcpu_regs_get(r->vcpu, &r->regs);
	vcpu_sregs_get(r->vcpu, &r->sregs);
}

/* Back to where the guest was, without touching anything that this is about. */
static void init_at_exit(struct run *r, int error)
{
	struct kvm_sregs sregs;

	TEST_ASSERT(!error, "KVM_RUN failed, errno = %d", error);
	TEST_ASSERT_KVM_EXIT_REASON(r->vcpu, KVM_EXIT_IO);
	TEST_ASSERT_EQ(r->vcpu->run->io.port, SIPI_PORT);
	vcpu_run_complete_io(r->vcpu);
	vcpu_sregs_get(r->vcpu, &sregs);
	TEST_ASSERT(!(sregs.cr0 & X86_CR0_PE) && !sregs.efer, "there was no INIT");

	vcpu_sregs_set(r->vcpu, &r->sregs);
	vcpu_regs_set(r->vcpu, &r->regs);
	r->c->happened++;
}

static void prepare_reset(struct run *r)
{
	vcpu_regs_get(r->vcpu, &r->regs);
	vcpu_sregs_get(r->vcpu, &r->sregs);
	r->xsave = xfd_image_get(r->vcpu);
}

static void reset_at_sync(struct run *r, u64 round)
{
	struct kvm_vcpu *vcpu = r->vcpu;

	vcpu_run_complete_io(vcpu);
	/* In either order: VMMs differ. */
	if (round & 1)
		vcpu_xsave_set(vcpu, r->xsave);
	vcpu_set_msr(vcpu, MSR_IA32_XFD, 0);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, 0);
	if (!(round & 1))
		vcpu_xsave_set(vcpu, r->xsave);
	vcpu_sregs_set(vcpu, &r->sregs);
	vcpu_regs_set(vcpu, &r->regs);
	r->c->round++;
}

static void prepare_cr0_ts(struct run *r)
{
	vm_install_exception_handler(r->vm, NM_VECTOR, xfd_nm_handler);
}

/*
 * What must hold whenever KVM_RUN has returned.
 */
static void check_outside(struct run *r, bool state_known)
{
	u64 lost;

	xfd_check_host_msrs(r->own ? 0 : XFD_TILEDATA);
	if (state_known)
		check_vcpu_msrs(r);
	if (!r->own)
		return;
	lost = xfd_tiles_lost(r->own);
	TEST_ASSERT(!lost, "the vCPU's thread lost %lu bytes of its own tiles", lost);
}

/*
 * KVM_RUN returns without having run the guest.
 */
static void expect_run_error(struct run *r, int error)
{
	int ret = __vcpu_run(r->vcpu);

	TEST_ASSERT(ret == -1 && errno == error, "KVM_RUN returned %d, errno = %d, not %d", ret,
		    errno, error);
	check_outside(r, true);
}

static void immediate_exit_at_sync(struct run *r, u64 round)
{
	int i;

	r->vcpu->run->immediate_exit = 1;
	for (i = 0; i < 3; i++)
		expect_run_error(r, EINTR);
	r->vcpu->run->immediate_exit = 0;
}

static void run_einval_at_sync(struct run *r, u64 round)
{
	struct kvm_run *run = r->vcpu->run;

	if (round & 1) {
		run->kvm_valid_regs = ~0ull;
	} else {
		vcpu_sregs_get(r->vcpu, &run->s.regs.sregs);
		/* Long mode needs it. */
		run->s.regs.sregs.cr4 &= ~X86_CR4_PAE;
		run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
	}
	expect_run_error(r, EINVAL);
	run->kvm_valid_regs = 0;
	run->kvm_dirty_regs = 0;
}

static void protect_absent_page(struct run *r, int prot)
{
	TEST_ASSERT(!mprotect(addr_gva2hva(r->vm, (gva_t)absent_page), PAGE_SIZE, prot),
		    "mprotect() failed, errno = %d", errno);
}

static void prepare_run_efault(struct run *r)
{
	absent_page = (u8 *)vm_alloc_page(r->vm);
	sync_global_to_guest(r->vm, absent_page);
}

static void run_efault_at_sync(struct run *r, u64 round)
{
	protect_absent_page(r, PROT_NONE);
}

static void run_efault_at_exit(struct run *r, int error)
{
	TEST_ASSERT_EQ(error, EFAULT);
	expect_run_error(r, EFAULT);
	protect_absent_page(r, PROT_READ | PROT_WRITE);
}

static void run_fail_entry_at_sync(struct run *r, u64 round)
{
	struct kvm_sregs sregs;

	vcpu_run_complete_io(r->vcpu);
	vcpu_sregs_get(r->vcpu, &r->sregs);
	sregs = r->sregs;
	/* A 64-bit guest's must be a busy 64-bit TSS, 11. */
	sregs.tr.type = 3;
	vcpu_sregs_set(r->vcpu, &sregs);
	TEST_ASSERT(!__vcpu_run(r->vcpu), "KVM_RUN failed, errno = %d", errno);
	TEST_ASSERT_KVM_EXIT_REASON(r->vcpu, KVM_EXIT_FAIL_ENTRY);
	check_outside(r, true);
	vcpu_sregs_set(r->vcpu, &r->sregs);
}

/*
 * What another process does to the vCPU's thread.
 */
static void outsider_start(struct run *r, const char *(*fn)(struct run *r, pid_t pid))
{
	int request[2], answer[2];
	const char *failure;
	pid_t pid = getpid();
	u8 byte;

	TEST_ASSERT(!pipe(request) && !pipe(answer), "pipe() failed, errno = %d", errno);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	if (!fork()) {
		close(request[1]);
		close(answer[0]);
		while (read(request[0], &byte, 1) == 1) {
			failure = fn(r, pid);
			if (failure)
				printf("the other process: %s\n", failure);
			fflush(stdout);
			byte = !!failure;
			if (write(answer[1], &byte, 1) != 1)
				break;
		}
		_exit(0);
	}
	close(request[0]);
	close(answer[1]);
	r->request = request[1];
	r->answer = answer[0];
}

/* Each time it makes KVM_RUN return, once. */
static void act_outsider(struct run *r, u64 round)
{
	u64 eintr = READ_ONCE(r->eintr);
	u8 byte = 0;

	TEST_ASSERT(write(r->request, &byte, 1) == 1 && read(r->answer, &byte, 1) == 1 && !byte,
		    "the other process failed");
	while (READ_ONCE(r->eintr) == eintr)
		usleep(200);
}

static bool is_stopped(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state == 'T';
}

static const char *stop_and_continue(struct run *r, pid_t pid)
{
	static struct xfd_tiles t;
	u64 lost;

	pin_self_to_cpu(r->cpus[0]);
	if (kill(pid, SIGSTOP))
		return "cannot send SIGSTOP";
	while (!is_stopped(pid))
		usleep(200);

	xfd_tiles_fill(&t, SEED_NEIGHBOUR);
	xfd_tiles_use(&t);
	usleep(1000);
	lost = xfd_tiles_lost(&t);
	xfd_tilerelease();

	if (kill(pid, SIGCONT))
		return "cannot send SIGCONT";
	return lost ? "it lost tiles" : NULL;
}

static const char *read_and_write_registers(struct run *r, pid_t pid)
{
	static u8 area[65536] __aligned(64);
	struct iovec iov = { .iov_base = area, .iov_len = sizeof(area) };
	struct kvm_xsave *image = (void *)area;
	const char *failure = NULL;
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		return "cannot trace";
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return "cannot stop";

	if (ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &iov))
		failure = "cannot read registers";
	else if (!(xfd_image_header(image)->xstate_bv & XFD_TILEDATA))
		failure = "XSTATE_BV says that there are no tiles";
	else if (xfd_bytes_differ(xfd_image_component(image, XFD_TILEDATA), r->own->want,
				  XFD_TILES_BYTES))
		failure = "those are not the thread's own tiles";
	else if (ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &iov))
		failure = "cannot write registers";

	if (ptrace(PTRACE_DETACH, pid, 0, 0))
		return "cannot detach";
	return failure;
}

static void prepare_stop(struct run *r)
{
	outsider_start(r, stop_and_continue);
}

static void prepare_ptrace(struct run *r)
{
	outsider_start(r, read_and_write_registers);
}

static void fork_at_sync(struct run *r, u64 round)
{
	static struct xfd_tiles t;
	int status;
	pid_t pid;

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		/* The psABI: "XTILEDATA is caller-saved", and not inherited. */
		TEST_ASSERT_EQ(xfd_xinuse() & XFD_TILEDATA, 0);
		xfd_check_host_msrs(XFD_TILEDATA);
		xfd_tiles_fill(&t, SEED_NEIGHBOUR);
		xfd_tiles_use(&t);
		usleep(1000);
		TEST_ASSERT_EQ(xfd_tiles_lost(&t), 0);
		_exit(KSFT_PASS);
	}
	TEST_ASSERT(waitpid(pid, &status, 0) == pid, "waitpid() failed, errno = %d", errno);
	TEST_ASSERT(WIFEXITED(status) && !WEXITSTATUS(status), "the child failed");
}

/* The new program, in the vCPU's thread; what it returns is the test's result. */
static int after_exec(void)
{
	static struct xfd_tiles t;

	TEST_ASSERT_EQ(xfd_xinuse() & XFEATURE_MASK_XTILE, 0);
	xfd_check_host_msrs(XFD_TILEDATA);
	TEST_ASSERT(!xfd_use_without_permission(1), "used tiles without permission");

	TEST_ASSERT(!syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, ilog2(XFD_TILEDATA)),
		    "no permission for XTILEDATA, errno = %d", errno);
	xfd_tiles_fill(&t, SEED_NEIGHBOUR);
	xfd_tiles_use(&t);
	usleep(1000);
	TEST_ASSERT_EQ(xfd_tiles_lost(&t), 0);
	return KSFT_PASS;
}

static void exec_at_sync(struct run *r, u64 round)
{
	execl("/proc/self/exe", "xfd_event_test", "--after-exec", NULL);
	TEST_FAIL("exec() failed, errno = %d", errno);
}

/* The guest, of the control block with this number. */
static void guest_main(u64 nr)
{
	struct control *c = &controls[nr];
	const struct event *event = (const struct event *)c->event;
	struct xfd_tiles *t = &tiles[nr];

	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), 0ull);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), 0ull);
	GUEST_ASSERT_EQ(xfd_xinuse() & XFEATURE_MASK_XTILE, 0ull);

	xfd_tiles_fill(t, c->seed);
	/* What makes KVM pass the MSR through, for the live state as well. */
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_state_enter(t, c->state);
	xfd_state_check(t, c->state);
	while (c->round < ROUNDS) {
		event->guest(c, t);
		c->round++;
		xfd_state_check(t, c->state);
	}
	GUEST_DONE();
}

/*
 * The host.
 */
static void *actor_fn(void *arg)
{
	struct run *r = arg;
	u64 round;

	for (round = 0; round < ROUNDS; round++) {
		while (READ_ONCE(r->c->waiting) <= round)
			usleep(500);
		r->event->act(r, round);
		WRITE_ONCE(r->c->happened, round + 1);
	}
	return NULL;
}

/* The guest may be anywhere in its checks, unless it is waiting. */
static void at_error(struct run *r, int error)
{
	bool waiting = r->c->waiting > r->c->happened;

	if (r->event->at_exit) {
		check_outside(r, true);
		r->event->at_exit(r, error);
		return;
	}
	TEST_ASSERT(error == EINTR && r->event->act == act_outsider,
		    "KVM_RUN failed, errno = %d", error);
	check_outside(r, waiting);
	WRITE_ONCE(r->eintr, r->eintr + 1);
}

static void run_to_the_end(struct run *r)
{
	u64 said;

	for (;;) {
		if (__vcpu_run(r->vcpu)) {
			at_error(r, errno);
			continue;
		}
		said = xfd_vcpu_says(r->vcpu);
		check_outside(r, true);
		if (said == XFD_GUEST_DONE)
			return;
		if (said != XFD_GUEST_SILENT) {
			r->event->at_sync(r, said);
			continue;
		}
		TEST_ASSERT(r->event->at_exit, "exit reason %u (%s)", r->vcpu->run->exit_reason,
			    exit_reason_str(r->vcpu->run->exit_reason));
		r->event->at_exit(r, 0);
	}
}

static struct control *add_vcpu(struct kvm_vm *vm, u32 id, u64 nr, struct kvm_vcpu **vcpu)
{
	struct control *c = xfd_guest_ptr(vm, controls[nr]);

	*vcpu = vm_vcpu_add(vm, id, guest_main);
	vcpu_args_set(*vcpu, 1, nr);
	c->seed = 1 + 10 * nr;
	return c;
}

/* The second CPU, whether or not it is online just now. */
static int second_cpu;

/* What a test that failed, or was killed, may have left behind. */
static void clean_up(void)
{
	xfd_fpu_user_stop();
	xfd_cpu_set_online(second_cpu, true);
}

FIXTURE(event) {
	struct run run;
};

XFD_FIXTURE_STATES(event);

FIXTURE_SETUP(event)
{
	struct run *r = &self->run;

	clean_up();
	r->cpus[0] = xfd_cpu(0);
	r->cpus[1] = xfd_cpu(1);
	r->vcpu_thread = pthread_self();
	r->vm = vm_create(2);
	xfd_vm_expect(r->vm, xfd_expect);
	r->c = add_vcpu(r->vm, 1, 0, &r->vcpu);
	r->c->state = variant->state;
}

FIXTURE_TEARDOWN_PARENT(event)
{
	clean_up();
}

/* What this machine lacks for the event, or NULL. */
static const char *missing(const struct run *r, const struct event *event)
{
	if (event->second_cpu && r->cpus[1] < 0)
		return "one CPU";
	if (event->offline && !xfd_cpu_can_go_offline(r->cpus[1]))
		return "the CPU cannot be taken offline";
	if (event->fpu_context && !xfd_fpu_user_loaded())
		return "xfd_fpu_user.ko is not loaded";
	return NULL;
}

static void run(struct run *r, const struct event *event)
{
	int cpu = event->offline ? r->cpus[1] : r->cpus[0];

	r->event = event;
	r->c->event = (u64)event;
	if (event->own_tiles) {
		r->own = xfd_tiles_alloc();
		xfd_tiles_fill(r->own, SEED_OWN);
	}
	if (event->prepare)
		event->prepare(r);
	/* Threads inherit the affinity: the actor first. */
	if (event->act)
		TEST_ASSERT(!pthread_create(&r->actor_thread, NULL, actor_fn, r),
			    "pthread_create()");
	pin_self_to_cpu(cpu);
	if (r->own)
		xfd_tiles_use(r->own);

	run_to_the_end(r);

	if (event->act)
		pthread_join(r->actor_thread, NULL);
	if (event->finish)
		event->finish(r);
	kvm_vm_free(r->vm);
}

#define EVENT_TEST(name, ...)						\
static const struct event name##_event = { __VA_ARGS__ };		\
									\
TEST_F_TIMEOUT(event, name, TIMEOUT)					\
{									\
	const char *why = missing(&self->run, &name##_event);		\
									\
	if (why)							\
		SKIP(return, "%s", why);				\
	run(&self->run, &name##_event);					\
}

EVENT_TEST(fpu_task, .guest = guest_spin, .prepare = prepare_fpu, .act = act_fpu,
	   .finish = finish_fpu, .fpu_context = "task");
EVENT_TEST(fpu_kthread, .guest = guest_spin, .prepare = prepare_fpu, .act = act_fpu,
	   .finish = finish_fpu, .fpu_context = "kthread");
EVENT_TEST(fpu_softirq, .guest = guest_spin, .prepare = prepare_fpu, .act = act_fpu,
	   .finish = finish_fpu, .fpu_context = "softirq");
EVENT_TEST(fpu_hardirq, .guest = guest_spin, .prepare = prepare_fpu, .act = act_fpu,
	   .finish = finish_fpu, .fpu_context = "hardirq");
EVENT_TEST(fpu_swap, .guest = guest_exit_often, .prepare = prepare_fpu,
	   .at_sync = fpu_swap_at_sync, .finish = finish_fpu, .fpu_context = "swap");
EVENT_TEST(fpu_rdmsr, .guest = guest_exit_few, .prepare = prepare_fpu,
	   .at_sync = fpu_rdmsr_at_sync, .finish = finish_fpu, .fpu_context = "rdmsr");
EVENT_TEST(halt, .guest = guest_halt, .prepare = prepare_halt, .finish = finish_neighbour);
EVENT_TEST(sleep, .guest = guest_sync, .at_sync = sleep_at_sync, .prepare = prepare_neighbour,
	   .finish = finish_neighbour);
EVENT_TEST(offline, .guest = guest_spin, .second_cpu = true, .offline = true,
	   .act = act_offline, .finish = finish_offline);
EVENT_TEST(init, .guest = guest_sync_and_spin, .second_cpu = true, .prepare = prepare_init,
	   .at_sync = init_at_sync, .at_exit = init_at_exit, .finish = finish_init);
EVENT_TEST(reset, .guest = guest_sync, .prepare = prepare_reset, .at_sync = reset_at_sync);
EVENT_TEST(cr0_ts, .guest = guest_cr0_ts, .prepare = prepare_cr0_ts);
EVENT_TEST(immediate_exit, .guest = guest_sync, .own_tiles = true,
	   .at_sync = immediate_exit_at_sync);
EVENT_TEST(run_einval, .guest = guest_sync, .at_sync = run_einval_at_sync);
EVENT_TEST(run_efault, .guest = guest_touch_absent, .prepare = prepare_run_efault,
	   .at_sync = run_efault_at_sync, .at_exit = run_efault_at_exit);
EVENT_TEST(run_fail_entry, .guest = guest_sync, .at_sync = run_fail_entry_at_sync);
EVENT_TEST(stop, .guest = guest_spin, .own_tiles = true, .prepare = prepare_stop,
	   .act = act_outsider);
EVENT_TEST(ptrace, .guest = guest_spin, .own_tiles = true, .prepare = prepare_ptrace,
	   .act = act_outsider);
EVENT_TEST(fork, .guest = guest_sync, .own_tiles = true, .at_sync = fork_at_sync);
EVENT_TEST(exec, .guest = guest_sync, .own_tiles = true, .at_sync = exec_at_sync);

static void *crowd_vcpu_fn(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	return NULL;
}

static bool all_done(struct control **c)
{
	u64 i;

	for (i = 0; i < nr_vcpus; i++) {
		if (READ_ONCE(c[i]->round) < ROUNDS)
			return false;
	}
	return true;
}

static const struct event crowd_event = { .guest = guest_barrier };

static void run_crowd(u64 nr)
{
	int cpus[] = { xfd_cpu(0), xfd_cpu(1) };
	struct control *c[MAX_VCPUS];
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	pthread_t threads[MAX_VCPUS];
	struct kvm_vm *vm;
	u64 i, n;

	nr_vcpus = nr;
	vm = vm_create(nr_vcpus);
	xfd_vm_expect(vm, xfd_expect);
	sync_global_to_guest(vm, nr_vcpus);
	for (i = 0; i < nr_vcpus; i++) {
		c[i] = add_vcpu(vm, i, i, &vcpus[i]);
		c[i]->event = (u64)&crowd_event;
		/* The first two have tiles. */
		c[i]->state = (XFD_LIVE + i) % XFD_NR_STATES;
	}
	for (i = 0; i < nr_vcpus; i++)
		TEST_ASSERT(!pthread_create(&threads[i], NULL, crowd_vcpu_fn, vcpus[i]),
			    "pthread_create()");
	for (n = 0; !all_done(c); n++) {
		for (i = 0; i < nr_vcpus; i++)
			/* One that has exited meanwhile cannot be moved. */
			__pin_task_to_cpu(threads[i], cpus[(n * (i + 1) + i) & 1]);
		xfd_first_use(cpus[n & 1], SEED_NEIGHBOUR + n);
	}
	for (i = 0; i < nr_vcpus; i++)
		pthread_join(threads[i], NULL);
	kvm_vm_free(vm);
}

FIXTURE(vcpus) {
};

FIXTURE_SETUP(vcpus)
{
	clean_up();
	if (xfd_cpu(1) < 0)
		SKIP(return, "one CPU");
}

FIXTURE_TEARDOWN(vcpus)
{
}

TEST_F_TIMEOUT(vcpus, crowd_2, TIMEOUT)
{
	run_crowd(2);
}

TEST_F_TIMEOUT(vcpus, crowd_4, TIMEOUT)
{
	run_crowd(4);
}

TEST_F_TIMEOUT(vcpus, crowd_8, TIMEOUT)
{
	run_crowd(8);
}

static struct xfd_option options[] = {
	{ "fpu-user", "PATH", "xfd_fpu_user.ko, to be loaded for the fpu_* events" },
	{}
};

int main(int argc, char *argv[])
{
	if (argc == 2 && !strcmp(argv[1], "--after-exec"))
		return after_exec();

	argc = xfd_begin(argc, argv, options);
	xfd_require_amx();
	if (options[0].value)
		xfd_test_module_load(options[0].value);
	second_cpu = xfd_cpu(1);
	return xfd_run_tests(argc, argv);
}
