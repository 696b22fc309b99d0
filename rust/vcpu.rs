// SPDX-License-Identifier: GPL-2.0

//! The module's part of an attached vCPU.

use core::ptr::NonNull;

use kernel::container_of;
use kernel::prelude::*;

use super::bindings;
use super::counters;
use super::notifier::{
    Notifier,
    SchedOut, //
};

/// A vCPU of an attached VM.
///
/// In C's order, so that the notifier comes first: an instruction less in each KVM_RUN and each
/// return from it. Nothing relies on it.
///
/// # Invariants
///
/// `guest_xfd` is the XFD and XFD_ERR of the vCPU that this belongs to, which outlives it.
#[pin_data]
#[repr(C)]
pub(crate) struct Vcpu {
    #[pin]
    notifier: Notifier<Vcpu>,
    guest_xfd: NonNull<bindings::fpu_guest_xfd>,
}

/// What each vCPU of an attached VM takes, in bytes.
pub(crate) const SIZE: usize = size_of::<Vcpu>() + counters::SIZE_OF_ATTACHED;

/// Why the module saves, as trace events and counters have it.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Why {
    /// The vCPU's thread is scheduled out.
    Switch = bindings::fpu_guest_xfd_why_FPU_GUEST_XFD_SWITCH as u8,
    /// A strategy has decided so on a VM-exit.
    Strategy = bindings::fpu_guest_xfd_why_FPU_GUEST_XFD_STRATEGY as u8,
}

impl Vcpu {
    /// Creates the module's part of the vCPU with this XFD and XFD_ERR.
    ///
    /// # Safety
    ///
    /// `guest_xfd` must be valid for as long as the result lives.
    pub(crate) unsafe fn new(guest_xfd: NonNull<bindings::fpu_guest_xfd>) -> impl PinInit<Self> {
        // INVARIANT: By this function's safety requirements.
        pin_init!(Self {
            // SAFETY: It is the `notifier` that `SchedOut for Self` goes to, and `Self` is pinned.
            notifier <- unsafe { Notifier::new() },
            guest_xfd,
        })
    }

    /// The vCPU's thread has loaded the guest's registers. Preemptible.
    ///
    /// # Safety
    ///
    /// Preempt notifiers must be enabled. To be paired with [`Vcpu::run_end`] by the same thread,
    /// before anybody calls it again, and before `self` is dropped.
    pub(crate) unsafe fn run_begin(&self) {
        // SAFETY: The caller has enabled them and pairs this with `run_end`, so that the notifier is
        // not registered now. By its invariants `self` is pinned.
        unsafe { Notifier::register(self) };
    }

    /// The vCPU's thread is about to unload the guest's registers. Preemptible.
    ///
    /// # Safety
    ///
    /// The current thread must have called [`Vcpu::run_begin`].
    pub(crate) unsafe fn run_end(&self) {
        // SAFETY: The caller has called `run_begin`.
        unsafe { Notifier::unregister(self) };
    }

    /// Saves XFD and XFD_ERR, if they are live.
    ///
    /// # Safety
    ///
    /// To be called by the vCPU's thread in KVM_RUN, with interrupts disabled and with the host's
    /// XCR0.
    pub(crate) unsafe fn save(&self, why: Why, disarm: u64) {
        let guest_xfd = self.guest_xfd.as_ptr();

        // SAFETY: `guest_xfd` is valid by the type invariants, the context is the caller's promise.
        unsafe {
            (*guest_xfd).why = why as u8;
            bindings::fpu_save_guest_xfd(guest_xfd, disarm);
        }
    }
}

// SAFETY: Both functions are about the field `notifier`.
unsafe impl SchedOut for Vcpu {
    unsafe fn raw_notifier(this: *const Self) -> *const Notifier<Self> {
        // SAFETY: The caller promises that `this` is valid.
        unsafe { &raw const (*this).notifier }
    }

    unsafe fn of_notifier(notifier: *const Notifier<Self>) -> *const Self {
        // SAFETY: The caller promises that it is the field of a `Self`.
        unsafe { container_of!(notifier.cast_mut(), Self, notifier) }
    }

    unsafe fn sched_out(&self) {
        // SAFETY: The notifier is registered between `run_begin` and `run_end` only, so this is the
        // vCPU's thread in KVM_RUN, and the caller has disabled interrupts. The guest's XCR0 is never
        // loaded when a thread is scheduled out.
        unsafe { self.save(Why::Switch, 0) };
    }
}
