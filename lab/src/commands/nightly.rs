// SPDX-License-Identifier: GPL-2.0
//! `lab nightly`: all that is too long for `lab check`, one part after the other, each in a lab of its
//! own; a table at the end and build/report/nightly.json.
//!
//! Every part keeps its results, so that what was done before costs seconds.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::base::{files::write_json, layout::Lab, step::Step, table::table};

/// Each part's name, and what the lab is told to do.
const PARTS: [(&str, &[&str]); 10] = [
    ("check-debug", &["check", "--debug"]),
    ("check-rt", &["check", "--rt"]),
    ("guests", &["guests"]),
    ("hostile", &["hostile"]),
    ("mutants", &["mutants"]),
    ("explore", &["explore", "--minutes", "120"]),
    ("fuzz", &["fuzz", "--seeds", "10000", "--minutes", "60"]),
    ("coverage", &["coverage"]),
    ("bisect", &["bisect"]),
    ("upstream", &["upstream"]),
];

/// What came of a part.
#[derive(Serialize)]
struct Part {
    name: &'static str,
    ok: bool,
    seconds: u64,
    /// Its last word.
    summary: String,
}

/// build/report/nightly.json
#[derive(Serialize)]
struct Report {
    parts: Vec<Part>,
}

/// Returns whether every part went well; none keeps the others from being run.
pub fn run(lab: &Lab) -> Result<bool> {
    let mut parts = Vec::new();
    for (name, arguments) in PARTS {
        let began = Instant::now();
        let log = format!("nightly-{name}");
        let mut step = Step::begin(lab, &log, &format!("nightly: {name}"))?;
        let mut command = Command::new(std::env::current_exe()?);
        // The choices are the caller's, here and in the environment.
        let chosen = std::env::args_os().skip(1).filter(|word| word != "nightly");
        command.args(chosen).args(arguments);
        let ok = step.status(&mut command)?;
        step.done();
        let text = fs::read(lab.log(&log))?;
        parts.push(Part {
            name,
            ok,
            seconds: began.elapsed().as_secs(),
            summary: summary(&String::from_utf8_lossy(&text)),
        });
    }
    let report = Report { parts };
    write_json(&lab.at("build/report/nightly.json"), &report)?;
    let rows = report.parts.iter().map(|part| {
        vec![
            part.name.to_owned(),
            if part.ok { "ok" } else { "FAILED" }.to_owned(),
            format!("{} s", part.seconds),
            part.summary.clone(),
        ]
    });
    println!("{}", table(&["part", "", "took", "in its own words"], rows));
    let failed = report.parts.iter().filter(|part| !part.ok);
    for part in failed.clone() {
        let log = lab.log(&format!("nightly-{}", part.name));
        println!("{} failed: see {}", part.name, lab.shown(&log));
    }
    Ok(failed.count() == 0)
}

/// What a part says of itself in the end: its error, or its last line.
fn summary(log: &str) -> String {
    let lines = || log.lines().rev().map(str::trim).filter(|l| !l.is_empty());
    let error = lines().find_map(|l| l.strip_prefix("lab: error: "));
    error.or_else(|| lines().next()).unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cli;

    #[test]
    fn a_part_says_its_error_or_its_last_line() {
        assert_eq!(summary("ok 1 a\n3 passed\n\n"), "3 passed");
        let failed = "lab: x\nlab: error: no room\n  log: y\n  next: z\n";
        assert_eq!(summary(failed), "no room");
        assert_eq!(summary(""), "");
    }

    #[test]
    fn the_parts_are_commands_and_targets() {
        let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/../Makefile");
        let makefile = fs::read_to_string(makefile).unwrap();
        for (name, arguments) in PARTS {
            assert!(cli::parses(arguments), "{arguments:?}");
            assert!(makefile.contains(&format!("\n{name}: lab")), "{name}");
        }
    }
}
