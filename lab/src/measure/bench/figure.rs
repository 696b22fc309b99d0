// SPDX-License-Identifier: GPL-2.0
//! What a picture shows: names and points, made of bench.json's figures, and not how it is drawn.

use crate::measure::bench::distribution::Distribution;
use crate::measure::bench::report::{Report, ANY, KINDS, LINUX};

pub struct Figure {
    /// The picture's file, without its ending.
    pub name: String,
    pub title: String,
    pub unit: &'static str,
    pub panels: Vec<Panel>,
}

/// Panels stand one below the other.
pub struct Panel {
    pub title: String,
    pub chart: Chart,
}

pub enum Chart {
    /// Medians, with a bar from the 1st to the 99th percentile: a group for each column, in it a point
    /// for each series.
    Medians {
        groups: Vec<String>,
        /// Where there is no exit there is no point.
        series: Vec<(String, Vec<Option<Spread>>)>,
    },
    /// How often each length is there: a lane for each series. Lengths, and shares of the most frequent.
    Lanes(Vec<(String, Vec<(u64, f64)>)>),
    /// What share of all is not longer: two points for each length.
    Curves(Vec<(String, Vec<(f64, u64)>)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub p1: u64,
    pub median: u64,
    pub p99: u64,
}

/// All pictures of a report.
pub fn figures(report: &Report) -> Vec<Figure> {
    let mut all: Vec<Figure> = KINDS
        .iter()
        .filter_map(|(key, _, words)| medians(report, key, words))
        .collect();
    for state in states(report) {
        all.extend(by_state(
            report,
            &state,
            "histogram",
            "how often each length is there",
            |d| {
                Chart::Lanes(
                    d.into_iter()
                        .map(|(n, d)| (n, d.map_or_else(Vec::new, lane)))
                        .collect(),
                )
            },
        ));
        all.extend(by_state(
            report,
            &state,
            "percentiles",
            "lengths by percentile",
            |d| {
                Chart::Curves(
                    d.into_iter()
                        .map(|(n, d)| (n, d.map_or_else(Vec::new, curve)))
                        .collect(),
                )
            },
        ));
    }
    all
}

/// The states that any column has, in their order.
fn states(report: &Report) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for state in report.columns.values().flat_map(|c| c.keys()) {
        if !all.contains(state) {
            all.push(state.clone());
        }
    }
    all
}

/// What a state is called in words.
fn shown(state: &str) -> String {
    match state {
        ANY => "all states".into(),
        LINUX => "a Linux guest at work".into(),
        _ => state.replace("no_amx", "no AMX"),
    }
}

fn of<'a>(report: &'a Report, column: &str, state: &str, kind: &str) -> Option<&'a Distribution> {
    let kinds = &report.columns.get(column)?.get(state)?.kinds;
    kinds.get(kind).filter(|d| d.count() > 0)
}

fn medians(report: &Report, kind: &str, words: &str) -> Option<Figure> {
    // Linux goes from state to state: its exits are not to be compared with those of one.
    let one = states(report).into_iter().filter(|state| state != LINUX);
    let series = one.filter_map(|state| {
        let points = report.columns.keys().map(|column| {
            of(report, column, &state, kind).map(|d| Spread {
                p1: d.p1(),
                median: d.median(),
                p99: d.p99(),
            })
        });
        let points: Vec<_> = points.collect();
        points
            .iter()
            .any(Option::is_some)
            .then(|| (shown(&state), points))
    });
    let series: Vec<_> = series.collect();
    if series.is_empty() {
        return None;
    }
    let chart = Chart::Medians {
        groups: report.columns.keys().cloned().collect(),
        series,
    };
    Some(Figure {
        name: kind.to_owned(),
        title: format!(
            "{words}, {}: medians, 1st to 99th percentile",
            report.unit.words()
        ),
        unit: report.unit.words(),
        panels: vec![Panel {
            title: String::new(),
            chart,
        }],
    })
}

