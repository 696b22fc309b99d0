// SPDX-License-Identifier: GPL-2.0
/*
 * A thread dies of an oops in KVM_RUN, with its guest's XFD, XFD_ERR and tiles in
 * the CPU, and its preempt notifiers registered.  On a kernel that survives an oops
 * nothing of its VM is used after it was freed, other VMs run on, and what cannot be
 * freed is leaked, and said.
 *
 *	dead.<kind>.alone	the thread closes the VM itself, on its way out
 *	dead.<kind>.zombie	another process closes it, when the thread has died
 *	dead.<kind>.reaped	likewise, when nothing is left of the thread
 *	dead.<kind>.thread	another thread of the process does
 *
 * where the VM is of the <kind> "armed", "live", "dormant" or "pending".  The kernel is
 * to find what is used after it was freed: best one with KASAN.  kmod/xfd_oops.c makes
 * the oops.
 */
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		60
/* Exits and preemptions of what runs afterwards. */
#define ROUNDS		20

#define TID		"/sys/module/xfd_oops/parameters/tid"
#define PANIC_ON_OOPS	"/proc/sys/kernel/panic_on_oops"

/* What KVM says. */
static const char leaked[] = "a thread died in an ioctl";

static struct xfd_tiles tiles;
static u64 guest_state;

static void guest_code(void)
{
	xfd_tiles_fill(&tiles, 1);
	/* What makes KVM pass the MSR through. */
	wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
	xfd_state_enter(&tiles, guest_state);
	for (;;) {
		GUEST_SYNC(0);
		xfd_vmcall();
		xfd_state_check(&tiles, guest_state);
	}
}

static struct kvm_vm *create_vm(struct kvm_vcpu **vcpu, enum xfd_state state)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, guest_code);

	xfd_vm_expect(vm, xfd_expect);
	*(u64 *)xfd_guest_ptr(vm, guest_state) = state;
	TEST_ASSERT_EQ(xfd_vcpu_run(*vcpu), 0);
	return vm;
}

/*
 * The calling thread dies.  What is mapped of the vCPU would keep its file, as KVM has
 * a thread of its own in the process, which does not die with this one.
 */
static void die_in_kvm_run(struct kvm_vcpu *vcpu)
{
	int size = ioctl(vcpu->vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);

	TEST_ASSERT(size > 0 && !munmap(vcpu->run, size), "munmap() failed, errno = %d", errno);
	xfd_write_long(TID, syscall(SYS_gettid));
	ioctl(vcpu->fd, KVM_RUN, NULL);
	TEST_FAIL("KVM_RUN returned: there was no oops");
}

/* What would stumble upon something that was freed: task switches, and other vCPUs. */
static void go_on(int cpu)
{
	struct xfd_neighbour neighbour = { .cpu = cpu, .amx = true, .seed = 200 };
	struct kvm_vcpu *vcpu;
	enum xfd_state state;
	struct kvm_vm *vm;
	int i;

	xfd_neighbour_start(&neighbour);
	for (state = 0; state < XFD_NR_STATES; state++) {
		vm = create_vm(&vcpu, state);
		for (i = 0; i < ROUNDS; i++) {
			TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
			usleep(1000);
		}
		kvm_vm_free(vm);
	}
	xfd_neighbour_stop(&neighbour);
}

FIXTURE(dead) {
	int cpu;
	int kmsg;
	/* VMs that hold the module. */
	long refs;
};

XFD_FIXTURE_STATES(dead);

FIXTURE_SETUP(dead)
{
	self->cpu = xfd_cpu(0);
	pin_self_to_cpu(self->cpu);
	self->kmsg = xfd_kmsg_open();
	self->refs = xfd_module_refs(XFD_MODULE);
	xfd_write_long(PANIC_ON_OOPS, 0);
}

FIXTURE_TEARDOWN_PARENT(dead)
{
}

