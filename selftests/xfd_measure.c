// SPDX-License-Identifier: GPL-2.0
/*
 * What an exit and a #NM of an AMX guest cost in accesses of IA32_XFD and
 * IA32_XFD_ERR and in instructions, and how many bytes of its tiles get lost.
 *
 *	xfd_measure states [-n exits]
 *	xfd_measure loss [-n exits]
 *
 * Each prints one line, "#XFD " and a JSON object.  Nothing is asserted: the
 * figures are what is true, on whatever kernel this runs.
 *
 * states: the guest sits in one of five states and executes VMCALLs that the
 * kernel handles without leaving it.
 *	never	XFD has never been written
 *	armed	XFD[18]=1, tiles initial
 *	live	XFD=0 (after having been armed, as any OS does), tiles in use
 *	dormant	XFD[18]=1, tiles in use
 *	pending	XFD_ERR[18]=1 left by a #NM, XFD[18]=1, tiles initial
 *
 * exits, rdmsr_* and wrmsr_* are totals over the same stretch: the difference
 * of two KVM_RUNs, one with n more VMCALLs than the other.  What KVM_RUN costs
 * at its beginning and end, and what it costs to enter and leave the state, is
 * in both and drops out.  Timer interrupts of the host are exits, too, and
 * stay in: with them exits is a little more than n.  The accesses are the
 * kernel's msr:read_msr and msr:write_msr trace events on the vCPU's CPU, so
 * that code which bypasses the kernel's accessors would not be seen.
 *
 * instructions_per_exit and instructions_per_nm are medians of the difference
 * between two RDTSCs right before and after, untraced, with the second RDTSC
 * and the four instructions that set up VMCALL's registers or the #NM handler
 * in them.  They are instructions where the TSC counts those, as the emulator's
 * does; on a real CPU they are TSC ticks.
 *
 * nm: the guest has XFD[18]=1, executes TILELOADD, and its #NM handler reads
 * XFD_ERR, clears it and skips the TILELOADD.  exits_per_nm leaves external
 * interrupts out: they are not the guest's.
 *
 * loss: eight full tiles, 8192 bytes none of which is zero, live or dormant,
 * over an event: n VMCALLs; an exit to userspace; preemption within KVM_RUN by
 * a host task that uses tiles of its own; migration within KVM_RUN to another
 * CPU (null on a machine with one CPU).
 */
#include <errno.h>
#include <getopt.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "xfd_host.h"

#define WARM_UP		64
#define MAX_TRIES	20
#define MAX_EXITS	32768
#define TRACEFS		"/sys/kernel/tracing"
#define INSTANCE	TRACEFS "/instances/xfd_measure"

enum state { NEVER, ARMED, LIVE, DORMANT, PENDING, NR_STATES };

static const char * const state_names[] = { "never", "armed", "live", "dormant", "pending" };

/* In guest memory; the host sees it by way of xfd_guest_ptr(). */
static struct control {
	u64 state;
	u64 nr;
	u64 sample;
	u64 progress;
	u64 spinning;
	u64 go;
	u64 bytes_lost;
} control;

static u32 samples[MAX_EXITS];
static struct xfd_tiles tiles;

/* Printed at the end, so that no note and no console line gets into its midst. */
static FILE *json;

/* RDTSC, VMCALL, RDTSC, and nothing else that can differ between states. */
static u32 guest_vmcall_tsc(void)
{
	u64 rax, before;

	asm volatile("rdtsc\n\t"
		     "mov %%eax, %k[before]\n\t"
		     "mov %[nr], %%eax\n\t"
		     "xor %%edx, %%edx\n\t"
		     "vmcall\n\t"
		     "rdtsc\n\t"
		     : "=&a"(rax), [before]"=&r"(before)
		     : [nr]"i"(XFD_VMCALL_NR), "b"(0), "c"(0), "S"(0)
		     : "rdx", "memory");
	return (u32)rax - (u32)before;
}

