// SPDX-License-Identifier: GPL-2.0
//! What was seen of a test, and the verdict on it.

use serde::{Deserialize, Serialize};

use crate::machine::{console::message, End, Outcome};
use crate::tests::{
    ktap::Ktap,
    list::{Entry, Expect},
};

/// What is known about a test of a machine.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub began: bool,
    /// The exit status, if it came to that.
    pub status: Option<i32>,
    pub output: Vec<String>,
    pub splats: Vec<String>,
    /// How long it took, by the machine's clock.
    pub seconds: f64,
}

/// A test passes, or skips itself, or fails in one of these ways.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Skip,
    Fail,
    Timeout,
    /// The kernel complained while it ran.
    Splat,
    /// The kernel panicked.
    Crash,
    /// The machine said nothing more, or died.
    Hang,
}

impl Verdict {
    /// As tables have it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Skip => "skip",
            Verdict::Fail => "FAIL",
            Verdict::Timeout => "TIMEOUT",
            Verdict::Splat => "SPLAT",
            Verdict::Crash => "CRASH",
            Verdict::Hang => "HANG",
        }
    }

    pub fn failed(self) -> bool {
        !matches!(self, Verdict::Pass | Verdict::Skip)
    }
}

/// kselftest's status of what could not run here.
pub const SKIPPED: i32 = 4;
/// The status of what `timeout` has killed.
pub const KILLED: i32 = 137;

/// The verdict on a test and why, when it is not passed; `outcome` is there when its machine has
/// ended.
pub fn judge(entry: &Entry, seen: &Seen, outcome: Option<&Outcome>) -> (Verdict, Option<String>) {
    let Some(status) = seen.status else {
        return cut_off(entry, seen, outcome);
    };
    let ktap = Ktap::read(&seen.output);
    let fails = |why: String| (Verdict::Fail, Some(why));
    match (entry.expect, status) {
        (Expect::Pass, _) if unexpected(entry, seen).is_some() => (
            Verdict::Splat,
            unexpected(entry, seen).map(|splat| format!("kernel splat: {splat}")),
        ),
        (Expect::Pass, 0) if seen.splats.is_empty() && !entry.oops.all().is_empty() => {
            fails("the kernel did not oops".into())
        }
        (Expect::Pass, 0) => match (ktap.skip, &entry.only) {
            (Some(line), _) if !entry.skips => fails(format!("a part of it was skipped: {line}")),
            (_, Some(only)) if !ktap.parts.iter().any(|p| p.contains(only)) => {
                fails(format!("it has no part \"{only}\""))
            }
            _ => (Verdict::Pass, None),
        },
        (Expect::Pass, SKIPPED) if !entry.skips => fails("it was skipped".into()),
        (Expect::Pass, SKIPPED) => (Verdict::Skip, None),
        (Expect::Pass, KILLED) => (
            Verdict::Timeout,
            Some("killed: it took longer than its time limit".into()),
        ),
        (Expect::Pass, status) => fails(format!("exit status {status}")),
        (Expect::Fail, 0) => fails("passed, but must fail".into()),
        (Expect::Fail, SKIPPED) => fails("skipped, but must fail".into()),
        // A negative control shows something only when it fails by its own judgement.
        (Expect::Fail, status @ 125..) => fails(format!(
            "exit status {status}: killed or not started, where it must fail by itself"
        )),
        (Expect::Fail, status) if !ktap.failed => fails(format!(
            "exit status {status}, but no part of it says \"not ok\""
        )),
        (Expect::Fail, _) => (Verdict::Pass, None),
        (Expect::Crash, status) => {
            fails(format!("exit status {status}, but the kernel must panic"))
        }
    }
}

/// The first of the kernel's complaints that is not the oops that the test is to make.
fn unexpected<'a>(entry: &Entry, seen: &'a Seen) -> Option<&'a String> {
    // What BUG() says: where, and then this.
    let expected = |splat: &str| {
        says_so(entry, splat)
            || message(splat).is_some_and(|text| text.starts_with("Oops: invalid opcode: "))
    };
    seen.splats
        .iter()
        .find(|splat| entry.oops.all().is_empty() || !expected(splat))
}

/// Whether a complaint says what the test's oops does.
fn says_so(entry: &Entry, splat: &str) -> bool {
    entry.oops.all().iter().any(|text| splat.contains(text))
}

