// SPDX-License-Identifier: GPL-2.0
//! A program of Debian's with its libraries, in a directory of its own: it runs by its own dynamic loader
//! wherever that is put, and nothing of it is installed.

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
use crate::build::download::{self, Packages};

/// Where Debian has libraries, and the dynamic loader.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// What is taken out of the packages.
pub struct Unpacked {
    /// The program is called so, and the directory of build/.
    pub name: &'static str,
    pub program: &'static str,
    /// What it reads.
    pub files: &'static [&'static str],
}

impl Unpacked {
    /// Fetches and unpacks it, unless that is done: `bin/NAME`, `lib/` and `share/` in the directory that
    /// is returned.
    pub fn build(&self, lab: &Lab, packages: &Packages) -> Result<PathBuf> {
        let name = self.name;
        let output = lab.at("build").join(name);
        let archives = download::packages(lab, packages, name)?;
        let what = format!("{} {:?}", self.program, self.files);
        let mut print = Fingerprint::new(name).text("what", &what);
        for archive in &archives {
            print = print.text("archive", &archive.sha256);
        }
        let print = print.finish();
        if stamp::fresh(lab, name, &print, &[&output]) {
            return Ok(output);
        }
        stamp::forget(lab, name)?;
        let mut step = Step::begin(lab, name, &format!("unpacking {name}"))?;
        let root = output.with_extension("root");
        for dir in [&root, &output] {
            files::remove(dir)?;
            fs::create_dir_all(dir)?;
        }
        for archive in &archives {
            let mut unpack = Command::new("dpkg-deb");
            step.run(unpack.arg("-x").arg(&archive.path).arg(&root))?;
        }
        self.gather(&root, &output)?;
        files::remove(&root)?;
        stamp::record(lab, name, &print)?;
        step.done();
        Ok(output)
    }

    /// Takes what it needs out of the packages' tree.
    fn gather(&self, root: &Path, output: &Path) -> Result<()> {
        for dir in ["bin", "lib", "share"] {
            fs::create_dir_all(output.join(dir))?;
        }
        let copy = |from: &str, to: &Path| {
            let from = root.join(from);
            fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))
        };
        let program = output.join("bin").join(self.name);
        copy(self.program, &program)?;
        for file in self.files {
            let name = Path::new(file).file_name().unwrap_or_default();
            copy(file, &output.join("share").join(name))?;
        }
        let (mut todo, mut seen) = (vec![program], BTreeSet::new());
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
        let what = format!("{} needs libraries that no package here has", self.name);
        Err(Failure::new(what)
            .details(missing)
            .next(format!(
                "add their packages to [{}] in lab/config/sources.toml",
                self.name
            ))
            .into())
    }
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
        let (root, output) = (dir.path().join("root"), dir.path().join("x"));
        let unpacked = Unpacked {
            name: "x",
            program: "usr/bin/y",
            files: &["usr/share/y/z.rom"],
        };
        for file in [unpacked.program, unpacked.files[0]] {
            let at = root.join(file);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            // Any program will do: this one needs at least the C library.
            fs::copy("/proc/self/exe", at).unwrap();
        }
        let error = unpacked.gather(&root, &output).unwrap_err().to_string();
        assert!(
            error.contains("libc.so.6") && error.contains("[x]"),
            "{error}"
        );
        assert!(output.join("share/z.rom").exists() && output.join("bin/x").exists());
    }
}
