// SPDX-License-Identifier: GPL-2.0
//! `lab mutants`: selftests/mutants has one patch for each point at which the guest's XFD and XFD_ERR
//! must be saved, loaded or kept; each breaks its point, and the test that it names must notice.
//!
//! They are built in copies of the kernels, one after the other, so that each costs a few objects
//! and a link. The copies stay.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::failure::{self, Failure};
use crate::base::files::write_json;
use crate::base::interrupt;
use crate::base::layout::Lab;
use crate::base::parallel::side_by_side;
use crate::base::stamp::{self, Fingerprint};
use crate::build::copy;
use crate::build::emulator::{self, Emulator};
use crate::build::kernel::{self, Kernel};
use crate::build::kmod;
use crate::build::module;
use crate::build::packages;
use crate::build::selftests;
use crate::build::series;
use crate::commands::check;
use crate::machine::{self, End, Machine};
use crate::tests::list::{self, EmulatorName, Entry, Group, Guest, List, ModuleName};
use crate::tests::verdict::{failed_itself, Verdict};
use crate::tests::watch::{Seen, Watch};

#[derive(clap::Args)]
pub struct Options {
    /// Only mutants whose names contain one of these words
    only: Vec<String>,
    /// Run them again, even where there is a result already
    #[arg(long)]
    again: bool,
}

/// How a mutant must be noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// By the test itself: it fails.
    Fail,
    /// By the kernel: a splat or a panic.
    Crash,
}

/// What a mutant's patch is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tree {
    Kernel,
    Module,
}

/// One patch, and what its header says:
///
/// ```text
/// One sentence that says what is broken.
///
/// Test: the name of an entry of selftests/list.toml, or a command
/// Kernel: a strategy, or "unloaded"
/// Cpus: 2
/// Expect: fail, or crash
/// Tree: kernel (default), or module
/// ```
struct Mutant {
    name: String,
    patch: PathBuf,
    what: String,
    test: String,
    on: String,
    cpus: u32,
    expect: Expect,
    tree: Tree,
}

impl Mutant {
    fn parse(patch: &Path, text: &str) -> Result<Mutant> {
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        let wrong = |what: String| {
            Failure::new(format!("{}: {what}", patch.display()))
                .next("mend its header; Documentation/lab.rst says what belongs there")
        };
        let header: Vec<&str> = text.lines().take_while(|l| !l.starts_with("---")).collect();
        let field = |name: &str| {
            let start = format!("{name}: ");
            header.iter().find_map(|l| l.strip_prefix(&start))
        };
        let needed = |name: &str| field(name).ok_or_else(|| wrong(format!("no line \"{name}:\"")));
        let tree = match field("Tree") {
            None | Some("kernel") => Tree::Kernel,
            Some("module") => Tree::Module,
            Some(other) => return Err(wrong(format!("Tree: {other}")).into()),
        };
        let touched = series::touched(text);
        let suffix = if tree == Tree::Kernel { ".c" } else { ".rs" };
        if touched.is_empty() || touched.iter().any(|f| !f.ends_with(suffix)) {
            return Err(wrong(format!("it must change {suffix} files and nothing else")).into());
        }
        Ok(Mutant {
            name: name.into_owned(),
            patch: patch.to_owned(),
            what: header.first().map_or("", |l| l.trim()).to_owned(),
            test: needed("Test")?.trim().to_owned(),
            on: needed("Kernel")?.trim().to_owned(),
            cpus: needed("Cpus")?
                .trim()
                .parse()
                .map_err(|_| wrong("Cpus: not a number".into()))?,
            expect: match needed("Expect")?.trim() {
                "fail" => Expect::Fail,
                "crash" => Expect::Crash,
                other => return Err(wrong(format!("Expect: {other}")).into()),
            },
            tree,
        })
    }

    /// The run of its test, which passes without the mutant.
    fn guest(&self, list: &List) -> (Group, Guest) {
        let listed = list.test.iter().find(|e| {
            e.name == self.test
                && e.kernels.contains(&self.on)
                && e.expect == list::Expect::Pass
                && e.module == ModuleName::Module
                && e.emulator == EmulatorName::Patched
        });
        let entry = match listed {
            Some(entry) => entry.clone(),
            None => Entry {
                timeout: 300,
                ..Entry::new(&self.test, &self.test)
            },
        };
        list::guest(&entry, &self.on, kernel::Kind::Patched, self.cpus)
    }
}

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq)]
enum Found {
    /// As its patch says.
    Killed(String),
    /// The test passed, or it was noticed otherwise than its patch says.
    Survived(String),
    /// Nothing can be said: it did not come to the test.
    Invalid(String),
}

