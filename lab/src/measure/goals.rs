// SPDX-License-Identifier: GPL-2.0
//! What the figures must show: `lab run` fails if they do not.

use crate::measure::report::{
    is_strategy, Cost, Figures, Goal, Nested, States, Strategies, NESTED, STATES, VCPUS,
};

/// What is wrong with the first's figures, given those of stock.
type Judge = fn(&Figures, &Figures) -> Vec<String>;

/// The module's strategies, all of them.
const EACH: &str = "each strategy";

#[rustfmt::skip]
const GOALS: [(&str, &str, Judge); 19] = [
    (EACH, "loses no byte of tile data", bytes_lost),
    (EACH, "costs never and no AMX not an instruction more per exit than stock", unconcerned),
    (EACH, "costs older VMs not an access or instruction more per exit than stock", older),
    ("minimal", "loses no byte of tile data where stock loses none", no_more_lost),
    ("minimal", "accesses no MSR on an exit, but for pending", no_access_but_pending),
    ("minimal", "costs not an access or instruction more per exit than stock", no_dearer),
    ("minimal", "costs an L2 not an access, an exit or an instruction more than stock", nested),
    ("unloaded", "costs not an access or instruction more per exit than stock", no_dearer),
    ("unloaded", "costs an L2 not an access, an exit or an instruction more than stock", nested),
    ("lazy", "accesses no MSR on an exit, in any state", no_access),
    ("lazy", "takes no more instructions for an exit than stock in never", as_never),
    ("lazy", "takes no exit and at most 400 instructions for a guest's #NM", nm),
    ("lazy", "costs an L2 not an access, an exit or an instruction more than stock", nested),
    ("lazy", "costs the same per exit from 1 to 64 vCPUs", vcpus),
    ("lazy", "takes no more WRMSR in the slow path than stock, but for dormant", slow_path),
    ("xinuse", "accesses fewer MSRs than stock on an armed or pending exit", fewer_accesses),
    ("xinuse", "takes no more instructions than stock for an armed exit", armed),
    ("xinuse", "costs an L2 not an access, an exit or an instruction more than stock", nested),
    ("autoload", "costs an L2 not an access, an exit or an instruction more than stock", nested),
];

/// The goals, as [`judge`] names them.
pub fn names() -> impl Iterator<Item = String> {
    GOALS.iter().map(|(who, what, _)| format!("{who} {what}"))
}

/// What came of each goal, in the order of the table.
pub fn judge(strategies: &Strategies) -> Vec<Goal> {
    GOALS
        .iter()
        .map(|(who, what, judge)| {
            let failures = failures(strategies, who, *judge);
            Goal {
                goal: format!("{who} {what}"),
                met: failures.is_empty(),
                failures,
            }
        })
        .collect()
}

fn failures(strategies: &Strategies, who: &str, judge: Judge) -> Vec<String> {
    let judged: Vec<_> = strategies
        .iter()
        .filter(|(name, _)| match who {
            EACH => is_strategy(name),
            one => *name == one,
        })
        .collect();
    match strategies.get("stock") {
        Some(stock) if !judged.is_empty() => judged
            .iter()
            .flat_map(|(name, ours)| {
                let said = judge(ours, stock).into_iter();
                said.map(move |words| format!("{name}: {words}"))
            })
            .collect(),
        _ => vec!["not measured".into()],
    }
}

fn bytes_lost(ours: &Figures, _: &Figures) -> Vec<String> {
    lost(ours, |_| true)
}

fn no_more_lost(ours: &Figures, stock: &Figures) -> Vec<String> {
    lost(ours, |event| stock.bytes_lost[event] == 0)
}

/// The events at which bytes are lost, those of them that count.
fn lost(ours: &Figures, counts: impl Fn(&str) -> bool) -> Vec<String> {
    ours.bytes_lost
        .iter()
        .filter(|(event, bytes)| **bytes > 0 && counts(event))
        .map(|(event, bytes)| format!("{event} {bytes}"))
        .collect()
}

fn unconcerned(ours: &Figures, stock: &Figures) -> Vec<String> {
    dearer(&ours.exit, &stock.exit, &["never", "no_amx"])
}

fn older(ours: &Figures, stock: &Figures) -> Vec<String> {
    match &ours.older {
        Some(older) => dearer(older, &stock.exit, &STATES),
        None => vec!["not measured".into()],
    }
}

fn no_dearer(ours: &Figures, stock: &Figures) -> Vec<String> {
    dearer(&ours.exit, &stock.exit, &STATES)
}

