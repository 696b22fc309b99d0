// SPDX-License-Identifier: GPL-2.0
//! `lab upstream`: the kernel tree's own x86 KVM selftests, all of them and unmodified, on the patched
//! kernel without the module and with each strategy; and whether a strategy changes the result of
//! any.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::files::write_json;
use crate::base::layout::Lab;
use crate::base::parallel::side_by_side;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::{ask, Step};
use crate::build::emulator::{self, Emulator};
use crate::build::kernel::{self, Kernel};
use crate::build::module;
use crate::build::packages;
use crate::build::source;
use crate::commands::boot::quoted;
use crate::machine::console::message;
use crate::machine::{self, End, Machine, Outcome, Told};
use crate::measure::strategies::strategies;
use crate::tests::list::{Entry, Guest};
use crate::tests::watch::{Seen, Watch};

#[derive(clap::Args)]
pub struct Options {
    /// Only programs whose names contain one of these words
    only: Vec<String>,
    /// Run them again, even where there is a result already
    #[arg(long)]
    again: bool,
    /// Only with this strategy, or "unloaded" (may be repeated; unloaded is always there)
    #[arg(long, value_name = "STRATEGY")]
    on: Vec<String>,
}

const LIMITS: &str = "lab/config/upstream.toml";

/// What LIMITS has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    timeout: u64,
    cpus: u32,
    memory: u32,
    #[serde(default)]
    skip: Vec<Skip>,
}

/// A program that is not run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    name: String,
    why: String,
}

impl Limits {
    fn read(path: &Path) -> Result<Limits> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Names that no program has.
    fn unknown<'a>(&'a self, names: &[String]) -> Vec<&'a str> {
        let all = self.skip.iter().map(|p| p.name.as_str());
        all.filter(|n| !names.iter().any(|name| name == n))
            .collect()
    }
}

/// One of upstream's tests.
struct Program {
    name: String,
    file: PathBuf,
    /// Why it is not run at all.
    skipped: Option<String>,
}

impl Program {
    fn command(&self) -> String {
        let shell = match self.name.ends_with(".sh") {
            true => "sh ",
            false => "",
        };
        format!("{shell}/tests/{}", self.name)
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Fail,
    Skip,
    Timeout,
    /// The kernel complained while it ran.
    Splat,
    /// The kernel panicked.
    Crash,
    /// The machine said nothing more, or died.
    Hang,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Skip => "skip",
            Verdict::Timeout => "TIMEOUT",
            Verdict::Splat => "SPLAT",
            Verdict::Crash => "CRASH",
            Verdict::Hang => "HANG",
        }
    }
}

/// What came of one program on one kernel.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Ran {
    result: Verdict,
    /// The exit status, if it came to that.
    status: Option<i32>,
    /// The program's own last word on a result that is not "pass".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    said: String,
    /// Its KTAP lines, without their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<String>,
    /// Of the machine's clock.
    seconds: f64,
    /// What it was run with; a result of anything else is worth nothing.
    print: String,
}

impl Ran {
    fn new(seen: &Seen, end: Option<&End>, seconds: f64, print: &str) -> Ran {
        let result = match (seen.status, end) {
            (None, Some(End::Panic)) => Verdict::Crash,
            (None, _) => Verdict::Hang,
            _ if !seen.splats.is_empty() => Verdict::Splat,
            (Some(0), _) => Verdict::Pass,
            (Some(4), _) => Verdict::Skip,
            (Some(137), _) => Verdict::Timeout,
            (Some(_), _) => Verdict::Fail,
        };
        let said = match result {
            Verdict::Pass => String::new(),
            Verdict::Splat => seen.splats[0].clone(),
            _ => last_word(&seen.output, result == Verdict::Skip),
        };
        Ran {
            result,
            status: seen.status,
            said,
            parts: parts(&seen.output),
            seconds,
            print: print.to_owned(),
        }
    }

    /// Whether another kernel gave the same result, in each of the program's parts.
    fn same(&self, other: &Ran) -> bool {
        (self.result, self.status, &self.parts) == (other.result, other.status, &other.parts)
    }
}

