// SPDX-License-Identifier: GPL-2.0
/*
 * KVM emulates a guest's write to XFD while another task's registers are in the
 * CPU: Linux 7.3.4 gives the CPU the guest's XFD, and that task runs with it.
 *
 * fpu_update_guest_xfd() writes the MSR if the guest's fpstate is in use, whether
 * or not its registers are loaded.  If the vCPU's thread was switched out before,
 * they are not.  If it is switched out again before it enters the guest, the task
 * that ran in between finds its registers still valid in the CPU, and returns to
 * user mode without a restore.  Then
 *
 *	amx_task	loses its tiles, as XSAVE takes them for disabled, if the guest
 *			has set XFD
 *	first_use	uses tiles without the #NM that would have told the kernel to
 *			save them, if the guest has cleared XFD
 *
 * Neither may lose them; and the guest finds what it wrote.  Where the guest sets
 * XFD it has tiles in memory, which XRSTOR must not find disabled: that is the
 * second trigger of CVE-2026-23005.
 *
 * This happens by force here.  The guest's WRMSR stands behind KVM's prefix for
 * forced emulation, at the beginning of a page that KVM must fetch it from.  That
 * page is missing, and so is the one that KVM writes the steal time to before it
 * enters the guest: the vCPU's thread sleeps for both, and the task in question
 * provides them by userfaultfd(2).
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "lib/harness.h"
#include "lib/xfd.h"

#include <linux/userfaultfd.h>
#include <asm/kvm_para.h>

/* Seconds of the machine's own clock. */
#define TIMEOUT		30
#define ROUNDS		4
#define PAGE		4096

/* UD2 and "kvm"; WRMSR and RET. */
static const u8 prefix[] = { 0x0f, 0x0b, 'k', 'v', 'm' };
static const u8 wrmsr_and_return[PAGE] = { 0x0f, 0x30, 0xc3 };

/* One after the other: the prefix at the end of the first, the rest on the second. */
static u8 code[2 * PAGE] __aligned(PAGE);
static u8 steal_time[PAGE] __aligned(PAGE);

static struct xfd_model before, after;

static void guest_code(void)
{
	for (;;) {
		/* The first value other than 0 makes the guest one that uses XFD. */
		wrmsr(MSR_IA32_XFD, XFD_TILEDATA);
		xfd_guest_enter(&before);
		GUEST_SYNC(0);
		asm volatile("call *%[fn]"
			     : : [fn]"r"(&code[PAGE - sizeof(prefix)]),
			     "a"((u32)after.xfd), "d"(0), "c"(MSR_IA32_XFD) : "memory", "cc");
		xfd_guest_check(&after);
		GUEST_SYNC(1);
	}
}

/* The task whose registers are in the CPU. */
struct bystander {
	/* It uses tiles before the write, else after it. */
	bool amx;
	int cpu;
	int uffd;
	void *code;
	void *steal_time;
	u64 bytes_lost;
	struct xfd_tiles tiles;
};

static void wait_for_fault(struct bystander *b, void *page)
{
	struct uffd_msg msg;

	TEST_ASSERT_EQ(read(b->uffd, &msg, sizeof(msg)), (ssize_t)sizeof(msg));
	TEST_ASSERT_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
	TEST_ASSERT_EQ(msg.arg.pagefault.address & -PAGE, (u64)page);
}

/* Wakes the vCPU's thread. */
static void provide(struct bystander *b, void *page, const void *content)
{
	struct uffdio_copy copy = { .dst = (u64)page, .src = (u64)content, .len = PAGE };

	TEST_ASSERT(!ioctl(b->uffd, UFFDIO_COPY, &copy), "UFFDIO_COPY, errno = %d", errno);
}

static void take_away(void *page)
{
	TEST_ASSERT(!madvise(page, PAGE, MADV_DONTNEED), "madvise(), errno = %d", errno);
}