/// The states in which an exit costs more than it does in `stock`.
fn dearer(ours: &States, stock: &States, states: &[&str]) -> Vec<String> {
    let words = |c: &Cost| {
        format!(
            "{:.2} accesses, {} instructions",
            c.accesses(),
            c.instructions
        )
    };
    states
        .iter()
        .map(|s| (s, &ours[*s], &stock[*s]))
        .filter(|(_, ours, stock)| {
            ours.accesses() > stock.accesses() || ours.instructions > stock.instructions
        })
        .map(|(s, ours, stock)| format!("{s} {}, stock {}", words(ours), words(stock)))
        .collect()
}

fn no_access(ours: &Figures, _: &Figures) -> Vec<String> {
    accesses(ours, |_| true)
}

fn no_access_but_pending(ours: &Figures, _: &Figures) -> Vec<String> {
    accesses(ours, |state| state != "pending")
}

/// The states in which an exit accesses the MSRs, those of them that count.
fn accesses(ours: &Figures, counts: impl Fn(&str) -> bool) -> Vec<String> {
    ours.exit
        .iter()
        .filter(|(state, cost)| cost.accesses() > 0.0 && counts(state))
        .map(|(state, cost)| format!("{state} {:.2}", cost.accesses()))
        .collect()
}

fn as_never(ours: &Figures, stock: &Figures) -> Vec<String> {
    // Nor than ours: what the series saves in never, it is to save in all.
    let never = |figures: &Figures| figures.exit["never"].instructions;
    let most = never(stock).min(never(ours));
    ours.exit
        .iter()
        // Its XCR0 is not the host's, and is switched.
        .filter(|(state, _)| *state != "no_amx")
        .filter(|(_, cost)| cost.instructions > most)
        .map(|(state, cost)| format!("{state} {}, {most} in never", cost.instructions))
        .collect()
}

fn nm(ours: &Figures, _: &Figures) -> Vec<String> {
    let nm = &ours.nm;
    match nm.exits > 0.0 || nm.instructions > 400 {
        true => vec![format!(
            "{:.2} exits, {} instructions",
            nm.exits, nm.instructions
        )],
        false => Vec::new(),
    }
}

fn vcpus(ours: &Figures, _: &Figures) -> Vec<String> {
    let one = &ours.vcpus[&1];
    VCPUS
        .iter()
        .map(|n| (n, &ours.vcpus[n]))
        .filter(|(_, many)| {
            many.accesses() != one.accesses()
                || many.instructions_min != one.instructions_min
                || many.instructions_max != one.instructions_min
        })
        .map(|(n, many)| {
            let (min, max) = (many.instructions_min, many.instructions_max);
            format!(
                "{n} vCPUs {:.2} accesses, {min} to {max} instructions",
                many.accesses()
            )
        })
        .collect()
}

fn nested(ours: &Figures, stock: &Figures) -> Vec<String> {
    let words = |n: &Nested| {
        format!(
            "{:.2} accesses, {:.2} exits, {} instructions",
            n.accesses(),
            n.exits(),
            n.instructions
        )
    };
    NESTED
        .iter()
        .map(|what| (what, &ours.nested[*what], &stock.nested[*what]))
        .filter(|(_, ours, stock)| {
            ours.accesses() > stock.accesses()
                || ours.exits() > stock.exits()
                || ours.instructions > stock.instructions
        })
        .map(|(what, ours, stock)| format!("{what} {}, stock {}", words(ours), words(stock)))
        .collect()
}

fn slow_path(ours: &Figures, stock: &Figures) -> Vec<String> {
    let mut said = Vec::new();
    for (what, ours, stock) in [
        ("plain task", &ours.switch_plain, &stock.switch_plain),
        ("task with tiles", &ours.switch_amx, &stock.switch_amx),
        ("userspace", &ours.userspace, &stock.userspace),
    ] {
        // What dormant costs more saves its tiles, which stock loses.
        for state in STATES.iter().filter(|s| **s != "dormant") {
            let (ours, stock) = (ours[*state].wrmsr(), stock[*state].wrmsr());
            if ours > stock {
                said.push(format!("{what}, {state} {ours:.2}, stock {stock:.2}"));
            }
        }
    }
    said
}

fn fewer_accesses(ours: &Figures, stock: &Figures) -> Vec<String> {
    ["armed", "pending"]
        .iter()
        .map(|s| (s, ours.exit[*s].accesses(), stock.exit[*s].accesses()))
        .filter(|(_, ours, stock)| ours >= stock)
        .map(|(s, ours, stock)| format!("{s} {ours:.2}, stock {stock:.2}"))
        .collect()
}

