// SPDX-License-Identifier: GPL-2.0
//! A built kernel: where its source and its objects are.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::files;

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
        let text = files::text(&self.objects.join("include/config/kernel.release"))?;
        Ok(text.trim().to_owned())
    }

    /// Its modules, in the order in which they were linked.
    pub fn modules(&self) -> Result<Vec<PathBuf>> {
        let order = files::text(&self.objects.join("modules.order"))?;
        let objects = order.lines().map(|line| self.objects.join(line));
        Ok(objects.map(|object| object.with_extension("ko")).collect())
    }
}
