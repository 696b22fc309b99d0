// SPDX-License-Identifier: GPL-2.0
//! The kit: one directory, and a tar of it, with all that a host with the patched kernel needs to test
//! and measure the module by itself: selftests/kit/run.sh does that.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::{failure::Failure, files, layout::Lab, step::Step};
use crate::build::{
    emulator::Emulator,
    kernel::{self, Kernel, Kind},
    kmod, module,
    plan::{self, Product},
    selftests, toolchain,
    version::version,
};
use crate::machine::words::quoted;
use crate::measure::strategies;
use crate::tests::list::{Entry, Expect, List};

/// What no test of the list names, but run.sh runs.
const PROGRAMS: [&str; 2] = ["xfd_measure", "xfd_probe"];

/// Where a machine of the lab has what the kit has in its modules/.
const IN_MACHINE: [&str; 2] = ["/lib/modules/xfd_switch.ko", "/add/"];

/// The test of `run.sh --quick`.
const QUICK: &str = "switch";

/// Whether a test can run on a host that is no machine of the lab, and leaves it as it was: it does not
/// oops, reload KVM, or want a parameter of the kernel.
fn travels(entry: &Entry) -> bool {
    entry.expect == Expect::Pass
        && entry.oops.all().is_empty()
        && entry.debug
        && entry.params.is_empty()
        && entry.without.is_empty()
        && entry.module == module::Kind::Shipped
        && entry.emulator == Emulator::Patched
}

/// The file `tests` of a kit: what run.sh reads.
fn script(list: &List, strategies: &[String]) -> String {
    let mut text = format!(
        "# SPDX-License-Identifier: GPL-2.0\n# Made of selftests/list.toml.\n\
         # shellcheck shell=sh disable=SC2016,SC2034\n\
         strategies={}\nquick_strategy={}\nquick_test={}\nkit_tests() {{\n\tcase $1 in\n",
        quoted(&strategies.join(" ")),
        quoted(strategies.last().map_or("", |default| default)),
        quoted(QUICK)
    );
    for on in ["unloaded"]
        .into_iter()
        .chain(strategies.iter().map(String::as_str))
    {
        text += &format!("\t{on})\n");
        let entries = list.test.iter().filter(|e| travels(e));
        let mut commands = Vec::new();
        for entry in entries.filter(|e| e.kernels.iter().any(|k| k == on)) {
            // The list has some again, for a machine with more CPUs.
            if commands.contains(&&entry.command) {
                continue;
            }
            commands.push(&entry.command);
            let skips = if entry.skips { "yes" } else { "no" };
            let name = match entry.name.starts_with(QUICK) {
                // What KVM promises without the module has a name of its own.
                true if on == "unloaded" => QUICK,
                _ => &entry.name,
            };
            text += &format!(
                "\t\tkit_test {} {skips} {} {}\n",
                quoted(name),
                entry.timeout,
                quoted(&there(&entry.command))
            );
        }
        text += "\t\t;;\n";
    }
    text + "\tesac\n}\n"
}

/// A command of the list as it is in a kit.
fn there(command: &str) -> String {
    let [module, added] = IN_MACHINE;
    command
        .replace(module, "$modules/xfd_switch.ko")
        .replace(added, "$modules/")
}

/// What was made.
pub struct Kit {
    pub dir: PathBuf,
    pub tar: PathBuf,
}

/// The modules of a kit, and the kernel that they are for.
struct Modules {
    release: String,
    objects: Vec<PathBuf>,
}

impl Modules {
    fn build(lab: &Lab) -> Result<Modules> {
        if let Some(kdir) = &lab.choices.kdir {
            toolchain::bindgen_for_module(lab)?;
            let mut objects = vec![module::build_for(lab, kdir)?];
            objects.extend(kmod::build_for(lab, kdir)?);
            let kernel = Kernel {
                source: PathBuf::new(),
                objects: module::prepared(kdir)?,
            };
            return Ok(Modules {
                release: kernel.release()?,
                objects,
            });
        }
        plan::build(
            lab,
            [
                Product::Module(Kind::Patched, module::Kind::Shipped),
                Product::Kmod(Kind::Patched),
            ],
        )?;
        let kernel = kernel::build(lab, Kind::Patched)?;
        let mut objects = vec![module::build(lab, &kernel, module::Kind::Shipped)?];
        objects.extend(kmod::build(lab, &kernel)?);
        Ok(Modules {
            release: kernel.release()?,
            objects,
        })
    }
}

