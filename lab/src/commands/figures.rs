// SPDX-License-Identifier: GPL-2.0
//! `lab figures`: writes what was measured into the documents that quote it. Whether the figures are
//! right is for its caller to say; `lab check` only compares.

use anyhow::Result;

use crate::base::layout::Lab;
use crate::measure::run::{current, measured};
use crate::tests::host::figures;

pub fn run(lab: &Lab) -> Result<()> {
    let report = match current(lab)? {
        Some(report) => report,
        None => measured(lab)?,
    };
    let changed = figures::renew(lab, &report)?;
    match changed.is_empty() {
        true => eprintln!("lab: the documents' figures are those of the last measurement"),
        false => changed
            .iter()
            .for_each(|path| eprintln!("lab: {} has new figures", lab.shown(path))),
    }
    Ok(())
}
