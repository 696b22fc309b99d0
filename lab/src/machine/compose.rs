// SPDX-License-Identifier: GPL-2.0
//! A machine's directory below build/boot, ready to be run: its disk and the emulator's configuration.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files::remove;
use crate::base::layout::Lab;
use crate::machine::bochsrc::bochsrc;
use crate::machine::common::common;
use crate::machine::image;
use crate::machine::initramfs::Tree;
use crate::machine::{newest, Machine};

/// Composes the machine's directory with its disk; the lab should be locked while it does.
pub fn compose(lab: &Lab, machine: &Machine) -> Result<PathBuf> {
    let dir = lab.at("build/boot").join(&machine.name);
    remove(&dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    newest::keep(20, &lab.at("build/boot"), "boot-")?;
    let common = common(lab, machine, &dir)?;
    let own = Tree::new(&dir, "own")?;
    own.text("cmd", &machine.command)?;
    own.text("etc/strategy", machine.strategy.as_deref().unwrap_or(""))?;
    own.directory("add")?;
    for file in &machine.added {
        let name = file.file_name().ok_or_else(|| {
            Failure::new(format!("{} has no name to add it under", file.display()))
                .next("name a file or a directory")
        })?;
        if !file.exists() {
            return Err(
                Failure::new(format!("there is no {} to add", file.display()))
                    .next("check --add")
                    .into(),
            );
        }
        own.add(&format!("add/{}", name.to_string_lossy()), file)?;
    }
    // idle=halt: with two CPUs and the default idle loop tests stalled for a second now and then, with
    // this they did not. The emulator's MWAIT is the suspect; nobody has looked.
    let parameters = format!(
        "console=ttyS0,115200 rdinit=/init panic=0 idle=halt {}",
        machine.parameters
    );
    let disk = image::make(
        &dir,
        &machine.kernel.image(),
        &[&common, &own.pack()?],
        &parameters,
    )?;
    fs::write(dir.join("bochsrc"), bochsrc(machine, &disk))?;
    Ok(dir)
}
