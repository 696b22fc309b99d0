// SPDX-License-Identifier: GPL-2.0
//! What came of each test: the verdict, KTAP on stdout, and a report.

use std::sync::Mutex;

use anyhow::Result;
use serde::Serialize;

use crate::base::files::write_json;
use crate::base::layout::Lab;
use crate::tests::list::{Entry, Expect};

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// The verdict on a test that ended with this status, and why when it is not passed.
pub fn judge(
    entry: &Entry,
    status: i32,
    output: &[String],
    splats: &[String],
) -> (Verdict, Option<String>) {
    const SKIP: i32 = 4; // kselftest's
    let skipped = || output.iter().find(|l| l.contains("# SKIP"));
    match (entry.expect, status) {
        (Expect::Pass, 0) if !splats.is_empty() => (
            Verdict::Failed,
            Some(format!("kernel splat: {}", splats[0])),
        ),
        (Expect::Pass, 0) => match skipped() {
            Some(line) if !entry.skips => (
                Verdict::Failed,
                Some(format!("a part of it was skipped: {line}")),
            ),
            _ => (Verdict::Passed, None),
        },
        (Expect::Pass, SKIP) if splats.is_empty() => (Verdict::Skipped, None),
        (Expect::Pass, 137) => (
            Verdict::Failed,
            Some("killed: it took longer than its time limit".into()),
        ),
        (Expect::Pass, status) => (Verdict::Failed, Some(format!("exit status {status}"))),
        (Expect::Fail, 0) => (Verdict::Failed, Some("passed, but must fail".into())),
        (Expect::Fail, SKIP) => (Verdict::Failed, Some("skipped, but must fail".into())),
        // A negative control shows something only when it fails by its own judgement.
        (Expect::Fail, status @ 125..) => (
            Verdict::Failed,
            Some(format!(
                "exit status {status}: killed or not started, where it must fail by itself"
            )),
        ),
        (Expect::Fail, status) if !failed_itself(output) => (
            Verdict::Failed,
            Some(format!(
                "exit status {status}, but no part of it says \"not ok\""
            )),
        ),
        (Expect::Fail, _) => (Verdict::Passed, None),
        (Expect::Crash, status) => (
            Verdict::Failed,
            Some(format!("exit status {status}, but the kernel must panic")),
        ),
    }
}

/// Whether a part of a test failed, which is not the same as that it could not run.
pub fn failed_itself(output: &[String]) -> bool {
    output.iter().any(|l| l.starts_with("not ok "))
}

#[derive(Serialize)]
struct Row {
    name: String,
    result: Verdict,
}

/// The KTAP on stdout, and what becomes the report.
pub struct Results {
    rows: Mutex<Vec<Row>>,
}

#[derive(Serialize)]
struct Summary<'a> {
    passed: usize,
    failed: usize,
    skipped: usize,
    tests: &'a [Row],
}

impl Results {
    pub fn begin(count: usize) -> Results {
        println!("KTAP version 1\n1..{count}");
        Results {
            rows: Mutex::new(Vec::new()),
        }
    }

    pub fn add(&self, name: &str, verdict: Verdict, diagnostics: &[String]) {
        let mut rows = self.rows.lock().unwrap_or_else(|e| e.into_inner());
        let number = rows.len() + 1;
        // Diagnostics come before their test's line; '#' in a name would start a directive.
        let mut text: String = diagnostics
            .iter()
            .map(|line| format!("# {line}\n"))
            .collect();
        let (word, directive) = match verdict {
            Verdict::Passed => ("ok", ""),
            Verdict::Failed => ("not ok", ""),
            Verdict::Skipped => ("ok", " # SKIP"),
        };
        text += &format!("{word} {number} {}{directive}\n", name.replace('#', ""));
        print!("{text}");
        let _ = std::io::Write::flush(&mut std::io::stdout());
        rows.push(Row {
            name: name.to_owned(),
            result: verdict,
        });
    }

    /// Writes the report if there is to be one, prints the last line, and says whether all is well.
    pub fn finish(self, lab: &Lab, report: Option<&str>) -> Result<bool> {
        let rows = self.rows.into_inner().unwrap_or_else(|e| e.into_inner());
        let count = |v: Verdict| rows.iter().filter(|r| r.result == v).count();
        let summary = Summary {
            passed: count(Verdict::Passed),
            failed: count(Verdict::Failed),
            skipped: count(Verdict::Skipped),
            tests: &rows,
        };
        if let Some(report) = report {
            write_json(&lab.at("build/report").join(report), &summary)?;
        }
        println!(
            "{} passed, {} failed, {} skipped",
            summary.passed, summary.failed, summary.skipped
        );
        Ok(summary.failed == 0 && summary.passed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_become_verdicts() {
        let entry = |expect| Entry {
            expect,
            ..Entry::new("x", "x")
        };
        let not_ok = ["not ok 1 x".to_owned()];
        let verdict = |expect, status| judge(&entry(expect), status, &not_ok, &[]).0;
        assert_eq!(verdict(Expect::Pass, 0), Verdict::Passed);
        assert_eq!(verdict(Expect::Pass, 1), Verdict::Failed);
        assert_eq!(verdict(Expect::Pass, 4), Verdict::Skipped);
        assert_eq!(verdict(Expect::Pass, 137), Verdict::Failed);
        assert_eq!(verdict(Expect::Fail, 1), Verdict::Passed);
        assert_eq!(verdict(Expect::Fail, 0), Verdict::Failed);
        assert_eq!(verdict(Expect::Fail, 4), Verdict::Failed);
        // Not found, or killed: the control did not run.
        assert_eq!(verdict(Expect::Fail, 127), Verdict::Failed);
        assert_eq!(verdict(Expect::Fail, 137), Verdict::Failed);
        assert_eq!(verdict(Expect::Crash, 0), Verdict::Failed);
        let splat = ["WARNING".to_owned()];
        let pass = entry(Expect::Pass);
        assert_eq!(judge(&pass, 0, &[], &splat).0, Verdict::Failed);
        assert_eq!(judge(&pass, 4, &[], &splat).0, Verdict::Failed);
        // It failed to start its parts.
        let fail = entry(Expect::Fail);
        assert_eq!(judge(&fail, 1, &[], &[]).0, Verdict::Failed);
    }

    #[test]
    fn parts_are_skipped_only_where_the_list_says_so() {
        let skip = ["ok 1 a".to_owned(), "ok 2 # SKIP b".to_owned()];
        let mut entry = Entry::new("x", "x");
        assert_eq!(judge(&entry, 0, &skip, &[]).0, Verdict::Failed);
        entry.skips = true;
        assert_eq!(judge(&entry, 0, &skip, &[]).0, Verdict::Passed);
    }
}
