// SPDX-License-Identifier: GPL-2.0
/*
 * Which accesses of IA32_XFD and IA32_XFD_ERR KVM makes for a vCPU that no module
 * serves, one by one: on a stock kernel, on a patched one without the module, and
 * for a VM that is older than the module, while that is loaded and when it is gone
 * again, they are the same, with the same values and between the same VM-exits and
 * VM-entries.
 *
 *   xfd_trace_test [-m MODULE] [NAME]
 *
 * What is expected was read off Linux 7.3.4 and is written down below.  Without -m
 * only the kernel is tested that this runs on.  With it, also
 *
 *	older.<strategy>.<name>		the VM is older than the module
 *	attached.<strategy>.<name>	the VM is attached, and its guest one whose VMs
 *					are all treated alike: it has never set either
 *					MSR, or has no XFD
 *
 * A name runs only that subtest.
 */
#include <getopt.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "xfd_host.h"
#include "xfd_module.h"

#define TRACEFS		"/sys/kernel/tracing"
#define INSTANCE	TRACEFS "/instances/xfd_trace_test"
#define TIMEOUT		60
#define MAX_TRIES	5

static const char *module;

static struct control {
	/* Written by xfd_neighbour. */
	u64 progress;
} control;

static struct xfd_tiles tiles;

/*
 * The guests.  Each gets ready, then says so by GUEST_SYNC(), and goes from one
 * GUEST_SYNC() to the next with what its name says, always in the same way.
 */
static void guest_vmcalls(void)
{
	for (;;) {
		GUEST_SYNC(0);
		xfd_vmcall();
		xfd_vmcall();
	}
}

static void guest_arming(void)
{
	GUEST_SYNC(0);
	xfd_vmcall();
	/* The first write is the last that exits. */
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_vmcall();
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_vmcall();
	GUEST_SYNC(0);
}

static void guest_armed(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	guest_vmcalls();
}

static void guest_live(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, 1);
	xfd_tiles_use(&tiles);
	guest_vmcalls();
}

/* On stock an exit to userspace loses dormant tiles: load them again. */
static void guest_dormant(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_tiles_fill(&tiles, 1);
	for (;;) {
		GUEST_SYNC(0);
		wrmsr(MSR_IA32_XFD, 0);
		xfd_tiles_use(&tiles);
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		xfd_vmcall();
		xfd_vmcall();
	}
}

static void guest_pending(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_tilecfg_fill(&tiles.cfg);
	xfd_ldtilecfg(&tiles.cfg);
	GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
	guest_vmcalls();
}

static void guest_nm(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_tilecfg_fill(&tiles.cfg);
	xfd_ldtilecfg(&tiles.cfg);
	for (;;) {
		GUEST_SYNC(0);
		GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
		xfd_vmcall();
		wrmsr(MSR_IA32_XFD_ERR, 0);
		xfd_vmcall();
	}
}

static void guest_spinning(void)
{
	u64 start;

	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, 1);
	xfd_tiles_use(&tiles);
	sti();
	for (;;) {
		GUEST_SYNC(0);
		start = READ_ONCE(control.progress);
		/* No PAUSE: that might exit. */
		while (READ_ONCE(control.progress) - start < 3)
			;
	}
}

static void guest_without_xfd(void)
{
	u64 value;

	for (;;) {
		GUEST_SYNC(0);
		GUEST_ASSERT_EQ(rdmsr_safe(MSR_IA32_XFD, &value), GP_VECTOR);
		GUEST_ASSERT_EQ(rdmsr_safe(MSR_IA32_XFD_ERR, &value), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, 0), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD_ERR, 0), GP_VECTOR);
		xfd_vmcall();
	}
}

/*
 * What is traced.  Not vcpu_run(), nor xfd_vcpu_run(): with them the library ends
 * the I/O of GUEST_SYNC() by one KVM_RUN more.
 */
static void run_once(struct kvm_vcpu *vcpu)
{
	TEST_ASSERT(!__vcpu_run(vcpu), "KVM_RUN failed, errno = %d", errno);
}

