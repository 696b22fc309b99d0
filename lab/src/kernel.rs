// SPDX-License-Identifier: GPL-2.0
//! The two kernels, stock and patched: one configuration, one toolchain, the series their only difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::layout::Lab;
use crate::packages;
use crate::series;
use crate::source;
use crate::stamp::{self, Fingerprint};
use crate::step::Step;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The pristine source.
    Stock,
    /// With patches/linux applied.
    Patched,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Stock => "stock",
            Kind::Patched => "patched",
        }
    }
}

/// A built kernel: where its source and its objects are.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub source: PathBuf,
    pub objects: PathBuf,
}

impl Kernel {
    pub fn image(&self) -> PathBuf {
        self.objects.join("arch/x86/boot/bzImage")
    }

    /// The version that the kernel itself gives ("7.3.4").
    pub fn release(&self) -> Result<String> {
        let path = self.objects.join("include/config/kernel.release");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Its modules, in the order in which they were linked.
    pub fn modules(&self) -> Result<Vec<PathBuf>> {
        let path = self.objects.join("modules.order");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text
            .lines()
            .map(|l| self.objects.join(l).with_extension("ko"))
            .collect())
    }
}

/// What the kernels of the machines are configured with.
const CONFIG: &str = "lab/config/kernel.config";
/// What the kernel with KVM=y is configured with.
const BUILTIN_CONFIG: &str = "lab/config/builtin.config";

pub fn series_dir(lab: &Lab) -> PathBuf {
    lab.at("patches/linux")
}

/// The source tree of a kernel, unpacked and in step with the series; no kernel is built.
pub fn tree(lab: &Lab, kind: Kind) -> Result<PathBuf> {
    let pristine = source::kernel(lab)?;
    if kind == Kind::Stock {
        return Ok(pristine.dir);
    }
    let tree = lab.at("build/linux/patched-source");
    let print = series::fingerprint(
        Fingerprint::new("series").text("source", &pristine.sha256),
        &series_dir(lab),
    )?
    .finish();
    if !stamp::fresh(lab, "linux-series", &print, &[&tree]) {
        stamp::forget(lab, "linux-series")?;
        let mut step = Step::begin(lab, "linux-series", "applying patches/linux")?;
        series::keep_in_step(lab, &mut step, &pristine.dir, &tree, &series_dir(lab))?;
        stamp::record(lab, "linux-series", &print)?;
        step.done();
    }
    Ok(tree)
}

/// Builds a kernel and its modules, unless that is done.
pub fn build(lab: &Lab, kind: Kind) -> Result<Kernel> {
    let source = tree(lab, kind)?;
    let objects = lab.at("build/linux").join(kind.name());
    let kernel = Kernel { source, objects };
    let mut print = fingerprint(lab, CONFIG)?;
    if kind == Kind::Patched {
        print = series::fingerprint(print, &series_dir(lab))?;
    }
    let what = format!("building the {} kernel", kind.name());
    make(
        lab,
        &kernel,
        &format!("kernel-{}", kind.name()),
        &what,
        &print.finish(),
        CONFIG,
    )?;
    Ok(kernel)
}

/// Builds the patched source with KVM=y, to see that the series builds that way too.
pub fn build_builtin(lab: &Lab) -> Result<Kernel> {
    let kernel = Kernel {
        source: tree(lab, Kind::Patched)?,
        objects: lab.at("build/linux/builtin"),
    };
    let print = series::fingerprint(fingerprint(lab, BUILTIN_CONFIG)?, &series_dir(lab))?;
    make(
        lab,
        &kernel,
        "kernel-builtin",
        "building the patched kernel with KVM=y",
        &print.finish(),
        BUILTIN_CONFIG,
    )?;
    Ok(kernel)
}

/// Builds `source` (a tree of the user's own, say) into `objects`; make finds out what changed.
pub fn build_tree(lab: &Lab, source: &Path, objects: &Path) -> Result<Kernel> {
    let kernel = Kernel {
        source: source.to_owned(),
        objects: objects.to_owned(),
    };
    packages::bindgen(lab)?;
    stamp::forget(lab, "kernel-tree")?;
    make(
        lab,
        &kernel,
        "kernel-tree",
        "building the kernel of the git tree",
        "",
        CONFIG,
    )?;
    Ok(kernel)
}

fn fingerprint(lab: &Lab, config: &str) -> Result<Fingerprint> {
    // Its version is part of the toolchain's, so it must be there first.
    packages::bindgen(lab)?;
    Fingerprint::new("kernel")
        .text("source", &source::kernel(lab)?.sha256)
        .text("toolchain", &packages::toolchain(lab)?)
        .file(&lab.at(config))
}

/// `make` for a kernel tree, always with the same toolchain and a result that does not depend on
/// when and where it was built.
pub fn make_command(lab: &Lab, kernel: &Kernel) -> Result<Command> {
    let mut command = Command::new("make");
    packages::with_toolchain(lab, &mut command)?;
    command
        .arg("-C")
        .arg(&kernel.source)
        .arg(format!("O={}", kernel.objects.display()))
        .arg(format!("-j{}", lab.choices.jobs()))
        .args([
            "LLVM=1",
            "KBUILD_BUILD_TIMESTAMP=2026-01-01",
            "KBUILD_BUILD_USER=lab",
            "KBUILD_BUILD_HOST=lab",
        ]);
    Ok(command)
}

