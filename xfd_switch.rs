// SPDX-License-Identifier: GPL-2.0

//! Switches IA32_XFD and IA32_XFD_ERR of KVM vCPUs as rarely as possible, and never loses a guest's
//! AMX state.
//!
//! While a guest's two values are in the MSRs of its CPU, and the kernel's copies of them are stale,
//! they are *live*. A [`Strategy`](rust::strategy::Strategy) decides on a VM-exit whether to save
//! them. Whatever it decides, the FPU core saves them before it saves the guest's registers, so that
//! none can lose anything: what is here is about cost, and what is safe is C in the host series.
//!
//! Follow a VM from its beginning:
//!
//! 1. On load, [`param`] has taken the parameter `strategy=`, which names a
//!    [`Choice`](rust::choice::Choice), and that is registered with KVM:
//!    [`Registration`]. VMs created from now on are *attached*.
//! 2. Each vCPU of an attached VM gets a [`Vcpu`](rust::vcpu::Vcpu) when it is created.
//! 3. KVM_RUN, if there is something to load, registers its
//!    [`Notifier`](rust::notifier::Notifier), which saves live MSRs when the scheduler takes the
//!    thread's CPU away.
//! 4. Its first XFD other than 0 *arms* it, which is a [`trace`](rust::trace) event.
//! 5. A VM-exit of a guest that has armed XFD asks the strategy, if that has a `vmexit()`. It may
//!    consult [`in_use()`](rust::xstate::in_use).
//! 6. What the FPU core has counted for it can be read in debugfs: [`counters`].
//!
//! A new strategy is a file and a line: [`strategy`](rust::strategy). `Documentation/design.rst` has
//! the rules that the host series keeps.

mod rust {
    //! The parts, each in a file of `rust/`. [`strategy`] decides and knows nothing of the kernel;
    //! all others are edges to it and decide nothing.

    pub(crate) mod bindings;
    pub(crate) mod choice;
    pub(crate) mod counters;
    pub(crate) mod debugfs;
    pub(crate) mod hooks;
    pub(crate) mod notifier;
    pub(crate) mod param;
    pub(crate) mod strategy;
    pub(crate) mod trace;
    pub(crate) mod vcpu;
    pub(crate) mod xstate;
}

use kernel::prelude::*;

use crate::rust::{
    counters,
    debugfs,
    hooks::Registration,
    param,
    vcpu,
    xstate, //
};

module! {
    type: XfdSwitch,
    name: "xfd_switch",
    authors: ["xfd_switch developers"],
    description: "Switch of XFD and XFD_ERR for KVM guests that use AMX",
    license: "GPL",
}

/// The loaded module: VMs that are created while it lives are attached.
struct XfdSwitch {
    _registration: Registration,
    _debugfs: debugfs::Dir,
}

impl kernel::Module for XfdSwitch {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if !xstate::cpu_has_xfd() {
            pr_err!("this CPU has no XFD: there is nothing to switch\n");
            return Err(ENODEV);
        }
        if !xstate::cpu_has_vmx() {
            pr_err!("this CPU has no VMX: there are no guests to switch for\n");
            return Err(ENODEV);
        }

        // SAFETY: A module is initialised once, and nobody can have called anything before.
        unsafe { counters::init() };

        let choice = param::strategy();
        // SAFETY: It is dropped on module exit, as nothing below fails.
        let registration = unsafe { choice.register() }.inspect_err(|&e| match e {
            EBUSY => pr_err!("another module switches XFD for KVM: unload that first\n"),
            EOPNOTSUPP => pr_err!(
                "KVM offers no XFD to guests: load kvm-intel first, or see why it does not\n"
            ),
            e => pr_err!("KVM refused the registration: {:?}\n", e),
        })?;

        pr_info!(
            "strategy {} for VMs created from now on, {} bytes per vCPU\n",
            choice.name(),
            vcpu::SIZE
        );
        Ok(Self {
            _registration: registration,
            _debugfs: counters::show_all(),
        })
    }
}

impl Drop for XfdSwitch {
    fn drop(&mut self) {
        pr_info!("unloaded, KVM switches XFD itself\n");
    }
}