/// The line in which a program explains itself: its last, or for a skip the last that says so.
fn last_word(output: &[String], skip: bool) -> String {
    let words = || {
        output
            .iter()
            .rev()
            .map(|l| l.trim())
            .filter(|l| !l.is_empty() && !l.starts_with("# Totals:"))
    };
    let found = words().find(|l| skip && l.to_ascii_lowercase().contains("skip"));
    found.or_else(|| words().next()).unwrap_or("").to_owned()
}

/// The KTAP lines, without the numbers: "ok state with FMM", "not ok ...".
fn parts(output: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for line in output {
        for word in ["ok", "not ok"] {
            let rest = line.strip_prefix(word).and_then(|r| r.strip_prefix(' '));
            if let Some((number, name)) = rest.and_then(|r| r.split_once(' ')) {
                if number.bytes().all(|b| b.is_ascii_digit()) {
                    found.push(format!("{word} {name}"));
                }
            }
        }
    }
    found
}

/// The module's strategy, or its absence: a column of the table.
struct Column {
    name: String,
    kernel: Kernel,
    module: Option<PathBuf>,
    print: String,
}

impl Column {
    fn strategy(&self) -> Option<String> {
        self.module.as_ref().map(|_| self.name.clone())
    }

    fn path(&self, lab: &Lab) -> PathBuf {
        lab.at("build/upstream/results")
            .join(format!("{}.json", self.name))
    }

    /// Of a program on this kernel.
    fn print_of(&self, program: &Program, limits: &Limits) -> Result<String> {
        Ok(Fingerprint::new("upstream")
            .text("column", &self.print)
            .text("timeout", &limits.timeout.to_string())
            .text("cpus", &limits.cpus.to_string())
            .file(&program.file)?
            .finish())
    }
}

type Results = BTreeMap<String, Ran>;

pub fn run(lab: &Lab, options: &Options) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let limits = Limits::read(&lab.at(LIMITS))?;
    let output = build(lab)?;
    let mut programs = programs(lab, &output, &limits)?;
    programs.retain(|p| {
        options.only.is_empty() || options.only.iter().any(|w| p.name.contains(w.as_str()))
    });
    if programs.is_empty() {
        return Err(
            Failure::new(format!("no program is named {}", options.only.join(" or ")))
                .next(format!(
                    "the names are in {}",
                    lab.shown(&output.join("list"))
                ))
                .into(),
        );
    }
    let columns = columns(lab, &options.on)?;
    // All of them, so that a script finds the program that it is about.
    let files = crate::build::selftests::programs(&output)?;
    let emulator = emulator::build(lab, Emulator::Patched)?;
    lab.unlock();

    let composing = Mutex::new(());
    let all = side_by_side(&lab.jobs, &columns, |column| {
        let runner = Runner {
            lab,
            column,
            emulator: &emulator,
            files: &files,
            limits: &limits,
            composing: &composing,
        };
        runner.run(&programs, options.again)
    });
    let mut results = BTreeMap::new();
    for (column, found) in columns.iter().zip(all) {
        results.insert(column.name.as_str(), found?);
    }
    let report = Report::new(&columns, &programs, &results)?;
    println!("{}", report.table());
    // A report of a few programs, or kernels, would pass for that of all.
    if options.only.is_empty() && options.on.is_empty() {
        let path = lab.at("build/report/upstream.json");
        write_json(&path, &report)?;
        eprintln!("lab: {} is written", lab.shown(&path));
    }
    Ok(report.changed.is_empty() && report.unfinished.is_empty())
}

