// SPDX-License-Identifier: GPL-2.0
//! `lab run`: builds everything, measures stock, unloaded and every strategy in four machines,
//! and reports.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files::write_json;
use crate::base::layout::Lab;
use crate::base::parallel::side_by_side;
use crate::base::step::Step;
use crate::build::emulator::{self, Emulator};
use crate::build::kernel;
use crate::build::module;
use crate::build::packages;
use crate::build::plan::{self, Product};
use crate::build::selftests;
use crate::machine::console::Lines;
use crate::machine::run::{self as machine, Machine, Outcome, Told};
use crate::measure::report::Collection;
use crate::measure::strategies::strategies;
use crate::measure::table;

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
                "xfd_measure states || exit 1\nxfd_measure vcpus || exit 1\nslab_bytes\n"
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

/// What came of one machine.
struct Measured {
    lines: Vec<(Option<String>, String)>,
    failed: Vec<String>,
    outcome: Outcome,
}

fn measure(machine: &Machine, dir: &Path) -> Result<Measured> {
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
    Ok(Measured {
        lines,
        failed,
        outcome,
    })
}

pub fn run(lab: &Lab) -> Result<()> {
    let began = Instant::now();
    lab.lock()?;
    packages::setup(lab)?;
    plan::build(
        lab,
        [
            Product::Emulator(Emulator::Patched),
            Product::StockKernel,
            Product::Module(kernel::Kind::Patched, module::Kind::Shipped),
            Product::Selftests,
        ],
    )?;
    let emulator = emulator::build(lab, Emulator::Patched)?;
    let stock = kernel::build(lab, kernel::Kind::Stock)?;
    let patched = kernel::build(lab, kernel::Kind::Patched)?;
    let module = module::build(lab, &patched, module::Kind::Shipped)?;
    let programs = selftests::programs(&selftests::build(lab)?)?;
    let measure_only: Vec<PathBuf> = programs
        .into_iter()
        .filter(|p| p.ends_with("xfd_measure"))
        .collect();
    let strategies = strategies(lab)?;

    let mut machines = Vec::new();
    // The longest first.
    for (name, kernel, list) in [
        ("patched", &patched, &strategies[..]),
        ("stock", &stock, &[][..]),
    ] {
        for part in [Part::States, Part::Loss] {
            let first = if name == "stock" { "stock" } else { "unloaded" };
            machines.push(Machine {
                name: format!("run-{name}-{}", part.word()),
                emulator: emulator.clone(),
                kernel: kernel.clone(),
                module: (name == "patched").then(|| module.clone()),
                strategy: None,
                programs: measure_only.clone(),
                added: Vec::new(),
                cpus: part.cpus(),
                memory: 1024,
                parameters: String::new(),
                without: String::new(),
                command: script(first, list, part),
                timeout: Duration::from_secs(600),
                silence: Duration::from_secs(180),
            });
        }
    }
    let mut dirs = Vec::new();
    for machine in &machines {
        dirs.push(machine::compose(lab, machine)?);
    }
    lab.unlock();

    let step = Step::begin(lab, "run", "measuring in four machines")?;
    let jobs: Vec<_> = machines.iter().zip(&dirs).collect();
    let results = side_by_side(&lab.jobs, &jobs, |(machine, dir)| measure(machine, dir));
    let mut all = Collection::default();
    for ((machine, _), result) in jobs.iter().zip(results) {
        let measured = result?;
        collect(machine, measured, &mut all)?;
    }
    step.done();

    let mut wanted = vec!["stock".to_owned(), "unloaded".to_owned()];
    wanted.extend(strategies);
    let report = all.report(patched.release()?, &wanted)?;
    let path = lab.at("build/report/run.json");
    write_json(&path, &report)?;
    println!("{}\n{}\n", table::tables(&report), report.words());
    for goal in &report.goals {
        println!(
            "goal: {}: {}",
            goal.goal,
            if goal.met { "met" } else { "NOT MET" }
        );
    }
    eprintln!(
        "lab: {} is written; {:.0} s in all",
        lab.shown(&path),
        began.elapsed().as_secs_f64()
    );
    let missed: Vec<_> = report.goals.iter().filter(|g| !g.met).collect();
    if missed.is_empty() {
        return Ok(());
    }
    let why = missed.iter().flat_map(|g| {
        let failures = g.failures.iter().map(|f| format!("  {f}"));
        [format!("{}:", g.goal)].into_iter().chain(failures)
    });
    Err(Failure::new("goals are not met")
        .details(why)
        .next("the goals are in lab/src/goals.rs; the figures are above")
        .into())
}

fn collect(machine: &Machine, measured: Measured, all: &mut Collection) -> Result<()> {
    use crate::machine::run::End;
    let name = &machine.name;
    if let Some(failure) = measured.outcome.failure() {
        return Err(anyhow::Error::from(failure).context(format!("measuring in {name}")));
    }
    let output: Vec<String> = measured
        .lines
        .iter()
        .map(|(_, line)| line.clone())
        .collect();
    let tail = output[output.len().saturating_sub(10)..].to_vec();
    if measured.outcome.end != End::Exit(0) || !measured.failed.is_empty() {
        return Err(Failure::new(format!("the measurement failed in {name}"))
            .details(measured.failed)
            .details(tail)
            .log(&measured.outcome.dir.join("output.log"))
            .next("its console.log lies beside it; `lab boot` repeats a single command")
            .into());
    }
    if !measured.outcome.splats.is_empty() {
        return Err(Failure::new(format!(
            "the kernel complained while it was measured in {name}"
        ))
        .details(measured.outcome.splats)
        .log(&measured.outcome.console)
        .next("figures of a broken run are worth nothing: mend what the console shows")
        .into());
    }
    for (label, line) in &measured.lines {
        all.line(label.as_deref(), line)?;
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
        assert_eq!(text.matches("xfd_measure vcpus || exit 1").count(), 2);
    }
}
