// SPDX-License-Identifier: GPL-2.0
//! The measurement: run.json, and the line of plain words under the tables. A figure that is missing
//! is an error; nothing here is computed that was not measured.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::failure::Failure;
use crate::measure::goals::{self, Goal};

/// As in selftests/xfd_measure.c, which says what all the figures mean.
pub const STATES: [&str; 6] = ["never", "armed", "live", "dormant", "pending", "no_amx"];
pub const VCPUS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
pub const LOSSES: [&str; 8] = [
    "live_in_kernel",
    "live_userspace",
    "live_preempt",
    "live_migrate",
    "dormant_in_kernel",
    "dormant_userspace",
    "dormant_preempt",
    "dormant_migrate",
];

/// build/report/run.json
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub struct Report {
    pub kernel: String,
    /// What the kernels were built from: Debian's package and its version, or an archive's SHA-256.
    #[serde(default)]
    pub kernel_source: String,
    #[serde(with = "in_order")]
    pub strategies: Vec<(String, Figures)>,
    pub goals: Vec<Goal>,
}

/// Costs by the state of the guest.
pub type States = BTreeMap<String, Cost>;

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Figures {
    pub exit: States,
    pub userspace: States,
    pub switch_plain: States,
    pub switch_amx: States,
    /// Exits of VMs that are older than the module, which must not matter to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older: Option<States>,
    pub list_entries: BTreeMap<String, u64>,
    pub nm: Nm,
    pub vcpus: BTreeMap<u32, Vcpus>,
    pub bytes_per_vcpu: Bytes,
    pub bytes_lost: BTreeMap<String, u64>,
}

/// Of `times` events, and instructions of one in an untraced pass.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Cost {
    pub times: u64,
    /// After how many of them the guest still was in its state.
    pub kept: u64,
    #[serde(flatten)]
    pub msr: Accesses,
    pub instructions: u64,
}

/// Of exits of many vCPUs together; instructions of the cheapest and of the dearest vCPU.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Vcpus {
    pub times: u64,
    #[serde(flatten)]
    pub msr: Accesses,
    pub instructions_min: u64,
    pub instructions_max: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Accesses {
    pub rdmsr_xfd: u64,
    pub wrmsr_xfd: u64,
    pub rdmsr_xfd_err: u64,
    pub wrmsr_xfd_err: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Nm {
    pub exits: f64,
    pub instructions: u64,
}

/// Memory: slab objects, and what the module says.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Bytes {
    pub kvm_vcpu: u64,
    pub task_struct: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<u64>,
}

impl Accesses {
    fn sum(&self) -> u64 {
        self.rdmsr_xfd + self.wrmsr_xfd + self.rdmsr_xfd_err + self.wrmsr_xfd_err
    }
}

impl Cost {
    /// RDMSR and WRMSR of both MSRs, each time.
    pub fn accesses(&self) -> f64 {
        self.msr.sum() as f64 / self.times as f64
    }

    /// WRMSR of both MSRs, each time.
    pub fn wrmsr(&self) -> f64 {
        (self.msr.wrmsr_xfd + self.msr.wrmsr_xfd_err) as f64 / self.times as f64
    }
}

impl Vcpus {
    /// RDMSR and WRMSR of both MSRs, per exit.
    pub fn accesses(&self) -> f64 {
        self.msr.sum() as f64 / self.times as f64
    }
}

/// A JSON object whose keys stay in the order in which they were measured.
mod in_order {
    use super::Figures;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        pairs: &[(String, Figures)],
        out: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serde_json::Map::new();
        for (name, figures) in pairs {
            let value = serde_json::to_value(figures).map_err(serde::ser::Error::custom)?;
            map.insert(name.clone(), value);
        }
        map.serialize(out)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(
        input: D,
    ) -> Result<Vec<(String, Figures)>, D::Error> {
        let map = serde_json::Map::deserialize(input)?;
        map.into_iter()
            .map(|(name, value)| {
                Ok((
                    name,
                    serde_json::from_value(value).map_err(D::Error::custom)?,
                ))
            })
            .collect()
    }
}