static void run_twice(struct kvm_vcpu *vcpu)
{
	run_once(vcpu);
	run_once(vcpu);
}

static void run_interrupted(struct kvm_vcpu *vcpu)
{
	vcpu->run->immediate_exit = 1;
	TEST_ASSERT(__vcpu_run(vcpu) && errno == EINTR, "KVM_RUN: errno = %d", errno);
	vcpu->run->immediate_exit = 0;
}

static void run_ioctls(struct kvm_vcpu *vcpu)
{
	u64 xfd = vcpu_get_msr(vcpu, MSR_IA32_XFD);
	u64 xfd_err = vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR);
	struct kvm_xsave *xsave = calloc(1, vm_check_cap(vcpu->vm, KVM_CAP_XSAVE2));

	TEST_ASSERT(xsave, "out of memory");
	vcpu_xsave2_get(vcpu, xsave);
	vcpu_xsave_set(vcpu, xsave);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, xfd_err);
	vcpu_set_msr(vcpu, MSR_IA32_XFD, xfd);
	free(xsave);
}

static void run_preempted(struct kvm_vcpu *vcpu)
{
	struct control *c = xfd_guest_ptr(vcpu->vm, control);
	struct xfd_neighbour neighbour = { .cpu = xfd_cpu(0), .progress = &c->progress };

	xfd_neighbour_start(&neighbour);
	run_once(vcpu);
	xfd_neighbour_stop(&neighbour);
}

/*
 * A trace is a string of words:
 *
 *	>		VM-entry
 *	<REASON		VM-exit
 *	R4:v R5:v	RDMSR of XFD (1C4H) and of XFD_ERR (1C5H), and what it returned
 *	W4:v W5:v	WRMSR
 *
 * The VMM's thread has XFD[18]=1 while it has not used tiles itself, and a guest
 * has XFD=0 before it writes it: hence the writes at the ends.
 */
#define XFD_SET		"40000"

struct scenario {
	const char *name;
	void (*guest)(void);
	void (*run)(struct kvm_vcpu *vcpu);
	const char *want;
	bool without_xfd;
	/* The VMM uses tiles itself. */
	bool host_amx;
	/* Attached VMs are not treated differently. */
	bool attached_too;
	/* May have exits for interrupts, and must have been preempted. */
	bool preempted;
};

