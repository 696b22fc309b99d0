// SPDX-License-Identifier: GPL-2.0
//! `lab mutants`: selftests/mutants has one patch for each point at which the guest's XFD and XFD_ERR
//! must be saved, loaded or kept; each breaks its point, and the test that it names must notice.
//!
//! They are built in copies of the kernels, one after the other, so that each costs a few objects
//! and a link. The copies stay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::{
    failure::{self, Failure},
    files::{self, write_json},
    interrupt,
    layout::Lab,
    parallel::side_by_side,
    stamp::Fingerprint,
    table::table,
};
use crate::build::{
    copy,
    emulator::Emulator,
    kernel::{self, Kernel},
    module, packages, series,
};
use crate::machine::{End, Outcome};
use crate::tests::{
    fuzz,
    guests::{self, scenario::Scenario},
    kept::{Kept, Record},
    ktap::Ktap,
    list::{Entry, Expect, Group, List, Test},
    results::Row,
    select,
    session::{print_of, Parts, Session},
    verdict::{Seen, Verdict, KILLED, SKIPPED},
};

const MUTANTS: &str = "selftests/mutants";

/// What a mutant's patch is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Tree {
    #[default]
    Kernel,
    Module,
}

/// What a patch's header says, after one sentence that says what is broken.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Header {
    /// The name of an entry of selftests/list.toml, or a command.
    test: String,
    /// A strategy, or "unloaded".
    kernel: String,
    cpus: u32,
    /// What must: the test fail, or the kernel crash (a splat, a panic or a hang).
    expect: Expect,
    #[serde(default)]
    tree: Tree,
    /// A scenario of selftests/guest/list.toml that must notice as well, in either way.
    guest: Option<String>,
    /// A strategy, or "unloaded", on which random guest programs must notice, in either way.
    fuzz: Option<String>,
}

/// How a header's test is called that is a scenario.
const GUEST: &str = "guest: ";

/// How a header's test is called that is random guest programs.
const FUZZ: &str = "fuzz";

#[derive(Clone)]
struct Mutant {
    name: String,
    patch: PathBuf,
    what: String,
    header: Header,
}

impl Mutant {
    fn read(patch: &Path) -> Result<Mutant> {
        Mutant::parse(patch, &files::text(patch)?)
    }

