// SPDX-License-Identifier: GPL-2.0
/*
 * What an AMX guest costs in accesses of IA32_XFD and IA32_XFD_ERR and in
 * instructions, and how many bytes of its tiles get lost.
 *
 *	xfd_measure states [--exits=N]
 *	xfd_measure older COMMAND [--exits=N]
 *	xfd_measure nested
 *	xfd_measure vcpus
 *	xfd_measure loss [--exits=N]
 *	xfd_measure trace DIRECTORY [--exits=N]
 *
 * Each prints one line, "#XFD " and a JSON object.  Nothing is asserted: the
 * figures are what is true, on whatever kernel this runs.
 *
 * states: the guest sits in one of these states
 *	never	XFD has never been written
 *	armed	XFD[18]=1, tiles initial
 *	live	XFD=0 (after having been armed, as any OS does), tiles in use
 *	dormant	XFD[18]=1, tiles in use
 *	pending	XFD_ERR[18]=1 left by a #NM, XFD[18]=1, tiles initial
 *	no_amx	its CPUID has neither AMX nor XFD
 * and exits again and again:
 *	"states"	by VMCALLs that the kernel handles without leaving it
 *	"userspace"	by OUT to a port that userspace has to handle, which
 *			at once calls KVM_RUN again
 *	"switches"	by OUT to a port that is an eventfd, which a real-time
 *			task on the same CPU waits for: it preempts the vCPU's
 *			thread within KVM_RUN, reads the eventfd and waits
 *			again.  "plain" has never used AMX, "amx" has its tiles
 *			in use all the time.
 *
 * rdmsr_* and wrmsr_* are totals over the same stretch as exits, userspace or
 * switches: the difference of two runs, one with n more of them than the other.
 * What KVM_RUN costs at its beginning and end, and what it costs to enter and
 * leave the state, is in both and drops out.  Timer interrupts of the host are
 * exits, too, and stay in where VMCALLs are counted: with them exits is a
 * little more than n.  For the rarer events, runs with such an exit in them are
 * not used.  The accesses are the kernel's msr:read_msr and msr:write_msr trace
 * events on the vCPU's CPU.
 *
 * A state that an event ends (dormant, on stock) is entered again before the
 * next one, which exits nowhere.  "kept" says how often it need not have been.
 *
 * "instructions" are medians of the difference between two RDTSCs right before
 * and after, untraced, with one RDTSC and the few instructions that set up VMCALL's
 * or OUT's registers or the #NM handler in them.  A switch thus consists of the
 * exit, the wake-up, both context switches, two system calls of the other task, and
 * the VM-entry.  Nothing that a compiler or a C library arranges is in them: guest,
 * VMM and the other task execute assembly there, and no thread has registered for
 * rseq(2).  They are instructions where the TSC counts those, as the emulator's
 * does; on a real CPU they are TSC ticks.
 *
 * list_entries is the number of entries in the VMX MSR lists, which the CPU
 * processes on each exit and the entry after it, as KVM's dump of the VMCS has
 * them when a VM-entry has failed.
 *
 * nm: the guest has XFD[18]=1, executes TILELOADD, and its #NM handler reads
 * XFD_ERR, clears it and skips the TILELOADD.  exits_per_nm leaves external
 * interrupts out: they are not the guest's.
 *
 * older: exits by VMCALL, as in states, of VMs that are older than COMMAND,
 * which runs before their vCPUs do and loads a module, say.
 *
 * nested: the guest is a hypervisor (L1) that has armed XFD and passes both MSRs
 * through to a guest of its own (L2), which has #NM for itself.  L2, armed,
 *	write_xfd	writes 0 to XFD, or the value that arms it: instructions are
 *			the mean of the two
 *	nm		meets a #NM, as in nm
 *	exit_l0		reads IA32_MISC_ENABLE, which L0 alone intercepts and emulates
 *	exit_l1		executes VMCALL, upon which L1 reads why L2 has exited,
 *			skips the VMCALL and resumes L2
 * and is never dormant.  exits are VM-exits to L0 of either level, and as the
 * accesses a total over all times.  exit_l1 contains what L1 executes.
 *
 * vcpus: exits by VMCALL of 1 to 64 vCPUs of one VM, armed.  Each has a thread,
 * all on one CPU, which gives it up after each KVM_RUN, so that no two KVM_RUNs
 * in a row are the same vCPU's.  The threads are real-time ones, so that
 * nothing preempts them within KVM_RUN.  instructions_min and _max are the
 * smallest and the largest of the vCPUs' medians.
 *
 * loss: eight full tiles, 8192 bytes none of which is zero, live or dormant,
 * over an event: n VMCALLs; an exit to userspace; preemption within KVM_RUN by
 * a host task that uses tiles of its own; migration within KVM_RUN to another
 * CPU (null on a machine with one CPU).
 *
 * trace: in each state, n VMCALLs, exits to userspace and switches ("plain"), and in
 * armed n #NMs, as above, while kvm:kvm_exit, kvm:kvm_entry, kvm:kvm_userspace_exit
 * and sched:sched_switch are traced with the TSC as clock.  What tracefs has of them
 * goes to DIRECTORY/STATE-ACTION.trace.  "traced" are medians as "instructions" are,
 * but traced: by so much more does tracing make each of them cost.
 */
#include <linux/kvm.h>
#include <linux/stringify.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "vmx.h"

#include "lib/xfd.h"

#define WARM_UP		64
#define MAX_TRIES	20
#define MAX_EXITS	32768
/* Of an action other than VMCALL: counted, and timed. */
#define NR_COUNTED	32
#define NR_TIMED	200
#define NR_VCPUS_TIMED	32
#define MAX_VCPUS	64
/* Exits of all vCPUs together, in each of two rounds. */
#define VCPUS_EXITS	256

#define PORT_USERSPACE	0x5844
#define PORT_PLAIN	0x5845
#define PORT_AMX	0x5846

#define X86_FEATURE_AMX_BF16	KVM_X86_CPU_FEATURE(0x7, 0, EDX, 22)
#define X86_FEATURE_AMX_TILE	KVM_X86_CPU_FEATURE(0x7, 0, EDX, 24)
#define X86_FEATURE_AMX_INT8	KVM_X86_CPU_FEATURE(0x7, 0, EDX, 25)

enum state { NEVER, ARMED, LIVE, DORMANT, PENDING, NO_AMX, NR_STATES };

static const char * const state_names[] = {
	"never", "armed", "live", "dormant", "pending", "no_amx"
};

enum action { VMCALL, USERSPACE, SWITCH_PLAIN, SWITCH_AMX, NR_ACTIONS };

static const char * const action_names[] = { "exit", "userspace", "switch_plain", "switch_amx" };