static const struct scenario scenarios[] = {
	{
		.name = "never",
		.guest = guest_vmcalls,
		.run = run_once,
		.attached_too = true,
		.want = "W4:0 > <VMCALL > <VMCALL > <IO_INSTRUCTION W4:" XFD_SET,
	}, {
		.name = "never_host_amx",
		.guest = guest_vmcalls,
		.run = run_once,
		.host_amx = true,
		.attached_too = true,
		.want = "> <VMCALL > <VMCALL > <IO_INSTRUCTION",
	}, {
		.name = "without_xfd",
		.guest = guest_without_xfd,
		.run = run_once,
		.without_xfd = true,
		.host_amx = true,
		.attached_too = true,
		.want = "> <MSR_READ > <MSR_READ > <MSR_WRITE > <MSR_WRITE > <VMCALL > <IO_INSTRUCTION",
	}, {
		.name = "arming",
		.guest = guest_arming,
		.run = run_once,
		.want = "W4:0 > <VMCALL > <MSR_WRITE W4:" XFD_SET " > <VMCALL R4:0 "
			"> <VMCALL R4:" XFD_SET " > <IO_INSTRUCTION R4:" XFD_SET,
	}, {
		.name = "armed",
		.guest = guest_armed,
		.run = run_once,
		.want = "> <VMCALL R4:" XFD_SET " > <VMCALL R4:" XFD_SET
			" > <IO_INSTRUCTION R4:" XFD_SET,
	}, {
		.name = "live",
		.guest = guest_live,
		.run = run_once,
		.want = "W4:0 > <VMCALL R4:0 > <VMCALL R4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
	}, {
		.name = "live_userspace",
		.guest = guest_live,
		.run = run_twice,
		.want = "W4:0 > <VMCALL R4:0 > <VMCALL R4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET
			" W4:0 > <VMCALL R4:0 > <VMCALL R4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
	}, {
		.name = "live_interrupted",
		.guest = guest_live,
		.run = run_interrupted,
		.want = "W4:0 W4:" XFD_SET,
	}, {
		.name = "live_preempted",
		.guest = guest_spinning,
		.run = run_preempted,
		.preempted = true,
		.want = "W4:0 > <IO_INSTRUCTION R4:0 W4:" XFD_SET,
	}, {
		.name = "live_ioctls",
		.guest = guest_live,
		.run = run_ioctls,
		.want = "",
	}, {
		.name = "dormant",
		.guest = guest_dormant,
		.run = run_once,
		.want = "> <VMCALL R4:" XFD_SET " > <VMCALL R4:" XFD_SET
			" > <IO_INSTRUCTION R4:" XFD_SET,
	}, {
		.name = "pending",
		.guest = guest_pending,
		.run = run_once,
		.want = "W5:" XFD_SET " > <VMCALL R4:" XFD_SET " W5:0 W5:" XFD_SET
			" > <VMCALL R4:" XFD_SET " W5:0 W5:" XFD_SET
			" > <IO_INSTRUCTION R4:" XFD_SET " W5:0",
	}, {
		.name = "pending_ioctls",
		.guest = guest_pending,
		.run = run_ioctls,
		.want = "",
	}, {
		.name = "nm",
		.guest = guest_nm,
		.run = run_once,
		.want = "> <EXCEPTION_NMI R4:" XFD_SET " R5:" XFD_SET " W5:0 W5:" XFD_SET
			" > <VMCALL R4:" XFD_SET " W5:0 W5:" XFD_SET
			" > <MSR_WRITE R4:" XFD_SET " W5:0 > <VMCALL R4:" XFD_SET
			" > <IO_INSTRUCTION R4:" XFD_SET,
	},
};

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	TEST_ASSERT(fd >= 0, "cannot open %s, errno = %d", path, errno);
	TEST_ASSERT(write(fd, text, strlen(text)) == strlen(text),
		    "cannot write '%s' to %s, errno = %d", text, path, errno);
	close(fd);
}

