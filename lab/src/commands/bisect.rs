// SPDX-License-Identifier: GPL-2.0
//! `lab bisect`: the kernel after each patch, on top of those before it, builds without a warning,
//! boots, and passes upstream's AMX test, so that a bisection may stop at any of them.
//!
//! They are built in one copy of the stock kernel, one after the other. The copy is made anew each
//! time, as make does not repeat the warnings of what it has built already.
//!
//! With all of them, kernels link that the lab has no other use for: without KVM, and for i386.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::failure::{self, Failure};
use crate::base::interrupt;
use crate::base::layout::Lab;
use crate::base::parallel::side_by_side;
use crate::base::stamp::{self, Fingerprint};
use crate::build::copy;
use crate::build::emulator::{self, Emulator};
use crate::build::kernel::{self, Kernel, Kind};
use crate::build::packages;
use crate::build::plan::{self, Product};
use crate::build::selftests;
use crate::build::series;
use crate::machine::{self, End, Machine};

/// What must pass on each.
const TEST: &str = "amx_test";

/// The patches of a kernel up to one of them, by which it is named, and what names its result.
struct Prefix {
    name: String,
    print: String,
    machine: Machine,
    dir: PathBuf,
}

/// Returns whether each kernel is sound.
pub fn run(lab: &Lab) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let prefixes = prefixes(lab)?;
    plan::build(
        lab,
        [
            Product::Emulator(Emulator::Patched),
            Product::StockKernel,
            Product::Selftests,
        ],
    )?;
    let stock = kernel::build(lab, Kind::Stock)?;
    let emulator = emulator::build(lab, Emulator::Patched)?;
    let programs: Vec<PathBuf> = selftests::programs(&selftests::build(lab)?)?
        .into_iter()
        .filter(|p| p.ends_with(TEST))
        .collect();
    let mut print = Fingerprint::new("bisect")
        .file(&stock.image())?
        .file(&emulator)?;
    for program in &programs {
        print = print.file(program)?;
    }
    let base = print.finish();

    let mut copy = None;
    let mut built = Vec::new();
    let mut sound = true;
    for (name, patches) in &prefixes {
        let print = Fingerprint::new("prefix").text("base", &base);
        let print = series::fingerprint(print, patches)?.finish();
        if stamp::fresh(lab, &stamp_name(name), &print, &[]) {
            println!("{name}: sound, as before");
            continue;
        }
        let kernel = match &copy {
            Some(kernel) => kernel,
            None => copy.insert(copy::anew(lab, &stock, "bisect")?),
        };
        copy::apply(lab, kernel, &format!("patches up to {name}"), patches)?;
        if let Err(error) = build(lab, kernel, name) {
            interrupt::check()?;
            println!("{name}: NOT SOUND: {}", failure::explain(&error));
            sound = false;
            continue;
        }
        let machine = Machine {
            programs: programs.clone(),
            command: format!("{TEST}\n"),
            ..Machine::new(stamp_name(name), &emulator, kernel)
        };
        let dir = machine::compose(lab, &machine)?;
        built.push(Prefix {
            name: name.clone(),
            print,
            machine,
            dir,
        });
    }
    sound &= link(lab, &stock)?;
    lab.unlock();
    let ended = side_by_side(&lab.jobs, &built, |prefix| {
        let found = boot(&prefix.machine, &prefix.dir)?;
        match &found {
            None => {
                stamp::record(lab, &stamp_name(&prefix.name), &prefix.print)?;
                println!("{}: sound", prefix.name);
            }
            Some(failure) => println!("{}: NOT SOUND: {failure}", prefix.name),
        }
        Ok::<_, anyhow::Error>(found.is_none())
    });
    for ended in ended {
        sound &= ended?;
    }
    if sound {
        println!("all {} patches: sound", prefixes.len());
    }
    Ok(sound)
}