enum l2_action { WRITE_XFD, NM, EXIT_L0, EXIT_L1, NR_L2_ACTIONS };

static const char * const l2_action_names[] = { "write_xfd", "nm", "exit_l0", "exit_l1" };

/* In guest memory; the host sees it by way of xfd_guest_ptr(). */
static struct control {
	u64 state;
	u64 action;
	u64 warm_up;
	u64 nr;
	u64 progress;
	u64 spinning;
	u64 go;
	u64 bytes_lost;
} control;

static u32 samples[MAX_EXITS];
static struct xfd_tiles tiles;

/* How many exits, where that can be chosen. */
static u64 nr_exits = 1000;

/* Printed at the end, so that no note and no console line gets into its midst. */
static FILE *json;

/*
 * What is timed lies in one block of assembly, between two RDTSCs, with all in
 * fixed registers: it is the same instructions whatever compiler there is.
 *
 * The jump makes it so where the TSC counts instructions, too.  The emulator adds
 * to its TSC at the end of each trace, a run of instructions up to a jump or what
 * else ends one, and RDTSC within a trace reads what the TSC was when that began.
 * The second RDTSC is a trace's first instruction, as an exit or an IRET was before
 * it; the first one is, too, after a jump, and else would read a TSC that is behind
 * by as many instructions as the compiler has put there.  On a CPU LFENCE keeps
 * those out.
 */
#define ASM_RDTSC_BEFORE			\
	"lfence\n\t"				\
	"jmp 1f\n"				\
	"1:\n\t"				\
	"rdtsc\n\t"				\
	"mov %%eax, %[before]\n\t"

static u32 guest_vmcall_tsc(void)
{
	u32 before, after;

	asm volatile(ASM_RDTSC_BEFORE
		     "mov %[nr], %%eax\n\t"
		     "xor %%edx, %%edx\n\t"
		     "vmcall\n\t"
		     "rdtsc"
		     : "=a"(after), [before]"=&D"(before)
		     : [nr]"i"(XFD_VMCALL_NR), "b"(0), "c"(0), "S"(0)
		     : "rdx", "memory", "cc");
	return after - before;
}

static u32 guest_out_tsc(u16 port)
{
	u32 before, after;

	asm volatile(ASM_RDTSC_BEFORE
		     "mov %[port], %%edx\n\t"
		     "out %%al, %%dx\n\t"
		     "rdtsc"
		     : "=a"(after), [before]"=&D"(before)
		     : [port]"S"((u32)port)
		     : "rdx", "memory");
	return after - before;
}

static u32 guest_act_tsc(enum action action)
{
	switch (action) {
	case VMCALL:
		return guest_vmcall_tsc();
	case USERSPACE:
		return guest_out_tsc(PORT_USERSPACE);
	case SWITCH_PLAIN:
		return guest_out_tsc(PORT_PLAIN);
	default:
		return guest_out_tsc(PORT_AMX);
	}
}

/* The same around a TILELOADD that raises #NM, which guest_nm_handler skips. */
static u32 guest_nm_tsc(void)
{
	u32 before, after;

	asm volatile(ASM_RDTSC_BEFORE
		     "mov %[tile], %%rax\n\t"
		     "mov %[stride], %%edx\n\t"
		     ASM_TILELOADD(0x04)
		     "rdtsc"
		     : "=a"(after), [before]"=&D"(before)
		     : [tile]"S"(tiles.want), [stride]"i"(XFD_TILE_COLSB)
		     : "rcx", "rdx", "memory", "cc");
	return after - before;
}

/*
 * In the IDT itself, as the library's way to a handler in C is the compiler's, and
 * only for the block above: RAX, RCX and RDX are free to use there.  TILELOADD with
 * a SIB byte is six bytes long.  #UD, which the library reports, if XFD_ERR[18]=0.
 */
extern char guest_nm_handler[];
asm(".pushsection .text\n"
	"guest_nm_handler:\n\t"
	"mov $" __stringify(MSR_IA32_XFD_ERR) ", %ecx\n\t"
	"rdmsr\n\t"
	"bt $18, %eax\n\t"
	"jnc 1f\n\t"
	"xor %eax, %eax\n\t"
	"xor %edx, %edx\n\t"
	"wrmsr\n\t"
	"addq $6, (%rsp)\n\t"
	"iretq\n"
	"1:\n\t"
	"ud2\n\t"
	".popsection");

static void guest_enter(enum state state)
{
	if (state == NEVER || state == NO_AMX)
		return;

	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	if (state == LIVE || state == DORMANT) {
		wrmsr(MSR_IA32_XFD, 0);
		xfd_tiles_use(&tiles);
	}
	if (state == DORMANT)
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	if (state == PENDING)
		GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
}

/* Is the guest still in the state that it has been measured in? */
static bool guest_in(enum state state)
{
	u64 xfd, in_use;
	bool pending;

	if (state == NO_AMX)
		return true;

	xfd = rdmsr(MSR_IA32_XFD);
	in_use = xfd_xinuse() & XFD_TILEDATA;
	pending = rdmsr(MSR_IA32_XFD_ERR) == XFD_TILEDATA;

	switch (state) {
	case NEVER:
		return !xfd && !in_use && !pending;
	case ARMED:
		return xfd && !in_use && !pending;
	case LIVE:
		return !xfd && in_use && !pending;
	case DORMANT:
		return xfd && in_use && !pending;
	case PENDING:
		return xfd && !in_use && pending;
	default:
		return false;
	}
}

static void guest_leave(enum state state)
{
	if (state == NEVER || state == NO_AMX)
		return;
	wrmsr(MSR_IA32_XFD, 0);
	if (state == PENDING)
		wrmsr(MSR_IA32_XFD_ERR, 0);
	xfd_tilerelease();
}

/* What guest_states() says if it is in none of the states. */
#define ASTRAY	(~0ull - 2)

/* Each round ends with how often the state had to be entered again. */
static void guest_states(u32 *sample)
{
	struct control *c = &control;
	u64 i, again;
	u32 tsc;

	for (;;) {
		guest_enter(c->state);
		again = 0;
		for (i = 0; i < c->warm_up + c->nr; i++) {
			tsc = guest_act_tsc(c->action);
			if (i >= c->warm_up)
				sample[i - c->warm_up] = tsc;
			/* No other state is known to be lost by anyone. */
			if (c->state == DORMANT && !(xfd_xinuse() & XFD_TILEDATA)) {
				again += i >= c->warm_up;
				guest_enter(DORMANT);
			}
		}
		if (!guest_in(c->state))
			again = ASTRAY;
		guest_leave(c->state);
		GUEST_SYNC(again);
	}
}

