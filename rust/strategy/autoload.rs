// SPDX-License-Identifier: GPL-2.0

//! Have the CPU switch both MSRs by VMX MSR lists, on every VM-exit and VM-entry.
//!
//! The thread about patch 3/7 of the AMX RFC weighed this against RDMSR and WRMSR. There is nothing
//! to decide: once a guest has armed XFD, each exit stores its two values and loads 0, and each entry
//! loads them back. The host runs with XFD=0, so that XSAVE loses nothing.

use super::{Strategy, VmExit};

/// See the module's documentation.
pub(crate) struct AutoLoad;

impl Strategy for AutoLoad {
    const LOOKS_AT_VMEXIT: bool = false;
    const MSR_LISTS: bool = true;

    fn vmexit(_in_use: impl FnOnce() -> u64) -> VmExit {
        VmExit::Leave
    }
}
