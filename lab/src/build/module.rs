// SPDX-License-Identifier: GPL-2.0
//! xfd_switch.ko, the deliberately broken build of it that `make check` must catch, and what the
//! compiler's other tools say of its source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::kernel::Kernel;
use crate::build::toolchain;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    #[default]
    #[serde(rename = "module")]
    Shipped,
    /// Built with [`BROKEN`]: a negative control.
    #[serde(rename = "module-broken")]
    Broken,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Shipped => "module",
            Kind::Broken => "module-broken",
        }
    }
}

/// A mutant, which adds the strategy `broken`.
const BROKEN: &str = "selftests/mutants/forget-saved.patch";

const OBJECT: &str = "xfd_switch.ko";

/// What the module is made of, at the repository's root.
const PARTS: [&str; 3] = ["Kbuild", "xfd_switch.rs", "rust"];

pub fn sources(lab: &Lab) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for part in PARTS {
        let path = lab.at(part);
        if path.is_dir() {
            files.extend(files::below(&path)?);
        } else if path.exists() {
            files.push(path);
        }
    }
    Ok(files)
}

/// What a build of `what` for a kernel is called, and its directory below build/: each kernel has its
/// own, so that changing from one to the other and back builds nothing.
pub fn named(lab: &Lab, kernel: &Kernel, what: &str) -> String {
    let of_lab = kernel.objects.strip_prefix(lab.at("build/linux"));
    let suffix = match of_lab.ok().and_then(Path::to_str) {
        Some("patched") => return what.to_owned(),
        Some(name) => name.replace('/', "-"),
        None => {
            let path = kernel.objects.display().to_string();
            Fingerprint::new("objects").text("at", &path).finish()[..8].to_owned()
        }
    };
    format!("{what}-{suffix}")
}

/// Builds the module against a kernel, unless that is done.
pub fn build(lab: &Lab, kernel: &Kernel, kind: Kind) -> Result<PathBuf> {
    let name = named(lab, kernel, kind.name());
    let dir = lab.at("build").join(&name);
    let object = dir.join(OBJECT);
    let mut print = Fingerprint::new("module")
        .text("kind", kind.name())
        .text("toolchain", &toolchain::versions_with_rust(lab)?)
        .identity(&kernel.objects.join("Module.symvers"))?
        .identity(&kernel.image())?;
    for file in sources(lab)? {
        print = print.text("at", &lab.shown(&file)).file(&file)?;
    }
    if kind == Kind::Broken {
        print = print.file(&lab.at(BROKEN))?;
    }
    let print = print.finish();
    if stamp::fresh(lab, &name, &print, &[&object]) {
        return Ok(object);
    }
    stamp::forget(lab, &name)?;
    let what = match kind {
        Kind::Shipped => "building the module",
        Kind::Broken => "building the broken module (the negative control)",
    };
    let of = kernel.objects.file_name().unwrap_or_default();
    let what = format!("{what} for the {} kernel", of.to_string_lossy());
    let mut step = Step::begin(lab, &name, &what)?
        .next("mend what the log shows, then run the same command again");
    stage(lab, &dir)?;
    if kind == Kind::Broken {
        patch(&dir, &lab.at(BROKEN), &mut step)?;
    }
    make(lab, kernel, &dir, &mut step)?;
    stamp::record(lab, &name, &print)?;
    step.done();
    Ok(object)
}

/// Builds the module with a patch applied to a copy of its sources in `dir`.
pub fn build_patched(lab: &Lab, kernel: &Kernel, change: &Path, dir: &Path) -> Result<PathBuf> {
    let name = change.file_stem().unwrap_or_default().to_string_lossy();
    let mut step = Step::begin(
        lab,
        &format!("module-{name}"),
        &format!("building the module with {name}"),
    )?
    .next("mend the patch, then run the same command again");
    files::remove(dir)?;
    stage(lab, dir)?;
    patch(dir, change, &mut step)?;
    let object = make(lab, kernel, dir, &mut step)?;
    step.done();
    Ok(object)
}

fn patch(dir: &Path, change: &Path, step: &mut Step) -> Result<()> {
    step.run(
        Command::new("patch")
            .args(["-p1", "--batch", "--forward", "--fuzz=0", "-d"])
            .arg(dir)
            .arg("-i")
            .arg(change),
    )
}

fn make(lab: &Lab, kernel: &Kernel, dir: &Path, step: &mut Step) -> Result<PathBuf> {
    step.run(&mut make_command(lab, kernel, dir)?)?;
    let object = dir.join(OBJECT);
    if object.exists() {
        return Ok(object);
    }
    Err(Failure::new(format!("the module's build made no {OBJECT}"))
        .log(step.log_path())
        .next("look at Kbuild")
        .into())
}

/// Runs clippy, as the kernel does, over the module; its log's path and whether it is clean.
pub fn clippy(lab: &Lab, kernel: &Kernel) -> Result<(bool, PathBuf)> {
    let dir = lab.at("build/module-clippy");
    files::remove(&dir)?;
    stage(lab, &dir)?;
    let mut step = Step::begin(lab, "module-clippy", "clippy on the module")?;
    let ended = step.status(make_command(lab, kernel, &dir)?.arg("CLIPPY=1"))?;
    let log = step.log_path().to_owned();
    let clean = !fs::read_to_string(&log)?.contains("warning:");
    step.done();
    Ok((ended && clean, log))
}

