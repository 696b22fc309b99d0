// SPDX-License-Identifier: GPL-2.0
//! Linux guests in QEMU: the scenarios that are for each `make check`, on stock and with the default
//! strategy; `make guests` runs all.

use std::sync::{Arc, OnceLock};

use anyhow::Result;

use crate::base::failure::{self, Failure};
use crate::base::layout::Lab;
use crate::measure::strategies::strategies;
use crate::tests::guests::report::Report;
use crate::tests::guests::run::{self, Wanted};
use crate::tests::guests::scenario::Scenario;
use crate::tests::host::{host, Host};

/// What came of all of them. Whoever asks first runs them.
type Ran = OnceLock<std::result::Result<Report, String>>;

pub fn tests(lab: &Lab) -> Result<Vec<Host>> {
    let on: Vec<String> = ["stock".to_owned()]
        .into_iter()
        .chain(strategies(lab)?.pop())
        .collect();
    let ran = Arc::new(Ran::default());
    let mut tests = Vec::new();
    for scenario in Scenario::list(lab)?.into_iter().filter(|s| s.check) {
        for name in &on {
            let (ran, all, name) = (ran.clone(), on.clone(), name.clone());
            let (title, scenario) = (
                format!("guests: {}, {name}", scenario.name),
                scenario.name.clone(),
            );
            tests.push(Host {
                measures: true,
                ..host(title, move |lab| {
                    passed(report(lab, &ran, &all)?, &scenario, &name)
                })
            });
        }
    }
    let all = on;
    tests.push(Host {
        measures: true,
        ..host("guests: goals", move |lab| met(report(lab, &ran, &all)?))
    });
    Ok(tests)
}

fn report<'a>(lab: &Lab, ran: &'a Ran, on: &[String]) -> Result<&'a Report> {
    let made = ran.get_or_init(|| {
        let wanted = Wanted {
            check: true,
            on: on.to_vec(),
            ..Wanted::default()
        };
        run::run(lab, &wanted).map_err(|error| failure::explain(&error))
    });
    made.as_ref().map_err(|why| {
        Failure::new("no guest ran")
            .details(why.lines())
            .next("`lab guests --check` runs nothing else")
            .into()
    })
}

fn passed(report: &Report, scenario: &str, on: &str) -> Result<()> {
    let found = report.scenarios.get(scenario).and_then(|s| s.get(on));
    if found.is_some_and(|column| column.ok) {
        return Ok(());
    }
    Err(Failure::new(format!("the scenario failed on {on}"))
        .details(found.into_iter().flat_map(|column| column.said.clone()))
        .next(format!("`lab guests {scenario} --on {on}` repeats it"))
        .into())
}

fn met(report: &Report) -> Result<()> {
    let missed = report.goals.iter().filter(|g| !g.met);
    let why: Vec<String> = missed
        .flat_map(|g| g.failures.iter().map(|f| format!("{}: {f}", g.goal)))
        .collect();
    if why.is_empty() {
        return Ok(());
    }
    Err(Failure::new("goals are missed")
        .details(why)
        .next(
            "`lab guests --check` prints the figures; lab/src/tests/guests/goals.rs has the goals",
        )
        .into())
}
