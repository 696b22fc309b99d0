// SPDX-License-Identifier: GPL-2.0
//! The measurement itself: stock, minimal, the patched kernel without the module, and every strategy,
//! in six machines, two at a time; and whether the last one still holds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files::{self, write_json};
use crate::base::layout::Lab;
use crate::base::parallel::side_by_side;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::emulator::{self, Emulator};
use crate::build::kernel::{self, Kernel};
use crate::build::module;
use crate::build::packages;
use crate::build::plan::{self, Product};
use crate::build::selftests;
use crate::build::source;
use crate::machine::console::Lines;
use crate::machine::{self, End, Machine, Outcome, Told};
use crate::measure::collection::Collection;
use crate::measure::goals;
use crate::measure::report::{Report, WITHOUT_MODULE};
use crate::measure::strategies::strategies;

/// What is measured, and with what.
pub struct Subject {
    pub emulator: PathBuf,
    pub stock: Kernel,
    pub minimal: Kernel,
    pub patched: Kernel,
    pub module: PathBuf,
    /// xfd_measure
    pub program: PathBuf,
    pub strategies: Vec<String>,
    /// Of all the above, and of the lab, which says what is run.
    print: String,
}

/// What a machine measures: its exit counts need one CPU, migration needs two.
#[derive(Clone, Copy)]
enum Part {
    States,
    Loss,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::States => "states",
            Part::Loss => "loss",
        }
    }

    fn measure(self) -> &'static str {
        match self {
            Part::States => {
                "xfd_measure states || exit 1\nxfd_measure nested || exit 1\n\
                 xfd_measure vcpus || exit 1\nslab_bytes\n"
            }
            Part::Loss => "xfd_measure loss || exit 1\n",
        }
    }

    fn cpus(self) -> u32 {
        match self {
            Part::States => 1,
            Part::Loss => 2,
        }
    }
}

/// Sizes of slab objects, and what the module says that it takes, as the selftests would print them.
const BYTES: &str = r##"
slab_bytes() {
	awk '{ size[$1] = $4 } END {
		printf "#XFD {\"bytes_per_vcpu\":{\"kvm_vcpu\":%d,\"task_struct\":%d}}\n",
			size["kvm_vcpu"], size["task_struct"]
	}' /proc/slabinfo
}
module_bytes() {
	dmesg | grep 'xfd_switch: strategy' | tail -n 1 |
		sed -n 's/.* \([0-9]*\) bytes per vCPU.*/#XFD {"bytes_per_vcpu":{"module":\1}}/p'
}
"##;

/// The stamp that says what run.json was measured of.
const STAMP: &str = "run";

/// Where the last measurement lies.
pub fn path(lab: &Lab) -> PathBuf {
    lab.at("build/report/run.json")
}

/// Builds what is to be measured, measures it and writes run.json. The goals are judged; one that
/// is missed is no error here. Takes the lab's lock to build, and has let go of it when it returns.
pub fn measured(lab: &Lab) -> Result<Report> {
    let subject = subject(lab)?;
    stamp::forget(lab, STAMP)?;
    let mut machines = machines(&subject).into_iter();
    let jobs = machines.try_fold(Vec::new(), |mut jobs, machine| {
        let dir = machine::compose(lab, &machine)?;
        jobs.push((machine, dir));
        anyhow::Ok(jobs)
    })?;
    lab.unlock();

    let step = Step::begin(lab, "run", "measuring in six machines, two at a time")?;
    let mut all = Collection::default();
    for result in side_by_side(&lab.jobs, &jobs, |(machine, dir)| measure(machine, dir)) {
        for (label, line) in result? {
            all.line(label.as_deref(), &line)?;
        }
    }
    step.done();

    let without = WITHOUT_MODULE.map(str::to_owned);
    let wanted: Vec<String> = without.into_iter().chain(subject.strategies).collect();
    let strategies = all.figures(&wanted)?;
    let report = Report {
        kernel: subject.patched.release()?,
        kernel_source: source::kernel_name(lab)?,
        goals: goals::judge(&strategies),
        strategies,
    };
    write_json(&path(lab), &report)?;
    stamp::record(lab, STAMP, &subject.print)?;
    Ok(report)
}

/// The last measurement, if it is one of what would be measured now. Takes the lab's lock and
/// builds, as [`measured`] does, since what is not built cannot be compared; keeps the lock.
pub fn current(lab: &Lab) -> Result<Option<Report>> {
    let subject = subject(lab)?;
    if !stamp::fresh(lab, STAMP, &subject.print, &[&path(lab)]) {
        return Ok(None);
    }
    last(lab)
}

/// The last measurement, whatever it is of, if there is one.
pub fn last(lab: &Lab) -> Result<Option<Report>> {
    let path = path(lab);
    if !path.exists() {
        return Ok(None);
    }
    let report = serde_json::from_str(&files::text(&path)?).map_err(|error| {
        Failure::new(format!("{} is no report: {error}", lab.shown(&path)))
            .next("`make run` writes it anew")
    })?;
    Ok(Some(report))
}