fn armed(ours: &Figures, stock: &Figures) -> Vec<String> {
    dearer(&ours.exit, &stock.exit, &["armed"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::collection::tests::report;

    /// The goals that are not met once `change` has been made to the strategy's figures.
    fn missed(name: &str, change: impl Fn(&mut Figures)) -> Vec<String> {
        let mut strategies = report().strategies;
        change(&mut strategies[name]);
        let goals = judge(&strategies).into_iter();
        goals.filter(|g| !g.met).map(|g| g.goal).collect()
    }

    #[test]
    fn good_figures_meet_all_goals() {
        assert_eq!(missed("lazy", |_| {}), [""; 0]);
    }

    #[test]
    fn each_goal_can_be_missed() {
        type Change = fn(&mut Figures);
        let cases: [(&str, &str, Change); 20] = [
            ("eager", "loses no byte", |f| {
                f.bytes_lost.insert("dormant_preempt".into(), 1);
            }),
            ("eager", "costs never and no AMX", |f| {
                f.exit.get_mut("no_amx").unwrap().instructions += 1
            }),
            ("eager", "costs older VMs", |f| {
                let older = f.older.as_mut().unwrap();
                older.get_mut("pending").unwrap().instructions += 1
            }),
            ("xinuse", "costs older VMs", |f| f.older = None),
            ("minimal", "where stock loses none", |f| {
                f.bytes_lost.insert("live_migrate".into(), 1);
            }),
            ("minimal", "but for pending", |f| {
                f.exit.get_mut("dormant").unwrap().msr.rdmsr_xfd = 1
            }),
            ("minimal", "minimal costs", |f| {
                f.exit.get_mut("pending").unwrap().instructions = 1143
            }),
            ("unloaded", "unloaded costs", |f| {
                f.exit.get_mut("live").unwrap().msr.rdmsr_xfd += 1
            }),
            ("lazy", "lazy accesses no MSR", |f| {
                f.exit.get_mut("armed").unwrap().msr.wrmsr_xfd = 1
            }),
            ("lazy", "than stock in never", |f| {
                f.exit.get_mut("live").unwrap().instructions += 100
            }),
            ("lazy", "than stock in never", |f| {
                f.exit.get_mut("never").unwrap().instructions -= 100
            }),
            ("lazy", "400 instructions", |f| f.nm.instructions = 401),
            ("lazy", "400 instructions", |f| f.nm.exits = 0.5),
            ("lazy", "costs an L2", |f| {
                f.nested.get_mut("exit_l0").unwrap().msr.wrmsr_xfd_err = 1
            }),
            ("lazy", "costs an L2", |f| {
                f.nested.get_mut("nm").unwrap().exits += 1
            }),
            ("lazy", "costs an L2", |f| {
                f.nested.get_mut("exit_l1").unwrap().instructions += 1
            }),
            ("lazy", "1 to 64 vCPUs", |f| {
                f.vcpus.get_mut(&64).unwrap().instructions_max += 1
            }),
            ("lazy", "the slow path", |f| {
                f.switch_amx.get_mut("live").unwrap().msr.wrmsr_xfd_err += 1
            }),
            ("unloaded", "unloaded costs an L2", |f| {
                f.nested.get_mut("exit_l1").unwrap().instructions += 100
            }),
            ("xinuse", "armed or pending", |f| {
                f.exit.get_mut("pending").unwrap().msr.rdmsr_xfd = 3000
            }),
        ];
        for (name, goal, change) in cases {
            let missed = missed(name, change);
            assert!(missed.len() == 1 && missed[0].contains(goal), "{missed:?}");
        }
        // An armed exit is also one of those that must not access more.
        let missed = missed("xinuse", |f| {
            f.exit.get_mut("armed").unwrap().instructions += 100
        });
        assert_eq!(
            missed,
            ["xinuse takes no more instructions than stock for an armed exit"]
        );
    }

    #[test]
    fn dormant_may_cost_more_in_the_slow_path() {
        let missed = missed("lazy", |f| {
            f.userspace.get_mut("dormant").unwrap().msr.wrmsr_xfd += 100
        });
        assert_eq!(missed, [""; 0]);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let mut strategies = report().strategies;
        strategies.shift_remove("lazy");
        let missed = judge(&strategies).into_iter().filter(|g| !g.met).count();
        assert_eq!(missed, 6);
    }
}
