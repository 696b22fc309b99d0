// SPDX-License-Identifier: GPL-2.0
/*
 * What a VMM sees and sets of a vCPU's XFD, XFD_ERR and tiles: KVM_GET_XSAVE2,
 * KVM_SET_XSAVE, KVM_{G,S}ET_MSRS and KVM_SET_CPUID2 in the orders that VMMs have
 * them, KVM_{G,S}ET_ONE_REG, images that KVM must refuse, and KVM_CAP_X86_XFD_XSTATE.
 *
 * lib/model.h has the rules.  Without the capability the images are the same, byte
 * for byte where it matters, whatever the kernel and whether the VM is attached:
 * the same assertions pass on stock, so that images are interchangeable with
 * stock's in both directions.
 *
 *	vcpu.<state>.*		a vCPU in each state
 *	vcpu.<state>_xstate.*	the same, with the capability, which only attached VMs have
 *	vm.*			the others
 */
#include <errno.h>

#include "lib/harness.h"
#include "lib/xfd.h"

/* Seconds of the machine's own clock. */
#define TIMEOUT		60

static const struct xfd_model states[XFD_NR_STATES] = {
	[XFD_ARMED]   = { .xfd = XFD_TILEDATA, .tilecfg = 1 },
	[XFD_LIVE]    = { .tiles = 1, .tilecfg = 1 },
	[XFD_DORMANT] = { .xfd = XFD_TILEDATA, .tiles = 1, .tilecfg = 1 },
	[XFD_PENDING] = { .xfd = XFD_TILEDATA, .xfd_err = XFD_TILEDATA, .tilecfg = 1 },
};

/* The state that the guest enters, and from then on the one that it must find. */
static struct xfd_model guest_model;

static void guest_code(void)
{
	xfd_guest_enter(&guest_model);
	for (;;) {
		GUEST_SYNC(0);
		xfd_guest_check(&guest_model);
		xfd_vmcall();
	}
}

struct machine {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct xfd_rules rules;
	/* What the vCPU has. */
	struct xfd_model model;
};

static void check_msrs(struct machine *m)
{
	xfd_vcpu_check_msrs(m->vcpu, m->model.xfd, m->model.xfd_err);
}

/* The guest runs once, and so checks the state that it finds. */
static void run(struct machine *m)
{
	*(struct xfd_model *)xfd_guest_ptr(m->vm, guest_model) = m->model;
	TEST_ASSERT_EQ(xfd_vcpu_run(m->vcpu), 0);
	xfd_model_exit(&m->model, &m->rules);
	check_msrs(m);
}

static void create(struct machine *m, enum xfd_state state, bool xstate)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(&m->vcpu, guest_code);

	m->vm = vm;
	m->rules.attached = xfd_expect == XFD_ATTACHED;
	m->rules.xstate = xstate;
	if (xstate)
		vm_enable_cap(vm, KVM_CAP_X86_XFD_XSTATE, 0);
	xfd_patterns_fill(vm);

	m->model = states[state];
	run(m);
}

static struct kvm_xsave *get_xsave(struct machine *m)
{
	struct kvm_xsave *image = xfd_image_get(m->vcpu);

	xfd_image_check(image, xfd_model_get_xsave(&m->model, &m->rules), m->model.tilecfg);
	return image;
}

/* @tiles are those in the image. */
static void set_xsave(struct machine *m, struct kvm_xsave *image, u64 tiles)
{
	vcpu_xsave_set(m->vcpu, image);
	xfd_model_set_xsave(&m->model, &m->rules, tiles, 1);
}

static void set_msrs(struct machine *m, const struct xfd_model *s)
{
	vcpu_set_msr(m->vcpu, MSR_IA32_XFD, s->xfd);
	vcpu_set_msr(m->vcpu, MSR_IA32_XFD_ERR, s->xfd_err);
	xfd_model_set_xfd(&m->model, &m->rules, s->xfd);
	m->model.xfd_err = s->xfd_err;
}

