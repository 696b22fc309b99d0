// SPDX-License-Identifier: GPL-2.0
//! `lab deb`: the patched kernel and the module as Debian packages.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::layout::Lab;
use crate::build::deb::{self, Config};
use crate::build::packages;

#[derive(clap::Args)]
pub struct Options {
    /// The kernel configuration to begin with, a distribution's; or `lab`, which is quick to build and
    /// drives hardly any hardware [default: the running kernel's]
    #[arg(long, value_name = "FILE", env = "CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

pub fn run(lab: &Lab, options: &Options) -> Result<()> {
    deb::only_where_they_fit()?;
    let config = Config::find(options.config.as_deref())?;
    lab.lock()?;
    packages::setup_for(lab, "deb")?;
    for package in deb::build(lab, &config)? {
        eprintln!("lab: {} is made", lab.shown(&package));
    }
    Ok(())
}
