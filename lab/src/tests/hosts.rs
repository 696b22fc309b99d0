// SPDX-License-Identifier: GPL-2.0
//! What the host of a guest can be: a kernel without the module, or a strategy.

use anyhow::Result;

use crate::base::{failure::Failure, layout::Lab};
use crate::build::kernel::Kind;
use crate::measure::{report::WITHOUT_MODULE, strategies::strategies};

/// Those that are wanted, all if none is named, in the order of all tables.
pub fn hosts(lab: &Lab, wanted: &[String]) -> Result<Vec<String>> {
    let mut all: Vec<String> = WITHOUT_MODULE.map(str::to_owned).to_vec();
    all.extend(strategies(lab)?);
    if let Some(unknown) = wanted.iter().find(|o| !all.contains(o)) {
        return Err(Failure::new(format!("there is no host \"{unknown}\""))
            .next(format!("there are {}", all.join(" ")))
            .into());
    }
    all.retain(|host| wanted.is_empty() || wanted.contains(host));
    Ok(all)
}

/// The kernel of a host.
pub fn kind(host: &str) -> Kind {
    match host {
        "stock" => Kind::Stock,
        "minimal" => Kind::Minimal,
        _ => Kind::Patched,
    }
}
