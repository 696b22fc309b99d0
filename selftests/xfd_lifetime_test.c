// SPDX-License-Identifier: GPL-2.0
/*
 * Who may live how long: the module, the VMs that are attached to it, those that
 * are not, their vCPUs, and kvm-intel below.
 */
#include <dirent.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock; a second for each cycle comes on top. */
#define TIMEOUT		60

static const char *module = XFD_MODULE_PATH;
static const char *kvm_intel = "/lib/modules/kvm-intel.ko";
/* How often the module comes and goes in the tests that do so under load. */
static int cycles = 50;

/* In guest memory; the host sees it by way of xfd_guest_ptr(). */
static struct control {
	u64 live_lost;
	u64 dormant_lost;
	u64 rounds;
	u64 spinning;
	u64 stop;
} control;

static struct xfd_tiles tiles;

/* All that the module has. */
static const char *strategies[XFD_MAX_STRATEGIES];
static int nr_strategies;

/*
 * The module.
 */
static void load(const char *strategy)
{
	xfd_strategy_load(module, strategy);
}

static void assert_refused_to_unload(void)
{
	TEST_ASSERT_EQ(xfd_module_unload(XFD_MODULE), -EWOULDBLOCK);
}

static void assert_refs(long want)
{
	TEST_ASSERT_EQ(xfd_module_refs(XFD_MODULE), want);
}

/*
 * VMs that need no guest.
 */
static int open_dev_kvm(void)
{
	int fd = open(KVM_DEV_PATH, O_RDWR | O_CLOEXEC);

	TEST_ASSERT(fd >= 0, "cannot open " KVM_DEV_PATH ", errno = %d", errno);
	return fd;
}

static int create_vm(int kvm)
{
	int fd = ioctl(kvm, KVM_CREATE_VM, 0);

	TEST_ASSERT(fd >= 0, "KVM_CREATE_VM failed, errno = %d", errno);
	return fd;
}

static int create_vcpu(int vm)
{
	int fd = ioctl(vm, KVM_CREATE_VCPU, 0);

	TEST_ASSERT(fd >= 0, "KVM_CREATE_VCPU failed, errno = %d", errno);
	return fd;
}

static void assert_vm_fails(int kvm, unsigned long type, int error)
{
	int ret = ioctl(kvm, KVM_CREATE_VM, type);

	TEST_ASSERT(ret < 0 && errno == error, "KVM_CREATE_VM: %d, errno = %d (not %d)", ret,
		    errno, error);
	assert_refs(0);
}

/* @refs: how many VMs hold the module. */
static void assert_vcpu_fails(int vm, unsigned long id, int error, long refs)
{
	int ret = ioctl(vm, KVM_CREATE_VCPU, id);

	TEST_ASSERT(ret < 0 && errno == error, "KVM_CREATE_VCPU(%lu): %d, errno = %d (not %d)",
		    id, ret, errno, error);
	assert_refs(refs);
}

static void set_limit(int resource, rlim_t n, struct rlimit *old)
{
	struct rlimit limit;

	TEST_ASSERT(!getrlimit(resource, old), "getrlimit() failed, errno = %d", errno);
	limit = *old;
	limit.rlim_cur = n;
	TEST_ASSERT(!setrlimit(resource, &limit), "setrlimit() failed, errno = %d", errno);
}

/* No file can be opened any more. */
static void forbid_files(struct rlimit *old)
{
	int next = dup(STDIN_FILENO);

	TEST_ASSERT(next >= 0, "dup() failed, errno = %d", errno);
	close(next);
	set_limit(RLIMIT_NOFILE, next, old);
}

/*
 * What the kernel has allocated.
 */
struct memory {
	/* Objects of the general slab caches. */
	long objects;
	/* KiB for modules, per-CPU data, stacks, slabs. */
	long kib;
};

