// SPDX-License-Identifier: GPL-2.0
//! The lab's own traces: for each column a machine in which guests of ours go through the states, and
//! one with a Linux guest, as many side by side as there are jobs. A machine whose traces are of what
//! would be traced now does not run again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use indexmap::IndexMap;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::parallel::side_by_side;
use crate::base::stamp::{self, Fingerprint};
use crate::build::kernel::Kernel;
use crate::machine::{self, Machine, FILES};
use crate::measure::bench::pairs::Kind;
use crate::measure::bench::report::{
    matching, sound, Column, Report, State, Traced, Unit, KINDS, LINUX,
};
use crate::measure::bench::trace::Trace;
use crate::measure::report::{is_strategy, STATES, WITHOUT_MODULE};
use crate::measure::run::{measure, subject, Subject};
use crate::tests::guests::files as guest;

/// What xfd_measure lets a guest do, each in a file of its own, and what kind of exit that is.
const ACTIONS: [(&str, Kind); 4] = [
    ("exit", Kind::Exit),
    ("nm", Kind::Nm),
    ("switch_plain", Kind::Switch),
    ("userspace", Kind::Userspace),
];

/// Times that a guest does each of it.
const EXITS: u32 = 300;

/// In which states there is a file of an action.
fn states(action: &str) -> &'static [&'static str] {
    match action {
        "nm" => &["armed"],
        _ => &STATES,
    }
}

/// Where the traces of a machine lie, and what else it has said: it is called as its column, or
/// [`of_linux`].
fn traces(lab: &Lab, name: &str) -> PathBuf {
    lab.at("build/bench").join(name)
}

/// The name of a column's machine with a Linux guest.
fn of_linux(column: &str) -> String {
    format!("{column}-{LINUX}")
}

const TRACED: &str = "traced.json";
/// What there is of a Linux guest.
const LINUX_TRACE: &str = "linux.trace";

/// Builds, traces what is not traced yet, or all if `again`, and reads it. Takes the lab's lock to
/// build, and has let go of it when it returns.
pub fn run(lab: &Lab, again: bool) -> Result<Report> {
    let subject = subject(lab)?;
    let names = WITHOUT_MODULE.into_iter().map(str::to_owned);
    let names: Vec<String> = names.chain(subject.strategies.iter().cloned()).collect();
    let guest = guest::build(lab)?;
    let mut all = Vec::new();
    for name in &names {
        all.push((name.clone(), of_states(lab, &subject, name)?));
    }
    for name in &names {
        all.push((of_linux(name), with_linux(lab, &subject, name, &guest)?));
    }
    let number = all.len();
    let mut todo = Vec::new();
    for (name, (machine, print)) in all {
        let step = format!("bench-{name}");
        if !again && stamp::fresh(lab, &step, &print, &[&traces(lab, &name)]) {
            continue;
        }
        stamp::forget(lab, &step)?;
        let dir = machine::compose(lab, &machine)?;
        todo.push((name, machine, dir, step, print));
    }
    lab.unlock();

    let done = Mutex::new(number - todo.len());
    let say = |what: &str, done: usize| eprintln!("lab: bench: {done}/{number}: {what}");
    if todo.len() < number {
        say("traced before", number - todo.len());
    }
    let ended = side_by_side(&lab.jobs, &todo, |(name, machine, dir, step, print)| {
        trace(lab, name, machine, dir)?;
        stamp::record(lab, step, print)?;
        let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
        *done += 1;
        say(name, *done);
        anyhow::Ok(())
    });
    ended.into_iter().collect::<Result<Vec<()>>>()?;

    let (mut columns, mut traced) = (IndexMap::new(), IndexMap::new());
    for name in &names {
        let dir = traces(lab, name);
        let mut column = read(&dir, u64::from(EXITS))?;
        let linux = traces(lab, &of_linux(name)).join(LINUX_TRACE);
        column.insert(LINUX.to_owned(), read_linux(&linux)?);
        columns.insert(name.clone(), column);
        let text = files::text(&dir.join(TRACED))?;
        let words: Traced = serde_json::from_str(&text)
            .with_context(|| format!("reading {}", dir.join(TRACED).display()))?;
        traced.insert(name.clone(), words);
    }
    Ok(Report {
        unit: Unit::Instructions,
        resolution: 1,
        columns,
        traced,
    })
}

