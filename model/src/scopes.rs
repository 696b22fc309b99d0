// SPDX-License-Identifier: GPL-2.0
//! What is explored: who takes part, with which strategy, on which kernel.

use crate::shipped::TASKS;
use crate::strategies::{self, Chosen};
use crate::world::Scope;

/// Of the tasks, as c/world.c numbers them.
const ONE_VCPU: [bool; TASKS] = [true, false, true, false];
const BOTH: [bool; TASKS] = [true, true, true, false];
const ALL: [bool; TASKS] = [true, true, true, true];

impl Scope {
    /// Whether it ends within seconds: of one CPU and one vCPU.
    pub fn small(&self) -> bool {
        self.cpus == 1 && self.tasks == ONE_VCPU
    }
}

fn strategy(name: &str) -> Chosen {
    *strategies::ALL
        .iter()
        .find(|s| s.name == name)
        .expect("rust/strategy.rs has it")
}

/// The scopes, from the smallest to all of it.
pub fn all() -> Vec<Scope> {
    let lazy = Scope {
        name: "lazy, one CPU",
        strategy: strategy("lazy"),
        rt: false,
        tasks: ONE_VCPU,
        cpus: 1,
        attached: [true, false],
        cap: [false, false],
        between: 1,
    };
    let of = |name, strategy_name, cpus| Scope {
        name,
        strategy: strategy(strategy_name),
        cpus,
        ..lazy.clone()
    };
    vec![
        lazy.clone(),
        Scope {
            name: "not attached, one CPU",
            attached: [false, false],
            ..lazy.clone()
        },
        Scope {
            name: "lazy, one CPU, PREEMPT_RT",
            rt: true,
            ..lazy.clone()
        },
        Scope {
            name: "lazy, one CPU, with the capability",
            cap: [true, false],
            ..lazy.clone()
        },
        of("xinuse, one CPU", "xinuse", 1),
        of("eager, one CPU", "eager", 1),
        of("autoload, one CPU", "autoload", 1),
        Scope {
            name: "lazy, one CPU, two interruptions in a step",
            between: 2,
            ..lazy.clone()
        },
        of("lazy, two CPUs", "lazy", 2),
        of("xinuse, two CPUs", "xinuse", 2),
        of("eager, two CPUs", "eager", 2),
        of("autoload, two CPUs", "autoload", 2),
        Scope {
            name: "not attached, two CPUs",
            attached: [false, false],
            cpus: 2,
            ..lazy.clone()
        },
        Scope {
            name: "lazy, two CPUs, PREEMPT_RT",
            rt: true,
            cpus: 2,
            ..lazy.clone()
        },
        Scope {
            name: "lazy, attached and not, one CPU",
            tasks: BOTH,
            ..lazy.clone()
        },
        Scope {
            name: "lazy, both attached, one CPU",
            attached: [true, true],
            tasks: BOTH,
            ..lazy.clone()
        },
        Scope {
            name: "lazy, everyone, two CPUs",
            tasks: ALL,
            cpus: 2,
            cap: [true, false],
            ..lazy
        },
    ]
}