/* As above, around a TILELOADD that the #NM handler skips. */
static u32 guest_nm_tsc(void)
{
	u64 rax, before;

	asm volatile("rdtsc\n\t"
		     "mov %%eax, %k[before]\n\t"
		     "mov %[tile], %%rax\n\t"
		     "mov %[stride], %%edx\n\t"
		     ASM_TILELOADD(0x04)
		     "rdtsc\n\t"
		     : "=&a"(rax), [before]"=&r"(before)
		     : [tile]"r"(tiles.want), [stride]"i"(XFD_TILE_COLSB)
		     : "rdx", "memory");
	return (u32)rax - (u32)before;
}

/* TILELOADD with a SIB byte is six bytes long. */
static void guest_nm_handler(struct ex_regs *regs)
{
	if (!(rdmsr(MSR_IA32_XFD_ERR) & XFD_TILEDATA))
		GUEST_FAIL("#NM without XFD_ERR[18]");
	wrmsr(MSR_IA32_XFD_ERR, 0);
	regs->rip += 6;
}

static void guest_enter(enum state state)
{
	if (state == NEVER)
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
	u64 xfd = rdmsr(MSR_IA32_XFD), in_use = xfd_xinuse() & XFD_TILEDATA;
	bool pending = rdmsr(MSR_IA32_XFD_ERR) == XFD_TILEDATA;

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
	if (state == NEVER)
		return;
	wrmsr(MSR_IA32_XFD, 0);
	if (state == PENDING)
		wrmsr(MSR_IA32_XFD_ERR, 0);
	xfd_tilerelease();
}

static void guest_states(void)
{
	struct control *c = &control;
	bool still;
	u64 i;

	xfd_tiles_fill(&tiles, 1);
	for (;;) {
		guest_enter(c->state);
		for (i = 0; i < WARM_UP; i++)
			xfd_vmcall();
		for (i = 0; i < c->nr; i++) {
			if (c->sample)
				samples[i] = guest_vmcall_tsc();
			else
				xfd_vmcall();
		}
		still = guest_in(c->state);
		guest_leave(c->state);
		GUEST_SYNC(still);
	}
}

static void guest_nm(void)
{
	struct control *c = &control;
	u64 i;

	xfd_tiles_fill(&tiles, 1);
	xfd_ldtilecfg(&tiles.cfg);
	for (;;) {
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		for (i = 0; i < WARM_UP + c->nr; i++)
			samples[i % MAX_EXITS] = guest_nm_tsc();
		GUEST_SYNC(true);
	}
}

/*
 * Tracing: an instance of our own, with only the two MSRs in it.
 */
static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	TEST_ASSERT(fd >= 0, "cannot open %s, errno = %d", path, errno);
	TEST_ASSERT(write(fd, text, strlen(text)) == strlen(text),
		    "cannot write '%s' to %s, errno = %d", text, path, errno);
	close(fd);
}

