// SPDX-License-Identifier: GPL-2.0
//! Tests in a machine: what the machine is made of, and its run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::base::{layout::Lab, stamp::Fingerprint};
use crate::build::{
    emulator::{self, Emulator},
    kernel::{self, Kernel, Kind},
    kmod, module,
    plan::{self, Product},
    selftests,
};
use crate::machine::{self, words, Machine, Outcome};
use crate::tests::{
    list::{script, Group, Test},
    results::Row,
    verdict::Seen,
    watch::Watch,
};

/// What the machine of a group is made of.
#[derive(Clone)]
pub struct Parts {
    pub emulator: PathBuf,
    pub kernel: Kernel,
    /// The machine's own, which a strategy loads.
    pub module: Option<PathBuf>,
    /// What is in its PATH.
    pub programs: Vec<PathBuf>,
    /// What is in /add.
    pub added: Vec<PathBuf>,
    /// How many of our seconds one of the machine's may take.
    pub pace: u64,
}

impl Parts {
    /// What machines of selftests/ are made of, built where it is missing; in the groups' order.
    pub fn build<'a>(
        lab: &Lab,
        groups: impl IntoIterator<Item = &'a Group> + Clone,
    ) -> Result<Vec<Parts>> {
        plan::build(lab, groups.clone().into_iter().flat_map(products))?;
        let parts = groups.into_iter().map(|group| Parts::built(lab, group));
        parts.collect()
    }

    /// What of them is built already.
    fn built(lab: &Lab, group: &Group) -> Result<Parts> {
        let kernel = kernel::build(lab, group.kernel)?;
        let module = match group.kernel.has_hooks() {
            false => None,
            true => Some(module::build(lab, &kernel, group.module)?),
        };
        let mut added = kmod::build(lab, &kernel)?;
        if shipped_beside(group) {
            let patched = kernel::build(lab, Kind::Patched)?;
            added.push(module::build(lab, &patched, module::Kind::Shipped)?);
        }
        Ok(Parts {
            emulator: emulator::build(lab, group.emulator)?,
            kernel,
            module,
            programs: selftests::programs(&selftests::build(lab)?)?,
            added,
            pace: 1,
        })
    }

    /// The fingerprint of all this.
    pub fn print(&self, lab: &Lab) -> Result<String> {
        let mut print = Fingerprint::new("parts")
            .text("made", include_str!("../machine/compose.rs"))
            .text(
                "made for the emulator",
                include_str!("../machine/bochsrc.rs"),
            )
            .tree(&lab.at("lab/guest"))?
            .file(&self.emulator)?
            .file(&self.kernel.image())?;
        let modules = self.kernel.modules()?;
        let own = modules.iter().chain(&self.module);
        for file in own.chain(&self.programs).chain(&self.added) {
            print = print.file(file)?;
        }
        Ok(print.finish())
    }
}

/// Whether a group's machine has the module of the patched kernel in /add: to see it refused.
fn shipped_beside(group: &Group) -> bool {
    group.emulator == Emulator::Patched && !group.kernel.has_hooks()
}

/// What [`Parts::built`] wants of the builds.
fn products(group: &Group) -> Vec<Product> {
    let mut products = vec![
        Product::Emulator(group.emulator),
        Product::Kmod(group.kernel),
        Product::Selftests,
    ];
    if group.kernel.has_hooks() {
        products.push(Product::Module(group.kernel, group.module));
    }
    if shipped_beside(group) {
        products.push(Product::Module(Kind::Patched, module::Kind::Shipped));
    }
    products
}

/// The fingerprint of these tests in a machine with this one.
pub fn print_of(parts: &str, group: &Group, tests: &[Test]) -> Fingerprint {
    let wanted: Vec<_> = tests
        .iter()
        .map(|t| (t.entry.expect, t.entry.skips, &t.entry.oops, &t.entry.only))
        .collect();
    let wanted = format!("{wanted:?}");
    Fingerprint::new("session")
        .text("parts", parts)
        .text("group", &format!("{group:?}"))
        .text("script", &script(tests))
        .text("wanted", &wanted)
        .text("judged", include_str!("verdict.rs"))
        .text("complaints", include_str!("../machine/splats.rs"))
}

/// A composed machine with its tests.
pub struct Session {
    pub group: Group,
    pub tests: Vec<Test>,
    machine: Machine,
    dir: PathBuf,
}

impl Session {
    /// Composes the machine; the lab should be locked while it does.
    pub fn compose(
        lab: &Lab,
        name: &str,
        group: Group,
        tests: Vec<Test>,
        parts: &Parts,
    ) -> Result<Session> {
        let longest = tests.iter().map(|t| t.timeout).max().unwrap_or(0);
        let sum: u64 = tests.iter().map(|t| t.timeout).sum();
        let unpatched = group.emulator == Emulator::Unpatched;
        let seconds =
            |n: u64, least, most| Duration::from_secs((parts.pace * n).clamp(least, most));
        let machine = Machine {
            name: file_name(name),
            emulator: parts.emulator.clone(),
            kernel: parts.kernel.clone(),
            module: parts.module.clone(),
            strategy: None,
            programs: parts.programs.clone(),
            added: parts.added.clone(),
            cpus: group.cpus,
            memory: group.memory,
            parameters: words::parameters(unpatched, &group.params),
            without: words::lacking(unpatched, &group.without),
            command: script(&tests),
            timeout: seconds(120 + sum, 300, parts.pace * 3600),
            silence: seconds(60 + longest, 180, u64::MAX),
        };
        let dir = machine::compose(lab, &machine)?;
        Ok(Session {
            group,
            tests,
            machine,
            dir,
        })
    }

    /// How many results it will have.
    pub fn rows(&self) -> usize {
        let of_machine = match self.group.panics {
            true => 0,
            false => 1 + self.group.unloads(&self.tests).len(),
        };
        self.tests.len() + of_machine
    }

    /// The longest that its tests may take, in seconds of its clock.
    pub fn length(&self) -> u64 {
        self.tests.iter().map(|t| t.timeout).sum()
    }

    /// Runs the machine and tells each result as soon as it is known, with what was seen if it is a
    /// test's.
    pub fn run(&self, tell: &mut dyn FnMut(Row, Option<Seen>)) -> Result<Outcome> {
        let mut watch = Watch::new(&self.tests);
        let outcome = machine::run(&self.machine, &self.dir, &mut |told| {
            for (row, seen) in watch.told(told) {
                tell(row, seen);
            }
        })?;
        for (row, seen) in watch.finish(&outcome, &self.group) {
            tell(row, seen);
        }
        Ok(outcome)
    }
}

/// A name as a directory can have it.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect::<String>()
        .replace("--", "-")
}
