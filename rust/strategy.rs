// SPDX-License-Identifier: GPL-2.0

//! When to save a guest's XFD and XFD_ERR: the decisions, and nothing else.
//!
//! A guest's XFD and XFD_ERR are *live* while they are in the MSRs of its CPU and the kernel's
//! copies of them are stale. The FPU core ends that whenever it saves the guest's registers, so a
//! strategy cannot lose anything: it only chooses to look earlier. Nothing here knows about the
//! kernel.

/// Lets the CPU switch both MSRs by itself.
#[path = "strategy/autoload.rs"]
pub(crate) mod autoload;
/// Loses what it saves.
#[cfg(xfd_broken)]
#[path = "strategy/broken.rs"]
pub(crate) mod broken;
/// Saves XFD and XFD_ERR on every VM-exit.
#[path = "strategy/eager.rs"]
pub(crate) mod eager;
/// Looks at nothing on a VM-exit.
#[path = "strategy/lazy.rs"]
pub(crate) mod lazy;
/// Consults XINUSE on every VM-exit.
#[path = "strategy/xinuse.rs"]
pub(crate) mod xinuse;

/// What to do with live MSRs on a VM-exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VmExit {
    /// Leave them in hardware.
    Leave,
    /// Save both and clear XFD_ERR.
    Save {
        /// The bits of XFD to clear for the time in the host, in addition to those of components
        /// that are in use, which the FPU core always clears.
        disarm: u64,
    },
    /// Save both, and lose what was saved.
    #[cfg(xfd_broken)]
    SaveAndForget,
}

/// How a vCPU's XFD and XFD_ERR are switched.
pub(crate) trait Strategy {
    /// Whether [`Strategy::vmexit`] is to be called. If not, a VM-exit costs nothing.
    const LOOKS_AT_VMEXIT: bool;

    /// Whether VMX MSR lists switch the MSRs, so that they are never live.
    const MSR_LISTS: bool = false;

    /// Decides on a VM-exit with live MSRs, given XINUSE of the components that XFD can disable.
    ///
    /// `in_use` is evaluated only if the strategy asks. Called with interrupts disabled.
    fn vmexit(in_use: impl FnOnce() -> u64) -> VmExit;
}