static void guest_nm(void)
{
	struct control *c = &control;
	u64 i;

	xfd_ldtilecfg(&tiles.cfg);
	for (;;) {
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		for (i = 0; i < WARM_UP + c->nr; i++)
			samples[i % MAX_EXITS] = guest_nm_tsc();
		GUEST_SYNC(0);
	}
}

static u32 l2_write_xfd_tsc(u32 value)
{
	u32 before, after;

	asm volatile(ASM_RDTSC_BEFORE
		     "mov %[msr], %%ecx\n\t"
		     "mov %[value], %%eax\n\t"
		     "xor %%edx, %%edx\n\t"
		     "wrmsr\n\t"
		     "rdtsc"
		     : "=a"(after), [before]"=&D"(before)
		     : [msr]"i"(MSR_IA32_XFD), [value]"S"(value)
		     : "rcx", "rdx", "memory", "cc");
	return after - before;
}

/* Never passed through by L0; L1's bitmap does not intercept it. */
static u32 l2_exit_l0_tsc(void)
{
	u32 before, after;

	asm volatile(ASM_RDTSC_BEFORE
		     "mov %[msr], %%ecx\n\t"
		     "rdmsr\n\t"
		     "rdtsc"
		     : "=a"(after), [before]"=&D"(before)
		     : [msr]"i"(MSR_IA32_MISC_ENABLE)
		     : "rcx", "rdx", "memory");
	return after - before;
}

/* L1, guest_l1(), leaves RAX, RCX and RDX changed. */
static u32 l2_exit_l1_tsc(void)
{
	u32 before, after;

	asm volatile(ASM_RDTSC_BEFORE
		     "vmcall\n\t"
		     "rdtsc"
		     : "=a"(after), [before]"=&D"(before)
		     :
		     : "rcx", "rdx", "memory", "cc");
	return after - before;
}

static u32 l2_act_tsc(enum l2_action action)
{
	u32 tsc;

	switch (action) {
	case WRITE_XFD:
		tsc = l2_write_xfd_tsc(0);
		tsc += l2_write_xfd_tsc(XFD_TILEDATA);
		return tsc / 2;
	case NM:
		return guest_nm_tsc();
	case EXIT_L0:
		return l2_exit_l0_tsc();
	default:
		return l2_exit_l1_tsc();
	}
}

static void guest_l2(void)
{
	struct control *c = &control;
	u64 i;
	u32 tsc;

	for (;;) {
		for (i = 0; i < c->warm_up + c->nr; i++) {
			tsc = l2_act_tsc(c->action);
			if (i >= c->warm_up)
				samples[i - c->warm_up] = tsc;
		}
		GUEST_SYNC(guest_in(ARMED) ? 0 : ASTRAY);
	}
}

/*
 * Arms XFD, and runs L2, for which it skips one VMCALL after the other.  In
 * assembly, as it is part of what an exit to L1 costs.  #UD, which the library
 * reports, if L2 exits for another reason or cannot be entered.
 */
static void guest_l1(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, guest_l2);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL,
		vmreadz(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_USE_MSR_BITMAPS);

	xfd_ldtilecfg(&tiles.cfg);
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	asm volatile("vmwrite %%rsp, %[host_rsp]\n\t"
		     "lea 1f(%%rip), %%rax\n\t"
		     "vmwrite %%rax, %[host_rip]\n\t"
		     "vmlaunch\n\t"
		     "ud2\n"
		     "1:\n\t"
		     "mov %[exit_reason], %%ecx\n\t"
		     "vmread %%rcx, %%rax\n\t"
		     "cmp %[vmcall], %%eax\n\t"
		     "jne 2f\n\t"
		     "mov %[exit_len], %%ecx\n\t"
		     "vmread %%rcx, %%rdx\n\t"
		     "mov %[guest_rip], %%ecx\n\t"
		     "vmread %%rcx, %%rax\n\t"
		     "add %%rdx, %%rax\n\t"
		     "vmwrite %%rax, %%rcx\n\t"
		     "vmresume\n"
		     "2:\n\t"
		     "ud2"
		     :
		     : [host_rsp]"r"((u64)HOST_RSP), [host_rip]"r"((u64)HOST_RIP),
		       [exit_reason]"i"(VM_EXIT_REASON), [vmcall]"i"(EXIT_REASON_VMCALL),
		       [exit_len]"i"(VM_EXIT_INSTRUCTION_LEN), [guest_rip]"i"(GUEST_RIP)
		     : "rax", "rcx", "rdx", "memory", "cc");
}

/*
 * The task that a switch goes to and comes back from: waits for the eventfd, on
 * the vCPU's CPU, and is preferred to the vCPU's thread.
 */
struct partner {
	int cpu;
	int eventfd;
	bool amx;
	bool ready;
	struct xfd_tiles *tiles;
	pthread_t thread;
};

/* Makes this thread one that no other kind of thread preempts. */
static void prefer(int priority)
{
	struct sched_param param = { .sched_priority = priority };

	TEST_ASSERT(!sched_setscheduler(0, priority ? SCHED_FIFO : SCHED_OTHER, &param),
		    "sched_setscheduler() failed, errno = %d", errno);
}

/*
 * A guest adds 1 to the eventfd: wait for it, again and again, until someone adds
 * more.  In assembly, as it is part of what a switch costs.
 */
static void partner_wait(int eventfd)
{
	u64 n = 0;
	long ret;

	asm volatile("1:\n\t"
		     "mov %[nr], %%eax\n\t"
		     "mov %[size], %%edx\n\t"
		     "syscall\n\t"
		     "cmp %[size], %%rax\n\t"
		     "jne 2f\n\t"
		     "cmpq $1, (%[n])\n\t"
		     "je 1b\n"
		     "2:"
		     : "=&a"(ret)
		     : [nr]"i"(SYS_read), [size]"i"(sizeof(n)), "D"((long)eventfd), [n]"S"(&n)
		     : "rcx", "rdx", "r11", "memory", "cc");
	TEST_ASSERT(ret == sizeof(n), "read() of an eventfd: %ld", ret);
}

static void *partner_fn(void *arg)
{
	struct partner *p = arg;

	pin_self_to_cpu(p->cpu);
	if (p->amx) {
		xfd_tiles_fill(p->tiles, 200);
		xfd_tiles_use(p->tiles);
	}
	prefer(1);
	WRITE_ONCE(p->ready, true);
	partner_wait(p->eventfd);
	if (p->amx) {
		TEST_ASSERT(!xfd_tiles_lost(p->tiles), "the host task lost its own tiles");
		xfd_tilerelease();
	}
	return NULL;
}

static void partner_start(struct partner *p, int cpu, bool amx)
{
	p->cpu = cpu;
	p->amx = amx;
	p->ready = false;
	p->eventfd = eventfd(0, 0);
	TEST_ASSERT(p->eventfd >= 0, "eventfd() failed");
	p->tiles = xfd_tiles_alloc();
	TEST_ASSERT(!pthread_create(&p->thread, NULL, partner_fn, p), "pthread_create() failed");
	/* Then it waits: it would not let us run before it does. */
	while (!READ_ONCE(p->ready))
		sched_yield();
}

