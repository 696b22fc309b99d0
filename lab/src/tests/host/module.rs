// SPDX-License-Identifier: GPL-2.0
//! The module's Rust, with the kernel's settings: rustfmt, clippy.

use std::process::Command;

use anyhow::Result;

use crate::base::failure;
use crate::base::layout::Lab;
use crate::build::kernel;
use crate::build::module;
use crate::build::toolchain;
use crate::tests::host::{host, program, Host};

pub fn tests() -> Vec<Host> {
    vec![
        host("module: rustfmt", rustfmt),
        host("module: clippy", clippy),
    ]
}

fn rustfmt(lab: &Lab) -> Result<()> {
    let tree = kernel::tree(lab, kernel::Kind::Stock)?;
    let mut command = Command::new("rustfmt");
    toolchain::with_toolchain(lab, &mut command)?;
    // rustfmt follows the crate root's `mod` lines.
    command
        .args(["--check", "--edition", "2021", "--config-path"])
        .arg(tree.join(".rustfmt.toml"))
        .arg(lab.at("xfd_switch.rs"));
    program(
        lab,
        "check-module-fmt",
        "rustfmt on the module",
        "run rustfmt with the kernel's .rustfmt.toml",
        &mut command,
    )
}

fn clippy(lab: &Lab) -> Result<()> {
    let patched = kernel::build(lab, kernel::Kind::Patched)?;
    let (clean, log) = module::clippy(lab, &patched)?;
    if clean {
        return Ok(());
    }
    Err(failure::from_log(
        "clippy complains about the module",
        &log,
        "mend what the log shows",
    )
    .into())
}
