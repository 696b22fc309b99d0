// SPDX-License-Identifier: GPL-2.0

//! What the CPU says about XSAVE-managed state: its features, XINUSE, and which components XFD can
//! disable.

use core::arch::{asm, x86_64::__cpuid_count};

use kernel::bindings;
use kernel::sync::atomic::{Atomic, Relaxed};

/// The components for which CPUID.(EAX=0DH,ECX=i).ECX\[2\] enumerates XFD support.
static XFD_FEATURES: Atomic<u64> = Atomic::new(0);

/// Returns whether the kernel uses the CPU feature `X86_FEATURE_*`.
pub(crate) fn cpu_has(feature: u32) -> bool {
    // SAFETY: `boot_cpu_data` does not change after boot.
    let words = unsafe { bindings::boot_cpu_data.__bindgen_anon_1.x86_capability };

    words[(feature / 32) as usize] & (1 << (feature % 32)) != 0
}

/// Reads from CPUID which components XFD can disable. To be called before [`in_use`].
pub(crate) fn enumerate() {
    let supported = |i: &u32| __cpuid_count(0xd, *i).ecx & (1 << 2) != 0;
    let mask = (2..63).filter(supported).fold(0, |mask, i| mask | 1 << i);

    XFD_FEATURES.store(mask, Relaxed);
}

/// Returns XINUSE of the components that XFD can disable, as far as XCR0 enables them.
///
/// For a guest's components it is to be called with the host's XCR0. See SDM volume 1, "Processor
/// Tracking of XSAVE-Managed State".
pub(crate) fn in_use() -> u64 {
    let (low, high): (u32, u32);

    // SAFETY: A CPU that has XFD has XGETBV with ECX=1, which reads two registers and changes
    // nothing else.
    unsafe {
        asm!("xgetbv", in("ecx") 1, out("eax") low, out("edx") high,
             options(nomem, nostack, preserves_flags));
    }

    (u64::from(high) << 32 | u64::from(low)) & XFD_FEATURES.load(Relaxed)
}
