// SPDX-License-Identifier: GPL-2.0
/*
 * What KVM does around the FPU core: its own lines, taken from the tree where a
 * comment says "take", in the order in which KVM runs them. The rest of KVM does
 * not touch what is explored.
 *
 *	take FILE: NAME()		that function
 *	take FILE: FROM ... TO		the lines between two that begin so, inclusive
 */
#include "kernel.h"
#include "kvm.h"
#include "world.h"
#include "xfd.h"

void *get_xsave_addr_user(struct xregs_state *xsave, int xfeature_nr);

#define X86_CR0_TS		8
#define MSR_TYPE_R		1
#define MSR_TYPE_W		2
#define MSR_TYPE_RW		3
#define NM_VECTOR		7
#define MAX_NR_LOADSTORE_MSRS	8

struct vmx_msr_entry {
	u32 index;
	u32 reserved;
	u64 value;
};

struct vmx_msrs {
	unsigned int nr;
	struct vmx_msr_entry val[MAX_NR_LOADSTORE_MSRS];
};

struct vcpu_vmx {
	struct kvm_vcpu vcpu;
	struct {
		struct vmx_msrs guest;
		struct vmx_msrs host;
	} msr_autoload;
	struct vmx_msrs msr_autostore;
	struct {
		bool dirty_vmcs12;
	} nested;
	/* The VMCS: what exits. */
	u32 exception_bitmap;
	u32 xfd_intercepts;
	u32 xfd_err_intercepts;
};

struct msr_data {
	bool host_initiated;
	u32 index;
	u64 data;
};

static struct kvm vms[NR_VCPUS];
static struct vcpu_vmx vcpus[NR_VCPUS] in_arena;

struct kvm_x86_ops kvm_x86_ops;
struct kvm_caps kvm_caps;
struct kvm_host_values kvm_host;

static struct vcpu_vmx *to_vmx(struct kvm_vcpu *vcpu)
{
	return container_of(vcpu, struct vcpu_vmx, vcpu);
}

static void vmx_set_intercept_for_msr(struct kvm_vcpu *vcpu, u32 msr, int type, bool set)
{
	u32 *intercepts = msr == MSR_IA32_XFD ? &to_vmx(vcpu)->xfd_intercepts :
						&to_vmx(vcpu)->xfd_err_intercepts;

	*intercepts = set ? *intercepts | type : *intercepts & ~type;
}

#define VM_EXIT_MSR_STORE_COUNT	0
#define VM_EXIT_MSR_LOAD_COUNT	0
#define VM_ENTRY_MSR_LOAD_COUNT	0
#define vmcs_write32(field, value)	do { } while (0)
#define vmcs_set_bits(field, bits)	((void)(to_vmx(vcpu)->exception_bitmap |= (bits)))

static int vmx_find_loadstore_msr_slot(struct vmx_msrs *m, u32 msr)
{
	for (unsigned int i = 0; i < m->nr; i++)
		if (m->val[i].index == msr)
			return i;
	return -1;
}

/* The guest gets its #NM upon the next VM-entry; only FRED would look at the payload. */
#define kvm_queue_exception_p(vcpu, nr, payload)	((void)(payload))

/* take arch/x86/kvm/fpu.h: kvm_load_guest_fpu() */
/* take arch/x86/kvm/fpu.h: kvm_put_guest_fpu() */
/* take arch/x86/kvm/vmx/vmx.h: vmx_lists_xfd() */
/* take arch/x86/kvm/vmx/vmx.h: vmx_write_msr_counts() */
/* take arch/x86/kvm/vmx/vmx.c: vmx_add_auto_msr() */
/* take arch/x86/kvm/vmx/vmx.c: vmx_list_xfd() */
/* take arch/x86/kvm/vmx/vmx.c: vmx_recalc_xfd_intercepts() */
/* take arch/x86/kvm/vmx/vmx.c: is_xfd_nm_fault() */
/* take arch/x86/kvm/vmx/vmx.c: handle_nm_fault_irqoff() */
/* take arch/x86/kvm/msrs.c: kvm_guest_supported_xfd() */
/* take arch/x86/kvm/x86.c: kvm_load_xfeatures() */
/* take arch/x86/kvm/x86.c: kvm_xstate_reset() */
/* take arch/x86/kvm/x86.c: kvm_vcpu_ioctl_x86_get_xsave2() */
/* take arch/x86/kvm/x86.c: kvm_vcpu_ioctl_x86_set_xsave() */

