// SPDX-License-Identifier: GPL-2.0
//! `lab costs`: what is published of the operations' costs, and what the counts of the last measurement
//! come to with it. Builds and measures nothing.

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::layout::Lab;
use crate::measure::costs::{self, Ledger};
use crate::measure::run::{last, path};

pub fn run(lab: &Lab) -> Result<()> {
    let ledger = Ledger::read(lab)?;
    let report = last(lab)?.ok_or_else(|| {
        Failure::new(format!("there is no {}", lab.shown(&path(lab)))).next("`make run` writes it")
    })?;
    println!("{}\n{}", costs::tables(&ledger, &report), ledger.sources());
    Ok(())
}
