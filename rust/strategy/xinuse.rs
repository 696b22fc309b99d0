// SPDX-License-Identifier: GPL-2.0

//! Save the MSRs on a VM-exit only if there is something to lose: XINUSE tells.
//!
//! This is what the thread about patch 3/7 of the AMX RFC proposed. XGETBV with ECX=1 is cheap,
//! does not exit and is not affected by XFD. While all tiles are in their initial state it does not
//! matter whether XFD is armed, and both MSRs stay in hardware.

use kernel::prelude::*;

use super::{
    Strategy,
    VmExit, //
};

/// Saves on a VM-exit if a component that XFD can disable is in use.
pub(crate) struct XInUse;

#[vtable]
impl Strategy for XInUse {
    const NAME: &'static str = "xinuse";

    fn vmexit(in_use: impl FnOnce() -> u64) -> VmExit {
        if in_use() == 0 {
            VmExit::Leave
        } else {
            VmExit::Save { disarm: 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_use_is_left() {
        assert_eq!(XInUse::vmexit(|| 0), VmExit::Leave);
    }

    #[test]
    fn any_component_in_use_is_saved() {
        for i in 0..64 {
            assert_eq!(XInUse::vmexit(|| 1 << i), VmExit::Save { disarm: 0 });
        }
    }

    #[test]
    fn an_exit_asks() {
        assert!(XInUse::HAS_VMEXIT && !XInUse::MSR_LISTS);
    }
}
