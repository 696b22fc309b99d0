// SPDX-License-Identifier: GPL-2.0
//! `lab check`: every test, on this machine and in emulated ones, as KTAP on stdout and as
//! build/report/check.json (check-debug.json for the debug kernel).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::failure;
use crate::base::interrupt;
use crate::base::layout::Lab;
use crate::base::parallel::side_by_side;
use crate::build::emulator::{self, Emulator};
use crate::build::kernel::{self, Kernel};
use crate::build::kmod;
use crate::build::module;
use crate::build::packages;
use crate::build::plan::{self, Product};
use crate::build::selftests;
use crate::commands::boot::{workaround_parameters, workarounds};
use crate::machine::{self, Machine};
use crate::tests::host;
use crate::tests::list::{self, EmulatorName, Group, Guest, List, ModuleName};
use crate::tests::verdict::{Results, Verdict};
use crate::tests::watch::Watch;

#[derive(clap::Args)]
pub struct Options {
    /// Only tests whose names contain one of these words
    only: Vec<String>,
    /// Leave the emulated machines out
    #[arg(long)]
    host: bool,
    /// On the debug kernel instead of the release ones: all that runs on the patched kernel
    #[arg(long, conflicts_with = "host")]
    debug: bool,
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
    machines.retain(|group, tests| {
        !tests.is_empty() && (group.kernel == kernel::Kind::Debug) == options.debug
    });
    let mut on_host = match options.debug {
        true => Vec::new(),
        false => host::tests(lab)?,
    };
    on_host.retain(|t| selected(options, &t.name) && !(options.host && t.measures));

    // What cannot be built is one clear failure, not a list of tests that did not run.
    plan::build(lab, machines.keys().flat_map(products))?;
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
            Err(error) => {
                interrupt::check()?;
                let why = failure::explain(&error);
                (Verdict::Failed, why.lines().map(str::to_owned).collect())
            }
        };
        results.add(&test.name, verdict, &diagnostics);
    }
    lab.unlock();
    let mut jobs: Vec<_> = machines.iter().zip(&composed).collect();
    // The longest first, so that no long one is left over for the end.
    jobs.sort_by_key(|((_, tests), _)| {
        std::cmp::Reverse(tests.iter().map(|t| t.timeout).sum::<u64>())
    });
    for ended in side_by_side(&lab.jobs, &jobs, |((group, tests), (machine, dir))| {
        in_machine(group, tests, machine, dir, &results)
    }) {
        ended?;
    }
    let report = match options.debug {
        true => "check-debug.json",
        false => "check.json",
    };
    // That of a few tests would pass for that of all.
    let whole = options.only.is_empty() && !options.host;
    results.finish(lab, whole.then_some(report))
}

/// What [`prepare`] wants of the builds.
fn products(group: &Group) -> Vec<Product> {
    let (emulator, shipped) = match group.emulator {
        EmulatorName::Unpatched => (Emulator::Unpatched, None),
        EmulatorName::Patched => {
            let kernel = match group.kernel {
                kernel::Kind::Stock => kernel::Kind::Patched,
                kernel => kernel,
            };
            let shipped = Product::Module(kernel, module::Kind::Shipped);
            (Emulator::Patched, Some(shipped))
        }
    };
    let module = match (group.kernel, group.module) {
        (kernel::Kind::Stock, _) => None,
        (kernel, ModuleName::Module) => Some(Product::Module(kernel, module::Kind::Shipped)),
        (kernel, ModuleName::ModuleBroken) => Some(Product::Module(kernel, module::Kind::Broken)),
    };
    let mut products = vec![
        Product::Emulator(emulator),
        Product::Kmod(group.kernel),
        Product::Selftests,
    ];
    products.extend(module.into_iter().chain(shipped));
    products
}

/// A machine's directory, with all that it needs built.
fn prepare(lab: &Lab, group: &Group, tests: &[Guest]) -> Result<(Machine, PathBuf)> {
    let unpatched = group.emulator == EmulatorName::Unpatched;
    let kernel = kernel::build(lab, group.kernel)?;
    let module = match (group.kernel, group.module) {
        (kernel::Kind::Stock, _) => None,
        (_, ModuleName::Module) => Some(module::build(lab, &kernel, module::Kind::Shipped)?),
        (_, ModuleName::ModuleBroken) => Some(module::build(lab, &kernel, module::Kind::Broken)?),
    };
    // Where the shipped module is not the machine's own, tests may want it all the same: to see it
    // refused by the unpatched kernel, or beside another provider.
    let own = module.is_some() && group.module == ModuleName::Module;
    let mut added = Vec::new();
    if !unpatched && !own {
        let patched = match group.kernel {
            kernel::Kind::Stock => kernel::build(lab, kernel::Kind::Patched)?,
            _ => kernel.clone(),
        };
        added.push(module::build(lab, &patched, module::Kind::Shipped)?);
    }
    compose(
        lab,
        &format!("check-{}", group.name()),
        group,
        tests,
        (kernel, module),
        added,
    )
}

/// The machine of a group's tests, with this kernel and module, composed.
pub fn compose(
    lab: &Lab,
    name: &str,
    group: &Group,
    tests: &[Guest],
    (kernel, module): (Kernel, Option<PathBuf>),
    mut added: Vec<PathBuf>,
) -> Result<(Machine, PathBuf)> {
    added.extend(kmod::build(lab, &kernel)?);
    let unpatched = group.emulator == EmulatorName::Unpatched;
    let emulator = emulator::build(
        lab,
        if unpatched {
            Emulator::Unpatched
        } else {
            Emulator::Patched
        },
    )?;
    let programs = selftests::programs(&selftests::build(lab)?)?;
    let longest = tests.iter().map(|t| t.timeout).max().unwrap_or(0);
    let sum: u64 = tests.iter().map(|t| t.timeout).sum();
    let machine = Machine {
        name: file_name(name),
        emulator,
        kernel,
        module,
        strategy: None,
        programs,
        added,
        cpus: group.cpus,
        memory: 1024,
        parameters: workaround_parameters(unpatched, &group.params),
        without: workarounds(unpatched, &group.without),
        command: list::script(tests),
        timeout: Duration::from_secs((120 + sum).clamp(300, 3600)),
        silence: Duration::from_secs((60 + longest).max(180)),
    };
    let dir = machine::compose(lab, &machine)?;
    Ok((machine, dir))
}

/// A name as a directory can have it.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect::<String>()
        .replace("--", "-")
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