static void memory_read(struct memory *m)
{
	static const char * const fields[] = { "Slab:", "VmallocUsed:", "Percpu:", "KernelStack:" };
	char line[256], name[64];
	long n;
	FILE *f;
	int i;

	/* RCU and work items that still have something to free. */
	usleep(300000);

	memset(m, 0, sizeof(*m));
	f = fopen("/proc/meminfo", "r");
	TEST_ASSERT(f, "cannot open /proc/meminfo");
	while (fgets(line, sizeof(line), f)) {
		for (i = 0; i < ARRAY_SIZE(fields); i++) {
			if (sscanf(line, "%63s %ld", name, &n) == 2 && !strcmp(name, fields[i]))
				m->kib += n;
		}
	}
	fclose(f);

	f = fopen("/proc/slabinfo", "r");
	TEST_ASSERT(f, "cannot open /proc/slabinfo");
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "kmalloc-", 8) && sscanf(line, "%63s %ld", name, &n) == 2)
			m->objects += n;
	}
	fclose(f);
}

/*
 * @times something has come and gone since @before.  What is lost each time is
 * seen; the slack is for caches of the allocators, which depend on the CPUs and
 * not on @times.
 */
static void assert_memory(const struct memory *before, long times)
{
	struct memory after;
	long objects, kib;

	memory_read(&after);
	objects = after.objects - before->objects;
	kib = after.kib - before->kib;
	ksft_print_msg("%ld times: %+ld objects, %+ld KiB\n", times, objects, kib);
	TEST_ASSERT(objects < times / 2 + 300, "%ld objects more after %ld times", objects,
		    times);
	TEST_ASSERT(kib < times + 512, "%ld KiB more after %ld times", kib, times);
}

/*
 * Older VMs: tiles that are live or dormant at an exit to userspace.
 */
static void guest_tiles(void)
{
	struct control *c = &control;

	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, 1);
	for (;;) {
		xfd_tiles_use(&tiles);
		GUEST_SYNC(0);
		c->live_lost = xfd_tiles_lost(&tiles);
		xfd_tiles_use(&tiles);
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		GUEST_SYNC(1);
		wrmsr(MSR_IA32_XFD, 0);
		c->dormant_lost = xfd_tiles_lost(&tiles);
	}
}

static struct kvm_vm *create_tiles_vm(struct kvm_vcpu **vcpu, bool attached)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, guest_tiles);

	TEST_ASSERT_EQ(xfd_vm_attached(vm->fd), attached);
	TEST_ASSERT_EQ(xfd_vcpu_run(*vcpu), 0);
	return vm;
}

static void assert_tiles_lost(struct kvm_vcpu *vcpu, u64 dormant)
{
	struct control *c = xfd_guest_ptr(vcpu->vm, control);

	c->live_lost = -1;
	c->dormant_lost = -1;
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 1);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	TEST_ASSERT_EQ(c->live_lost, 0ull);
	TEST_ASSERT_EQ(c->dormant_lost, dormant);
}

/* If the test before died with the module loaded. */
static void begin_unloaded(void)
{
	xfd_module_unload(XFD_MODULE);
}

FIXTURE(older_vm) {
};

FIXTURE_VARIANT(older_vm) {
	const char *strategy;
};

FIXTURE_VARIANT_ADD(older_vm, lazy) { .strategy = "lazy" };
FIXTURE_VARIANT_ADD(older_vm, xinuse) { .strategy = "xinuse" };
FIXTURE_VARIANT_ADD(older_vm, eager) { .strategy = "eager" };
FIXTURE_VARIANT_ADD(older_vm, autoload) { .strategy = "autoload" };

FIXTURE_SETUP(older_vm)
{
	begin_unloaded();
}

FIXTURE_TEARDOWN(older_vm)
{
}

TEST_F_TIMEOUT(older_vm, stays_unattached, TIMEOUT)
{
	struct kvm_vcpu *older_vcpu, *vcpu;
	struct kvm_vm *older, *vm;

	older = create_tiles_vm(&older_vcpu, false);
	assert_tiles_lost(older_vcpu, XFD_TILES_BYTES);

	load(variant->strategy);
	assert_tiles_lost(older_vcpu, XFD_TILES_BYTES);

	/* A neighbour that is served makes no difference. */
	vm = create_tiles_vm(&vcpu, true);
	assert_tiles_lost(vcpu, 0);
	assert_tiles_lost(older_vcpu, XFD_TILES_BYTES);
	assert_tiles_lost(vcpu, 0);
	assert_refs(1);
	kvm_vm_free(vm);
	assert_tiles_lost(older_vcpu, XFD_TILES_BYTES);

	xfd_strategy_unload();
	assert_tiles_lost(older_vcpu, XFD_TILES_BYTES);

	/* Nor does it become attached if the module comes back. */
	load(variant->strategy);
	TEST_ASSERT(!xfd_vm_attached(older->fd), "an older VM became attached");
	assert_tiles_lost(older_vcpu, XFD_TILES_BYTES);
	kvm_vm_free(older);
	xfd_strategy_unload();
}

