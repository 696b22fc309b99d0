/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of KVM as the lines that are taken from it need: it stands for
 * linux/kvm_host.h, and for the headers in arch/x86/kvm.
 */
#ifndef MODEL_KVM_H
#define MODEL_KVM_H

#include <asm/fpu/api.h>
#include <asm/fpu/guest_xfd.h>
#include <asm/fpu/xcr.h>
#include <asm/fpu/xstate.h>
#include <asm/kvm_xfd.h>

#define KVM_X86_DEFAULT_VM	0
#define XFEATURE_MASK_CET_ALL	(XFEATURE_MASK_CET_USER | XFEATURE_MASK_CET_KERNEL)

struct kvm {
	struct dentry *debugfs_dentry;
	struct {
		unsigned long vm_type;
		const struct kvm_xfd_ops *xfd_ops;
		bool has_protected_state;
		bool xfd_xstate;
	} arch;
};

struct kvm_vcpu {
	struct kvm *kvm;
	bool wants_to_run;
	struct {
		u64 fpu_reload;
	} stat;
	struct {
		struct fpu_guest guest_fpu;
		struct fpu_guest_xfd guest_xfd;
		void *xfd_data;
		u64 xcr0;
		u64 guest_supported_xcr0;
		u64 ia32_xss;
		u32 pkru;
		bool guest_state_protected;
		bool xfd_no_write_intercept;
		bool xfd_sync_on_vmexit;
	} arch;
};

struct kvm_x86_ops {
	int (*enable_virtualization_cpu)(void);
};

struct kvm_caps {
	bool can_defer_xfd;
	u64 supported_xcr0;
	u64 supported_xss;
};

struct kvm_host_values {
	u64 xcr0;
	u64 xss;
};

extern struct kvm_x86_ops kvm_x86_ops;
extern struct kvm_caps kvm_caps;
extern struct kvm_host_values kvm_host;

/* Guests have all of it. */
#define kvm_cpu_cap_has(feature)		true
#define guest_cpu_cap_has(vcpu, feature)	((void)(vcpu), true)
#define kvm_is_cr4_bit_set(vcpu, bit)		((void)(vcpu), true)
#define kvm_is_cr0_bit_set(vcpu, bit)		((void)(vcpu), false)
#define is_guest_mode(vcpu)			((void)(vcpu), false)
#define KVM_BUG_ON(condition, kvm)		WARN_ON(condition)
#define try_module_get(module)			true
#define module_put(module)			do { } while (0)
#define trace_kvm_fpu(load)			do { } while (0)

#endif
