// SPDX-License-Identifier: GPL-2.0
//! The tests that need no machine: the lab's own, rustfmt, clippy, checkpatch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::base::failure::{self, Failure};
use crate::base::layout::Lab;
use crate::base::step::Step;
use crate::build::kernel;
use crate::build::module;
use crate::build::series;
use crate::build::toolchain;

type Work = Box<dyn Fn(&Lab) -> Result<()>>;

/// A test that needs no machine.
pub struct Host {
    pub name: String,
    pub work: Work,
}

fn host(name: impl Into<String>, work: impl Fn(&Lab) -> Result<()> + 'static) -> Host {
    Host {
        name: name.into(),
        work: Box::new(work),
    }
}

/// Runs one program as a test.
fn program(lab: &Lab, log: &str, what: &str, next: &str, command: &mut Command) -> Result<()> {
    let mut step = Step::begin(lab, log, what)?.next(next);
    step.run(command)?;
    step.done();
    Ok(())
}

fn cargo(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .arg(arguments[0])
        .arg("--manifest-path")
        .arg(lab.at("lab/Cargo.toml"))
        .args(&arguments[1..])
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    if arguments[0] != "fmt" {
        command.env("CARGO_TARGET_DIR", lab.at("build/lab"));
    }
    command
}

pub fn tests(lab: &Lab) -> Result<Vec<Host>> {
    let mut tests = Vec::new();
    for (what, arguments) in [
        ("unit tests", &["test", "--release"][..]),
        ("rustfmt", &["fmt", "--check"][..]),
        (
            "clippy",
            &[
                "clippy",
                "--release",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ][..],
        ),
    ] {
        let name = format!("lab: {what}");
        let log = format!("check-lab-{}", arguments[0]);
        tests.push(host(name.clone(), move |lab| {
            program(
                lab,
                &log,
                &name,
                "mend what the log shows",
                &mut cargo(lab, arguments),
            )
        }));
    }
    tests.push(host("module: rustfmt", |lab| {
        let tree = kernel::tree(lab, kernel::Kind::Stock)?;
        let mut command = Command::new("rustfmt");
        toolchain::with_toolchain(lab, &mut command)?;
        // rustfmt follows the crate root's `mod` lines.
        command
            .args(["--check", "--edition", "2021", "--config-path"])
            .arg(tree.join(".rustfmt.toml"))
            .arg(lab.at("xfd_switch.rs"));
        program(
            lab,
            "check-module-fmt",
            "rustfmt on the module",
            "run rustfmt with the kernel's .rustfmt.toml",
            &mut command,
        )
    }));
    tests.push(host("module: clippy", |lab| {
        let patched = kernel::build(lab, kernel::Kind::Patched)?;
        let (clean, log) = module::clippy(lab, &patched)?;
        if clean {
            return Ok(());
        }
        Err(failure::from_log(
            "clippy complains about the module",
            &log,
            "mend what the log shows",
        )
        .into())
    }));
    let c_files: Vec<PathBuf> = module::sources(lab)?
        .into_iter()
        .filter(|f| f.extension().is_some_and(|x| x == "c" || x == "h"))
        .collect();
    for file in c_files {
        let shown = lab.shown(&file);
        tests.push(host(format!("module: checkpatch {shown}"), move |lab| {
            checkpatch(lab, &file, true)
        }));
    }
    for patch in series::patches(&kernel::series_dir(lab))? {
        let shown = patch
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        tests.push(host(
            format!("host series: checkpatch {shown}"),
            move |lab| checkpatch(lab, &patch, false),
        ));
    }
    Ok(tests)
}

fn checkpatch(lab: &Lab, file: &Path, whole: bool) -> Result<()> {
    let tree = kernel::tree(lab, kernel::Kind::Patched)?;
    let mut command = Command::new("perl");
    command
        .current_dir(&tree)
        .arg("scripts/checkpatch.pl")
        .args(["--strict", "--quiet", "--show-types"])
        // The source comes without history, so no commit in it is known; and MAINTAINERS names
        // directories that new files of this series fall into.
        .args(["--ignore", "UNKNOWN_COMMIT_ID,FILE_PATH_CHANGES"]);
    if whole {
        command.arg("-f");
    }
    let name = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    program(
        lab,
        &format!("checkpatch-{name}"),
        &format!("checkpatch on {}", lab.shown(file)),
        "mend what checkpatch names",
        command.arg(file),
    )
    .map_err(|error| match error.downcast::<Failure>() {
        // checkpatch's whole output is the reason.
        Ok(_) => {
            let log = lab.log(&format!("checkpatch-{name}"));
            let text = fs::read_to_string(&log).unwrap_or_default();
            Failure::new("checkpatch --strict complains")
                .details(text.lines().skip(1).take(40).map(str::to_owned))
                .log(&log)
                .into()
        }
        Err(error) => error,
    })
}