static void vmx_update_exception_bitmap(struct kvm_vcpu *vcpu)
{
	u32 eb = 0;

	/* take arch/x86/kvm/vmx/vmx.c: 	if (vcpu->arch.xfd_no_write_intercept && ... 		eb |= (1u << NM_VECTOR); */
	to_vmx(vcpu)->exception_bitmap = eb;
}

static int kvm_set_msr_common(struct kvm_vcpu *vcpu, struct msr_data *msr_info)
{
	u64 data = msr_info->data;

	switch (msr_info->index) {
	/* take arch/x86/kvm/msrs.c: 	case MSR_IA32_XFD: ... #endif */
	}
	return 0;
}

static int kvm_get_msr_common(struct kvm_vcpu *vcpu, struct msr_data *msr_info)
{
	switch (msr_info->index) {
	/* take arch/x86/kvm/msrs.c after kvm_get_msr_common: 	case MSR_IA32_XFD: ... #endif */
	}
	return 0;
}

static int vmx_set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr_info)
{
	struct vcpu_vmx *vmx = to_vmx(vcpu);
	u64 data = msr_info->data;
	int ret = 0;

	switch (msr_info->index) {
	/* take arch/x86/kvm/vmx/vmx.c: 	case MSR_IA32_XFD: ... #endif */
	default:
		ret = kvm_set_msr_common(vcpu, msr_info);
	}
	return ret;
}

static int handle_exception_nmi(struct kvm_vcpu *vcpu, bool nm)
{
#define is_nm_fault(info)	nm
	/* take arch/x86/kvm/vmx/vmx.c: 	if (is_nm_fault(intr_info)) { ... 	} */
	return 1;
}

/* The module: rust/hooks.rs without its notifier, which world_switch() has. */
static int module_vcpu_create(struct kvm_vcpu *vcpu)
{
	return 0;
}

static void module_nothing(struct kvm_vcpu *vcpu)
{
}

static void module_vmexit(struct kvm_vcpu *vcpu)
{
	u64 disarm;

	if (model->vmexit(&disarm)) {
		vcpu->arch.guest_xfd.why = FPU_GUEST_XFD_STRATEGY;
		fpu_save_guest_xfd(&vcpu->arch.guest_xfd, disarm);
	}
}

static struct kvm_xfd_ops ops = {
	.vcpu_create = module_vcpu_create,
	.vcpu_free = module_nothing,
	.run_begin = module_nothing,
	.run_end = module_nothing,
};

/* kvm_arch_init_vm(), kvm_arch_vcpu_create(), kvm_vcpu_reset(), kvm_vcpu_after_set_cpuid() */
void kvm_create(int v, const struct setup *setup)
{
	struct kvm_vcpu *vcpu = &vcpus[v].vcpu;
	u64 xcr0 = fpu_user_cfg.max_features;

	kvm_x86_ops.enable_virtualization_cpu = (void *)kvm_create;
	kvm_caps.can_defer_xfd = true;
	kvm_caps.supported_xcr0 = xcr0;
	kvm_caps.supported_xss = XFEATURE_MASK_CET_ALL;
	kvm_host.xcr0 = xcr0;
	kvm_host.xss = XFEATURE_MASK_CET_ALL;
	if (setup->attached[v]) {
		ops.vmexit = setup->has_vmexit ? module_vmexit : NULL;
		ops.msr_lists = setup->msr_lists;
		if (!vms[!v].arch.xfd_ops && kvm_register_xfd_ops(&ops))
			abort();
		kvm_xfd_init_vm(&vms[v]);
	}
	vms[v].arch.xfd_xstate = setup->cap[v];
	vcpu->kvm = &vms[v];
	if (!fpu_alloc_guest_fpstate(&vcpu->arch.guest_fpu))
		abort();
	vcpu->arch.guest_xfd.fpu = &vcpu->arch.guest_fpu;
	if (kvm_xfd_vcpu_create(vcpu))
		abort();
	vcpu->arch.xcr0 = xcr0;
	vcpu->arch.guest_supported_xcr0 = xcr0;
	vcpu->arch.ia32_xss = kvm_host.xss;
	if (fpu_enable_guest_xfd_features(&vcpu->arch.guest_fpu, XFEATURE_MASK_XTILE_DATA))
		abort();
	vmx_recalc_xfd_intercepts(vcpu);
	vmx_update_exception_bitmap(vcpu);
}

