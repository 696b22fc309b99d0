// SPDX-License-Identifier: GPL-2.0
//! `lab coverage`: which lines of the patches run in the tests of the patched kernel, fuzz among them.
//! A line that none of them runs has its reason in selftests/uncovered.toml, or is a failure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::{
    files::{self, write_json},
    layout::Lab,
    parallel::side_by_side,
    table::table,
};
use crate::build::{
    kernel::{self, Kernel, Kind},
    packages,
    profiled::{self, Lines},
    source,
};
use crate::tests::{
    gcov::{self, Ran},
    kept::Kept,
    list::{self, Expect, List, Test},
    results::Row,
    session::{print_of, Parts, Session},
};

/// Where the reasons are.
const REASONS: &str = "selftests/uncovered.toml";

/// Why nothing runs these lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasons {
    line: Vec<Reason>,
    #[serde(default)]
    uncounted: Vec<Uncounted>,
}

/// A file of which the kernel counts nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uncounted {
    file: String,
    #[allow(dead_code)] // for who reads the list
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    file: String,
    /// Lines that follow each other, without what is around them.
    text: Vec<String>,
    why: String,
}

/// A machine in which all tests have passed: [`Ran`], as JSON can have it.
#[derive(Clone, Deserialize, Serialize)]
struct Counted {
    ran: BTreeMap<String, Vec<(u32, bool)>>,
}

impl Counted {
    fn of(ran: &Ran) -> Counted {
        let lines = |of: &BTreeMap<u32, bool>| of.iter().map(|(n, ran)| (*n, *ran)).collect();
        Counted {
            ran: ran.iter().map(|(f, l)| (f.clone(), lines(l))).collect(),
        }
    }

    fn ran(self) -> Ran {
        let files = self.ran.into_iter();
        files.map(|(f, l)| (f, l.into_iter().collect())).collect()
    }
}

/// build/report/coverage.json
#[derive(Default, Serialize)]
struct Report {
    kernel: String,
    /// Of the patches, that are code.
    lines: usize,
    ran: usize,
    /// Of those that have not run: how many have a reason, and how many have none.
    explained: usize,
    unexplained: usize,
    files: BTreeMap<String, File>,
    missed: Vec<Missed>,
    /// Reasons for lines that have run, or are not there.
    stale: Vec<String>,
    /// Files of which nothing was counted, without a reason.
    uncounted: Vec<String>,
}

#[derive(Default, Serialize)]
struct File {
    lines: usize,
    ran: usize,
}

#[derive(Debug, PartialEq, Serialize)]
struct Missed {
    file: String,
    line: u32,
    text: String,
    why: Option<String>,
}

/// Returns whether all tests have passed, and each line has run or has a reason.
pub fn run(lab: &Lab) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let reasons: Reasons = files::toml(&lab.at(REASONS))?;
    let (kernel, ran, failed) = run_tests(lab)?;
    let patches = kernel::patches(lab, Kind::Coverage)?;
    let pristine = source::kernel(lab)?;
    let added = profiled::added(&pristine.dir, &kernel.source, &patches)?;
    let text = |file: &str| -> Result<Vec<String>> {
        let text = files::text(&kernel.source.join(file))?;
        Ok(text.lines().map(|line| line.trim().to_owned()).collect())
    };
    let mut report = report(&added, &ran, &reasons, &text)?;
    report.kernel = pristine.name;
    let path = lab.at("build/report/coverage.json");
    write_json(&path, &report)?;
    eprintln!("lab: {} is written", lab.shown(&path));
    print!("{}", shown(&report));
    for row in &failed {
        println!("{} failed:", row.name);
        row.said.iter().for_each(|line| println!("  {line}"));
    }
    Ok(failed.is_empty()
        && report.unexplained == 0
        && report.stale.is_empty()
        && report.uncounted.is_empty())
}

