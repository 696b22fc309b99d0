// SPDX-License-Identifier: GPL-2.0
//! selftests/list.toml: which tests run in which machine, and the script that runs them there.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use crate::base::{failure::Failure, files, layout::Lab};
use crate::build::{emulator::Emulator, kernel::Kind, module};
use crate::machine::words::quoted;
use crate::measure::{
    report::{is_strategy, WITHOUT_MODULE},
    strategies,
};

/// selftests/list.toml, or a list that a command makes.
#[derive(Debug, Deserialize)]
pub struct List {
    pub test: Vec<Entry>,
}

/// Where the list is.
const LIST: &str = "selftests/list.toml";

/// In the place of a kernel: each strategy that the module has.
const STRATEGIES: &str = "strategies";

impl List {
    pub fn read(lab: &Lab) -> Result<List> {
        let list: List = files::toml(&lab.at(LIST))?;
        list.on(&strategies::strategies(lab)?)
    }

    /// The list of a module that has these strategies, if nothing is wrong with it.
    fn on(mut self, all: &[String]) -> Result<List> {
        for entry in &mut self.test {
            let wrong = |what: &str, next: &str| {
                let what = format!("{LIST}: \"{}\": {what}", entry.name);
                Err(Failure::new(what).next(next).into())
            };
            if let Some((what, next)) = entry.wrong() {
                return wrong(what, next);
            }
            let kernels = entry.kernels.iter().map(|on| match on == STRATEGIES {
                true => all,
                false => std::slice::from_ref(on),
            });
            let kernels = kernels.collect::<Vec<_>>().concat();
            let broken = entry.module == module::Kind::Broken;
            let known = |on: &String| {
                !is_strategy(on) || all.contains(on) || (broken && on == strategies::BROKEN)
            };
            if let Some(on) = kernels.iter().find(|on| !known(on)) {
                let next = format!(
                    "\"kernels\" has some of: {}, {STRATEGIES}, {}",
                    WITHOUT_MODULE.join(", "),
                    all.join(", ")
                );
                return wrong(&format!("there is no kernel or strategy \"{on}\""), &next);
            }
            entry.kernels = kernels;
        }
        Ok(self)
    }
}

/// What runs, on which kernels, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// For sh in the machine; the programs of selftests/ are in its PATH.
    pub command: String,
    /// "stock", "minimal", "unloaded", or a strategy to load on the patched kernel.
    pub kernels: Vec<String>,
    /// Whether what runs on the stock kernel runs on the minimal kernel as well.
    pub minimal: bool,
    /// Whether what runs on the patched kernel, and on the rt kernel, runs on the debug kernel as well.
    pub debug: bool,
    pub cpus: OneOrMore<u32>,
    /// In MiB.
    pub memory: u32,
    pub emulator: Emulator,
    pub expect: Expect,
    /// What the kernel's oops says, one of these in each complaint: before it panics as expected, or
    /// goes on.
    pub oops: OneOrMore<String>,
    /// Whether a part of it may be skipped.
    pub skips: bool,
    pub module: module::Kind,
    /// CPU features that the machine lacks.
    pub without: String,
    /// Kernel parameters of its machine.
    pub params: String,
    /// In seconds of the machine's own clock.
    pub timeout: u64,
    /// The only part of the command that runs, which must be among what it reports.
    #[serde(skip)]
    pub only: Option<String>,
}

/// What a machine has unless an entry says otherwise, in MiB.
const MEMORY: u32 = 1024;

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            name: String::new(),
            command: String::new(),
            kernels: Vec::new(),
            minimal: true,
            debug: true,
            cpus: OneOrMore::One(1),
            memory: MEMORY,
            emulator: Emulator::default(),
            expect: Expect::default(),
            oops: OneOrMore::More(Vec::new()),
            skips: false,
            module: module::Kind::default(),
            without: String::new(),
            params: String::new(),
            timeout: 120,
            only: None,
        }
    }
}