/// Builds upstream's tests with upstream's own makefile, static, from the pristine source.
fn build(lab: &Lab) -> Result<PathBuf> {
    let output = lab.at("build/upstream/programs");
    let pristine = source::kernel(lab)?;
    let print = Fingerprint::new("upstream-programs")
        .text("source", &pristine.sha256)
        .text(
            "compiler",
            &ask(Command::new("gcc").arg("--version")).unwrap_or_default(),
        )
        .finish();
    if stamp::fresh(lab, "upstream-programs", &print, &[&output]) {
        return Ok(output);
    }
    stamp::forget(lab, "upstream-programs")?;
    let mut step = Step::begin(lab, "upstream-programs", "building upstream's selftests")?;
    let objects = lab.at("build/upstream/objects");
    let headers = lab.at("build/upstream/headers");
    let scratch = lab.at("build/upstream/headers-objects");
    for dir in [&objects, &headers, &scratch] {
        fs::create_dir_all(dir)?;
    }
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(&pristine.dir)
        .args(["-s", "ARCH=x86_64"])
        .arg(format!("O={}", scratch.display()))
        .arg(format!("INSTALL_HDR_PATH={}", headers.display()))
        .arg("headers_install");
    step.run(clean(&mut make))?;
    step.run(own_make(lab, &pristine.dir, &objects, &headers).arg("all"))?;
    // Its own list of what the tests are, by name; `all` builds a few programs more.
    let names = ask(own_make(lab, &pristine.dir, &objects, &headers).args([
        "-s",
        "COLLECTION=kvm",
        "emit_tests",
    ]))
    .unwrap_or_default();
    let names = tests(&names);
    if names.len() < 50 {
        return Err(
            Failure::new("the kernel tree's list of KVM selftests could not be read")
                .log(step.log_path())
                .next("run its makefile's target emit_tests by hand")
                .into(),
        );
    }
    crate::base::files::remove(&output)?;
    fs::create_dir_all(&output)?;
    let kvm = pristine.dir.join("tools/testing/selftests/kvm");
    for dir in [&objects, &kvm] {
        for file in executables(dir, &objects)? {
            fs::copy(&file, output.join(file.file_name().unwrap_or_default()))?;
        }
    }
    let missing: Vec<&String> = names.iter().filter(|n| !output.join(n).exists()).collect();
    if !missing.is_empty() {
        return Err(Failure::new(format!("not built: {missing:?}"))
            .log(step.log_path())
            .next("mend what the log shows, then run the same command again")
            .into());
    }
    fs::write(output.join("list"), names.join("\n") + "\n")?;
    stamp::record(lab, "upstream-programs", &print)?;
    step.done();
    Ok(output)
}

/// Upstream's makefile, with its output outside of the source.
fn own_make(lab: &Lab, source: &Path, objects: &Path, headers: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(source.join("tools/testing/selftests/kvm"))
        .arg(format!("-j{}", lab.choices.jobs()))
        .args(["ARCH=x86", "CC=gcc", "LDFLAGS=-static -pthread"])
        .arg(format!("OUTPUT={}", objects.display()))
        .arg(format!("TMPOUT={}/.tmp", objects.display()))
        .arg(format!("INSTALL_HDR_PATH={}", headers.display()))
        .arg(format!(
            "KHDR_INCLUDES=-isystem {}/include",
            headers.display()
        ));
    clean(&mut make);
    make
}

fn clean(command: &mut Command) -> &mut Command {
    for inherited in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "OUTPUT", "KDIR"] {
        command.env_remove(inherited);
    }
    command.env("LC_ALL", "C")
}

/// The names in what emit_tests prints: "kvm:amx_test".
fn tests(emitted: &str) -> Vec<String> {
    emitted
        .lines()
        .filter_map(|l| l.strip_prefix("kvm:"))
        .map(str::to_owned)
        .collect()
}

/// What can be run below `dir`: programs in `objects`, scripts elsewhere.
fn executables(dir: &Path, objects: &Path) -> Result<Vec<PathBuf>> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = Vec::new();
    for file in files::below(dir)? {
        let runs = fs::metadata(&file)?.permissions().mode() & 0o111 != 0;
        let script = file.extension().is_some_and(|x| x == "sh");
        if runs && script != (dir == objects) {
            found.push(file);
        }
    }
    Ok(found)
}

fn programs(lab: &Lab, output: &Path, limits: &Limits) -> Result<Vec<Program>> {
    let text = fs::read_to_string(output.join("list"))?;
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    let unknown = limits.unknown(&names);
    if !unknown.is_empty() {
        return Err(Failure::new(format!(
            "{LIMITS} names programs that there are not: {}",
            unknown.join(" ")
        ))
        .next(format!(
            "the names are in {}",
            lab.shown(&output.join("list"))
        ))
        .into());
    }
    Ok(names
        .into_iter()
        .map(|name| {
            let skip = limits.skip.iter().find(|s| s.name == name);
            Program {
                file: output.join(&name),
                skipped: skip.map(|s| s.why.clone()),
                name,
            }
        })
        .collect())
}