/// Runs the machines of the patched kernel's tests on the coverage kernel, but those in which it must
/// panic: from these nothing can be brought out. Returns what has run in them, and what has failed.
fn run_tests(lab: &Lab) -> Result<(Kernel, Ran, Vec<Row>)> {
    let mut machines = list::machines(&List::read(lab)?);
    let panics = |test: &Test| test.entry.expect == Expect::Crash;
    machines.retain(|group, tests| group.kernel == Kind::Coverage && !tests.iter().any(panics));
    let kept = Kept::<Counted>::open(lab, "coverage");
    let (mut all, mut failed) = (Ran::new(), Vec::new());
    let mut sessions = Vec::new();
    let parts = Parts::build(lab, machines.keys())?;
    for ((group, tests), parts) in machines.into_iter().zip(parts) {
        let name = group.name();
        let print = print_of(&parts.print(lab)?, &group, &tests).finish();
        match kept.get(&name, &print) {
            Some(record) => {
                eprintln!("lab: {name}: has run as it is");
                gcov::add(&mut all, &record.result.ran());
            }
            None => {
                let dir = format!("coverage-{name}");
                sessions.push((print, Session::compose(lab, &dir, group, tests, &parts)?));
            }
        }
    }
    lab.unlock();
    sessions.sort_by_key(|(_, session)| Reverse(session.length()));
    let kernel = kernel::build(lab, Kind::Coverage)?;
    let run = |(print, session): &(String, Session)| -> Result<(Ran, Vec<Row>)> {
        let name = session.group.name();
        let (mut rows, mut count) = (Vec::new(), 0);
        let outcome = session.run(&mut |row, _| {
            count += 1;
            if row.verdict.failed() {
                rows.push(row);
            }
        })?;
        eprintln!("lab: {name}: {count} tests, {} failed", rows.len());
        // What it has run counts even if not all went well; what did not come to its end is an error.
        if let Some(failure) = outcome.failure() {
            return Err(failure.into());
        }
        let ran = gcov::counted(&kernel, &outcome.dir)?;
        if rows.is_empty() {
            files::remove(&outcome.dir)?;
            kept.keep(&name, print, Counted::of(&ran))?;
        }
        Ok((ran, rows))
    };
    for ended in side_by_side(&lab.jobs, &sessions, run) {
        let (ran, rows) = ended?;
        gcov::add(&mut all, &ran);
        failed.extend(rows);
    }
    Ok((kernel, all, failed))
}

/// `text` has the lines of a file of the tree.
fn report(
    added: &Lines,
    ran: &Ran,
    reasons: &Reasons,
    text: &dyn Fn(&str) -> Result<Vec<String>>,
) -> Result<Report> {
    let mut report = Report::default();
    let mut used = vec![false; reasons.line.len()];
    for (file, own) in added {
        let Some(counted) = ran.get(file) else {
            // A header may have no code.
            let known = reasons.uncounted.iter().any(|one| one.file == *file);
            if file.ends_with(".c") && !known {
                report.uncounted.push(file.clone());
            }
            continue;
        };
        let lines = text(file)?;
        let code = || own.iter().filter_map(|n| Some((*n, *counted.get(n)?)));
        let of_file = File {
            lines: code().count(),
            ran: code().filter(|(_, ran)| *ran).count(),
        };
        for (line, _) in code().filter(|(_, ran)| !ran) {
            let at = line as usize - 1;
            let reason = reasons.line.iter().position(|reason| {
                let starts = (0..reason.text.len()).filter_map(|back| at.checked_sub(back));
                let is_at = |start: usize| {
                    lines
                        .get(start..)
                        .is_some_and(|l| l.starts_with(&reason.text))
                };
                reason.file == *file && starts.into_iter().any(is_at)
            });
            if let Some(i) = reason {
                used[i] = true;
            }
            report.missed.push(Missed {
                file: file.clone(),
                line,
                text: lines.get(at).cloned().unwrap_or_default(),
                why: reason.map(|i| reasons.line[i].why.clone()),
            });
        }
        report.lines += of_file.lines;
        report.ran += of_file.ran;
        report.files.insert(file.clone(), of_file);
    }
    report.explained = report.missed.iter().filter(|m| m.why.is_some()).count();
    report.unexplained = report.missed.len() - report.explained;
    let counted = reasons
        .uncounted
        .iter()
        .filter(|one| ran.contains_key(&one.file));
    let unused = reasons.line.iter().zip(used).filter(|(_, used)| !used);
    report.stale = unused
        .map(|(reason, _)| format!("{}: {}", reason.file, reason.text.join(" ")))
        .chain(counted.map(|one| format!("{}: it is counted", one.file)))
        .collect();
    Ok(report)
}