/// Makes the module's documentation, as the kernel's own is made; its first page.
pub fn rustdoc(lab: &Lab, kernel: &Kernel) -> Result<PathBuf> {
    let dir = lab.at("build/module-rustdoc");
    files::remove(&dir)?;
    stage(lab, &dir)?;
    let mut step = Step::begin(lab, "module-rustdoc", "rustdoc on the module")?
        .next("mend what the log shows");
    step.run(make_command(lab, kernel, &dir)?.arg("XFD_RUSTDOC=y"))?;
    step.done();
    Ok(dir.join("rustdoc/xfd_switch/index.html"))
}

/// Builds the tests of the strategies' decisions, which run on this machine; the program.
pub fn strategy_tests(lab: &Lab, kernel: &Kernel, step: &mut Step) -> Result<PathBuf> {
    let dir = lab.at("build/module-strategies");
    fs::create_dir_all(&dir)?;
    let program = dir.join("strategies");
    let mut command = Command::new("rustc");
    toolchain::with_toolchain(lab, &mut command)?;
    // `vtable` is the kernel's, which has been built with the same compiler.
    let macros = kernel.objects.join("rust/libmacros.so");
    command
        .args(["--test", "--edition", "2021", "-Dwarnings", "--extern"])
        .arg(format!("macros={}", macros.display()))
        .arg("-o")
        .arg(&program)
        .arg(lab.at("rust/tests.rs"));
    step.run(&mut command)?;
    Ok(program)
}

/// `make` for modules outside of the kernel tree, in `dir`.
pub fn make_command(lab: &Lab, kernel: &Kernel, dir: &Path) -> Result<Command> {
    let mut command = Command::new("make");
    toolchain::with_toolchain(lab, &mut command)?;
    command
        .arg("-C")
        .arg(&kernel.objects)
        .arg(format!("M={}", dir.display()))
        .args(["LLVM=1", "modules"]);
    lab.jobs.share(&mut command);
    Ok(command)
}

/// Builds the module against the user's own kernel (KDIR=), with the toolchain that is in PATH when
/// that kernel was not built with LLVM.
pub fn build_for(lab: &Lab, kdir: &Path) -> Result<PathBuf> {
    let kdir = prepared(kdir)?;
    let dir = lab.at("build/module-kdir");
    let mut step = Step::begin(lab, "module-kdir", &format!("building the module for {}", kdir.display()))?
        .next("mend what the log shows; the kernel needs CONFIG_RUST=y and patches/linux (see Documentation/)");
    stage(lab, &dir)?;
    step.run(&mut make_command_for(lab, &kdir, &dir))?;
    step.done();
    Ok(dir.join(OBJECT))
}

/// The user's own kernel, if modules can be built against it.
pub fn prepared(kdir: &Path) -> Result<PathBuf> {
    kdir.canonicalize().ok().filter(|k| k.join("Makefile").is_file()).ok_or_else(|| {
        Failure::new(format!("KDIR={} is no kernel build directory (no Makefile in it)", kdir.display()))
            .next("give KDIR the directory in which a kernel with CONFIG_RUST=y and patches/linux was built")
            .into()
    })
}

/// `make` for modules in `dir`, against the user's own kernel.
pub fn make_command_for(lab: &Lab, kdir: &Path, dir: &Path) -> Command {
    let config = fs::read_to_string(kdir.join("include/config/auto.conf")).unwrap_or_default();
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(kdir)
        .arg(format!("M={}", dir.display()))
        .arg("modules");
    if config.contains("CONFIG_CC_IS_CLANG=y") {
        command.arg("LLVM=1");
        // Best effort: a machine that has its own toolchain need not be a Debian we know.
        let _ = toolchain::with_toolchain(lab, &mut command);
    }
    lab.jobs.share(&mut command);
    command
}

/// Copies the module's sources to where it is built; what has not changed keeps its time of change.
pub fn stage(lab: &Lab, dir: &Path) -> Result<()> {
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
        crate::base::files::write_atomic(&to, &content)?;
    }
    // A source that is gone must not be built any more.
    for part in PARTS.into_iter().filter(|p| dir.join(p).is_dir()) {
        for old in files::below(&dir.join(part))? {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choices::Choices;

    #[test]
    fn each_kernel_has_a_module_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::at_root(dir.path(), Choices::default()).unwrap();
        let of = |objects: PathBuf, kind| {
            let source = PathBuf::new();
            named(&lab, &Kernel { source, objects }, Kind::name(kind))
        };
        let at = |name: &str| lab.at("build/linux").join(name);
        assert_eq!(of(at("patched"), Kind::Shipped), "module");
        assert_eq!(of(at("patched"), Kind::Broken), "module-broken");
        assert_eq!(of(at("debug"), Kind::Shipped), "module-debug");
        assert_eq!(of(at("debug"), Kind::Broken), "module-broken-debug");
        let own = of("/somewhere/a".into(), Kind::Shipped);
        assert!(own.starts_with("module-") && own != of("/somewhere/b".into(), Kind::Shipped));
    }
}
