// SPDX-License-Identifier: GPL-2.0
//! `lab hostile`: userspace that means ill (xfd_hostile_test), without the module and with each
//! strategy: a part of it on the debug kernel, with memory that fails and leaks that are looked for,
//! the rest on the patched kernel; a table, and build/report/hostile.json.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::{
    failure::Failure,
    files::{self, write_json},
    layout::Lab,
    parallel::side_by_side,
    table::table,
};
use crate::build::{kernel::Kind, packages};
use crate::measure::strategies::strategies;
use crate::tests::{
    kept::Kept,
    list::{Entry, Group, OneOrMore, Test},
    session::{print_of, Parts, Session},
    verdict::{Seen, Verdict},
};

#[derive(clap::Args)]
pub struct Options {
    /// How many ioctls, of all machines together
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    ioctls: u64,
    /// Run all machines, whatever has passed already
    #[arg(long)]
    again: bool,
}

/// Without the module, which comes and goes meanwhile.
const WITHOUT: &str = "unloaded";

/// One in so many is the debug kernel's, which is that much slower.
const DEBUG_SHARE: u64 = 10;

/// What a line that counts something begins with, in the program's output.
const COUNTED: &str = "# hostile: ";

/// What a machine has counted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Counts {
    seeds: u64,
    ioctls: u64,
    /// By name; "0" is success.
    errno: BTreeMap<String, u64>,
    /// Allocations and copies that were made to fail, and ioctls that failed by that.
    faults: u64,
    failed_by_fault: u64,
    splats: u64,
    /// Of kmemleak, on the debug kernel.
    leaks: u64,
    looked_for_leaks: bool,
    /// Those of the ioctls after which somebody looked.
    ioctls_leak_checked: u64,
}

impl Counts {
    fn of(seen: &Seen) -> Counts {
        let mut counts = Counts {
            splats: seen.splats.len() as u64,
            ..Counts::default()
        };
        for line in &seen.output {
            let words: Vec<&str> = match line.strip_prefix(COUNTED) {
                Some(words) => words.split_whitespace().collect(),
                None => continue,
            };
            let number = words.last().and_then(|n| n.parse().ok()).unwrap_or(0u64);
            match words[..] {
                ["seeds", _] => counts.seeds += number,
                ["ioctls", _] => counts.ioctls += number,
                ["faults", _] => counts.faults += number,
                ["failed_by_fault", _] => counts.failed_by_fault += number,
                ["leaks", _] => {
                    counts.leaks += number;
                    counts.looked_for_leaks = true;
                }
                ["errno", name, _] => *counts.errno.entry(name.to_owned()).or_default() += number,
                _ => {}
            }
        }
        if counts.looked_for_leaks {
            counts.ioctls_leak_checked = counts.ioctls;
        }
        counts
    }

    fn add(&mut self, other: &Counts) {
        self.seeds += other.seeds;
        self.ioctls += other.ioctls;
        self.faults += other.faults;
        self.failed_by_fault += other.failed_by_fault;
        self.splats += other.splats;
        self.leaks += other.leaks;
        self.looked_for_leaks |= other.looked_for_leaks;
        self.ioctls_leak_checked += other.ioctls_leak_checked;
        for (name, number) in &other.errno {
            *self.errno.entry(name.clone()).or_default() += number;
        }
    }
}

/// What came of a machine.
#[derive(Clone, Deserialize, Serialize)]
struct Ran {
    kernel: String,
    on: String,
    verdict: Verdict,
    #[serde(flatten)]
    counts: Counts,
    /// By the machine's clock.
    seconds: f64,
    /// What is to be said of a failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    said: Vec<String>,
}

/// What a machine of this kernel should have done, `ioctls` of them, and has not, without any
/// complaint.
fn missing(kernel: Kind, ioctls: u64, counts: &Counts) -> Option<&'static str> {
    match kernel {
        _ if counts.ioctls < ioctls => Some("there were fewer ioctls than it was to do"),
        Kind::Debug if !counts.looked_for_leaks => {
            Some("nobody has looked for leaks: kmemleak is off")
        }
        Kind::Debug if counts.faults == 0 => Some("no memory has failed: there is no fail-nth"),
        _ => None,
    }
}

/// build/report/hostile.json
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    all: Counts,
    machines: Vec<Ran>,
}