/* A new VM with the same memory, whose vCPU has all of the old one's but XSAVE, XFD and XFD_ERR. */
static void recreate_without_vcpu(struct machine *m, struct kvm_x86_state **saved)
{
	*saved = vcpu_save_state(m->vcpu);
	kvm_vm_release(m->vm);
	kvm_vm_restart(m->vm);
	if (m->rules.xstate)
		vm_enable_cap(m->vm, KVM_CAP_X86_XFD_XSTATE, 0);
	m->model = (struct xfd_model){};
}

static void load_other_state(struct kvm_vcpu *vcpu, struct kvm_x86_state *saved)
{
	u32 i, kept = 0;

	for (i = 0; i < saved->msrs.nmsrs; i++) {
		if (saved->msrs.entries[i].index != MSR_IA32_XFD &&
		    saved->msrs.entries[i].index != MSR_IA32_XFD_ERR)
			saved->msrs.entries[kept++] = saved->msrs.entries[i];
	}
	TEST_ASSERT_EQ(saved->msrs.nmsrs - kept, 2u);
	saved->msrs.nmsrs = kept;

	vcpu_sregs_set(vcpu, &saved->sregs);
	vcpu_msrs_set(vcpu, &saved->msrs);
	vcpu_xcrs_set(vcpu, &saved->xcrs);
	vcpu_events_set(vcpu, &saved->events);
	vcpu_mp_state_set(vcpu, &saved->mp_state);
	vcpu_debugregs_set(vcpu, &saved->debugregs);
	vcpu_regs_set(vcpu, &saved->regs);
	kvm_x86_state_cleanup(saved);
}

static void recreate(struct machine *m)
{
	struct kvm_x86_state *saved;

	recreate_without_vcpu(m, &saved);
	m->vcpu = vm_vcpu_recreate(m->vm, 0);
	load_other_state(m->vcpu, saved);
}

/*
 * A vCPU in each of the states, in a VM without the capability and with it.
 */
FIXTURE(vcpu) {
};

FIXTURE_VARIANT(vcpu) {
	enum xfd_state state;
	bool xstate;
};

FIXTURE_VARIANT_ADD(vcpu, armed) { XFD_ARMED, false };
FIXTURE_VARIANT_ADD(vcpu, live) { XFD_LIVE, false };
FIXTURE_VARIANT_ADD(vcpu, dormant) { XFD_DORMANT, false };
FIXTURE_VARIANT_ADD(vcpu, pending) { XFD_PENDING, false };
FIXTURE_VARIANT_ADD(vcpu, armed_xstate) { XFD_ARMED, true };
FIXTURE_VARIANT_ADD(vcpu, live_xstate) { XFD_LIVE, true };
FIXTURE_VARIANT_ADD(vcpu, dormant_xstate) { XFD_DORMANT, true };
FIXTURE_VARIANT_ADD(vcpu, pending_xstate) { XFD_PENDING, true };

FIXTURE_SETUP(vcpu)
{
}

FIXTURE_TEARDOWN(vcpu)
{
}

/*
 * Save a vCPU that is in one of the states, and restore it.
 */
enum order { MSRS_FIRST, XSAVE_FIRST };
enum target { SAME_VCPU, NEW_VM };
enum image {
	/* As KVM_GET_XSAVE2 returns it. */
	OWN,
	/* With other tiles put into it, which where XFD[18]=1 only the capability allows for. */
	FOREIGN,
};

static void set(struct machine *m, enum order which, enum xfd_state state,
		struct kvm_xsave *image, u64 tiles)
{
	if (which == MSRS_FIRST)
		set_msrs(m, &states[state]);
	set_xsave(m, image, tiles);
	if (which == XSAVE_FIRST)
		set_msrs(m, &states[state]);
	check_msrs(m);
	free(get_xsave(m));
}

static void restore(enum image kind, enum target where, enum order which,
		    enum xfd_state state, bool xstate)
{
	struct kvm_xsave *image;
	struct machine m;
	u64 tiles;

	create(&m, state, xstate);
	run(&m);
	tiles = xfd_model_get_xsave(&m.model, &m.rules);
	image = get_xsave(&m);
	if (kind == FOREIGN) {
		tiles = 2;
		xfd_image_put_tiles(image, tiles, 1);
	}
	if (where == NEW_VM)
		recreate(&m);