fn columns(lab: &Lab, only: &[String]) -> Result<Vec<Column>> {
    let mut names = vec!["unloaded".to_owned()];
    names.extend(strategies(lab)?);
    if let Some(unknown) = only.iter().find(|o| !names.contains(o)) {
        return Err(Failure::new(format!("there is no strategy \"{unknown}\""))
            .next(format!("there are {}", names.join(" ")))
            .into());
    }
    names.retain(|n| only.is_empty() || n == "unloaded" || only.contains(n));
    let emulator = emulator::build(lab, Emulator::Patched)?;
    let kernel = kernel::build(lab, kernel::Kind::Patched)?;
    let mut columns = Vec::new();
    for name in names {
        let module = match name.as_str() {
            "unloaded" => None,
            _ => Some(module::build(lab, &kernel, module::Kind::Shipped)?),
        };
        let mut print = Fingerprint::new("column")
            .text("name", &name)
            .file(&emulator)?
            .file(&kernel.image())?;
        for file in kernel.modules()?.iter().chain(&module) {
            print = print.file(file)?;
        }
        columns.push(Column {
            name,
            kernel: kernel.clone(),
            module,
            print: print.finish(),
        });
    }
    Ok(columns)
}

/// Runs programs on one kernel: many in one boot, and a new boot after a crash or a hang.
struct Runner<'a> {
    lab: &'a Lab,
    column: &'a Column,
    emulator: &'a Path,
    files: &'a [PathBuf],
    limits: &'a Limits,
    /// One machine is composed at a time.
    composing: &'a Mutex<()>,
}

impl Runner<'_> {
    fn run(&self, programs: &[Program], again: bool) -> Result<Results> {
        let mut results = self.known(programs, again)?;
        loop {
            let todo: Vec<&Program> = programs
                .iter()
                .filter(|p| p.skipped.is_none() && !results.contains_key(&p.name))
                .collect();
            if todo.is_empty() {
                return Ok(results);
            }
            let before = results.len();
            let outcome = self.boot(&todo, &mut results)?;
            if results.len() == before {
                let failure = outcome.failure().unwrap_or_else(|| {
                    Failure::new("the machine ran none of its programs").log(&outcome.console)
                });
                return Err(anyhow::Error::from(failure)
                    .context(format!("upstream's selftests on {}", self.column.name)));
            }
        }
    }

    /// The results that are still good.
    fn known(&self, programs: &[Program], again: bool) -> Result<Results> {
        let text = fs::read_to_string(self.column.path(self.lab)).unwrap_or_default();
        let mut old: Results = serde_json::from_str(&text).unwrap_or_default();
        let mut results = Results::new();
        for program in programs.iter().filter(|p| p.skipped.is_none()) {
            let print = self.column.print_of(program, self.limits)?;
            if let Some(ran) = old.remove(&program.name) {
                if ran.print == print && !again {
                    results.insert(program.name.clone(), ran);
                }
            }
        }
        Ok(results)
    }

    fn boot(&self, todo: &[&Program], results: &mut Results) -> Result<Outcome> {
        let timeout = self.limits.timeout;
        let guests: Vec<Guest> = todo.iter().map(|p| guest(p, timeout)).collect();
        let mut prints = BTreeMap::new();
        for program in todo {
            let print = self.column.print_of(program, self.limits)?;
            prints.insert(program.name.clone(), print);
        }
        let machine = Machine {
            name: format!("upstream-{}", self.column.name),
            emulator: self.emulator.to_owned(),
            kernel: self.column.kernel.clone(),
            module: self.column.module.clone(),
            strategy: self.column.strategy(),
            programs: self.files.to_vec(),
            added: Vec::new(),
            cpus: self.limits.cpus,
            memory: self.limits.memory,
            parameters: String::new(),
            without: String::new(),
            command: script(todo, timeout),
            // A machine's second can take several of ours.
            timeout: Duration::from_secs(600 + 5 * timeout * todo.len() as u64),
            silence: Duration::from_secs(300 + 5 * timeout),
        };
        let dir = {
            let _one = self.composing.lock().unwrap_or_else(|e| e.into_inner());
            self.lab.lock()?;
            let dir = machine::compose(self.lab, &machine)?;
            self.lab.unlock();
            dir
        };
        let total = results.len() + todo.len();
        let mut watch = Watch::new(&guests);
        let mut clock = Clock::default();
        let mut failed = None;
        let mut keep = |results: &mut Results, name: &str, ran: Ran| {
            let said = match ran.said.as_str() {
                "" => String::new(),
                said => format!(": {said}"),
            };
            eprintln!(
                "lab: {}: {}/{total} {name}: {}{said}",
                self.column.name,
                results.len() + 1,
                ran.result.word()
            );
            results.insert(name.to_owned(), ran);
            if let Err(error) = self.save(results) {
                failed.get_or_insert(error);
            }
        };
        let outcome = machine::run(&machine, &dir, &mut |told| {
            if let Told::Console(line, _) = &told {
                clock.line(line);
            }
            for (name, _, _) in watch.told(told) {
                let ran = Ran::new(watch.seen(&name), None, clock.of(&name), &prints[&name]);
                keep(results, &name, ran);
            }
        })?;
        // The one that was running when the machine came to a sudden end.
        for program in todo.iter().filter(|p| !results.contains_key(&p.name)) {
            let seen = watch.seen(&program.name);
            if seen.began {
                let print = &prints[&program.name];
                let seconds = clock.of(&program.name);
                let ran = Ran::new(seen, Some(&outcome.end), seconds, print);
                keep(results, &program.name, ran);
                break;
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(outcome),
        }
    }

    fn save(&self, results: &Results) -> Result<()> {
        // Those of programs that were not asked for stay, too.
        let path = self.column.path(self.lab);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut all: Results = serde_json::from_str(&text).unwrap_or_default();
        all.extend(results.iter().map(|(k, v)| (k.clone(), v.clone())));
        write_json(&path, &all)
    }
}

