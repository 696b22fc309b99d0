// SPDX-License-Identifier: GPL-2.0

//! Switches IA32_XFD and IA32_XFD_ERR of KVM vCPUs as rarely as possible, and never loses a guest's
//! AMX state.
//!
//! A strategy decides on each VM-exit whether to save the MSRs; whatever it decides, the FPU core
//! saves them before it saves the guest's registers. `Documentation/index.rst` tells the whole.

#[path = "rust/bindings.rs"]
mod bindings;
#[path = "rust/choice.rs"]
mod choice;
#[path = "rust/hooks.rs"]
mod hooks;
#[path = "rust/notifier.rs"]
mod notifier;
#[path = "rust/param.rs"]
mod param;
#[path = "rust/strategy.rs"]
mod strategy;
#[path = "rust/vcpu.rs"]
mod vcpu;
#[path = "rust/xstate.rs"]
mod xstate;

use kernel::prelude::*;

use crate::hooks::Registration;

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

        // SAFETY: Only the hooks read what this writes, and they are not registered yet.
        unsafe { xstate::enumerate() };

        let choice = param::strategy();
        let registration = choice.register().inspect_err(|&e| match e {
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
        })
    }
}

impl Drop for XfdSwitch {
    fn drop(&mut self) {
        pr_info!("unloaded, KVM switches XFD itself\n");
    }
}
