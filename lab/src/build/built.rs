// SPDX-License-Identifier: GPL-2.0
//! A built kernel: where its source and its objects are.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

#[derive(Clone, Debug)]
pub struct Kernel {
    pub source: PathBuf,
    pub objects: PathBuf,
}

impl Kernel {
    pub fn image(&self) -> PathBuf {
        self.objects.join("arch/x86/boot/bzImage")
    }

    /// The version that the kernel itself gives ("7.3.4").
    pub fn release(&self) -> Result<String> {
        Ok(self
            .text("include/config/kernel.release")?
            .trim()
            .to_owned())
    }

    /// Its modules, in the order in which they were linked.
    pub fn modules(&self) -> Result<Vec<PathBuf>> {
        let order = self.text("modules.order")?;
        let objects = order.lines().map(|line| self.objects.join(line));
        Ok(objects.map(|object| object.with_extension("ko")).collect())
    }

    fn text(&self, file: &str) -> Result<String> {
        let path = self.objects.join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }
}
