// SPDX-License-Identifier: GPL-2.0
//! What the figures of guests must show.

use crate::measure::report::{is_strategy, Goal};
use crate::tests::guests::figures::Figures;
use crate::tests::guests::report::{Column, Columns, Scenarios};
use crate::tests::guests::scenario::Scenario;

const STOCK: &str = "stock";
const LAZY: &str = "lazy";

/// Judges what is there: a scenario that was not wanted is in nobody's way.
pub fn judge(list: &[Scenario], scenarios: &Scenarios) -> Vec<Goal> {
    let is_compute = |name: &str| list.iter().any(|s| s.name == name && s.compute);
    let is_compared = |name: &str| !list.iter().any(|s| s.name == name && s.vmm);
    let lazy = |limit: &dyn Fn(&str, u64) -> u64| {
        let compared = scenarios.iter().filter(|(name, _)| is_compared(name));
        let both = compared.filter_map(|(name, columns)| {
            Some((name, figures(columns, STOCK)?, figures(columns, LAZY)?))
        });
        let more =
            both.filter(|(name, stock, lazy)| lazy.accesses() > limit(name, stock.accesses()));
        more.map(|(name, stock, lazy)| {
            format!(
                "{name}: {} accesses, stock {}",
                lazy.accesses(),
                stock.accesses()
            )
        })
        .collect()
    };
    let tenth = |name: &str, stock: u64| match is_compute(name) {
        true => stock / 10,
        false => u64::MAX,
    };
    vec![
        goal(
            "each scenario passes on each host",
            of_each(scenarios, not_passed),
        ),
        goal("each product is right", of_each(scenarios, wrong)),
        goal(
            "each strategy takes no exit for a guest's #NM",
            of_each(scenarios, nm_exits),
        ),
        goal(
            "lazy accesses XFD and XFD_ERR a tenth as often as stock, where guests compute",
            lazy(&tenth),
        ),
        goal(
            "lazy accesses XFD and XFD_ERR no more often than stock",
            lazy(&|_, stock| stock),
        ),
        goal(
            "dormant tiles are kept where KVM transfers them and QEMU asks for it, and nowhere else",
            of_each(scenarios, kept),
        ),
    ]
}

fn goal(goal: &str, failures: Vec<String>) -> Goal {
    Goal {
        goal: goal.to_owned(),
        met: failures.is_empty(),
        failures,
    }
}

fn figures<'a>(columns: &'a Columns, name: &str) -> Option<&'a Figures> {
    columns.get(name)?.figures.as_ref()
}

/// What is to be said of each column of each scenario.
fn of_each(scenarios: &Scenarios, say: fn(&str, &Column) -> Option<String>) -> Vec<String> {
    let mut said = Vec::new();
    for (scenario, columns) in scenarios {
        for (name, column) in columns {
            said.extend(say(name, column).map(|what| format!("{scenario}: {name}: {what}")));
        }
    }
    said
}

fn not_passed(_: &str, column: &Column) -> Option<String> {
    let last = column.said.last().cloned().unwrap_or_default();
    (!column.ok).then_some(last)
}

fn wrong(_: &str, column: &Column) -> Option<String> {
    let figures = column.figures.as_ref()?;
    (figures.wrong > 0).then(|| format!("{} of {} are wrong", figures.wrong, figures.products))
}

fn nm_exits(name: &str, column: &Column) -> Option<String> {
    let exits = column.figures.as_ref()?.nm_exits;
    (is_strategy(name) && exits > 0).then(|| format!("{exits} exits"))
}

/// All bytes of all tiles.
const TILES: u64 = 8192;

/// A guest that isn't migrated keeps them on each host that defers its XFD.
fn kept(host: &str, column: &Column) -> Option<String> {
    let kept = &column.figures.as_ref()?.kept;
    let wrong = kept.iter().filter(|(what, bytes)| {
        let kept = is_strategy(host) && ["still", "on"].contains(&what.as_str());
        **bytes != if kept { TILES } else { 0 }
    });
    let wrong: Vec<_> = wrong
        .map(|(what, n)| format!("{what}: {n} bytes"))
        .collect();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexmap::IndexMap;

    fn scenarios(stock: u64, lazy: u64) -> Scenarios {
        let column = |rdmsr| Column {
            ok: true,
            figures: Some(Figures {
                rdmsr,
                ..Figures::default()
            }),
            said: Vec::new(),
        };
        let columns = [("stock", stock), ("lazy", lazy)];
        let columns = columns.map(|(name, n)| (name.to_owned(), column(n)));
        IndexMap::from([("a".to_owned(), IndexMap::from(columns))])
    }

    fn keeps(column: &mut Column, what: &str, bytes: u64) {
        let figures = column.figures.as_mut().unwrap();
        figures.kept.insert(what.into(), bytes);
    }

    #[test]
    fn a_host_without_module_keeps_no_dormant_tile() {
        let mut all = scenarios(100, 10);
        keeps(&mut all["a"]["stock"], "still", 0);
        assert!(missed(false, &all).is_empty());
        keeps(&mut all["a"]["stock"], "still", TILES);
        assert_eq!(missed(false, &all), ["a: stock: still: 8192 bytes"]);
    }

    fn missed(compute: bool, scenarios: &Scenarios) -> Vec<String> {
        let text = format!("name = \"a\"\nwhat = \"\"\nscript = \"\"\ncompute = {compute}\n");
        let goals = judge(&[toml::from_str(&text).unwrap()], scenarios);
        let missed = goals.into_iter().filter(|g| !g.met);
        missed.flat_map(|g| g.failures).collect()
    }

    #[test]
    fn lazy_saves_nine_of_ten_where_guests_compute() {
        assert!(missed(true, &scenarios(100, 10)).is_empty());
        assert_eq!(
            missed(true, &scenarios(100, 11)),
            ["a: 11 accesses, stock 100"]
        );
        assert!(missed(false, &scenarios(100, 100)).is_empty());
        assert_eq!(missed(false, &scenarios(100, 101)).len(), 1);
    }

    #[test]
    fn each_fault_misses_its_goal() {
        let broken = |break_it: fn(&mut Column)| {
            let mut all = scenarios(100, 10);
            break_it(&mut all["a"]["lazy"]);
            missed(true, &all)
        };
        assert_eq!(
            broken(|c| c.figures.as_mut().unwrap().nm_exits = 1),
            ["a: lazy: 1 exits"]
        );
        assert_eq!(broken(|c| c.figures.as_mut().unwrap().wrong = 1).len(), 1);
        assert_eq!(broken(|c| c.ok = false).len(), 1);
        assert_eq!(broken(|c| keeps(c, "on", TILES)).len(), 0);
        assert_eq!(
            broken(|c| keeps(c, "on", TILES - 1)),
            ["a: lazy: on: 8191 bytes"]
        );
        assert_eq!(broken(|c| keeps(c, "off", TILES)).len(), 1);
    }
}
