// SPDX-License-Identifier: GPL-2.0

//! Have the CPU switch both MSRs by VMX MSR lists, on every VM-exit and VM-entry.
//!
//! The thread about patch 3/7 of the AMX RFC weighed this against RDMSR and WRMSR. There is nothing
//! to decide: once a guest has armed XFD, each exit stores its two values and loads 0, and each entry
//! loads them back. The host runs with XFD=0, so that XSAVE loses nothing.

use kernel::prelude::*;

use super::Strategy;

/// Leaves all to the CPU: on a VM-exit there is nothing live, and no hook.
pub(crate) struct AutoLoad;

#[vtable]
impl Strategy for AutoLoad {
    const NAME: &'static str = "autoload";
    const MSR_LISTS: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_switches() {
        assert!(AutoLoad::MSR_LISTS);
    }

    #[test]
    fn an_exit_does_not_ask() {
        assert!(!AutoLoad::HAS_VMEXIT);
    }
}
