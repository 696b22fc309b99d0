// SPDX-License-Identifier: GPL-2.0
//! `lab fuzz`: random guest programs (selftests/xfd_fuzz.c) on each host, some hundred seeds in a
//! machine, as long as the time allows; prints a table, and writes build/report/fuzz.json.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use indexmap::IndexMap;
use serde::Serialize;

use crate::base::{
    failure::Failure,
    files::{self, write_json},
    layout::Lab,
    parallel::side_by_side,
    table::table,
};
use crate::build::packages;
use crate::tests::{
    fuzz::{entry, noticed_after, Counts, CPUS},
    hosts::{hosts, kind},
    list::{Group, Test},
    results::Row,
    session::{Parts, Session},
    verdict::Seen,
};

#[derive(clap::Args)]
pub struct Options {
    /// How many seeds on each host
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    first: u64,
    /// Begin no machine after this time, whatever seeds are left
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Only on this host: stock, minimal, unloaded, or a strategy (may be repeated)
    #[arg(long, value_name = "HOST")]
    on: Vec<String>,
}

/// How many seeds a machine has: it takes longer than to boot it.
const SEEDS_OF_MACHINE: u64 = 500;

/// build/report/fuzz.json
#[derive(Default, Serialize)]
struct Report {
    #[serde(flatten)]
    all: Counts,
    /// How many seeds each host was to have; there may have been no time for all of them.
    seeds_asked: u64,
    hosts: IndexMap<String, Counts>,
}

/// What came of a machine.
struct Ran {
    host: String,
    counts: Counts,
    /// What is to be said of a difference.
    said: Vec<String>,
}

/// A machine that is to be.
struct Job<'a> {
    host: &'a str,
    first: u64,
    group: &'a Group,
    test: Test,
    parts: &'a Parts,
}

/// Returns whether no program differed.
pub fn run(lab: &Lab, options: &Options) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let hosts = hosts(lab, &options.on)?;
    let of_host =
        |host: &str, first, last| Test::of(&entry(host, first, last), host, kind(host), CPUS);
    let groups: Vec<Group> = hosts.iter().map(|host| of_host(host, 1, 1).0).collect();
    let parts = Parts::build(lab, &groups)?;
    lab.unlock();
    let path = lab.at("build/report/fuzz.json");
    files::remove(&path)?;

    // All hosts, and then all hosts again: none is left out when the time is over.
    let mut jobs = Vec::new();
    let end = options.first + options.seeds - 1;
    for first in (options.first..=end).step_by(SEEDS_OF_MACHINE as usize) {
        for ((host, group), parts) in hosts.iter().zip(&groups).zip(&parts) {
            let last = end.min(first + SEEDS_OF_MACHINE - 1);
            let (_, test) = of_host(host, first, last);
            jobs.push(Job {
                host,
                first,
                group,
                test,
                parts,
            });
        }
    }
    let deadline = options
        .minutes
        .map(|n| Instant::now() + Duration::from_secs(60 * n));
    let composing = Mutex::new(());
    let ended = side_by_side(&lab.jobs, &jobs, |job| {
        match deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            true => Ok(None),
            false => boot(lab, &composing, job).map(Some),
        }
    });
    let ran: Vec<Ran> = ended
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();

    let mut report = Report {
        seeds_asked: options.seeds,
        ..Report::default()
    };
    // In their order, and none is left out.
    for host in &hosts {
        report.hosts.insert(host.clone(), Counts::default());
    }
    for one in &ran {
        report
            .hosts
            .entry(one.host.clone())
            .or_default()
            .add(&one.counts);
        report.all.add(&one.counts);
    }
    write_json(&path, &report)?;
    eprintln!("lab: {} is written", lab.shown(&path));
    for one in ran.iter().filter(|one| one.counts.differences > 0) {
        println!("{}:", one.host);
        one.said.iter().for_each(|line| println!("  {line}"));
    }
    println!("{}", shown(&report));
    if report.all.differences > 0 {
        return Ok(false);
    }
    let without: Vec<&str> = report
        .hosts
        .iter()
        .filter(|(_, counts)| counts.seeds == 0)
        .map(|(host, _)| host.as_str())
        .collect();
    if !without.is_empty() {
        return Err(
            Failure::new(format!("no program has run on {}", without.join(", ")))
                .next("give it more time: --minutes")
                .into(),
        );
    }
    for (host, counts) in &report.hosts {
        if counts.seeds < options.seeds {
            eprintln!(
                "lab: {host}: the time was over after {} of {} seeds",
                counts.seeds, options.seeds
            );
        }
    }
    Ok(true)
}

fn boot(lab: &Lab, composing: &Mutex<()>, job: &Job) -> Result<Ran> {
    let name = format!("fuzz-{}-{}", job.host, job.first);
    let session = {
        let _one = composing.lock();
        Session::compose(
            lab,
            &name,
            job.group.clone(),
            vec![job.test.clone()],
            job.parts,
        )?
    };
    let mut rows: Vec<(Row, Option<Seen>)> = Vec::new();
    let outcome = session.run(&mut |row, seen| rows.push((row, seen)))?;
    let output = rows
        .iter()
        .find_map(|(_, seen)| Some(seen.as_ref()?.output.clone()));
    let output = output.unwrap_or_default();
    let counted = Counts::of(&output);
    let silent = counted.is_none();
    let mut counts = counted.unwrap_or_default();
    let failed: Vec<&Row> = rows
        .iter()
        .map(|(row, _)| row)
        .filter(|row| row.verdict.failed())
        .collect();
    let mut said = Vec::new();
    if failed.is_empty() && !silent {
        files::remove(&outcome.dir)?;
    } else {
        // A machine that crashed says no number itself, and one that says none has shown nothing.
        counts.differences = counts.differences.max(1);
        said.extend(noticed_after(&output));
        said.extend(
            output
                .into_iter()
                .filter(|line| !line.starts_with("# seeds ")),
        );
        said.extend(failed.iter().flat_map(|row| row.said.last().cloned()));
        said.push(format!("log: {}", lab.shown(&outcome.dir)));
    }
    eprintln!(
        "lab: {}: {}: {} seeds, {} differences",
        job.host, job.test.entry.name, counts.seeds, counts.differences
    );
    Ok(Ran {
        host: job.host.to_owned(),
        counts,
        said,
    })
}

fn shown(report: &Report) -> String {
    let row = |name: &str, counts: &Counts| {
        let Counts {
            seeds,
            operations,
            disturbances,
            differences,
        } = counts;
        let numbers = [seeds, operations, disturbances, differences].map(u64::to_string);
        [vec![name.to_owned()], numbers.to_vec()].concat()
    };
    let hosts = report.hosts.iter().map(|(host, counts)| row(host, counts));
    let head = ["host", "seeds", "operations", "disturbances", "differences"];
    table(&head, hosts.chain([row("all", &report.all)]))
}