/// A panel for each kind, and in it all columns, those as well that have no point there.
fn by_state(
    report: &Report,
    state: &str,
    name: &str,
    words: &str,
    chart: impl Fn(Vec<(String, Option<&Distribution>)>) -> Chart,
) -> Option<Figure> {
    let panels = KINDS.iter().filter_map(|(kind, _, title)| {
        let columns = report.columns.keys();
        let found = columns.map(|c| (c.clone(), of(report, c, state, kind)));
        let found: Vec<_> = found.collect();
        found.iter().any(|(_, d)| d.is_some()).then(|| Panel {
            title: (*title).to_owned(),
            chart: chart(found),
        })
    });
    let panels: Vec<Panel> = panels.collect();
    (!panels.is_empty()).then(|| Figure {
        name: format!("{name}-{state}"),
        title: format!("{}: {words}, {}", shown(state), report.unit.words()),
        unit: report.unit.words(),
        panels,
    })
}

fn lane(all: &Distribution) -> Vec<(u64, f64)> {
    let values = all.values();
    let most = values.iter().map(|(_, n)| *n).max().unwrap_or(1) as f64;
    values
        .into_iter()
        .map(|(v, n)| (v, n as f64 / most))
        .collect()
}

fn curve(all: &Distribution) -> Vec<(f64, u64)> {
    let (mut below, mut points) = (0, Vec::new());
    let share = |n: u64| 100.0 * n as f64 / all.count() as f64;
    for (length, n) in all.values() {
        points.push((share(below), length));
        below += n;
        points.push((share(below), length));
    }
    points
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::measure::bench::distribution::tests::of as distribution;
    use crate::measure::bench::report::{State, Unit};
    use indexmap::IndexMap;

    /// Three columns, two states, of which `armed` has a #NM that does not exit with `lazy`.
    pub fn report() -> Report {
        let column = |more: u64, nm: Option<u64>| {
            let state = |n: u64| {
                let mut state = State::default();
                let lengths = (0..n).map(|i| 1400 + more + i % 3 + 900 * (i / 100));
                state.kinds.insert("exit", distribution(lengths));
                state.kinds.insert("userspace", distribution([3000 + more]));
                state
            };
            let mut armed = state(300);
            armed.kinds.insert("nm", distribution(nm));
            IndexMap::from([
                ("armed".to_owned(), armed),
                ("no_amx".to_owned(), state(200)),
            ])
        };
        let columns = [
            ("stock".to_owned(), column(20, Some(1700))),
            ("minimal".to_owned(), column(1, Some(1690))),
            ("lazy".to_owned(), column(0, None)),
        ];
        Report {
            unit: Unit::Instructions,
            resolution: 1,
            columns: columns.into(),
            traced: IndexMap::new(),
        }
    }

    #[test]
    fn pictures_are_of_what_there_is() {
        let all = figures(&report());
        let names: Vec<&str> = all.iter().map(|f| f.name.as_str()).collect();
        let want = [
            "exit",
            "nm",
            "userspace",
            "histogram-armed",
            "percentiles-armed",
            "histogram-no_amx",
            "percentiles-no_amx",
        ];
        assert_eq!(names, want);
        assert_eq!(all[3].panels.len(), 3);
        assert_eq!(all[5].panels.len(), 2);
        let Chart::Medians { groups, series } = &all[1].panels[0].chart else {
            panic!("medians are medians");
        };
        assert_eq!(groups, &["stock", "minimal", "lazy"]);
        let spread = |n| {
            Some(Spread {
                p1: n,
                median: n,
                p99: n,
            })
        };
        assert_eq!(
            series,
            &[("armed".to_owned(), vec![spread(1700), spread(1690), None])]
        );
    }

    #[test]
    fn curves_reach_from_nothing_to_all() {
        let points = curve(&distribution([5, 5, 5, 9]));
        assert_eq!(points, [(0.0, 5), (75.0, 5), (75.0, 9), (100.0, 9)]);
        assert_eq!(lane(&distribution([5, 5, 9])), [(5, 1.0), (9, 0.5)]);
    }
}
