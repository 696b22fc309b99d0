// SPDX-License-Identifier: GPL-2.0

//! When to save a guest's XFD and XFD_ERR: the decisions, and nothing else.
//!
//! A guest's XFD and XFD_ERR are *live* while they are in the MSRs of its CPU and the kernel's
//! copies of them are stale. The FPU core ends that whenever it saves the guest's registers, so a
//! strategy cannot lose anything: it only chooses to look earlier. Nothing here knows about the
//! kernel, and the tests at the end of each file run on the host (`rust/tests.rs`).
//!
//! A new strategy is a file below `rust/strategy/`, which implements [`Strategy`], and a line in
//! [`each!`].

use kernel::error::VTABLE_DEFAULT_ERROR;
use kernel::prelude::*;

/// Passes every strategy, as `module::Type`, to the macro that it is given: the only list of them.
///
/// The order is that of all messages, and the first is the default. A module, and with it the file,
/// is named as its strategy: modinfo and the lab have the names from here.
macro_rules! each {
    ($of:ident) => {
        $of! {
            lazy::Lazy,
            xinuse::XInUse,
            eager::Eager,
            autoload::AutoLoad,
        }
    };
}
pub(crate) use each;

macro_rules! modules {
    ($($module:ident::$Type:ident,)+) => {
        $(pub(crate) mod $module;)+
    };
}
each!(modules);

/// What to do with live MSRs on a VM-exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VmExit {
    /// Go on: the next VM-entry has nothing to load, unless someone saves them until then.
    Leave,
    /// Save both and clear XFD_ERR: the next VM-entry loads them again.
    Save {
        /// The bits of XFD to clear for the time in the host, in addition to those of components
        /// that are in use, which the FPU core always clears.
        disarm: u64,
    },
}

/// How a vCPU's XFD and XFD_ERR are switched.
#[vtable]
pub(crate) trait Strategy {
    /// What `strategy=` and all messages call it.
    const NAME: &'static str;

    /// Whether VMX MSR lists switch the MSRs, so that they are never live.
    const MSR_LISTS: bool = false;

    /// Decides on a VM-exit with live MSRs, given XINUSE of the components that XFD can disable.
    ///
    /// `in_use` is evaluated only if the strategy asks. Called with interrupts disabled. Without
    /// this method KVM has no hook to call, and a VM-exit costs nothing.
    fn vmexit(_in_use: impl FnOnce() -> u64) -> VmExit {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
