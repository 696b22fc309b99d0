// SPDX-License-Identifier: GPL-2.0
//! The figures as the machines print them, one after the other. A figure that is missing is an
//! error; nothing here is computed that was not measured.

use anyhow::Result;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::base::failure::Failure;
use crate::measure::report::{is_strategy, Strategies, LOSSES, NESTED, STATES, VCPUS};

/// By label, before they are known to be whole.
#[derive(Default)]
pub struct Collection(Map<String, Value>);

impl Collection {
    /// Takes a line of a machine's output; anything but "#XFD {json}" is none of ours.
    pub fn line(&mut self, label: Option<&str>, line: &str) -> Result<()> {
        let Some(json) = line.trim().strip_prefix("#XFD ") else {
            return Ok(());
        };
        let value: Value = serde_json::from_str(json).map_err(|error| {
            Failure::new(format!("a measurement is not JSON ({error}): {json}"))
                .next("mend the selftest that printed it")
        })?;
        let label = label.ok_or_else(|| {
            Failure::new(format!("a measurement without a label: {json}"))
                .next("call lab_label first")
        })?;
        let mine = self
            .0
            .entry(label.to_owned())
            .or_insert_with(|| Value::Object(Map::new()));
        merge(mine, value);
        Ok(())
    }

    /// The figures of all that are `wanted`, when they are all there.
    pub fn figures(&self, wanted: &[String]) -> Result<Strategies> {
        let mut strategies = Strategies::new();
        let mut missing = Vec::new();
        for name in wanted {
            let Some(value) = self.0.get(name) else {
                missing.push(format!("{name}: everything"));
                continue;
            };
            let gaps = gaps(value, is_strategy(name)).into_iter();
            missing.extend(gaps.map(|gap| format!("{name}: {gap}")));
            if missing.is_empty() {
                let figures = serde_json::from_value(value.clone()).map_err(|error| {
                    Failure::new(format!("figures of {name}: {error}"))
                        .next("mend selftests/xfd_measure.c")
                })?;
                strategies.insert(name.clone(), figures);
            }
        }
        if missing.is_empty() {
            return Ok(strategies);
        }
        Err(Failure::new("figures are missing, so there is no table")
            .details(missing)
            .next("the machines' output.log and console.log below build/boot say why")
            .into())
    }
}

impl Collection {
    /// All that there is, whole or not.
    pub fn into_values(self) -> IndexMap<String, Value> {
        self.0.into_iter().collect()
    }
}

