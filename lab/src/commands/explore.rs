// SPDX-License-Identifier: GPL-2.0
//! `lab explore`: every interleaving of the shipped save path, as far as the time allows, and each of
//! the bugs that it must find.

use anyhow::Result;

use crate::base::{files, interrupt, layout::Lab};
use crate::build::explorer::{self, What, SECONDS_PER_BUG};
use crate::build::packages;

#[derive(clap::Args)]
pub struct Options {
    /// How long to explore the shipped code
    #[arg(long, value_name = "N", default_value_t = 3)]
    minutes: u64,
}

pub fn run(lab: &Lab, options: &Options) -> Result<()> {
    lab.lock()?;
    packages::setup(lab)?;
    let shipped = explorer::explore(lab, What::Shipped, options.minutes * 60);
    interrupt::check()?;
    let bugs = explorer::explore(lab, What::Bugs, SECONDS_PER_BUG);
    let mut logs = Vec::new();
    for log in ["explore-shipped", "explore-bugs"] {
        // There is none if the explorer itself could not be built.
        logs.extend(files::text(&lab.log(log)));
    }
    logs.iter().for_each(|log| print!("{log}"));
    shipped.and(bugs)
}