/// A program as the machine's follower knows it.
fn guest(program: &Program, timeout: u64) -> Guest {
    Guest {
        id: program.name.clone(),
        on: String::new(),
        entry: Entry::new(&program.name, &program.command()),
        timeout,
    }
}

fn script(todo: &[&Program], timeout: u64) -> String {
    let mut text = String::from(". /etc/lab.sh\n");
    for program in todo {
        text += &format!(
            "lab_test {} {timeout} {}\n",
            quoted(&program.name),
            quoted(&program.command())
        );
    }
    text
}

/// How long each program took, by the time stamps of the kernel's log.
#[derive(Default)]
struct Clock(BTreeMap<String, (f64, f64)>);

impl Clock {
    fn line(&mut self, line: &str) {
        let (Some(text), Some(time)) = (message(line), time(line)) else {
            return;
        };
        if let Some(name) = text.strip_prefix("lab: test ") {
            self.0.insert(name.to_owned(), (time, time));
        } else if let Some(name) = text.strip_prefix("lab: end ") {
            if let Some(times) = self.0.get_mut(name) {
                times.1 = time;
            }
        }
    }

    fn of(&self, name: &str) -> f64 {
        let seconds = self.0.get(name).map_or(0.0, |(began, ended)| ended - began);
        (seconds * 10.0).round() / 10.0
    }
}

fn time(line: &str) -> Option<f64> {
    let (time, _) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    time.trim().parse().ok()
}

/// build/report/upstream.json
#[derive(Serialize)]
struct Report<'a> {
    kernel: String,
    columns: Vec<&'a str>,
    /// Programs whose result with a strategy is another one than without the module: "program: strategy".
    changed: Vec<String>,
    /// Those that came to no result of their own, in the same way.
    unfinished: Vec<String>,
    programs: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    /// Why it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
    results: BTreeMap<&'a str, &'a Ran>,
}