/// Links the kernels that are not booted; returns whether they are sound.
fn link(lab: &Lab, stock: &Kernel) -> Result<bool> {
    let patches = kernel::patches(lab, Kind::Patched)?;
    let mut sound = true;
    for name in kernel::LINKED {
        // The image stands for source and toolchain.
        let print = Fingerprint::new("linked")
            .file(&stock.image())?
            .file(&kernel::linked_config(lab, name))?;
        let print = series::fingerprint(print, &patches)?.finish();
        if stamp::fresh(lab, &stamp_name(name), &print, &[]) {
            println!("{name}: links, as before");
            continue;
        }
        match kernel::link(lab, name).and_then(|()| no_warning(&lab.log(&format!("kernel-{name}"))))
        {
            Ok(()) => {
                stamp::record(lab, &stamp_name(name), &print)?;
                println!("{name}: links");
            }
            Err(error) => {
                interrupt::check()?;
                println!("{name}: NOT SOUND: {}", failure::explain(&error));
                sound = false;
            }
        }
    }
    Ok(sound)
}

/// Each patch, named by its directory and number ("fixes/0001"), after those that it goes on top of.
fn prefixes(lab: &Lab) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut prefixes = Vec::new();
    for kind in [Kind::Minimal, Kind::Patched] {
        let patches = kernel::patches(lab, kind)?;
        for last in 0..patches.len() {
            let name = name(&patches[last]);
            prefixes.push((name, patches[..=last].to_vec()));
        }
    }
    Ok(prefixes)
}

fn name(patch: &Path) -> String {
    let word = |path: Option<&Path>| path?.file_name().map(|n| n.to_string_lossy().into_owned());
    let (dir, file) = (word(patch.parent()), word(Some(patch)));
    let (dir, file) = (dir.unwrap_or_default(), file.unwrap_or_default());
    format!("{dir}/{}", file.split('-').next().unwrap_or_default())
}

fn stamp_name(name: &str) -> String {
    format!("bisect-{}", name.replace('/', "-"))
}

/// Builds it; a warning is a failure.
fn build(lab: &Lab, copy: &Kernel, name: &str) -> Result<()> {
    let what = format!("building the kernel after patch {name}");
    kernel::build_tree(lab, &copy.source, &copy.objects, &what, Kind::Stock)?;
    no_warning(&lab.log("kernel-bisect"))
}

fn no_warning(log: &Path) -> Result<()> {
    let text = fs::read_to_string(log)?;
    let found: Vec<&str> = warnings(&text).collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::new("the build warns")
        .details(found)
        .log(log)
        .next("mend the patch")
        .into())
}

/// The compiler's and objtool's warnings, not those of Kconfig, which names the file .config.
fn warnings(log: &str) -> impl Iterator<Item = &str> {
    log.lines()
        .filter(|l| l.contains("warning: ") && !l.starts_with(".config:"))
}

fn boot(machine: &Machine, dir: &Path) -> Result<Option<String>> {
    let outcome = machine::run(machine, dir, &mut |_| {})?;
    if let Some(failure) = outcome.failure() {
        return Ok(Some(failure.to_string()));
    }
    if let Some(splat) = outcome.splats.first() {
        return Ok(Some(splat.clone()));
    }
    Ok(match outcome.end {
        End::Exit(0) => None,
        end => Some(format!("{TEST}: {end:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_named_by_directory_and_number() {
        let path = Path::new("/x/patches/linux/0007a-KVM-selftests.patch");
        assert_eq!(name(path), "linux/0007a");
    }

    #[test]
    fn warnings_of_the_build_are_found() {
        let log = ".config:3:warning: override: reassigning to symbol SMP\n\
                   a.c:1:2: warning: unused variable 'x' [-Wunused-variable]\n\
                   vmlinux.o: warning: objtool: f+0x1: call to g() leaves .noinstr\n  CC b.o\n";
        assert_eq!(warnings(log).count(), 2);
    }
}
