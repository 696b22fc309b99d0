// SPDX-License-Identifier: GPL-2.0
//! Lists of steps: one that a person wrote, and those that lead to a violation.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Result};

use crate::scopes;
use crate::shipped::{Between, Place, AMX};
use crate::world::{Event, Guest, Msr, State, Step, World};

/// A guest whose tiles are dormant is preempted by a task with tiles, and goes on: each step must be
/// possible, and nothing is lost.
pub fn directed(shared: &Path) -> Result<()> {
    let world = World::new(shared, scopes::all().remove(0))?;
    let list = [
        Event::Switch(0),
        Event::RunBegin,
        Event::Enter,
        Event::Guest(Guest::Tiles(0x11)),
        Event::Guest(Guest::Write(Msr::Xfd, true)),
        Event::Enter,
        Event::Exit,
        Event::Hardirq,
        Event::Switch(AMX),
        Event::Amx(0xaa),
        Event::Switch(0),
        Event::Enter,
        Event::Guest(Guest::Write(Msr::Xfd, false)),
        Event::Guest(Guest::Tiles(0x12)),
        Event::Exit,
        Event::RunEnd,
    ]
    .map(|event| (0, event));
    match world.play(&list).violation {
        None => Ok(()),
        Some(what) => bail!("the directed sequence: {what}"),
    }
}

/// Writes the steps to a violation, one a line, and what is violated.
pub fn write(world: &World, path: Vec<(State, Option<Step>)>, shared: &Path) -> String {
    let mut text = String::new();
    let mut violation = None;
    let mut n = 0;
    for (state, step) in &path {
        violation = state.violation.clone();
        let Some(step) = step else { continue };
        n += 1;
        let exits = if world.exits(step) {
            ", which exits"
        } else {
            ""
        };
        let _ = writeln!(text, "  {n:2}. CPU {}: {}{exits}", step.cpu, step.event);
        let places = world.places(state, step);
        for ((_, between), place) in step.plan.iter().zip(places) {
            let what = match between {
                Between::Hardirq => "a hardirq uses the FPU",
                Between::Softirq => "a softirq uses the FPU",
                Between::PreemptAmx => "the task with AMX preempts it, uses tiles, and it goes on",
                Between::PreemptKernel => {
                    "a kernel thread preempts it, uses the FPU, and it goes on"
                }
                Between::Migrate => "it goes on on the other CPU",
            };
            let _ = writeln!(text, "      meanwhile, {}: {what}", at(&place, shared));
        }
    }
    let _ = write!(text, "      {}", violation.as_deref().unwrap_or("nothing"));
    text
}

/// A point in words.
fn at(place: &Place, shared: &Path) -> String {
    match place {
        Place::Before(instruction) => format!("before the {instruction}"),
        Place::At(offset) => {
            let out = Command::new("addr2line")
                .args(["-f", "-s", "-e"])
                .arg(shared)
                // The address is that of the return from the call.
                .arg(format!("{:#x}", offset - 1))
                .output();
            let out = out.map_or(String::new(), |o| {
                String::from_utf8_lossy(&o.stdout).into_owned()
            });
            let mut lines = out.lines();
            match (lines.next(), lines.next()) {
                (Some(function), Some(line)) => {
                    let line = line.split(' ').next().unwrap_or(line);
                    format!("in {function}(), at {line}")
                }
                _ => format!("at {offset:#x}"),
            }
        }
    }
}