FIXTURE(lifetime) {
};

FIXTURE_SETUP(lifetime)
{
	begin_unloaded();
}

FIXTURE_TEARDOWN(lifetime)
{
}

/*
 * What holds the module.
 */
TEST_F_TIMEOUT(lifetime, vms_hold_module, TIMEOUT)
{
	int kvm = open_dev_kvm(), older = create_vm(kvm), vms[3], vcpu, i;

	load("lazy");
	assert_refs(0);
	for (i = 0; i < ARRAY_SIZE(vms); i++) {
		vms[i] = create_vm(kvm);
		assert_refs(i + 1);
		assert_refused_to_unload();
	}

	/* A vCPU keeps its VM alive. */
	vcpu = create_vcpu(vms[0]);
	assert_refs(3);
	for (i = 0; i < ARRAY_SIZE(vms); i++)
		close(vms[i]);
	assert_refs(1);
	assert_refused_to_unload();
	close(vcpu);
	assert_refs(0);

	/* vCPUs of an older VM hold nothing. */
	vcpu = create_vcpu(older);
	assert_refs(0);
	xfd_strategy_unload();
	close(vcpu);
	close(older);
	close(kvm);
}

static void guest_spin(void)
{
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, 1);
	xfd_tiles_use(&tiles);
	for (;;)
		GUEST_SYNC(0);
}

/* SIGKILL in KVM_RUN, with the guest's values in the MSRs. */
TEST_F_TIMEOUT(lifetime, killed_vmm_lets_go, TIMEOUT)
{
	struct kvm_vcpu *vcpu;
	int fds[2], status;
	pid_t pid;
	char c;

	load("lazy");
	TEST_ASSERT(!pipe(fds), "pipe() failed, errno = %d", errno);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		vm_create_with_one_vcpu(&vcpu, guest_spin);
		for (;;) {
			xfd_vcpu_run(vcpu);
			if (write(fds[1], "", 1) != 1)
				_exit(1);
		}
	}

	close(fds[1]);
	TEST_ASSERT_EQ(read(fds[0], &c, 1), 1);
	assert_refs(1);
	assert_refused_to_unload();
	kill(pid, SIGKILL);
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	assert_refs(0);
	xfd_strategy_unload();
}

/*
 * Creation that fails leaves nothing behind, and does not spoil the next.
 */
TEST_F_TIMEOUT(lifetime, failed_vcpus, TIMEOUT)
{
	struct kvm_enable_cap max_id = { .cap = KVM_CAP_MAX_VCPU_ID, .args = { 4 } };
	int kvm = open_dev_kvm(), vm, vcpu;

	load("lazy");
	vm = create_vm(kvm);
	assert_vcpu_fails(vm, ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID), EINVAL, 1);
	TEST_ASSERT(!ioctl(vm, KVM_ENABLE_CAP, &max_id), "KVM_CAP_MAX_VCPU_ID: errno = %d", errno);
	assert_vcpu_fails(vm, 4, EINVAL, 1);
	vcpu = create_vcpu(vm);
	assert_vcpu_fails(vm, 0, EEXIST, 1);
	assert_refused_to_unload();
	close(vcpu);
	close(vm);
	assert_refs(0);
	xfd_strategy_unload();
	close(kvm);
}

/* No file for the vCPU: the module's part of it exists already. */
TEST_F_TIMEOUT(lifetime, failed_vcpu_files, TIMEOUT)
{
	const int times = 1000;
	int kvm = open_dev_kvm(), vm, vcpu, i;
	struct memory before;
	struct rlimit files;

	load("lazy");
	vm = create_vm(kvm);
	close(create_vcpu(vm));
	close(vm);
	memory_read(&before);

	vm = create_vm(kvm);
	forbid_files(&files);
	for (i = 0; i < times; i++)
		TEST_ASSERT(ioctl(vm, KVM_CREATE_VCPU, 0) < 0 && errno == EMFILE,
			    "KVM_CREATE_VCPU: errno = %d", errno);
	setrlimit(RLIMIT_NOFILE, &files);
	assert_refs(1);
	assert_refused_to_unload();
	vcpu = create_vcpu(vm);
	close(vcpu);
	close(vm);
	assert_memory(&before, times);
	xfd_strategy_unload();
	close(kvm);
}