    fn parse(patch: &Path, text: &str) -> Result<Mutant> {
        let wrong = |what: &str| {
            Failure::new(format!("{}: {what}", patch.display()))
                .next("mend its header; Documentation/lab.rst says what belongs there")
        };
        let lines = || text.lines().take_while(|l| !l.starts_with("---"));
        let fields = lines().filter_map(|line| line.split_once(": "));
        let header: Header = fields
            .map(|(name, value)| match value.trim().parse::<i64>() {
                Ok(number) => (name.to_owned(), toml::Value::from(number)),
                Err(_) => (name.to_owned(), value.trim().into()),
            })
            .collect::<toml::Table>()
            .try_into()
            .map_err(|error| wrong(error.to_string().trim()))?;
        if header.expect == Expect::Pass {
            return Err(wrong("Expect: fail, or crash").into());
        }
        let suffix = match header.tree {
            Tree::Kernel => ".c",
            Tree::Module => ".rs",
        };
        let touched = series::touched(text);
        if touched.is_empty() || touched.iter().any(|f| !f.ends_with(suffix)) {
            return Err(wrong(&format!("it must change {suffix} files and nothing else")).into());
        }
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Mutant {
            name: name.into_owned(),
            patch: patch.to_owned(),
            what: lines().next().unwrap_or("").trim().to_owned(),
            header,
        })
    }

    /// The mutant, and if a Linux guest or random programs must notice it as well, that as others.
    fn with_others(self) -> Vec<Mutant> {
        let mut all = vec![self.clone()];
        if let Some(scenario) = &self.header.guest {
            let mut guest = self.clone();
            guest.name += "-guest";
            guest.header.test = format!("{GUEST}{scenario}");
            all.push(guest);
        }
        if let Some(host) = &self.header.fuzz {
            let mut fuzz = self.clone();
            fuzz.name += "-fuzz";
            fuzz.header.test = FUZZ.to_owned();
            fuzz.header.kernel = host.clone();
            all.push(fuzz);
        }
        all
    }

    fn is_guest(&self) -> bool {
        self.header.test.starts_with(GUEST)
    }

    fn is_fuzz(&self) -> bool {
        self.header.test == FUZZ
    }

    /// The run of its test, which passes without the mutant.
    fn run(&self, list: &List, scenarios: &[Scenario]) -> Result<(Group, Test)> {
        let Header {
            test,
            kernel: on,
            cpus,
            ..
        } = &self.header;
        if let Some(name) = test.strip_prefix(GUEST) {
            let Some(scenario) = scenarios.iter().find(|s| s.name == name) else {
                let what = format!("{}: no scenario is named \"{name}\"", self.name);
                return Err(Failure::new(what)
                    .next("give \"Guest:\" in its header a name of selftests/guest/list.toml")
                    .into());
            };
            let (kind, cpus) = (kernel::Kind::Patched, scenario.cpus);
            return Ok(Test::of(&scenario.entry(), on, kind, cpus));
        }
        if self.is_fuzz() {
            let entry = fuzz::entry(on, 1, fuzz::SEEDS_FOR_MUTANTS);
            return Ok(Test::of(&entry, on, kernel::Kind::Patched, fuzz::CPUS));
        }
        let named = || list.test.iter().filter(|e| e.name == *test);
        let entry = named().find(|e| {
            e.kernels.contains(on) && e.expect == Expect::Pass && e.emulator == Emulator::Patched
        });
        let command = Entry {
            timeout: 300,
            ..Entry::new(test, test)
        };
        if entry.is_none() && named().next().is_some() {
            let what = format!("{}: no \"{test}\" of the list must pass on {on}", self.name);
            return Err(Failure::new(what)
                .next("give \"Test:\" or \"Kernel:\" another value in its header")
                .into());
        }
        if !list.test.iter().any(|e| e.kernels.contains(on)) {
            let what = format!("{}: nothing of the list runs on \"{on}\"", self.name);
            return Err(Failure::new(what)
                .next("give \"Kernel:\" in its header a strategy, or \"unloaded\"")
                .into());
        }
        let entry = entry.unwrap_or(&command);
        Ok(Test::of(entry, on, kernel::Kind::Patched, *cpus))
    }

    /// What its test's machine is made of, given what it is made of without the mutant.
    fn parts(&self, lab: &Lab, without: &Parts) -> Result<Parts> {
        match self.header.tree {
            Tree::Kernel => Ok(Parts {
                kernel: self.kernel(lab, &without.kernel)?,
                ..without.clone()
            }),
            Tree::Module => {
                let dir = lab.at("build/mutants").join(&self.name);
                let module = module::build_patched(lab, &without.kernel, &self.patch, &dir)?;
                Ok(Parts {
                    module: Some(module),
                    ..without.clone()
                })
            }
        }
    }

    /// The copy of a kernel with the mutant in it.
    fn kernel(&self, lab: &Lab, kernel: &Kernel) -> Result<Kernel> {
        let copy = copy::of(lab, kernel, "mutant")?;
        let mut patches = kernel::patches(lab, kernel::Kind::Patched)?;
        patches.push(self.patch.clone());
        copy::apply(lab, &copy, &self.name, &patches)?;
        let what = format!("building the kernel with {}", self.name);
        let (source, objects) = (&copy.source, &copy.objects);
        kernel::build_tree(lab, source, objects, &what, kernel::Kind::Patched)
    }
}

/// What came of a mutant.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    /// As its patch says.
    Killed,
    /// The test passed, or it was noticed otherwise than its patch says.
    Survived,
    /// Nothing can be said: it did not come to the test.
    Invalid,
}

