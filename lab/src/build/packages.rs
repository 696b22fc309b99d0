// SPDX-License-Identifier: GPL-2.0
//! The Debian packages that the lab needs: lab/packages.sh, which has the list, installs them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::interrupt;
use crate::base::layout::Lab;

/// How the script's words for the user begin when it fails; they are a [`Failure`]'s already.
const FAILED: &str = "lab: error: ";

/// Installs the packages that are missing, and says so; or refuses, when the user wants that.
pub fn setup(lab: &Lab) -> Result<()> {
    sections(lab, &[])
}

/// The same for sections of the list that are for one purpose only.
pub fn sections(lab: &Lab, names: &[&str]) -> Result<()> {
    let mut command = Command::new(lab.at("lab/packages.sh"));
    command.args(names);
    if !lab.choices.may_install() {
        command.env("SETUP", "no");
    }
    installed(&mut command)
}

/// Runs the script, shows what it says, and makes its message of a failure ours.
fn installed(script: &mut Command) -> Result<()> {
    // Not a process group of its own: sudo may have to ask on the terminal.
    let mut child = script
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", script.get_program().to_string_lossy()))?;
    let mut why = String::new();
    for line in BufReader::new(child.stderr.take().context("no stderr")?).lines() {
        let line = line?;
        match line.strip_prefix(FAILED) {
            Some(what) => why = what.to_owned(),
            None if !why.is_empty() => why += &format!("\n{line}"),
            None => eprintln!("{line}"),
        }
    }
    let status = child.wait()?;
    interrupt::check()?;
    if status.success() {
        return Ok(());
    }
    if why.is_empty() {
        why = format!("lab/packages.sh ended with {status}");
    }
    Err(Failure::new(why).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn script() -> Command {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packages.sh"))
    }

    #[test]
    fn an_empty_section_lacks_nothing() {
        installed(script().arg("no such section").env("SETUP", "no")).unwrap();
    }

    #[test]
    fn the_script_s_words_are_the_failure_s() {
        let mut sh = Command::new("sh");
        sh.args([
            "-c",
            "printf 'lab: error: a is missing:\\n    b\\n  next: c\\n' >&2; exit 1",
        ]);
        let failure = installed(&mut sh).unwrap_err().to_string();
        assert_eq!(failure, "a is missing:\n    b\n  next: c");
    }

    #[test]
    fn each_release_of_the_list_has_the_toolchain() {
        let list = include_str!("../../config/packages");
        for release in ["bookworm", "trixie"] {
            let (_, section) = list.split_once(&format!("[release {release}]")).unwrap();
            let section = section.split("\n[").next().unwrap();
            let version = crate::build::toolchain::LLVM.rsplit('-').next().unwrap();
            assert!(section.contains(&format!("clang-{version} ")), "{section}");
        }
    }
}
