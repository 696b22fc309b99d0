// SPDX-License-Identifier: GPL-2.0
//! `lab upstream`: the kernel tree's own x86 KVM selftests, all of them and unmodified, on the patched
//! kernel without the module and with each strategy; and whether a strategy changes the result of
//! any.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::{
    failure::Failure,
    files::{self, write_json},
    layout::Lab,
    parallel::side_by_side,
    table::table,
};
use crate::build::{
    emulator::{self, Emulator},
    kernel, module, packages,
    plan::{self, Product},
    selftests, upstream,
};
use crate::measure::strategies::strategies;
use crate::tests::{
    column::{Column, FromRun},
    kept::{Kept, Record},
    ktap::Ktap,
    list::{Entry, Group, OneOrMore, Test},
    results::{Results, Row},
    select,
    session::{print_of, Parts},
    verdict::{Seen, Verdict},
};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    wanted: select::Wanted,
    /// Only with this strategy, or "unloaded" (may be repeated; unloaded is always there)
    #[arg(long, value_name = "STRATEGY")]
    on: Vec<String>,
}

const LIMITS: &str = "lab/config/upstream.toml";

/// Without the module: what the strategies' results are compared with.
const WITHOUT: &str = "unloaded";

/// What LIMITS has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    timeout: u64,
    cpus: u32,
    memory: u32,
    #[serde(default)]
    skip: Vec<Skip>,
}

/// A program that is not run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    name: String,
    why: String,
}

impl Limits {
    /// Names that no program has.
    fn unknown(&self, names: &[String]) -> Vec<&str> {
        let all = self.skip.iter().map(|p| p.name.as_str());
        all.filter(|n| !names.iter().any(|name| name == n))
            .collect()
    }

    /// A program as an entry of the list of tests. What it skips is in its result.
    fn entry(&self, name: &str) -> Entry {
        let shell = if name.ends_with(".sh") { "sh " } else { "" };
        Entry {
            cpus: OneOrMore::One(self.cpus),
            memory: self.memory,
            skips: true,
            timeout: self.timeout,
            ..Entry::new(name, &format!("{shell}/tests/{name}"))
        }
    }
}

/// What came of one program in one column.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Ran {
    result: Verdict,
    /// The exit status, if it came to that.
    status: Option<i32>,
    /// The program's own last word on a result that is not "pass".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    said: String,
    /// Its KTAP lines, without their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<String>,
    /// Of the machine's clock.
    seconds: f64,
}

impl FromRun for Ran {
    fn from_run(row: &Row, seen: &Seen) -> Ran {
        let result = row.verdict;
        Ran {
            result,
            status: seen.status,
            said: match result {
                Verdict::Pass => String::new(),
                Verdict::Splat => seen.splats[0].clone(),
                _ => last_word(&seen.output, result == Verdict::Skip),
            },
            parts: Ktap::read(&seen.output).parts,
            seconds: seen.seconds,
        }
    }

    /// "pass", or "skip: " and why.
    fn words(&self) -> String {
        match self.said.as_str() {
            "" => self.result.word().to_owned(),
            said => format!("{}: {said}", self.result.word()),
        }
    }
}

impl Ran {
    /// Whether another column has the same result, in each of the program's parts.
    fn same(&self, other: &Ran) -> bool {
        (self.result, self.status, &self.parts) == (other.result, other.status, &other.parts)
    }

    /// Whether it says nothing of the program.
    fn unfinished(&self) -> bool {
        !matches!(self.result, Verdict::Pass | Verdict::Fail | Verdict::Skip)
    }
}

/// The line in which a program explains itself: its last, or for a skip the last that says so.
fn last_word(output: &[String], skip: bool) -> String {
    let words = || {
        let lines = output.iter().rev().map(|l| l.trim());
        lines.filter(|l| !l.is_empty() && !l.starts_with("# Totals:"))
    };
    let found = words().find(|l| skip && l.to_ascii_lowercase().contains("skip"));
    found.or_else(|| words().next()).unwrap_or("").to_owned()
}

