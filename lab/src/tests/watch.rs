// SPDX-License-Identifier: GPL-2.0
//! Follows the tests of one machine: whose output is whose, which splat came in which test, and
//! what is to be said of those that a crash kept from running.

use crate::machine::{
    console::{message, Lines},
    End, Outcome, Severity, Told,
};
use crate::tests::{
    ktap::Ktap,
    list::{Group, Test},
    results::Row,
    verdict::{judge, Seen, Verdict},
};

/// A test of the machine, followed.
struct Followed<'a> {
    test: &'a Test,
    seen: Seen,
    ended_on_console: bool,
    reported: bool,
}

/// Follows a machine's tests through its marks, its output and the kernel's console.
pub struct Watch<'a> {
    tests: Vec<Followed<'a>>,
    /// The running test by the output's marks, and by the console's.
    by_output: Option<usize>,
    by_console: Option<usize>,
    began: f64,
    cut: Lines,
    loaded: Vec<String>,
    unloaded: Vec<String>,
    failed: Vec<String>,
    splats_outside: Vec<String>,
}

/// What came of one test, or of the machine itself.
pub type Found = (Row, Option<Seen>);

impl<'a> Watch<'a> {
    pub fn new(tests: &'a [Test]) -> Self {
        let followed = |test| Followed {
            test,
            seen: Seen::default(),
            ended_on_console: false,
            reported: false,
        };
        Watch {
            tests: tests.iter().map(followed).collect(),
            by_output: None,
            by_console: None,
            began: 0.0,
            cut: Lines::default(),
            loaded: Vec::new(),
            unloaded: Vec::new(),
            failed: Vec::new(),
            splats_outside: Vec::new(),
        }
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.tests.iter().position(|t| t.test.id == id)
    }

    /// Takes what the machine says, and tells what came of the tests that have ended with it: both
    /// serial lines must have told a test's end.
    pub fn told(&mut self, told: Told) -> Vec<Found> {
        match told {
            Told::Output(bytes) => {
                let lines = self.cut.feed(bytes);
                self.output(lines);
            }
            Told::Mark(mark) => {
                let rest = self.cut.rest();
                self.output(rest);
                self.mark(mark);
            }
            Told::Console(line, severity) => self.console(line, severity),
        }
        let ended = |t: &Followed| t.seen.status.is_some() && t.ended_on_console;
        self.report(ended, None)
    }

    fn output(&mut self, lines: impl IntoIterator<Item = String>) {
        if let Some(i) = self.by_output {
            self.tests[i].seen.output.extend(lines);
        }
    }

