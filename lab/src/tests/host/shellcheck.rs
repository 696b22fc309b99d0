// SPDX-License-Identifier: GPL-2.0
//! shellcheck on every shell script, this machine's and the emulated one's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::step::ask;
use crate::tests::host::{host, program, Host};

/// The shell of the emulated machine is busybox's, an offspring of dash.
const GUEST: &str = "lab/guest";

pub fn test() -> Host {
    host("shellcheck", |lab| {
        installed()?;
        let (guest, own): (Vec<_>, Vec<_>) = scripts(&lab.root)?
            .into_iter()
            .partition(|f| f.starts_with(lab.at(GUEST)));
        shellcheck(lab, "shellcheck", &[], &own)?;
        shellcheck(lab, "shellcheck-guest", &["--shell=dash"], &guest)
    })
}

fn installed() -> Result<()> {
    match ask(Command::new("shellcheck").arg("--version")) {
        Some(_) => Ok(()),
        None => Err(Failure::new("shellcheck is missing")
            .next("apt-get install shellcheck")
            .into()),
    }
}

fn shellcheck(lab: &Lab, log: &str, options: &[&str], scripts: &[PathBuf]) -> Result<()> {
    program(
        lab,
        log,
        log,
        "mend what the log shows; https://www.shellcheck.net/wiki/ explains each number",
        Command::new("shellcheck")
            .current_dir(&lab.root)
            .args(["--external-sources", "--format=gcc"])
            .args(options)
            .args(scripts.iter().map(|f| lab.shown(f))),
    )
}

/// Files of the repository that are named or begin like a shell script.
fn scripts(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("reading {}", root.display()))? {
        let path = entry?.path();
        if ["build", ".git"].iter().any(|no| path.ends_with(no)) {
            continue;
        }
        match path.is_dir() {
            true => found.extend(files::below(&path)?),
            false => found.push(path),
        }
    }
    found.retain(|f| is_script(f));
    found.sort();
    Ok(found)
}

fn is_script(file: &Path) -> bool {
    file.extension().is_some_and(|x| x == "sh")
        || fs::read(file).is_ok_and(|content| {
            let first = content.split(|b| *b == b'\n').next().unwrap_or_default();
            first.starts_with(b"#!") && first.ends_with(b"sh")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_by_name_and_by_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for sub in [".ci", "lab", "build"] {
            fs::create_dir(at(sub)).unwrap();
        }
        fs::write(at(".ci/run"), "#!/usr/bin/env bash\n").unwrap();
        fs::write(at("lab/x.sh"), "").unwrap();
        fs::write(at("lab/x.py"), "#!/usr/bin/python3\n").unwrap();
        fs::write(at("build/y.sh"), "").unwrap();
        assert_eq!(
            scripts(dir.path()).unwrap(),
            [at(".ci/run"), at("lab/x.sh")]
        );
    }

    #[test]
    fn those_of_the_repository_are_among_them() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let found = scripts(&root).unwrap();
        for name in ["lab/guest/lab.sh", "lab/bootstrap.sh", ".ci/run"] {
            assert!(found.contains(&root.join(name)), "{name}: {found:?}");
        }
    }
}
