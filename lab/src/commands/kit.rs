// SPDX-License-Identifier: GPL-2.0
//! `lab kit FILE`: what a kit has found on a host, as tables and pictures, beside what the
//! emulator has counted.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::layout::Lab;
use crate::measure::kit::{draw, tables, Kit};
use crate::measure::run::{last, path};

#[derive(clap::Args)]
pub struct Options {
    /// What the kit's run.sh has written (xfd_switch.json)
    file: PathBuf,
}

pub fn run(lab: &Lab, options: &Options) -> Result<()> {
    let kit = Kit::read(&options.file)?;
    let emulated = last(lab)?;
    if emulated.is_none() {
        let path = path(lab);
        eprintln!(
            "lab: there is no {}: `make run` writes it",
            lab.shown(&path)
        );
    }
    print!("{}", tables(&kit, emulated.as_ref())?);
    let dir = lab.at("build/report/kit");
    draw(&kit, emulated.as_ref(), &dir)?;
    eprintln!("lab: the pictures are in {}", lab.shown(&dir));
    Ok(())
}
