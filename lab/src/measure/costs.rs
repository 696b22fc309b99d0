// SPDX-License-Identifier: GPL-2.0
//! The ledger of costs, Documentation/costs.toml, and what the counts of a measurement come to with it.
//! What is in no source is unknown here; nothing is guessed.

use std::fmt::Write;

use anyhow::Result;
use comfy_table::{presets, CellAlignment};
use serde::Deserialize;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::measure::interval::Interval;
use crate::measure::report::{Cost, Figures, Report};
use crate::measure::table::{Table, SLOW_PATHS};

const LEDGER: &str = "Documentation/costs.toml";

/// What the table of the published costs begins with.
pub const PUBLISHED: &str = "published";

/// The operations that run.json counts.
const COUNTED: [&str; 4] = ["rdmsr", "wrmsr", "list_entry", "exit"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    operation: Vec<Operation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    key: String,
    name: String,
    #[serde(default)]
    published: Vec<Published>,
}

/// As the ledger's first lines have it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    least: f64,
    most: Option<f64>,
    #[serde(default)]
    unit: Unit,
    like: Option<String>,
    how: How,
    who: String,
    cpu: String,
    title: String,
    date: String,
    source: String,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Unit {
    #[default]
    Cycles,
    Nanoseconds,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Measured,
    Stated,
    Estimated,
}

/// Whose costs an operation is given.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// Its own.
    Own,
    /// Its own if they are published, and those of its like if they are not.
    Like,
}

impl Ledger {
    pub fn read(lab: &Lab) -> Result<Ledger> {
        let ledger: Ledger = files::toml(&lab.at(LEDGER))?;
        let wrong = ledger.wrong();
        match wrong.is_empty() {
            true => Ok(ledger),
            false => Err(Failure::new(format!("{LEDGER} is no ledger"))
                .details(wrong)
                .next("its first lines say what an entry has")
                .into()),
        }
    }

    /// What keeps it from being used.
    fn wrong(&self) -> Vec<String> {
        let keys = || self.operation.iter().map(|o| o.key.as_str());
        let missing = COUNTED.iter().filter(|k| !keys().any(|key| key == **k));
        let missing = missing.map(|key| format!("no operation {key}"));
        let twice = keys().filter(|key| keys().filter(|k| k == key).count() > 1);
        let twice = twice.map(|key| format!("{key} more than once"));
        let entries = self
            .operation
            .iter()
            .flat_map(|o| o.published.iter().map(move |p| (o, p)));
        let empty = entries
            .filter(|(_, p)| p.interval().is_none())
            .map(|(o, p)| {
                let most = p.most.unwrap_or(f64::INFINITY);
                format!("{}: {} to {most} is no interval", o.key, p.least)
            });
        missing.chain(twice).chain(empty).collect()
    }

    /// What one such operation costs, in cycles.
    fn cost(&self, key: &str, whose: Whose) -> Interval {
        let operation = self.operation.iter().find(|o| o.key == key);
        let cost = operation.and_then(|o| {
            let own = o.hull(Unit::Cycles, false);
            match whose {
                Whose::Own => own,
                Whose::Like => own.or(o.hull(Unit::Cycles, true)),
            }
        });
        cost.unwrap_or(Interval::UNKNOWN)
    }

    /// The accesses of one event, and so many entries of MSR lists.
    fn accesses(&self, cost: &Cost, entries: u64, whose: Whose) -> Interval {
        [
            ("rdmsr", cost.rdmsr()),
            ("wrmsr", cost.wrmsr()),
            ("list_entry", entries as f64),
        ]
        .map(|(key, count)| self.cost(key, whose).times(count))
        .into_iter()
        .sum()
    }

    /// Each entry, as a line.
    pub fn sources(&self) -> String {
        let mut text = String::new();
        for operation in &self.operation {
            let _ = writeln!(text, "{}:", operation.name);
            if operation.published.is_empty() {
                let _ = writeln!(text, "  nothing");
            }
            for published in &operation.published {
                let _ = writeln!(text, "  {}", published.line());
            }
        }
        text
    }
}

impl Operation {
    /// The interval that all that is published in `unit` lies in, of the operation itself or of its like.
    fn hull(&self, unit: Unit, like: bool) -> Option<Interval> {
        let published = self.published.iter();
        let of_it = published.filter(|p| p.unit == unit && p.like.is_some() == like);
        of_it.filter_map(Published::interval).reduce(Interval::hull)
    }