	set(&m, which, state, image, tiles);
	run(&m);
	run(&m);
	/* Once more, and once is not enough. */
	set(&m, which, state, image, tiles);
	set(&m, which, state, image, tiles);
	run(&m);

	free(image);
	kvm_vm_free(m.vm);
}

TEST_F_TIMEOUT(vcpu, restore_own_same_vcpu_msrs_first, TIMEOUT)
{
	restore(OWN, SAME_VCPU, MSRS_FIRST, variant->state, variant->xstate);
}

TEST_F_TIMEOUT(vcpu, restore_own_same_vcpu_xsave_first, TIMEOUT)
{
	restore(OWN, SAME_VCPU, XSAVE_FIRST, variant->state, variant->xstate);
}

TEST_F_TIMEOUT(vcpu, restore_own_new_vm_msrs_first, TIMEOUT)
{
	restore(OWN, NEW_VM, MSRS_FIRST, variant->state, variant->xstate);
}

TEST_F_TIMEOUT(vcpu, restore_own_new_vm_xsave_first, TIMEOUT)
{
	restore(OWN, NEW_VM, XSAVE_FIRST, variant->state, variant->xstate);
}

TEST_F_TIMEOUT(vcpu, restore_foreign_same_vcpu_msrs_first, TIMEOUT)
{
	restore(FOREIGN, SAME_VCPU, MSRS_FIRST, variant->state, variant->xstate);
}

TEST_F_TIMEOUT(vcpu, restore_foreign_same_vcpu_xsave_first, TIMEOUT)
{
	restore(FOREIGN, SAME_VCPU, XSAVE_FIRST, variant->state, variant->xstate);
}

TEST_F_TIMEOUT(vcpu, restore_foreign_new_vm_msrs_first, TIMEOUT)
{
	restore(FOREIGN, NEW_VM, MSRS_FIRST, variant->state, variant->xstate);
}

TEST_F_TIMEOUT(vcpu, restore_foreign_new_vm_xsave_first, TIMEOUT)
{
	if (xfd_expect == XFD_STOCK && xfd_state_xfd(variant->state))
		SKIP(return, "KVM_SET_MSRS over tiles in use: see xfd_hole_set_msrs");
	restore(FOREIGN, NEW_VM, XSAVE_FIRST, variant->state, variant->xstate);
}

/*
 * The other ways to both MSRs.  KVM loads a guest's registers outside of KVM_RUN for
 * an ioctl that has an MSR which is in XSAVE state, as those of CET are.
 */
enum route { ONE_REG, CET_FIRST, CET_BETWEEN, CET_LAST, NR_WAYS };

/* A linear address that a shadow stack can have. */
#define SSP		0x1230ull

static void msrs_by(struct machine *m, enum route way, struct xfd_model *s, bool set)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entries[3];
	} msrs = { .header.nmsrs = 3 };
	int cet = way - CET_FIRST, xfd = cet == 0, xfd_err = cet == 2 ? 1 : 2;

	msrs.entries[cet] = (struct kvm_msr_entry){ .index = MSR_IA32_PL0_SSP, .data = SSP };
	msrs.entries[xfd] = (struct kvm_msr_entry){ .index = MSR_IA32_XFD, .data = s->xfd };
	msrs.entries[xfd_err] = (struct kvm_msr_entry){ .index = MSR_IA32_XFD_ERR,
							.data = s->xfd_err };
	if (set) {
		vcpu_msrs_set(m->vcpu, &msrs.header);
		return;
	}
	vcpu_msrs_get(m->vcpu, &msrs.header);
	TEST_ASSERT_EQ(msrs.entries[cet].data, SSP);
	s->xfd = msrs.entries[xfd].data;
	s->xfd_err = msrs.entries[xfd_err].data;
}

static void set_msrs_by(struct machine *m, enum route way, const struct xfd_model *s)
{
	struct xfd_model values = *s;

	if (way == ONE_REG) {
		vcpu_set_reg(m->vcpu, KVM_X86_REG_MSR(MSR_IA32_XFD), s->xfd);
		vcpu_set_reg(m->vcpu, KVM_X86_REG_MSR(MSR_IA32_XFD_ERR), s->xfd_err);
	} else {
		msrs_by(m, way, &values, true);
	}
	xfd_model_set_xfd(&m->model, &m->rules, s->xfd);
	m->model.xfd_err = s->xfd_err;
}