/// A column's machine with guests of ours in each state, and the fingerprint of its traces.
fn of_states(lab: &Lab, subject: &Subject, name: &str) -> Result<(Machine, String)> {
    let machine = Machine {
        programs: vec![subject.program.clone()],
        command: script(),
        ..host(subject, name, name)
    };
    let print = print(lab, name, &machine)?.file(&subject.program)?;
    Ok((machine, print.finish()))
}

/// The one with a Linux guest, which is in `guest` with its fingerprint.
fn with_linux(
    lab: &Lab,
    subject: &Subject,
    name: &str,
    (guest, guest_print): &(PathBuf, String),
) -> Result<(Machine, String)> {
    let machine = Machine {
        added: vec![guest.clone()],
        command: linux_script(),
        ..host(subject, name, &of_linux(name))
    };
    let print = print(lab, name, &machine)?.text("guest", guest_print);
    Ok((machine, print.finish()))
}

/// A machine called `called` whose host is that of a column.
fn host(subject: &Subject, name: &str, called: &str) -> Machine {
    let kernel: &Kernel = match name {
        "stock" => &subject.stock,
        "minimal" => &subject.minimal,
        _ => &subject.patched,
    };
    Machine {
        module: is_strategy(name).then(|| subject.module.clone()),
        strategy: is_strategy(name).then(|| name.to_owned()),
        timeout: Duration::from_secs(600),
        ..Machine::new(format!("bench-{called}"), &subject.emulator, kernel)
    }
}

fn print(lab: &Lab, name: &str, machine: &Machine) -> Result<Fingerprint> {
    let mut print = Fingerprint::new("bench")
        .text("column", name)
        .text("script", &machine.command)
        .tree(&lab.at("lab/guest"))?
        .file(&machine.emulator)?
        .file(&machine.kernel.image())?;
    for module in machine.kernel.modules()?.iter().chain(&machine.module) {
        print = print.file(module)?;
    }
    Ok(print)
}

fn script() -> String {
    format!(
        ". /etc/lab.sh\nmkdir /tmp/bench\n\
         xfd_measure trace /tmp/bench --exits={EXITS} || exit 1\n\
         for file in /tmp/bench/*.trace; do lab_get \"$file\" || exit 1; done\n"
    )
}

fn linux_script() -> String {
    format!(
        ". /etc/lab.sh\nsh /add/guest/bench.sh /tmp/{LINUX_TRACE} || exit 1\n\
         lab_get /tmp/{LINUX_TRACE}\n"
    )
}

/// Runs a machine, and keeps what it has sent.
fn trace(lab: &Lab, name: &str, machine: &Machine, dir: &Path) -> Result<()> {
    let lines = measure(machine, dir)?;
    let said = lines
        .iter()
        .find_map(|(_, l)| l.trim().strip_prefix("#XFD "));
    let said: Option<serde_json::Value> = said.and_then(|s| serde_json::from_str(s).ok());
    let said = said.and_then(|mut s| Some(s.get_mut("traced")?.take()));
    if said.is_none() && !machine.programs.is_empty() {
        let what = format!("xfd_measure has not said what tracing costs in bench-{name}");
        return Err(Failure::new(what)
            .log(&dir.join("output.log"))
            .next("its console.log lies beside it")
            .into());
    }
    let to = traces(lab, name);
    files::remove(&to)?;
    fs::create_dir_all(to.parent().context("traces have a directory")?)?;
    let from = dir.join(FILES);
    fs::rename(&from, &to).with_context(|| format!("keeping {}", from.display()))?;
    match said {
        Some(said) => files::write_json(&to.join(TRACED), &said),
        None => Ok(()),
    }
}

/// What a Linux guest's exits were, of all kinds.
fn read_linux(path: &Path) -> Result<State> {
    let shown = path.display().to_string();
    let trace = Trace::parse(&files::text(path)?, &shown)?;
    let mut state = State::default();
    state.add(&sound(&trace, &shown)?, &KINDS.map(|(_, kind, _)| kind));
    Ok(state)
}

