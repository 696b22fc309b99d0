// SPDX-License-Identifier: GPL-2.0

//! The module's trace events, which C defines in `rust/trace.c`.
//!
//! Neither is on a hot path. Loads and saves are events of the FPU core.

use super::bindings;

/// A vCPU of an attached VM is created: `xfd_switch:xfd_switch_attach`.
///
/// # Safety
///
/// `vcpu` must be valid.
pub(crate) unsafe fn attach(vcpu: *const bindings::kvm_vcpu, strategy: &str) {
    // SAFETY: The vCPU is the caller's promise, and the string has this length.
    unsafe {
        bindings::xfd_switch_trace_attach(vcpu, strategy.as_ptr().cast(), strategy.len() as u32)
    };
}

/// Its XFD is other than 0 for the first time: `xfd_switch:xfd_switch_arm`.
///
/// # Safety
///
/// `vcpu` must be valid.
pub(crate) unsafe fn arm(vcpu: *const bindings::kvm_vcpu, xfd: u64) {
    // SAFETY: The caller's promise.
    unsafe { bindings::xfd_switch_trace_arm(vcpu, xfd) };
}
