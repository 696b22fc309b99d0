// SPDX-License-Identifier: GPL-2.0

//! A negative control, not in the shipped module: saves the MSRs and forgets what they were.
//!
//! The tests must fail with it.

use super::{Strategy, VmExit};

/// See the module's documentation.
pub(crate) struct Broken;

impl Strategy for Broken {
    const LOOKS_AT_VMEXIT: bool = true;

    fn vmexit(_in_use: impl FnOnce() -> u64) -> VmExit {
        VmExit::SaveAndForget
    }
}
