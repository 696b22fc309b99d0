// SPDX-License-Identifier: GPL-2.0
//! A machine to be: what is in it, what it runs and for how long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::build::kernel::Kernel;

pub struct Machine {
    /// Names its directory below build/boot.
    pub name: String,
    pub emulator: PathBuf,
    pub kernel: Kernel,
    /// xfd_switch.ko, to be there; it is loaded only with a strategy.
    pub module: Option<PathBuf>,
    pub strategy: Option<String>,
    pub programs: Vec<PathBuf>,
    pub added: Vec<PathBuf>,
    pub cpus: u32,
    /// MiB
    pub memory: u32,
    /// The kernel's, and those of KVM's modules: "kvm_intel.ept=0".
    pub parameters: String,
    /// Names of CPU features that the machine is to lack, as Bochs has them, by commas.
    pub without: String,
    /// A script for the machine's sh.
    pub command: String,
    pub timeout: Duration,
    /// How long both serial lines may be silent.
    pub silence: Duration,
}

impl Machine {
    /// One with a CPU, 1 GiB, and nothing in it but the kernel and its modules; it runs nothing, and
    /// is killed after five minutes, or three of silence.
    pub fn new(name: impl Into<String>, emulator: &Path, kernel: &Kernel) -> Self {
        Machine {
            name: name.into(),
            emulator: emulator.to_owned(),
            kernel: kernel.clone(),
            module: None,
            strategy: None,
            programs: Vec::new(),
            added: Vec::new(),
            cpus: 1,
            memory: 1024,
            parameters: String::new(),
            without: String::new(),
            command: String::new(),
            timeout: Duration::from_secs(300),
            silence: Duration::from_secs(180),
        }
    }
}