/// Builds what is to be measured; takes the lab's lock, and keeps it.
pub fn subject(lab: &Lab) -> Result<Subject> {
    lab.lock()?;
    packages::setup(lab)?;
    plan::build(
        lab,
        [
            Product::Emulator(Emulator::Patched),
            Product::MinimalKernel,
            Product::Module(kernel::Kind::Patched, module::Kind::Shipped),
            Product::Selftests,
        ],
    )?;
    let emulator = emulator::build(lab, Emulator::Patched)?;
    let stock = kernel::build(lab, kernel::Kind::Stock)?;
    let minimal = kernel::build(lab, kernel::Kind::Minimal)?;
    let patched = kernel::build(lab, kernel::Kind::Patched)?;
    let module = module::build(lab, &patched, module::Kind::Shipped)?;
    let program = selftests::build(lab)?.join("xfd_measure");
    let mut print = Fingerprint::new("run")
        .file(&emulator)?
        .file(&module)?
        .file(&program)?
        .tree(&lab.at("lab/guest"))?
        .file(Path::new("/proc/self/exe"))?;
    for kernel in [&stock, &minimal, &patched] {
        print = print.file(&kernel.image())?;
        for module in kernel.modules()? {
            print = print.file(&module)?;
        }
    }
    let strategies = strategies(lab)?;
    Ok(Subject {
        print: print.text("strategies", &strategies.join(" ")).finish(),
        emulator,
        stock,
        minimal,
        patched,
        module,
        program,
        strategies,
    })
}

/// The longest first.
fn machines(subject: &Subject) -> Vec<Machine> {
    let mut machines = Vec::new();
    for (name, first, kernel, module, list) in [
        (
            "patched",
            "unloaded",
            &subject.patched,
            Some(&subject.module),
            &subject.strategies[..],
        ),
        ("stock", "stock", &subject.stock, None, &[]),
        ("minimal", "minimal", &subject.minimal, None, &[]),
    ] {
        for part in [Part::States, Part::Loss] {
            let name = format!("run-{name}-{}", part.word());
            machines.push(Machine {
                module: module.cloned(),
                programs: vec![subject.program.clone()],
                cpus: part.cpus(),
                command: script(first, list, part),
                timeout: Duration::from_secs(600),
                ..Machine::new(name, &subject.emulator, kernel)
            });
        }
    }
    machines
}

/// The script of a machine: without the module first, then load, measure, unload for each strategy.
fn script(first: &str, strategies: &[String], part: Part) -> String {
    let mut text = format!(". /etc/lab.sh\n{BYTES}lab_label {first}\n");
    text += part.measure();
    for strategy in strategies {
        text += &format!("lab_label {strategy}\n");
        text += &match part {
            // VMs that are older than the module must not notice it.
            Part::States => format!(
                "xfd_measure older '. /etc/lab.sh; lab_load {strategy}' || exit 1\nmodule_bytes\n"
            ),
            Part::Loss => format!("lab_load {strategy} || exit 1\n"),
        };
        text += part.measure();
        text += "lab_unload || exit 1\n";
    }
    text
}

/// A line of a machine's output, and the label that it has.
pub type Labelled = (Option<String>, String);

/// What one machine said; its run is worth something only if nothing whatever went wrong.
pub fn measure(machine: &Machine, dir: &Path) -> Result<Vec<Labelled>> {
    let mut label = None;
    let mut cut = Lines::default();
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    let outcome = machine::run(machine, dir, &mut |told| match told {
        Told::Output(bytes) => {
            lines.extend(cut.feed(bytes).into_iter().map(|l| (label.clone(), l)))
        }
        Told::Mark(mark) => {
            if let Some(name) = mark.strip_prefix("label ") {
                label = Some(name.to_owned());
            } else if let Some(words) = mark.strip_prefix("failed ") {
                failed.push(words.to_owned());
            }
        }
        Told::Console(..) => {}
    })?;
    lines.extend(cut.rest().map(|l| (label.clone(), l)));
    whole(&machine.name, outcome, failed, &lines)?;
    Ok(lines)
}

fn whole(name: &str, outcome: Outcome, failed: Vec<String>, lines: &[Labelled]) -> Result<()> {
    if let Some(failure) = outcome.failure() {
        return Err(anyhow::Error::from(failure).context(format!("measuring in {name}")));
    }
    if outcome.end != End::Exit(0) || !failed.is_empty() {
        let tail = &lines[lines.len().saturating_sub(10)..];
        return Err(Failure::new(format!("the measurement failed in {name}"))
            .details(failed)
            .details(tail.iter().map(|(_, line)| line.clone()))
            .log(&outcome.dir.join("output.log"))
            .next("its console.log lies beside it; `lab boot` repeats a single command")
            .into());
    }
    if !outcome.splats.is_empty() {
        return Err(Failure::new(format!(
            "the kernel complained while it was measured in {name}"
        ))
        .details(outcome.splats)
        .log(&outcome.console)
        .next("figures of a broken run are worth nothing: mend what the console shows")
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_is_loaded_labelled_measured_and_unloaded() {
        let text = script("unloaded", &["xinuse".into()], Part::Loss);
        let words: Vec<&str> = text.lines().skip_while(|l| *l != "}").collect();
        let words: Vec<&str> = words.into_iter().rev().take(6).rev().collect();
        assert_eq!(
            words,
            [
                "lab_label unloaded",
                "xfd_measure loss || exit 1",
                "lab_label xinuse",
                "lab_load xinuse || exit 1",
                "xfd_measure loss || exit 1",
                "lab_unload || exit 1"
            ]
        );
    }

    #[test]
    fn vms_older_than_the_module_are_there_before_it() {
        let text = script("unloaded", &["lazy".into()], Part::States);
        let at = |words: &str| text.find(words).unwrap();
        let older = at("xfd_measure older '. /etc/lab.sh; lab_load lazy' || exit 1");
        assert!(at("lab_label lazy") < older && older < at("\nmodule_bytes\n"));
        assert_eq!(text.matches("lab_load").count(), 1);
        assert_eq!(text.matches("xfd_measure states || exit 1").count(), 2);
        assert_eq!(text.matches("xfd_measure nested || exit 1").count(), 2);
        assert_eq!(text.matches("xfd_measure vcpus || exit 1").count(), 2);
    }
}
