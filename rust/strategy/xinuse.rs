// SPDX-License-Identifier: GPL-2.0

//! Save the MSRs on a VM-exit only if there is something to lose: XINUSE tells.
//!
//! This is what the thread about patch 3/7 of the AMX RFC proposed. XGETBV with ECX=1 is cheap,
//! does not exit and is not affected by XFD. While all tiles are in their initial state it does not
//! matter whether XFD is armed, and both MSRs stay in hardware.

use super::{Strategy, VmExit};

/// See the module's documentation.
pub(crate) struct XInUse;

impl Strategy for XInUse {
    const LOOKS_AT_VMEXIT: bool = true;

    fn vmexit(in_use: impl FnOnce() -> u64) -> VmExit {
        if in_use() == 0 {
            VmExit::Leave
        } else {
            VmExit::Save { disarm: 0 }
        }
    }
}
