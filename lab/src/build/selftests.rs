// SPDX-License-Identifier: GPL-2.0
//! The programs that run in the machine: selftests/ and the kernel tree's own, built static.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::{ask, Step};
use crate::build::kernel;

/// Builds them, unless that is done, and returns the directory that holds them.
///
/// They are built from the patched tree: its headers are stock's and what the series adds.
pub fn build(lab: &Lab) -> Result<PathBuf> {
    let output = lab.at("build/selftests");
    let source = kernel::tree(lab, kernel::Kind::Patched)?;
    let print = crate::build::series::fingerprint(
        Fingerprint::new("selftests")
            .tree(&lab.at("selftests"))?
            .text("source", &crate::build::source::kernel(lab)?.sha256)
            .text(
                "compiler",
                &ask(Command::new("gcc").arg("--version")).unwrap_or_default(),
            ),
        &kernel::patches(lab, kernel::Kind::Patched)?,
    )?
    .finish();
    if stamp::fresh(lab, "selftests", &print, &[&output]) {
        return Ok(output);
    }
    stamp::forget(lab, "selftests")?;
    let mut step = Step::begin(lab, "selftests", "building the selftests")?
        .next("mend what the log shows, then run the same command again");
    fs::create_dir_all(&output)?;
    let headers = lab.at("build/headers");
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(lab.at("selftests"))
        .arg(format!("KSRC={}", source.display()))
        .arg(format!("HEADERS={}", headers.display()))
        .arg(format!("OUTPUT={}", output.display()))
        .env("LC_ALL", "C");
    for inherited in ["OUTPUT", "KDIR"] {
        command.env_remove(inherited);
    }
    lab.jobs.share(&mut command);
    step.run(&mut command)?;
    stamp::record(lab, "selftests", &print)?;
    step.done();
    Ok(output)
}

/// The programs in that directory: static executables, no objects.
pub fn programs(output: &std::path::Path) -> Result<Vec<PathBuf>> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = Vec::new();
    for entry in fs::read_dir(output)? {
        let path = entry?.path();
        let meta = fs::metadata(&path)?;
        let is_object = path
            .extension()
            .is_some_and(|x| x == "o" || x == "d" || x == "a");
        if meta.is_file() && meta.permissions().mode() & 0o111 != 0 && !is_object {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