/* No room for the APIC access page: vmx_vcpu_create() fails after the module. */
TEST_F_TIMEOUT(lifetime, failed_vcpu_memory, TIMEOUT)
{
	const int times = 1000;
	int kvm = open_dev_kvm(), vm, vcpu, i;
	struct rlimit memory;
	struct memory before;

	if (!get_kvm_intel_param_bool("flexpriority"))
		SKIP(return, "no APIC access page: kvm_intel.flexpriority=N");

	load("lazy");
	vm = create_vm(kvm);
	TEST_ASSERT(!ioctl(vm, KVM_CREATE_IRQCHIP), "KVM_CREATE_IRQCHIP: errno = %d", errno);
	memory_read(&before);

	set_limit(RLIMIT_AS, 4096, &memory);
	for (i = 0; i < times; i++)
		TEST_ASSERT(ioctl(vm, KVM_CREATE_VCPU, 0) < 0 && errno == ENOMEM,
			    "KVM_CREATE_VCPU: errno = %d", errno);
	setrlimit(RLIMIT_AS, &memory);
	assert_refs(1);
	assert_refused_to_unload();
	assert_memory(&before, times);

	vcpu = create_vcpu(vm);
	close(vcpu);
	close(vm);
	assert_refs(0);
	xfd_strategy_unload();
	close(kvm);
}

static void empty_handler(int sig)
{
}

/* A signal that comes while the VM is made: KVM takes back all it did. */
TEST_F_TIMEOUT(lifetime, failed_vms_by_signal, TIMEOUT)
{
	struct sigevent signal_me = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec once = {};
	int kvm = open_dev_kvm(), i, fd, failed = 0;
	const int times = 100;
	timer_t timer;

	load("lazy");
	signal(SIGUSR1, empty_handler);
	TEST_ASSERT(!timer_create(CLOCK_MONOTONIC, &signal_me, &timer),
		    "timer_create() failed, errno = %d", errno);
	for (i = 0; i < times; i++) {
		/* Each time a bit later. */
		once.it_value.tv_nsec = 1000 + i * 1000;
		timer_settime(timer, 0, &once, NULL);
		fd = ioctl(kvm, KVM_CREATE_VM, 0);
		TEST_ASSERT(fd >= 0 || errno == EINTR, "KVM_CREATE_VM: errno = %d", errno);
		assert_refs(fd >= 0);
		if (fd >= 0)
			close(fd);
		else
			failed++;
	}
	timer_delete(timer);
	ksft_print_msg("%d of %d VMs were interrupted\n", failed, times);
	TEST_ASSERT(failed, "no VM was interrupted");
	assert_refs(0);
	xfd_strategy_unload();
	close(kvm);
}

TEST_F_TIMEOUT(lifetime, failed_vms, TIMEOUT)
{
	int kvm = open_dev_kvm(), vm;
	struct rlimit files;
	long max_files;
	FILE *f;

	load("lazy");
	assert_vm_fails(kvm, 77, EINVAL);

	forbid_files(&files);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	setrlimit(RLIMIT_NOFILE, &files);
	TEST_ASSERT(vm < 0, "a VM without a file");
	assert_refs(0);

	/* Only the system is out of files, which KVM finds out when the VM exists. */
	max_files = xfd_read_long("/proc/sys/fs/file-max");
	f = fopen("/proc/sys/fs/file-max", "w");
	TEST_ASSERT(f && max_files > 0, "/proc/sys/fs/file-max: %ld", max_files);
	setbuf(f, NULL);
	fprintf(f, "0\n");
	TEST_ASSERT(!seteuid(65534), "seteuid() failed, errno = %d", errno);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	TEST_ASSERT(!seteuid(0), "seteuid() failed, errno = %d", errno);
	rewind(f);
	fprintf(f, "%ld\n", max_files);
	fclose(f);
	TEST_ASSERT(vm < 0, "a VM without a file in the system");
	assert_refs(0);

	vm = create_vm(kvm);
	assert_refs(1);
	close(vm);
	assert_refs(0);
	xfd_strategy_unload();
	close(kvm);
}

