// SPDX-License-Identifier: GPL-2.0
//! `lab guests`: Linux guests in QEMU go through the scenarios of selftests/guest/list.toml on each host;
//! prints tables and goals, and writes build/report/guests.json.

use anyhow::Result;

use crate::base::{failure::Failure, files::write_json, layout::Lab};
use crate::tests::guests::run::{self, Wanted};
use crate::tests::select;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    wanted: select::Wanted,
    /// Only on this host: stock, minimal, unloaded, or a strategy (may be repeated)
    #[arg(long, value_name = "HOST")]
    on: Vec<String>,
    /// Only what `make check` runs of it
    #[arg(long)]
    check: bool,
}

pub fn run(lab: &Lab, options: &Options) -> Result<()> {
    let wanted = Wanted {
        check: options.check,
        only: options.wanted.only.clone(),
        on: options.on.clone(),
        again: options.wanted.again,
    };
    let report = run::run(lab, &wanted)?;
    println!("{}\n", report.tables());
    for goal in &report.goals {
        let said = if goal.met { "met" } else { "NOT MET" };
        println!("goal: {}: {said}", goal.goal);
    }
    // A report of a part would pass for that of all.
    if wanted.only.is_empty() && wanted.on.is_empty() && !wanted.check {
        let path = lab.at("build/report/guests.json");
        write_json(&path, &report)?;
        eprintln!("lab: {} is written", lab.shown(&path));
    }
    let missed = report.goals.iter().filter(|g| !g.met);
    let why: Vec<String> = missed
        .flat_map(|g| {
            let failures = g.failures.iter().map(|f| format!("  {f}"));
            [format!("{}:", g.goal)].into_iter().chain(failures)
        })
        .collect();
    if why.is_empty() {
        return Ok(());
    }
    let all = report.scenarios.iter();
    let said = all.flat_map(|(scenario, columns)| {
        columns.iter().flat_map(move |(host, column)| {
            let said = column.said.iter();
            said.map(move |line| format!("{scenario}: {host}: {line}"))
        })
    });
    Err(Failure::new("guests do not do what they must")
        .details(why)
        .details(said)
        .next(
            "the machine's logs are build/boot/guests-HOST-CPUS; the guest's own last lines are above; \
             `lab guests NAME --on HOST` repeats one",
        )
        .into())
}
