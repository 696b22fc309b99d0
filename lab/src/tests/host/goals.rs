// SPDX-License-Identifier: GPL-2.0
//! The goals of `make run`, one row for each, and the measurement that they are judged by.

use std::sync::{Arc, OnceLock};

use anyhow::Result;

use crate::base::failure::{self, Failure};
use crate::base::layout::Lab;
use crate::measure::goals;
use crate::measure::report::Report;
use crate::measure::run::{current, measured};
use crate::tests::host::{host, Host};

/// The last measurement, if it is one of what is built now, or else a new one. Whoever asks first
/// makes it; the others wait for it.
#[derive(Default)]
pub struct Measurement(OnceLock<std::result::Result<Report, String>>);

impl Measurement {
    pub fn report(&self, lab: &Lab) -> Result<&Report> {
        let made = self.0.get_or_init(|| {
            let last = current(lab).and_then(|last| match last {
                Some(report) => Ok(report),
                None => measured(lab),
            });
            last.map_err(|error| failure::explain(&error))
        });
        made.as_ref().map_err(|why| {
            Failure::new("there are no figures")
                .details(why.lines())
                .next("mend what keeps `make run` from measuring")
                .into()
        })
    }
}

pub fn tests(measurement: &Arc<Measurement>) -> Vec<Host> {
    goals::names()
        .map(|goal| {
            let measurement = measurement.clone();
            Host {
                measures: true,
                ..host(format!("goal: {goal}"), move |lab| {
                    met(measurement.report(lab)?, &goal)
                })
            }
        })
        .collect()
}

fn met(report: &Report, name: &str) -> Result<()> {
    match report.goals.iter().find(|g| g.goal == name) {
        Some(goal) if goal.met => Ok(()),
        goal => Err(Failure::new("the goal is missed")
            .details(goal.into_iter().flat_map(|g| g.failures.clone()))
            .next("`make run` prints the figures; lab/src/measure/goals.rs has the goals")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::collection::tests::report;

    #[test]
    fn a_missed_goal_fails_its_row_and_says_why() {
        let mut report = report();
        report.strategies["lazy"].nm.instructions = 401;
        report.goals = goals::judge(&report.strategies);
        let failed: Vec<String> = goals::names()
            .filter_map(|goal| met(&report, &goal).err())
            .map(|error| error.to_string())
            .collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].contains("lazy: 0.00 exits, 401 instructions"));
    }

    #[test]
    fn a_goal_that_nobody_judged_is_missed() {
        let mut report = report();
        report.goals.clear();
        assert!(goals::names().all(|goal| met(&report, &goal).is_err()));
    }

    #[test]
    fn every_goal_has_a_row() {
        let rows = tests(&Arc::default());
        assert_eq!(rows.len(), goals::names().count());
        assert!(rows
            .iter()
            .all(|r| r.measures && r.name.starts_with("goal: ")));
    }
}
