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
            if !f.kept.is_empty() {
                map.serialize_entry("kept", &f.kept)?;
            }
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

/// Nothing, if it does not say anything of that.
type Cell = fn(&Figures) -> Option<String>;

const TABLES: [(&str, Cell); 5] = [
    ("accesses of XFD and XFD_ERR", |f| {
        Some(f.accesses().to_string())
    }),
    ("exits", |f| Some(f.exits.to_string())),
    ("exits for a guest's #NM", |f| Some(f.nm_exits.to_string())),
    (
        "millions of instructions of QEMU's in the host's kernel, sampled",
        |f| Some(format!("{:.1}", f.kernel_instructions() as f64 / 1e6)),
    ),
    ("bytes of dormant tiles that were kept", |f| {
        let kept = f.kept.iter().map(|(what, n)| format!("{what}={n}"));
        (!f.kept.is_empty()).then(|| kept.collect::<Vec<_>>().join(" "))
    }),
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
        let rows = self.scenarios.iter().filter_map(|(name, columns)| {
            let cells = head[1..].iter().map(|head| match columns.get(*head) {
                Some(Column {
                    ok: true,
                    figures: Some(f),
                    ..
                }) => cell(f),
                Some(_) => Some("FAILED".to_owned()),
                None => None,
            });
            let cells: Vec<Option<String>> = cells.collect();
            let said = cells.iter().any(Option::is_some);
            let cells = cells
                .into_iter()
                .map(|c| c.unwrap_or_else(|| "-".to_owned()));
            said.then(|| [name.clone()].into_iter().chain(cells).collect())
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
    fn only_scenarios_with_dormant_tiles_say_what_was_kept() {
        let mut report = report();
        assert!(report.tables().ends_with("a         -      FAILED"));
        report.scenarios["a"].shift_remove("lazy");
        assert!(report.tables().ends_with("scenario  stock"));
        let stock = report.scenarios["a"]["stock"].figures.as_mut().unwrap();
        stock.kept.insert("on".into(), 7);
        assert!(report.tables().ends_with("a         on=7"));
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
