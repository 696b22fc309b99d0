// SPDX-License-Identifier: GPL-2.0
//! What the caller chose, on the command line or through make's variables.

use std::path::PathBuf;

/// What the caller chose, on the command line or through make's variables.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Choices {
    /// `no`: install nothing, only say what is missing
    #[arg(long, env = "SETUP", global = true, hide_env_values = true)]
    pub setup: Option<String>,
    /// Jobs for make [default: the number of CPUs]
    #[arg(long, env = "JOBS", global = true, hide_env_values = true)]
    pub jobs: Option<String>,
    /// A prepared kernel build directory to build the module against
    #[arg(long, env = "KDIR", global = true, hide_env_values = true)]
    pub kdir: Option<PathBuf>,
    /// The kernel series, which must be the one that patches/linux is for
    #[arg(long, env = "KERNEL", global = true, hide_env_values = true)]
    pub series: Option<String>,
    /// A kernel source archive (.deb or .tar.*) of your own instead of the download
    #[arg(long, env = "KERNEL_SOURCE", global = true, hide_env_values = true)]
    pub kernel_source: Option<PathBuf>,
    /// A Bochs source archive (.tar.*) of your own instead of the download
    #[arg(long, env = "EMULATOR_SOURCE", global = true, hide_env_values = true)]
    pub emulator_source: Option<PathBuf>,
    /// Where downloads are kept [default: $XDG_CACHE_HOME/xfd_switch/downloads]
    #[arg(long, env = "DOWNLOADS", global = true, hide_env_values = true)]
    pub downloads: Option<PathBuf>,
}

impl Choices {
    pub fn may_install(&self) -> bool {
        self.setup.as_deref() != Some("no")
    }

    pub fn jobs(&self) -> usize {
        self.jobs
            .as_deref()
            .and_then(|j| j.parse().ok())
            .filter(|&j| j > 0)
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
    }
}
