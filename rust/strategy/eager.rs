// SPDX-License-Identifier: GPL-2.0

//! The host runs with XFD=0: save both MSRs on every VM-exit, load them on every VM-entry.
//!
//! This is what patch 3/7 of the AMX RFC of February 2021 did. It never loses a tile, and pays
//! for it on every exit of every guest that has armed XFD once. (Exits that KVM handles in its fast
//! path and re-enters from are not seen.)

use kernel::prelude::*;

use super::{
    Strategy,
    VmExit, //
};

/// Saves on every VM-exit, whatever is in use.
pub(crate) struct Eager;

#[vtable]
impl Strategy for Eager {
    const NAME: &'static str = "eager";

    fn vmexit(_in_use: impl FnOnce() -> u64) -> VmExit {
        VmExit::Save { disarm: !0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_saves_and_runs_the_host_with_xfd_0() {
        assert_eq!(
            Eager::vmexit(|| panic!("XGETBV for nothing")),
            VmExit::Save { disarm: u64::MAX }
        );
    }

    #[test]
    fn an_exit_asks() {
        assert!(Eager::HAS_VMEXIT && !Eager::MSR_LISTS);
    }
}
