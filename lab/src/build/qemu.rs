// SPDX-License-Identifier: GPL-2.0
//! Debian's QEMU with its libraries and firmware, in a directory of its own: it runs by its own dynamic
//! loader wherever that is put, and nothing of it is installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::{ask, Step};
use crate::build::download::{self, Pins};

/// The smaller one of the package's: the machine type microvm, and what it takes.
const PROGRAM: &str = "usr/bin/qemu-system-x86_64-microvm";
/// What QEMU reads when a guest starts from a kernel image.
const FIRMWARE: [&str; 2] = [
    "usr/share/qemu/qboot.rom",
    "usr/share/qemu/linuxboot_dma.bin",
];
/// Where Debian has libraries, and the dynamic loader.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Fetches and unpacks it, unless that is done: `bin/qemu`, `lib/` and `share/` in the directory that
/// is returned.
pub fn build(lab: &Lab) -> Result<PathBuf> {
    let output = lab.at("build/qemu");
    let archives = download::packages(lab, &Pins::read(lab)?.qemu, "qemu")?;
    let mut print = Fingerprint::new("qemu").text("what", &format!("{PROGRAM} {FIRMWARE:?}"));
    for archive in &archives {
        print = print.text("archive", &archive.sha256);
    }
    let print = print.finish();
    if stamp::fresh(lab, "qemu", &print, &[&output]) {
        return Ok(output);
    }
    stamp::forget(lab, "qemu")?;
    let mut step = Step::begin(lab, "qemu", "unpacking QEMU")?;
    let root = output.with_extension("root");
    for dir in [&root, &output] {
        files::remove(dir)?;
        fs::create_dir_all(dir)?;
    }
    for archive in &archives {
        let mut unpack = Command::new("dpkg-deb");
        step.run(unpack.arg("-x").arg(&archive.path).arg(&root))?;
    }
    gather(&root, &output)?;
    files::remove(&root)?;
    stamp::record(lab, "qemu", &print)?;
    step.done();
    Ok(output)
}

/// Takes what QEMU needs out of the packages' tree.
fn gather(root: &Path, output: &Path) -> Result<()> {
    for dir in ["bin", "lib", "share"] {
        fs::create_dir_all(output.join(dir))?;
    }
    let copy = |from: &str, to: &Path| {
        let from = root.join(from);
        fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))
    };
    copy(PROGRAM, &output.join("bin/qemu"))?;
    for file in FIRMWARE {
        let name = Path::new(file).file_name().unwrap_or_default();
        copy(file, &output.join("share").join(name))?;
    }
    let (mut todo, mut seen) = (vec![output.join("bin/qemu")], BTreeSet::new());
    let mut missing = Vec::new();
    while let Some(object) = todo.pop() {
        for name in needed(&object)? {
            if !seen.insert(name.clone()) {
                continue;
            }
            let mut places = LIBRARIES.iter().map(|dir| format!("{dir}/{name}"));
            match places.find(|place| root.join(place).exists()) {
                Some(place) => {
                    let to = output.join("lib").join(&name);
                    copy(&place, &to)?;
                    todo.push(to);
                }
                None => missing.push(name),
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(
        Failure::new("QEMU needs libraries that no package here has")
            .details(missing)
            .next("add their packages to [qemu] in lab/config/sources.toml")
            .into(),
    )
}

/// The libraries that a program or library names, the dynamic loader among them.
fn needed(object: &Path) -> Result<Vec<String>> {
    let shown = ask(Command::new("objdump").arg("-p").arg(object));
    let shown = shown.with_context(|| format!("objdump cannot read {}", object.display()))?;
    Ok(listed(&shown))
}

fn listed(shown: &str) -> Vec<String> {
    let lines = shown.lines().map(str::trim);
    let names = lines.filter_map(|line| line.strip_prefix("NEEDED"));
    names.map(|name| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read() {
        let shown = "Dynamic Section:\n  NEEDED               libz.so.1\n  NEEDED               libc.so.6\n  INIT 0x0\n";
        assert_eq!(listed(shown), ["libz.so.1", "libc.so.6"]);
    }

    #[test]
    fn a_library_that_no_package_has_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (root, output) = (dir.path().join("root"), dir.path().join("qemu"));
        for file in FIRMWARE.iter().chain([&PROGRAM]) {
            let at = root.join(file);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            // Any program will do: this one needs at least the C library.
            fs::copy("/proc/self/exe", at).unwrap();
        }
        let error = gather(&root, &output).unwrap_err().to_string();
        assert!(error.contains("libc.so.6"), "{error}");
        assert!(output.join("share/qboot.rom").exists());
    }
}
