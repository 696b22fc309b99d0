// SPDX-License-Identifier: GPL-2.0
//! `lab check`: every test, on this machine and in emulated ones, as KTAP on stdout and as
//! build/report/check.json.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::boot::workarounds;
use crate::emulator;
use crate::failure;
use crate::host;
use crate::kernel;
use crate::layout::Lab;
use crate::list::{self, EmulatorName, Group, Guest, List, ModuleName};
use crate::machine::{self, Machine};
use crate::module;
use crate::packages;
use crate::run::two_at_a_time;
use crate::selftests;
use crate::verdict::{Results, Verdict};
use crate::watch::Watch;

#[derive(clap::Args)]
pub struct Options {
    /// Only tests whose names contain one of these words
    only: Vec<String>,
    /// Leave the emulated machines out
    #[arg(long)]
    host: bool,
}

fn selected(options: &Options, name: &str) -> bool {
    options.only.is_empty() || options.only.iter().any(|word| name.contains(word.as_str()))
}

pub fn run(lab: &Lab, options: &Options) -> Result<bool> {
    lab.lock()?;
    packages::setup(lab)?;
    let mut machines = match options.host {
        true => BTreeMap::new(),
        false => list::machines(&List::read(&lab.at("selftests/list.toml"))?),
    };
    for tests in machines.values_mut() {
        tests.retain(|t| selected(options, &t.id));
    }
    machines.retain(|_, tests| !tests.is_empty());
    let mut on_host = host::tests(lab)?;
    on_host.retain(|t| selected(options, &t.name));

    // What cannot be built is one clear failure, not a list of tests that did not run.
    let composed = machines
        .iter()
        .map(|(group, tests)| prepare(lab, group, tests))
        .collect::<Result<Vec<_>>>()?;
    let loads: usize = machines
        .values()
        .map(|tests| list::strategies(tests).len())
        .sum();
    let guests: usize = machines.values().map(Vec::len).sum();
    let boots = machines.keys().filter(|g| g.alone.is_none()).count();
    let results = Results::begin(on_host.len() + guests + boots + loads);
    for test in on_host {
        let (verdict, diagnostics) = match (test.work)(lab) {
            Ok(()) => (Verdict::Passed, Vec::new()),
            Err(error)
                if error
                    .chain()
                    .any(|c| c.is::<crate::interrupt::Interrupted>()) =>
            {
                return Err(error)
            }
            Err(error) => (
                Verdict::Failed,
                failure::explain(&error)
                    .lines()
                    .map(str::to_owned)
                    .collect(),
            ),
        };
        results.add(&test.name, verdict, &diagnostics);
    }
    lab.unlock();
    let jobs: Vec<_> = machines.iter().zip(&composed).collect();
    for ended in two_at_a_time(&jobs, |((group, tests), (machine, dir))| {
        in_machine(group, tests, machine, dir, &results)
    }) {
        ended?;
    }
    results.finish(lab)
}

/// A machine's directory, with all that it needs built.
fn prepare(lab: &Lab, group: &Group, tests: &[Guest]) -> Result<(Machine, PathBuf)> {
    let unpatched = group.emulator == EmulatorName::Unpatched;
    let emulator = emulator::build(
        lab,
        if unpatched {
            emulator::Kind::Unpatched
        } else {
            emulator::Kind::Patched
        },
    )?;
    let kernel = kernel::build(
        lab,
        if group.stock {
            kernel::Kind::Stock
        } else {
            kernel::Kind::Patched
        },
    )?;
    let module = match (group.stock, group.module) {
        (true, _) => None,
        (_, ModuleName::Module) => Some(module::build(lab, &kernel, module::Kind::Shipped)?),
        (_, ModuleName::ModuleBroken) => Some(module::build(lab, &kernel, module::Kind::Broken)?),
    };
    // Where the shipped module is not the machine's own, tests may want it all the same: to see it
    // refused by the unpatched kernel, or beside another provider.
    let own = module.as_ref().and_then(|m| m.file_name());
    let mut added = Vec::new();
    if !unpatched && own != Some(OsStr::new("xfd_switch.ko")) {
        let patched = kernel::build(lab, kernel::Kind::Patched)?;
        added.push(module::build(lab, &patched, module::Kind::Shipped)?);
    }
    let programs = selftests::programs(&selftests::build(lab)?)?;
    let longest = tests.iter().map(|t| t.entry.timeout).max().unwrap_or(0);
    let sum: u64 = tests.iter().map(|t| t.entry.timeout).sum();
    let name: String = group
        .name()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect::<String>()
        .replace("--", "-");
    let machine = Machine {
        name: format!("check-{name}"),
        emulator,
        kernel,
        module,
        strategy: None,
        programs,
        added,
        cpus: group.cpus,
        memory: 1024,
        parameters: group.params.clone(),
        without: workarounds(unpatched, &group.without),
        kvm_intel: if unpatched {
            "enable_apicv=0".into()
        } else {
            String::new()
        },
        command: list::script(tests),
        timeout: Duration::from_secs((120 + sum).clamp(300, 1500)),
        silence: Duration::from_secs((60 + longest).max(180)),
    };
    let dir = machine::compose(lab, &machine)?;
    Ok((machine, dir))
}

/// Runs a machine and reports its tests, each as soon as both serial lines have told its end.
fn in_machine(
    group: &Group,
    tests: &[Guest],
    machine: &Machine,
    dir: &Path,
    results: &Results,
) -> Result<()> {
    let mut watch = Watch::new(tests);
    let outcome = machine::run(machine, dir, &mut |told| {
        for (test, verdict, diagnostics) in watch.told(told) {
            results.add(&test, verdict, &diagnostics);
        }
    })?;
    for (test, verdict, diagnostics) in watch.finish(&outcome, group) {
        results.add(&test, verdict, &diagnostics);
    }
    Ok(())
}
