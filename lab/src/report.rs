// SPDX-License-Identifier: GPL-2.0
//! The measurement: run.json, the table, and the line of plain words under it. A figure that is
//! missing is an error; nothing here is computed that was not measured.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::failure::Failure;

pub const STATES: [&str; 5] = ["never", "armed", "live", "dormant", "pending"];
const LOSSES: [&str; 8] = [
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
    #[serde(with = "in_order")]
    pub strategies: Vec<(String, Figures)>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Figures {
    pub states: BTreeMap<String, State>,
    pub nm: Nm,
    pub bytes_lost: BTreeMap<String, u64>,
}

/// Counts over `exits` exits, and instructions of one in an untraced pass.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct State {
    pub exits: u64,
    pub rdmsr_xfd: u64,
    pub wrmsr_xfd: u64,
    pub rdmsr_xfd_err: u64,
    pub wrmsr_xfd_err: u64,
    pub instructions_per_exit: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Nm {
    pub exits_per_nm: f64,
    pub instructions_per_nm: f64,
}

impl State {
    /// RDMSR and WRMSR of both MSRs, per exit.
    fn accesses(&self) -> f64 {
        (self.rdmsr_xfd + self.wrmsr_xfd + self.rdmsr_xfd_err + self.wrmsr_xfd_err) as f64
            / self.exits as f64
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
                    missing.extend(gaps(value).into_iter().map(|gap| format!("{name}: {gap}")));
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
            return Ok(Report { kernel, strategies });
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
fn gaps(value: &Value) -> Vec<String> {
    let mut wanted: Vec<String> = Vec::new();
    for state in STATES {
        for figure in [
            "exits",
            "rdmsr_xfd",
            "wrmsr_xfd",
            "rdmsr_xfd_err",
            "wrmsr_xfd_err",
            "instructions_per_exit",
        ] {
            wanted.push(format!("/states/{state}/{figure}"));
        }
    }
    wanted.extend(["/nm/exits_per_nm".into(), "/nm/instructions_per_nm".into()]);
    wanted.extend(LOSSES.iter().map(|l| format!("/bytes_lost/{l}")));
    let mut gaps: Vec<String> = wanted
        .into_iter()
        .filter(|path| !value.pointer(path).is_some_and(Value::is_number))
        .map(|path| path[1..].replace('/', "."))
        .collect();
    for state in STATES {
        if value
            .pointer(&format!("/states/{state}/exits"))
            .and_then(Value::as_u64)
            == Some(0)
        {
            gaps.push(format!("states.{state}.exits is 0"));
        }
    }
    gaps
}

impl Report {
    /// Rows are figures, columns strategies.
    pub fn table(&self) -> String {
        let mut rows: Vec<(String, Vec<String>)> = Vec::new();
        fn section(rows: &mut Vec<(String, Vec<String>)>, title: &str) {
            rows.push((title.to_owned(), Vec::new()));
        }
        let row = |rows: &mut Vec<(String, Vec<String>)>,
                   name: &str,
                   cell: &dyn Fn(&Figures) -> String| {
            let cells = self.strategies.iter().map(|(_, f)| cell(f)).collect();
            rows.push((format!("  {name}"), cells));
        };
        section(&mut rows, "MSR accesses per exit (XFD, XFD_ERR)");
        for state in STATES {
            row(&mut rows, state, &|f| {
                format!("{:.2}", f.states[state].accesses())
            });
        }
        section(&mut rows, "instructions per exit");
        for state in STATES {
            row(&mut rows, state, &|f| {
                format!("{:.0}", f.states[state].instructions_per_exit)
            });
        }
        section(&mut rows, "a guest's #NM");
        row(&mut rows, "exits", &|f| format!("{:.2}", f.nm.exits_per_nm));
        row(&mut rows, "instructions", &|f| {
            format!("{:.0}", f.nm.instructions_per_nm)
        });
        section(&mut rows, "bytes of tile data lost");
        for loss in LOSSES {
            row(
                &mut rows,
                &loss.replacen('_', ", ", 1).replace('_', "-"),
                &|f| f.bytes_lost[loss].to_string(),
            );
        }

        let heads: Vec<&str> = self
            .strategies
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let first = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let widths: Vec<usize> = heads
            .iter()
            .enumerate()
            .map(|(i, head)| {
                rows.iter()
                    .filter_map(|(_, c)| c.get(i))
                    .map(String::len)
                    .chain([head.len()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = format!("{:first$}", "");
        for (head, width) in heads.iter().zip(&widths) {
            text += &format!("  {head:>width$}");
        }
        text.push('\n');
        for (name, cells) in &rows {
            let mut line = format!("{name:first$}");
            for (cell, width) in cells.iter().zip(&widths) {
                line += &format!("  {cell:>width$}");
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    fn figures(&self, name: &str) -> Option<&Figures> {
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
                stock.states["armed"].accesses()
            ));
            for (name, figures) in self
                .strategies
                .iter()
                .filter(|(n, _)| n != "stock" && n != "unloaded")
            {
                said.push(format!(
                    "{name} {:.2} times",
                    figures.states["armed"].accesses()
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
            text += &match self.figures("unloaded").map(|f| differences(stock, f)) {
                None => String::new(),
                Some(d) if d.is_empty() => {
                    " Without the module the patched kernel equals stock in every figure.".into()
                }
                Some(d) => format!(
                    " Without the module the patched kernel differs from stock: {}.",
                    d.join(", ")
                ),
            };
            return text;
        }
        "There is no stock kernel to compare with.".into()
    }
}

/// By how much `other` is not what `stock` is.
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
        let (a, b) = (&stock.states[state], &other.states[state]);
        compare(&format!("{state} MSR accesses"), a.accesses(), b.accesses());
        compare(
            &format!("{state} instructions"),
            a.instructions_per_exit,
            b.instructions_per_exit,
        );
    }
    compare(
        "exits per #NM",
        stock.nm.exits_per_nm,
        other.nm.exits_per_nm,
    );
    compare(
        "instructions per #NM",
        stock.nm.instructions_per_nm,
        other.nm.instructions_per_nm,
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
mod tests {
    use super::*;

    fn states(rdmsr: u64) -> String {
        let state = format!(
            "{{\"exits\":1000,\"rdmsr_xfd\":{rdmsr},\"wrmsr_xfd\":0,\"rdmsr_xfd_err\":0,\"wrmsr_xfd_err\":0,\"instructions_per_exit\":1242.5}}"
        );
        let all: Vec<String> = STATES.iter().map(|s| format!("\"{s}\":{state}")).collect();
        format!("#XFD {{\"states\":{{{}}},\"nm\":{{\"exits_per_nm\":2.0,\"instructions_per_nm\":3403}}}}", all.join(","))
    }

    fn loss(dormant: u64) -> String {
        let all: Vec<String> = LOSSES
            .iter()
            .map(|l| {
                format!(
                    "\"{l}\":{}",
                    if *l == "dormant_userspace" {
                        dormant
                    } else {
                        0
                    }
                )
            })
            .collect();
        format!("#XFD {{\"bytes_lost\":{{{}}}}}", all.join(","))
    }

    fn collection() -> Collection {
        let mut all = Collection::default();
        for (label, rdmsr, dormant) in [
            ("stock", 1000, 1020),
            ("unloaded", 1000, 1020),
            ("xinuse", 0, 0),
        ] {
            all.line(Some(label), "TAP version 13").unwrap();
            all.line(Some(label), &states(rdmsr)).unwrap();
            all.line(Some(label), &loss(dormant)).unwrap();
        }
        all
    }

    fn wanted() -> Vec<String> {
        ["stock", "unloaded", "xinuse"].map(String::from).to_vec()
    }

    #[test]
    fn lines_of_two_boots_merge_into_one_report() {
        let report = collection().report("7.3.4".into(), &wanted()).unwrap();
        let json: Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(
            json["strategies"]["stock"]["states"]["armed"]["rdmsr_xfd"],
            1000
        );
        assert_eq!(
            json["strategies"]["xinuse"]["bytes_lost"]["dormant_userspace"],
            0
        );
        assert_eq!(
            json["strategies"]
                .as_object()
                .unwrap()
                .keys()
                .next()
                .unwrap(),
            "stock"
        );
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn a_missing_figure_is_an_error_that_names_it() {
        let mut all = collection();
        all.line(Some("lazy"), &loss(0)).unwrap();
        let mut names = wanted();
        names.push("lazy".into());
        names.push("eager".into());
        let error = all.report("7.3.4".into(), &names).unwrap_err().to_string();
        assert!(error.contains("lazy: states.armed.rdmsr_xfd"));
        assert!(error.contains("eager: everything"));
        assert!(!error.contains("lazy: bytes_lost"));
    }

    #[test]
    fn bad_lines_are_errors() {
        let mut all = Collection::default();
        assert!(all.line(Some("x"), "#XFD {").is_err());
        assert!(all.line(None, "#XFD {}").is_err());
        assert!(all.line(None, "anything else").is_ok());
    }

    #[test]
    fn the_table_has_a_row_for_each_figure() {
        let report = collection().report("7.3.4".into(), &wanted()).unwrap();
        let table = report.table();
        let armed = table.lines().find(|l| l.starts_with("  armed")).unwrap();
        assert_eq!(
            armed.split_whitespace().collect::<Vec<_>>(),
            ["armed", "1.00", "1.00", "0.00"]
        );
        assert!(table
            .lines()
            .any(|l| l.starts_with("  dormant, userspace") && l.trim_end().ends_with('0')));
        assert!(table.lines().all(|l| l.len() <= 100));
    }

    #[test]
    fn words_say_what_is_true() {
        let report = collection().report("7.3.4".into(), &wanted()).unwrap();
        let words = report.words();
        assert!(words.contains("xinuse 0.00 times"));
        assert!(words.contains("stock 0 live and 1020 dormant"));
        assert!(words.contains("equals stock in every figure"));

        let mut all = collection();
        all.line(Some("unloaded"), &states(2000)).unwrap();
        let words = all.report("7.3.4".into(), &wanted()).unwrap().words();
        assert!(
            words.contains("differs from stock: never MSR accesses +1.00"),
            "{words}"
        );
    }
}
