// SPDX-License-Identifier: GPL-2.0
//! What the machine must have: Debian packages, and bindgen built by cargo where Debian's is too old.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::base::failure::Failure;
use crate::base::layout::Lab;
use crate::base::stamp;
use crate::base::step::{ask, Step};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Needs {
    common: Vec<String>,
    bindgen_version: String,
    bindgen_minimum: String,
    release: BTreeMap<String, Release>,
}

#[derive(Deserialize)]
struct Release {
    llvm: PathBuf,
    packages: Vec<String>,
}

fn needs(lab: &Lab) -> Result<Needs> {
    let path = lab.at("lab/config/packages.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// `VERSION_CODENAME` of os-release, unquoted.
fn codename(os_release: &str) -> Option<String> {
    os_release
        .lines()
        .find_map(|l| l.strip_prefix("VERSION_CODENAME="))
        .map(|v| v.trim_matches('"').to_owned())
}

fn release(needs: &Needs) -> Result<(&str, &Release)> {
    let name =
        codename(&fs::read_to_string("/etc/os-release").unwrap_or_default()).unwrap_or_default();
    match needs.release.get_key_value(&name) {
        Some((name, release)) => Ok((name, release)),
        None => Err(Failure::new(format!(
            "the lab knows the packages of Debian {}, not of \"{name}\"",
            needs.release.keys().cloned().collect::<Vec<_>>().join(" and ")
        ))
        .next("add this release's names to lab/config/packages.toml, or use such a Debian (a container will do)")
        .into()),
    }
}

/// PATH for kernel builds: the toolchain that was set up comes before whatever the user has.
///
/// A rustup toolchain, say, has no library source, which the kernel needs.
pub fn build_path(lab: &Lab) -> Result<OsString> {
    let needs = needs(lab)?;
    let llvm = release(&needs)?.1.llvm.join("bin");
    let first = [
        lab.at("build/tools/bin"),
        llvm,
        "/usr/bin".into(),
        "/usr/sbin".into(),
        "/bin".into(),
    ];
    let rest = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        first.into_iter().chain(std::env::split_paths(&rest)),
    )?)
}

/// Gives a command the toolchain of [`build_path`].
pub fn with_toolchain<'a>(lab: &Lab, command: &'a mut Command) -> Result<&'a mut Command> {
    let needs = needs(lab)?;
    Ok(command
        .env("PATH", build_path(lab)?)
        .env("LIBCLANG_PATH", release(&needs)?.1.llvm.join("lib"))
        .env("LC_ALL", "C")
        // A cargo that runs us must not steer the kernel's rustc.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MAKEOVERRIDES"))
}

/// The versions of the toolchain, as an input of what it builds.
pub fn toolchain(lab: &Lab) -> Result<String> {
    let mut all = String::new();
    for tool in [
        ["clang", "--version"],
        ["rustc", "-vV"],
        ["bindgen", "--version"],
        ["gcc", "--version"],
    ] {
        let mut command = Command::new("env");
        let out = ask(with_toolchain(lab, command.args(tool))?).unwrap_or_default();
        all += &out;
        all.push('\n');
    }
    Ok(all)
}

/// Those of `wanted` that dpkg does not have installed.
fn missing(wanted: &[String]) -> Vec<String> {
    let format = "${Package} ${db:Status-Status}\n";
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", format])
        .args(wanted)
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    let installed: HashSet<&str> = output
        .lines()
        .filter_map(|l| l.strip_suffix(" installed"))
        .collect();
    wanted
        .iter()
        .filter(|w| !installed.contains(w.as_str()))
        .cloned()
        .collect()
}

/// Installs the Debian packages that are missing, and says so; or refuses, when the user wants that.
pub fn setup(lab: &Lab) -> Result<()> {
    let needs = needs(lab)?;
    let (name, release) = release(&needs)?;
    let mut wanted: Vec<String> = needs.common.clone();
    // A cargo of the user's own (rustup) serves the lab itself; the kernel's rustc is Debian's.
    wanted.extend(release.packages.iter().cloned());
    let lacking = missing(&wanted);
    if !lacking.is_empty() {
        install(lab, name, &lacking)?;
    }
    Ok(())
}

/// Builds bindgen, which kernels with Rust need, unless a good enough one is there.
pub fn bindgen(lab: &Lab) -> Result<()> {
    let needs = needs(lab)?;
    build_bindgen(lab, &needs, release(&needs)?.1)
}

