// SPDX-License-Identifier: GPL-2.0
//! `lab run`: measures everything, prints the tables and the goals, and fails if a goal is missed.

use std::time::Instant;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::layout::Lab;
use crate::measure::run::{measured, path};
use crate::measure::table;

pub fn run(lab: &Lab) -> Result<()> {
    let began = Instant::now();
    let report = measured(lab)?;
    println!("{}\n{}\n", table::tables(&report), report.words());
    for goal in &report.goals {
        let said = if goal.met { "met" } else { "NOT MET" };
        println!("goal: {}: {said}", goal.goal);
    }
    eprintln!(
        "lab: {} is written; {:.0} s in all",
        lab.shown(&path(lab)),
        began.elapsed().as_secs_f64()
    );
    let missed: Vec<_> = report.goals.iter().filter(|g| !g.met).collect();
    if missed.is_empty() {
        return Ok(());
    }
    let why = missed.iter().flat_map(|g| {
        let failures = g.failures.iter().map(|f| format!("  {f}"));
        [format!("{}:", g.goal)].into_iter().chain(failures)
    });
    Err(Failure::new("goals are not met")
        .details(why)
        .next("the goals are in lab/src/measure/goals.rs; the figures are above")
        .into())
}