    /// As the table has it: in cycles, or in nanoseconds if no cycles are published.
    fn cell(&self, like: bool) -> String {
        let cycles = self.hull(Unit::Cycles, like);
        let nanoseconds = self.hull(Unit::Nanoseconds, like);
        match (cycles, nanoseconds, like) {
            (Some(cycles), ..) => cycles.to_string(),
            (None, Some(nanoseconds), _) => format!("{nanoseconds} ns"),
            (None, None, false) => Interval::UNKNOWN.to_string(),
            (None, None, true) => "-".into(),
        }
    }
}

impl Published {
    fn interval(&self) -> Option<Interval> {
        Interval::new(self.least, self.most)
    }

    fn line(&self) -> String {
        let interval = self.interval().unwrap_or(Interval::UNKNOWN);
        let unit = match self.unit {
            Unit::Cycles => "cycles",
            Unit::Nanoseconds => "nanoseconds",
        };
        let how = match self.how {
            How::Measured => "measured",
            How::Stated => "stated",
            How::Estimated => "estimated",
        };
        let like = self.like.iter().map(|like| format!(", {like}"));
        format!(
            "{interval} {unit}{}: {how} by {}, CPU {}: \"{}\", {}; {}",
            like.collect::<String>(),
            self.who,
            self.cpu,
            self.title,
            self.date,
            self.source
        )
    }
}

/// What is published, and what the counts of the measurement come to with it: three tables.
pub fn tables(ledger: &Ledger, report: &Report) -> String {
    format!(
        "{}\n\n{}\n{}",
        published(ledger),
        per_exit(ledger, report),
        slow_path(ledger, report)
    )
}

fn published(ledger: &Ledger) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header([PUBLISHED, "itself", "its like"]);
    for operation in &ledger.operation {
        let cells = [operation.cell(false), operation.cell(true)];
        table.add_row([format!("  {}", operation.name)].into_iter().chain(cells));
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if number == 0 { 0 } else { 2 }, 0));
        if number > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.trim_fmt();
    let title = "cycles of one, or nanoseconds where no cycles are published";
    text.replacen('\n', &format!("\n{title}\n"), 1)
}

fn per_exit<'a>(ledger: &Ledger, report: &'a Report) -> Table<'a> {
    let mut table = Table::new(report);
    for (title, whose) in [
        (
            "cycles of MSR accesses and list entries per exit, as published of XFD and XFD_ERR",
            Whose::Own,
        ),
        ("the same, as published of their like", Whose::Like),
    ] {
        table.by_state(title, |f, state| {
            let entries = f.list_entries[state];
            let cycles = ledger.accesses(&f.exit[state], entries, whose);
            cycles.to_string()
        });
    }
    // They are none of the fast path's, which alone are published.
    table.section("cycles of the exits for a guest's #NM: no less than the fast path's");
    table.row("exits", |f: &Figures| {
        let exits = ledger.cost("exit", Whose::Own).times(f.nm.exits);
        exits.or_more().to_string()
    });
    table
}