/// Builds what it is made of, and makes it anew. The lab should be locked.
pub fn make(lab: &Lab) -> Result<Kit> {
    let modules = Modules::build(lab)?;
    plan::build(lab, [Product::Selftests])?;
    let programs = selftests::programs(&selftests::build(lab)?)?;
    let version = version(lab);
    let script = script(&List::read(lab)?, &strategies::strategies(lab)?);

    let name = format!("xfd_switch-kit-{version}");
    let dir = lab.at("build/kit").join(&name);
    let tar = lab.at("build/kit").join(format!("{name}.tar.gz"));
    let mut step = Step::begin(lab, "kit", "making the kit")?
        .next("mend what the log shows, then run the same command again");
    files::remove(&lab.at("build/kit"))?;
    for file in &modules.objects {
        copy(file, &dir.join("modules"))?;
    }
    let named = |p: &&PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        PROGRAMS.contains(&&*name) || script.contains(&*name)
    };
    let mut strip = Command::new("strip");
    for file in programs.iter().filter(named) {
        let to = copy(file, &dir.join("programs"))?;
        if file.extension().is_none() {
            strip.arg(to);
        }
    }
    step.run(&mut strip)?;
    for file in ["run.sh", "README"] {
        copy(&lab.at("selftests/kit").join(file), &dir)?;
    }
    for (file, text) in [
        ("tests", &script),
        ("release", &format!("{}\n", modules.release)),
        ("version", &format!("{version}\n")),
    ] {
        files::write_atomic(&dir.join(file), text.as_bytes())?;
        // It is for whoever unpacks it.
        fs::set_permissions(dir.join(file), fs::Permissions::from_mode(0o644))?;
    }
    let mut pack = Command::new("tar");
    pack.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mtime=@0", "-czf"])
        .arg(&tar)
        .arg("-C")
        .arg(lab.at("build/kit"))
        .arg(&name);
    step.run(&mut pack)?;
    step.done();
    Ok(Kit { dir, tar })
}

/// Copies a file into a directory, and says where it is.
fn copy(file: &Path, into: &Path) -> Result<PathBuf> {
    let name = file.file_name().ok_or_else(|| {
        Failure::new(format!("{} has no name", file.display())).next("name a file")
    })?;
    fs::create_dir_all(into)?;
    let to = into.join(name);
    fs::copy(file, &to).with_context(|| format!("reading {}", file.display()))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (List, Vec<String>) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lab = Lab::at_root(&root, Default::default()).unwrap();
        let list = List::read(&lab).unwrap();
        (list, strategies::strategies(&lab).unwrap())
    }

    #[test]
    fn what_breaks_a_host_stays_at_home() {
        let (list, strategies) = repository();
        let text = script(&list, &strategies);
        for no in [
            "xfd_oops_test",
            "xfd_lifetime_test",
            "insmod /lib",
            "/add/",
            "/lib/modules",
            "--control",
        ] {
            assert!(!text.contains(no), "{no}");
        }
        for yes in [
            "xfd_switch_test --expect=attached",
            "--fpu-user=$modules/xfd_fpu_user.ko",
            "--module=$modules/xfd_switch.ko",
        ] {
            assert!(text.contains(yes), "{yes}");
        }
    }

    #[test]
    fn run_sh_reads_the_tests() {
        let (list, strategies) = repository();
        let mut text = script(&list, &strategies);
        text += "kit_test() { [ $# = 4 ] || exit 9; echo \"$on: $1\"; }\n\
                 for on in unloaded $strategies; do kit_tests $on; done\n";
        let out = Command::new("sh").arg("-ec").arg(text).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        let said = String::from_utf8(out.stdout).unwrap();
        let quick = said.lines().filter(|l| l.ends_with(": switch")).count();
        assert_eq!(quick, 1 + strategies.len());
        let mut names: Vec<&str> = said.lines().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