pub fn run(lab: &Lab, options: &Options) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let limits = files::toml::<Limits>(&lab.at(LIMITS))?;
    let dir = upstream::build(lab)?;
    let names = upstream::names(&dir)?;
    let unknown = limits.unknown(&names);
    if !unknown.is_empty() {
        let unknown = unknown.join(" ");
        let what = format!("{LIMITS} names programs that there are not: {unknown}");
        return Err(Failure::new(what)
            .next(format!("the names are in {}", lab.shown(&dir.join("list"))))
            .into());
    }
    let names = select::named(names, &options.wanted.only, |name| name)?;
    let columns = columns(lab, &options.on, &limits, &names, &dir)?;
    lab.unlock();

    let kept = Kept::<Ran>::open(lab, "upstream");
    if options.wanted.again {
        let tests = columns.iter().flat_map(|c| &c.tests);
        tests.for_each(|(test, _)| kept.forget(&test.id));
    }
    let composing = Mutex::new(());
    let ended = side_by_side(&lab.jobs, &columns, |column| {
        column.run(lab, &composing, &kept, "upstream")
    });
    ended.into_iter().collect::<Result<()>>()?;
    let programs = names
        .iter()
        .map(|name| Program::new(name, &columns, &limits, &kept));
    let report = Report::new(&columns, programs.collect())?;
    // A report of a few programs, or strategies, would pass for that of all.
    if options.wanted.only.is_empty() && options.on.is_empty() {
        let path = lab.at("build/report/upstream.json");
        write_json(&path, &report)?;
        eprintln!("lab: {} is written", lab.shown(&path));
    }
    println!("{}", report.table());
    let results = Results::begin(report.programs.len());
    for program in &report.programs {
        results.add(&program.row(&report.columns));
    }
    // Where all that was asked for is skipped, nothing is wrong.
    results.finish(lab, None)?;
    println!("{}", report.words());
    Ok(report.changed.is_empty() && report.unfinished.is_empty())
}

fn columns(
    lab: &Lab,
    only: &[String],
    limits: &Limits,
    programs: &[String],
    dir: &Path,
) -> Result<Vec<Column>> {
    let mut names = vec![WITHOUT.to_owned()];
    names.extend(strategies(lab)?);
    if let Some(unknown) = only.iter().find(|o| !names.contains(o)) {
        return Err(Failure::new(format!("there is no strategy \"{unknown}\""))
            .next(format!("there are {}", names.join(" ")))
            .into());
    }
    names.retain(|n| only.is_empty() || n == WITHOUT || only.contains(n));
    let run = |p: &&String| !limits.skip.iter().any(|s| s.name == **p);
    let entries: Vec<Entry> = programs
        .iter()
        .filter(run)
        .map(|p| limits.entry(p))
        .collect();
    let (kernel, shipped) = (kernel::Kind::Patched, module::Kind::Shipped);
    let emulator = Product::Emulator(Emulator::Patched);
    plan::build(lab, [Product::Module(kernel, shipped), emulator])?;
    let kernel = kernel::build(lab, kernel)?;
    let shipped = module::build(lab, &kernel, shipped)?;
    let emulator = emulator::build(lab, Emulator::Patched)?;
    let mut columns = Vec::new();
    for name in names {
        let mut parts = Parts {
            emulator: emulator.clone(),
            kernel: kernel.clone(),
            module: (name != WITHOUT).then(|| shipped.clone()),
            programs: Vec::new(),
            added: Vec::new(),
            pace: 5,
        };
        // Of the programs, a result depends on its own only.
        let print = parts.print(lab)?;
        // All of them, so that a script finds the program that it is about.
        parts.programs = selftests::programs(dir)?;
        let runs = entries.iter().map(|entry| {
            let (group, test) = Test::of(entry, &name, kernel::Kind::Patched, limits.cpus);
            let print = print_of(&print, &group, std::slice::from_ref(&test));
            let print = print.file(&dir.join(&entry.name))?.finish();
            Ok((group, (test, print)))
        });
        let (groups, tests): (Vec<Group>, _) =
            runs.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        // There is none where all programs are left out.
        columns.extend(groups.into_iter().next().map(|group| Column {
            name,
            group,
            parts,
            tests,
        }));
    }
    Ok(columns)
}

/// build/report/upstream.json
#[derive(Serialize)]
struct Report<'a> {
    kernel: String,
    columns: Vec<&'a str>,
    /// Programs whose result with a strategy is another one than without the module: "program: strategy".
    changed: Vec<String>,
    /// Those that came to no result of their own, in the same way.
    unfinished: Vec<String>,
    programs: Vec<Program<'a>>,
}

#[derive(Serialize)]
struct Program<'a> {
    name: &'a str,
    /// Why it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
    results: BTreeMap<&'a str, Record<Ran>>,
}