/* An instance of our own, with nothing in it but what this thread does. */
static void trace_setup(void)
{
	static const char filter[] = "msr == 0x1c4 || msr == 0x1c5";
	char tid[32];

	if (access(TRACEFS "/instances", F_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	TEST_ASSERT(!mkdir(INSTANCE, 0755) || errno == EEXIST, "cannot make " INSTANCE);
	write_to(INSTANCE "/tracing_on", "0");
	snprintf(tid, sizeof(tid), "%ld", syscall(SYS_gettid));
	write_to(INSTANCE "/set_event_pid", tid);
	write_to(INSTANCE "/events/msr/read_msr/filter", filter);
	write_to(INSTANCE "/events/msr/write_msr/filter", filter);
	write_to(INSTANCE "/events/msr/read_msr/enable", "1");
	write_to(INSTANCE "/events/msr/write_msr/enable", "1");
	write_to(INSTANCE "/events/kvm/kvm_entry/enable", "1");
	write_to(INSTANCE "/events/kvm/kvm_exit/enable", "1");
}

/* The events of @cpu as words; to be freed. */
static char *trace_read(int cpu)
{
	char path[128], line[512], reason[64], rw, *p, *words;
	unsigned long value;
	unsigned int msr;
	size_t size;
	FILE *f, *out;

	snprintf(path, sizeof(path), INSTANCE "/per_cpu/cpu%d/trace", cpu);
	f = fopen(path, "r");
	out = open_memstream(&words, &size);
	TEST_ASSERT(f && out, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#')
			continue;
		p = strstr(line, "_msr: ");
		if (p && sscanf(p, "_msr: %x, value %lx", &msr, &value) == 2) {
			rw = strstr(line, " read_msr: ") ? 'R' : 'W';
			fprintf(out, "%s%c%x:%lx", ftell(out) ? " " : "", rw, msr & 0xf, value);
			continue;
		}
		p = strstr(line, " reason ");
		if (p && sscanf(p, " reason %63s", reason) == 1)
			fprintf(out, "%s<%s", ftell(out) ? " " : "", reason);
		else if (strstr(line, " kvm_entry: "))
			fprintf(out, "%s>", ftell(out) ? " " : "");
		else
			TEST_FAIL("not an event that was asked for: %s", line);
	}
	fclose(f);
	fclose(out);
	return words;
}

/* Takes all occurrences of @sub out; returns how many there were. */
static int cut(char *words, const char *sub)
{
	size_t n = strlen(sub);
	int count = 0;
	char *p;

	while ((p = strstr(words, sub))) {
		memmove(p, p + n, strlen(p + n) + 1);
		count++;
	}
	return count;
}

static void assert_trace(const struct scenario *s, char *got, const char *when)
{
	if (s->preempted) {
		/* A plain one, and one that ended with another task on the CPU. */
		cut(got, "<EXTERNAL_INTERRUPT R4:0 > ");
		TEST_ASSERT(cut(got, "<EXTERNAL_INTERRUPT R4:0 W4:0 > "),
			    "the vCPU was not preempted: %s", got);
	}
	TEST_ASSERT(!strcmp(got, s->want), "%s:\n  want %s\n  got  %s", when, s->want, got);
}

static void load(const char *strategy)
{
	char params[64];
	int ret;

	snprintf(params, sizeof(params), "strategy=%s", strategy);
	ret = xfd_module_load(module, params);
	TEST_ASSERT(!ret, "loading %s with %s: %s", module, params, strerror(-ret));
}

static void unload(void)
{
	int ret = xfd_module_unload(XFD_MODULE);

	TEST_ASSERT(!ret, "unloading: %s", strerror(-ret));
}

static struct kvm_vm *create_vm(const struct scenario *s, struct kvm_vcpu **vcpu)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, s->guest);

	if (s->without_xfd)
		vcpu_clear_cpuid_feature(*vcpu, X86_FEATURE_XFD);
	xfd_vcpu_run(*vcpu);
	/* Once more, so that no page is touched for the first time later. */
	if (s->guest != guest_arming && !s->preempted)
		xfd_vcpu_run(*vcpu);
	return vm;
}

static char *trace(const struct scenario *s, struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	write_to(INSTANCE "/trace", "");
	write_to(INSTANCE "/tracing_on", "1");
	s->run(vcpu);
	write_to(INSTANCE "/tracing_on", "0");
	if (get_ucall(vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	return trace_read(xfd_cpu(0));
}

enum when {
	NO_MODULE,
	/* The VM is older than the module, which is loaded, or is gone again. */
	MODULE_LOADED,
	MODULE_UNLOADED,
	VM_ATTACHED,
};

static const char * const when_names[] = {
	"no module", "module loaded", "module unloaded", "VM attached",
};

static void check(const struct scenario *s, const char *strategy, enum when when)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	bool disturbed;
	char *words;
	int try = 0;

	do {
		if (when == VM_ATTACHED)
			load(strategy);
		vm = create_vm(s, &vcpu);
		if (when == MODULE_LOADED || when == MODULE_UNLOADED)
			load(strategy);
		if (when == MODULE_UNLOADED)
			unload();
		TEST_ASSERT_EQ(xfd_vm_attached(vm->fd), when == VM_ATTACHED);

		words = trace(s, vcpu);
		disturbed = !s->preempted && strstr(words, "EXTERNAL_INTERRUPT");
		if (!disturbed)
			assert_trace(s, words, when_names[when]);
		free(words);
		kvm_vm_free(vm);
		if (when == MODULE_LOADED || when == VM_ATTACHED)
			unload();
	} while (disturbed && ++try < MAX_TRIES);
	TEST_ASSERT(!disturbed, "no undisturbed run in %d tries", MAX_TRIES);
}

struct subtest {
	const struct scenario *s;
	const char *strategy;
	bool attached;
};

static void begin(bool host_amx)
{
	pin_self_to_cpu(xfd_cpu(0));
	if (host_amx) {
		xfd_tiles_fill(&tiles, 1);
		xfd_tiles_use(&tiles);
		xfd_tilerelease();
	}
	trace_setup();
}

static void run_subtest(const void *arg)
{
	const struct subtest *t = arg;

	begin(t->s->host_amx);
	if (t->attached) {
		check(t->s, t->strategy, VM_ATTACHED);
	} else if (t->strategy) {
		check(t->s, t->strategy, MODULE_LOADED);
		check(t->s, t->strategy, MODULE_UNLOADED);
	} else {
		check(t->s, NULL, NO_MODULE);
	}
}

/* Userspace may set the MSRs of a vCPU whose guest has no XFD: it still has none. */
static void set_without_xfd(const void *strategy)
{
	static const u32 msrs[] = { MSR_IA32_XFD, MSR_IA32_XFD_ERR };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i;

	load(strategy);
	vm = vm_create_with_one_vcpu(&vcpu, guest_without_xfd);
	TEST_ASSERT(xfd_vm_attached(vm->fd), "the VM is not attached");
	vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_XFD);
	xfd_vcpu_run(vcpu);
	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		vcpu_set_msr(vcpu, msrs[i], XFD_TILEDATA);
		xfd_vcpu_run(vcpu);
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, msrs[i]), XFD_TILEDATA);
	}
	kvm_vm_free(vm);
	unload();
}

