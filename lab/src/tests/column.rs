// SPDX-License-Identifier: GPL-2.0
//! A column of a table: tests of one kernel, without the module or with one strategy, many in one boot.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Result;
use serde::{de::DeserializeOwned, Serialize};

use crate::base::{failure::Failure, layout::Lab};
use crate::tests::{
    kept::{Kept, Record},
    list::{Group, Test},
    results::Row,
    session::{Parts, Session},
    verdict::{Seen, Verdict},
};

/// The module's strategy, or its absence, and all tests that have a machine in common.
pub struct Column {
    pub name: String,
    pub group: Group,
    pub parts: Parts,
    /// Each with its fingerprint.
    pub tests: Vec<(Test, String)>,
}

/// What is kept of a test that has run.
pub trait FromRun: Clone + DeserializeOwned + Serialize {
    fn from_run(row: &Row, seen: &Seen) -> Self;

    /// For a line that says how far a command is.
    fn words(&self) -> String;
}

impl Column {
    /// The result of the entry with this name.
    pub fn result<T: FromRun>(&self, entry: &str, kept: &Kept<T>) -> Option<Record<T>> {
        let (test, print) = self.tests.iter().find(|(t, _)| t.entry.name == entry)?;
        kept.get(&test.id, print)
    }

    /// Does [`Column::fill`] in machines that are named after `what` and the column; only one lab, and of
    /// that one thread, composes a machine at a time.
    pub fn run<T: FromRun>(
        &self,
        lab: &Lab,
        composing: &Mutex<()>,
        kept: &Kept<T>,
        what: &str,
    ) -> Result<()> {
        self.fill(kept, what, |tests, tell| {
            let session = {
                let _one = composing.lock().unwrap_or_else(|e| e.into_inner());
                lab.lock()?;
                let (name, group) = (format!("{what}-{}", self.name), self.group.clone());
                let session = Session::compose(lab, &name, group, tests.to_vec(), &self.parts)?;
                lab.unlock();
                session
            };
            Ok(session.run(tell)?.console)
        })
    }