impl<'a> Report<'a> {
    fn new(
        columns: &'a [Column],
        programs: &'a [Program],
        results: &'a BTreeMap<&str, Results>,
    ) -> Result<Report<'a>> {
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        let mut rows = Vec::new();
        for program in programs {
            let mut row = Row {
                name: &program.name,
                skipped: program.skipped.as_deref(),
                results: BTreeMap::new(),
            };
            for name in &names {
                if let Some(ran) = results[name].get(&program.name) {
                    row.results.insert(name, ran);
                }
            }
            rows.push(row);
        }
        let strategies = columns.iter().filter(|c| c.module.is_some());
        let strategies: Vec<&str> = strategies.map(|c| c.name.as_str()).collect();
        let patched = columns.iter().find(|c| c.name == "unloaded");
        Ok(Report {
            kernel: match patched {
                Some(column) => column.kernel.release()?,
                None => String::new(),
            },
            changed: changed(&rows, &strategies),
            unfinished: unfinished(&rows),
            columns: names,
            programs: rows,
        })
    }

    fn table(&self) -> String {
        let width = self.programs.iter().map(|r| r.name.len()).max();
        let width = width.unwrap_or(0);
        let mut text = format!("{:width$}", "");
        for column in &self.columns {
            text += &format!("  {column:>8}");
        }
        text.push('\n');
        for row in &self.programs {
            text += &format!("{:width$}", row.name);
            for column in &self.columns {
                let word = match (row.results.get(column), row.skipped) {
                    (Some(ran), _) => ran.result.word(),
                    (None, Some(_)) => "not run",
                    (None, None) => "-",
                };
                text += &format!("  {word:>8}");
            }
            text.push('\n');
            for reason in row.reasons() {
                text += &format!("    {reason}\n");
            }
        }
        for column in &self.columns {
            let count = |verdict: Verdict| {
                let of = |row: &&Row| row.results.get(column).map(|r| r.result) == Some(verdict);
                self.programs.iter().filter(of).count()
            };
            let rest = self.programs.len()
                - count(Verdict::Pass)
                - count(Verdict::Skip)
                - self.programs.iter().filter(|r| r.skipped.is_some()).count();
            text += &format!(
                "{column}: {} passed, {} skipped themselves, {rest} others\n",
                count(Verdict::Pass),
                count(Verdict::Skip)
            );
        }
        text += &match self.changed.as_slice() {
            [] => "No strategy changes the result of any program.".to_owned(),
            changed => format!(
                "{} results are not as without the module: {}.",
                changed.len(),
                changed.join(", ")
            ),
        };
        if !self.unfinished.is_empty() {
            text += &format!(
                "\n{} came to no result: {}. Give them what they need in {LIMITS}, or skip them there \
                 and say why.",
                self.unfinished.len(),
                self.unfinished.join(", ")
            );
        }
        text
    }
}

impl Row<'_> {
    /// What the programs said of results that are not "pass", each once.
    fn reasons(&self) -> Vec<String> {
        let mut found: Vec<String> = self.skipped.iter().map(|s| (*s).to_owned()).collect();
        for ran in self.results.values().filter(|r| !r.said.is_empty()) {
            let reason = format!("{}: {}", ran.result.word(), ran.said);
            if !found.contains(&reason) {
                found.push(reason);
            }
        }
        found
    }
}

/// The results with a strategy that are not the ones without the module.
fn changed(rows: &[Row], strategies: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows.iter().filter(|r| r.skipped.is_none()) {
        for strategy in strategies {
            let same = match (row.results.get("unloaded"), row.results.get(strategy)) {
                (Some(without), Some(with)) => with.same(without),
                _ => false,
            };
            if !same {
                found.push(format!("{}: {strategy}", row.name));
            }
        }
    }
    found
}