/// A column's traces, each of which has at least so many exits, but for those of #NM: it need not exit.
fn read(dir: &Path, least: u64) -> Result<Column> {
    let mut column: Column = STATES.map(|s| (s.to_owned(), State::default())).into();
    for (action, kind) in ACTIONS {
        for state in states(action) {
            let path = dir.join(format!("{state}-{action}.trace"));
            let shown = path.display().to_string();
            let trace = Trace::parse(&files::text(&path)?, &shown)?;
            let pairs = match kind {
                Kind::Nm => matching(&trace, &shown)?,
                _ => sound(&trace, &shown)?,
            };
            let number = pairs.pairs.iter().filter(|p| p.kind == kind).count() as u64;
            if kind != Kind::Nm && number < least {
                return Err(
                    Failure::new(format!("{shown}: only {number} exits are of its kind"))
                        .next("`lab bench --again` traces anew")
                        .into(),
                );
            }
            let all = column.entry((*state).to_owned()).or_default();
            all.add(&pairs, &[kind]);
        }
    }
    Ok(column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::bench::trace::tests::tracefs;

    /// A directory with a machine's files: exits of `exit`, #NMs of 800.
    fn write(dir: &Path, exit: u64) {
        for (action, _) in ACTIONS {
            for state in states(action) {
                let (after, end) = ((1000 + exit).to_string(), (3000 + exit).to_string());
                let events = match action {
                    "nm" => vec![(0, 1, "1000", '7'), (0, 1, "1800", 'e')],
                    "exit" => vec![(0, 1, "1000", 'x'), (0, 1, &after[..], 'e')],
                    "userspace" => vec![
                        (0, 1, "1000", 'x'),
                        (0, 1, "1100", 'u'),
                        (0, 1, &end[..], 'e'),
                    ],
                    _ => vec![
                        (0, 1, "1000", 'x'),
                        (0, 1, "1100", 's'),
                        (0, 1, &end[..], 'e'),
                    ],
                };
                fs::write(
                    dir.join(format!("{state}-{action}.trace")),
                    tracefs(&events),
                )
                .unwrap();
            }
        }
    }

    #[test]
    fn each_state_has_what_its_files_have() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 464);
        let column = read(dir.path(), 1).unwrap();
        let names: Vec<&str> = column.keys().map(String::as_str).collect();
        assert_eq!(names, STATES);
        let kinds = |state: &str| -> Vec<&str> { column[state].kinds.keys().copied().collect() };
        assert_eq!(kinds("armed"), ["exit", "nm", "switch", "userspace"]);
        assert_eq!(kinds("never"), ["exit", "switch", "userspace"]);
        assert_eq!(column["live"].kinds["exit"].median(), 464);
        assert_eq!(column["live"].kinds["userspace"].median(), 2464);
        assert_eq!(column["armed"].kinds["nm"].median(), 800);
    }

    #[test]
    fn a_nm_that_does_not_exit_is_none_and_no_error() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 464);
        let none = tracefs(&[
            (0, 1, "1000", 'e'),
            (0, 1, "9000", 'x'),
            (0, 1, "9100", 'u'),
        ]);
        fs::write(dir.path().join("armed-nm.trace"), &none).unwrap();
        let column = read(dir.path(), 1).unwrap();
        assert_eq!(column["armed"].kinds["nm"].count(), 0);
        fs::write(dir.path().join("armed-exit.trace"), &none).unwrap();
        let said = read(dir.path(), 1).err().unwrap().to_string();
        assert!(said.contains("armed-exit.trace: no VM-exit"), "{said}");
    }

    #[test]
    fn a_file_that_is_missing_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 464);
        fs::remove_file(dir.path().join("live-userspace.trace")).unwrap();
        let said = format!("{:#}", read(dir.path(), 1).err().unwrap());
        assert!(said.contains("live-userspace.trace"), "{said}");
        let said = format!("{:#}", read(dir.path(), 2).err().unwrap());
        assert!(said.contains("only 1 exits are of its kind"), "{said}");
    }

    #[test]
    fn all_that_linux_does_is_one_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LINUX_TRACE);
        let events = [
            (0, 1, "1000", 'x'),
            (0, 1, "1464", 'e'),
            (0, 1, "2000", '7'),
            (0, 1, "2800", 'e'),
            (0, 1, "3000", 'x'),
            (0, 1, "3100", 'u'),
            (0, 1, "5000", 'e'),
        ];
        fs::write(&path, tracefs(&events)).unwrap();
        let state = read_linux(&path).unwrap();
        let median = |kind: &str| state.kinds[kind].median();
        assert_eq!(
            (median("exit"), median("nm"), median("userspace")),
            (464, 800, 2000)
        );
        assert_eq!(state.kinds["switch"].count(), 0);
        assert!(linux_script()
            .contains("bench.sh /tmp/linux.trace || exit 1\nlab_get /tmp/linux.trace\n"));
    }

    #[test]
    fn the_machine_sends_each_file() {
        let text = script();
        assert!(text.contains("xfd_measure trace /tmp/bench --exits=300 || exit 1\n"));
        assert!(text.contains("lab_get \"$file\" || exit 1"));
    }
}
