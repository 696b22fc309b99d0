// SPDX-License-Identifier: GPL-2.0
//! config/strategies.toml: the strategies that the module has, in the order of every table.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::base::layout::Lab;

#[derive(Deserialize)]
struct Strategies {
    strategies: Vec<String>,
}

pub fn strategies(lab: &Lab) -> Result<Vec<String>> {
    let path = lab.at("lab/config/strategies.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let all: Strategies =
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    Ok(all.strategies)
}
