// SPDX-License-Identifier: GPL-2.0
//! The toolchain of kernels and modules: Debian's clang and rustc, and bindgen, which cargo builds
//! where Debian's is too old.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::layout::Lab;
use crate::base::stamp;
use crate::base::step::{ask, Step};

/// Where the LLVM of config/packages lies.
pub const LLVM: &str = "/usr/lib/llvm-19";

const BINDGEN: &str = "0.72.1";
/// The oldest that the kernel takes (scripts/min-tool-version.sh).
const BINDGEN_MINIMUM: &str = "0.71.1";

/// PATH for kernel builds: the toolchain that was set up comes before whatever the user has.
///
/// A rustup toolchain, say, has no library source, which the kernel needs.
pub fn build_path(lab: &Lab) -> Result<OsString> {
    let first = [
        lab.at("build/tools/bin"),
        Path::new(LLVM).join("bin"),
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
    Ok(command
        .env("PATH", build_path(lab)?)
        .env("LIBCLANG_PATH", Path::new(LLVM).join("lib"))
        .env("LC_ALL", "C")
        // A cargo that runs us must not steer the kernel's rustc.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MAKEOVERRIDES"))
}

/// The versions of what builds C, as an input of what it builds.
pub fn c_versions(lab: &Lab) -> Result<String> {
    versions(lab, &[["clang", "--version"], ["gcc", "--version"]])
}

/// The versions of what builds C and Rust. bindgen is among them, so it must be there first.
pub fn versions_with_rust(lab: &Lab) -> Result<String> {
    let rust = versions(lab, &[["rustc", "-vV"], ["bindgen", "--version"]])?;
    Ok(c_versions(lab)? + &rust)
}

fn versions(lab: &Lab, tools: &[[&str; 2]]) -> Result<String> {
    let mut all = String::new();
    for tool in tools {
        let mut command = Command::new("env");
        let out = ask(with_toolchain(lab, command.args(tool))?).unwrap_or_default();
        all += &out;
        all.push('\n');
    }
    Ok(all)
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

/// Builds bindgen, which kernels with Rust need, unless a good enough one is there.
pub fn bindgen(lab: &Lab) -> Result<()> {
    let mut command = Command::new("env");
    let version = ask(with_toolchain(lab, command.args(["bindgen", "--version"]))?);
    if version.is_some_and(|v| at_least(&v, BINDGEN_MINIMUM)) {
        return Ok(());
    }
    if !lab.choices.may_install() {
        return Err(Failure::new(format!(
            "bindgen {BINDGEN_MINIMUM} or later is missing and SETUP=no forbids building it"
        ))
        .next(format!(
            "cargo install bindgen-cli --version {BINDGEN} --locked, or call without SETUP=no"
        ))
        .into());
    }
    stamp::forget(lab, "bindgen")?;
    let mut step = Step::begin(lab, "bindgen", &format!("building bindgen {BINDGEN}"))?
        .next("check the network (crates come from crates.io), then run the same command again");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["install", "bindgen-cli", "--locked", "--force"])
        .args(["--version", BINDGEN])
        .arg("--root")
        .arg(lab.at("build/tools"))
        .arg("--target-dir")
        .arg(lab.at("build/tools/target"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("LIBCLANG_PATH", Path::new(LLVM).join("lib"));
    lab.jobs.share(&mut cargo);
    step.run(&mut cargo)?;
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
}
