// SPDX-License-Identifier: GPL-2.0

//! What the CPU says about XSAVE-managed state: whether it has XFD, XINUSE, and which components XFD can
//! disable.

use core::arch::{
    asm,
    x86_64::{__cpuid_count, CpuidResult},
};

/// The components for which CPUID.(EAX=0DH,ECX=i).ECX\[2\] enumerates XFD support.
///
/// Written by [`enumerate`] only. Plain, as it is read on every VM-exit.
static mut XFD_FEATURES: u64 = 0;

/// CPUID of a leaf and subleaf, in its four registers.
fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    // An unsafe function to rustc 1.85, the kernel's minimum, and a safe one to later versions.
    #[allow(unused_unsafe)]
    // SAFETY: Every CPU that Linux supports on x86-64 has CPUID.
    unsafe {
        __cpuid_count(leaf, subleaf)
    }
}

/// Returns whether the CPU has XFD: CPUID.(EAX=0DH,ECX=1).EAX\[4\].
pub(crate) fn cpu_has_xfd() -> bool {
    cpuid(0xd, 1).eax & (1 << 4) != 0
}

/// Returns whether the CPU has VMX: CPUID.1.ECX\[5\].
pub(crate) fn cpu_has_vmx() -> bool {
    cpuid(1, 0).ecx & (1 << 5) != 0
}

/// Reads from CPUID which components XFD can disable.
///
/// # Safety
///
/// To be called once, before anyone can call [`in_use`].
pub(crate) unsafe fn enumerate() {
    let supported = |i: &u32| cpuid(0xd, *i).ecx & (1 << 2) != 0;
    let mask = (2..63).filter(supported).fold(0, |mask, i| mask | 1 << i);

    // SAFETY: By this function's safety requirements, nobody reads or writes it meanwhile.
    unsafe { XFD_FEATURES = mask };
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

    // SAFETY: `enumerate` has written it before anyone could call this.
    (u64::from(high) << 32 | u64::from(low)) & unsafe { XFD_FEATURES }
}