impl Entry {
    pub fn new(name: &str, command: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            command: command.to_owned(),
            ..Entry::default()
        }
    }

    /// The kernels that it runs on if it is to run on this one.
    fn on(&self, on: &str) -> &'static [Kind] {
        match (on, self.minimal, self.debug) {
            ("stock", true, _) => &[Kind::Stock, Kind::Minimal],
            ("stock", false, _) => &[Kind::Stock],
            ("minimal", ..) => &[Kind::Minimal],
            (.., true) => &[Kind::Patched, Kind::Debug, Kind::Rt, Kind::Coverage],
            (.., false) => &[Kind::Patched, Kind::Rt, Kind::Coverage],
        }
    }

    /// What is wrong with it, and how to mend that.
    fn wrong(&self) -> Option<(&str, &str)> {
        if self.name.is_empty() || self.command.is_empty() || self.kernels.is_empty() {
            return Some((
                "\"name\", \"command\" and \"kernels\" are needed",
                "say all three; the list's first lines explain them",
            ));
        }
        match (self.expect, self.oops.all().is_empty()) {
            (Expect::Crash, true) => Some((
                "\"crash\" needs \"oops\"",
                "say what the kernel's oops says",
            )),
            (Expect::Fail, false) => Some((
                "a test that must fail by itself has an \"oops\"",
                "leave it out, or say expect = \"crash\"",
            )),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    pub fn all(&self) -> &[T] {
        match self {
            OneOrMore::One(one) => std::slice::from_ref(one),
            OneOrMore::More(all) => all,
        }
    }
}

/// How many times longer a test may take on the debug kernel: lockdep makes what takes locks slow.
const DEBUG_PATIENCE: u64 = 3;
/// On the rt kernel: it, too, has checks, and its locks are slower.
const RT_PATIENCE: u64 = 2;
/// On the coverage kernel, which counts.
const COVERAGE_PATIENCE: u64 = 2;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    #[default]
    Pass,
    /// A negative control: a part of the test must fail.
    Fail,
    /// The kernel must panic.
    Crash,
}

/// Tests with the same value of this run in one machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub emulator: Emulator,
    pub kernel: Kind,
    pub cpus: u32,
    pub memory: u32,
    pub module: module::Kind,
    pub without: String,
    pub params: String,
    /// The only test of a machine whose kernel must oops.
    pub alone: Option<String>,
    /// Whether it must panic, and with it the machine comes to its end.
    pub panics: bool,
}

impl Group {
    pub fn name(&self) -> String {
        let mut name = format!("{} kernel, {}", self.kernel.name(), counted(self.cpus));
        if self.memory != MEMORY {
            name += &format!(", {} MiB", self.memory);
        }
        if self.emulator == Emulator::Unpatched {
            name += ", unpatched emulator";
        }
        if self.module == module::Kind::Broken {
            name += ", broken module";
        }
        let alone = self.alone.as_ref();
        for extra in [&self.without, &self.params].into_iter().chain(alone) {
            if !extra.is_empty() {
                name += &format!(", {extra}");
            }
        }
        name
    }

    /// The strategies of its tests that must be gone in the end: after an oops, VMs are left.
    pub fn unloads<'a>(&self, tests: impl IntoIterator<Item = &'a Test>) -> Vec<&'a str> {
        match self.alone {
            Some(_) => Vec::new(),
            None => strategies(tests),
        }
    }
}

fn counted(cpus: u32) -> String {
    format!("{cpus} CPU{}", if cpus == 1 { "" } else { "s" })
}

/// A test of one machine.
#[derive(Clone, Debug)]
pub struct Test {
    /// What the reports call it.
    pub id: String,
    /// What it runs on: "stock", "minimal", "unloaded" or a strategy.
    pub on: String,
    pub entry: Entry,
    /// In seconds of the machine's own clock.
    pub timeout: u64,
}

/// The machines that a list needs, with their tests.
pub fn machines(list: &List) -> BTreeMap<Group, Vec<Test>> {
    let mut all: BTreeMap<Group, Vec<Test>> = BTreeMap::new();
    for entry in &list.test {
        for on in &entry.kernels {
            for &kernel in entry.on(on) {
                let on = match kernel {
                    Kind::Minimal => kernel.name(),
                    _ => on,
                };
                for &cpus in entry.cpus.all() {
                    let (group, test) = Test::of(entry, on, kernel, cpus);
                    all.entry(group).or_default().push(test);
                }
            }
        }
    }
    all
}

impl Test {
    /// One run of an entry, and the machine that it belongs into.
    pub fn of(entry: &Entry, on: &str, kernel: Kind, cpus: u32) -> (Group, Test) {
        let mut id = format!("{}: {on}, {}", entry.name, counted(cpus));
        if kernel.is_checked_apart() {
            id += &format!(", {} kernel", kernel.name());
        }
        if entry.emulator == Emulator::Unpatched {
            id += ", unpatched emulator";
        }
        if entry.module == module::Kind::Broken {
            id += ", broken module";
        }
        if !entry.without.is_empty() {
            id += &format!(", without {}", entry.without);
        }
        id += match entry.expect {
            Expect::Pass => "",
            Expect::Fail => " (must fail)",
            Expect::Crash => " (must crash)",
        };
        let group = Group {
            emulator: entry.emulator,
            kernel,
            cpus,
            memory: entry.memory,
            module: entry.module,
            without: entry.without.clone(),
            params: entry.params.clone(),
            alone: (!entry.oops.all().is_empty()).then(|| id.clone()),
            panics: entry.expect == Expect::Crash,
        };
        let patience = match kernel {
            Kind::Debug => DEBUG_PATIENCE,
            Kind::Rt => RT_PATIENCE,
            Kind::Coverage => COVERAGE_PATIENCE,
            _ => 1,
        };
        let test = Test {
            id,
            on: on.to_owned(),
            entry: entry.clone(),
            timeout: entry.timeout * patience,
        };
        (group, test)
    }

