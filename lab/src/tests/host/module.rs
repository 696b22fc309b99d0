// SPDX-License-Identifier: GPL-2.0
//! The module's Rust, with the kernel's settings: rustfmt, clippy, rustdoc; and its strategies' own
//! tests.

use std::process::Command;

use anyhow::Result;

use crate::base::failure;
use crate::base::layout::Lab;
use crate::base::step::Step;
use crate::build::kernel;
use crate::build::module;
use crate::build::toolchain;
use crate::tests::host::{host, program, Host};

pub fn tests() -> Vec<Host> {
    vec![
        host("module: rustfmt", rustfmt),
        host("module: clippy", clippy),
        host("module: rustdoc", rustdoc),
        host("module: strategies", strategies),
    ]
}

fn rustfmt(lab: &Lab) -> Result<()> {
    let tree = kernel::tree(lab, kernel::Kind::Stock)?;
    let mut command = Command::new("rustfmt");
    toolchain::with_toolchain(lab, &mut command)?;
    // It would follow `mod` lines, but not those that a macro makes.
    let sources = module::sources(lab)?.into_iter();
    command
        .args(["--check", "--edition", "2021", "--config-path"])
        .arg(tree.join(".rustfmt.toml"))
        .args(sources.filter(|f| f.extension().is_some_and(|x| x == "rs")));
    program(
        lab,
        "check-module-fmt",
        "rustfmt on the module",
        "run rustfmt with the kernel's .rustfmt.toml",
        &mut command,
    )
}

fn clippy(lab: &Lab) -> Result<()> {
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
}

fn rustdoc(lab: &Lab) -> Result<()> {
    module::rustdoc(lab, &kernel::build(lab, kernel::Kind::Patched)?).map(drop)
}

fn strategies(lab: &Lab) -> Result<()> {
    let patched = kernel::build(lab, kernel::Kind::Patched)?;
    let mut step = Step::begin(lab, "check-module-strategies", "the strategies' tests")?
        .next("a strategy no longer decides as its file says: mend it, or its test");
    let program = module::strategy_tests(lab, &patched, &mut step)?;
    step.run(&mut Command::new(program))?;
    step.done();
    Ok(())
}