static void partner_stop(struct partner *p)
{
	u64 n = 2;

	TEST_ASSERT(write(p->eventfd, &n, sizeof(n)) == sizeof(n), "write() failed");
	pthread_join(p->thread, NULL);
	close(p->eventfd);
	free(p->tiles);
}

/* The guest's OUT to @port wakes the partner up. */
static void connect(struct kvm_vm *vm, u16 port, const struct partner *p)
{
	struct kvm_ioeventfd ioeventfd = {
		.addr = port,
		.len = 1,
		.fd = p->eventfd,
		.flags = KVM_IOEVENTFD_FLAG_PIO,
	};

	vm_ioctl(vm, KVM_IOEVENTFD, &ioeventfd);
}

/*
 * KVM_RUN, and at once again as long as it returns for an OUT to PORT_USERSPACE.  In
 * assembly, as it is part of what an exit to userspace costs.
 */
static void run_past_userspace(struct kvm_vcpu *vcpu)
{
	long ret;

	asm volatile("1:\n\t"
		     "mov %[nr], %%eax\n\t"
		     "xor %%edx, %%edx\n\t"
		     "syscall\n\t"
		     "test %%rax, %%rax\n\t"
		     "jnz 2f\n\t"
		     "cmpl %[io], %c[exit_reason](%[run])\n\t"
		     "jne 2f\n\t"
		     "cmpw %[port], %c[io_port](%[run])\n\t"
		     "je 1b\n"
		     "2:"
		     : "=&a"(ret)
		     : [nr]"i"(SYS_ioctl), "D"((long)vcpu->fd), "S"((long)KVM_RUN),
		       [run]"b"(vcpu->run), [io]"i"(KVM_EXIT_IO), [port]"i"(PORT_USERSPACE),
		       [exit_reason]"i"(offsetof(struct kvm_run, exit_reason)),
		       [io_port]"i"(offsetof(struct kvm_run, io.port))
		     : "rcx", "rdx", "r11", "memory", "cc");
	TEST_ASSERT(!ret, "KVM_RUN: %ld", ret);
}

