// SPDX-License-Identifier: GPL-2.0

//! The hooks that KVM calls for attached VMs, and their registration.
//!
//! C header: [`arch/x86/include/asm/kvm_xfd.h`](srctree/arch/x86/include/asm/kvm_xfd.h)

use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::error::{
    from_result,
    to_result, //
};
use kernel::module::this_module;
use kernel::prelude::*;
use kernel::types::ForeignOwnable;

use super::bindings;
use super::counters;
use super::notifier;
use super::strategy::{
    Strategy,
    VmExit, //
};
use super::trace;
use super::vcpu::{
    Vcpu,
    Why, //
};
use super::xstate;

/// What KVM calls if `S` is registered: thunks, and the table of them.
struct Hooks<S>(PhantomData<S>);

impl<S: Strategy> Hooks<S> {
    const OPS: bindings::kvm_xfd_ops = bindings::kvm_xfd_ops {
        owner: this_module::<S::OwnerModule>().as_ptr().cast(),
        vcpu_create: Some(Self::vcpu_create),
        vcpu_free: Some(Self::vcpu_free),
        arm: Some(Self::arm),
        vm_debugfs: Some(Self::vm_debugfs),
        vcpu_debugfs: Some(Self::vcpu_debugfs),
        run_begin: Some(Self::run_begin),
        run_end: Some(Self::run_end),
        vmexit: if S::HAS_VMEXIT {
            Some(Self::vmexit)
        } else {
            None
        },
        msr_lists: S::MSR_LISTS,
    };

    /// Returns the module's part of a vCPU.
    ///
    /// # Safety
    ///
    /// `vcpu` must be a vCPU that `vcpu_create` has succeeded for, and `vcpu_free` must not be called
    /// for it while the result is in use.
    unsafe fn borrow<'a>(vcpu: *mut bindings::kvm_vcpu) -> Pin<&'a Vcpu> {
        // SAFETY: `vcpu_create` has put the pointer there, and it is `vcpu_free` that takes it back.
        unsafe { Pin::<KBox<Vcpu>>::borrow((*vcpu).arch.xfd_data) }
    }

    /// A vCPU of an attached VM is created: allocates the module's part of it. May sleep.
    ///
    /// # Safety
    ///
    /// KVM calls this as `struct kvm_xfd_ops` says.
    unsafe extern "C" fn vcpu_create(vcpu: *mut bindings::kvm_vcpu) -> c_int {
        from_result(|| {
            // SAFETY: KVM passes a valid vCPU.
            let guest_xfd = unsafe { NonNull::new_unchecked(&raw mut (*vcpu).arch.guest_xfd) };
            // SAFETY: KVM calls `vcpu_free` before it frees the vCPU.
            let data = KBox::pin_init(unsafe { Vcpu::new(guest_xfd) }, GFP_KERNEL_ACCOUNT)?;

            // SAFETY: KVM passes a valid vCPU, and calls `vcpu_free` before it frees it.
            unsafe { counters::attach(NonNull::new_unchecked(vcpu))? };

            // SAFETY: KVM passes a valid vCPU, and leaves the field to this module.
            unsafe { (*vcpu).arch.xfd_data = data.into_foreign() };

            // SAFETY: KVM passes a valid vCPU.
            unsafe { trace::attach(vcpu, S::NAME) };
            Ok(0)
        })
    }

    /// Frees what [`Hooks::vcpu_create`] has allocated. May sleep.
    ///
    /// # Safety
    ///
    /// KVM calls this as `struct kvm_xfd_ops` says.
    unsafe extern "C" fn vcpu_free(vcpu: *mut bindings::kvm_vcpu) {
        // SAFETY: KVM passes a valid vCPU.
        unsafe { counters::detach(NonNull::new_unchecked(vcpu)) };

        // SAFETY: `vcpu_create` has put the pointer there, and nobody borrows it any more.
        drop(unsafe { Pin::<KBox<Vcpu>>::from_foreign((*vcpu).arch.xfd_data) });
    }

    /// A vCPU's XFD is set to other than 0 for the first time. May sleep.
    ///
    /// # Safety
    ///
    /// KVM calls this as `struct kvm_xfd_ops` says.
    unsafe extern "C" fn arm(vcpu: *mut bindings::kvm_vcpu, xfd: u64) {
        // SAFETY: KVM passes a valid vCPU.
        unsafe { trace::arm(vcpu, xfd) };
    }

