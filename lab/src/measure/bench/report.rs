// SPDX-License-Identifier: GPL-2.0
//! bench.json: distributions by column, state and kind of exit. Documentation/bench.rst promises it.

use std::collections::BTreeMap;

use anyhow::Result;
use indexmap::IndexMap;
use serde::Serialize;

use crate::base::failure::Failure;
use crate::measure::bench::distribution::Distribution;
use crate::measure::bench::pairs::{Kind, Pairs};
use crate::measure::bench::trace::{Clock, Trace};

#[derive(Serialize)]
pub struct Report {
    pub unit: Unit,
    /// All lengths are multiples of so many units.
    pub resolution: u64,
    pub columns: IndexMap<String, Column>,
    /// By column, action and state: what the guest saw of one, in instructions, while it was traced.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub traced: IndexMap<String, Traced>,
}

pub type Traced = BTreeMap<String, BTreeMap<String, u64>>;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// The emulator's TSC counts them.
    Instructions,
    Nanoseconds,
    /// Ticks of a real CPU's TSC.
    Cycles,
}

impl Unit {
    pub fn words(self) -> &'static str {
        match self {
            Unit::Instructions => "instructions",
            Unit::Nanoseconds => "nanoseconds",
            Unit::Cycles => "TSC ticks",
        }
    }

    /// What a clock counts; `emulated` says that the TSC is the emulator's.
    pub fn of(clock: Clock, emulated: bool) -> (Unit, u64) {
        match clock {
            Clock::Ticks if emulated => (Unit::Instructions, 1),
            Clock::Ticks => (Unit::Cycles, 1),
            Clock::Nanoseconds(resolution) => (Unit::Nanoseconds, resolution),
        }
    }
}

/// By the guest's state; [`ANY`] where it is not known.
pub type Column = IndexMap<String, State>;

/// The state of a guest of which nobody says.
pub const ANY: &str = "any";

/// In the place of a state: a guest that is Linux, at work.
pub const LINUX: &str = "linux";

/// What was seen in a state. A kind that cannot be there, or that the trace does not tell, is none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct State {
    #[serde(flatten)]
    pub kinds: IndexMap<&'static str, Distribution>,
    /// Exits after which there was no switch and no return to userspace, by their reason.
    pub reasons: BTreeMap<String, Distribution>,
    pub unpaired: u64,
    pub uncertain: u64,
}

/// Keys of bench.json, in the order of everything that shows them, and what they are.
pub const KINDS: [(&str, Kind, &str); 4] = [
    ("exit", Kind::Exit, "VM-exits that the kernel handles"),
    ("nm", Kind::Nm, "VM-exits for a guest's #NM"),
    (
        "switch",
        Kind::Switch,
        "VM-exits with a task switch and back",
    ),
    (
        "userspace",
        Kind::Userspace,
        "VM-exits to userspace and back",
    ),
];

impl State {
    /// Adds what a trace has of these kinds; of others it is none of this state's.
    pub fn add(&mut self, pairs: &Pairs, kinds: &[Kind]) {
        for (key, kind, _) in KINDS {
            if kinds.contains(&kind) {
                let all = self.kinds.entry(key).or_default();
                let of_it = pairs.pairs.iter().filter(|p| p.kind == kind);
                of_it.for_each(|p| all.add(p.length));
            }
        }
        for pair in &pairs.pairs {
            if !matches!(pair.kind, Kind::Userspace | Kind::Switch) {
                let all = self.reasons.entry(pair.reason.clone()).or_default();
                all.add(pair.length);
            }
        }
        self.unpaired += pairs.unpaired;
        self.uncertain += pairs.uncertain;
    }
}

/// The pairs of a trace, if it is good enough to be used: `name` is what messages call it.
pub fn sound(trace: &Trace, name: &str) -> Result<Pairs> {
    let pairs = matching(trace, name)?;
    if !pairs.pairs.is_empty() {
        return Ok(pairs);
    }
    let why = match pairs.uncertain {
        0 => "no VM-exit in it has a VM-entry after it in its thread",
        _ => "events are lost everywhere in it",
    };
    Err(Failure::new(format!("{name}: {why}"))
        .next("record again, with larger buffers: trace-cmd record -b, perf record -m")
        .into())
}

