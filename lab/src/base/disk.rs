// SPDX-License-Identifier: GPL-2.0
//! The disk: whether what comes fits on it.

use std::path::Path;

use anyhow::Result;

use crate::base::failure::{Failure, DISK_FULL_NEXT};

/// Fails early when the disk of `dir` has not `gib` GiB left for `what`.
pub fn need(dir: &Path, gib: u64, what: &str) -> Result<()> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
    if free >> 20 >= gib << 10 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the disk is too full: {what} needs {gib} GiB in {}, {:.1} GiB are free",
        dir.display(),
        free as f64 / (1u64 << 30) as f64
    ))
    .next(DISK_FULL_NEXT)
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        need(dir.path(), 0, "nothing").unwrap();
        let error = need(dir.path(), 1 << 30, "all").unwrap_err().to_string();
        assert!(error.contains("all needs 1073741824 GiB") && error.contains("next:"));
    }
}