impl<'a> Report<'a> {
    fn new(columns: &'a [Column], programs: Vec<Program<'a>>) -> Result<Report<'a>> {
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        Ok(Report {
            kernel: match columns.first() {
                Some(column) => column.parts.kernel.release()?,
                None => String::new(),
            },
            changed: programs.iter().flat_map(|p| p.changed(&names)).collect(),
            unfinished: programs.iter().flat_map(Program::unfinished).collect(),
            columns: names,
            programs,
        })
    }

    fn table(&self) -> String {
        let head: Vec<&str> = ["program"].iter().chain(&self.columns).copied().collect();
        let rows = self.programs.iter().map(|program| {
            let word = |column| match (program.results.get(column), program.skipped) {
                (Some(ran), _) => ran.result.result.word(),
                (None, Some(_)) => "not run",
                (None, None) => "-",
            };
            let words = self.columns.iter().map(word);
            [program.name].into_iter().chain(words).collect()
        });
        table(&head, rows)
    }

    /// What it comes to.
    fn words(&self) -> String {
        let mut text = String::new();
        for column in &self.columns {
            let ran = || self.programs.iter().filter_map(|p| p.results.get(column));
            let count = |verdict| ran().filter(|r| r.result.result == verdict).count();
            let (passed, skipped) = (count(Verdict::Pass), count(Verdict::Skip));
            let rest = ran().count() - passed - skipped;
            text += &format!(
                "{column}: {passed} passed, {skipped} skipped themselves, {rest} others\n"
            );
        }
        text += &match self.changed.as_slice() {
            [] => "No strategy changes the result of any program.".to_owned(),
            changed => format!(
                "{} results are not as without the module: {}.",
                changed.len(),
                changed.join(", ")
            ),
        };
        if !self.unfinished.is_empty() {
            text += &format!(
                "\n{} came to no result: {}. Give them what they need in {LIMITS}, or skip them there \
                 and say why.",
                self.unfinished.len(),
                self.unfinished.join(", ")
            );
        }
        text
    }
}