/// The figures as the machines print them, by label, before they are known to be whole.
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

    /// The report, when `wanted` is all there.
    pub fn report(&self, kernel: String, wanted: &[String]) -> Result<Report> {
        let mut strategies = Vec::new();
        let mut missing = Vec::new();
        for name in wanted {
            match self.0.get(name) {
                None => missing.push(format!("{name}: everything")),
                Some(value) => {
                    let has_module = name != "stock" && name != "unloaded";
                    let gaps = gaps(value, has_module).into_iter();
                    missing.extend(gaps.map(|gap| format!("{name}: {gap}")));
                    if missing.is_empty() {
                        let figures = serde_json::from_value(value.clone()).map_err(|error| {
                            Failure::new(format!("figures of {name}: {error}"))
                                .next("mend selftests/xfd_measure.c")
                        })?;
                        strategies.push((name.clone(), figures));
                    }
                }
            }
        }
        if missing.is_empty() {
            let mut report = Report {
                kernel,
                kernel_source: String::new(),
                strategies,
                goals: Vec::new(),
            };
            report.goals = goals::judge(&report);
            return Ok(report);
        }
        Err(Failure::new("figures are missing, so there is no table")
            .details(missing)
            .next("the machines' output.log and console.log below build/boot say why")
            .into())
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

/// The paths of all figures that a strategy must have and has not.
fn gaps(value: &Value, has_module: bool) -> Vec<String> {
    const ACCESSES: [&str; 4] = ["rdmsr_xfd", "wrmsr_xfd", "rdmsr_xfd_err", "wrmsr_xfd_err"];
    let mut wanted: Vec<String> = Vec::new();
    let mut want = |parts: &[&str]| wanted.push(format!("/{}", parts.join("/")));
    for (kind, unless) in [
        ("exit", false),
        ("userspace", false),
        ("switch_plain", false),
        ("switch_amx", false),
        ("older", !has_module),
    ] {
        for state in STATES.iter().filter(|_| !unless) {
            for figure in ["times", "kept", "instructions"].iter().chain(&ACCESSES) {
                want(&[kind, state, figure]);
            }
        }
    }
    for n in VCPUS.map(|n| n.to_string()) {
        for figure in ["times", "instructions_min", "instructions_max"]
            .iter()
            .chain(&ACCESSES)
        {
            want(&["vcpus", &n, figure]);
        }
    }
    STATES.iter().for_each(|s| want(&["list_entries", s]));
    LOSSES.iter().for_each(|l| want(&["bytes_lost", l]));
    want(&["nm", "exits"]);
    want(&["nm", "instructions"]);
    want(&["bytes_per_vcpu", "kvm_vcpu"]);
    want(&["bytes_per_vcpu", "task_struct"]);
    if has_module {
        want(&["bytes_per_vcpu", "module"]);
    }
    wanted
        .into_iter()
        .filter_map(|path| {
            let figure = value.pointer(&path);
            let name = path[1..].replace('/', ".");
            match figure.filter(|f| f.is_number()) {
                None => Some(name),
                // Nothing per exit can be said of no exits.
                Some(_) if path.ends_with("/times") && figure == Some(&Value::from(0)) => {
                    Some(format!("{name} is 0"))
                }
                Some(_) => None,
            }
        })
        .collect()
}

impl Report {
    pub fn figures(&self, name: &str) -> Option<&Figures> {
        self.strategies
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, f)| f)
    }

    /// One line of plain words: what the figures say, good or bad.
    pub fn words(&self) -> String {
        let mut said = Vec::new();
        let lost = |f: &Figures, what: &str| -> u64 {
            f.bytes_lost
                .iter()
                .filter(|(k, _)| k.starts_with(what))
                .map(|(_, v)| v)
                .sum()
        };
        if let Some(stock) = self.figures("stock") {
            said.push(format!(
                "For a guest that has armed XFD, stock KVM accesses the MSRs {:.2} times an exit",
                stock.exit["armed"].accesses()
            ));
            for (name, figures) in self
                .strategies
                .iter()
                .filter(|(n, _)| n != "stock" && n != "unloaded")
            {
                said.push(format!(
                    "{name} {:.2} times",
                    figures.exit["armed"].accesses()
                ));
            }
            let mut text = said.join(", ") + ".";
            let losers: Vec<String> = self
                .strategies
                .iter()
                .filter(|(_, f)| lost(f, "") > 0)
                .map(|(name, f)| {
                    format!(
                        "{name} {} live and {} dormant",
                        lost(f, "live"),
                        lost(f, "dormant")
                    )
                })
                .collect();
            if losers.is_empty() {
                text += " No tile data is lost.";
            } else {
                text += &format!(
                    " Bytes of tile data lost: {}; the others lose none.",
                    losers.join(", ")
                );
            }
            if let Some(lazy) = self.figures("lazy") {
                let more = |lazy: &States, stock: &States| {
                    lazy["dormant"].wrmsr() - stock["dormant"].wrmsr()
                };
                text += &format!(
                    " What stock loses of a dormant vCPU costs lazy {:+.0} WRMSR in a switch to a \
                     plain task and back, {:+.0} to one with tiles, {:+.0} in an exit to userspace.",
                    more(&lazy.switch_plain, &stock.switch_plain),
                    more(&lazy.switch_amx, &stock.switch_amx),
                    more(&lazy.userspace, &stock.userspace),
                );
            }
            text += &match self.figures("unloaded").map(|f| differences(stock, f)) {
                None => String::new(),
                Some(d) if d.is_empty() => {
                    " Without the module an exit of the patched kernel equals stock's in every figure.".into()
                }
                Some(d) => format!(
                    " Without the module an exit of the patched kernel differs from stock's: {}.",
                    d.join(", ")
                ),
            };
            return text;
        }
        "There is no stock kernel to compare with.".into()
    }
}

