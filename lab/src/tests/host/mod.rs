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

use std::process::Command;
use std::sync::Arc;

use anyhow::Result;

use crate::base::layout::Lab;
use crate::base::step::Step;

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
