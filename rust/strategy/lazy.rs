// SPDX-License-Identifier: GPL-2.0

//! Leave the MSRs in hardware until something is about to save or to look at the guest's
//! registers.
//!
//! Most VM-exits return to the guest without either. They cost no MSR access and no XGETBV.

use kernel::prelude::*;

use super::Strategy;

/// Looks at nothing on a VM-exit: it has no hook there.
pub(crate) struct Lazy;

#[vtable]
impl Strategy for Lazy {
    const NAME: &'static str = "lazy";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_does_not_ask() {
        assert!(!Lazy::HAS_VMEXIT);
    }

    #[test]
    fn the_msrs_stay_in_hardware() {
        assert!(!Lazy::MSR_LISTS);
    }
}
