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
    let lazy = |limit: &dyn Fn(&str, u64) -> u64| {
        let both = scenarios.iter().filter_map(|(name, columns)| {
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
    }
}