/* Run to the guest's next GUEST_SYNC(), by way of any number of OUTs. */
static u64 run_round(struct kvm_vcpu *vcpu)
{
	run_past_userspace(vcpu);
	assert_on_unhandled_exception(vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
	return xfd_vcpu_says(vcpu);
}

struct counts {
	s64 exits, irqs, switches;
	struct xfd_accesses accesses;
};

/* How often this thread has been scheduled out. */
static s64 switches(void)
{
	struct rusage usage;

	TEST_ASSERT(!getrusage(RUSAGE_THREAD, &usage), "getrusage() failed");
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

/* One round of @nr actions, traced; what it took. */
static u64 run_counted(struct kvm_vcpu *vcpu, int cpu, u64 nr, struct counts *c)
{
	struct control *guest = xfd_guest_ptr(vcpu->vm, control);
	u64 again;

	guest->nr = nr;
	c->exits = -vcpu_get_stat(vcpu, exits);
	c->irqs = -vcpu_get_stat(vcpu, irq_exits);
	xfd_trace_begin();
	c->switches = -switches();
	again = run_round(vcpu);
	c->switches += switches();
	c->accesses = xfd_trace_end(cpu);
	c->exits += vcpu_get_stat(vcpu, exits);
	c->irqs += vcpu_get_stat(vcpu, irq_exits);
	return again;
}

/* Of @full what @base has not. */
static void subtract(struct counts *full, const struct counts *base)
{
	full->exits -= base->exits;
	full->irqs -= base->irqs;
	full->switches -= base->switches;
	full->accesses.rdmsr_xfd -= base->accesses.rdmsr_xfd;
	full->accesses.wrmsr_xfd -= base->accesses.wrmsr_xfd;
	full->accesses.rdmsr_xfd_err -= base->accesses.rdmsr_xfd_err;
	full->accesses.wrmsr_xfd_err -= base->accesses.wrmsr_xfd_err;
}

static int compare_u32(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

static u32 median(const u32 *sample, u64 nr)
{
	u32 *copy, m;

	copy = malloc(nr * sizeof(*copy));
	TEST_ASSERT(copy, "out of memory");
	memcpy(copy, sample, nr * sizeof(*copy));
	qsort(copy, nr, sizeof(*copy), compare_u32);
	m = copy[nr / 2];
	free(copy);
	return m;
}

/* What @times actions cost. */
struct cost {
	s64 times, kept;
	struct xfd_accesses accesses;
	u32 instructions;
};

static void print_accesses(const struct xfd_accesses *a)
{
	fprintf(json, "\"rdmsr_xfd\":%ld,\"wrmsr_xfd\":%ld,", a->rdmsr_xfd, a->wrmsr_xfd);
	fprintf(json, "\"rdmsr_xfd_err\":%ld,\"wrmsr_xfd_err\":%ld", a->rdmsr_xfd_err,
		a->wrmsr_xfd_err);
}

/*
 * A preemption costs MSR accesses that no exit does, and may end the state
 * (dormant, on stock): a run with one is not used.
 */
static bool undisturbed(enum action action, u64 nr, const struct counts *c, u64 again)
{
	if (again == ASTRAY)
		return false;
	if (action == VMCALL)
		return !c->switches && !again;
	return c->exits == nr && c->switches == (action == USERSPACE ? 0 : nr);
}

/* Traced: what @nr actions cost in accesses. */
static void count(struct kvm_vcpu *vcpu, enum action action, u64 nr, int cpu, struct cost *cost)
{
	struct control *guest = xfd_guest_ptr(vcpu->vm, control);
	struct counts base, full;
	bool good = false;
	u64 again = 0;
	int try;

	guest->action = action;
	guest->warm_up = action == VMCALL ? WARM_UP : 4;

	/* Page faults, those of a round's return, and the first write of XFD. */
	guest->nr = 0;
	run_round(vcpu);
	run_round(vcpu);

	for (try = 0; !good && try < MAX_TRIES; try++) {
		run_counted(vcpu, cpu, 0, &base);
		again = run_counted(vcpu, cpu, nr, &full);
		subtract(&full, &base);
		good = undisturbed(action, nr, &full, again);
	}
	TEST_ASSERT(good, "%s, %s: no undisturbed run in %d tries", state_names[guest->state],
		    action_names[action], MAX_TRIES);

	cost->times = action == VMCALL ? full.exits : nr;
	cost->kept = nr - again;
	cost->accesses = full.accesses;
}

/* Untraced: what one action costs in instructions. */
static void time_it(struct kvm_vcpu *vcpu, enum action action, struct cost *cost)
{
	struct control *guest = xfd_guest_ptr(vcpu->vm, control);
	bool good = false;
	u64 again;
	int try;

	guest->action = action;
	guest->warm_up = action == VMCALL ? WARM_UP : 4;
	guest->nr = NR_TIMED;
	for (try = 0; !good && try < MAX_TRIES; try++) {
		again = run_round(vcpu);
		good = again != ASTRAY && (action != VMCALL || !again);
	}
	TEST_ASSERT(good, "%s, %s: the guest did not stay in the state, untraced",
		    state_names[guest->state], action_names[action]);
	cost->instructions = median(xfd_guest_ptr(vcpu->vm, samples), NR_TIMED);
}

/* The first @nr_actions in all states; the trace events are switched but once. */
static void measure(struct kvm_vcpu *vcpus[NR_STATES], int nr_actions, u64 nr, int cpu,
		    struct cost costs[NR_ACTIONS][NR_STATES])
{
	enum action a;
	enum state s;

	xfd_trace_setup((nr + WARM_UP) * 16);
	xfd_trace_enable(true);
	for (s = 0; s < NR_STATES; s++) {
		for (a = 0; a < nr_actions; a++)
			count(vcpus[s], a, a == VMCALL ? nr : NR_COUNTED, cpu, &costs[a][s]);
	}
	xfd_trace_enable(false);
	xfd_trace_remove();

	for (s = 0; s < NR_STATES; s++) {
		for (a = 0; a < nr_actions; a++)
			time_it(vcpus[s], a, &costs[a][s]);
	}
}

static void clear(struct kvm_cpuid2 *cpuid, struct kvm_x86_cpu_feature feature)
{
	struct kvm_cpuid_entry2 *entry = (void *)get_cpuid_entry(cpuid, feature.function,
								 feature.index);

	(&entry->eax)[feature.reg] &= ~BIT(feature.bit);
}

/*
 * The guest has never heard of AMX or XFD, nor of XCR0[18:17].  Not even at first: what
 * KVM has made of the FPU for a vCPU with AMX remains.
 */
static struct kvm_vm *create_without_amx(struct kvm_vcpu **vcpu)
{
	/* What vm_create_with_one_vcpu() gives each vCPU. */
	struct kvm_cpuid2 *supported = (void *)kvm_get_supported_cpuid();
	struct kvm_cpuid_entry2 *xstate = (void *)get_cpuid_entry(supported, 0xd, 0);
	size_t size = kvm_cpuid2_size(supported->nent);
	struct kvm_cpuid2 *kept = malloc(size);
	struct kvm_vm *vm;

	TEST_ASSERT(kept, "out of memory");
	memcpy(kept, supported, size);
	xstate->eax &= ~XFEATURE_MASK_XTILE;
	clear(supported, X86_FEATURE_AMX_BF16);
	clear(supported, X86_FEATURE_AMX_TILE);
	clear(supported, X86_FEATURE_AMX_INT8);
	clear(supported, X86_FEATURE_XFD);
	vm = vm_create_with_one_vcpu(vcpu, guest_states);
	memcpy(supported, kept, size);
	free(kept);
	return vm;
}

static struct kvm_vcpu *create(enum state state)
{
	struct control *guest;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = state == NO_AMX ? create_without_amx(&vcpu) :
			       vm_create_with_one_vcpu(&vcpu, guest_states);
	vcpu_args_set(vcpu, 1, samples);
	xfd_tiles_fill(xfd_guest_ptr(vm, tiles), 1);
	guest = xfd_guest_ptr(vm, control);
	guest->state = state;
	return vcpu;
}

static void print_costs(const char *name, const struct cost costs[NR_STATES])
{
	enum state s;

	fprintf(json, "\"%s\":{", name);
	for (s = 0; s < NR_STATES; s++) {
		fprintf(json, "%s\"%s\":{\"times\":%ld,\"kept\":%ld,", s ? "," : "",
			state_names[s], costs[s].times, costs[s].kept);
		print_accesses(&costs[s].accesses);
		fprintf(json, ",\"instructions\":%u}", costs[s].instructions);
	}
	fprintf(json, "}");
}

static void set_guest_nm_handler(struct kvm_vm *vm)
{
	struct idt_entry *idt = addr_gva2hva(vm, vm->arch.idt);
	u64 handler = (u64)guest_nm_handler;

	idt[NM_VECTOR].offset0 = handler;
	idt[NM_VECTOR].offset1 = handler >> 16;
	idt[NM_VECTOR].offset2 = handler >> 32;
}

/* The guest's own exits in a round with @nr #NMs. */
static s64 nm_exits(struct kvm_vcpu *vcpu, u64 nr)
{
	struct control *guest = xfd_guest_ptr(vcpu->vm, control);
	s64 exits = vcpu_get_stat(vcpu, irq_exits) - vcpu_get_stat(vcpu, exits);

	guest->nr = nr;
	run_round(vcpu);
	return exits + vcpu_get_stat(vcpu, exits) - vcpu_get_stat(vcpu, irq_exits);
}

static void measure_nm(u64 nr)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	s64 exits;

	vm = vm_create_with_one_vcpu(&vcpu, guest_nm);
	set_guest_nm_handler(vm);
	xfd_tiles_fill(xfd_guest_ptr(vm, tiles), 1);
	/* Page faults, as in count(). */
	nm_exits(vcpu, nr);
	nm_exits(vcpu, 0);
	exits = -nm_exits(vcpu, 0);
	exits += nm_exits(vcpu, nr);

	fprintf(json, "\"nm\":{\"exits\":%.3f,\"instructions\":%u}", (double)exits / nr,
		median(xfd_guest_ptr(vm, samples), nr));
	kvm_vm_free(vm);
}

static void measure_states(char *argv[])
{
	struct cost costs[NR_ACTIONS][NR_STATES];
	struct kvm_vcpu *vcpus[NR_STATES];
	struct partner plain, amx;
	int cpu = xfd_cpu(0), n;
	enum action a;
	enum state s;

	pin_self_to_cpu(cpu);
	partner_start(&plain, cpu, false);
	partner_start(&amx, cpu, true);
	for (s = 0; s < NR_STATES; s++) {
		vcpus[s] = create(s);
		connect(vcpus[s]->vm, PORT_PLAIN, &plain);
		connect(vcpus[s]->vm, PORT_AMX, &amx);
	}
	measure(vcpus, NR_ACTIONS, nr_exits, cpu, costs);

	for (a = 0; a < NR_ACTIONS; a++) {
		fprintf(json, "%c", a ? ',' : '{');
		print_costs(action_names[a], costs[a]);
	}
	fprintf(json, ",\"list_entries\":{");
	for (s = 0; s < NR_STATES; s++) {
		n = xfd_msr_list_entries(vcpus[s]);
		if (n >= 0)
			fprintf(json, "%s\"%s\":%d", s ? "," : "", state_names[s], n);
		kvm_vm_free(vcpus[s]->vm);
	}
	fprintf(json, "},");
	measure_nm(nr_exits);
	fprintf(json, "}");
	partner_stop(&plain);
	partner_stop(&amx);
}

static void measure_older(char *argv[])
{
	struct cost costs[NR_ACTIONS][NR_STATES];
	struct kvm_vcpu *vcpus[NR_STATES];
	int cpu = xfd_cpu(0);
	enum state s;

	for (s = 0; s < NR_STATES; s++)
		vcpus[s] = create(s);
	TEST_ASSERT(!system(argv[0]), "%s failed", argv[0]);
	pin_self_to_cpu(cpu);
	measure(vcpus, VMCALL + 1, nr_exits, cpu, costs);

	fprintf(json, "{");
	print_costs("older", costs[VMCALL]);
	fprintf(json, "}");
	for (s = 0; s < NR_STATES; s++)
		kvm_vm_free(vcpus[s]->vm);
}

/* What @times actions of L2 cost. */
struct l2_cost {
	s64 times, exits;
	struct xfd_accesses accesses;
	u32 instructions;
};

/* Traced: accesses and exits of NR_COUNTED actions, while no interrupt exits. */
static void count_l2(struct kvm_vcpu *vcpu, enum l2_action action, int cpu, struct l2_cost *cost)
{
	struct control *guest = xfd_guest_ptr(vcpu->vm, control);
	struct counts base, full;
	bool good = false;
	int try;

	guest->action = action;
	guest->warm_up = 4;

	/* The first round pays for page faults, of the samples, too, and another for its return. */
	guest->nr = NR_COUNTED;
	run_round(vcpu);
	run_round(vcpu);

	for (try = 0; !good && try < MAX_TRIES; try++) {
		good = run_counted(vcpu, cpu, 0, &base) != ASTRAY && !base.irqs;
		good &= run_counted(vcpu, cpu, NR_COUNTED, &full) != ASTRAY && !full.irqs;
		subtract(&full, &base);
		good &= !full.switches;
	}
	TEST_ASSERT(good, "L2, %s: no undisturbed run in %d tries", l2_action_names[action],
		    MAX_TRIES);

	cost->times = NR_COUNTED * (action == WRITE_XFD ? 2 : 1);
	cost->exits = full.exits;
	cost->accesses = full.accesses;
}

/* Untraced: instructions of one. */
static void time_l2(struct kvm_vcpu *vcpu, enum l2_action action, struct l2_cost *cost)
{
	struct control *guest = xfd_guest_ptr(vcpu->vm, control);

	guest->action = action;
	guest->warm_up = 4;
	guest->nr = NR_TIMED;
	TEST_ASSERT(run_round(vcpu) != ASTRAY, "L2, %s: it did not stay armed, untraced",
		    l2_action_names[action]);
	cost->instructions = median(xfd_guest_ptr(vcpu->vm, samples), NR_TIMED);
}

static void measure_nested(char *argv[])
{
	struct l2_cost costs[NR_L2_ACTIONS];
	struct kvm_vcpu *vcpu;
	int cpu = xfd_cpu(0);
	enum l2_action a;
	struct kvm_vm *vm;
	gva_t vmx;

	TEST_ASSERT(kvm_cpu_has(X86_FEATURE_VMX),
		    "KVM does not show VMX to guests (kvm_intel.nested=0?)");
	pin_self_to_cpu(cpu);
	vm = vm_create_with_one_vcpu(&vcpu, guest_l1);
	vcpu_alloc_vmx(vm, &vmx);
	vcpu_args_set(vcpu, 1, vmx);
	set_guest_nm_handler(vm);
	xfd_tiles_fill(xfd_guest_ptr(vm, tiles), 1);

	xfd_trace_setup((NR_COUNTED + WARM_UP) * 64);
	xfd_trace_enable(true);
	for (a = 0; a < NR_L2_ACTIONS; a++)
		count_l2(vcpu, a, cpu, &costs[a]);
	xfd_trace_enable(false);
	xfd_trace_remove();

	fprintf(json, "{\"nested\":{");
	for (a = 0; a < NR_L2_ACTIONS; a++) {
		time_l2(vcpu, a, &costs[a]);
		fprintf(json, "%s\"%s\":{\"times\":%ld,", a ? "," : "", l2_action_names[a],
			costs[a].times);
		print_accesses(&costs[a].accesses);
		fprintf(json, ",\"exits\":%ld,\"instructions\":%u}", costs[a].exits,
			costs[a].instructions);
	}
	fprintf(json, "}}");
	kvm_vm_free(vm);
}

/* A vCPU's thread. */
struct runner {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	s64 switches;
	u64 again;
};

static void *runner_fn(void *arg)
{
	struct runner *r = arg;
	int i;

	prefer(1);
	r->switches = -switches();
	for (i = 0, r->again = 0; i < 2; i++) {
		r->again |= run_round(r->vcpu);
		sched_yield();
	}
	r->switches += switches();
	return NULL;
}

/*
 * Two rounds of @nr exits of each of the first @n vCPUs.  This thread is
 * preferred to theirs until it waits for them.
 */
static bool run_vcpus(struct runner *runners, int n, u64 nr, bool traced, int cpu,
		      struct counts *c)
{
	struct control *guest = xfd_guest_ptr(runners[0].vcpu->vm, control);
	bool good = true;
	int i;

	memset(c, 0, sizeof(*c));
	guest->nr = nr;
	for (i = 0; i < n; i++)
		c->exits -= vcpu_get_stat(runners[i].vcpu, exits);
	prefer(2);
	if (traced)
		xfd_trace_begin();
	for (i = 0; i < n; i++)
		TEST_ASSERT(!pthread_create(&runners[i].thread, NULL, runner_fn, &runners[i]),
			    "pthread_create() failed");
	for (i = 0; i < n; i++)
		pthread_join(runners[i].thread, NULL);
	if (traced)
		c->accesses = xfd_trace_end(cpu);
	prefer(0);
	for (i = 0; i < n; i++) {
		c->exits += vcpu_get_stat(runners[i].vcpu, exits);
		c->switches += runners[i].switches;
		good &= !runners[i].again;
	}
	return good;
}

/* Traced: the accesses of @n vCPUs. */
static void count_vcpus(struct runner *runners, int n, int cpu, struct counts *full)
{
	struct counts base;
	bool good = false;
	int try;

	for (try = 0; !good && try < MAX_TRIES; try++) {
		if (!run_vcpus(runners, n, 0, true, cpu, &base) ||
		    !run_vcpus(runners, n, VCPUS_EXITS / n, true, cpu, full))
			continue;
		subtract(full, &base);
		good = !full->switches;
	}
	TEST_ASSERT(good, "%d vCPUs: no undisturbed run in %d tries", n, MAX_TRIES);
}

/* Untraced: instructions of @n vCPUs. */
static void time_vcpus(struct runner *runners, int n, int cpu, u32 *min, u32 *max)
{
	const u32 *guest_samples = xfd_guest_ptr(runners[0].vcpu->vm, samples);
	struct counts ignored;
	u32 m;
	int i;

	TEST_ASSERT(run_vcpus(runners, n, NR_VCPUS_TIMED, false, cpu, &ignored),
		    "%d vCPUs: one did not stay in the state, untraced", n);
	*min = ~0u;
	*max = 0;
	for (i = 0; i < n; i++) {
		m = median(&guest_samples[i * NR_VCPUS_TIMED], NR_VCPUS_TIMED);
		*min = m < *min ? m : *min;
		*max = m > *max ? m : *max;
	}
}

static void measure_vcpus(char *argv[])
{
	struct counts counts[MAX_VCPUS + 1];
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct runner runners[MAX_VCPUS];
	struct control *guest;
	int cpu = xfd_cpu(0);
	struct kvm_vm *vm;
	u32 min, max;
	int i, n;

	pin_self_to_cpu(cpu);
	vm = vm_create_with_vcpus(MAX_VCPUS, guest_states, vcpus);
	guest = xfd_guest_ptr(vm, control);
	guest->state = ARMED;
	guest->action = VMCALL;
	guest->warm_up = 4;
	for (i = 0; i < MAX_VCPUS; i++) {
		vcpu_args_set(vcpus[i], 1, &samples[i * NR_VCPUS_TIMED]);
		runners[i].vcpu = vcpus[i];
		/* Page faults, and the first write of XFD. */
		run_round(vcpus[i]);
	}

	xfd_trace_setup((VCPUS_EXITS + MAX_VCPUS * 16) * 16);
	xfd_trace_enable(true);
	for (n = 1; n <= MAX_VCPUS; n *= 2)
		count_vcpus(runners, n, cpu, &counts[n]);
	xfd_trace_enable(false);
	xfd_trace_remove();

	fprintf(json, "{\"vcpus\":{");
	for (n = 1; n <= MAX_VCPUS; n *= 2) {
		time_vcpus(runners, n, cpu, &min, &max);
		fprintf(json, "%s\"%d\":{\"times\":%ld,", n > 1 ? "," : "", n,
			counts[n].exits);
		print_accesses(&counts[n].accesses);
		fprintf(json, ",\"instructions_min\":%u,\"instructions_max\":%u}", min, max);
	}
	fprintf(json, "}}");
	kvm_vm_free(vm);
}

/* A file of what happened on @cpu since the trace began. */
static void write_trace(const char *directory, const char *state, const char *action, int cpu)
{
	char path[PATH_MAX], buffer[4096];
	FILE *from = xfd_trace_end_open(cpu), *to;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s-%s.trace", directory, state, action);
	to = fopen(path, "w");
	TEST_ASSERT(to, "cannot write %s, errno = %d", path, errno);
	while ((n = fread(buffer, 1, sizeof(buffer), from)) > 0)
		TEST_ASSERT(fwrite(buffer, 1, n, to) == n, "cannot write %s", path);
	TEST_ASSERT(!ferror(from) && !fclose(to), "cannot write %s", path);
	fclose(from);
}

/* nr_exits actions, traced, into a file; the median that the guest sees. */
static u32 trace_it(struct kvm_vcpu *vcpu, const char *directory, const char *state,
		    const char *action, int cpu)
{
	struct control *guest = xfd_guest_ptr(vcpu->vm, control);
	bool good = false;
	int try;

	/* Page faults, as in count(), of the samples, too. */
	guest->nr = nr_exits;
	run_round(vcpu);
	guest->nr = 0;
	run_round(vcpu);

	guest->nr = nr_exits;
	for (try = 0; !good && try < MAX_TRIES; try++) {
		xfd_trace_begin();
		good = run_round(vcpu) != ASTRAY;
	}
	TEST_ASSERT(good, "%s, %s: the guest did not stay in the state, traced", state, action);
	write_trace(directory, state, action, cpu);
	return median(xfd_guest_ptr(vcpu->vm, samples), nr_exits);
}

static void measure_trace(char *argv[])
{
	static const enum action actions[] = { VMCALL, USERSPACE, SWITCH_PLAIN };
	u32 medians[ARRAY_SIZE(actions)][NR_STATES], nm;
	struct kvm_vcpu *vcpus[NR_STATES], *nm_vcpu;
	struct control *guest;
	struct partner plain;
	int cpu = xfd_cpu(0);
	enum state s;
	int i;

	pin_self_to_cpu(cpu);
	partner_start(&plain, cpu, false);
	for (s = 0; s < NR_STATES; s++) {
		vcpus[s] = create(s);
		connect(vcpus[s]->vm, PORT_PLAIN, &plain);
	}
	vm_create_with_one_vcpu(&nm_vcpu, guest_nm);
	set_guest_nm_handler(nm_vcpu->vm);
	xfd_tiles_fill(xfd_guest_ptr(nm_vcpu->vm, tiles), 1);

	xfd_trace_setup((nr_exits + WARM_UP) * 16);
	xfd_trace_enable_latencies();
	for (s = 0; s < NR_STATES; s++) {
		guest = xfd_guest_ptr(vcpus[s]->vm, control);
		for (i = 0; i < ARRAY_SIZE(actions); i++) {
			guest->action = actions[i];
			guest->warm_up = 4;
			medians[i][s] = trace_it(vcpus[s], argv[0], state_names[s],
						 action_names[actions[i]], cpu);
		}
	}
	nm = trace_it(nm_vcpu, argv[0], state_names[ARMED], "nm", cpu);
	xfd_trace_remove();

	fprintf(json, "{\"traced\":{");
	for (i = 0; i < ARRAY_SIZE(actions); i++) {
		fprintf(json, "\"%s\":{", action_names[actions[i]]);
		for (s = 0; s < NR_STATES; s++)
			fprintf(json, "%s\"%s\":%u", s ? "," : "", state_names[s],
				medians[i][s]);
		fprintf(json, "},");
	}
	fprintf(json, "\"nm\":{\"armed\":%u}}}", nm);
	for (s = 0; s < NR_STATES; s++)
		kvm_vm_free(vcpus[s]->vm);
	kvm_vm_free(nm_vcpu->vm);
	partner_stop(&plain);
}

enum event { IN_KERNEL, TO_USERSPACE, PREEMPT, MIGRATE, NR_EVENTS };

static const char * const event_names[] = { "in_kernel", "userspace", "preempt", "migrate" };

static void guest_loss(u64 event)
{
	struct control *c = &control;
	u64 i, start;
	u8 vector;

	xfd_tiles_fill(&tiles, 1);
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	/* Here, so that the store at the end has no page fault before it. */
	xfd_tiles_use(&tiles);
	GUEST_ASSERT(!xfd_tiles_lost(&tiles));
	if (c->state == DORMANT)
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);

	switch (event) {
	case IN_KERNEL:
		for (i = 0; i < c->nr; i++)
			xfd_vmcall();
		break;
	case TO_USERSPACE:
		GUEST_SYNC(0);
		break;
	case PREEMPT:
		WRITE_ONCE(c->spinning, 1);
		start = READ_ONCE(c->progress);
		while (READ_ONCE(c->progress) - start < 3)
			cpu_relax();
		break;
	case MIGRATE:
		WRITE_ONCE(c->spinning, 1);
		while (!READ_ONCE(c->go))
			cpu_relax();
		break;
	}

	if (c->state == DORMANT)
		wrmsr(MSR_IA32_XFD, 0);
	/* #UD if TILECFG was lost. */
	vector = kvm_asm_safe(ASM_TILESTORED(0x04), "a"(tiles.got), "d"((u64)XFD_TILE_COLSB));
	if (vector)
		c->bytes_lost = XFD_TILES_BYTES;
	else
		c->bytes_lost = xfd_tiles_lost(&tiles);
	GUEST_DONE();
}

struct mover {
	struct control *guest;
	pthread_t vcpu_thread;
	int cpu;
};

/* Moves the vCPU's thread while its guest spins; back is only when it is there. */
static void *mover_fn(void *arg)
{
	struct mover *m = arg;

	while (!READ_ONCE(m->guest->spinning))
		usleep(500);
	pin_task_to_cpu(m->vcpu_thread, m->cpu);
	WRITE_ONCE(m->guest->go, 1);
	return NULL;
}

static void measure_loss_of(enum state state, enum event event, u64 nr)
{
	struct xfd_neighbour neighbour = { .cpu = xfd_cpu(0), .amx = true, .seed = 200 };
	struct mover mover = { .cpu = xfd_cpu(1), .vcpu_thread = pthread_self() };
	struct kvm_vcpu *vcpu;
	struct control *guest;
	struct kvm_vm *vm;
	pthread_t thread;
	u64 stage;

	if (event == MIGRATE && mover.cpu < 0) {
		fprintf(json, "null");
		return;
	}

	pin_self_to_cpu(neighbour.cpu);
	vm = vm_create_with_one_vcpu(&vcpu, guest_loss);
	vcpu_args_set(vcpu, 1, (u64)event);
	guest = xfd_guest_ptr(vm, control);
	guest->state = state;
	guest->nr = nr;
	if (event == PREEMPT) {
		neighbour.progress = &guest->progress;
		xfd_neighbour_start(&neighbour);
	} else if (event == MIGRATE) {
		mover.guest = guest;
		TEST_ASSERT(!pthread_create(&thread, NULL, mover_fn, &mover), "pthread_create()");
	}

	do {
		stage = xfd_vcpu_run(vcpu);
	} while (stage != XFD_GUEST_DONE);

	if (event == PREEMPT)
		xfd_neighbour_stop(&neighbour);
	else if (event == MIGRATE)
		pthread_join(thread, NULL);
	fprintf(json, "%lu", guest->bytes_lost);
	kvm_vm_free(vm);
}

static void measure_loss(char *argv[])
{
	static const enum state states[] = { LIVE, DORMANT };
	cpu_set_t all;
	int i, j;

	TEST_ASSERT(!sched_getaffinity(0, sizeof(all), &all), "sched_getaffinity() failed");
	fprintf(json, "{\"bytes_lost\":{");
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		for (j = 0; j < NR_EVENTS; j++) {
			fprintf(json, "%s\"%s_%s\":", i || j ? "," : "",
				state_names[states[i]], event_names[j]);
			sched_setaffinity(0, sizeof(all), &all);
			measure_loss_of(states[i], j, nr_exits);
		}
	}
	fprintf(json, "}}");
}

