// SPDX-License-Identifier: GPL-2.0
//! The pictures of a kit's figures: what operations cost, and exits beside the emulator's.

use indexmap::IndexMap;

use crate::measure::bench::figure::{Chart, Figure, Panel, Spread};
use crate::measure::kit::{Cost, Figures, Kit, EVENTS};
use crate::measure::report::STATES;

/// Which operations stand side by side.
const OPERATIONS: [(&str, &[&str]); 3] = [
    (
        "RDMSR and WRMSR of XFD and XFD_ERR",
        &[
            "rdmsr_xfd",
            "rdmsr_xfd_err",
            "wrmsr_xfd",
            "wrmsr_xfd_err",
            "wrmsr_xfd_change",
        ],
    ),
    (
        "XGETBV(1) and saves",
        &[
            "xgetbv",
            "xsavec",
            "xsavec_tiles",
            "xsaves",
            "xsaves_tiles",
            "xsaves_dormant",
        ],
    ),
    (
        "restores, and tiles",
        &[
            "xrstor",
            "xrstor_tiles",
            "xrstors",
            "xrstors_tiles",
            "ldtilecfg",
            "tilezero",
            "tilerelease",
        ],
    ),
];

pub fn figures(kit: &Kit, here: &Figures, emulated: Option<&Figures>) -> Vec<Figure> {
    let mark = if kit.rehearsed { ", REHEARSED" } else { "" };
    let unit = kit.probe.unit.words();
    let model = &kit.probe.cpu.model_name;
    let costs = Figure {
        name: "costs".into(),
        title: format!(
            "One of each, with the pair of RDTSC (least, median, 99th percentile): {model}{mark}"
        ),
        unit,
        panels: OPERATIONS
            .map(|(title, keys)| operations(kit, title, keys))
            .into(),
    };
    let mut all = vec![costs];
    for (title, key) in EVENTS {
        let mut panels = vec![event(
            here,
            key,
            format!("{unit}, Linux {}{mark}", kit.kernel),
        )];
        let names: Vec<String> = here.columns().map(str::to_owned).collect();
        panels.extend(
            emulated.map(|e| event(&e.only(&names), key, "instructions, in the emulator".into())),
        );
        all.push(Figure {
            name: key.into(),
            title: format!("What {title} costs: {model}"),
            unit: "",
            panels,
        });
    }
    all
}

/// Operations that neither the meter nor the probe has timed are left out.
fn operations(kit: &Kit, title: &str, keys: &[&str]) -> Panel {
    let has = |costs: Option<&IndexMap<String, Cost>>, key| {
        costs.is_some_and(|costs| costs.contains_key(key))
    };
    let at_ring_0 = kit.meter.as_ref().map(|m| &m.costs);
    let keys = keys.iter().copied();
    let keys: Vec<&str> = keys
        .filter(|&key| has(at_ring_0, key) || has(Some(&kit.probe.costs), key))
        .collect();
    let of = |costs: Option<&IndexMap<String, Cost>>| -> Vec<Option<Spread>> {
        let spread = |cost: &Cost| Spread {
            p1: cost.min,
            median: cost.median,
            p99: cost.p99,
        };
        keys.iter()
            .map(|key| costs?.get(*key).map(spread))
            .collect()
    };
    Panel {
        title: title.into(),
        chart: Chart::Medians {
            groups: keys.iter().map(|key| (*key).to_owned()).collect(),
            series: vec![
                ("ring 0".into(), of(at_ring_0)),
                ("ring 3".into(), of(Some(&kit.probe.costs))),
            ],
        },
    }
}

/// A group for each state, in it a point for each column.
fn event(figures: &Figures, key: &str, title: String) -> Panel {
    let series = figures.columns().map(|on| {
        let points = STATES.iter().map(|state| {
            let path = format!("/{key}/{state}/instructions");
            let median = figures.number(on, &path)? as u64;
            Some(Spread {
                p1: median,
                median,
                p99: median,
            })
        });
        (on.to_owned(), points.collect())
    });
    Panel {
        title,
        chart: Chart::Medians {
            groups: STATES.map(|state| state.replace('_', " ")).into(),
            series: series.collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::bench::picture::svg;
    use crate::measure::collection::tests::report;
    use crate::measure::kit::tests::kit;

    #[test]
    fn each_picture_has_its_points() {
        let kit = kit();
        let here = kit.figures().unwrap();
        let emulated = Figures::of(&report()).unwrap();
        let all = figures(&kit, &here, Some(&emulated));
        let names: Vec<&str> = all.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(
            names,
            ["costs", "exit", "userspace", "switch_plain", "switch_amx"]
        );
        let drawn: Vec<String> = all.iter().map(|f| svg(f).unwrap()).collect();
        // rdmsr_xfd at ring 0, tilezero at ring 3
        assert_eq!(drawn[0].matches("<circle").count(), 2);
        assert!(drawn[0].contains("rdmsr_xfd") && !drawn[0].contains("wrmsr_xfd"));
        // Each state here, and in the emulator.
        for text in &drawn[1..] {
            assert_eq!(text.matches("<circle").count(), 2 * STATES.len());
            assert!(text.contains("instructions, in the emulator"));
        }
        assert!(drawn.iter().all(|text| text.contains("A CPU")));
    }
}