fn install(lab: &Lab, release: &str, lacking: &[String]) -> Result<()> {
    let list = lacking.join(" ");
    let by_hand = format!("apt-get install --no-install-recommends {list}");
    if !lab.choices.may_install() {
        return Err(Failure::new(format!(
            "packages of Debian {release} are missing and SETUP=no forbids installing them"
        ))
        .details([list])
        .next(by_hand)
        .into());
    }
    eprintln!("lab: installing {} Debian packages: {list}", lacking.len());
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("lab: (with sudo, since this is not root)");
        // Asks for the password here, on the terminal; the calls below then need none.
        let asked = Command::new("sudo").arg("-v").status();
        if !asked.is_ok_and(|s| s.success()) {
            return Err(
                Failure::new("installing needs root, and sudo does not work here")
                    .next(format!("as root: {by_hand}"))
                    .into(),
            );
        }
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if root { "env" } else { "sudo" });
        if !root {
            command.args(["-n", "env"]);
        }
        command.args([
            "DEBIAN_FRONTEND=noninteractive",
            "LC_ALL=C",
            "apt-get",
            "-y",
            "-o",
            "Acquire::Retries=2",
        ]);
        command.args(arguments);
        command
    };
    let mut step = Step::begin(lab, "setup", "installing Debian packages")?
        .next(&format!("as root: {by_hand}"));
    // A failed update of some source that is not ours need not matter: the installation says.
    if !step.status(&mut apt(&["update"]))? {
        step.say("lab: apt-get update failed; going on with the lists that there are")?;
    }
    step.run(
        apt(&[
            "install",
            "--no-install-recommends",
            "-o",
            "DPkg::Lock::Timeout=120",
        ])
        .args(lacking),
    )?;
    step.done();
    Ok(())
}

/// Whether version `a` (digits and dots, from "bindgen 0.72.1") is at least `b`.
fn at_least(a: &str, b: &str) -> bool {
    let parse = |v: &str| -> Vec<u32> {
        v.trim_start_matches(|c: char| !c.is_ascii_digit())
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|n| n.parse().ok())
            .collect()
    };
    !parse(a).is_empty() && parse(a) >= parse(b)
}

/// The same for a module alone (KDIR=): on a machine that has its own toolchain in PATH nothing is
/// asked of its Debian release.
pub fn bindgen_for_module(lab: &Lab) -> Result<()> {
    if ask(Command::new("bindgen").arg("--version")).is_some() {
        return Ok(());
    }
    bindgen(lab)
}

fn build_bindgen(lab: &Lab, needs: &Needs, release: &Release) -> Result<()> {
    let mut command = Command::new("env");
    let version = ask(with_toolchain(lab, command.args(["bindgen", "--version"]))?);
    if version.is_some_and(|v| at_least(&v, &needs.bindgen_minimum)) {
        return Ok(());
    }
    let wanted = &needs.bindgen_version;
    if !lab.choices.may_install() {
        return Err(Failure::new(format!(
            "bindgen {} or later is missing and SETUP=no forbids building it",
            needs.bindgen_minimum
        ))
        .next(format!(
            "cargo install bindgen-cli --version {wanted} --locked, or call without SETUP=no"
        ))
        .into());
    }
    stamp::forget(lab, "bindgen")?;
    let mut step = Step::begin(lab, "bindgen", &format!("building bindgen {wanted}"))?
        .next("check the network (crates come from crates.io), then run the same command again");
    step.run(
        Command::new("cargo")
            .args([
                "install",
                "bindgen-cli",
                "--locked",
                "--force",
                "--version",
                wanted,
            ])
            .arg("--root")
            .arg(lab.at("build/tools"))
            .arg("--target-dir")
            .arg(lab.at("build/tools/target"))
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("LIBCLANG_PATH", release.llvm.join("lib")),
    )?;
    step.done();
    let _ = fs::remove_dir_all(lab.at("build/tools/target"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(at_least("bindgen 0.72.1", "0.71.1"));
        assert!(at_least("bindgen 0.71.1", "0.71.1"));
        assert!(!at_least("bindgen 0.9.1", "0.71.1"));
        assert!(!at_least("", "0.71.1"));
    }

    #[test]
    fn the_release_is_read() {
        assert_eq!(
            codename("ID=debian\nVERSION_CODENAME=trixie\n").as_deref(),
            Some("trixie")
        );
        assert_eq!(codename("VERSION_CODENAME=\"x\"").as_deref(), Some("x"));
        assert_eq!(codename("ID=arch\n"), None);
    }

    #[test]
    fn a_package_that_cannot_be_is_missing() {
        let wanted = ["dpkg".to_owned(), "no-such-package-xfd".to_owned()];
        assert_eq!(missing(&wanted), ["no-such-package-xfd"]);
    }

    #[test]
    fn the_list_parses() {
        let needs: Needs = toml::from_str(include_str!("../../config/packages.toml")).unwrap();
        assert!(needs.release.contains_key("bookworm") && needs.release.contains_key("trixie"));
        assert!(needs.common.iter().any(|p| p == "mtools"));
    }
}
