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
mod counters;
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
pub use strategies::{error, prelude};
use world::{Scope, World};

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

/// What is compiled so far: of the tree as it is, and of it with one patch; without PREEMPT_RT and with.
struct Compiled<'a> {
    options: &'a Options,
    shipped: [Option<PathBuf>; 2],
    patch: Option<&'a Path>,
    patched: [Option<PathBuf>; 2],
}

impl<'a> Compiled<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            shipped: [None, None],
            patch: None,
            patched: [None, None],
        }
    }

    /// From now on it is about the tree with this patch.
    fn patch(&mut self, patch: &'a Path) {
        self.patch = Some(patch);
        self.patched = [None, None];
    }

    fn get(&mut self, rt: bool) -> Result<PathBuf> {
        let shipped = self.compiled(rt, None)?;
        if self.patch.is_none() {
            return Ok(shipped);
        }
        self.compiled(rt, shipped.parent())
    }

    /// The tree with the patch, if there is a directory to take objects from, or else as it is.
    fn compiled(&mut self, rt: bool, base: Option<&Path>) -> Result<PathBuf> {
        let (known, dir) = match base {
            Some(_) => (&mut self.patched, "patched"),
            None => (&mut self.shipped, "shipped"),
        };
        let known = &mut known[usize::from(rt)];
        if let Some(object) = known {
            return Ok(object.clone());
        }
        let source = Source {
            tree: &self.options.tree,
            patch: self.patch.filter(|_| base.is_some()),
        };
        let dir = self
            .options
            .out
            .join(dir)
            .join(if rt { "rt" } else { "no-rt" });
        let object = source.compile(&self.options.model, &dir, rt, base)?;
        *known = Some(object.clone());
        Ok(object)
    }
}

fn explore(compiled: &mut Compiled<'_>, scope: Scope, until: Option<Instant>) -> Result<Found> {
    let shared = compiled.get(scope.rt)?;
    let mut world = World::new(&shared, scope)?;
    world.until = until;
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
    let mut compiled = Compiled::new(options);
    list::directed(&compiled.get(false)?)?;
    let begun = Instant::now();
    let scopes = options.scopes();
    if scopes.is_empty() {
        bail!("there is no such scope");
    }
    let mut left = scopes.len() as u32;
    let mut all = Vec::new();
    for scope in scopes {
        let total = Duration::from_secs(options.seconds);
        let began = Instant::now();
        let share = total.saturating_sub(begun.elapsed()) / left.min(4);
        // However little time there is, the small ones are looked at in full.
        let until = (!scope.small()).then(|| began + share);
        left -= 1;
        let name = scope.name;
        let found = explore(&mut compiled, scope, until)?;
        println!(
            "{name}: {} states, {} steps deep{}; {} s",
            found.states,
            found.depth,
            if found.fixpoint { ", all of it" } else { "" },
            began.elapsed().as_secs(),
        );
        if let Some(list) = &found.violation {
            println!("{list}");
        }
        all.push((name, found));
    }
    let found = || all.iter().map(|(_, found)| found);
    let violations = found().filter(|f| f.violation.is_some()).count();
    let cut = found().filter(|f| !f.fixpoint).map(|f| f.depth).min();
    let scopes = all.iter().map(|(name, found)| {
        json!({
            "scope": name,
            "states": found.states,
            "depth": found.depth,
            "fixpoint": found.fixpoint,
        })
    });
    let report = json!({
        "states": found().map(|f| f.states).sum::<usize>(),
        // How deep it was looked everywhere.
        "depth": cut.or(found().map(|f| f.depth).max()),
        "fixpoint": cut.is_none(),
        "violations": violations,
        "scopes": scopes.collect::<Vec<_>>(),
    });
    write(options, &report)?;
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
    let mut compiled = Compiled::new(options);
    let mut rows = Vec::new();
    let mut found = 0;
    for patch in &patches {
        let name = patch.file_stem().context("a patch")?.to_string_lossy();
        if let Some(why) = field(patch, "Beyond")? {
            println!("{name}: not looked for, as {why}");
            continue;
        }
        if !build::changes(&options.tree, patch, &options.model, &options.out)? {
            // A mutant may be of other files; what is there for the model alone may not.
            if patch.starts_with(&options.model) {
                bail!("{}: changes nothing that is compiled", patch.display());
            }
            continue;
        }
        compiled.patch(patch);
        let began = Instant::now();
        let mut by = None;
        for scope in scopes_for(options, patch)? {
            let until = Instant::now() + Duration::from_secs(options.seconds);
            let of = scope.name;
            if let Some(list) = explore(&mut compiled, scope, Some(until))?.violation {
                by = Some((of, list));
                break;
            }
        }
        match &by {
            Some((scope, list)) => {
                let seconds = began.elapsed().as_secs();
                println!("{name}: found ({scope}; {seconds} s)\n{list}");
                found += 1;
            }
            None => println!("{name}: NOT FOUND"),
        }
        rows.push(json!({"bug": name, "found": by.is_some(), "scope": by.map(|b| b.0)}));
    }
    if rows.is_empty() {
        bail!("there is no bug to look for");
    }
    let report = json!({
        "bugs_seeded": rows.len(),
        "bugs_found": found,
        "bugs": rows,
    });
    write(options, &report)?;
    Ok(found == rows.len())
}

/// A field of a patch's header.
fn field(patch: &Path, name: &str) -> Result<Option<String>> {
    let text = fs::read_to_string(patch)?;
    let header = text.lines().take_while(|l| *l != "---");
    let mut fields = header.filter_map(|l| l.split_once(": "));
    let found = fields.find(|(field, _)| *field == name);
    Ok(found.map(|(_, value)| value.to_owned()))
}

/// The scope that a patch's header names, or all of them.
fn scopes_for(options: &Options, patch: &Path) -> Result<Vec<Scope>> {
    let mut scopes = options.scopes();
    if let Some(name) = field(patch, "Scope")? {
        scopes.retain(|s| s.name == name);
        if scopes.is_empty() && options.scope.is_none() {
            bail!("{}: there is no scope {name:?}", patch.display());
        }
    }
    Ok(scopes)
}

fn write(options: &Options, value: &serde_json::Value) -> Result<()> {
    let file = options.out.join("found.json");
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