static void check_msrs_by(struct machine *m, enum route way)
{
	struct xfd_model values;

	if (way == ONE_REG) {
		values.xfd = vcpu_get_reg(m->vcpu, KVM_X86_REG_MSR(MSR_IA32_XFD));
		values.xfd_err = vcpu_get_reg(m->vcpu, KVM_X86_REG_MSR(MSR_IA32_XFD_ERR));
	} else {
		msrs_by(m, way, &values, false);
	}
	TEST_ASSERT_EQ(values.xfd, m->model.xfd);
	TEST_ASSERT_EQ(values.xfd_err, m->model.xfd_err);
}

/* In each of the states, all that both MSRs can be. */
static void set_by(enum route way, enum xfd_state state, bool xstate)
{
	struct machine m;
	u64 i;

	for (i = 0; i < 4; i++) {
		struct xfd_model values = {
			.xfd = i & 1 ? XFD_TILEDATA : 0,
			.xfd_err = i & 2 ? XFD_TILEDATA : 0,
		};

		create(&m, state, xstate);
		/* Where the registers are in memory that kills stock: see xfd_hole_set_msrs. */
		if (xfd_expect == XFD_STOCK && m.model.tiles && values.xfd && way != CET_FIRST) {
			kvm_vm_free(m.vm);
			continue;
		}
		set_msrs_by(&m, way, &values);
		check_msrs_by(&m, way);
		check_msrs(&m);
		free(get_xsave(&m));
		run(&m);
		check_msrs_by(&m, way);
		run(&m);
		kvm_vm_free(m.vm);
	}
}

TEST_F_TIMEOUT(vcpu, one_reg, TIMEOUT)
{
	set_by(ONE_REG, variant->state, variant->xstate);
}

TEST_F_TIMEOUT(vcpu, msrs_with_cet, TIMEOUT)
{
	enum route way;

	for (way = CET_FIRST; way < NR_WAYS; way++)
		set_by(way, variant->state, variant->xstate);
}

/*
 * KVM_SET_XSAVE that fails leaves the vCPU as it was.
 */

/* What MXCSR has: SDM vol. 1, "Guidelines for Writing to the MXCSR Register". */
static u32 mxcsr_mask(void)
{
	u8 area[512] __aligned(16);
	u32 mask;

	memset(area, 0, sizeof(area));
	asm volatile("fxsave %0" : "+m"(area));
	mask = *(u32 *)&area[28];
	return mask ?: 0xffbf;
}

static void fail(struct machine *m, struct kvm_xsave *image, const char *what, int bit)
{
	u32 size = xfd_image_size(m->vm);
	struct kvm_xsave *before = get_xsave(m), *after;

	TEST_ASSERT(__vcpu_ioctl(m->vcpu, KVM_SET_XSAVE, image) == -1 && errno == EINVAL,
		    "bit %d of %s: KVM_SET_XSAVE succeeded, or errno %d", bit, what, errno);
	after = get_xsave(m);
	TEST_ASSERT(xfd_same(before, after, size),
		    "bit %d of %s: the vCPU's state is another than before", bit, what);
	free(before);
	free(after);
	check_msrs(m);
	run(m);
}

static void fail_at_bits(struct machine *m, struct kvm_xsave *image, void *field, int bits,
			 int step, u64 valid, const char *what)
{
	u8 *bytes = field;
	int i;

	for (i = 0; i < bits; i += step) {
		if (i < 64 && valid & BIT_ULL(i))
			continue;
		bytes[i / 8] ^= BIT(i % 8);
		fail(m, image, what, i);
		bytes[i / 8] ^= BIT(i % 8);
	}
}