/// The results that say nothing of the program.
fn unfinished(rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows {
        for (kernel, ran) in &row.results {
            if !matches!(ran.result, Verdict::Pass | Verdict::Fail | Verdict::Skip) {
                found.push(format!("{}: {kernel}", row.name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: Option<i32>, output: &[&str], splats: &[&str]) -> Seen {
        Seen {
            began: true,
            status,
            output: output.iter().map(|l| (*l).to_owned()).collect(),
            splats: splats.iter().map(|l| (*l).to_owned()).collect(),
        }
    }

    fn ran(status: i32, output: &[&str]) -> Ran {
        Ran::new(&seen(Some(status), output, &[]), None, 1.0, "p")
    }

    #[test]
    fn results_are_told_apart() {
        let of = |seen: &Seen, end: Option<&End>| Ran::new(seen, end, 0.0, "p").result;
        assert_eq!(of(&seen(Some(0), &[], &[]), None), Verdict::Pass);
        assert_eq!(of(&seen(Some(4), &[], &[]), None), Verdict::Skip);
        assert_eq!(of(&seen(Some(137), &[], &[]), None), Verdict::Timeout);
        assert_eq!(of(&seen(Some(254), &[], &[]), None), Verdict::Fail);
        assert_eq!(of(&seen(Some(0), &[], &["BUG: x"]), None), Verdict::Splat);
        let cut = seen(None, &[], &[]);
        assert_eq!(of(&cut, Some(&End::Panic)), Verdict::Crash);
        assert_eq!(of(&cut, Some(&End::Silent)), Verdict::Hang);
        assert_eq!(of(&cut, Some(&End::Died)), Verdict::Hang);
    }

    #[test]
    fn a_program_explains_itself_by_its_last_line() {
        let skip = ran(4, &["1..0 # SKIP - Requirement not met: x", "", "bye"]);
        assert_eq!(skip.said, "1..0 # SKIP - Requirement not met: x");
        let fail = ran(
            1,
            &["ok 1 a", "  Unexpected exit reason", "# Totals: pass:1"],
        );
        assert_eq!(fail.said, "Unexpected exit reason");
        assert_eq!(ran(0, &["whatever"]).said, "");
    }

    #[test]
    fn results_are_the_same_if_all_their_parts_are() {
        let one = ran(0, &["TAP version 13", "ok 1 a", "ok 2 b"]);
        assert_eq!(one.parts, ["ok a", "ok b"]);
        assert!(one.same(&ran(0, &["ok 1 a", "noise", "ok 2 b"])));
        assert!(!one.same(&ran(0, &["ok 1 a"])));
        assert!(!one.same(&ran(1, &["ok 1 a", "ok 2 b"])));
        assert!(!ran(1, &["not ok 1 a"]).same(&ran(1, &["not ok 1 b"])));
    }

    #[test]
    fn a_result_that_differs_or_is_missing_is_a_change() {
        let (pass, fail) = (ran(0, &[]), ran(1, &[]));
        let row = |name, lazy: Option<&'static Ran>, without| Row {
            name,
            skipped: None,
            results: lazy
                .map(|r| ("lazy", r))
                .into_iter()
                .chain([("unloaded", without)])
                .collect(),
        };
        let (pass, fail): (&'static Ran, &'static Ran) =
            (Box::leak(Box::new(pass)), Box::leak(Box::new(fail)));
        let rows = [
            row("same", Some(pass), pass),
            row("same failure", Some(fail), fail),
            row("worse", Some(fail), pass),
            row("better", Some(pass), fail),
            row("missing", None, pass),
        ];
        assert_eq!(
            changed(&rows, &["lazy"]),
            ["worse: lazy", "better: lazy", "missing: lazy"]
        );
        assert!(changed(&rows, &[]).is_empty());
        assert!(unfinished(&rows).is_empty());
    }

    #[test]
    fn a_program_that_says_nothing_is_not_the_same_as_one_that_passes() {
        let hung: &'static Ran = Box::leak(Box::new(ran(137, &[])));
        let row = Row {
            name: "slow",
            skipped: None,
            results: [("unloaded", hung), ("lazy", hung)].into(),
        };
        assert!(changed(std::slice::from_ref(&row), &["lazy"]).is_empty());
        assert_eq!(unfinished(&[row]), ["slow: lazy", "slow: unloaded"]);
    }

    #[test]
    fn the_limits_in_the_repository_parse() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/upstream.toml");
        let limits = Limits::read(&path).unwrap();
        assert!(limits.skip.iter().all(|p| !p.why.is_empty()));
        assert_eq!(limits.unknown(&[]).len(), limits.skip.len());
    }

    #[test]
    fn the_kernel_tree_s_list_is_read() {
        let emitted = "make: Entering\nkvm:amx_test\nkvm:nx_huge_pages_test.sh\n";
        assert_eq!(tests(emitted), ["amx_test", "nx_huge_pages_test.sh"]);
    }

    #[test]
    fn time_is_the_machine_s() {
        let mut clock = Clock::default();
        clock.line("[   12.50] lab: test a");
        clock.line("[   13.00] lab: end b");
        clock.line("[   14.75] lab: end a");
        assert_eq!((clock.of("a"), clock.of("b")), (2.3, 0.0));
    }
}
