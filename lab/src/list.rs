// SPDX-License-Identifier: GPL-2.0
//! selftests/list.toml: which tests run in which machine, and the script that runs them there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::boot::quoted;

/// selftests/list.toml
#[derive(Debug, Deserialize)]
pub struct List {
    pub test: Vec<Entry>,
}

impl List {
    pub fn read(path: &Path) -> Result<List> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
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
    #[serde(default = "one_cpu")]
    pub cpus: OneOrMore,
    #[serde(default)]
    pub emulator: EmulatorName,
    #[serde(default)]
    pub expect: Expect,
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
    /// A negative control: the test must fail, by its own exit code.
    Fail,
    /// The kernel must panic. Such a test has a machine to itself.
    Crash,
}

/// Tests with the same value of this run in one machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub emulator: EmulatorName,
    pub stock: bool,
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
            if self.stock { "stock" } else { "patched" },
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
}

/// The machines that a list needs, with their tests.
pub fn machines(list: &List) -> BTreeMap<Group, Vec<Guest>> {
    let mut all: BTreeMap<Group, Vec<Guest>> = BTreeMap::new();
    for entry in &list.test {
        for on in &entry.kernels {
            for cpus in entry.cpus.all() {
                let mut group = Group {
                    emulator: entry.emulator,
                    stock: on == "stock",
                    cpus,
                    module: entry.module,
                    without: entry.without.clone(),
                    params: entry.params.clone(),
                    alone: None,
                };
                let mut id = format!(
                    "{}: {on}, {cpus} CPU{}",
                    entry.name,
                    if cpus == 1 { "" } else { "s" }
                );
                if entry.emulator == EmulatorName::Unpatched {
                    id += ", unpatched emulator";
                }
                if entry.module == ModuleName::ModuleBroken {
                    id += ", broken module";
                }
                if !entry.without.is_empty() {
                    id += &format!(", without {}", entry.without);
                }
                if entry.expect != Expect::Pass {
                    id += if entry.expect == Expect::Fail {
                        " (must fail)"
                    } else {
                        " (must crash)"
                    };
                }
                if entry.expect == Expect::Crash {
                    group.alone = Some(id.clone());
                }
                all.entry(group).or_default().push(Guest {
                    id,
                    on: on.clone(),
                    entry: entry.clone(),
                });
            }
        }
    }
    all
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
pub fn script(tests: &[Guest]) -> String {
    let line = |test: &Guest| {
        format!(
            "lab_test {} {} {}\n",
            quoted(&test.id),
            test.entry.timeout,
            quoted(&test.entry.command)
        )
    };
    let mut text = String::from(". /etc/lab.sh\n");
    for test in tests.iter().filter(|t| !is_strategy(&t.on)) {
        text += &line(test);
    }
    for strategy in strategies(tests) {
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
            "#,
        )
        .unwrap()
    }

    #[test]
    fn machines_are_shared_where_they_can_be() {
        let all = machines(&list());
        let names: Vec<String> = all.keys().map(Group::name).collect();
        assert_eq!(all.len(), 7, "{names:?}");
        let patched = all
            .iter()
            .find(|(g, _)| g.name() == "patched kernel, 2 CPUs")
            .unwrap();
        let ids: Vec<&str> = patched.1.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(
            ids,
            ["amx_test: unloaded, 2 CPUs", "amx_test: xinuse, 2 CPUs"]
        );
        let hole = all.iter().find(|(g, _)| g.alone.is_some()).unwrap();
        assert_eq!(hole.1.len(), 1);
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