static const struct {
	const char *name;
	void (*measure)(char *argv[]);
	int nr_args;
} whats[] = {
	{ "states", measure_states },
	{ "older", measure_older, 1 },
	{ "nested", measure_nested },
	{ "vcpus", measure_vcpus },
	{ "loss", measure_loss },
	{ "trace", measure_trace, 1 },
};

static struct xfd_option options[] = {
	{ "exits", "N", "how many exits (default: 1000)" },
	{}
};

static __noreturn void usage(const char *name)
{
	fprintf(stderr,
		"Usage: %s states|nested|vcpus|loss|older COMMAND|trace DIRECTORY [OPTION]\n",
		name);
	xfd_options_print(options);
	exit(KSFT_FAIL);
}

/*
 * glibc registers each thread for rseq(2), with a structure that is not the same in
 * all its versions, and what the kernel does about that is part of a task switch.
 * There is no taking it back but by starting again.
 */
static void start_without_rseq(char *argv[])
{
	static const char name[] = "GLIBC_TUNABLES", tunable[] = "glibc.pthread.rseq=0";

	if (!strcmp(getenv(name) ?: "", tunable))
		return;
	TEST_ASSERT(!setenv(name, tunable, 1), "setenv() failed, errno = %d", errno);
	execv("/proc/self/exe", argv);
	TEST_FAIL("execv() failed, errno = %d", errno);
}

int main(int argc, char *argv[])
{
	const char *why;
	size_t size;
	char *text;
	int what;

	start_without_rseq(argv);
	argc = xfd_options_take(argc, argv, options, NULL);
	if (argc < 2)
		usage(argv[0]);
	for (what = 0; what < ARRAY_SIZE(whats); what++) {
		if (!strcmp(argv[1], whats[what].name))
			break;
	}
	if (what == ARRAY_SIZE(whats) || argc != 2 + whats[what].nr_args)
		usage(argv[0]);
	if (options[0].value)
		nr_exits = atoi_positive("--exits", options[0].value);
	TEST_ASSERT(nr_exits <= MAX_EXITS - WARM_UP, "--exits=%lu: at most %d", nr_exits,
		    MAX_EXITS - WARM_UP);

	why = xfd_amx_missing();
	if (why) {
		printf("# nothing to measure: %s\n", why);
		return KSFT_SKIP;
	}

	json = open_memstream(&text, &size);
	TEST_ASSERT(json, "out of memory");
	whats[what].measure(&argv[2]);
	fclose(json);
	printf("#XFD %s\n", text);
	return KSFT_PASS;
}
