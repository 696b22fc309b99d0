// SPDX-License-Identifier: GPL-2.0
//! Follows the tests of one machine: whose output is whose, which splat came in which test, and
//! what is to be said of those that a crash kept from running.

use std::collections::BTreeMap;

use crate::machine::console::{message, Lines};
use crate::machine::{End, Outcome, Severity, Told};
use crate::tests::list::{strategies, Expect, Group, Guest};
use crate::tests::verdict::{judge, Verdict};

/// What is known about a test of a machine.
#[derive(Default)]
pub struct Seen {
    pub began: bool,
    pub status: Option<i32>,
    pub output: Vec<String>,
    pub splats: Vec<String>,
}

pub type Reported = (String, Verdict, Vec<String>);

/// Follows a machine's tests through its marks, its output and the kernel's console.
pub struct Watch<'a> {
    tests: &'a [Guest],
    seen: BTreeMap<&'a str, Seen>,
    done: Vec<&'a str>,
    /// The running test by the output's marks, and by the console's.
    by_output: Option<&'a str>,
    by_console: Option<&'a str>,
    ended_on_console: Vec<&'a str>,
    cut: Lines,
    loaded: Vec<String>,
    unloaded: Vec<String>,
    failed: Vec<String>,
    splats_outside: Vec<String>,
}

impl<'a> Watch<'a> {
    pub fn new(tests: &'a [Guest]) -> Self {
        Watch {
            tests,
            seen: tests
                .iter()
                .map(|t| (t.id.as_str(), Seen::default()))
                .collect(),
            done: Vec::new(),
            by_output: None,
            by_console: None,
            ended_on_console: Vec::new(),
            cut: Lines::default(),
            loaded: Vec::new(),
            unloaded: Vec::new(),
            failed: Vec::new(),
            splats_outside: Vec::new(),
        }
    }