    fn strategy(&self) -> Option<&str> {
        is_strategy(&self.on).then_some(&self.on)
    }
}

/// The strategies of a machine's tests, in the order in which the list names them.
pub fn strategies<'a>(tests: impl IntoIterator<Item = &'a Test>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for strategy in tests.into_iter().filter_map(Test::strategy) {
        if !found.contains(&strategy) {
            found.push(strategy);
        }
    }
    found
}

/// The machine's script: first what needs no module, then each strategy loaded, tested, unloaded.
/// A negative control, which may leave the kernel in a state that it has complained about, comes
/// after what must pass.
pub fn script(all: &[Test]) -> String {
    let mut tests: Vec<&Test> = all.iter().collect();
    tests.sort_by_key(|t| t.entry.expect != Expect::Pass);
    let lines = |strategy: Option<&str>| -> String {
        let of_it = tests.iter().filter(|t| t.strategy() == strategy);
        of_it
            .map(|t| {
                let (id, command) = (quoted(&t.id), quoted(&t.entry.command));
                let oops = match t.entry.oops.all().is_empty() {
                    true => "",
                    false => "lab_expect_oops\n",
                };
                format!("{oops}lab_test {id} {} {command}\n", t.timeout)
            })
            .collect()
    };
    let mut text = format!(". /etc/lab.sh\n{}", lines(None));
    for strategy in strategies(all) {
        text += &format!(
            "if lab_load {}; then\n{}lab_unload\nfi\n",
            quoted(strategy),
            lines(Some(strategy))
        );
    }
    text + "exit 0\n"
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    pub fn list() -> List {
        toml::from_str(
            r#"
            [[test]]
            name = "amx_test"
            command = "amx_test"
            kernels = ["stock", "unloaded", "xinuse"]
            cpus = [1, 2]
            [[test]]
            name = "conformance"
            command = "xfd_conformance"
            kernels = ["stock"]
            minimal = false
            emulator = "unpatched"
            expect = "fail"
            [[test]]
            name = "switch"
            command = "xfd_switch_test 'x'"
            kernels = ["xinuse"]
            module = "module-broken"
            expect = "fail"
            timeout = 7
            [[test]]
            name = "hole"
            command = "hole"
            kernels = ["stock"]
            expect = "crash"
            oops = "unexpected x"
            [[test]]
            name = "release only"
            command = "measure"
            kernels = ["xinuse"]
            debug = false
            cpus = 2
            timeout = 5
            "#,
        )
        .unwrap()
    }

    #[test]
    fn machines_are_shared_where_they_can_be() {
        let all = machines(&list());
        let names: Vec<String> = all.keys().map(Group::name).collect();
        assert_eq!(all.len(), 19, "{names:?}");
        let patched = all
            .iter()
            .find(|(g, _)| g.name() == "patched kernel, 2 CPUs")
            .unwrap();
        let ids: Vec<&str> = patched.1.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "amx_test: unloaded, 2 CPUs",
                "amx_test: xinuse, 2 CPUs",
                "release only: xinuse, 2 CPUs"
            ]
        );
        let hole = all.iter().find(|(g, _)| g.alone.is_some()).unwrap();
        assert_eq!(hole.1.len(), 1);
    }

    #[test]
    fn what_runs_on_the_patched_kernel_runs_on_its_kinds() {
        let all = machines(&list());
        let of = |name: &str| all.iter().find(|(g, _)| g.name() == name).unwrap().1;
        let debug = of("debug kernel, 2 CPUs");
        let ids: Vec<&str> = debug.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "amx_test: unloaded, 2 CPUs, debug kernel",
                "amx_test: xinuse, 2 CPUs, debug kernel"
            ]
        );
        let rt = of("rt kernel, 2 CPUs");
        let ids: Vec<&str> = rt.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "amx_test: unloaded, 2 CPUs, rt kernel",
                "amx_test: xinuse, 2 CPUs, rt kernel",
                "release only: xinuse, 2 CPUs, rt kernel"
            ]
        );
        let patched = of("patched kernel, 2 CPUs");
        assert_eq!(debug[0].timeout, DEBUG_PATIENCE * patched[0].timeout);
        assert!(all
            .keys()
            .any(|g| g.kernel == Kind::Debug && g.module == module::Kind::Broken));
        let ids = all.values().flatten().map(|t| t.id.as_str());
        let unique: std::collections::BTreeSet<&str> = ids.clone().collect();
        assert_eq!(unique.len(), ids.count());
    }

    #[test]
    fn what_runs_on_stock_runs_on_minimal() {
        let all = machines(&list());
        let ids = |kernel| -> Vec<&str> {
            let of = all.iter().filter(move |(g, _)| g.kernel == kernel);
            of.flat_map(|(_, tests)| tests.iter().map(|t| t.id.as_str()))
                .collect()
        };
        assert_eq!(
            ids(Kind::Minimal),
            [
                "amx_test: minimal, 1 CPU",
                "hole: minimal, 1 CPU (must crash)",
                "amx_test: minimal, 2 CPUs",
            ]
        );
        // The entry that says otherwise.
        assert_eq!(ids(Kind::Stock).len(), 4);
    }

    #[test]
    fn what_makes_the_kernel_oops_is_alone_and_says_so() {
        let list: List = toml::from_str(
            "[[test]]\nname='a'\ncommand='a'\nkernels=['xinuse']\n\
             [[test]]\nname='b'\ncommand='b'\nkernels=['xinuse']\noops='b.c'\n",
        )
        .unwrap();
        let all = machines(&list);
        for (group, tests) in &all {
            assert_eq!(tests.len(), 1);
            let expected = script(tests).contains("lab_expect_oops\nlab_test ");
            assert_eq!(expected, group.alone.is_some());
        }
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn negative_controls_come_last() {
        let list: List = toml::from_str(
            "[[test]]\nname='a'\ncommand='a'\nkernels=['xinuse']\nexpect='fail'\n\
             [[test]]\nname='b'\ncommand='b'\nkernels=['xinuse']\n",
        )
        .unwrap();
        for tests in machines(&list).values() {
            let text = script(tests);
            assert!(text.find("'b: xinuse").unwrap() < text.find("'a: xinuse").unwrap());
        }
    }

    #[test]
    fn unknown_keys_are_mistakes() {
        assert!(
            toml::from_str::<List>("[[test]]\nname='a'\ncommand='a'\nkernels=[]\nkernal=1\n")
                .is_err()
        );
    }

    #[test]
    fn a_kernel_that_is_not_there_is_a_mistake() {
        let on = |kernel: &str, more: &str| {
            let text =
                format!("[[test]]\nname='a'\ncommand='a'\nkernels=['unloaded','{kernel}']\n{more}");
            let list: List = toml::from_str(&text).unwrap();
            list.on(&["lazy".to_owned(), "eager".to_owned()])
        };
        for kernel in ["stock", "minimal", "unloaded", "eager", STRATEGIES] {
            assert!(on(kernel, "").is_ok(), "{kernel}");
        }
        assert_eq!(
            on(STRATEGIES, "").unwrap().test[0].kernels,
            ["unloaded", "lazy", "eager"]
        );
        for kernel in ["patched", "strategy", "broken"] {
            let said = on(kernel, "").err().unwrap().to_string();
            assert!(said.contains(&format!("no kernel or strategy \"{kernel}\"")));
            assert!(said.contains("unloaded, strategies, lazy, eager"), "{said}");
        }
        assert!(on("broken", "module='module-broken'\n").is_ok());
    }

    #[test]
    fn the_script_is_what_sh_reads() {
        let all = machines(&list());
        for tests in all.values() {
            let checked = Command::new("sh")
                .arg("-n")
                .arg("-c")
                .arg(script(tests))
                .status()
                .unwrap();
            assert!(checked.success());
        }
        let broken = all
            .iter()
            .find(|(g, _)| g.module == module::Kind::Broken)
            .unwrap();
        assert!(script(broken.1).contains("if lab_load 'xinuse'; then\nlab_test "));
    }

    #[test]
    fn the_list_in_the_repository_parses() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lab = Lab::at_root(&root, Default::default()).unwrap();
        let list = List::read(&lab).unwrap();
        let on = |name: &str| {
            list.test
                .iter()
                .any(|t| t.kernels.iter().any(|k| k == name))
        };
        assert!(on("stock") && on("lazy") && !on(STRATEGIES));
    }
}