/*
 * Firmware switches XFD for confidential VMs, so KVM must not.  None of those
 * can be had in the emulator; KVM's software-protected VMs stand for them.
 */
TEST_F_TIMEOUT(lifetime, protected_vm, TIMEOUT)
{
	int kvm = open_dev_kvm(), vm, vcpu;

	if (!(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM)))
		SKIP(return, "no KVM_X86_SW_PROTECTED_VM");

	load("lazy");
	vm = ioctl(kvm, KVM_CREATE_VM, KVM_X86_SW_PROTECTED_VM);
	TEST_ASSERT(vm >= 0, "KVM_CREATE_VM failed, errno = %d", errno);
	vcpu = create_vcpu(vm);
	TEST_ASSERT(!xfd_vm_attached(vm), "a protected VM is attached");
	assert_refs(0);
	xfd_strategy_unload();
	close(vcpu);
	close(vm);
	close(kvm);
}

/*
 * kvm-intel comes and goes beneath.
 */
static void append_bool_params(char *params, size_t size)
{
	static const char dir[] = "/sys/module/kvm_intel/parameters";
	char path[512], value;
	struct dirent *entry;
	DIR *d = opendir(dir);
	FILE *f;

	TEST_ASSERT(d, "cannot open %s", dir);
	while ((entry = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		f = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!f)
			continue;
		value = fgetc(f);
		/* The others may be spelled differently when read. */
		if ((value == 'Y' || value == 'N') && fgetc(f) == '\n')
			snprintf(params + strlen(params), size - strlen(params), "%s=%c ",
				 entry->d_name, value);
		fclose(f);
	}
	closedir(d);
}

TEST_F_TIMEOUT(lifetime, kvm_intel_reloaded, TIMEOUT)
{
	static const char line[] = "KVM offers no XFD to guests: load kvm-intel first";
	struct kvm_vcpu *vcpu;
	char params[1024] = "";
	int kmsg, ret;

	if (xfd_module_refs("kvm_intel") < 0)
		SKIP(return, "kvm-intel is not a module");

	kmsg = xfd_kmsg_open();
	append_bool_params(params, sizeof(params));
	load("lazy");

	/* A VM holds kvm-intel, the module by itself only kvm. */
	vm_create_with_one_vcpu(&vcpu, guest_tiles);
	TEST_ASSERT_EQ(xfd_module_unload("kvm_intel"), -EWOULDBLOCK);
	kvm_vm_free(vcpu->vm);
	ret = xfd_module_unload("kvm_intel");
	TEST_ASSERT(!ret, "unloading kvm-intel: %s", strerror(-ret));
	TEST_ASSERT_EQ(xfd_module_unload("kvm"), -EWOULDBLOCK);

	/* Without kvm-intel it can go, but not come. */
	xfd_strategy_unload();
	TEST_ASSERT_EQ(xfd_module_load(module, ""), -EOPNOTSUPP);
	TEST_ASSERT(xfd_kmsg_has(kmsg, XFD_KMSG_ERR, line), "the kernel log does not say: %s",
		    line);
	close(kmsg);

	/* kvm-intel comes first, as always. */
	ret = xfd_module_load(kvm_intel, params);
	TEST_ASSERT(!ret, "loading kvm-intel %s: %s", params, strerror(-ret));
	load("lazy");

	/* kvm-intel is exchanged while the module is loaded. */
	ret = xfd_module_unload("kvm_intel");
	TEST_ASSERT(!ret, "unloading kvm-intel: %s", strerror(-ret));
	ret = xfd_module_load(kvm_intel, params);
	TEST_ASSERT(!ret, "loading kvm-intel %s: %s", params, strerror(-ret));
	create_tiles_vm(&vcpu, true);
	assert_tiles_lost(vcpu, 0);
	assert_refs(1);
	assert_refused_to_unload();
	kvm_vm_free(vcpu->vm);
	assert_refs(0);
	xfd_strategy_unload();
}

/*
 * The module comes and goes while VMs run, come and go.
 */