impl<'a> Program<'a> {
    fn new(
        name: &'a str,
        columns: &'a [Column],
        limits: &'a Limits,
        kept: &Kept<Ran>,
    ) -> Program<'a> {
        let left_out = limits.skip.iter().find(|s| s.name == name);
        let of = |c: &'a Column| Some((c.name.as_str(), c.result(name, kept)?));
        Program {
            name,
            skipped: left_out.map(|s| s.why.as_str()),
            results: columns.iter().filter_map(of).collect(),
        }
    }

    /// What the program said of results that are not "pass", each once.
    fn reasons(&self) -> Vec<String> {
        let mut found: Vec<String> = self.skipped.iter().map(|s| (*s).to_owned()).collect();
        for ran in self.results.values().filter(|r| !r.result.said.is_empty()) {
            if !found.contains(&ran.result.words()) {
                found.push(ran.result.words());
            }
        }
        found
    }

    /// The results with a strategy that are not the one without the module.
    fn changed(&self, columns: &[&str]) -> Vec<String> {
        let same = |column: &&&str| match (self.results.get(WITHOUT), self.results.get(**column)) {
            (Some(without), Some(with)) => with.result.same(&without.result),
            _ => false,
        };
        let ran = columns.iter().filter(|_| self.skipped.is_none());
        ran.filter(|column| **column != WITHOUT && !same(column))
            .map(|column| format!("{}: {column}", self.name))
            .collect()
    }

    /// The results that say nothing of the program.
    fn unfinished(&self) -> Vec<String> {
        let results = self.results.iter();
        results
            .filter(|(_, ran)| ran.result.unfinished())
            .map(|(column, _)| format!("{}: {column}", self.name))
            .collect()
    }

    /// It passes if no strategy changes it, whatever it is; what it skips in all columns is a skip.
    fn row(&self, columns: &[&str]) -> Row {
        let skip = |r: &Record<Ran>| r.result.result == Verdict::Skip;
        let changed = self.changed(columns);
        let wrong: Vec<String> = changed.into_iter().chain(self.unfinished()).collect();
        let verdict = match wrong.is_empty() {
            false => Verdict::Fail,
            // One that is left out has no results.
            true if self.results.values().all(skip) => Verdict::Skip,
            true => Verdict::Pass,
        };
        let said = wrong.into_iter().chain(self.reasons()).collect();
        Row::new(self.name, verdict, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(status: i32, output: &[&str]) -> Ran {
        let seen = Seen {
            began: true,
            status: Some(status),
            output: output.iter().map(|l| (*l).to_owned()).collect(),
            ..Seen::default()
        };
        let limits: Limits = toml::from_str("timeout = 1\ncpus = 1\nmemory = 1\n").unwrap();
        let (verdict, _) = crate::tests::verdict::judge(&limits.entry("x"), &seen, None);
        Ran::from_run(&Row::new("x", verdict, Vec::new()), &seen)
    }

    fn program<'a>(name: &'a str, results: &[(&'a str, &Ran)]) -> Program<'a> {
        let record = |ran: &Ran| Record {
            result: ran.clone(),
            print: "p".into(),
        };
        Program {
            name,
            skipped: None,
            results: results.iter().map(|(c, r)| (*c, record(r))).collect(),
        }
    }

    #[test]
    fn a_program_explains_itself_by_its_last_line() {
        let skip = ran(4, &["1..0 # SKIP - Requirement not met: x", "", "bye"]);
        assert_eq!(skip.said, "1..0 # SKIP - Requirement not met: x");
        let fail = ran(
            1,
            &["ok 1 a", "  Unexpected exit reason", "# Totals: pass:1"],
        );
        assert_eq!(fail.said, "Unexpected exit reason");
        assert_eq!(ran(0, &["whatever"]).said, "");
    }

    #[test]
    fn results_are_the_same_if_all_their_parts_are() {
        let one = ran(0, &["TAP version 13", "ok 1 a", "ok 2 b # SKIP"]);
        assert_eq!(one.parts, ["ok a", "ok b # SKIP"]);
        assert!(one.same(&ran(0, &["ok 1 a", "noise", "ok 2 b # SKIP"])));
        assert!(!one.same(&ran(0, &["ok 1 a"])));
        assert!(!one.same(&ran(1, &["ok 1 a", "ok 2 b # SKIP"])));
        assert!(!ran(1, &["not ok 1 a"]).same(&ran(1, &["not ok 1 b"])));
    }

    #[test]
    fn a_result_that_differs_or_is_missing_is_a_change() {
        let (pass, fail) = (ran(0, &[]), ran(1, &[]));
        let changed = |name, lazy: Option<&Ran>, without: &Ran| {
            let lazy = lazy.map(|r| ("lazy", r));
            let results: Vec<_> = lazy.into_iter().chain([(WITHOUT, without)]).collect();
            let program = program(name, &results);
            assert!(program.unfinished().is_empty());
            assert!(program.changed(&[WITHOUT]).is_empty());
            let columns = [WITHOUT, "lazy"];
            let changed = program.changed(&columns);
            assert_eq!(program.row(&columns).verdict.failed(), !changed.is_empty());
            changed.concat()
        };
        assert_eq!(changed("same", Some(&pass), &pass), "");
        assert_eq!(changed("same failure", Some(&fail), &fail), "");
        assert_eq!(changed("worse", Some(&fail), &pass), "worse: lazy");
        assert_eq!(changed("better", Some(&pass), &fail), "better: lazy");
        assert_eq!(changed("missing", None, &pass), "missing: lazy");
    }

    #[test]
    fn a_program_that_says_nothing_is_not_the_same_as_one_that_passes() {
        let hung = ran(137, &[]);
        let columns = [WITHOUT, "lazy"];
        let program = program("slow", &[(WITHOUT, &hung), ("lazy", &hung)]);
        assert!(program.changed(&columns).is_empty());
        assert_eq!(program.unfinished(), ["slow: lazy", "slow: unloaded"]);
        assert!(program.row(&columns).verdict.failed());
    }

    #[test]
    fn what_is_skipped_says_so() {
        let skip = ran(4, &["1..0 # SKIP no x"]);
        let columns = [WITHOUT, "lazy"];
        let row = program("s", &[(WITHOUT, &skip), ("lazy", &skip)]).row(&columns);
        assert_eq!(row.verdict, Verdict::Skip);
        assert_eq!(row.said, ["skip: 1..0 # SKIP no x"]);
        let mut left_out = program("big", &[]);
        left_out.skipped = Some("too big");
        let row = left_out.row(&columns);
        assert_eq!(
            (row.verdict, row.said.concat()),
            (Verdict::Skip, "too big".into())
        );
    }

    #[test]
    fn the_limits_in_the_repository_parse() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/upstream.toml");
        let limits = files::toml::<Limits>(&path).unwrap();
        assert!(limits.skip.iter().all(|p| !p.why.is_empty()));
        assert_eq!(limits.unknown(&[]).len(), limits.skip.len());
    }
}