static void trace_setup(u64 nr)
{
	static const char filter[] = "msr == 0x1c4 || msr == 0x1c5";
	char kib[32];

	if (access(TRACEFS "/instances", F_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	TEST_ASSERT(!access(TRACEFS "/events/msr", F_OK),
		    "no msr trace events in %s: CONFIG_FTRACE, and root?", TRACEFS);
	TEST_ASSERT(!mkdir(INSTANCE, 0755) || errno == EEXIST, "cannot make " INSTANCE);

	/* Room for sixteen events per exit. */
	snprintf(kib, sizeof(kib), "%lu", 512 + (nr + WARM_UP) * 16 * 48 / 1024);
	write_to(INSTANCE "/tracing_on", "0");
	write_to(INSTANCE "/buffer_size_kb", kib);
	write_to(INSTANCE "/events/msr/read_msr/filter", filter);
	write_to(INSTANCE "/events/msr/write_msr/filter", filter);
}

/* Not only the buffer: an event that is on costs instructions. */
static void trace_enable(bool on)
{
	write_to(INSTANCE "/events/msr/read_msr/enable", on ? "1" : "0");
	write_to(INSTANCE "/events/msr/write_msr/enable", on ? "1" : "0");
}

struct counts {
	s64 exits, irqs, switches, rdmsr_xfd, wrmsr_xfd, rdmsr_xfd_err, wrmsr_xfd_err;
};

/* How often this thread has been scheduled out. */
static s64 switches(void)
{
	struct rusage usage;

	TEST_ASSERT(!getrusage(RUSAGE_THREAD, &usage), "getrusage() failed");
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

/* Events that the buffer had no room for; the count would be wrong. */
static u64 trace_lost(int cpu)
{
	char path[128], line[128];
	u64 n, lost = 0;
	FILE *f;

	snprintf(path, sizeof(path), INSTANCE "/per_cpu/cpu%d/stats", cpu);
	f = fopen(path, "r");
	TEST_ASSERT(f, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "overrun: %lu", &n) == 1 ||
		    sscanf(line, "commit overrun: %lu", &n) == 1 ||
		    sscanf(line, "dropped events: %lu", &n) == 1)
			lost += n;
	}
	fclose(f);
	return lost;
}

static void trace_read(int cpu, struct counts *c)
{
	unsigned int msr;
	char path[128], line[256], *p;
	FILE *f;

	TEST_ASSERT(!trace_lost(cpu), "the trace buffer overflowed");
	snprintf(path, sizeof(path), INSTANCE "/per_cpu/cpu%d/trace", cpu);
	f = fopen(path, "r");
	TEST_ASSERT(f, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		p = strstr(line, "read_msr: ");
		if (p && sscanf(p, "read_msr: %x,", &msr) == 1) {
			c->rdmsr_xfd += msr == MSR_IA32_XFD;
			c->rdmsr_xfd_err += msr == MSR_IA32_XFD_ERR;
			continue;
		}
		p = strstr(line, "write_msr: ");
		if (p && sscanf(p, "write_msr: %x,", &msr) == 1) {
			c->wrmsr_xfd += msr == MSR_IA32_XFD;
			c->wrmsr_xfd_err += msr == MSR_IA32_XFD_ERR;
		}
	}
	fclose(f);
}

/* One KVM_RUN of @nr exits in the state; what it took. */
static bool run_counted(struct kvm_vcpu *vcpu, int cpu, u64 nr, bool traced, struct counts *c)
{
	struct control *guest = xfd_guest_ptr(vcpu->vm, control);
	bool still;

	memset(c, 0, sizeof(*c));
	guest->nr = nr;
	c->exits = -vcpu_get_stat(vcpu, exits);
	c->irqs = -vcpu_get_stat(vcpu, irq_exits);
	if (traced) {
		write_to(INSTANCE "/trace", "");
		write_to(INSTANCE "/tracing_on", "1");
	}
	c->switches = -switches();
	still = xfd_vcpu_run(vcpu);
	c->switches += switches();
	if (traced) {
		write_to(INSTANCE "/tracing_on", "0");
		trace_read(cpu, c);
	}
	c->exits += vcpu_get_stat(vcpu, exits);
	c->irqs += vcpu_get_stat(vcpu, irq_exits);
	return still;
}

static int compare_u32(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

static u32 median(struct kvm_vcpu *vcpu, u64 nr)
{
	u32 *guest = xfd_guest_ptr(vcpu->vm, samples), *copy, m;

	copy = malloc(nr * sizeof(*copy));
	TEST_ASSERT(copy, "out of memory");
	memcpy(copy, guest, nr * sizeof(*copy));
	qsort(copy, nr, sizeof(*copy), compare_u32);
	m = copy[nr / 2];
	free(copy);
	return m;
}

static void measure_state(enum state state, u64 nr, int cpu)
{
	struct counts base, full;
	struct kvm_vcpu *vcpu;
	struct control *guest;
	struct kvm_vm *vm;
	bool still;
	u32 insns;
	int try;

	vm = vm_create_with_one_vcpu(&vcpu, guest_states);
	guest = xfd_guest_ptr(vm, control);
	guest->state = state;

	/* The first run pays for page faults and the first write of XFD. */
	run_counted(vcpu, cpu, 0, false, &base);

	/*
	 * A preemption costs MSR accesses that no exit does, and may end the
	 * state (dormant, on stock): again.
	 */
	trace_enable(true);
	for (try = 0, still = false; !still && try < MAX_TRIES; try++)
		still = run_counted(vcpu, cpu, 0, true, &base) && !base.switches &&
			run_counted(vcpu, cpu, nr, true, &full) && !full.switches;
	trace_enable(false);
	TEST_ASSERT(still, "%s: no undisturbed run in %d tries",
		    state_names[state], MAX_TRIES);

	guest->sample = 1;
	for (try = 0, still = false; !still && try < MAX_TRIES; try++) {
		struct counts ignored;

		still = run_counted(vcpu, cpu, nr, false, &ignored);
	}
	TEST_ASSERT(still, "%s: the guest did not stay in the state, untraced",
		    state_names[state]);
	insns = median(vcpu, nr);
	kvm_vm_free(vm);

	fprintf(json, "%s\"%s\":{\"exits\":%ld,", state ? "," : "", state_names[state],
		full.exits - base.exits);
	fprintf(json, "\"rdmsr_xfd\":%ld,\"wrmsr_xfd\":%ld,",
		full.rdmsr_xfd - base.rdmsr_xfd, full.wrmsr_xfd - base.wrmsr_xfd);
	fprintf(json, "\"rdmsr_xfd_err\":%ld,\"wrmsr_xfd_err\":%ld,",
		full.rdmsr_xfd_err - base.rdmsr_xfd_err,
		full.wrmsr_xfd_err - base.wrmsr_xfd_err);
	fprintf(json, "\"instructions_per_exit\":%u}", insns);
}

static void measure_nm(u64 nr, int cpu)
{
	struct counts base, full;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_nm);
	vm_install_exception_handler(vm, NM_VECTOR, guest_nm_handler);
	run_counted(vcpu, cpu, nr, false, &base);
	run_counted(vcpu, cpu, 0, false, &base);
	run_counted(vcpu, cpu, nr, false, &full);

	fprintf(json, "\"nm\":{\"exits_per_nm\":%.3f,\"instructions_per_nm\":%u}",
		(double)(full.exits - full.irqs - base.exits + base.irqs) / nr,
		median(vcpu, nr));
	kvm_vm_free(vm);
}

static void measure_states(u64 nr)
{
	int cpu = xfd_cpu(0);
	int i;

	pin_self_to_cpu(cpu);
	trace_setup(nr);
	fprintf(json, "{\"states\":{");
	for (i = 0; i < NR_STATES; i++)
		measure_state(i, nr, cpu);
	fprintf(json, "},");
	measure_nm(nr, cpu);
	fprintf(json, "}");
	rmdir(INSTANCE);
}

enum event { IN_KERNEL, USERSPACE, PREEMPT, MIGRATE, NR_EVENTS };

static const char * const event_names[] = { "in_kernel", "userspace", "preempt", "migrate" };

static void guest_loss(u64 event)
{
	struct control *c = &control;
	u64 i, start;

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
	case USERSPACE:
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
	if (xfd_tile_store_safe(tiles.got))
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

static void measure_loss(u64 nr)
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
			measure_loss_of(states[i], j, nr);
		}
	}
	fprintf(json, "}}");
}

static __noreturn void usage(const char *name)
{
	fprintf(stderr, "%s states|loss [-n exits]: at most %d exits\n", name,
		MAX_EXITS - WARM_UP);
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	const char *why;
	u64 nr = 2000;
	size_t size;
	char *text;
	int opt;

	while ((opt = getopt(argc, argv, "n:")) != -1) {
		if (opt != 'n')
			usage(argv[0]);
		nr = strtoul(optarg, NULL, 0);
	}
	if (optind != argc - 1 || !nr || nr > MAX_EXITS - WARM_UP)
		usage(argv[0]);

	why = xfd_require_amx();
	if (why) {
		printf("# nothing to measure: %s\n", why);
		return KSFT_SKIP;
	}

	json = open_memstream(&text, &size);
	TEST_ASSERT(json, "out of memory");
	if (!strcmp(argv[optind], "states"))
		measure_states(nr);
	else if (!strcmp(argv[optind], "loss"))
		measure_loss(nr);
	else
		usage(argv[0]);
	fclose(json);
	printf("#XFD %s\n", text);
	return KSFT_PASS;
}