TEST_F_TIMEOUT(vcpu, failed_set_xsave, TIMEOUT)
{
	static const u64 needs_mxcsr[] = {
		XFEATURE_MASK_FP, XFEATURE_MASK_SSE, XFEATURE_MASK_YMM,
	};
	struct xstate_header *header;
	struct kvm_xsave *image;
	struct machine m;
	u64 valid;
	u32 size;
	u8 *end;
	int i;

	create(&m, variant->state, variant->xstate);
	run(&m);
	size = xfd_image_size(m.vm);

	/* Right before an inaccessible page: an image may be cut short. */
	end = mmap(NULL, 8 * getpagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	TEST_ASSERT(end != MAP_FAILED, "out of memory");
	end += 7 * getpagesize();
	TEST_ASSERT(!munmap(end, getpagesize()), "munmap() failed");
	image = (struct kvm_xsave *)(end - size);
	vcpu_xsave2_get(m.vcpu, image);

	/* Other tiles than the vCPU's, if any. */
	xfd_image_put_tiles(image, 2, 1);
	header = xfd_image_header(image);
	valid = header->xstate_bv | kvm_cpu_supported_xcr0();

	fail_at_bits(&m, image, &header->xstate_bv, 64, 1, valid, "XSTATE_BV");
	fail_at_bits(&m, image, &header->xcomp_bv, 64, 1, 0, "XCOMP_BV");
	fail_at_bits(&m, image, header->reserved, sizeof(header->reserved) * 8, 7, 0,
		     "the header's reserved bytes");

	valid = header->xstate_bv;
	for (i = 0; i < ARRAY_SIZE(needs_mxcsr); i++) {
		header->xstate_bv = needs_mxcsr[i] | XFEATURE_MASK_XTILE;
		fail_at_bits(&m, image, xfd_image_mxcsr(image), 32, 1, mxcsr_mask(), "MXCSR");
	}
	header->xstate_bv = valid;

	for (i = 1; i <= size; i += size / 8) {
		struct kvm_xsave *cut = (struct kvm_xsave *)(end - size + i);

		TEST_ASSERT(__vcpu_ioctl(m.vcpu, KVM_SET_XSAVE, cut) == -1 && errno == EFAULT,
			    "KVM_SET_XSAVE of %u bytes: errno %d", size - i, errno);
		run(&m);
	}

	/* And what was changed back is accepted. */
	set_xsave(&m, image, 2);
	run(&m);
	kvm_vm_free(m.vm);
}

/*
 * KVM_CAP_X86_XFD_XSTATE.
 */
XFD_FIXTURE_EMPTY(vm);

static int enable_cap(struct kvm_vm *vm, u32 flags, u64 arg)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_XFD_XSTATE,
		.flags = flags,
		.args = { arg },
	};

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &cap) ? errno : 0;
}

TEST_F_TIMEOUT(vm, capability, TIMEOUT)
{
	bool attached = xfd_expect == XFD_ATTACHED;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_XFD_XSTATE };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *other;
	struct machine m;
	int fd;

	fd = open_kvm_dev_path_or_exit();
	TEST_ASSERT_EQ(ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_XFD_XSTATE), 0);
	close(fd);

	create(&m, XFD_DORMANT, false);
	TEST_ASSERT_EQ(vm_check_cap(m.vm, KVM_CAP_X86_XFD_XSTATE), attached);

	/* Refused, which changes nothing. */
	TEST_ASSERT_EQ(enable_cap(m.vm, 0, 1), EINVAL);
	TEST_ASSERT_EQ(enable_cap(m.vm, 0, ~0ull), EINVAL);
	TEST_ASSERT_EQ(enable_cap(m.vm, 1, 0), EINVAL);
	TEST_ASSERT(__vcpu_ioctl(m.vcpu, KVM_ENABLE_CAP, &cap) == -1 && errno == EINVAL,
		    "KVM_ENABLE_CAP of a vCPU: errno %d", errno);
	free(get_xsave(&m));
	run(&m);
	if (!attached) {
		TEST_ASSERT_EQ(enable_cap(m.vm, 0, 0), EINVAL);
		free(get_xsave(&m));
		kvm_vm_free(m.vm);
		return;
	}

	/* Enabled, at any time, more than once; for this VM. */
	other = vm_create_with_one_vcpu(&vcpu, guest_code);
	TEST_ASSERT_EQ(enable_cap(m.vm, 0, 0), 0);
	m.rules.xstate = true;
	TEST_ASSERT_EQ(xfd_model_get_xsave(&m.model, &m.rules), 1);
	free(get_xsave(&m));
	run(&m);
	TEST_ASSERT_EQ(enable_cap(m.vm, 0, 0), 0);
	TEST_ASSERT_EQ(vm_check_cap(m.vm, KVM_CAP_X86_XFD_XSTATE), 1);
	TEST_ASSERT_EQ(enable_cap(m.vm, 0, 1), EINVAL);
	free(get_xsave(&m));
	kvm_vm_free(m.vm);

	m.vm = other;
	m.vcpu = vcpu;
	m.rules.xstate = false;
	m.model = states[XFD_DORMANT];
	xfd_patterns_fill(m.vm);
	run(&m);
	free(get_xsave(&m));
	kvm_vm_free(m.vm);
}

