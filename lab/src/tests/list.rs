// SPDX-License-Identifier: GPL-2.0
//! selftests/list.toml: which tests run in which machine, and the script that runs them there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::base::failure::Failure;
use crate::build::kernel::Kind;
use crate::commands::boot::quoted;

/// selftests/list.toml
#[derive(Debug, Deserialize)]
pub struct List {
    pub test: Vec<Entry>,
}

impl List {
    pub fn read(path: &Path) -> Result<List> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let list: List =
            toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        match list
            .test
            .iter()
            .find(|t| (t.expect == Expect::Crash) == t.oops.is_empty())
        {
            None => Ok(list),
            Some(test) => Err(Failure::new(format!(
                "{}: \"{}\": \"crash\" and \"oops\" need each other",
                path.display(),
                test.name
            ))
            .next("say what the kernel's oops says")
            .into()),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// For sh in the machine; the programs of selftests/ are in its PATH.
    pub command: String,
    /// "stock", "unloaded", or a strategy to load on the patched kernel.
    pub kernels: Vec<String>,
    /// Whether what runs on the patched kernel runs on the debug kernel as well.
    #[serde(default = "yes")]
    pub debug: bool,
    #[serde(default = "one_cpu")]
    pub cpus: OneOrMore,
    #[serde(default)]
    pub emulator: EmulatorName,
    #[serde(default)]
    pub expect: Expect,
    /// What the kernel's oops says before it panics as expected.
    #[serde(default)]
    pub oops: String,
    /// Whether a part of it may be skipped.
    #[serde(default)]
    pub skips: bool,
    #[serde(default)]
    pub module: ModuleName,
    /// CPU features that the machine lacks.
    #[serde(default)]
    pub without: String,
    /// Kernel parameters of its machine.
    #[serde(default)]
    pub params: String,
    /// In seconds of the machine's own clock.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
}

impl Entry {
    /// An entry that is in no list.
    pub fn new(name: &str, command: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            command: command.to_owned(),
            kernels: Vec::new(),
            debug: false,
            cpus: one_cpu(),
            emulator: EmulatorName::default(),
            expect: Expect::default(),
            oops: String::new(),
            skips: false,
            module: ModuleName::default(),
            without: String::new(),
            params: String::new(),
            timeout: default_timeout(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

impl OneOrMore {
    pub fn all(&self) -> Vec<u32> {
        match self {
            OneOrMore::One(n) => vec![*n],
            OneOrMore::More(all) => all.clone(),
        }
    }
}

pub fn one_cpu() -> OneOrMore {
    OneOrMore::One(1)
}

pub fn default_timeout() -> u64 {
    120
}

fn yes() -> bool {
    true
}

/// How many times longer a test may take on the debug kernel: lockdep makes what takes locks slow.
const DEBUG_PATIENCE: u64 = 3;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum EmulatorName {
    #[default]
    Patched,
    Unpatched,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleName {
    #[default]
    Module,
    ModuleBroken,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    #[default]
    Pass,
    /// A negative control: a part of the test must fail.
    Fail,
    /// The kernel must panic. Such a test has a machine to itself.
    Crash,
}

/// Tests with the same value of this run in one machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub emulator: EmulatorName,
    pub kernel: Kind,
    pub cpus: u32,
    pub module: ModuleName,
    pub without: String,
    pub params: String,
    /// The only test of a machine that must panic.
    pub alone: Option<String>,
}

impl Group {
    pub fn name(&self) -> String {
        let mut name = format!(
            "{} kernel, {} CPU{}",
            self.kernel.name(),
            self.cpus,
            if self.cpus == 1 { "" } else { "s" }
        );
        if self.emulator == EmulatorName::Unpatched {
            name += ", unpatched emulator";
        }
        if self.module == ModuleName::ModuleBroken {
            name += ", broken module";
        }
        for extra in [&self.without, &self.params]
            .into_iter()
            .filter(|e| !e.is_empty())
        {
            name += &format!(", {extra}");
        }
        if let Some(test) = &self.alone {
            name += &format!(", {test}");
        }
        name
    }
}

/// A test of one machine.
#[derive(Clone, Debug)]
pub struct Guest {
    pub id: String,
    /// What it runs on: "stock", "unloaded" or a strategy.
    pub on: String,
    pub entry: Entry,
    /// In seconds of the machine's own clock.
    pub timeout: u64,
}

/// The machines that a list needs, with their tests.
pub fn machines(list: &List) -> BTreeMap<Group, Vec<Guest>> {
    let mut all: BTreeMap<Group, Vec<Guest>> = BTreeMap::new();
    for entry in &list.test {
        for on in &entry.kernels {
            let kernels: &[Kind] = match (on.as_str(), entry.debug) {
                ("stock", _) => &[Kind::Stock],
                (_, false) => &[Kind::Patched],
                (_, true) => &[Kind::Patched, Kind::Debug],
            };
            for &kernel in kernels {
                for cpus in entry.cpus.all() {
                    let (group, guest) = guest(entry, on, kernel, cpus);
                    all.entry(group).or_default().push(guest);
                }
            }
        }
    }
    all
}

/// One run of an entry, and the machine that it belongs into.
pub fn guest(entry: &Entry, on: &str, kernel: Kind, cpus: u32) -> (Group, Guest) {
    let mut id = format!(
        "{}: {on}, {cpus} CPU{}",
        entry.name,
        if cpus == 1 { "" } else { "s" }
    );
    if kernel == Kind::Debug {
        id += ", debug kernel";
    }
    if entry.emulator == EmulatorName::Unpatched {
        id += ", unpatched emulator";
    }
    if entry.module == ModuleName::ModuleBroken {
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
        module: entry.module,
        without: entry.without.clone(),
        params: entry.params.clone(),
        alone: (entry.expect == Expect::Crash).then(|| id.clone()),
    };
    let patience = match kernel {
        Kind::Debug => DEBUG_PATIENCE,
        _ => 1,
    };
    let guest = Guest {
        id,
        on: on.to_owned(),
        entry: entry.clone(),
        timeout: entry.timeout * patience,
    };
    (group, guest)
}

pub fn is_strategy(on: &str) -> bool {
    on != "stock" && on != "unloaded"
}

/// The strategies of a machine's tests, in the order in which the list names them.
pub fn strategies(tests: &[Guest]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for test in tests.iter().filter(|t| is_strategy(&t.on)) {
        if !found.contains(&test.on.as_str()) {
            found.push(&test.on);
        }
    }
    found
}

/// The machine's script: first what needs no module, then each strategy loaded, tested, unloaded.
/// A negative control, which may leave the kernel in a state that it has complained about, comes
/// after what must pass.
pub fn script(all: &[Guest]) -> String {
    let line = |test: &Guest| {
        format!(
            "lab_test {} {} {}\n",
            quoted(&test.id),
            test.timeout,
            quoted(&test.entry.command)
        )
    };
    let mut text = String::from(". /etc/lab.sh\n");
    let mut tests: Vec<&Guest> = all.iter().collect();
    tests.sort_by_key(|t| t.entry.expect != Expect::Pass);
    for test in tests.iter().filter(|t| !is_strategy(&t.on)) {
        text += &line(test);
    }
    for strategy in strategies(all) {
        text += &format!("if lab_load {}; then\n", quoted(strategy));
        for test in tests.iter().filter(|t| t.on == strategy) {
            text += &line(test);
        }
        text += "lab_unload\nfi\n";
    }
    text + "exit 0\n"
}

#[cfg(test)]
pub mod tests {
    use super::*;
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
        assert_eq!(all.len(), 10, "{names:?}");
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
    fn what_runs_on_the_patched_kernel_runs_on_the_debug_kernel() {
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
        let patched = of("patched kernel, 2 CPUs");
        assert_eq!(debug[0].timeout, DEBUG_PATIENCE * patched[0].timeout);
        assert!(all
            .keys()
            .any(|g| g.kernel == Kind::Debug && g.module == ModuleName::ModuleBroken));
        let ids = all.values().flatten().map(|t| t.id.as_str());
        let unique: std::collections::BTreeSet<&str> = ids.clone().collect();
        assert_eq!(unique.len(), ids.count());
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
            .find(|(g, _)| g.module == ModuleName::ModuleBroken)
            .unwrap();
        assert!(script(broken.1).contains("if lab_load 'xinuse'; then\nlab_test "));
    }

    #[test]
    fn the_list_in_the_repository_parses() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../selftests/list.toml");
        let list = List::read(&path).unwrap();
        assert!(!list.test.is_empty());
    }
}
