// SPDX-License-Identifier: GPL-2.0

//! What the CPU has, as the kernel sees it, and XINUSE: which components of XSAVE-managed state are in
//! use.
//!
//! The features are the kernel's own, so that one which `clearcpuid=` has taken away, or which
//! firmware has disabled, is not there.
//!
//! C headers: [`arch/x86/include/asm/cpufeature.h`](srctree/arch/x86/include/asm/cpufeature.h),
//! [`arch/x86/include/asm/fpu/xstate.h`](srctree/arch/x86/include/asm/fpu/xstate.h)

use kernel::asm;
use kernel::bindings;

use super::bindings::RUST_CONST_HELPER_XFEATURE_MASK_USER_DYNAMIC;

/// The components that XFD can disable, for the host's tasks and for guests: KVM's limit for XFD is
/// this mask, too.
const XFD_FEATURES: u64 = RUST_CONST_HELPER_XFEATURE_MASK_USER_DYNAMIC;

/// `boot_cpu_has()`, for a bit of `asm/cpufeatures.h`.
fn boot_cpu_has(feature: u32) -> bool {
    // SAFETY: The kernel has numbered its features by their places in this array, which changes
    // only while it boots.
    let word = unsafe {
        let words = &raw const bindings::boot_cpu_data.__bindgen_anon_3.x86_capability;
        words.cast::<u32>().add(feature as usize / 32).read()
    };
    word & 1 << (feature % 32) != 0
}

/// Whether the kernel uses XFD. If not, KVM cannot offer it to guests either.
pub(crate) fn cpu_has_xfd() -> bool {
    boot_cpu_has(bindings::X86_FEATURE_XFD)
}

/// Whether there can be guests: the series leaves AMD's XFD to KVM.
pub(crate) fn cpu_has_vmx() -> bool {
    boot_cpu_has(bindings::X86_FEATURE_VMX)
}

/// Returns XINUSE of the components that XFD can disable, as far as XCR0 enables them.
///
/// For a guest's components it is to be called with the host's XCR0, and on a CPU that has XFD. See
/// SDM volume 1, "Processor Tracking of XSAVE-Managed State".
pub(crate) fn in_use() -> u64 {
    let (low, high): (u32, u32);

    // SAFETY: A CPU that has XFD has XGETBV with ECX=1, which reads two registers and changes
    // nothing else.
    unsafe {
        asm!("xgetbv"; in("ecx") 1, out("eax") low, out("edx") high,
             options(nomem, nostack, preserves_flags));
    }

    (u64::from(high) << 32 | u64::from(low)) & XFD_FEATURES
}