fn judge(expect: Expect, seen: &Seen, end: &End, splats: &[String]) -> Found {
    if !seen.began {
        return Found::Invalid("the machine did not come as far as the test".into());
    }
    let by_test = match seen.status {
        Some(137) => Some("timeout".to_owned()),
        Some(status) if failed_itself(&seen.output) => {
            Some(format!("not ok, exit status {status}"))
        }
        _ => None,
    };
    let by_kernel = match (end, seen.status) {
        (End::Panic, _) => Some("panic".to_owned()),
        (End::Timeout | End::Silent | End::Died, None) => Some("the machine hangs".to_owned()),
        _ => splats.first().map(|s| format!("splat: {s}")),
    };
    match (expect, by_test, by_kernel) {
        (Expect::Fail, Some(how), _) | (Expect::Crash, _, Some(how)) => Found::Killed(how),
        (_, None, None) => match seen.status {
            Some(4) => Found::Survived("skipped".into()),
            Some(status) if status != 0 => {
                Found::Invalid(format!("exit status {status}, but nothing is \"not ok\""))
            }
            _ => Found::Survived("passed".into()),
        },
        (Expect::Fail, None, Some(how)) => {
            Found::Survived(format!("{how}, but it says \"Expect: fail\""))
        }
        (Expect::Crash, Some(how), None) => {
            Found::Survived(format!("{how}, but it says \"Expect: crash\""))
        }
    }
}

/// A row of build/report/mutants.json.
#[derive(Clone, Deserialize, Serialize)]
struct Row {
    name: String,
    what: String,
    test: String,
    kernel: String,
    killed: bool,
    how: String,
    /// What this was found with.
    print: String,
}

impl Row {
    fn new(mutant: &Mutant, print: &str, found: Found) -> Row {
        let (killed, how) = match found {
            Found::Killed(how) => (true, how),
            Found::Survived(how) | Found::Invalid(how) => (false, how),
        };
        Row {
            name: mutant.name.clone(),
            what: mutant.what.clone(),
            test: mutant.test.clone(),
            kernel: mutant.on.clone(),
            killed,
            how,
            print: print.to_owned(),
        }
    }
}

