// SPDX-License-Identifier: GPL-2.0

//! The host runs with XFD=0: save both MSRs on every VM-exit, load them on every VM-entry.
//!
//! This is what patch 3/7 of the AMX RFC of February 2021 did. It never loses a tile, and pays
//! for it on every exit of every guest that has armed XFD once. (Exits that KVM handles in its fast
//! path and re-enters from are not seen.)

use super::{Strategy, VmExit};

/// See the module's documentation.
pub(crate) struct Eager;

impl Strategy for Eager {
    const LOOKS_AT_VMEXIT: bool = true;

    fn vmexit(_in_use: impl FnOnce() -> u64) -> VmExit {
        VmExit::Save { disarm: !0 }
    }
}