fn slow_path<'a>(ledger: &Ledger, report: &'a Report) -> Table<'a> {
    let mut table = Table::new(report);
    for (title, of) in SLOW_PATHS {
        let title = format!("cycles of {title}, as published of their like");
        table.by_state(&title, |f, state| {
            // There is one exit in each of them.
            let entries = f.list_entries[state];
            let cycles = ledger.accesses(&of(f)[state], entries, Whose::Like);
            cycles.to_string()
        });
    }
    table
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::measure::collection::tests::narrow_report as report;

    /// The one of the documentation.
    pub fn ledger() -> Ledger {
        toml::from_str(include_str!("../../../Documentation/costs.toml")).unwrap()
    }

    /// A ledger whose entries have these lines.
    fn with(operations: &[(&str, &[&str])]) -> Ledger {
        let mut text = String::new();
        for (key, entries) in operations {
            text += &format!("[[operation]]\nkey = \"{key}\"\nname = \"{key}\"\n");
            for entry in *entries {
                let entry = entry.replace(", ", "\n");
                text += &format!(
                    "[[operation.published]]\n{entry}\nhow = \"stated\"\nwho = \"x\"\n\
                     cpu = \"x\"\ntitle = \"x\"\ndate = \"x\"\nsource = \"x\"\n"
                );
            }
        }
        toml::from_str(&text).unwrap()
    }

    const LIKE: &str = "like = \"x\"";

    fn priced() -> Ledger {
        with(&[
            ("rdmsr", &["least = 10, most = 20"]),
            ("wrmsr", &[&format!("least = 100, {LIKE}")]),
            ("list_entry", &["least = 1000, most = 2000"]),
            ("exit", &["least = 7, most = 7, unit = \"nanoseconds\""]),
        ])
    }

    fn cost(rdmsr: u64, wrmsr: u64) -> Cost {
        let mut cost = report().strategies["stock"].exit["armed"].clone();
        cost.times = 2;
        (cost.msr.rdmsr_xfd, cost.msr.rdmsr_xfd_err) = (rdmsr, rdmsr);
        (cost.msr.wrmsr_xfd, cost.msr.wrmsr_xfd_err) = (wrmsr, wrmsr);
        cost
    }

    #[test]
    fn the_documentations_ledger_can_be_used() {
        assert_eq!(ledger().wrong(), [""; 0]);
    }

    #[test]
    fn counts_are_multiplied_with_costs_and_added() {
        let ledger = priced();
        let both = |cost: &Cost, entries| {
            let of = |whose| ledger.accesses(cost, entries, whose).to_string();
            (of(Whose::Own), of(Whose::Like))
        };
        let shown = |own: &str, like: &str| (own.to_owned(), like.to_owned());
        assert_eq!(both(&cost(0, 0), 0), shown("0", "0"));
        assert_eq!(both(&cost(3, 0), 0), shown("30-60", "30-60"));
        assert_eq!(both(&cost(3, 0), 2), shown("2030-4060", "2030-4060"));
        assert_eq!(both(&cost(0, 1), 0), shown("unknown", "100+"));
        assert_eq!(both(&cost(1, 1), 0), shown("10+", "110+"));
    }

    #[test]
    fn the_like_counts_only_where_nothing_is_published_of_the_operation() {
        let like = format!("least = 1, most = 900, {LIKE}");
        let ledger = with(&[(
            "wrmsr",
            &["least = 5, most = 6", &like, "least = 3, most = 4"],
        )]);
        assert_eq!(ledger.cost("wrmsr", Whose::Own).to_string(), "3-6");
        assert_eq!(ledger.cost("wrmsr", Whose::Like).to_string(), "3-6");
        assert_eq!(ledger.operation[0].cell(true), "1-900");
    }

    #[test]
    fn nanoseconds_are_shown_and_never_counted() {
        let ledger = priced();
        assert_eq!(ledger.cost("exit", Whose::Like), Interval::UNKNOWN);
        assert_eq!(ledger.operation[3].cell(false), "7 ns");
        assert_eq!(ledger.operation[3].cell(true), "-");
    }

    #[test]
    fn what_is_no_ledger_is_told() {
        let ledger = with(&[
            ("rdmsr", &["least = 2, most = 1"]),
            ("wrmsr", &[]),
            ("exit", &[]),
            ("wrmsr", &[]),
        ]);
        assert_eq!(
            ledger.wrong(),
            [
                "no operation list_entry",
                "wrmsr more than once",
                "wrmsr more than once",
                "rdmsr: 2 to 1 is no interval"
            ]
        );
    }

    #[test]
    fn the_tables_have_a_row_for_each_count() {
        let text = tables(&priced(), &report());
        let row = |title: &str, name: &str| -> String {
            let rows = text.lines().skip_while(|l| !l.starts_with(title));
            let line = rows.skip(1).find(|l| l.trim().starts_with(name)).unwrap();
            let cells = line.trim().trim_start_matches(name);
            cells.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let exit = "cycles of MSR accesses and list entries per exit";
        assert_eq!(row("published", "wrmsr"), "unknown 100+");
        assert_eq!(row(exit, "armed"), "10-20 0 10-20 0 40-80 0");
        assert_eq!(row("the same", "armed"), "10-20 0 10-20 0 40-80 0");
        let plain = "cycles of a switch to a plain task and back";
        assert_eq!(row(plain, "armed"), "210+ 210+ 210+ 210+ 210+ 210+");
        assert_eq!(text.split("\n\n").count(), 3);
        assert!(text.lines().all(|l| l.len() <= 110 && l == l.trim_end()));
    }
}