/// The same, of a trace that may have none.
pub fn matching(trace: &Trace, name: &str) -> Result<Pairs> {
    let pairs = Pairs::of(trace);
    let number = pairs.pairs.len() as u64;
    // Where one is missing another may be, and a wrong pair look like a right one.
    if number == 0 || pairs.unpaired * 100 <= number {
        return Ok(pairs);
    }
    let counts = format!("{number} pairs, {} events of no pair", pairs.unpaired);
    Err(
        Failure::new(format!("{name}: exits and entries do not belong together"))
            .details([counts])
            .next("record both kvm_exit and kvm_entry of all CPUs, without a filter")
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::bench::trace::tests::tracefs;

    fn trace(events: &[(u32, u32, &str, char)]) -> Trace {
        Trace::parse(&tracefs(events), "it").unwrap()
    }

    #[test]
    fn keys_are_the_documented_ones() {
        let trace = trace(&[
            (0, 1, "1000", 'x'),
            (0, 1, "2464", 'e'),
            (0, 1, "3000", 'i'),
            (0, 1, "9000", 'e'),
        ]);
        let mut state = State::default();
        state.add(&sound(&trace, "it").unwrap(), &[Kind::Exit, Kind::Nm]);
        let report = Report {
            unit: Unit::of(trace.clock, true).0,
            resolution: 1,
            columns: [("lazy".to_owned(), [("armed".to_owned(), state)].into())].into(),
            traced: IndexMap::new(),
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["unit"], "instructions");
        let armed = &json["columns"]["lazy"]["armed"];
        assert_eq!(armed["exit"]["median"], 1464);
        assert_eq!(armed["nm"]["count"], 0);
        assert_eq!(armed.get("switch"), None);
        // The interrupt's handler is none of KVM's costs.
        assert_eq!(armed["exit"]["count"], 1);
        assert_eq!(armed["reasons"]["EXTERNAL_INTERRUPT"]["median"], 6000);
        assert_eq!(armed["unpaired"], 0);
        assert_eq!(json.get("traced"), None);
    }

    #[test]
    fn every_key_is_in_the_documentation() {
        let page = include_str!("../../../../Documentation/bench.rst");
        let keys = [
            "unit",
            "resolution",
            "columns",
            "traced",
            "reasons",
            "unpaired",
            "uncertain",
        ];
        let of_one = ["count", "min", "p1", "median", "p99", "max", "values"];
        let kinds = KINDS.map(|(key, ..)| key);
        for key in keys.iter().chain(&of_one).chain(&kinds) {
            assert!(page.contains(&format!("\n``{key}``")), "{key}");
        }
    }

    #[test]
    fn units_are_what_the_clock_counts() {
        assert_eq!(Unit::of(Clock::Ticks, true), (Unit::Instructions, 1));
        assert_eq!(Unit::of(Clock::Ticks, false), (Unit::Cycles, 1));
        for emulated in [true, false] {
            let (unit, resolution) = Unit::of(Clock::Nanoseconds(1000), emulated);
            assert_eq!((unit, resolution), (Unit::Nanoseconds, 1000));
        }
    }

    #[test]
    fn a_trace_that_does_not_fit_together_is_refused() {
        let said = |events: &[(u32, u32, &str, char)]| {
            sound(&trace(events), "it").unwrap_err().to_string()
        };
        let apart = said(&[(0, 1, "1000", 'x'), (0, 2, "2000", 'e')]);
        assert!(apart.contains("no VM-exit in it has a VM-entry"), "{apart}");
        let twice = said(&[
            (0, 1, "1000", 'x'),
            (0, 1, "2000", 'x'),
            (0, 1, "3000", 'e'),
        ]);
        assert!(twice.contains("1 pairs, 1 events of no pair"), "{twice}");
        let text = tracefs(&[(0, 1, "1000", 'x'), (0, 1, "2000", 'e')]);
        let lost = text.replace("# tracer: nop", "# entries-in-buffer/entries-written: 2/9");
        let lost = lost.replace(
            "  q-1   [000] d..1. 2000",
            "CPU:0 [LOST 3 EVENTS]\n  q-1   [000] d..1. 2000",
        );
        let lost = Trace::parse(&lost, "it").unwrap();
        assert!(sound(&lost, "it")
            .unwrap_err()
            .to_string()
            .contains("lost everywhere"));
    }
}