static void guest_all_states(void)
{
	struct control *c = &control;
	u64 lost;

	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	wrmsr(MSR_IA32_XFD, 0);
	xfd_tiles_fill(&tiles, 1);
	WRITE_ONCE(c->spinning, 1);
	while (!READ_ONCE(c->stop)) {
		/* Live. */
		xfd_tiles_use(&tiles);
		xfd_vmcall();
		GUEST_ASSERT_EQ(xfd_tiles_lost(&tiles), 0ull);

		/* Dormant, and then pending. */
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		xfd_vmcall();
		GUEST_ASSERT_EQ(xfd_tile_load_safe(tiles.want), NM_VECTOR);
		xfd_vmcall();
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), XFD_TILEDATA);
		wrmsr(MSR_IA32_XFD_ERR, 0);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), XFD_TILEDATA);

		wrmsr(MSR_IA32_XFD, 0);
		lost = xfd_tiles_lost(&tiles);
		__GUEST_ASSERT(!lost || (xfd_dormant_may_go() && xfd_tiles_initial(&tiles)),
			       "%lu bytes of dormant tiles lost", lost);
		if (!(++c->rounds % 3))
			GUEST_SYNC(0);
	}
	GUEST_DONE();
}

struct load {
	struct kvm_vcpu *vcpu;
	int cpu;
	/* VMs that came and went, by whether they were attached. */
	long vms[2];
	bool stop;
	pthread_t thread;
};

static void *old_vm_fn(void *arg)
{
	struct load *l = arg;

	/* In the emulator time passes by instructions; an idle CPU makes it pass faster. */
	pin_self_to_cpu(l->cpu);
	while (xfd_vcpu_run(l->vcpu) != XFD_GUEST_DONE)
		usleep(2000);
	return NULL;
}

/* The next one comes after a while, now short, now long: meanwhile nobody holds the module. */
static void vm_gone(struct load *l, bool attached)
{
	WRITE_ONCE(l->vms[attached], l->vms[attached] + 1);
	usleep(500 * ((l->vms[0] + l->vms[1]) % 8));
}

/* Each VM makes three rounds, an exit to userspace and one round more. */
static void *short_vms_fn(void *arg)
{
	struct load *l = arg;
	struct kvm_vcpu *vcpu;
	struct control *c;
	struct kvm_vm *vm;
	bool attached;

	pin_self_to_cpu(l->cpu);
	while (!READ_ONCE(l->stop)) {
		vm = vm_create_with_one_vcpu(&vcpu, guest_all_states);
		attached = xfd_vm_attached(vm->fd);
		c = xfd_guest_ptr(vm, control);
		xfd_vm_expect(vm, attached ? XFD_ATTACHED : XFD_UNATTACHED);
		TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
		c->stop = 1;
		TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
		kvm_vm_free(vm);
		vm_gone(l, attached);
	}
	return NULL;
}

/* VMs with a vCPU that never runs: most of their life is its end. */
static void *dying_vms_fn(void *arg)
{
	int kvm = open_dev_kvm(), vm, vcpu;
	struct load *l = arg;
	bool attached;

	pin_self_to_cpu(l->cpu);
	while (!READ_ONCE(l->stop)) {
		vm = create_vm(kvm);
		attached = xfd_vm_attached(vm);
		vcpu = create_vcpu(vm);
		close(vm);
		close(vcpu);
		vm_gone(l, attached);
	}
	close(kvm);
	return NULL;
}

/* Returns how often it was refused. */
static long unload_when_free(void)
{
	long refused = 0;
	int ret;

	while ((ret = xfd_module_unload(XFD_MODULE)) == -EWOULDBLOCK) {
		refused++;
		usleep(1000);
	}
	TEST_ASSERT(!ret, "unloading: %s", strerror(-ret));
	return refused;
}

/*
 * Or loading and unloading, which wait for several grace periods, would mostly
 * be waiting.
 */
static void expedite_rcu(bool expedite)
{
	FILE *f = fopen("/sys/kernel/rcu_expedited", "w");

	TEST_ASSERT(f && fprintf(f, "%d\n", expedite) > 0 && !fclose(f),
		    "/sys/kernel/rcu_expedited");
}

/*
 * It stays until an attached VM is gone, or is there, and then twice not at all;
 * and it stays away until a VM without it is gone.
 */
