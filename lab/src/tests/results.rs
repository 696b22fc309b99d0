// SPDX-License-Identifier: GPL-2.0
//! The results of tests: KTAP on stdout as they come, and a report.

use std::sync::Mutex;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::{files::write_json, layout::Lab};
use crate::tests::verdict::Verdict;

/// One result, by the name that the reports have for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    pub name: String,
    pub verdict: Verdict,
    /// What is to be said of it.
    pub said: Vec<String>,
}

impl Row {
    pub fn new(name: impl Into<String>, verdict: Verdict, said: Vec<String>) -> Row {
        let name = name.into();
        Row {
            name,
            verdict,
            said,
        }
    }

    /// As the report has it.
    fn result(&self) -> &'static str {
        match self.verdict {
            Verdict::Pass => "passed",
            Verdict::Skip => "skipped",
            _ => "failed",
        }
    }

    /// Its lines of KTAP: what is to be said comes before the result; '#' in a name would start a
    /// directive.
    fn ktap(&self, number: usize) -> String {
        let said = self.said.iter().map(|line| format!("# {line}\n"));
        let (word, directive) = match self.verdict {
            Verdict::Pass => ("ok", ""),
            Verdict::Skip => ("ok", " # SKIP"),
            _ => ("not ok", ""),
        };
        let name = self.name.replace('#', "");
        said.collect::<String>() + &format!("{word} {number} {name}{directive}\n")
    }
}

/// A row of check.json.
#[derive(Serialize)]
struct Reported {
    name: String,
    result: &'static str,
}

/// check.json
#[derive(Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    skipped: usize,
    tests: Vec<Reported>,
}

/// All results so far.
pub struct Results(Mutex<SoFar>);

#[derive(Default)]
struct SoFar {
    tests: Vec<Reported>,
    failed: Vec<Row>,
}

impl Results {
    pub fn begin(count: usize) -> Results {
        println!("KTAP version 1\n1..{count}");
        Results(Mutex::default())
    }

    pub fn add(&self, row: &Row) {
        let mut so_far = self.0.lock().unwrap_or_else(|e| e.into_inner());
        print!("{}", row.ktap(so_far.tests.len() + 1));
        let _ = std::io::Write::flush(&mut std::io::stdout());
        so_far.tests.push(Reported {
            name: row.name.clone(),
            result: row.result(),
        });
        if row.verdict.failed() {
            so_far.failed.push(row.clone());
        }
    }

    /// Writes the report if there is to be one, repeats what failed, prints the last line, and says
    /// whether all is well.
    pub fn finish(self, lab: &Lab, report: Option<&str>) -> Result<bool> {
        let SoFar { tests, failed } = self.0.into_inner().unwrap_or_else(|e| e.into_inner());
        let count = |result| tests.iter().filter(|t| t.result == result).count();
        let all = Report {
            passed: count("passed"),
            failed: count("failed"),
            skipped: count("skipped"),
            tests,
        };
        if let Some(report) = report {
            write_json(&lab.at("build/report").join(report), &all)?;
        }
        for row in failed {
            println!("# failed: {}", row.name);
            row.said.iter().for_each(|line| println!("#   {line}"));
        }
        println!(
            "{} passed, {} failed, {} skipped",
            all.passed, all.failed, all.skipped
        );
        Ok(all.failed == 0 && all.passed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_ktap() {
        let row = |verdict| Row::new("a #1", verdict, vec!["why".into()]).ktap(7);
        assert_eq!(row(Verdict::Pass), "# why\nok 7 a 1\n");
        assert_eq!(row(Verdict::Skip), "# why\nok 7 a 1 # SKIP\n");
        assert_eq!(row(Verdict::Hang), "# why\nnot ok 7 a 1\n");
    }
}
