// SPDX-License-Identifier: GPL-2.0
//! The gates: tests whose verdict is this machine's. One file for each kind.

mod checkpatch; // C files and patches, in the kernel's style
mod deb; // the module's Debian package
mod docs; // Documentation/ as HTML, and the list of mutants in it
mod explore; // every interleaving of the save path
pub mod figures; // what README.md and Documentation/ quote of the measurement
mod goals; // what the measurement must show
mod guests; // Linux guests, a part of what they go through
mod kit; // the kit, rehearsed
mod lab; // the lab itself
mod links; // what README.md and Documentation/ point to
mod module; // the module's Rust
mod observe; // what Documentation/observing.rst shows of tools
mod shellcheck; // shell scripts

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::layout::Lab;
use crate::base::step::Step;
use crate::machine::{self, End, Machine, Told};

type Work = Box<dyn Fn(&Lab) -> Result<()> + Send + Sync>;

/// A gate: one row of the report. It may run on any thread, beside others.
pub struct Host {
    pub name: String,
    /// Whether it wants the measurement, for which machines must be booted.
    pub measures: bool,
    pub work: Work,
}

fn host(
    name: impl Into<String>,
    work: impl Fn(&Lab) -> Result<()> + Send + Sync + 'static,
) -> Host {
    Host {
        name: name.into(),
        measures: false,
        work: Box::new(work),
    }
}

/// All of them. Those that measure come last, as they take longest.
pub fn tests(lab: &Lab) -> Result<Vec<Host>> {
    let mut tests = lab::tests();
    tests.extend(module::tests());
    tests.extend(checkpatch::tests(lab)?);
    tests.push(shellcheck::test());
    tests.push(deb::test());
    tests.extend(docs::tests());
    tests.push(links::test());
    tests.extend(guests::tests(lab)?);
    tests.extend(explore::tests());
    tests.push(kit::test());
    tests.extend(observe::tests());
    let measurement = Arc::new(goals::Measurement::default());
    tests.extend(goals::tests(&measurement));
    tests.extend(figures::tests(lab, &measurement)?);
    Ok(tests)
}

/// Runs one program as a test.
fn program(lab: &Lab, log: &str, what: &str, next: &str, command: &mut Command) -> Result<()> {
    let mut step = Step::begin(lab, log, what)?.next(next);
    step.run(command)?;
    step.done();
    Ok(())
}

/// How many lines are shown of what a machine's command has said before it failed.
const LAST_LINES: usize = 20;

/// Runs a machine whose command must succeed, without a complaint of the kernel's; returns what it said.
fn succeeds(machine: &Machine, dir: &Path, what: &str, next: &str) -> Result<String> {
    let mut said = Vec::new();
    let outcome = machine::run(machine, dir, &mut |told| {
        if let Told::Output(bytes) = told {
            said.extend_from_slice(bytes);
        }
    })?;
    if let Some(failure) = outcome.failure() {
        return Err(failure.into());
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    if outcome.end == End::Exit(0) && outcome.splats.is_empty() {
        return Ok(said);
    }
    let lines: Vec<&str> = said.lines().collect();
    Err(Failure::new(format!("{what} failed in the machine"))
        .details(
            lines[lines.len().saturating_sub(LAST_LINES)..]
                .iter()
                .copied(),
        )
        .details(outcome.splats)
        .log(&dir.join("output.log"))
        .next(next)
        .into())
}