/* The VM is leaked, and with it the module is there to stay; @said if KVM knows. */
static void check_leaked(struct _test_data_dead *self, bool said)
{
	go_on(self->cpu);
	TEST_ASSERT_EQ(xfd_kmsg_has(self->kmsg, XFD_KMSG_ERR, leaked), said);
	if (xfd_expect == XFD_ATTACHED)
		TEST_ASSERT_EQ(xfd_module_refs(XFD_MODULE), self->refs + 1);
}

static void wait_for_death(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	while (state != 'Z') {
		usleep(1000);
		f = fopen(path, "r");
		TEST_ASSERT(f, "%s is gone", path);
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		fclose(f);
	}
}

/* Nothing of it is left. */
static void reap(pid_t pid)
{
	int status;

	/* KVM's thread. */
	kill(pid, SIGKILL);
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	TEST_ASSERT(WIFSIGNALED(status), "not killed: status %x", status);
}

TEST_F_TIMEOUT(dead, alone, TIMEOUT)
{
	struct kvm_vcpu *vcpu;
	pid_t pid = fork();

	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		create_vm(&vcpu, variant->state);
		die_in_kvm_run(vcpu);
	}
	wait_for_death(pid);
	check_leaked(self, true);
	reap(pid);
	go_on(self->cpu);
}

/* What a process tells of itself to the one that takes its files. */
struct files {
	int vm;
	int vcpu;
};

/* Another process closes the VM: ours. */
static void close_for_dead(struct _test_data_dead *self, enum xfd_state state, bool reaped)
{
	int to_us[2], to_it[2], pidfd;
	struct kvm_vcpu *vcpu;
	struct files files;
	struct kvm_vm *vm;
	pid_t pid;
	char go;

	TEST_ASSERT(!pipe(to_us) && !pipe(to_it), "pipe() failed, errno = %d", errno);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		vm = create_vm(&vcpu, state);
		files = (struct files){ .vm = vm->fd, .vcpu = vcpu->fd };
		TEST_ASSERT(write(to_us[1], &files, sizeof(files)) == sizeof(files) &&
			    read(to_it[0], &go, 1) == 1, "the other process is gone");
		die_in_kvm_run(vcpu);
	}
	TEST_ASSERT_EQ(read(to_us[0], &files, sizeof(files)), (ssize_t)sizeof(files));
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	files.vm = syscall(SYS_pidfd_getfd, pidfd, files.vm, 0);
	files.vcpu = syscall(SYS_pidfd_getfd, pidfd, files.vcpu, 0);
	TEST_ASSERT(files.vm >= 0 && files.vcpu >= 0, "pidfd_getfd() failed, errno = %d", errno);
	TEST_ASSERT_EQ(write(to_it[1], "", 1), 1);
	wait_for_death(pid);
	if (reaped) {
		reap(pid);
		/* RCU frees what remained. */
		usleep(100000);
	}
	close(files.vcpu);
	close(files.vm);
	check_leaked(self, true);
	if (!reaped)
		reap(pid);
}

TEST_F_TIMEOUT(dead, zombie, TIMEOUT)
{
	close_for_dead(self, variant->state, false);
}

TEST_F_TIMEOUT(dead, reaped, TIMEOUT)
{
	close_for_dead(self, variant->state, true);
}

static void *dying_thread(void *vcpu)
{
	die_in_kvm_run(vcpu);
	return NULL;
}

/* The thread keeps a reference to the file, and so KVM does not hear of it. */
TEST_F_TIMEOUT(dead, thread, TIMEOUT)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	pthread_t thread;

	vm = create_vm(&vcpu, variant->state);
	TEST_ASSERT(!pthread_create(&thread, NULL, dying_thread, vcpu), "pthread_create()");
	pthread_join(thread, NULL);
	close(vcpu->fd);
	close(vm->fd);
	check_leaked(self, false);
}

enum { OOPS };

static struct xfd_option options[] = {
	[OOPS] = { "oops", "PATH", "xfd_oops.ko, to be loaded" },
	{}
};

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, options);
	xfd_require_amx();
	xfd_taints = XFD_TAINT_DIE;
	if (options[OOPS].value)
		xfd_test_module_load(options[OOPS].value);
	return xfd_run_tests(argc, argv);
}
