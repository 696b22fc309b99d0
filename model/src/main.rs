// SPDX-License-Identifier: GPL-2.0
//! Explores every interleaving of the shipped code that saves, loads and swaps a guest's XFD:
//! Documentation/explore.rst.
//!
//!     explore --model DIR --tree DIR --out DIR [--seconds N] [--scope WORDS]
//!     explore ... --bugs DIR [--bugs DIR]
//!
//! The former explores the tree as it is, the latter each patch of those directories.

extern crate self as kernel;

mod build;
mod cpu;
mod list;
mod scopes;
mod shipped;
mod strategies;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use serde_json::json;
use stateright::{Checker, Model};

use build::Source;
use world::{Scope, World};

/// Stands for `kernel::prelude`, which the strategies use.
pub mod prelude {
    pub use crate::build_error;
    pub use vtable::vtable;
}

/// Stands for `kernel::error`.
pub mod error {
    pub const VTABLE_DEFAULT_ERROR: &str = "a method that is absent was called";
}

/// Fails; in the kernel it fails the build.
#[macro_export]
macro_rules! build_error {
    ($message:expr) => {
        panic!("{}", $message)
    };
}

struct Options {
    model: PathBuf,
    tree: PathBuf,
    out: PathBuf,
    seconds: u64,
    scope: Option<String>,
    bugs: Vec<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Self {
            model: PathBuf::new(),
            tree: PathBuf::new(),
            out: PathBuf::new(),
            seconds: 150,
            scope: None,
            bugs: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{name} wants a value"))?;
            match &*name {
                "--model" => options.model = fs::canonicalize(value)?,
                "--tree" => options.tree = fs::canonicalize(value)?,
                "--out" => {
                    fs::create_dir_all(&value)?;
                    options.out = fs::canonicalize(value)?;
                }
                "--seconds" => options.seconds = value.parse()?,
                "--scope" => options.scope = Some(value),
                "--bugs" => options.bugs.push(value.into()),
                _ => bail!("{name} is no option"),
            }
        }
        Ok(options)
    }

    fn scopes(&self) -> Vec<Scope> {
        let mut scopes = scopes::all();
        if let Some(words) = &self.scope {
            scopes.retain(|s| s.name.contains(&**words));
        }
        scopes
    }
}

/// What exploring one scope came to.
struct Found {
    states: usize,
    depth: usize,
    fixpoint: bool,
    /// The steps to a violation, and its words.
    violation: Option<String>,
}

/// A source, and what is compiled of it so far: without PREEMPT_RT and with it.
struct Compiled<'a> {
    source: Source<'a>,
    objects: [Option<PathBuf>; 2],
}

impl<'a> Compiled<'a> {
    fn new(options: &'a Options, patch: Option<&'a Path>) -> Self {
        Self {
            source: Source {
                tree: &options.tree,
                patch,
            },
            objects: [None, None],
        }
    }

    fn get(&mut self, options: &Options, rt: bool) -> Result<PathBuf> {
        if let Some(object) = &self.objects[usize::from(rt)] {
            return Ok(object.clone());
        }
        let dir = options.out.join(if rt { "rt" } else { "work" });
        let object = self.source.compile(&options.model, &dir, rt)?;
        self.objects[usize::from(rt)] = Some(object.clone());
        Ok(object)
    }
}

fn explore(
    options: &Options,
    compiled: &mut Compiled<'_>,
    scope: Scope,
    until: Instant,
) -> Result<Found> {
    let shared = compiled.get(options, scope.rt)?;
    let mut world = World::new(&shared, scope)?;
    world.until = Some(until);
    let cut = world.cut.clone();
    let checker = world.checker().spawn_bfs().join();
    let fixpoint = !cut.load(Ordering::Relaxed);
    let violation = checker
        .discovery(world::NOTHING_IS_LOST)
        .map(|path| list::write(checker.model(), path.into_vec(), &shared));
    Ok(Found {
        states: checker.unique_state_count(),
        // The first state has depth 1. What is left when time is up is one deeper than what is done.
        depth: checker.max_depth() - if fixpoint { 1 } else { 2 },
        fixpoint: fixpoint && violation.is_none(),
        violation,
    })
}

/// Explores the tree as it is.
fn shipped(options: &Options) -> Result<bool> {
    let mut compiled = Compiled::new(options, None);
    list::directed(&compiled.get(options, false)?)?;
    let begun = Instant::now();
    let scopes = options.scopes();
    let mut left = scopes.len() as u32;
    let (mut states, mut depth, mut fixpoint, mut violations) = (0, usize::MAX, true, 0);
    let mut rows = Vec::new();
    for scope in scopes {
        let total = Duration::from_secs(options.seconds);
        let share = total.saturating_sub(begun.elapsed()) / left;
        left -= 1;
        let name = scope.name;
        let found = explore(options, &mut compiled, scope, Instant::now() + share)?;
        println!(
            "{name}: {} states, {} steps deep{}",
            found.states,
            found.depth,
            if found.fixpoint { ", all of it" } else { "" }
        );
        if let Some(list) = &found.violation {
            println!("{list}");
            violations += 1;
        }
        states += found.states;
        depth = depth.min(found.depth);
        fixpoint &= found.fixpoint;
        rows.push(json!({
            "scope": name,
            "states": found.states,
            "depth": found.depth,
            "fixpoint": found.fixpoint,
        }));
    }
    write(
        options,
        "shipped.json",
        &json!({
            "states": states,
            "depth": depth,
            "fixpoint": fixpoint,
            "violations": violations,
            "scopes": rows,
        }),
    )?;
    Ok(violations == 0)
}

/// Explores the tree with each of the patches: each must be found.
fn bugs(options: &Options) -> Result<bool> {
    let mut patches = Vec::new();
    for dir in &options.bugs {
        for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
            patches.push(entry?.path());
        }
    }
    patches.retain(|p| p.extension().is_some_and(|x| x == "patch"));
    patches.sort();
    let mut missed = Vec::new();
    let mut rows = Vec::new();
    for patch in &patches {
        let name = patch.file_stem().context("a patch")?.to_string_lossy();
        let mut compiled = Compiled::new(options, Some(patch));
        if !compiled.source.changes(&options.model, &options.out)? {
            continue;
        }
        let mut by = None;
        for scope in options.scopes() {
            let until = Instant::now() + Duration::from_secs(options.seconds);
            let of = scope.name;
            if let Some(list) = explore(options, &mut compiled, scope, until)?.violation {
                by = Some((of, list));
                break;
            }
        }
        match &by {
            Some((scope, list)) => println!("{name}: found ({scope})\n{list}"),
            None => {
                println!("{name}: NOT FOUND");
                missed.push(name.to_string());
            }
        }
        rows.push(json!({"bug": name, "found": by.is_some(), "scope": by.map(|b| b.0)}));
    }
    write(
        options,
        "bugs.json",
        &json!({
            "bugs_seeded": rows.len(),
            "bugs_found": rows.len() - missed.len(),
            "bugs": rows,
        }),
    )?;
    Ok(missed.is_empty())
}

fn write(options: &Options, name: &str, value: &serde_json::Value) -> Result<()> {
    let file = options.out.join(name);
    fs::write(&file, format!("{value:#}\n")).with_context(|| format!("{}", file.display()))
}

fn main() -> ExitCode {
    let result = Options::parse().and_then(|options| {
        if options.bugs.is_empty() {
            shipped(&options)
        } else {
            bugs(&options)
        }
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("explore: error: {error:#}");
            ExitCode::from(2)
        }
    }
}
