// SPDX-License-Identifier: GPL-2.0
//! The measurement, as run.json has it.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// As in selftests/xfd_measure.c, which says what all the figures mean.
pub const STATES: [&str; 6] = ["never", "armed", "live", "dormant", "pending", "no_amx"];
/// What an L2 does.
pub const NESTED: [&str; 4] = ["write_xfd", "nm", "exit_l0", "exit_l1"];
pub const VCPUS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
pub const LOSSES: [&str; 8] = [
    "live_in_kernel",
    "live_userspace",
    "live_preempt",
    "live_migrate",
    "dormant_in_kernel",
    "dormant_userspace",
    "dormant_preempt",
    "dormant_migrate",
];

/// build/report/run.json
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub struct Report {
    pub kernel: String,
    /// What the kernels were built from: Debian's package and its version, or an archive's SHA-256.
    #[serde(default)]
    pub kernel_source: String,
    pub strategies: Strategies,
    pub goals: Vec<Goal>,
}

/// Figures by strategy, in the order of every table; those without the module come first.
pub type Strategies = IndexMap<String, Figures>;

/// The columns that are no strategies: the stock kernel, the one with patches/minimal, and the patched
/// one while the module is not loaded.
pub const WITHOUT_MODULE: [&str; 3] = ["stock", "minimal", "unloaded"];

/// Whether a column is a strategy of the module's.
pub fn is_strategy(column: &str) -> bool {
    !WITHOUT_MODULE.contains(&column)
}

/// What the figures must show, and why they don't, if they don't.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Goal {
    pub goal: String,
    pub met: bool,
    pub failures: Vec<String>,
}

/// Costs by the state of the guest.
pub type States = BTreeMap<String, Cost>;

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Figures {
    pub exit: States,
    pub userspace: States,
    pub switch_plain: States,
    pub switch_amx: States,
    /// Exits of VMs that are older than the module, which must not matter to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older: Option<States>,
    pub list_entries: BTreeMap<String, u64>,
    pub nm: Nm,
    /// By what the L2 of an armed guest does.
    pub nested: BTreeMap<String, Nested>,
    pub vcpus: BTreeMap<u32, Vcpus>,
    pub bytes_per_vcpu: Bytes,
    pub bytes_lost: BTreeMap<String, u64>,
}

/// Of `times` events, and instructions of one in an untraced pass.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Cost {
    pub times: u64,
    /// After how many of them the guest still was in its state.
    pub kept: u64,
    #[serde(flatten)]
    pub msr: Accesses,
    pub instructions: u64,
}

/// Of exits of many vCPUs together; instructions of the cheapest and of the dearest vCPU.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Vcpus {
    pub times: u64,
    #[serde(flatten)]
    pub msr: Accesses,
    pub instructions_min: u64,
    pub instructions_max: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Accesses {
    pub rdmsr_xfd: u64,
    pub wrmsr_xfd: u64,
    pub rdmsr_xfd_err: u64,
    pub wrmsr_xfd_err: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Nm {
    pub exits: f64,
    pub instructions: u64,
}

/// Of `times` events of an L2: accesses and exits to L0, and instructions of one in an untraced pass.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Nested {
    pub times: u64,
    #[serde(flatten)]
    pub msr: Accesses,
    pub exits: u64,
    pub instructions: u64,
}

/// Memory: slab objects, and what the module says.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Bytes {
    pub kvm_vcpu: u64,
    pub task_struct: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<u64>,
}

impl Accesses {
    fn sum(&self) -> u64 {
        self.rdmsr_xfd + self.wrmsr_xfd + self.rdmsr_xfd_err + self.wrmsr_xfd_err
    }

    /// All of them, of one of `times`.
    fn each(&self, times: u64) -> f64 {
        self.sum() as f64 / times as f64
    }
}

impl Cost {
    /// RDMSR and WRMSR of both MSRs, each time.
    pub fn accesses(&self) -> f64 {
        self.msr.each(self.times)
    }

    /// RDMSR of both MSRs, each time.
    pub fn rdmsr(&self) -> f64 {
        (self.msr.rdmsr_xfd + self.msr.rdmsr_xfd_err) as f64 / self.times as f64
    }

    /// WRMSR of both MSRs, each time.
    pub fn wrmsr(&self) -> f64 {
        (self.msr.wrmsr_xfd + self.msr.wrmsr_xfd_err) as f64 / self.times as f64
    }
}

impl Nested {
    /// RDMSR and WRMSR of both MSRs, each time.
    pub fn accesses(&self) -> f64 {
        self.msr.each(self.times)
    }

    /// VM-exits to L0, each time.
    pub fn exits(&self) -> f64 {
        self.exits as f64 / self.times as f64
    }
}

impl Vcpus {
    /// RDMSR and WRMSR of both MSRs, per exit.
    pub fn accesses(&self) -> f64 {
        self.msr.each(self.times)
    }
}