fn shown(report: &Report) -> String {
    let row = |name: &str, lines: usize, ran: usize| {
        vec![name.to_owned(), lines.to_string(), ran.to_string()]
    };
    let files = report.files.iter().map(|(f, n)| row(f, n.lines, n.ran));
    let rows = files.chain([row("all", report.lines, report.ran)]);
    let mut text = table(&["file", "lines of the patches", "have run"], rows) + "\n";
    for missed in &report.missed {
        let Missed {
            file,
            line,
            text: code,
            ..
        } = missed;
        let why = missed.why.as_deref().unwrap_or("NO REASON");
        text += &format!("{file}:{line}: {code}\n    {why}\n");
    }
    for stale in &report.stale {
        text += &format!("{REASONS}: has run, or is not there: {stale}\n");
    }
    for file in &report.uncounted {
        text += &format!("{file}: nothing of it was counted\n");
    }
    let (n, explained) = (report.missed.len(), report.explained);
    text + &format!("{n} lines have not run, {explained} of them for a reason\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_runs_or_has_a_reason() {
        let added = Lines::from([
            ("a.c".to_owned(), [1, 2, 3, 4, 5].into()),
            // Not compiled.
            ("b.c".to_owned(), [1].into()),
            ("b.h".to_owned(), [1].into()),
        ]);
        let counts = [(1, true), (3, false), (4, false), (5, false), (9, false)];
        let ran = Ran::from([("a.c".to_owned(), counts.into())]);
        let text = |_: &str| {
            let lines = ["a", "b", "c();", "}", "}"];
            Ok(lines.map(str::to_owned).to_vec())
        };
        let reason = |text: &[&str]| Reason {
            file: "a.c".into(),
            text: text.iter().map(|t| (*t).to_owned()).collect(),
            why: "because".into(),
        };
        let with = |line| {
            let uncounted = Vec::new();
            report(&added, &ran, &Reasons { line, uncounted }, &text).unwrap()
        };

        let found = with(vec![reason(&["b", "c();", "}"])]);
        assert_eq!((found.lines, found.ran), (4, 1));
        assert_eq!((found.explained, found.unexplained), (2, 1));
        assert_eq!(found.missed[2].line, 5);
        assert_eq!(found.missed[2].why, None);
        assert!(found.stale.is_empty());
        assert!(shown(&found).contains("a.c:5: }\n    NO REASON"));

        let all = with(vec![reason(&["c();", "}", "}"]), reason(&["a"])]);
        assert_eq!(all.unexplained, 0);
        assert_eq!(all.stale, ["a.c: a"]);
        assert_eq!(all.uncounted, ["b.c"]);

        let reasons = |file: &str| Reasons {
            line: vec![reason(&["b", "c();", "}", "}"])],
            uncounted: vec![Uncounted {
                file: file.into(),
                why: "because".into(),
            }],
        };
        let known = report(&added, &ran, &reasons("b.c"), &text).unwrap();
        assert!(known.uncounted.is_empty() && known.stale.is_empty());
        let counted = report(&added, &ran, &reasons("a.c"), &text).unwrap();
        assert_eq!(counted.stale, ["a.c: it is counted"]);
    }

    #[test]
    fn a_machine_is_not_run_again() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::at_root(dir.path(), Default::default()).unwrap();
        let ran = Ran::from([("a.c".to_owned(), [(3, true), (4, false)].into())]);
        let kept = Kept::<Counted>::open(&lab, "x");
        kept.keep("machine", "1", Counted::of(&ran)).unwrap();
        let again = Kept::<Counted>::open(&lab, "x").get("machine", "1");
        assert_eq!(again.unwrap().result.ran(), ran);
    }

    #[test]
    fn the_reasons_in_the_repository_parse() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../selftests/uncovered.toml");
        files::toml::<Reasons>(std::path::Path::new(path)).unwrap();
    }
}
