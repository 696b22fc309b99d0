// SPDX-License-Identifier: GPL-2.0
//! The module's strategies, from their own source.

// Their own tests assert what is constant.
#[allow(clippy::assertions_on_constants)]
#[path = "../../rust"]
mod rust {
    pub mod host;
    pub mod strategy;
}

pub use rust::host::{error, prelude};
use rust::strategy::{self, each, Strategy, VmExit};

/// A strategy.
#[derive(Clone, Copy)]
pub struct Chosen {
    pub name: &'static str,
    pub has_vmexit: bool,
    pub msr_lists: bool,
    /// Given XINUSE: whether to save, and what to disarm.
    pub vmexit: fn(&mut dyn FnMut() -> u64) -> Option<u64>,
}

fn vmexit<S: Strategy>(in_use: &mut dyn FnMut() -> u64) -> Option<u64> {
    match S::vmexit(in_use) {
        VmExit::Leave => None,
        VmExit::Save { disarm } => Some(disarm),
    }
}

macro_rules! chosen {
    ($($module:ident::$Type:ident,)+) => {
        &[$(Chosen {
            name: <strategy::$module::$Type as Strategy>::NAME,
            has_vmexit: <strategy::$module::$Type as Strategy>::HAS_VMEXIT,
            msr_lists: <strategy::$module::$Type as Strategy>::MSR_LISTS,
            vmexit: vmexit::<strategy::$module::$Type>,
        }),+]
    };
}

pub const ALL: &[Chosen] = each!(chosen);
