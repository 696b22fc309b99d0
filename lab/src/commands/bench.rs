// SPDX-License-Identifier: GPL-2.0
//! `lab bench`: how long VM-exits take, as distributions: in the lab's machines, or in traces that
//! someone has recorded; prints tables, and writes bench.json and pictures.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::layout::Lab;
use crate::measure::bench::{from, page, run};

#[derive(clap::Args)]
pub struct Options {
    /// Read this trace instead, text of tracefs, trace-cmd or perf script, or a trace.dat (may be
    /// repeated: each is a column)
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The traces are of an emulator, whose TSC counts instructions
    #[arg(long, requires = "from")]
    emulated: bool,
    /// Trace again what was traced before
    #[arg(long, conflicts_with = "from")]
    again: bool,
}

pub fn run(lab: &Lab, options: &Options) -> Result<()> {
    let (report, dir) = match options.from.is_empty() {
        true => (run::run(lab, options.again)?, "build/report/bench"),
        false => {
            let mut tell = |line| eprintln!("lab: {line}");
            let report = from::read(&options.from, options.emulated, &mut tell)?;
            (report, "build/report/bench-from")
        }
    };
    println!("{}", page::tables(&report));
    let dir = lab.at(dir);
    page::write(&dir, &report)?;
    eprintln!(
        "lab: {}/index.html is written, and bench.json beside it",
        lab.shown(&dir)
    );
    Ok(())
}