/* Only ordinary VMs are attached: firmware, or nobody, sees the registers of others. */
TEST_F_TIMEOUT(vm, capability_of_protected_vm, TIMEOUT)
{
	struct kvm_vm *vm;

	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM)))
		SKIP(return, "no KVM_X86_SW_PROTECTED_VM");
	vm = vm_create_barebones_type(KVM_X86_SW_PROTECTED_VM);
	TEST_ASSERT_EQ(vm_check_cap(vm, KVM_CAP_X86_XFD_XSTATE), 0);
	TEST_ASSERT_EQ(enable_cap(vm, 0, 0), EINVAL);
	kvm_vm_free(vm);
}

/*
 * Bits that CPUID.(0DH,i).ECX[2] does not enumerate for the guest.
 */
static void guest_masks(u64 mask)
{
	int i, round;

	/* With the first value other than 0, accesses may cease to exit. */
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 64; i++) {
			if (mask & BIT_ULL(i))
				continue;
			GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, BIT_ULL(i)), GP_VECTOR);
			GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, BIT_ULL(i) | mask), GP_VECTOR);
			GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD_ERR, BIT_ULL(i)), GP_VECTOR);
			GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD_ERR, BIT_ULL(i) | mask),
					GP_VECTOR);
		}
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD), round ? mask : 0);
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_XFD_ERR), round ? mask : 0);
		GUEST_SYNC(0);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, mask), 0);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD_ERR, mask), 0);
	}
	GUEST_DONE();
}

TEST_F_TIMEOUT(vm, masks, TIMEOUT)
{
	u64 mask = xfd_cpuid_mask();
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i, round;

	vm = vm_create_with_one_vcpu(&vcpu, guest_masks);
	vcpu_args_set(vcpu, 1, mask);
	for (round = 0; round < 2; round++) {
		TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
		for (i = 0; i < 64; i++) {
			if (mask & BIT_ULL(i))
				continue;
			TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_IA32_XFD, BIT_ULL(i)), 0);
			TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_IA32_XFD, BIT_ULL(i) | mask), 0);
			TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, BIT_ULL(i)), 0);
			TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, BIT_ULL(i) | mask), 0);
		}
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD), round ? mask : 0);
		TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR), round ? mask : 0);
	}
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

/*
 * A guest whose CPUID has no XFD has no such MSRs.
 */
static void guest_without_xfd(void)
{
	u64 value;
	int round;

	for (round = 0; round < 2; round++) {
		GUEST_ASSERT_EQ(rdmsr_safe(MSR_IA32_XFD, &value), GP_VECTOR);
		GUEST_ASSERT_EQ(rdmsr_safe(MSR_IA32_XFD_ERR, &value), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, 0), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD_ERR, 0), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD, XFD_TILEDATA), GP_VECTOR);
		GUEST_ASSERT_EQ(wrmsr_safe(MSR_IA32_XFD_ERR, XFD_TILEDATA), GP_VECTOR);
		GUEST_SYNC(0);
	}
	GUEST_DONE();
}

TEST_F_TIMEOUT(vm, no_xfd_in_cpuid, TIMEOUT)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_without_xfd);
	vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_XFD);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