/// Returns whether every mutant was noticed.
pub fn run(lab: &Lab, options: &Options) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let mutants = read(&lab.at("selftests/mutants"), &options.only)?;
    let list = List::read(&lab.at("selftests/list.toml"))?;
    let base = Base::build(lab)?;
    unmutated(lab, &mutants, &list, &base)?;

    let old = match options.again {
        true => Vec::new(),
        false => read_report(lab),
    };
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut composed = Vec::new();
    for mutant in &mutants {
        let (group, guest) = mutant.guest(&list);
        let print = Fingerprint::new("mutant")
            .text("base", &base.print)
            .file(&mutant.patch)?
            .text("run", &run_of(&group, &guest))
            .finish();
        if let Some(row) = old.iter().find(|r| r.print == print && r.killed) {
            rows.insert(mutant.name.clone(), row.clone());
            continue;
        }
        let built = match mutant.tree {
            Tree::Kernel => base
                .mutated_kernel(lab, mutant)
                .map(|kernel| (kernel, base.module.clone())),
            Tree::Module => {
                let dir = lab.at("build/mutants").join(&mutant.name);
                module::build_patched(lab, &base.kernel, &mutant.patch, &dir)
                    .map(|module| (base.kernel.clone(), module))
            }
        };
        match built {
            Ok((kernel, module)) => {
                let tests = vec![guest];
                let name = format!("mutant-{}", mutant.name);
                let (machine, dir) = check::compose(
                    lab,
                    &name,
                    &group,
                    &tests,
                    (kernel, Some(module)),
                    Vec::new(),
                )?;
                composed.push((mutant, print, tests, machine, dir));
            }
            Err(error) => {
                interrupt::check()?;
                let found = Found::Invalid(failure::explain(&error));
                rows.insert(mutant.name.clone(), Row::new(mutant, &print, found));
            }
        }
    }
    lab.unlock();
    let ended = side_by_side(
        &lab.jobs,
        &composed,
        |(mutant, print, tests, machine, dir)| {
            let found = boot(mutant, tests, machine, dir)?;
            let row = Row::new(mutant, print, found);
            let word = if row.killed { "noticed" } else { "NOT NOTICED" };
            eprintln!("lab: {}: {word}: {}", row.name, row.how);
            Ok::<_, anyhow::Error>(row)
        },
    );
    let mut failed = None;
    for row in ended {
        match row {
            Ok(row) => {
                rows.insert(row.name.clone(), row);
            }
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    let rows: Vec<Row> = rows.into_values().collect();
    write_report(lab, &rows)?;
    if let Some(error) = failed {
        return Err(error);
    }
    println!("{}", table(&rows));
    Ok(rows.iter().all(|r| r.killed))
}

fn read(dir: &Path, only: &[String]) -> Result<Vec<Mutant>> {
    let mut found = Vec::new();
    for patch in series::patches(dir)? {
        let text =
            fs::read_to_string(&patch).with_context(|| format!("reading {}", patch.display()))?;
        let mutant = Mutant::parse(&patch, &text)?;
        if only.is_empty() || only.iter().any(|w| mutant.name.contains(w.as_str())) {
            found.push(mutant);
        }
    }
    if found.is_empty() {
        return Err(Failure::new("there are no such mutants")
            .next(format!("the patches are in {}", dir.display()))
            .into());
    }
    Ok(found)
}

/// What decides a run besides kernel, module and programs.
fn run_of(group: &Group, guest: &Guest) -> String {
    format!(
        "{group:?} {} {} {}",
        guest.on, guest.entry.command, guest.timeout
    )
}

/// A kernel without a mutant, its module, and what they and the tests are made of.
struct Base {
    kernel: Kernel,
    module: PathBuf,
    print: String,
}

impl Base {
    fn build(lab: &Lab) -> Result<Base> {
        let kernel = kernel::build(lab, kernel::Kind::Patched)?;
        let module = module::build(lab, &kernel, module::Kind::Shipped)?;
        let mut print = Fingerprint::new("base")
            .file(&kernel.image())?
            .file(&emulator::build(lab, Emulator::Patched)?)?;
        let of_tests = kmod::build(lab, &kernel)?;
        for file in kernel.modules()?.iter().chain([&module]).chain(&of_tests) {
            print = print.file(file)?;
        }
        for program in selftests::programs(&selftests::build(lab)?)? {
            print = print.file(&program)?;
        }
        Ok(Base {
            kernel,
            module,
            print: print.finish(),
        })
    }

    /// The copy of this kernel with a mutant in it.
    fn mutated_kernel(&self, lab: &Lab, mutant: &Mutant) -> Result<Kernel> {
        let copy = copy::of(lab, &self.kernel, "mutant")?;
        let series = series::patches(&kernel::series_dir(lab))?;
        copy::apply(
            lab,
            &copy,
            &mutant.name,
            series.iter().chain([&mutant.patch]),
        )?;
        let what = format!("building the kernel with {}", mutant.name);
        kernel::build_tree(
            lab,
            &copy.source,
            &copy.objects,
            &what,
            kernel::Kind::Patched,
        )
    }
}

/// Every mutant's test must pass without the mutant, or its failure says nothing.
fn unmutated(lab: &Lab, mutants: &[Mutant], list: &List, base: &Base) -> Result<()> {
    let mut machines: BTreeMap<Group, Vec<Guest>> = BTreeMap::new();
    for mutant in mutants {
        let (group, guest) = mutant.guest(list);
        let stamp_name = unmutated_stamp(&group, &guest);
        if stamp::fresh(lab, &stamp_name, &base.print, &[]) {
            continue;
        }
        let tests = machines.entry(group).or_default();
        if !tests.iter().any(|t| t.id == guest.id) {
            tests.push(guest);
        }
    }
    let mut composed = Vec::new();
    for (group, tests) in &machines {
        let built = (base.kernel.clone(), Some(base.module.clone()));
        let name = format!("unmutated-{}", group.name());
        composed.push((
            group,
            tests,
            check::compose(lab, &name, group, tests, built, Vec::new())?,
        ));
    }
    let count: usize = machines.values().map(Vec::len).sum();
    if count > 0 {
        eprintln!("lab: running {count} tests without a mutant, which must pass");
    }
    let ended = side_by_side(&lab.jobs, &composed, |(group, tests, (machine, dir))| {
        let mut watch = Watch::new(tests);
        let mut rows = Vec::new();
        let outcome = machine::run(machine, dir, &mut |told| rows.extend(watch.told(told)))?;
        rows.extend(watch.finish(&outcome, group));
        Ok::<_, anyhow::Error>(rows)
    });
    let mut wrong = Vec::new();
    for ((group, tests, (_, dir)), rows) in composed.iter().zip(ended) {
        for (name, verdict, why) in rows? {
            if verdict != Verdict::Passed {
                let why = why.last().cloned().unwrap_or_else(|| "skipped".into());
                wrong.push(format!("{name}: {why} ({})", lab.shown(dir)));
            } else if let Some(test) = tests.iter().find(|t| t.id == name) {
                stamp::record(lab, &unmutated_stamp(group, test), &base.print)?;
            }
        }
    }
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

fn unmutated_stamp(group: &Group, guest: &Guest) -> String {
    let print = Fingerprint::new("unmutated").text("run", &run_of(group, guest));
    format!("unmutated-{}", &print.finish()[..16])
}

fn boot(mutant: &Mutant, tests: &[Guest], machine: &Machine, dir: &Path) -> Result<Found> {
    let mut watch = Watch::new(tests);
    let outcome = machine::run(machine, dir, &mut |told| {
        watch.told(told);
    })?;
    let seen = watch.seen(&tests[0].id);
    let found = judge(mutant.expect, seen, &outcome.end, &outcome.splats);
    Ok(match (found, outcome.failure()) {
        (Found::Invalid(why), Some(failure)) => Found::Invalid(format!("{why}: {failure}")),
        (found, _) => found,
    })
}

fn report_path(lab: &Lab) -> PathBuf {
    lab.at("build/report/mutants.json")
}

fn read_report(lab: &Lab) -> Vec<Row> {
    let text = fs::read_to_string(report_path(lab)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Rows of mutants that were not asked for this time stay.
fn write_report(lab: &Lab, rows: &[Row]) -> Result<()> {
    let mut all: BTreeMap<String, Row> = BTreeMap::new();
    for row in read_report(lab).iter().chain(rows) {
        if lab
            .at("selftests/mutants")
            .join(format!("{}.patch", row.name))
            .exists()
        {
            all.insert(row.name.clone(), row.clone());
        }
    }
    let all: Vec<Row> = all.into_values().collect();
    write_json(&report_path(lab), &all)
}

fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str| rows.iter().map(|r| of(r).len()).max().unwrap_or(0);
    let (name, test, kernel) = (width(|r| &r.name), width(|r| &r.test), width(|r| &r.kernel));
    let mut text = String::new();
    for row in rows {
        let word = if row.killed { "noticed" } else { "NOT NOTICED" };
        let how = row.how.lines().next().unwrap_or("");
        text += &format!(
            "{:name$}  {:test$}  {:kernel$}  {word}: {how}\n    {}\n",
            row.name, row.test, row.kernel, row.what
        );
        for line in row.how.lines().skip(1).filter(|_| !row.killed) {
            text += &format!("    {line}\n");
        }
    }
    let killed = rows.iter().filter(|r| r.killed).count();
    text + &format!("{killed} of {} mutants were noticed", rows.len())
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
            (mutant.test.as_str(), mutant.on.as_str()),
            ("switch", "lazy")
        );
        assert_eq!((mutant.cpus, mutant.expect), (2, Expect::Fail));
        let crash = header.replace("fail", "crash");
        assert_eq!(parse(&crash, DIFF).unwrap().expect, Expect::Crash);
    }

    #[test]
    fn a_header_that_lacks_something_is_an_error() {
        let header = "Test: switch\nKernel: lazy\nCpus: 2\nExpect: fail\n";
        for line in header.lines() {
            let rest = header.replace(&format!("{line}\n"), "");
            let error = parse(&rest, DIFF).err().unwrap().to_string();
            assert!(error.contains(line.split(':').next().unwrap()), "{error}");
        }
        assert!(parse(&header.replace("fail", "win"), DIFF).is_err());
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
             [[test]]\nname='switch'\ncommand='xfd_switch_test'\nkernels=['lazy']\ntimeout=7\n",
        )
        .unwrap();
        let header = "Test: switch\nKernel: lazy\nCpus: 2\nExpect: fail\n";
        let (group, guest) = parse(header, DIFF).unwrap().guest(&list);
        assert_eq!(
            (guest.entry.command.as_str(), guest.timeout),
            ("xfd_switch_test", 7)
        );
        assert_eq!((group.cpus, guest.on.as_str()), (2, "lazy"));
        let other = header.replace("switch", "xfd_state_test -x");
        let (_, guest) = parse(&other, DIFF).unwrap().guest(&list);
        assert_eq!(guest.entry.command, "xfd_state_test -x");
    }

    #[test]
    fn a_mutant_must_be_noticed_as_it_says() {
        let seen = |status, output: &[&str]| Seen {
            began: true,
            status,
            output: output.iter().map(|l| (*l).to_owned()).collect(),
            splats: Vec::new(),
        };
        let exit = End::Exit(0);
        let splat = ["BUG: x".to_owned()];
        let (fail, crash) = (Expect::Fail, Expect::Crash);
        let killed = |found| matches!(found, Found::Killed(_));
        let survived = |found| matches!(found, Found::Survived(_));
        let invalid = |found| matches!(found, Found::Invalid(_));
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
        assert!(invalid(judge(fail, &seen(Some(127), &[]), &exit, &[])));
        assert!(invalid(judge(fail, &seen(Some(1), &[]), &exit, &[])));
        let before = Seen::default();
        assert!(invalid(judge(crash, &before, &End::Panic, &splat)));
    }

    #[test]
    fn the_mutants_in_the_repository_parse() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../selftests/mutants");
        for patch in series::patches(&dir).unwrap() {
            let text = fs::read_to_string(&patch).unwrap();
            assert!(!Mutant::parse(&patch, &text).unwrap().what.is_empty());
        }
    }
}