struct fpu_guest_xfd *kvm_guest_xfd(int v)
{
	return &vcpus[v].vcpu.arch.guest_xfd;
}

void kvm_state(int v)
{
	struct kvm_vcpu *vcpu = &vcpus[v].vcpu;

	STATE(vcpu->arch.guest_fpu.xfd_err);
	STATE(vcpu->arch.guest_xfd.saved_xfd);
	STATE(vcpu->arch.guest_xfd.saved_xfd_err);
	STATE(vcpu->arch.guest_xfd.listed_xfd);
	STATE(vcpu->arch.guest_xfd.listed_xfd_err);
	STATE(vcpu->arch.guest_xfd.load);
	STATE(vcpu->arch.xfd_no_write_intercept);
	STATE(vcpu->arch.xfd_sync_on_vmexit);
	STATE(vcpu->arch.xcr0);
	STATE(vcpu->wants_to_run);
	STATE(vcpus[v].exception_bitmap);
	STATE(vcpus[v].xfd_intercepts);
	STATE(vcpus[v].xfd_err_intercepts);
	if (vmx_lists_xfd(&vcpus[v])) {
		STATE(vcpus[v].msr_autoload);
		STATE(vcpus[v].msr_autostore.nr);
	}
	fpstate_state(vcpu->arch.guest_fpu.fpstate);
}

/* KVM_RUN begins: kvm_arch_vcpu_ioctl_run() */
void kvm_run_begin(int v)
{
	struct kvm_vcpu *vcpu = &vcpus[v].vcpu;

	vcpu->wants_to_run = true;
	model_point();
	kvm_load_guest_fpu(vcpu);
	model_point();
	if (kvm_xfd_run_begin(vcpu))
		shadow->notifier[v] = 1;
}

/* KVM_RUN ends, at its label "out" */
void kvm_run_end(int v)
{
	struct kvm_vcpu *vcpu = &vcpus[v].vcpu;

	model_point();
	if (shadow->notifier[v])
		kvm_xfd_run_end(vcpu);
	shadow->notifier[v] = 0;
	model_point();
	kvm_put_guest_fpu(vcpu);
	vcpu->wants_to_run = false;
	model_point();
}

/* vcpu_enter_guest(), from where it disables interrupts to VM-entry */
void kvm_enter(int v)
{
	struct kvm_vcpu *vcpu = &vcpus[v].vcpu;
	struct vmx_msrs *list = &vcpus[v].msr_autoload.guest;

	model_point();
	preempt_disable();
	model_point();
	local_irq_disable();

	/* take arch/x86/kvm/x86.c: 	fpregs_assert_state_consistent(); ... 	kvm_load_xfeatures(vcpu, true); */

	/* VM-entry: the CPU loads the list. */
	for (unsigned int i = 0; i < list->nr; i++)
		model->wrmsr(list->val[i].index, list->val[i].value);
}

/* The host's handler, and softirqs on its way out, if it is for an interrupt that the guest has exited */
static void handle_external_interrupt_irqoff(void)
{
	irqs_disabled() = 0;
	model_point();
	irqs_disabled() = 1;
}

/* VM-exit, and vcpu_enter_guest() from there until interrupts and preemption are on again */
void kvm_exit(int v, bool nm)
{
	struct kvm_vcpu *vcpu = &vcpus[v].vcpu;
	struct vmx_msrs *list = &vcpus[v].msr_autoload.host;
	struct vmx_msr_entry *store = vcpus[v].msr_autoload.guest.val;

	/* VM-exit: the CPU stores to one list and loads the other. */
	for (unsigned int i = 0; i < vcpus[v].msr_autostore.nr; i++)
		store[i].value = model->rdmsr(store[i].index);
	for (unsigned int i = 0; i < list->nr; i++)
		model->wrmsr(list->val[i].index, list->val[i].value);

#define handle_exit_irqoff(vcpu)	do {				\
		if (nm)							\
			handle_nm_fault_irqoff(vcpu);			\
		else							\
			handle_external_interrupt_irqoff();		\
	} while (0)
