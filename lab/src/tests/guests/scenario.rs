// SPDX-License-Identifier: GPL-2.0
//! selftests/guest/list.toml: what guests go through.

use anyhow::Result;
use serde::Deserialize;

use crate::base::files;
use crate::base::layout::Lab;
use crate::tests::list::{Entry, OneOrMore};

const LIST: &str = "selftests/guest/list.toml";

/// The list's first lines say what these are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    pub what: String,
    script: String,
    #[serde(default = "two")]
    pub cpus: u32,
    #[serde(default = "two_minutes")]
    timeout: u64,
    #[serde(default)]
    pub compute: bool,
    #[serde(default)]
    pub check: bool,
    pub get: Option<String>,
    pub image: Option<String>,
    #[serde(default)]
    pub vmm: bool,
}

fn two() -> u32 {
    2
}

fn two_minutes() -> u64 {
    120
}

#[derive(Deserialize)]
struct List {
    scenario: Vec<Scenario>,
}

impl Scenario {
    /// All of them, in the list's order.
    pub fn list(lab: &Lab) -> Result<Vec<Scenario>> {
        Ok(files::toml::<List>(&lab.at(LIST))?.scenario)
    }

    /// As a test of a machine.
    pub fn entry(&self) -> Entry {
        let Scenario { name, script, .. } = self;
        let mut command = format!(". /add/guest/qemu.sh\nfigures_begin\n{script}figures_end\n");
        if let Some(file) = &self.get {
            command += &format!(". /etc/lab.sh\nlab_get /tmp/{file} && rm /tmp/{file}\n");
        }
        Entry {
            cpus: OneOrMore::One(self.cpus),
            timeout: self.timeout,
            ..Entry::new(name, &command)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn the_list_is_sound() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lab = Lab::at_root(&root, Default::default()).unwrap();
        let all = Scenario::list(&lab).unwrap();
        let names: BTreeSet<_> = all.iter().map(|s| &s.name).collect();
        assert_eq!(names.len(), all.len());
        // What another machine is given must be written before.
        for (at, scenario) in all.iter().enumerate().filter(|(_, s)| s.image.is_some()) {
            assert!(all[..at].iter().any(|s| s.get == scenario.image));
        }
        assert!(all.iter().any(|s| s.check) && all.iter().any(|s| s.compute));
        for scenario in &all {
            let command = scenario.entry().command;
            let mut sh = std::process::Command::new("sh");
            assert!(sh.args(["-n", "-c", &command]).status().unwrap().success());
        }
    }
}
