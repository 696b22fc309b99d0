// SPDX-License-Identifier: GPL-2.0
//! build/report/guests.json, and what of it is printed.

use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::base::table::table;
use crate::measure::report::Goal;
use crate::tests::guests::figures::Figures;

/// Results by scenario, in the order of the list.
pub type Scenarios = IndexMap<String, Columns>;
/// By what the host is: "stock", "minimal", "unloaded", or a strategy.
pub type Columns = IndexMap<String, Column>;

/// What came of a scenario on one host.
#[derive(Clone, Debug)]
pub struct Column {
    pub ok: bool,
    /// There are none where it did not come to its end.
    pub figures: Option<Figures>,
    /// What is to be said of it, if it did not pass.
    pub said: Vec<String>,
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ok", &self.ok)?;
        if let Some(f) = &self.figures {
            map.serialize_entry("exits", &f.exits)?;
            map.serialize_entry("rdmsr", &f.rdmsr)?;
            map.serialize_entry("wrmsr", &f.wrmsr)?;
            map.serialize_entry("nm_exits", &f.nm_exits)?;
            map.serialize_entry("products", &f.products)?;
            map.serialize_entry("wrong", &f.wrong)?;
            map.serialize_entry("kernel_instructions", &f.kernel_instructions())?;
            map.serialize_entry("reasons", &f.reasons)?;
        }
        if !self.said.is_empty() {
            map.serialize_entry("said", &self.said)?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
pub struct Report {
    pub kernel: String,
    pub scenarios: Scenarios,
    pub goals: Vec<Goal>,
}

type Cell = fn(&Figures) -> String;

const TABLES: [(&str, Cell); 4] = [
    ("accesses of XFD and XFD_ERR", |f| f.accesses().to_string()),
    ("exits", |f| f.exits.to_string()),
    ("exits for a guest's #NM", |f| f.nm_exits.to_string()),
    (
        "millions of instructions of QEMU's in the host's kernel, sampled",
        |f| format!("{:.1}", f.kernel_instructions() as f64 / 1e6),
    ),
];

impl Report {
    /// The tables, one below the other: rows are scenarios, columns are hosts.
    pub fn tables(&self) -> String {
        let tables = TABLES.iter().map(|(title, cell)| self.table(title, *cell));
        tables.collect::<Vec<_>>().join("\n\n")
    }

    fn table(&self, title: &str, cell: Cell) -> String {
        let mut head = vec!["scenario"];
        for name in self.scenarios.values().flat_map(IndexMap::keys) {
            if !head.contains(&name.as_str()) {
                head.push(name);
            }
        }
        let rows = self.scenarios.iter().map(|(name, columns)| {
            let cells = head[1..].iter().map(|head| match columns.get(*head) {
                Some(Column {
                    ok: true,
                    figures: Some(f),
                    ..
                }) => cell(f),
                Some(_) => "FAILED".to_owned(),
                None => "-".to_owned(),
            });
            [name.clone()].into_iter().chain(cells).collect()
        });
        format!("{title}:\n{}", table(&head, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let figures = Figures {
            exits: 7,
            rdmsr: 2,
            wrmsr: 3,
            ..Figures::default()
        };
        let column = |ok, figures: Option<Figures>| Column {
            ok,
            figures,
            said: Vec::new(),
        };
        let columns = IndexMap::from([
            ("stock".to_owned(), column(true, Some(figures))),
            ("lazy".to_owned(), column(false, None)),
        ]);
        Report {
            kernel: "7".into(),
            scenarios: IndexMap::from([("a".to_owned(), columns)]),
            goals: Vec::new(),
        }
    }

    #[test]
    fn the_keys_are_those_that_are_promised() {
        let json = serde_json::to_value(report()).unwrap();
        let stock = &json["scenarios"]["a"]["stock"];
        let keys: Vec<_> = stock.as_object().unwrap().keys().collect();
        let promised = [
            "ok",
            "exits",
            "rdmsr",
            "wrmsr",
            "nm_exits",
            "products",
            "wrong",
            "kernel_instructions",
            "reasons",
        ];
        assert_eq!(keys, promised);
        assert_eq!(stock["exits"], 7);
        assert_eq!(json["scenarios"]["a"]["lazy"]["ok"], false);
    }

    #[test]
    fn a_scenario_that_failed_has_no_figure() {
        let text = report().tables();
        let lines: Vec<&str> = text.lines().take(3).collect();
        assert_eq!(
            lines,
            [
                "accesses of XFD and XFD_ERR:",
                "scenario  stock  lazy",
                "a         5      FAILED"
            ]
        );
    }
}