#define kvm_x86_call(f)			f
	/* take arch/x86/kvm/x86.c: 	kvm_load_xfeatures(vcpu, false); ... 		wrmsrq(MSR_IA32_XFD_ERR, 0); */

	local_irq_enable();
	preempt_enable();
	model_point();

	handle_exception_nmi(vcpu, nm);
	model_point();
}

/* WRMSR and RDMSR that exited, or that KVM's instruction emulator executes */
void kvm_write_msr(int v, u32 msr, u64 value, bool from_vmm)
{
	struct msr_data data = { .index = msr, .data = value, .host_initiated = from_vmm };

	model_point();
	if (vmx_set_msr(&vcpus[v].vcpu, &data))
		model->warn("WRMSR is refused", __FILE__, __LINE__);
	model_point();
}

u64 kvm_read_msr(int v, u32 msr, bool from_vmm)
{
	struct msr_data data = { .index = msr, .host_initiated = from_vmm };

	model_point();
	if (kvm_get_msr_common(&vcpus[v].vcpu, &data))
		model->warn("RDMSR is refused", __FILE__, __LINE__);
	model_point();
	return data.data;
}

/* __msr_io() with an MSR of CET's before this one: the guest's registers are loaded meanwhile */
void kvm_write_msr_loaded(int v, u32 msr, u64 value)
{
	struct kvm_vcpu *vcpu = &vcpus[v].vcpu;

	kvm_load_guest_fpu(vcpu);
	kvm_write_msr(v, msr, value, true);
	kvm_put_guest_fpu(vcpu);
}

/* __kvm_set_xcr() */
void kvm_write_xcr0(int v, u64 xcr0)
{
	vcpus[v].vcpu.arch.xcr0 = xcr0;
}

u64 kvm_xcr0(int v)
{
	return vcpus[v].vcpu.arch.xcr0;
}

/* kvm_vcpu_reset() upon INIT */
void kvm_init(int v)
{
	model_point();
	kvm_xstate_reset(&vcpus[v].vcpu, true);
	model_point();
}

/* Returns the tiles of the image, as whoever reads it finds them. */
u64 kvm_get_xsave(int v)
{
	static struct kvm_xsave image;
	struct xregs_state *xsave = (struct xregs_state *)&image;

	kvm_vcpu_ioctl_x86_get_xsave2(&vcpus[v].vcpu, (u8 *)&image, sizeof(image));
	if (!(xsave->header.xfeatures & XFEATURE_MASK_XTILE_DATA))
		return 0;
	return *(u64 *)get_xsave_addr_user(xsave, XFEATURE_XTILE_DATA);
}

/* Returns whether it is refused. @bad: with an XCOMP_BV that KVM must refuse. */
bool kvm_set_xsave(int v, u64 tiles, u64 xmm, bool bad)
{
	static struct kvm_xsave image;
	struct xregs_state *xsave = (struct xregs_state *)&image;

	memset(&image, 0, sizeof(image));
	xsave->i387.mxcsr = MXCSR_DEFAULT;
	*(u64 *)xsave->i387.xmm_space = xmm;
	xsave->header.xfeatures = XFEATURE_MASK_FPSSE;
	if (tiles) {
		xsave->header.xfeatures |= XFEATURE_MASK_XTILE_DATA;
		*(u64 *)get_xsave_addr_user(xsave, XFEATURE_XTILE_DATA) = tiles;
	}
	xsave->header.xcomp_bv = bad;
	return kvm_vcpu_ioctl_x86_set_xsave(&vcpus[v].vcpu, &image);
}

/* What the FPU core has counted. */
struct fpu_guest_xfd_counts *kvm_counts(int v)
{
	return &vcpus[v].vcpu.arch.guest_xfd.counts;
}

/* Where the guest's registers are saved. */
void *kvm_area(int v)
{
	return &vcpus[v].vcpu.arch.guest_fpu.fpstate->regs;
}

/* What no VMM can do: an image that XRSTORS refuses */
void kvm_spoil(int v)
{
	vcpus[v].vcpu.arch.guest_fpu.fpstate->regs.xsave.header.xcomp_bv = 0;
}

bool kvm_intercepts_nm(int v)
{
	return vcpus[v].exception_bitmap & 1u << NM_VECTOR;
}

bool kvm_intercepts_write(int v, u32 msr)
{
	return (msr == MSR_IA32_XFD ? vcpus[v].xfd_intercepts :
				      vcpus[v].xfd_err_intercepts) & MSR_TYPE_W;
}