#define MAX_TESTS	(ARRAY_SIZE(scenarios) * (1 + 2 * ARRAY_SIZE(xfd_strategies)) + \
			 ARRAY_SIZE(xfd_strategies))

static struct subtest subtests[MAX_TESTS];
static struct xfd_test tests[MAX_TESTS];
static int nr_tests;

static void add(const struct scenario *s, const char *strategy, bool attached)
{
	struct subtest *t = &subtests[nr_tests];
	const char *when = attached ? "attached." : strategy ? "older." : "";
	char *name;

	*t = (struct subtest){ s, strategy, attached };
	TEST_ASSERT(asprintf(&name, "%s%s%s%s", when, strategy ?: "", strategy ? "." : "",
			     s->name) > 0, "out of memory");
	tests[nr_tests++] = (struct xfd_test){ name, run_subtest, t };
}

static void add_all(void)
{
	const char *strategy;
	char *name;
	int i, j;

	for (j = 0; j < ARRAY_SIZE(scenarios); j++)
		add(&scenarios[j], NULL, false);
	for (i = 0; module && i < ARRAY_SIZE(xfd_strategies); i++) {
		strategy = xfd_strategies[i];
		for (j = 0; j < ARRAY_SIZE(scenarios); j++) {
			add(&scenarios[j], strategy, false);
			if (scenarios[j].attached_too)
				add(&scenarios[j], strategy, true);
		}
		TEST_ASSERT(asprintf(&name, "attached.%s.set_without_xfd", strategy) > 0,
			    "out of memory");
		tests[nr_tests++] = (struct xfd_test){ name, set_without_xfd, strategy };
	}
}

int main(int argc, char *argv[])
{
	const char *why, *only;
	int opt, i, code;

	while ((opt = getopt(argc, argv, "m:")) != -1) {
		if (opt != 'm')
			ksft_exit_fail_msg("usage: %s [-m MODULE] [NAME]\n", argv[0]);
		module = optarg;
	}
	only = argv[optind];

	ksft_print_header();
	why = xfd_require_amx();
	if (why)
		ksft_exit_skip("%s\n", why);

	add_all();
	ksft_set_plan(only ? 1 : nr_tests);
	for (i = 0; i < nr_tests; i++) {
		if (only && strcmp(only, tests[i].name))
			continue;
		/* If the test before died with the module loaded. */
		if (module)
			xfd_module_unload(XFD_MODULE);
		code = xfd_run_one(&tests[i], TIMEOUT);
		xfd_report(&tests[i], code);
	}
	rmdir(INSTANCE);
	ksft_finished();
}
