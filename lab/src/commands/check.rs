// SPDX-License-Identifier: GPL-2.0
//! `lab check`: every test, on this machine and in emulated ones, as KTAP on stdout and as
//! build/report/check.json (check-debug.json for the debug kernel, check-rt.json for the rt kernel).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::{failure, files, interrupt, layout::Lab, parallel::side_by_side};
use crate::build::{kernel::Kind, packages};
use crate::tests::{
    host::{self, Host},
    kept::Kept,
    list::{self, List},
    results::{Results, Row},
    select,
    session::{print_of, Parts, Session},
    verdict::Verdict,
};

#[derive(clap::Args)]
pub struct Options {
    /// Only these: a part of a row's name, a program, or PROGRAM/TEST for one test of a program
    #[arg(value_name = "NAME")]
    only: Vec<String>,
    /// Leave the emulated machines out
    #[arg(long)]
    host: bool,
    /// On the debug kernel instead of the release ones: all that runs on the patched kernel; a
    /// machine whose tests have all passed is not run again before something changes
    #[arg(long, group = "apart", conflicts_with = "host")]
    debug: bool,
    /// The same on the rt kernel (PREEMPT_RT)
    #[arg(long, group = "apart", conflicts_with = "host")]
    rt: bool,
    /// Run all machines of that kernel, whatever has passed already
    #[arg(long, requires = "apart")]
    again: bool,
}

impl Options {
    /// The kernel that all runs on, if it is one that takes too long for a plain `lab check`.
    fn apart(&self) -> Option<Kind> {
        match (self.debug, self.rt) {
            (true, _) => Some(Kind::Debug),
            (_, true) => Some(Kind::Rt),
            _ => None,
        }
    }
}

/// What came of a machine in which all went well.
#[derive(Clone, Deserialize, Serialize)]
struct Passed {
    rows: Vec<Row>,
}

pub fn run(lab: &Lab, options: &Options) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let mut machines = match options.host {
        true => BTreeMap::new(),
        false => list::machines(&List::read(lab)?),
    };
    let apart = options.apart();
    machines.retain(|group, _| match apart {
        Some(kernel) => group.kernel == kernel,
        None => !group.kernel.is_checked_apart(),
    });
    let mut on_host = match apart {
        Some(_) => Vec::new(),
        None => host::tests(lab)?,
    };
    on_host.retain(|test| !(options.host && test.measures));
    let names: Vec<&str> = on_host.iter().map(|t| t.name.as_str()).collect();
    let (machines, names) = select::tests(&options.only, machines, &names)?;
    // A report of a few tests would pass for that of all, and so would what is kept of them.
    let whole = options.only.is_empty() && !options.host;
    let report = match apart {
        Some(kernel) => format!("check-{}", kernel.name()),
        None => "check".to_owned(),
    };
    if whole {
        // What is there is of another run, should this one come to no end.
        files::remove(&lab.at("build/report").join(format!("{report}.json")))?;
    }
    let kept = Kept::<Passed>::open(lab, &report);

    // What cannot be built is one clear failure, not a list of tests that did not run.
    let mut known = Vec::new();
    let mut sessions = Vec::new();
    let parts = Parts::build(lab, machines.keys())?;
    for ((group, tests), parts) in machines.into_iter().zip(parts) {
        let name = group.name();
        let print = print_of(&parts.print(lab)?, &group, &tests).finish();
        match kept.get(&name, &print) {
            Some(record) if apart.is_some() && whole && !options.again => {
                eprintln!("lab: {name}: has passed as it is; --again runs it again");
                known.extend(record.result.rows);
            }
            _ => {
                let dir = format!("check-{name}");
                sessions.push((print, Session::compose(lab, &dir, group, tests, &parts)?));
            }
        }
    }
    let to_come: usize = sessions.iter().map(|(_, s)| s.rows()).sum();
    let results = Results::begin(names.len() + known.len() + to_come);
    known.iter().for_each(|row| results.add(row));
    lab.unlock();
    // The longest first, so that no long one is left over for the end.
    sessions.sort_by_key(|(_, session)| Reverse(session.length()));
    let in_machines = || {
        for ended in side_by_side(&lab.jobs, &sessions, |(print, session)| {
            let mut rows = Vec::new();
            session.run(&mut |row, _| {
                results.add(&row);
                rows.push(row);
            })?;
            match apart.is_some() && whole && !rows.iter().any(|row| row.verdict.failed()) {
                true => kept.keep(&session.group.name(), print, Passed { rows }),
                false => Ok(()),
            }
        }) {
            ended?;
        }
        Ok(())
    };
    // What needs no machine runs beside those that do.
    std::thread::scope(|scope| {
        let gates = scope.spawn(|| gates(lab, &on_host, &names, &results));
        let ended: Result<()> = in_machines();
        gates
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        ended
    })?;
    let report = report + ".json";
    results.finish(lab, whole.then_some(&report))
}

/// Runs those of the gates that have one of these names.
fn gates(lab: &Lab, on_host: &[Host], names: &[&str], results: &Results) -> Result<()> {
    for test in on_host.iter().filter(|t| names.contains(&t.name.as_str())) {
        let (verdict, said) = match (test.work)(lab) {
            Ok(()) => (Verdict::Pass, String::new()),
            Err(error) => {
                interrupt::check()?;
                (Verdict::Fail, failure::explain(&error))
            }
        };
        let said = said.lines().map(str::to_owned).collect();
        results.add(&Row::new(&test.name, verdict, said));
    }
    Ok(())
}
