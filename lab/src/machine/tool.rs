// SPDX-License-Identifier: GPL-2.0
//! A program that makes a part of the machine: it says nothing unless it fails.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure;

/// What went wrong lies in this file of the machine's directory.
const LOG: &str = "compose.log";

/// Runs it and returns what it has written to its standard output.
pub fn run(command: &mut Command, what: &str, dir: &Path) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("starting {program}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let log = dir.join(LOG);
    fs::write(&log, output.stderr)?;
    Err(failure::from_log(
        &format!("{what} failed ({program})"),
        &log,
        "check the disk's free space; `lab setup` installs the programs that are missing",
    )
    .into())
}
