// SPDX-License-Identifier: GPL-2.0
//! What is kept of things that pile up: the newest.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::base::files::remove;

/// Removes all in `dir` whose names begin with `prefix`, but for the newest `keep`.
pub fn keep(keep: usize, dir: &Path, prefix: &str) -> Result<()> {
    let mut all: Vec<_> = fs::read_dir(dir)?
        .filter_map(Result::ok)
        .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    all.sort();
    for (_, old) in all.iter().rev().skip(keep) {
        remove(old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_newest_stay_and_other_names_do() {
        let dir = tempfile::tempdir().unwrap();
        for (age, name) in ["boot-9", "boot-1", "boot-5", "run"].iter().enumerate() {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            let time = SystemTime::now() - Duration::from_secs(60 * age as u64);
            file.set_modified(time).unwrap();
        }
        keep(2, dir.path(), "boot-").unwrap();
        let left = ["boot-9", "boot-1", "boot-5", "run"].map(|n| dir.path().join(n).exists());
        assert_eq!(left, [true, true, false, true]);
    }
}