/// The machines: one for each column and kernel, each with seeds of its own; and how many ioctls
/// each is to do.
fn machines(columns: &[String], ioctls: u64) -> Vec<(Group, Test, u64)> {
    let mut machines = Vec::new();
    for kernel in [Kind::Debug, Kind::Patched] {
        let share = match kernel {
            Kind::Debug => ioctls / DEBUG_SHARE,
            _ => ioctls - ioctls / DEBUG_SHARE,
        };
        for on in columns {
            let each = share.div_ceil(columns.len() as u64);
            let expect = match on.as_str() {
                WITHOUT => "unattached",
                _ => "attached",
            };
            let first = 1 + machines.len() as u64 * ioctls;
            let command =
                format!("xfd_hostile_test --expect={expect} --ioctls={each} --first={first}");
            let params = match kernel {
                Kind::Debug => "kmemleak=on",
                _ => "",
            };
            let entry = Entry {
                cpus: OneOrMore::One(2),
                params: params.to_owned(),
                // A thousand a second are slow; and kmemleak looks at all memory once.
                timeout: 300 + each / 50,
                ..Entry::new("hostile", &command)
            };
            let (group, test) = Test::of(&entry, on, kernel, 2);
            machines.push((group, test, each));
        }
    }
    machines
}

pub fn run(lab: &Lab, options: &Options) -> Result<()> {
    lab.lock()?;
    packages::setup(lab)?;
    let columns = [vec![WITHOUT.to_owned()], strategies(lab)?].concat();
    let machines = machines(&columns, options.ioctls);
    let path = lab.at("build/report/hostile.json");
    files::remove(&path)?;
    let kept = Kept::<Ran>::open(lab, "hostile");
    let parts = Parts::build(lab, machines.iter().map(|(group, ..)| group))?;
    let mut sessions = Vec::new();
    let mut prints = Vec::new();
    for ((group, test, ioctls), parts) in machines.into_iter().zip(parts) {
        let tests = vec![test.clone()];
        let print = print_of(&parts.print(lab)?, &group, &tests).finish();
        let known = kept.get(&test.id, &print);
        if options.again || known.is_none_or(|known| known.result.verdict != Verdict::Pass) {
            let name = format!("hostile-{}-{}", group.kernel.name(), test.on);
            let session = Session::compose(lab, &name, group, tests, &parts)?;
            sessions.push((test.clone(), print.clone(), session, ioctls));
        }
        prints.push((test.id, print));
    }
    lab.unlock();
    let ended = side_by_side(&lab.jobs, &sessions, |(test, print, session, ioctls)| {
        let mut said = Vec::new();
        let mut ran = None;
        session.run(&mut |row, seen| match seen {
            Some(seen) => {
                ran = Some(Ran {
                    kernel: session.group.kernel.name().to_owned(),
                    on: test.on.clone(),
                    verdict: row.verdict,
                    counts: Counts::of(&seen),
                    seconds: seen.seconds,
                    said: row.said,
                })
            }
            None if row.verdict.failed() => said.extend(row.said),
            None => {}
        })?;
        let Some(mut ran) = ran else { return Ok(()) };
        // What is wrong with the machine is wrong with its test.
        if !said.is_empty() && !ran.verdict.failed() {
            ran.verdict = Verdict::Splat;
            ran.counts.splats += 1;
        }
        ran.said.extend(said);
        if let (false, Some(why)) = (
            ran.verdict.failed(),
            missing(session.group.kernel, *ioctls, &ran.counts),
        ) {
            ran.verdict = Verdict::Fail;
            ran.said.push(why.to_owned());
        }
        eprintln!(
            "lab: {}: {}: {} ioctls",
            test.id,
            ran.verdict.word(),
            ran.counts.ioctls
        );
        kept.keep(&test.id, print, ran)
    });
    ended.into_iter().collect::<Result<()>>()?;
    let known = prints.iter().filter_map(|(id, print)| kept.get(id, print));
    let machines: Vec<Ran> = known.map(|record| record.result).collect();
    let mut all = Counts::default();
    machines.iter().for_each(|ran| all.add(&ran.counts));
    let report = Report { all, machines };
    println!("{}", shown(&report));
    write_json(&path, &report)?;
    eprintln!("lab: {} is written", lab.shown(&path));
    let wrong = report.machines.iter().filter(|ran| ran.verdict.failed());
    let wrong: Vec<String> = wrong
        .flat_map(|ran| {
            let head = format!("{} kernel, {}: {}", ran.kernel, ran.on, ran.verdict.word());
            [head].into_iter().chain(ran.said.clone())
        })
        .collect();
    if wrong.is_empty() && report.machines.len() == prints.len() {
        return Ok(());
    }
    Err(Failure::new("hostile userspace has done harm, or was told what it must not be")
        .details(wrong)
        .next(
            "the machines' logs are build/boot/hostile-KERNEL-STRATEGY; `lab boot --debug --cpus 2 \
             --strategy STRATEGY -- xfd_hostile_test --seeds=N-N` repeats one seed",
        )
        .into())
}