static long load_and_unload(struct load *vms, long times)
{
	long i, attached, plain, refused = 0;

	expedite_rcu(true);
	for (i = 0; i < times; i++) {
		attached = READ_ONCE(vms->vms[1]);
		load(strategies[i / 4 % nr_strategies]);
		while (i % 4 == 0 && READ_ONCE(vms->vms[1]) == attached)
			usleep(1000);
		while (i % 4 == 1 && !xfd_module_refs(XFD_MODULE))
			usleep(500);
		refused += unload_when_free();
		plain = READ_ONCE(vms->vms[0]);
		while (i % 8 == 7 && READ_ONCE(vms->vms[0]) == plain)
			usleep(1000);
	}
	expedite_rcu(false);
	return refused;
}

static void start(struct load *l, void *(*fn)(void *))
{
	TEST_ASSERT(!pthread_create(&l->thread, NULL, fn, l), "pthread_create()");
}

static void report_load(const struct load *vms, long refused, long times)
{
	ksft_print_msg("loaded %ld times, %ld refusals to unload, VMs: %ld attached, %ld not\n",
		       times, refused, vms->vms[1], vms->vms[0]);
	TEST_ASSERT(vms->vms[1] >= times / 4 && vms->vms[0] >= times / 8 && refused > 0,
		    "not what this is to test");
}

static void come_and_go(long times)
{
	int second = xfd_cpu(1) < 0 ? 0 : 1;
	struct load old = { .cpu = xfd_cpu(0) }, vms = { .cpu = xfd_cpu(second) };
	struct control *c;
	struct kvm_vm *vm;
	long refused;

	vm = vm_create_with_one_vcpu(&old.vcpu, guest_all_states);
	c = xfd_guest_ptr(vm, control);
	xfd_vm_expect(vm, XFD_UNATTACHED);
	start(&old, old_vm_fn);
	while (!READ_ONCE(c->spinning))
		usleep(1000);
	start(&vms, short_vms_fn);

	refused = load_and_unload(&vms, times);

	WRITE_ONCE(vms.stop, true);
	WRITE_ONCE(c->stop, 1);
	pthread_join(vms.thread, NULL);
	pthread_join(old.thread, NULL);
	ksft_print_msg("the older VM made %lu rounds\n", c->rounds);
	kvm_vm_free(vm);
	report_load(&vms, refused, times);
}

TEST_F_TIMEOUT(lifetime, module_comes_and_goes, TIMEOUT)
{
	struct memory before;

	/* Whatever is allocated once, is now. */
	come_and_go(4 * nr_strategies);
	memory_read(&before);
	come_and_go(cycles);
	assert_memory(&before, cycles);
}

TEST_F_TIMEOUT(lifetime, unload_races_with_destruction, TIMEOUT)
{
	struct load vms = { .cpu = xfd_cpu(0) };
	struct memory before;
	long refused;

	load("lazy");
	xfd_strategy_unload();
	memory_read(&before);
	start(&vms, dying_vms_fn);
	refused = load_and_unload(&vms, cycles);
	WRITE_ONCE(vms.stop, true);
	pthread_join(vms.thread, NULL);
	report_load(&vms, refused, cycles);
	assert_memory(&before, cycles);
}

enum { MODULE, KVM_INTEL, CYCLES };

static struct xfd_option options[] = {
	[MODULE] = { "module", "PATH", "default: " XFD_MODULE_PATH },
	[KVM_INTEL] = { "kvm-intel", "PATH", "to be loaded again (default: of the same place)" },
	[CYCLES] = { "cycles", "N", "how often the module comes and goes (default: 50)" },
	{}
};

static void add_cycles(struct __fixture_metadata *f, struct __fixture_variant_metadata *v,
		       struct __test_metadata *t, void *arg)
{
	t->timeout = TIMEOUT + cycles;
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	if (options[MODULE].value)
		module = options[MODULE].value;
	if (options[KVM_INTEL].value)
		kvm_intel = options[KVM_INTEL].value;
	if (options[CYCLES].value)
		cycles = atoi_positive("--cycles", options[CYCLES].value);

	xfd_require_amx();
	nr_strategies = xfd_strategies(module, strategies);
	xfd_visit_tests(add_cycles, NULL);
	return xfd_run_tests(argc, argv);
}