static void *bystander_fn(void *arg)
{
	struct bystander *b = arg;

	pin_self_to_cpu(b->cpu);

	/* KVM is about to emulate the write. */
	wait_for_fault(b, b->code);
	if (b->amx)
		xfd_tiles_use(&b->tiles);
	take_away(b->steal_time);
	provide(b, b->code, wrmsr_and_return);

	/* KVM has done so, and is about to enter the guest. */
	wait_for_fault(b, b->steal_time);
	if (!b->amx)
		xfd_tiles_use(&b->tiles);
	provide(b, b->steal_time, steal_time);

	/* Let others have the CPU. */
	usleep(2000);
	b->bytes_lost = xfd_tiles_lost(&b->tiles);
	xfd_tilerelease();
	return NULL;
}

static void watch_pages(int uffd, void *pages[], int n)
{
	struct uffdio_api api = { .api = UFFD_API };
	int i;

	TEST_ASSERT(!ioctl(uffd, UFFDIO_API, &api), "UFFDIO_API, errno = %d", errno);
	for (i = 0; i < n; i++) {
		struct uffdio_register reg = {
			.range = { .start = (u64)pages[i], .len = PAGE },
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};

		TEST_ASSERT(!ioctl(uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER, errno = %d",
			    errno);
	}
}

FIXTURE(emulated_write) {
	int old_fep;
};

FIXTURE_VARIANT(emulated_write) {
	/* Whether the bystander uses tiles before the write. */
	bool amx;
};

FIXTURE_VARIANT_ADD(emulated_write, amx_task) { .amx = true };
FIXTURE_VARIANT_ADD(emulated_write, first_use) { .amx = false };

FIXTURE_SETUP(emulated_write)
{
	self->old_fep = xfd_fep_allow(1);
}

FIXTURE_TEARDOWN_PARENT(emulated_write)
{
	xfd_fep_allow(self->old_fep);
}

TEST_F_TIMEOUT(emulated_write, spares_bystander, TIMEOUT)
{
	const struct xfd_rules rules = { .attached = xfd_expect == XFD_ATTACHED };
	static struct bystander bystander;
	struct bystander *b = &bystander;
	struct xfd_model *model;
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	struct kvm_vm *vm;
	int round;

	b->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (b->uffd < 0)
		SKIP(return, "no userfaultfd(2) here");
	b->amx = variant->amx;
	b->cpu = xfd_cpu(0);
	xfd_tiles_fill(&b->tiles, 200);

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	xfd_patterns_fill(vm);
	/* The write arms what is in use, or disarms what is not. */
	model = xfd_guest_ptr(vm, before);
	*model = (struct xfd_model){ .xfd = b->amx ? 0 : XFD_TILEDATA, .tiles = b->amx,
				     .tilecfg = 1 };
	*(struct xfd_model *)xfd_guest_ptr(vm, after) = *model;
	model = xfd_guest_ptr(vm, after);
	xfd_model_set_xfd(model, &rules, XFD_TILEDATA - model->xfd);

	memcpy(xfd_guest_ptr(vm, code[PAGE - sizeof(prefix)]), prefix, sizeof(prefix));
	b->code = xfd_guest_ptr(vm, code[PAGE]);
	b->steal_time = xfd_guest_ptr(vm, steal_time);
	vcpu_set_msr(vcpu, MSR_KVM_STEAL_TIME,
		     addr_gva2gpa(vm, (gva_t)steal_time) | KVM_MSR_ENABLED);
	watch_pages(b->uffd, (void *[]){ b->code, b->steal_time }, 2);
	pin_self_to_cpu(b->cpu);
	for (round = 0; round < ROUNDS; round++) {
		TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
		take_away(b->code);
		b->bytes_lost = XFD_TILES_BYTES;
		TEST_ASSERT(!pthread_create(&thread, NULL, bystander_fn, b), "pthread_create()");
		TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 1);
		pthread_join(thread, NULL);
		TEST_ASSERT(!b->bytes_lost, "a task on the CPU lost %lu bytes of its tiles",
			    b->bytes_lost);
	}
	close(b->uffd);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	const char *why;

	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	__TEST_REQUIRE(kvm_check_cap(KVM_CAP_STEAL_TIME),
		       "KVM does not tell guests their steal time");
	why = xfd_fep_missing();
	__TEST_REQUIRE(!why, "%s", why);
	return xfd_run_tests(argc, argv);
}