fn make(
    lab: &Lab,
    kernel: &Kernel,
    stamp_name: &str,
    what: &str,
    print: &str,
    config: &str,
) -> Result<()> {
    let outputs = [kernel.image(), kernel.objects.join("modules.order")];
    let outputs: Vec<&Path> = outputs.iter().map(|o| o.as_path()).collect();
    if !print.is_empty() && stamp::fresh(lab, stamp_name, print, &outputs) {
        return Ok(());
    }
    lab.need_space(3, what)?;
    stamp::forget(lab, stamp_name)?;
    fs::create_dir_all(&kernel.objects)?;
    let mut step = Step::begin(lab, stamp_name, what)?.next(&format!(
        "mend what the log shows (the series is patches/linux, the configuration {config}), \
         then run the same command again",
    ));
    configure(lab, kernel, &mut step, config)?;
    step.run(make_command(lab, kernel)?.args(["bzImage", "modules"]))?;
    if !print.is_empty() {
        stamp::record(lab, stamp_name, print)?;
    }
    step.done();
    Ok(())
}

/// tinyconfig and the fragment `config`; fails when a vital option did not survive.
fn configure(lab: &Lab, kernel: &Kernel, step: &mut Step, config: &str) -> Result<()> {
    let path = lab.at(config);
    let wanted =
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let fragment = kernel.objects.join(".lab.config");
    let config = kernel.objects.join(".config");
    let same = fs::read_to_string(&fragment).is_ok_and(|old| old == wanted);
    if same && config.exists() {
        step.run(make_command(lab, kernel)?.arg("olddefconfig"))?;
    } else {
        series::remove(&fragment)?;
        step.run(make_command(lab, kernel)?.arg("tinyconfig"))?;
        // What comes later in a .config wins.
        let mut text = fs::read_to_string(&config)?;
        text += &as_config(&wanted);
        fs::write(&config, text)?;
        step.run(make_command(lab, kernel)?.arg("olddefconfig"))?;
        fs::write(&fragment, &wanted)?;
    }
    let lost = lost(&wanted, &fs::read_to_string(&config)?);
    for option in &lost {
        step.say(&format!("lab: warning: {option} did not survive"))?;
    }
    // Without these there is nothing to test.
    let vital: Vec<_> = lost
        .iter()
        .filter(|l| {
            [
                "CONFIG_RUST=",
                "CONFIG_KVM=",
                "CONFIG_KVM_INTEL=",
                "CONFIG_MODULES=",
            ]
            .iter()
            .any(|v| l.starts_with(v))
        })
        .collect();
    if vital.is_empty() {
        if !lost.is_empty() {
            eprintln!(
                "lab: warning: kernel options that did not survive: {}",
                lost.join(" ")
            );
        }
        return Ok(());
    }
    let _ = step.status(make_command(lab, kernel)?.arg("rustavailable"))?;
    Err(Failure::new(format!(
        "the kernel's configuration lost {}",
        vital.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(" ")
    ))
    .details(step.tail(6))
    .log(step.log_path())
    .next("`lab setup` installs the toolchain; the log's last lines say what the kernel finds missing")
    .into())
}

/// The lines of a fragment as .config has them: "X=n" is "# X is not set".
fn as_config(fragment: &str) -> String {
    let mut text = String::new();
    for line in fragment.lines().filter(|l| l.starts_with("CONFIG_")) {
        match line.strip_suffix("=n") {
            Some(name) => text += &format!("# {name} is not set\n"),
            None => text += &format!("{line}\n"),
        }
    }
    text
}

/// The options of a fragment that a finished .config does not have as asked.
fn lost(fragment: &str, config: &str) -> Vec<String> {
    // The last word on an option counts.
    let mut wanted = std::collections::BTreeMap::new();
    for line in fragment.lines().filter(|l| l.starts_with("CONFIG_")) {
        if let Some((name, value)) = line.split_once('=') {
            wanted.insert(name, value);
        }
    }
    let have: std::collections::HashMap<&str, &str> =
        config.lines().filter_map(|l| l.split_once('=')).collect();
    wanted
        .into_iter()
        .filter(|(name, value)| have.get(name).copied().unwrap_or("n") != *value)
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_options_are_found() {
        let wanted = "# c\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\nCONFIG_D=n\nCONFIG_E=8\n";
        let have = "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=y\nCONFIG_E=8\n";
        assert_eq!(lost(wanted, have), ["CONFIG_B=m", "CONFIG_D=n"]);
    }

    #[test]
    fn the_last_word_on_an_option_counts() {
        assert!(lost("CONFIG_KVM=m\nCONFIG_KVM=y\n", "CONFIG_KVM=y\n").is_empty());
    }

    #[test]
    fn fragments_become_config_lines() {
        assert_eq!(
            as_config("# x\nCONFIG_A=y\nCONFIG_B=n\n"),
            "CONFIG_A=y\n# CONFIG_B is not set\n"
        );
    }
}
