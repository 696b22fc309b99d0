// SPDX-License-Identifier: GPL-2.0
//! The explorer (model/): its program, and what it finds in the patched source.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::Result;
use serde_json::{Map, Value};

use crate::base::files;
use crate::base::layout::Lab;
use crate::base::step::Step;
use crate::build::kernel;

/// How long a bug is looked for in each scope, in seconds; most are found in one.
pub const SECONDS_PER_BUG: u64 = 60;

/// What is explored.
#[derive(Clone, Copy)]
pub enum What {
    /// The source as it is.
    Shipped,
    /// The source with each of the mutants, and of the bugs in model/seeds.
    Bugs,
}

impl What {
    const ALL: [Self; 2] = [Self::Shipped, Self::Bugs];

    /// The name of its log and of its result.
    fn name(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Bugs => "bugs",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Shipped => "exploring the shipped save path",
            Self::Bugs => "looking for each bug in the save path",
        }
    }

    fn next(self) -> &'static str {
        match self {
            Self::Shipped => "read the steps in the log: Documentation/explore.rst",
            Self::Bugs => {
                "a bug was not found: the log says which, Documentation/explore.rst how to look"
            }
        }
    }
}

/// Explores for so many seconds, or looks for each bug so long, and writes build/report/explore.json.
pub fn explore(lab: &Lab, what: What, seconds: u64) -> Result<()> {
    let program = build(lab)?;
    let tree = kernel::tree(lab, kernel::Kind::Patched)?;
    let log = format!("explore-{}", what.name());
    files::remove(&found(lab, what))?;
    let mut step = Step::begin(lab, &log, what.words())?.next(what.next());
    let mut command = Command::new(program);
    command.arg("--model").arg(lab.at("model"));
    command.arg("--tree").arg(tree);
    command.arg("--out").arg(out(lab, what));
    command.arg("--seconds").arg(seconds.to_string());
    if let What::Bugs = what {
        for dir in ["model/seeds", "selftests/mutants"] {
            command.arg("--bugs").arg(lab.at(dir));
        }
    }
    let well = step.status(&mut command)?;
    report(lab)?;
    if !well {
        return Err(step.failed().into());
    }
    step.done();
    Ok(())
}

/// Both things may be explored at the same time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn build(lab: &Lab) -> Result<PathBuf> {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let mut step = Step::begin(lab, "explorer", "building the explorer")?;
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--manifest-path",
        ])
        .arg(lab.at("model/Cargo.toml"))
        .env("CARGO_TARGET_DIR", lab.at("build/model"));
    lab.jobs.share(&mut cargo);
    step.run(&mut cargo)?;
    step.done();
    Ok(lab.at("build/model/release/explore"))
}

fn out(lab: &Lab, what: What) -> PathBuf {
    lab.at("build/explore").join(what.name())
}

fn found(lab: &Lab, what: What) -> PathBuf {
    out(lab, what).join("found.json")
}

/// Puts together what there is.
fn report(lab: &Lab) -> Result<()> {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let report = merged(&What::ALL.map(|what| found(lab, what)))?;
    files::write_json(&lab.at("build/report/explore.json"), &report)
}

fn merged(found: &[PathBuf]) -> Result<Value> {
    let mut report = Map::new();
    for file in found.iter().filter(|f| Path::exists(f)) {
        if let Value::Object(part) = serde_json::from_str(&files::text(file)?)? {
            report.extend(part);
        }
    }
    Ok(Value::Object(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_all_that_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("a"), r#"{"states": 3}"#).unwrap();
        std::fs::write(file("b"), r#"{"bugs_seeded": 2}"#).unwrap();
        let all = [file("a"), file("b"), file("c")];
        let report = merged(&all).unwrap();
        assert_eq!(report.to_string(), r#"{"states":3,"bugs_seeded":2}"#);
    }
}