/// What came of a mutant, and how that was seen.
fn judge(expect: Expect, seen: &Seen, end: &End, splats: &[String]) -> (Found, String) {
    if !seen.began {
        let why = "the machine did not come as far as the test";
        return (Found::Invalid, why.into());
    }
    let by_test = match seen.status {
        Some(KILLED) => Some("timeout".to_owned()),
        Some(status) if Ktap::read(&seen.output).failed => {
            Some(format!("not ok, exit status {status}"))
        }
        Some(_) => assertion(&seen.output).map(|at| format!("assertion of {at}")),
        _ => None,
    };
    let by_kernel = match (end, seen.status) {
        (End::Panic, _) => Some("panic".to_owned()),
        (End::Timeout | End::Silent | End::Died, None) => Some("the machine hangs".to_owned()),
        _ => splats.first().map(|s| format!("splat: {s}")),
    };
    match (expect, by_test, by_kernel) {
        (Expect::Fail, Some(how), _) | (Expect::Crash, _, Some(how)) => (Found::Killed, how),
        (_, None, None) => match seen.status {
            Some(SKIPPED) => (Found::Survived, "skipped".into()),
            Some(status) if status != 0 => {
                let why = format!("exit status {status}, but nothing is \"not ok\"");
                (Found::Invalid, why)
            }
            _ => (Found::Survived, "passed".into()),
        },
        (_, by_test, by_kernel) => {
            let how = by_kernel.or(by_test).unwrap_or_default();
            let word = if expect == Expect::Fail {
                "fail"
            } else {
                "crash"
            };
            let why = format!("{how}, but it says \"Expect: {word}\"");
            (Found::Survived, why)
        }
    }
}

/// Where the assertion of a test failed that is written with the kernel's KVM selftest library alone, and
/// so prints no KTAP; not one of the library's own, which says that the test could not be done.
fn assertion(output: &[String]) -> Option<&str> {
    let head = |line: &String| line.contains("==== Test Assertion Failure ====");
    let place = output.get(output.iter().position(head)? + 1)?.trim();
    let (place, _) = place.rsplit_once(": ").unwrap_or((place, ""));
    place.starts_with("x86/").then_some(place)
}

/// A mutant in build/report/mutants.json.
#[derive(Clone, Deserialize, Serialize)]
struct Judged {
    name: String,
    what: String,
    test: String,
    kernel: String,
    killed: bool,
    how: String,
}

impl Judged {
    fn new(mutant: &Mutant, (found, how): (Found, String)) -> Judged {
        Judged {
            name: mutant.name.clone(),
            what: mutant.what.clone(),
            test: mutant.header.test.clone(),
            kernel: mutant.header.kernel.clone(),
            killed: found == Found::Killed,
            how,
        }
    }

    fn word(&self) -> &'static str {
        match self.killed {
            true => "noticed",
            false => "NOT NOTICED",
        }
    }
}

/// A mutant's test, in its machine without the mutant.
struct Run<'a> {
    mutant: &'a Mutant,
    group: &'a Group,
    test: &'a Test,
    parts: &'a Parts,
    print: String,
}