    /// An attached VM has got its directory in debugfs. May sleep.
    ///
    /// # Safety
    ///
    /// KVM calls this as `struct kvm_xfd_ops` says.
    unsafe extern "C" fn vm_debugfs(kvm: *mut bindings::kvm, dir: *mut bindings::dentry) {
        // SAFETY: KVM removes the directory before it destroys the VM.
        unsafe { counters::show_vm(kvm, dir) };
    }

    /// A vCPU of an attached VM has got its directory in debugfs. May sleep.
    ///
    /// # Safety
    ///
    /// KVM calls this as `struct kvm_xfd_ops` says.
    unsafe extern "C" fn vcpu_debugfs(vcpu: *mut bindings::kvm_vcpu, dir: *mut bindings::dentry) {
        // SAFETY: KVM removes the directory before it destroys the VM, and with it the vCPU.
        unsafe { counters::show_vcpu(vcpu, dir) };
    }

    /// KVM_RUN has loaded the guest's registers, and XFD or XFD_ERR is to be loaded, too.
    ///
    /// # Safety
    ///
    /// KVM calls this as `struct kvm_xfd_ops` says.
    unsafe extern "C" fn run_begin(vcpu: *mut bindings::kvm_vcpu) {
        // SAFETY: KVM calls this for an attached vCPU, and pairs it with `run_end`, in one KVM_RUN.
        // `Registration` keeps the notifiers enabled.
        unsafe { Self::borrow(vcpu).run_begin() };
    }

    /// KVM_RUN is about to unload them.
    ///
    /// # Safety
    ///
    /// KVM calls this as `struct kvm_xfd_ops` says.
    unsafe extern "C" fn run_end(vcpu: *mut bindings::kvm_vcpu) {
        // SAFETY: KVM calls this for an attached vCPU, after `run_begin` and in the same thread.
        unsafe { Self::borrow(vcpu).run_end() };
    }

    /// A guest that has ever armed XFD has exited, and the fast path has not handled that: does what
    /// the strategy decides. Interrupts are disabled. This is the hot path.
    ///
    /// # Safety
    ///
    /// KVM calls this as `struct kvm_xfd_ops` says.
    unsafe extern "C" fn vmexit(vcpu: *mut bindings::kvm_vcpu) {
        match S::vmexit(xstate::in_use) {
            VmExit::Leave => {}
            // SAFETY: KVM calls this for an attached vCPU, in its thread, in KVM_RUN, with
            // interrupts disabled and with the host's XCR0.
            VmExit::Save { disarm } => unsafe { Self::borrow(vcpu).save(Why::Strategy, disarm) },
        }
    }
}

/// The registration of a strategy with KVM: VMs created while it lives are attached.
///
/// # Invariants
///
/// `ops` is registered, and no VM is attached when this is dropped.
pub(crate) struct Registration {
    ops: &'static bindings::kvm_xfd_ops,
    _notifiers: notifier::Enabled,
}

impl Registration {
    /// Registers `S`. May sleep.
    ///
    /// # Safety
    ///
    /// It must be dropped before the module is freed, and not while there are attached VMs. As each
    /// of them holds a reference to the module, there are none on module exit.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if KVM cannot offer XFD to guests, `EBUSY` if another module is registered.
    pub(crate) unsafe fn new<S: Strategy + 'static>() -> Result<Self> {
        let ops: &'static bindings::kvm_xfd_ops = const { &Hooks::<S>::OPS };
        let notifiers = notifier::Enabled::new();

        // SAFETY: `ops` is static, and is unregistered on drop.
        to_result(unsafe { bindings::kvm_register_xfd_ops(ops) })?;
        // INVARIANT: It is registered now; the rest is the caller's promise.
        Ok(Self {
            ops,
            _notifiers: notifiers,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is registered, and no VM is attached.
        unsafe { bindings::kvm_unregister_xfd_ops(self.ops) };
    }
}

// SAFETY: The only thing to do with a registration is to drop it, which any thread may do.
unsafe impl Send for Registration {}
// SAFETY: It has no shared state.
unsafe impl Sync for Registration {}