    fn find(&self, id: &str) -> Option<&'a Guest> {
        self.tests.iter().find(|t| t.id == id)
    }

    /// What has come of a test so far, for those who judge it otherwise than by its verdict.
    pub fn seen(&self, id: &str) -> &Seen {
        &self.seen[id]
    }

    pub fn told(&mut self, told: Told) -> Vec<Reported> {
        match told {
            Told::Output(bytes) => {
                let lines = self.cut.feed(bytes);
                self.output(lines);
            }
            Told::Mark(mark) => {
                let rest: Vec<String> = self.cut.rest().into_iter().collect();
                self.output(rest);
                self.mark(mark);
            }
            Told::Console(line, severity) => self.console(line, severity),
        }
        let mut reported = Vec::new();
        for test in self.tests {
            let id = test.id.as_str();
            let seen = &self.seen[id];
            if let (Some(status), true, false) = (
                seen.status,
                self.ended_on_console.contains(&id),
                self.done.contains(&id),
            ) {
                reported.push(self.report(test, status));
                self.done.push(id);
            }
        }
        reported
    }

    fn output(&mut self, lines: Vec<String>) {
        if let Some(seen) = self.by_output.and_then(|id| self.seen.get_mut(id)) {
            seen.output.extend(lines);
        }
    }

    fn mark(&mut self, mark: &str) {
        let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
        match word {
            "test" => {
                self.by_output = self.find(rest).map(|t| t.id.as_str());
                if let Some(seen) = self.by_output.and_then(|id| self.seen.get_mut(id)) {
                    seen.began = true;
                }
            }
            "end" => {
                if let Some((status, id)) = rest.split_once(' ') {
                    if let Some(seen) = self.seen.get_mut(id) {
                        seen.status = Some(status.parse().unwrap_or(255));
                    }
                }
                self.by_output = None;
            }
            "loaded" => self.loaded.push(rest.to_owned()),
            "unloaded" => self.unloaded.extend(self.loaded.last().cloned()),
            "failed" => self.failed.push(rest.to_owned()),
            _ => {}
        }
    }

    fn console(&mut self, line: &str, severity: Option<Severity>) {
        let text = message(line).unwrap_or("");
        if let Some(id) = text.strip_prefix("lab: test ") {
            self.by_console = self.find(id).map(|t| t.id.as_str());
        } else if let Some(id) = text.strip_prefix("lab: end ") {
            self.by_console = None;
            self.ended_on_console
                .extend(self.find(id).map(|t| t.id.as_str()));
        } else if severity.is_some() {
            match self.by_console.and_then(|id| self.seen.get_mut(id)) {
                Some(seen) => seen.splats.push(line.to_owned()),
                None => self.splats_outside.push(line.to_owned()),
            }
        }
    }

    fn report(&self, test: &Guest, status: i32) -> Reported {
        let seen = &self.seen[test.id.as_str()];
        let (verdict, why) = judge(&test.entry, status, &seen.output, &seen.splats);
        let mut diagnostics = Vec::new();
        if let Some(why) = why {
            let from = seen.output.len().saturating_sub(15);
            diagnostics.extend(seen.output[from..].iter().cloned());
            diagnostics.push(why);
        } else if verdict == Verdict::Skipped {
            // A skip says why in its last line.
            diagnostics.extend(seen.output.last().cloned());
        }
        (test.id.clone(), verdict, diagnostics)
    }

    /// What is left when the machine has ended.
    pub fn finish(&mut self, outcome: &Outcome, group: &Group) -> Vec<Reported> {
        let mut reported = Vec::new();
        let failure: Vec<String> = outcome
            .failure()
            .map(|f| f.to_string().lines().map(str::to_owned).collect())
            .unwrap_or_default();
        for test in self
            .tests
            .iter()
            .filter(|t| !self.done.contains(&t.id.as_str()))
        {
            let seen = &self.seen[test.id.as_str()];
            reported.push(match seen.status {
                Some(status) => self.report(test, status),
                None if test.entry.expect == Expect::Crash
                    && seen.began
                    && outcome.end == End::Panic
                    && outcome.splats.iter().any(|s| s.contains(&test.entry.oops)) =>
                {
                    (test.id.clone(), Verdict::Passed, Vec::new())
                }
                None => {
                    let mut why = if seen.began {
                        failure.clone()
                    } else {
                        vec!["did not run".to_owned()]
                    };
                    if !seen.began {
                        why.extend(self.failed.iter().cloned());
                        why.extend(failure.first().cloned());
                        why.push(format!("log: {}", outcome.console.display()));
                    }
                    (test.id.clone(), Verdict::Failed, why)
                }
            });
        }
        if group.alone.is_some() {
            return reported;
        }
        for strategy in strategies(self.tests) {
            let whole = self.loaded.iter().any(|l| l == strategy)
                && self.unloaded.iter().any(|l| l == strategy);
            let verdict = if whole {
                Verdict::Passed
            } else {
                Verdict::Failed
            };
            let why = if whole {
                Vec::new()
            } else {
                self.failed.clone()
            };
            reported.push((
                format!("loads and unloads: {strategy}, {}", group.name()),
                verdict,
                why,
            ));
        }
        let well =
            outcome.end == End::Exit(0) && outcome.powered_off && self.splats_outside.is_empty();
        let mut why = failure;
        why.extend(self.splats_outside.iter().cloned());
        if outcome.end == End::Exit(0) && !outcome.powered_off {
            why.push("it did not switch itself off".into());
        }
        if !well {
            why.push(format!("log: {}", outcome.console.display()));
        }
        reported.push((
            format!("boots, runs and powers off: {}", group.name()),
            if well {
                Verdict::Passed
            } else {
                Verdict::Failed
            },
            if well { Vec::new() } else { why },
        ));
        reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::list::machines;
    use crate::tests::list::tests::list;

    fn outcome(end: End) -> Outcome {
        Outcome::test(end)
    }

    #[test]
    fn a_crash_fails_the_running_and_the_remaining_tests_by_name() {
        let all = machines(&list());
        let (group, tests) = all
            .iter()
            .find(|(g, _)| g.name() == "patched kernel, 1 CPU")
            .unwrap();
        let mut watch = Watch::new(tests);
        assert!(watch
            .told(Told::Mark(&format!("test {}", tests[0].id)))
            .is_empty());
        watch.told(Told::Console(
            &format!("[ 1.0] lab: test {}", tests[0].id),
            None,
        ));
        watch.told(Told::Output(b"half a li"));
        watch.told(Told::Console(
            "[ 1.1] Kernel panic - not syncing: x",
            Some(Severity::Panic),
        ));
        let rows = watch.finish(&outcome(End::Panic), group);
        assert!(rows
            .iter()
            .all(|(_, verdict, _)| *verdict == Verdict::Failed));
        assert_eq!(rows.len(), tests.len() + 2);
        assert!(rows[1].2.iter().any(|l| l == "did not run"));
    }

    #[test]
    fn a_splat_fails_the_test_in_which_it_came_and_no_other() {
        let all = machines(&list());
        let (group, tests) = all
            .iter()
            .find(|(g, _)| g.name() == "patched kernel, 1 CPU")
            .unwrap();
        let mut watch = Watch::new(tests);
        let mut rows = Vec::new();
        for (i, test) in tests.iter().enumerate() {
            if i == 1 {
                watch.told(Told::Mark("loaded xinuse"));
            }
            watch.told(Told::Mark(&format!("test {}", test.id)));
            watch.told(Told::Console(
                &format!("[ 1.0] lab: test {}", test.id),
                None,
            ));
            if i == 0 {
                watch.told(Told::Console("[ 1.1] BUG: x", Some(Severity::Warning)));
            }
            rows.extend(watch.told(Told::Mark(&format!("end 0 {}", test.id))));
            // Reported only when the console, too, has told the end.
            assert_eq!(rows.len(), i);
            rows.extend(watch.told(Told::Console(&format!("[ 1.2] lab: end {}", test.id), None)));
            assert_eq!(rows.len(), i + 1);
        }
        watch.told(Told::Mark("unloaded"));
        rows.extend(watch.finish(&outcome(End::Exit(0)), group));
        let verdicts: Vec<Verdict> = rows.iter().map(|r| r.1).collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Failed,
                Verdict::Passed,
                Verdict::Passed,
                Verdict::Passed
            ]
        );
    }

    #[test]
    fn a_splat_outside_of_the_tests_fails_the_machine() {
        let all = machines(&list());
        let (group, tests) = all
            .iter()
            .find(|(g, _)| g.name() == "debug kernel, 1 CPU")
            .unwrap();
        let last =
            |watch: &mut Watch, outcome: &Outcome| watch.finish(outcome, group).pop().unwrap();
        let mut watch = Watch::new(tests);
        assert_eq!(last(&mut watch, &outcome(End::Exit(0))).1, Verdict::Passed);
        watch.told(Told::Console("[ 1.1] BUG: x", Some(Severity::Warning)));
        let row = last(&mut watch, &outcome(End::Exit(0)));
        assert_eq!(row.0, "boots, runs and powers off: debug kernel, 1 CPU");
        assert_eq!(row.1, Verdict::Failed);
        assert_eq!(row.2[0], "[ 1.1] BUG: x");

        let mut hung = outcome(End::Exit(0));
        hung.powered_off = false;
        assert_eq!(last(&mut Watch::new(tests), &hung).1, Verdict::Failed);
    }

    #[test]
    fn a_module_that_does_not_unload_fails() {
        let all = machines(&list());
        let (group, tests) = all
            .iter()
            .find(|(g, _)| g.name() == "patched kernel, 1 CPU")
            .unwrap();
        let mut watch = Watch::new(tests);
        watch.told(Told::Mark("loaded xinuse"));
        watch.told(Told::Mark("failed rmmod xfd_switch: in use"));
        let rows = watch.finish(&outcome(End::Exit(0)), group);
        let row = rows
            .iter()
            .find(|r| r.0.starts_with("loads and unloads: xinuse"))
            .unwrap();
        assert_eq!(row.1, Verdict::Failed);
        assert_eq!(row.2, ["rmmod xfd_switch: in use"]);
    }

    #[test]
    fn a_kernel_that_must_panic_passes_by_panicking() {
        let all = machines(&list());
        let (group, tests) = all.iter().find(|(g, _)| g.alone.is_some()).unwrap();
        let mut watch = Watch::new(tests);
        watch.told(Told::Mark(&format!("test {}", tests[0].id)));
        let panic = |why: &str| {
            let mut outcome = outcome(End::Panic);
            outcome.splats = vec![why.to_owned(), "Kernel panic - not syncing: x".to_owned()];
            outcome
        };
        let right = panic(&format!("[ 1.0] Oops: {}: 0000", tests[0].entry.oops));
        let rows = watch.finish(&right, group);
        assert_eq!((rows.len(), rows[0].1), (1, Verdict::Passed));
        // Not by another panic, or by one that came before the test.
        let rows = watch.finish(&panic("BUG: y"), group);
        assert_eq!(rows[0].1, Verdict::Failed);
        let rows = Watch::new(tests).finish(&right, group);
        assert_eq!(rows[0].1, Verdict::Failed);
    }
}