/// Returns whether every mutant was noticed.
pub fn run(lab: &Lab, wanted: &select::Wanted) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let patches = series::patches(&lab.at(MUTANTS))?;
    let mutants = patches
        .iter()
        .map(|p| Mutant::read(p))
        .collect::<Result<Vec<_>>>()?;
    let mutants: Vec<Mutant> = mutants.into_iter().flat_map(Mutant::with_others).collect();
    let names: BTreeSet<String> = mutants.iter().map(|m| m.name.clone()).collect();
    let mutants = select::named(mutants, &wanted.only, |m| &m.name)?;
    let (list, scenarios) = (List::read(lab)?, Scenario::list(lab)?);
    let tests = mutants.iter().map(|m| m.run(&list, &scenarios));
    let tests = tests.collect::<Result<Vec<_>>>()?;
    let groups: BTreeSet<&Group> = tests.iter().map(|(group, _)| group).collect();
    let mut built = Vec::new();
    for parts in Parts::build(lab, groups.iter().copied())? {
        let print = parts.print(lab)?;
        built.push((parts, print));
    }
    let of_guests = mutants.iter().zip(&tests).filter(|(m, _)| m.is_guest());
    let of_guests: BTreeSet<&Group> = of_guests.map(|(_, (group, _))| group).collect();
    for (group, (parts, print)) in groups.iter().zip(&mut built) {
        if of_guests.contains(group) {
            let (guest, guest_print) = guests::files::build(lab)?;
            parts.added.push(guest);
            *print += &guest_print;
        }
    }
    let built: BTreeMap<&Group, _> = groups.into_iter().zip(built).collect();
    let runs = mutants.iter().zip(&tests).map(|(mutant, (group, test))| {
        let (parts, print) = &built[group];
        let print = print_of(print, group, std::slice::from_ref(test)).finish();
        Run {
            mutant,
            group,
            test,
            parts,
            print,
        }
    });
    let runs: Vec<Run> = runs.collect();
    unmutated(lab, &runs)?;

    let kept = Kept::<Judged>::open(lab, "mutants");
    let mut composed = Vec::new();
    for run in &runs {
        let mutant = run.mutant;
        let print = Fingerprint::new("mutant").text("run", &run.print);
        let print = print.file(&mutant.patch)?.finish();
        let known = kept.get(&mutant.name, &print);
        if !wanted.again && known.is_some_and(|known| known.result.killed) {
            continue;
        }
        match mutant.parts(lab, run.parts) {
            Ok(parts) => {
                let name = format!("mutant-{}", mutant.name);
                let (group, tests) = (run.group.clone(), vec![run.test.clone()]);
                let session = Session::compose(lab, &name, group, tests, &parts)?;
                composed.push((mutant, print, session));
            }
            Err(error) => {
                interrupt::check()?;
                let why = (Found::Invalid, failure::explain(&error));
                kept.keep(&mutant.name, &print, Judged::new(mutant, why))?;
            }
        }
    }
    lab.unlock();
    let ended = side_by_side(&lab.jobs, &composed, |(mutant, print, session)| {
        let judged = Judged::new(mutant, boot(mutant, session)?);
        eprintln!("lab: {}: {}: {}", judged.name, judged.word(), judged.how);
        kept.keep(&mutant.name, print, judged)
    });
    // What came of the others is in the report, too.
    let mut all = kept.records();
    all.retain(|r| names.contains(&r.result.name));
    write_json(&lab.at("build/report/mutants.json"), &all)?;
    ended.into_iter().collect::<Result<()>>()?;
    all.retain(|r| mutants.iter().any(|m| m.name == r.result.name));
    println!("{}", shown(&all));
    Ok(all.iter().all(|r| r.result.killed))
}

/// Every mutant's test must pass without the mutant, or its failure says nothing.
fn unmutated(lab: &Lab, runs: &[Run]) -> Result<()> {
    let kept = Kept::<Row>::open(lab, "unmutated");
    let mut machines: BTreeMap<&Group, BTreeMap<&str, &Run>> = BTreeMap::new();
    for run in runs {
        let known = kept.get(&run.test.id, &run.print);
        if known.is_none_or(|known| known.result.verdict != Verdict::Pass) {
            let tests = machines.entry(run.group).or_default();
            tests.insert(&run.test.id, run);
        }
    }
    let count: usize = machines.values().map(BTreeMap::len).sum();
    if count > 0 {
        eprintln!("lab: running {count} tests without a mutant, which must pass");
    }
    let mut sessions = Vec::new();
    for (group, runs) in machines {
        let name = format!("unmutated-{}", group.name());
        let tests = runs.values().map(|run| run.test.clone()).collect();
        if let Some(first) = runs.values().next() {
            let session = Session::compose(lab, &name, group.clone(), tests, first.parts)?;
            sessions.push((runs, session));
        }
    }
    let ended = side_by_side(&lab.jobs, &sessions, |(runs, session)| {
        let mut rows = Vec::new();
        let outcome = session.run(&mut |row, _| rows.push(row))?;
        let mut wrong = Vec::new();
        for row in rows {
            if row.verdict != Verdict::Pass {
                let why = row.said.last().map_or("skipped", String::as_str);
                let dir = lab.shown(&outcome.dir);
                wrong.push(format!("{}: {why} ({dir})", row.name));
            } else if let Some(run) = runs.get(row.name.as_str()) {
                kept.keep(&run.test.id, &run.print, row)?;
            }
        }
        Ok(wrong)
    });
    let wrong = ended.into_iter().collect::<Result<Vec<_>>>()?.concat();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(
        Failure::new("tests that mutants name do not pass without them")
            .details(wrong)
            .next("mend what is wrong there first: `lab check` runs the tests of the list")
            .into(),
    )
}