/* Nor has it if userspace set them while it was to have XFD. */
static void take_xfd_away(u64 xfd)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = vm_create_with_one_vcpu(&vcpu, guest_without_xfd);
	vcpu_set_msr(vcpu, MSR_IA32_XFD, xfd);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, XFD_TILEDATA);
	vcpu_clear_cpuid_feature(vcpu, X86_FEATURE_XFD);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	/* Userspace has access as before. */
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD), xfd);
	TEST_ASSERT_EQ(vcpu_get_msr(vcpu, MSR_IA32_XFD_ERR), XFD_TILEDATA);
	vcpu_set_msr(vcpu, MSR_IA32_XFD, XFD_TILEDATA - xfd);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, 0);
	vcpu_set_msr(vcpu, MSR_IA32_XFD_ERR, XFD_TILEDATA);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), 0);
	TEST_ASSERT_EQ(xfd_vcpu_run(vcpu), XFD_GUEST_DONE);
	kvm_vm_free(vm);
}

#define STOCK_PASSES_THROUGH	"stock passes XFD through to this guest"

TEST_F_TIMEOUT(vm, xfd_taken_away_armed, TIMEOUT)
{
	if (xfd_expect == XFD_STOCK)
		SKIP(return, STOCK_PASSES_THROUGH);
	take_xfd_away(XFD_TILEDATA);
}

TEST_F_TIMEOUT(vm, xfd_taken_away_live, TIMEOUT)
{
	if (xfd_expect == XFD_STOCK)
		SKIP(return, STOCK_PASSES_THROUGH);
	take_xfd_away(0);
}

/*
 * Before KVM_SET_CPUID2 a vCPU has neither XFD nor tiles; and KVM_SET_CPUID2
 * once more, with the same, is of no consequence.
 */
static void before_cpuid(bool xstate)
{
	struct kvm_x86_state *saved;
	struct kvm_xsave *image;
	struct machine m;
	u64 tiles;

	create(&m, XFD_DORMANT, xstate);
	tiles = xfd_model_get_xsave(&m.model, &m.rules);
	image = get_xsave(&m);
	recreate_without_vcpu(&m, &saved);
	m.vcpu = __vm_vcpu_add(m.vm, 0);

	vcpu_set_msr(m.vcpu, MSR_IA32_XFD, 0);
	vcpu_set_msr(m.vcpu, MSR_IA32_XFD_ERR, 0);
	TEST_ASSERT_EQ(_vcpu_set_msr(m.vcpu, MSR_IA32_XFD, XFD_TILEDATA), 0);
	TEST_ASSERT_EQ(_vcpu_set_msr(m.vcpu, MSR_IA32_XFD_ERR, XFD_TILEDATA), 0);
	xfd_image_put_tiles(image, 2, 1);
	TEST_ASSERT(__vcpu_ioctl(m.vcpu, KVM_SET_XSAVE, image) == -1 && errno == EINVAL,
		    "KVM_SET_XSAVE took tiles for a vCPU without CPUID, or errno is %d", errno);
	xfd_image_put_tiles(image, tiles, 1);

	vcpu_init_cpuid(m.vcpu, kvm_get_supported_cpuid());
	set_msrs(&m, &states[XFD_PENDING]);
	vcpu_set_cpuid(m.vcpu);
	check_msrs(&m);
	set_xsave(&m, image, tiles);
	vcpu_set_cpuid(m.vcpu);
	check_msrs(&m);
	free(get_xsave(&m));

	load_other_state(m.vcpu, saved);
	vcpu_set_cpuid(m.vcpu);
	run(&m);
	free(image);
	kvm_vm_free(m.vm);
}

TEST_F_TIMEOUT(vm, before_cpuid, TIMEOUT)
{
	before_cpuid(false);
}

TEST_F_TIMEOUT(vm, before_cpuid_xstate, TIMEOUT)
{
	before_cpuid(true);
}

int main(int argc, char *argv[])
{
	argc = xfd_begin(argc, argv, NULL);
	xfd_require_amx();
	if (xfd_expect != XFD_ATTACHED) {
		xfd_leave_out_variant("armed_xstate");
		xfd_leave_out_variant("live_xstate");
		xfd_leave_out_variant("dormant_xstate");
		xfd_leave_out_variant("pending_xstate");
		xfd_leave_out("-T", "before_cpuid_xstate");
	}
	/* A kernel without shadow stacks has none of these MSRs. */
	if (!kvm_cpu_has(X86_FEATURE_SHSTK))
		xfd_leave_out("-T", "msrs_with_cet");
	return xfd_run_tests(argc, argv);
}