/// Puts `from` into `into`, object by object.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The figures that a strategy must have and has not, by their paths.
fn gaps(figures: &Value, has_module: bool) -> Vec<String> {
    const ACCESSES: [&str; 4] = ["rdmsr_xfd", "wrmsr_xfd", "rdmsr_xfd_err", "wrmsr_xfd_err"];
    let cost = [&["times", "kept", "instructions"][..], &ACCESSES].concat();
    let many = [
        &["times", "instructions_min", "instructions_max"][..],
        &ACCESSES,
    ]
    .concat();
    let nested = [&["times", "exits", "instructions"][..], &ACCESSES].concat();
    let mut by_state = vec!["exit", "userspace", "switch_plain", "switch_amx"];
    let mut bytes = vec!["kvm_vcpu", "task_struct"];
    if has_module {
        by_state.push("older");
        bytes.push("module");
    }
    let vcpus = VCPUS.map(|n| n.to_string());
    let vcpus = vcpus.each_ref().map(String::as_str);
    let wanted: [&[&[&str]]; 7] = [
        &[&by_state, &STATES, &cost],
        &[&["vcpus"], &vcpus, &many],
        &[&["list_entries"], &STATES],
        &[&["bytes_lost"], &LOSSES],
        &[&["nm"], &["exits", "instructions"]],
        &[&["nested"], &NESTED, &nested],
        &[&["bytes_per_vcpu"], &bytes],
    ];
    let paths = wanted.iter().flat_map(|steps| {
        // Each of the first step's keys with each of the second's, and so on.
        steps.iter().fold(vec![String::new()], |paths, keys| {
            let longer = paths
                .iter()
                .map(|p| keys.iter().map(move |k| format!("{p}/{k}")));
            longer.flatten().collect()
        })
    });
    paths
        .filter_map(|path| {
            let name = path[1..].replace('/', ".");
            match figures.pointer(&path).filter(|f| f.is_number()) {
                None => Some(name),
                // Nothing per exit can be said of no exits.
                Some(n) if path.ends_with("/times") && *n == 0 => Some(format!("{name} is 0")),
                Some(_) => None,
            }
        })
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::measure::report::{Goal, Report};
    use serde_json::json;

    fn cost(rdmsr: u64, wrmsr: u64, instructions: u64) -> Value {
        json!({
            "times": 1000, "kept": 1000, "rdmsr_xfd": rdmsr, "wrmsr_xfd": wrmsr,
            "rdmsr_xfd_err": 0, "wrmsr_xfd_err": 0, "instructions": instructions,
        })
    }

    fn by<K: ToString>(keys: &[K], value: impl Fn(usize) -> Value) -> Value {
        let pairs = keys.iter().enumerate();
        pairs.map(|(i, k)| (k.to_string(), value(i))).collect()
    }

    /// What xfd_measure prints of states, given the accesses and instructions of an exit; in "never"
    /// and "no_amx" it has no access.
    pub fn states(rdmsr: u64, instructions: u64) -> String {
        let exit = by(&STATES, |i| match STATES[i] {
            "never" | "no_amx" => cost(0, 0, 1122),
            _ => cost(rdmsr, 0, instructions),
        });
        let slow = by(&STATES, |_| cost(1000, 2000, 6000));
        let line = json!({
            "exit": exit, "userspace": slow, "switch_plain": slow, "switch_amx": slow,
            "list_entries": by(&STATES, |_| json!(0)),
            "nm": { "exits": 0.0, "instructions": 63 },
        });
        format!("#XFD {line}")
    }

    /// What an L2 costs, given the exits and the instructions of its write of XFD.
    fn nested(exits: u64, instructions: u64) -> String {
        let line = json!({ "nested": by(&NESTED, |i| json!({
            "times": 32, "rdmsr_xfd": 32, "wrmsr_xfd": 0, "rdmsr_xfd_err": 0, "wrmsr_xfd_err": 0,
            "exits": if NESTED[i] == "write_xfd" { exits } else { 32 },
            "instructions": if NESTED[i] == "write_xfd" { instructions } else { 1400 },
        })) });
        format!("#XFD {line}")
    }

    fn vcpus() -> String {
        let line = json!({ "vcpus": by(&VCPUS, |_| json!({
            "times": 512, "rdmsr_xfd": 0, "wrmsr_xfd": 0, "rdmsr_xfd_err": 0, "wrmsr_xfd_err": 0,
            "instructions_min": 1121, "instructions_max": 1121,
        })) });
        format!("#XFD {line}")
    }

    fn older() -> String {
        let stock: Value = serde_json::from_str(&states(1000, 1142)[5..]).unwrap();
        format!("#XFD {}", json!({ "older": stock["exit"] }))
    }

    fn loss(dormant: u64) -> String {
        let lost = by(&LOSSES, |i| match LOSSES[i] {
            "dormant_userspace" => json!(dormant),
            _ => json!(0),
        });
        format!("#XFD {}", json!({ "bytes_lost": lost }))
    }

    pub fn collection() -> Collection {
        let mut all = Collection::default();
        for (label, rdmsr, instructions, dormant) in [
            ("stock", 1000, 1142, 1020),
            ("minimal", 0, 1122, 1020),
            ("unloaded", 1000, 1142, 1020),
            ("xinuse", 0, 1135, 0),
            ("eager", 4000, 1208, 0),
            ("autoload", 0, 1121, 0),
            ("lazy", 0, 1121, 0),
        ] {
            let mut line = |line: &str| all.line(Some(label), line).unwrap();
            line("TAP version 13");
            line(&states(rdmsr, instructions));
            line(&match is_strategy(label) {
                true => nested(0, 6),
                false => nested(32, 1522),
            });
            line(&vcpus());
            line("#XFD {\"bytes_per_vcpu\":{\"kvm_vcpu\":9024,\"task_struct\":5440}}");
            line(&loss(dormant));
            if is_strategy(label) {
                line(&older());
                line("#XFD {\"bytes_per_vcpu\":{\"module\":32}}");
            }
        }
        all
    }

    fn wanted() -> Vec<String> {
        #[rustfmt::skip]
        let all = ["stock", "minimal", "unloaded", "xinuse", "eager", "autoload", "lazy"];
        all.map(String::from).to_vec()
    }

    pub fn report_of(collection: &Collection) -> Report {
        Report {
            kernel: "7.3.4".into(),
            kernel_source: String::new(),
            strategies: collection.figures(&wanted()).unwrap(),
            goals: Vec::new(),
        }
    }

    /// One whose figures meet all goals.
    pub fn report() -> Report {
        report_of(&collection())
    }

    /// The same with a column less, for tests that spell out rows.
    pub fn narrow_report() -> Report {
        let mut report = report();
        report.strategies.shift_remove("autoload");
        report
    }

    #[test]
    fn lines_of_many_measurements_merge_into_one_report() {
        let mut report = report();
        report.goals.push(Goal {
            goal: "eager is good".into(),
            met: true,
            failures: Vec::new(),
        });
        let json: Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        let strategies = &json["strategies"];
        assert_eq!(strategies["stock"]["exit"]["armed"]["rdmsr_xfd"], 1000);
        assert_eq!(strategies["xinuse"]["bytes_lost"]["dormant_userspace"], 0);
        assert_eq!(strategies["lazy"]["vcpus"]["64"]["instructions_max"], 1121);
        assert_eq!(strategies["lazy"]["bytes_per_vcpu"]["module"], 32);
        assert_eq!(strategies["lazy"]["nested"]["write_xfd"]["exits"], 0);
        assert_eq!(strategies["stock"]["nested"]["write_xfd"]["rdmsr_xfd"], 32);
        assert_eq!(strategies["stock"].get("older"), None);
        assert_eq!(json["goals"][0]["met"], true);
        let first = strategies.as_object().unwrap().keys().next();
        assert_eq!(first.unwrap(), "stock");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn a_missing_figure_is_an_error_that_names_it() {
        let mut all = collection();
        all.line(Some("partial"), &loss(0)).unwrap();
        let none = states(0, 1122).replace("\"times\":1000", "\"times\":0");
        all.line(Some("eager"), &none).unwrap();
        let mut names = wanted();
        names.push("partial".into());
        names.push("broken".into());
        let error = all.figures(&names).unwrap_err().to_string();
        assert!(error.contains("partial: exit.armed.rdmsr_xfd"));
        assert!(error.contains("partial: older.never.times"));
        assert!(error.contains("partial: nested.exit_l1.exits"));
        assert!(error.contains("partial: vcpus.16.wrmsr_xfd_err"));
        assert!(error.contains("partial: bytes_per_vcpu.module"));
        assert!(error.contains("eager: exit.live.times is 0"));
        assert!(error.contains("broken: everything"));
        assert!(!error.contains("partial: bytes_lost"));
        assert!(!error.contains("stock"));
    }

    #[test]
    fn bad_lines_are_errors() {
        let mut all = Collection::default();
        assert!(all.line(Some("x"), "#XFD {").is_err());
        assert!(all.line(None, "#XFD {}").is_err());
        assert!(all.line(None, "anything else").is_ok());
    }
}