fn boot(mutant: &Mutant, session: &Session) -> Result<(Found, String)> {
    let mut test = Seen::default();
    let outcome: Outcome = session.run(&mut |_, seen| {
        if let Some(seen) = seen {
            test = seen;
        }
    })?;
    let judged = |expect| judge(expect, &test, &outcome.end, &outcome.splats);
    let (found, how) = match judged(mutant.header.expect) {
        // A guest that suffers may take the host with it.
        (Found::Survived, _) if mutant.is_guest() || mutant.is_fuzz() => {
            match judged(Expect::Fail) {
                (Found::Killed, how) => (Found::Killed, how),
                _ => judged(Expect::Crash),
            }
        }
        judged => judged,
    };
    let how = match fuzz::noticed_after(&test.output) {
        Some(after) if mutant.is_fuzz() && found == Found::Killed => format!("{how}, {after}"),
        _ => how,
    };
    Ok(match (found, outcome.failure()) {
        (Found::Invalid, Some(failure)) => (found, format!("{how}: {failure}")),
        _ => (found, how),
    })
}

fn shown(all: &[Record<Judged>]) -> String {
    let rows = all.iter().map(|Record { result: judged, .. }| {
        vec![
            judged.name.clone(),
            judged.test.clone(),
            judged.kernel.clone(),
            format!("{}: {}\n{}", judged.word(), judged.how, judged.what),
        ]
    });
    let killed = all.iter().filter(|r| r.result.killed).count();
    let head = [
        "mutant",
        "test",
        "kernel",
        "what came of it, and what it breaks",
    ];
    let (table, count) = (table(&head, rows), all.len());
    format!("{table}\n{killed} of {count} mutants were noticed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str =
        "---\n--- a/arch/x86/kvm/x86.c\n+++ b/arch/x86/kvm/x86.c\n@@ -1 +1 @@\n-a\n+b\n";

    fn parse(header: &str, diff: &str) -> Result<Mutant> {
        let text = format!("It breaks a thing.\n\n{header}{diff}");
        Mutant::parse(Path::new("x/save-path.patch"), &text)
    }

    #[test]
    fn the_header_is_read() {
        let header = "Test: switch\nKernel: lazy\nCpus: 2\nExpect: fail\n";
        let mutant = parse(header, DIFF).unwrap();
        assert_eq!(mutant.name, "save-path");
        assert_eq!(mutant.what, "It breaks a thing.");
        assert_eq!(
            (mutant.header.test.as_str(), mutant.header.kernel.as_str()),
            ("switch", "lazy")
        );
        assert_eq!(
            (mutant.header.cpus, mutant.header.expect),
            (2, Expect::Fail)
        );
        let crash = header.replace("fail", "crash");
        assert_eq!(parse(&crash, DIFF).unwrap().header.expect, Expect::Crash);
    }

    #[test]
    fn a_header_that_lacks_something_is_an_error() {
        let header = "Test: switch\nKernel: lazy\nCpus: 2\nExpect: fail\n";
        for line in header.lines() {
            let rest = header.replace(&format!("{line}\n"), "");
            let error = parse(&rest, DIFF).err().unwrap().to_string();
            assert!(error.contains(line.split(':').next().unwrap()), "{error}");
        }
        for (old, new) in [("fail", "win"), ("fail", "pass"), ("2", "two")] {
            assert!(parse(&header.replace(old, new), DIFF).is_err());
        }
        // A header file would rebuild the whole kernel.
        assert!(parse(header, &DIFF.replace("x86.c", "x86.h")).is_err());
        assert!(parse(header, "").is_err());
        let module = format!("{header}Tree: module\n");
        assert!(parse(
            &module,
            &DIFF.replace("arch/x86/kvm/x86.c", "rust/hooks.rs")
        )
        .is_ok());
        assert!(parse(&module, DIFF).is_err());
    }

    #[test]
    fn a_test_is_an_entry_of_the_list_or_a_command() {
        let list: List = toml::from_str(
            "[[test]]\nname='switch'\ncommand='bad'\nkernels=['lazy']\nexpect='fail'\n\
             [[test]]\nname='switch'\ncommand='of stock'\nkernels=['stock']\n\
             [[test]]\nname='switch'\ncommand='xfd_switch_test'\nkernels=['lazy']\ntimeout=7\n\
             [[test]]\nname='module'\ncommand='m'\nkernels=['unloaded']\nmodule='module-broken'\n",
        )
        .unwrap();
        let header = "Test: switch\nKernel: lazy\nCpus: 2\nExpect: fail\n";
        let (group, test) = parse(header, DIFF).unwrap().run(&list, &[]).unwrap();
        assert_eq!(
            (test.entry.command.as_str(), test.timeout),
            ("xfd_switch_test", 7)
        );
        assert_eq!((group.cpus, test.on.as_str()), (2, "lazy"));
        let other = header.replace("switch", "xfd_state_test -x");
        let (_, test) = parse(&other, DIFF).unwrap().run(&list, &[]).unwrap();
        assert_eq!(test.entry.command, "xfd_state_test -x");
        // Its machine has the broken module as its own, with the mutant's beside it.
        let unloaded = "Test: module\nKernel: unloaded\nCpus: 2\nExpect: fail\n";
        let (group, test) = parse(unloaded, DIFF).unwrap().run(&list, &[]).unwrap();
        assert_eq!(group.module, module::Kind::Broken);
        assert_eq!(test.entry.command, "m");
        // An entry's name is no command.
        let nowhere = header.replace("lazy", "unloaded");
        let error = parse(&nowhere, DIFF)
            .unwrap()
            .run(&list, &[])
            .err()
            .unwrap();
        assert!(error.to_string().contains("must pass on unloaded"));
        let nowhere = other.replace("lazy", "patched");
        let error = parse(&nowhere, DIFF)
            .unwrap()
            .run(&list, &[])
            .err()
            .unwrap();
        assert!(error.to_string().contains("runs on \"patched\""), "{error}");
    }

    #[test]
    fn a_mutant_must_be_noticed_as_it_says() {
        let seen = |status, output: &[&str]| Seen {
            began: true,
            status,
            output: output.iter().map(|l| (*l).to_owned()).collect(),
            ..Seen::default()
        };
        let exit = End::Exit(0);
        let splat = ["BUG: x".to_owned()];
        let (fail, crash) = (Expect::Fail, Expect::Crash);
        let killed = |found: (Found, String)| found.0 == Found::Killed;
        let survived = |found: (Found, String)| found.0 == Found::Survived;
        let invalid = |found: (Found, String)| found.0 == Found::Invalid;
        let one = |status, line| seen(status, &[line]);
        assert!(killed(judge(fail, &one(Some(1), "not ok 1 x"), &exit, &[])));
        assert!(killed(judge(
            fail,
            &one(Some(1), "not ok 1 x"),
            &exit,
            &splat
        )));
        assert!(killed(judge(fail, &one(Some(0), "not ok 1 x"), &exit, &[])));
        assert!(killed(judge(fail, &seen(Some(137), &[]), &exit, &[])));
        let head = "==== Test Assertion Failure ====";
        let mut asserted = seen(
            Some(254),
            &["", head, "  x86/xfd_x_test.c:72: !other", "  0x4"],
        );
        let found = judge(fail, &asserted, &exit, &[]);
        assert_eq!(found.1, "assertion of x86/xfd_x_test.c:72");
        assert!(killed(found));
        asserted.output[2] = "  lib/x86/processor.c:737: Unconditional guest failure".into();
        assert!(killed(judge(crash, &seen(Some(0), &[]), &exit, &splat)));
        assert!(killed(judge(crash, &seen(Some(1), &[]), &exit, &splat)));
        assert!(killed(judge(crash, &seen(None, &[]), &End::Panic, &splat)));
        assert!(killed(judge(crash, &seen(None, &[]), &End::Silent, &[])));

        assert!(survived(judge(fail, &one(Some(0), "ok 1 x"), &exit, &[])));
        assert!(survived(judge(fail, &seen(Some(4), &[]), &exit, &[])));
        assert!(survived(judge(fail, &seen(None, &[]), &End::Panic, &splat)));
        assert!(survived(judge(
            crash,
            &one(Some(1), "not ok 1 x"),
            &exit,
            &[]
        )));
        assert!(survived(judge(crash, &seen(Some(0), &[]), &exit, &[])));

        // The test could not be started, or could not start its parts.
        assert!(invalid(judge(fail, &asserted, &exit, &[])));
        assert!(invalid(judge(fail, &seen(Some(254), &[]), &exit, &[])));
        assert!(invalid(judge(fail, &seen(Some(127), &[]), &exit, &[])));
        assert!(invalid(judge(fail, &seen(Some(1), &[]), &exit, &[])));
        let before = Seen::default();
        assert!(invalid(judge(crash, &before, &End::Panic, &splat)));
    }

    #[test]
    fn the_mutants_in_the_repository_parse() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lab = Lab::at_root(&root, Default::default()).unwrap();
        let list = List::read(&lab).unwrap();
        let scenarios = Scenario::list(&lab).unwrap();
        let patches = series::patches(&lab.at(MUTANTS)).unwrap();
        let read = patches.iter().map(|p| Mutant::read(p).unwrap());
        let mutants: Vec<Mutant> = read.flat_map(Mutant::with_others).collect();
        for mutant in &mutants {
            assert!(!mutant.what.is_empty());
            assert!(mutant.run(&list, &scenarios).is_ok());
        }
        assert!(mutants.iter().any(Mutant::is_guest));
        assert!(mutants.iter().any(Mutant::is_fuzz));
    }

    #[test]
    fn a_guest_notices_as_well() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lab = Lab::at_root(&root, Default::default()).unwrap();
        let (list, scenarios) = (List { test: Vec::new() }, Scenario::list(&lab).unwrap());
        let header = "Test: switch\nKernel: lazy\nCpus: 2\nExpect: fail\nGuest: one-vcpu\n";
        let both = parse(header, DIFF).unwrap().with_others();
        let names: Vec<_> = both.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["save-path", "save-path-guest"]);
        let (group, test) = both[1].run(&list, &scenarios).unwrap();
        assert_eq!((test.entry.name.as_str(), group.cpus), ("one-vcpu", 1));
        let unknown = header.replace("one-vcpu", "none");
        let unknown = parse(&unknown, DIFF).unwrap().with_others();
        let error = unknown[1].run(&list, &scenarios).err().unwrap();
        assert!(error.to_string().contains("no scenario is named \"none\""));
    }
    #[test]
    fn random_programs_notice_as_well() {
        let (list, no) = (List { test: Vec::new() }, &[]);
        let header = "Test: x\nKernel: unloaded\nCpus: 1\nExpect: fail\nFuzz: eager\n";
        let both = parse(header, DIFF).unwrap().with_others();
        let names: Vec<_> = both.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["save-path", "save-path-fuzz"]);
        assert!(both[1].is_fuzz() && !both[0].is_fuzz());
        let (group, test) = both[1].run(&list, no).unwrap();
        assert_eq!((test.on.as_str(), group.cpus), ("eager", fuzz::CPUS));
        assert!(test.entry.command.ends_with("--seeds=1-500"));
    }
}