fn shown(report: &Report) -> String {
    let row = |kernel: &str, on: &str, what: &str, counts: &Counts| {
        vec![
            kernel.to_owned(),
            on.to_owned(),
            what.to_owned(),
            counts.ioctls.to_string(),
            counts.faults.to_string(),
            counts.splats.to_string(),
            match counts.ioctls_leak_checked {
                0 => "-".to_owned(),
                ioctls => format!("{} in {ioctls} ioctls", counts.leaks),
            },
        ]
    };
    let machines = report.machines.iter();
    let mut rows: Vec<_> = machines
        .map(|ran| row(&ran.kernel, &ran.on, ran.verdict.word(), &ran.counts))
        .collect();
    rows.push(row("all", "", "", &report.all));
    let head = ["kernel", "", "", "ioctls", "faults", "splats", "leaks"];
    let errno = report.all.errno.iter();
    let errno: Vec<String> = errno.map(|(name, n)| format!("{name} {n}")).collect();
    format!(
        "{}\nerrno: {}",
        table(&head, rows.into_iter()),
        errno.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_has_counted_is_summed() {
        let output = [
            "# hostile: seeds 3",
            "# hostile: ioctls 700",
            "# hostile: errno 0 500",
            "# hostile: errno EINVAL 200",
            "# hostile: ioctls 300",
            "# hostile: errno EINVAL 1",
            "# other: ioctls 5",
            "# hostile: leaks 2",
        ];
        let seen = Seen {
            output: output.map(str::to_owned).to_vec(),
            splats: vec!["WARNING".into()],
            ..Seen::default()
        };
        let mut counts = Counts::of(&seen);
        assert_eq!((counts.ioctls, counts.seeds, counts.leaks), (1000, 3, 2));
        assert_eq!(counts.ioctls_leak_checked, 1000);
        let said = |kernel, ioctls, counts: &Counts| missing(kernel, ioctls, counts).unwrap_or("");
        assert_eq!(said(Kind::Patched, 1000, &counts), "");
        assert!(said(Kind::Patched, 1001, &counts).contains("fewer ioctls"));
        assert!(said(Kind::Debug, 1000, &counts).contains("fail-nth"));
        counts.faults = 1;
        assert_eq!(said(Kind::Debug, 1000, &counts), "");
        counts.looked_for_leaks = false;
        assert!(said(Kind::Debug, 1000, &counts).contains("kmemleak"));
        assert_eq!(counts.errno["EINVAL"], 201);
        assert_eq!(counts.splats, 1);
        let once = counts.clone();
        counts.add(&once);
        assert_eq!((counts.ioctls, counts.errno["0"]), (2000, 1000));
    }

    #[test]
    fn every_machine_has_its_share_and_its_own_seeds() {
        let columns = ["unloaded", "eager"].map(str::to_owned);
        let all = machines(&columns, 1000);
        let commands: Vec<&str> = all
            .iter()
            .map(|(_, t, _)| t.entry.command.as_str())
            .collect();
        assert_eq!(
            commands,
            [
                "xfd_hostile_test --expect=unattached --ioctls=50 --first=1",
                "xfd_hostile_test --expect=attached --ioctls=50 --first=1001",
                "xfd_hostile_test --expect=unattached --ioctls=450 --first=2001",
                "xfd_hostile_test --expect=attached --ioctls=450 --first=3001",
            ]
        );
        assert_eq!(all[0].0.params, "kmemleak=on");
    }
}