/// By how much `other` is not what `stock` is, but for the slow path.
fn differences(stock: &Figures, other: &Figures) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |name: &str, a: f64, b: f64| {
        // Less than this is the rounding of a mean.
        if (a - b).abs() > 0.005 {
            found.push(format!(
                "{name} {}{:.2}",
                if b > a { "+" } else { "-" },
                (a - b).abs()
            ));
        }
    };
    for state in STATES {
        let (a, b) = (&stock.exit[state], &other.exit[state]);
        compare(&format!("{state} accesses"), a.accesses(), b.accesses());
        compare(
            &format!("{state} instructions"),
            a.instructions as f64,
            b.instructions as f64,
        );
    }
    compare("exits per #NM", stock.nm.exits, other.nm.exits);
    compare(
        "instructions per #NM",
        stock.nm.instructions as f64,
        other.nm.instructions as f64,
    );
    for loss in LOSSES {
        compare(
            &format!("{loss} bytes"),
            stock.bytes_lost[loss] as f64,
            other.bytes_lost[loss] as f64,
        );
    }
    found
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::measure::table;
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
    fn states(rdmsr: u64, instructions: u64) -> String {
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

    fn collection() -> Collection {
        let mut all = Collection::default();
        for (label, rdmsr, instructions, dormant) in [
            ("stock", 1000, 1142, 1020),
            ("unloaded", 1000, 1142, 1020),
            ("xinuse", 0, 1135, 0),
            ("eager", 4000, 1208, 0),
            ("lazy", 0, 1121, 0),
        ] {
            let mut line = |line: &str| all.line(Some(label), line).unwrap();
            line("TAP version 13");
            line(&states(rdmsr, instructions));
            line(&vcpus());
            line("#XFD {\"bytes_per_vcpu\":{\"kvm_vcpu\":9024,\"task_struct\":5440}}");
            line(&loss(dormant));
            if label != "stock" && label != "unloaded" {
                line(&older());
                line("#XFD {\"bytes_per_vcpu\":{\"module\":32}}");
            }
        }
        all
    }

    fn wanted() -> Vec<String> {
        ["stock", "unloaded", "xinuse", "eager", "lazy"]
            .map(String::from)
            .to_vec()
    }

    /// One that meets all goals.
    pub fn report() -> Report {
        collection().report("7.3.4".into(), &wanted()).unwrap()
    }

    #[test]
    fn lines_of_many_measurements_merge_into_one_report() {
        let report = report();
        let json: Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        let strategies = &json["strategies"];
        assert_eq!(strategies["stock"]["exit"]["armed"]["rdmsr_xfd"], 1000);
        assert_eq!(strategies["xinuse"]["bytes_lost"]["dormant_userspace"], 0);
        assert_eq!(strategies["lazy"]["vcpus"]["64"]["instructions_max"], 1121);
        assert_eq!(strategies["lazy"]["bytes_per_vcpu"]["module"], 32);
        assert_eq!(strategies["stock"].get("older"), None);
        assert_eq!(json["goals"][0]["met"], true);
        let first = strategies.as_object().unwrap().keys().next();
        assert_eq!(first.unwrap(), "stock");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn a_missing_figure_is_an_error_that_names_it() {
        let mut all = collection();
        all.line(Some("autoload"), &loss(0)).unwrap();
        let none = states(0, 1122).replace("\"times\":1000", "\"times\":0");
        all.line(Some("eager"), &none).unwrap();
        let mut names = wanted();
        names.push("autoload".into());
        names.push("broken".into());
        let error = all.report("7.3.4".into(), &names).unwrap_err().to_string();
        assert!(error.contains("autoload: exit.armed.rdmsr_xfd"));
        assert!(error.contains("autoload: older.never.times"));
        assert!(error.contains("autoload: vcpus.16.wrmsr_xfd_err"));
        assert!(error.contains("autoload: bytes_per_vcpu.module"));
        assert!(error.contains("eager: exit.live.times is 0"));
        assert!(error.contains("broken: everything"));
        assert!(!error.contains("autoload: bytes_lost"));
        assert!(!error.contains("stock"));
    }

    #[test]
    fn bad_lines_are_errors() {
        let mut all = Collection::default();
        assert!(all.line(Some("x"), "#XFD {").is_err());
        assert!(all.line(None, "#XFD {}").is_err());
        assert!(all.line(None, "anything else").is_ok());
    }

    #[test]
    fn the_tables_have_a_row_for_each_figure() {
        let mut report = report();
        let (_, stock) = &mut report.strategies[0];
        stock.switch_plain.get_mut("dormant").unwrap().kept = 0;
        stock.userspace.get_mut("live").unwrap().msr.wrmsr_xfd_err = 500;
        let text = table::tables(&report);
        let row = |title: &str, name: &str| -> Vec<String> {
            let rows = text.lines().skip_while(|l| !l.starts_with(title));
            let line = rows.skip(1).find(|l| l.trim().starts_with(name)).unwrap();
            let cells = line.trim().trim_start_matches(name);
            cells.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(
            row("MSR accesses", "armed"),
            ["1.00", "1.00", "0.00", "4.00", "0.00"]
        );
        assert_eq!(
            row("instructions per", "no AMX"),
            ["1122", "1122", "1122", "1122", "1122"]
        );
        assert_eq!(
            row("VMs older", "live"),
            ["-", "-", "1.00", "1142", "1.00", "1142", "1.00", "1142"]
        );
        assert_eq!(
            row("a switch to a plain", "dormant")[..3],
            ["1+0", "2+0", "6000*"]
        );
        assert_eq!(
            row("an exit to userspace", "live")[..3],
            ["1+0", "2+0.50", "6000"]
        );
        assert_eq!(row("armed vCPUs", "64")[..2], ["0.00", "1121"]);
        assert_eq!(
            row("bytes of memory", "module"),
            ["-", "-", "32", "32", "32"]
        );
        assert_eq!(
            row("bytes of tile", "dormant, userspace"),
            ["1020", "1020", "0", "0", "0"]
        );
        assert!(text.lines().all(|l| l.len() <= 110));
    }

    #[test]
    fn words_say_what_is_true() {
        let words = report().words();
        assert!(words.contains("xinuse 0.00 times"));
        assert!(words.contains("stock 0 live and 1020 dormant"));
        assert!(words.contains("costs lazy +0 WRMSR in a switch to a plain task"));
        assert!(words.contains("equals stock's in every figure"));

        let mut all = collection();
        all.line(Some("unloaded"), &states(2000, 1142)).unwrap();
        let words = all.report("7.3.4".into(), &wanted()).unwrap().words();
        assert!(
            words.contains("differs from stock's: armed accesses +1.00"),
            "{words}"
        );
    }
}