    /// Runs tests until each has a result: many in one boot, and after a crash or a hang the rest in a
    /// new one. `what` is what they are called; `boot` returns where the machine's console is.
    pub fn fill<T: FromRun>(
        &self,
        kept: &Kept<T>,
        what: &str,
        boot: impl Fn(&[Test], &mut dyn FnMut(Row, Option<Seen>)) -> Result<PathBuf>,
    ) -> Result<()> {
        loop {
            let tests = self.tests.iter();
            let (todo, prints): (Vec<Test>, Vec<String>) = tests
                .filter(|(test, print)| kept.get(&test.id, print).is_none())
                .cloned()
                .unzip();
            if todo.is_empty() {
                return Ok(());
            }
            let (mut done, mut said, mut saved) = (0, Vec::new(), Ok(()));
            // What the machine itself did wrong, if it isn't a test that it died of.
            let (mut wrong, mut died) = (Vec::new(), false);
            let console = boot(&todo, &mut |row, seen| {
                let at = todo.iter().position(|t| t.id == row.name);
                died |= matches!(row.verdict, Verdict::Crash | Verdict::Hang);
                if at.is_none() && row.verdict.failed() {
                    wrong.push(row.name.clone());
                    wrong.extend(row.said.clone());
                }
                let (Some(i), Some(seen)) = (at, seen.filter(|s| s.began)) else {
                    said.extend(row.said);
                    return;
                };
                let ran = T::from_run(&row, &seen);
                done += 1;
                let (count, name) = (todo.len(), &todo[i].entry.name);
                eprintln!("lab: {}: {done}/{count} {name}: {}", self.name, ran.words());
                if let Err(error) = kept.keep(&row.name, &prints[i], ran) {
                    saved = Err(error);
                }
            })?;
            saved?;
            if done == 0 {
                let what = format!("{what} on {}: none of them ran", self.name);
                said.dedup();
                return Err(Failure::new(what)
                    .details(said)
                    .log(&console)
                    .next("the console log says how far the machine came")
                    .into());
            }
            if !wrong.is_empty() && !died {
                todo.iter().for_each(|test| kept.forget(&test.id));
                let what = format!("the machine of {what} on {} did not do well", self.name);
                let next = "what its tests came to does not count";
                let error = Failure::new(what).details(wrong).log(&console).next(next);
                return Err(error.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::kernel;
    use crate::tests::list::Entry;
    use serde::Deserialize;

    #[derive(Clone, Deserialize, Serialize)]
    struct Word {
        word: String,
    }

    impl FromRun for Word {
        fn from_run(row: &Row, _: &Seen) -> Word {
            Word {
                word: row.verdict.word().into(),
            }
        }

        fn words(&self) -> String {
            self.word.clone()
        }
    }

    #[test]
    fn after_a_crash_the_rest_runs_in_a_new_boot_and_nothing_runs_twice() {
        let test = |name| Test::of(&Entry::new(name, name), "lazy", kernel::Kind::Patched, 1);
        let path = PathBuf::new;
        let column = Column {
            name: "lazy".into(),
            group: test("a").0,
            parts: Parts {
                emulator: path(),
                kernel: kernel::Kernel {
                    source: path(),
                    objects: path(),
                },
                module: None,
                programs: Vec::new(),
                added: Vec::new(),
                pace: 1,
            },
            tests: ["a", "b", "c"].map(|n| (test(n).1, n.to_owned())).to_vec(),
        };
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::at_root(dir.path(), Default::default()).unwrap();
        let boots = Mutex::new(Vec::new());
        // The second program of each machine crashes it.
        let boot = |tests: &[Test], tell: &mut dyn FnMut(Row, Option<Seen>)| {
            let names: Vec<&str> = tests.iter().map(|t| t.entry.name.as_str()).collect();
            boots.lock().unwrap().push(names.concat());
            for (i, test) in tests.iter().enumerate() {
                let verdict = [Verdict::Pass, Verdict::Crash][i.min(1)];
                let seen = Seen {
                    began: i < 2,
                    ..Seen::default()
                };
                tell(Row::new(&test.id, verdict, Vec::new()), Some(seen));
            }
            let boots = [Verdict::Pass, Verdict::Fail][(tests.len() - 1).min(1)];
            tell(Row::new("boots", boots, Vec::new()), None);
            Ok(path())
        };
        column
            .fill(&Kept::<Word>::open(&lab, "x"), "x", boot)
            .unwrap();
        assert_eq!(*boots.lock().unwrap(), ["abc", "c"]);
        let kept = Kept::<Word>::open(&lab, "x");
        column.fill(&kept, "x", boot).unwrap();
        assert_eq!(boots.lock().unwrap().len(), 2);
        let result = |name| column.result(name, &kept).unwrap().result.word;
        assert_eq!(result("b"), "CRASH");
        assert_eq!((result("a"), result("c")), ("pass".into(), "pass".into()));

        // A machine that runs nothing is an error, in its own words.
        let none = |_: &[Test], tell: &mut dyn FnMut(Row, Option<Seen>)| {
            tell(Row::new("x", Verdict::Fail, vec!["no room".into()]), None);
            Ok(path())
        };
        let error = column
            .fill(&Kept::<Word>::open(&lab, "y"), "y", none)
            .unwrap_err();
        assert!(error.to_string().contains("no room"));

        // So is one that complains outside of its tests, which then have no result.
        let splat = |tests: &[Test], tell: &mut dyn FnMut(Row, Option<Seen>)| {
            for test in tests {
                let seen = Seen {
                    began: true,
                    ..Seen::default()
                };
                tell(Row::new(&test.id, Verdict::Pass, Vec::new()), Some(seen));
            }
            let said = vec!["WARNING: at rmmod".into()];
            tell(Row::new("boots", Verdict::Fail, said), None);
            Ok(path())
        };
        let kept = Kept::<Word>::open(&lab, "z");
        let error = column.fill(&kept, "z", splat).unwrap_err();
        assert!(error.to_string().contains("did not do well"));
        assert!(column.result("a", &kept).is_none());
    }
}
