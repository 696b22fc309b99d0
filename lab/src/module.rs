// SPDX-License-Identifier: GPL-2.0
//! xfd_switch.ko, and the deliberately broken build of it that `make check` must catch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::kernel::Kernel;
use crate::layout::Lab;
use crate::packages;
use crate::series;
use crate::stamp::{self, Fingerprint};
use crate::step::Step;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Shipped,
    /// Built with XFD_BROKEN=1: a negative control.
    Broken,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Shipped => "module",
            Kind::Broken => "module-broken",
        }
    }

    /// The broken one has a name of its own, to be loadable beside the other.
    fn file(self) -> &'static str {
        match self {
            Kind::Shipped => "xfd_switch.ko",
            Kind::Broken => "xfd_switch_broken.ko",
        }
    }
}

/// What the module is made of, at the repository's root.
const PARTS: [&str; 3] = ["Kbuild", "xfd_switch.rs", "rust"];

pub fn sources(lab: &Lab) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for part in PARTS {
        let path = lab.at(part);
        if path.is_dir() {
            files.extend(stamp::files_below(&path)?);
        } else if path.exists() {
            files.push(path);
        }
    }
    Ok(files)
}

/// Builds the module against a kernel of the lab, unless that is done.
pub fn build(lab: &Lab, kernel: &Kernel, kind: Kind) -> Result<PathBuf> {
    let dir = lab.at("build").join(kind.name());
    let object = dir.join(kind.file());
    let mut print = Fingerprint::new("module")
        .text("kind", kind.name())
        .text("toolchain", &packages::toolchain(lab)?)
        .identity(&kernel.objects.join("Module.symvers"))?
        .identity(&kernel.image())?;
    for file in sources(lab)? {
        print = print.text("at", &lab.shown(&file)).file(&file)?;
    }
    let print = print.finish();
    if stamp::fresh(lab, kind.name(), &print, &[&object]) {
        return Ok(object);
    }
    stamp::forget(lab, kind.name())?;
    let what = match kind {
        Kind::Shipped => "building the module",
        Kind::Broken => "building the broken module (the negative control)",
    };
    let mut step = Step::begin(lab, kind.name(), what)?
        .next("mend what the log shows, then run the same command again");
    stage(lab, &dir)?;
    step.run(&mut command(lab, kernel, &dir, kind)?)?;
    if !object.exists() {
        return Err(
            Failure::new(format!("the module's build made no {}", kind.file()))
                .log(step.log_path())
                .next("look at Kbuild")
                .into(),
        );
    }
    stamp::record(lab, kind.name(), &print)?;
    step.done();
    Ok(object)
}

/// Runs clippy, as the kernel does, over the module; its log's path and whether it is clean.
pub fn clippy(lab: &Lab, kernel: &Kernel) -> Result<(bool, PathBuf)> {
    let dir = lab.at("build/module-clippy");
    series::remove(&dir)?;
    stage(lab, &dir)?;
    let mut step = Step::begin(lab, "module-clippy", "clippy on the module")?;
    let ended = step.status(command(lab, kernel, &dir, Kind::Shipped)?.arg("CLIPPY=1"))?;
    let log = step.log_path().to_owned();
    let clean = !fs::read_to_string(&log)?.contains("warning:");
    step.done();
    Ok((ended && clean, log))
}

fn command(lab: &Lab, kernel: &Kernel, dir: &Path, kind: Kind) -> Result<Command> {
    let mut command = Command::new("make");
    packages::with_toolchain(lab, &mut command)?;
    command
        .arg("-C")
        .arg(&kernel.objects)
        .arg(format!("M={}", dir.display()))
        .arg(format!("-j{}", lab.choices.jobs()))
        .args(["LLVM=1", "modules"]);
    if kind == Kind::Broken {
        command.arg("XFD_BROKEN=1");
    }
    Ok(command)
}

/// Builds the module against the user's own kernel (KDIR=), with the toolchain that is in PATH when
/// that kernel was not built with LLVM.
pub fn build_for(lab: &Lab, kdir: &Path) -> Result<PathBuf> {
    let kdir = kdir.canonicalize().ok().filter(|k| k.join("Makefile").is_file()).ok_or_else(|| {
        Failure::new(format!("KDIR={} is no kernel build directory (no Makefile in it)", kdir.display()))
            .next("give KDIR the directory in which a kernel with CONFIG_RUST=y and patches/linux was built")
    })?;
    let dir = lab.at("build/module-kdir");
    let mut step = Step::begin(lab, "module-kdir", &format!("building the module for {}", kdir.display()))?
        .next("mend what the log shows; the kernel needs CONFIG_RUST=y and patches/linux (see Documentation/)");
    stage(lab, &dir)?;
    let config = fs::read_to_string(kdir.join("include/config/auto.conf")).unwrap_or_default();
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(&kdir)
        .arg(format!("M={}", dir.display()))
        .arg(format!("-j{}", lab.choices.jobs()))
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .arg("modules");
    if config.contains("CONFIG_CC_IS_CLANG=y") {
        command.arg("LLVM=1");
        // Best effort: a machine that has its own toolchain need not be a Debian we know.
        let _ = packages::with_toolchain(lab, &mut command);
    }
    step.run(&mut command)?;
    step.done();
    Ok(dir.join("xfd_switch.ko"))
}

/// Copies the module's sources to where it is built; what has not changed keeps its time of change.
fn stage(lab: &Lab, dir: &Path) -> Result<()> {
    let files = sources(lab)?;
    if !files.iter().any(|f| f.ends_with("Kbuild")) {
        return Err(
            Failure::new("there is no module here: no Kbuild at the repository's root")
                .next("restore it from git")
                .into(),
        );
    }
    for file in &files {
        let to = dir.join(file.strip_prefix(&lab.root)?);
        let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        if fs::read(&to).is_ok_and(|old| old == content) {
            continue;
        }
        crate::layout::write_atomic(&to, &content)?;
    }
    // A source that is gone must not be built any more.
    for part in PARTS.into_iter().filter(|p| dir.join(p).is_dir()) {
        for old in stamp::files_below(&dir.join(part))? {
            let source = lab.root.join(old.strip_prefix(dir)?);
            let is_source = old
                .extension()
                .is_some_and(|x| x == "rs" || x == "c" || x == "h");
            if is_source && !source.exists() {
                fs::remove_file(&old)?;
            }
        }
    }
    Ok(())
}