    fn mark(&mut self, mark: &str) {
        let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
        match word {
            "test" => {
                self.by_output = self.find(rest);
                if let Some(i) = self.by_output {
                    self.tests[i].seen.began = true;
                }
            }
            "end" => {
                let (status, id) = rest.split_once(' ').unwrap_or((rest, ""));
                if let Some(i) = self.find(id) {
                    self.tests[i].seen.status = Some(status.parse().unwrap_or(255));
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
            self.by_console = self.find(id);
            self.began = time(line);
        } else if let Some(id) = text.strip_prefix("lab: end ") {
            self.by_console = None;
            if let Some(i) = self.find(id) {
                let seconds = time(line) - self.began;
                self.tests[i].seen.seconds = (seconds * 10.0).round() / 10.0;
                self.tests[i].ended_on_console = true;
            }
        } else if severity.is_some() {
            let splats = match self.by_console {
                Some(i) => &mut self.tests[i].seen.splats,
                None => &mut self.splats_outside,
            };
            splats.push(line.to_owned());
        }
    }

    /// What came of those that `are` so and were not reported yet.
    fn report(&mut self, are: impl Fn(&Followed) -> bool, outcome: Option<&Outcome>) -> Vec<Found> {
        let mut found = Vec::new();
        for i in 0..self.tests.len() {
            if self.tests[i].reported || !are(&self.tests[i]) {
                continue;
            }
            self.tests[i].reported = true;
            let Followed { test, seen, .. } = &self.tests[i];
            let (verdict, why) = judge(&test.entry, seen, outcome);
            let said = self.said(seen, verdict, why, outcome);
            found.push((Row::new(&test.id, verdict, said), Some(seen.clone())));
        }
        found
    }

    fn said(
        &self,
        seen: &Seen,
        verdict: Verdict,
        why: Option<String>,
        outcome: Option<&Outcome>,
    ) -> Vec<String> {
        match (verdict, outcome) {
            (Verdict::Pass, _) => Vec::new(),
            // A skip says why in its last line.
            (Verdict::Skip, _) => seen.output.last().cloned().into_iter().collect(),
            (_, Some(outcome)) if !seen.began => {
                let mut said: Vec<String> = why.into_iter().collect();
                said.extend(self.failed.iter().cloned());
                said.extend(of_machine(outcome).into_iter().next());
                said.push(format!("log: {}", outcome.console.display()));
                said
            }
            (_, Some(outcome)) if seen.status.is_none() => of_machine(outcome),
            _ => {
                let said = Ktap::read(&seen.output).why;
                said.iter().cloned().chain(why).collect()
            }
        }
    }

    /// What is left when the machine has ended: tests that it cut off, and the machine itself.
    pub fn finish(&mut self, outcome: &Outcome, group: &Group) -> Vec<Found> {
        let mut found = self.report(|_| true, Some(outcome));
        if group.panics {
            return found;
        }
        let mut machine = |name: String, well: bool, why: Vec<String>| {
            let row = match well {
                true => Row::new(name, Verdict::Pass, Vec::new()),
                false => Row::new(name, Verdict::Fail, why),
            };
            found.push((row, None));
        };
        for strategy in group.unloads(self.tests.iter().map(|t| t.test)) {
            let has = |all: &[String]| all.iter().any(|s| s == strategy);
            machine(
                format!("loads and unloads: {strategy}, {}", group.name()),
                has(&self.loaded) && has(&self.unloaded),
                self.failed.clone(),
            );
        }
        let mut why = of_machine(outcome);
        why.extend(self.splats_outside.iter().cloned());
        if outcome.end == End::Exit(0) && !outcome.powered_off {
            why.push("it did not switch itself off".into());
        }
        why.push(format!("log: {}", outcome.console.display()));
        machine(
            format!("boots, runs and powers off: {}", group.name()),
            outcome.end == End::Exit(0) && outcome.powered_off && self.splats_outside.is_empty(),
            why,
        );
        found
    }
}

/// The machine's own failure, line by line.
fn of_machine(outcome: &Outcome) -> Vec<String> {
    let failure = outcome.failure().map(|f| f.to_string());
    let text = failure.unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The time stamp of a line of the kernel's log, in seconds.
fn time(line: &str) -> f64 {
    let stamp = line.trim_start().strip_prefix('[');
    let stamp = stamp.and_then(|rest| rest.split_once(']'));
    stamp.map_or(0.0, |(time, _)| time.trim().parse().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::kernel::Kind;
    use crate::tests::list::tests::list;
    use crate::tests::list::{machines, Entry, OneOrMore};

    fn outcome(end: End) -> Outcome {
        Outcome::test(end)
    }

    fn named(name: &str) -> (Group, Vec<Test>) {
        let mut all = machines(&list()).into_iter();
        all.find(|(g, _)| g.name() == name).unwrap()
    }

    #[test]
    fn a_crash_fails_the_running_and_the_remaining_tests_by_name() {
        let (group, tests) = &named("patched kernel, 1 CPU");
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
        assert!(rows.iter().all(|(row, _)| row.verdict.failed()));
        assert_eq!(rows[0].0.verdict, Verdict::Crash);
        assert_eq!(rows.len(), tests.len() + 2);
        assert!(rows[1].0.said.iter().any(|l| l == "did not run"));
    }

    #[test]
    fn a_splat_fails_the_test_in_which_it_came_and_no_other() {
        let (group, tests) = &named("patched kernel, 1 CPU");
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
        let verdicts: Vec<Verdict> = rows.iter().map(|r| r.0.verdict).collect();
        assert_eq!(
            verdicts,
            [Verdict::Splat, Verdict::Pass, Verdict::Pass, Verdict::Pass]
        );
    }

    #[test]
    fn a_splat_outside_of_the_tests_fails_the_machine() {
        let (group, tests) = &named("debug kernel, 1 CPU");
        let last =
            |watch: &mut Watch, outcome: &Outcome| watch.finish(outcome, group).pop().unwrap().0;
        let mut watch = Watch::new(tests);
        assert_eq!(
            last(&mut watch, &outcome(End::Exit(0))).verdict,
            Verdict::Pass
        );
        watch.told(Told::Console("[ 1.1] BUG: x", Some(Severity::Warning)));
        let row = last(&mut watch, &outcome(End::Exit(0)));
        assert_eq!(row.name, "boots, runs and powers off: debug kernel, 1 CPU");
        assert_eq!(row.verdict, Verdict::Fail);
        assert_eq!(row.said[0], "[ 1.1] BUG: x");

        let mut hung = outcome(End::Exit(0));
        hung.powered_off = false;
        assert_eq!(last(&mut Watch::new(tests), &hung).verdict, Verdict::Fail);
    }

    #[test]
    fn time_is_the_machine_s() {
        let all = machines(&list());
        let tests = all.values().next().unwrap();
        let mut watch = Watch::new(tests);
        let id = &tests[0].id;
        watch.told(Told::Console(&format!("[   12.50] lab: test {id}"), None));
        watch.told(Told::Console("[   13.00] lab: end of something else", None));
        watch.told(Told::Mark(&format!("test {id}")));
        watch.told(Told::Mark(&format!("end 0 {id}")));
        let found = watch.told(Told::Console(&format!("[   14.75] lab: end {id}"), None));
        assert_eq!(found[0].1.as_ref().unwrap().seconds, 2.3);
    }

    #[test]
    fn a_module_that_does_not_unload_fails() {
        let (group, tests) = &named("patched kernel, 1 CPU");
        let mut watch = Watch::new(tests);
        watch.told(Told::Mark("loaded xinuse"));
        watch.told(Told::Mark("failed rmmod xfd_switch: in use"));
        let rows = watch.finish(&outcome(End::Exit(0)), group);
        let row = rows
            .iter()
            .map(|(row, _)| row)
            .find(|r| r.name.starts_with("loads and unloads: xinuse"))
            .unwrap();
        assert_eq!(row.verdict, Verdict::Fail);
        assert_eq!(row.said, ["rmmod xfd_switch: in use"]);
    }

    #[test]
    fn a_machine_that_dies_after_its_oops_fails() {
        let entry = Entry {
            oops: OneOrMore::One("x".into()),
            ..Entry::new("a", "a")
        };
        let (group, test) = Test::of(&entry, "lazy", Kind::Patched, 1);
        let tests = [test];
        let verdict = |end| {
            let rows = Watch::new(&tests).finish(&outcome(end), &group);
            let (row, _) = rows.last().unwrap();
            assert!(row.name.starts_with("boots, runs and powers off: "));
            row.verdict
        };
        assert_eq!(verdict(End::Exit(0)), Verdict::Pass);
        assert_eq!(verdict(End::Panic), Verdict::Fail);
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
        let right = panic(&format!(
            "[ 1.0] Oops: {}: 0000",
            tests[0].entry.oops.all()[0]
        ));
        let rows = watch.finish(&right, group);
        assert_eq!((rows.len(), rows[0].0.verdict), (1, Verdict::Pass));
        // Not by another panic, or by one that came before the test.
        let mut watch = Watch::new(tests);
        watch.told(Told::Mark(&format!("test {}", tests[0].id)));
        let rows = watch.finish(&panic("BUG: y"), group);
        assert!(rows[0].0.verdict.failed());
        let rows = Watch::new(tests).finish(&right, group);
        assert!(rows[0].0.verdict.failed());
    }
}