/// The verdict on a test that did not come to its end, as its machine did.
fn cut_off(entry: &Entry, seen: &Seen, outcome: Option<&Outcome>) -> (Verdict, Option<String>) {
    let panic = outcome.filter(|o| o.end == End::Panic);
    let as_expected = |o: &Outcome| o.splats.iter().any(|s| says_so(entry, s));
    match (seen.began, panic) {
        (false, _) => (Verdict::Fail, Some("did not run".into())),
        (true, Some(o)) if entry.expect == Expect::Crash && as_expected(o) => (Verdict::Pass, None),
        (true, Some(_)) => (Verdict::Crash, None),
        (true, None) => (Verdict::Hang, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::list::OneOrMore;

    fn of(entry: &Entry, status: i32, output: &[String], splats: &[String]) -> Verdict {
        let seen = Seen {
            began: true,
            status: Some(status),
            output: output.to_vec(),
            splats: splats.to_vec(),
            seconds: 0.0,
        };
        judge(entry, &seen, None).0
    }

    #[test]
    fn exit_codes_become_verdicts() {
        let entry = |expect| Entry {
            expect,
            ..Entry::new("x", "x")
        };
        let not_ok = ["not ok 1 x".to_owned()];
        let verdict = |expect, status| of(&entry(expect), status, &not_ok, &[]);
        assert_eq!(verdict(Expect::Pass, 0), Verdict::Pass);
        assert_eq!(verdict(Expect::Pass, 1), Verdict::Fail);
        assert_eq!(verdict(Expect::Pass, 4), Verdict::Fail);
        let may_skip = Entry {
            skips: true,
            ..entry(Expect::Pass)
        };
        assert_eq!(of(&may_skip, 4, &not_ok, &[]), Verdict::Skip);
        assert_eq!(verdict(Expect::Pass, 137), Verdict::Timeout);
        assert_eq!(verdict(Expect::Fail, 1), Verdict::Pass);
        assert_eq!(verdict(Expect::Fail, 0), Verdict::Fail);
        assert_eq!(verdict(Expect::Fail, 4), Verdict::Fail);
        // Not found, or killed: the control did not run.
        assert_eq!(verdict(Expect::Fail, 127), Verdict::Fail);
        assert_eq!(verdict(Expect::Fail, 137), Verdict::Fail);
        assert_eq!(verdict(Expect::Crash, 0), Verdict::Fail);
        let splat = ["WARNING".to_owned()];
        let pass = entry(Expect::Pass);
        assert_eq!(of(&pass, 0, &[], &splat), Verdict::Splat);
        assert_eq!(of(&pass, 4, &[], &splat), Verdict::Splat);
        // It failed to start its parts.
        let fail = entry(Expect::Fail);
        assert_eq!(of(&fail, 1, &[], &[]), Verdict::Fail);
    }

    #[test]
    fn an_oops_passes_only_where_it_is_expected() {
        let oops = [
            "[ 1.0] kernel BUG at kmod/x.c:7!".to_owned(),
            "[ 1.1] Oops: invalid opcode: 0000 [#1] SMP".to_owned(),
        ];
        let other = |line: &str| [&oops[..], &[line.to_owned()]].concat();
        let mut entry = Entry::new("x", "x");
        assert_eq!(of(&entry, 0, &[], &oops), Verdict::Splat);
        entry.oops = OneOrMore::One("x.c:".into());
        assert_eq!(of(&entry, 0, &[], &oops), Verdict::Pass);
        assert_eq!(of(&entry, 1, &[], &oops), Verdict::Fail);
        assert_eq!(of(&entry, 0, &[], &[]), Verdict::Fail);
        // A WARN() with a message is two complaints.
        let warning = [
            "[ 1.0] WARNING: a/y.c:1 at f+0x1/0x2",
            "[ 1.0] Bad FPU state detected at g",
        ];
        let warning = warning.map(str::to_owned);
        assert_eq!(of(&entry, 0, &[], &warning), Verdict::Splat);
        let mut warns = Entry::new("x", "x");
        warns.oops = OneOrMore::More(vec!["y.c:".into(), "Bad FPU state".into()]);
        assert_eq!(of(&warns, 0, &[], &warning), Verdict::Pass);
        assert_eq!(of(&warns, 0, &[], &oops[..1]), Verdict::Splat);
        for line in [
            "[ 1.2] BUG: KASAN: slab-use-after-free in f+0x1/0x2",
            "[ 1.2] kernel BUG at kmod/y.c:7!",
            "[ 1.2] Oops: general protection fault: 0000 [#2] SMP",
        ] {
            assert_eq!(of(&entry, 0, &[], &other(line)), Verdict::Splat);
        }
    }

    #[test]
    fn parts_are_skipped_only_where_the_list_says_so() {
        let skip = ["ok 1 a".to_owned(), "ok 2 # SKIP b".to_owned()];
        let mut entry = Entry::new("x", "x");
        assert_eq!(of(&entry, 0, &skip, &[]), Verdict::Fail);
        entry.skips = true;
        assert_eq!(of(&entry, 0, &skip, &[]), Verdict::Pass);
    }

    #[test]
    fn what_did_not_come_to_its_end_is_judged_by_its_machine_s() {
        let seen = |began| Seen {
            began,
            ..Seen::default()
        };
        let entry = Entry::new("x", "x");
        let of = |began, end| judge(&entry, &seen(began), Some(&Outcome::test(end))).0;
        assert_eq!(of(true, End::Panic), Verdict::Crash);
        assert_eq!(of(true, End::Silent), Verdict::Hang);
        assert_eq!(of(true, End::Died), Verdict::Hang);
        assert_eq!(of(false, End::Panic), Verdict::Fail);
    }

    #[test]
    fn a_part_that_was_asked_for_must_be_there() {
        let mut entry = Entry::new("x", "x");
        entry.only = Some("a.b".into());
        let ok = |part: &str| [format!("ok 1 {part}")];
        assert_eq!(of(&entry, 0, &ok("a.b"), &[]), Verdict::Pass);
        assert_eq!(of(&entry, 0, &ok("a.c"), &[]), Verdict::Fail);
        assert_eq!(of(&entry, 0, &[], &[]), Verdict::Fail);
    }
}
