// SPDX-License-Identifier: GPL-2.0
//! Where everything lies in the repository that the lab works in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::choices::Choices;
use crate::base::disk;
use crate::base::failure::Failure;
use crate::base::jobs::Jobs;
use crate::base::lock::Lock;

/// The lab: the repository it works in and what the caller chose.
pub struct Lab {
    pub root: PathBuf,
    pub choices: Choices,
    /// What runs side by side shares them.
    pub jobs: Jobs,
    lock: Lock,
}

impl Lab {
    pub fn open(choices: Choices) -> Result<Lab> {
        Lab::at_root(&find_root()?, choices)
    }

    /// The lab of a repository that is already found.
    pub fn at_root(root: &Path, choices: Choices) -> Result<Lab> {
        let lab = Lab {
            root: root.to_owned(),
            jobs: Jobs::new(choices.jobs())?,
            choices,
            lock: Lock::default(),
        };
        fs::create_dir_all(lab.logs())
            .with_context(|| format!("creating {}", lab.logs().display()))?;
        Ok(lab)
    }

    /// A path below the repository's root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub fn build(&self) -> PathBuf {
        self.at("build")
    }

    pub fn logs(&self) -> PathBuf {
        self.at("build/logs")
    }

    pub fn log(&self, step: &str) -> PathBuf {
        self.logs().join(format!("{step}.log"))
    }

    /// Downloads lie outside of build/, so that `make clean` keeps them.
    pub fn downloads(&self) -> PathBuf {
        if let Some(dir) = &self.choices.downloads {
            return self.root.join(dir);
        }
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
            .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))
            .unwrap_or_else(|| self.build());
        cache.join("xfd_switch/downloads")
    }

    /// Waits until no other lab builds in this repository; held until [`Lab::unlock`].
    pub fn lock(&self) -> Result<()> {
        self.lock.take(&self.build().join("lock"))
    }

    /// Lets other labs build; booting needs no lock, a boot has its own directory.
    pub fn unlock(&self) {
        self.lock.release();
    }

    /// Fails early when the disk has not `gib` GiB left for `what`.
    pub fn need_space(&self, gib: u64, what: &str) -> Result<()> {
        disk::need(&self.build(), gib, what)
    }

    /// A path as the user would write it: relative to the root where it lies below it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// The repository: above the current directory, or above the lab's own executable.
fn find_root() -> Result<PathBuf> {
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    for start in starts.into_iter().flatten() {
        for dir in start.ancestors() {
            if dir.join("lab/config/sources.toml").is_file() {
                return Ok(dir.to_owned());
            }
        }
    }
    Err(Failure::new(
        "this is not a checkout of xfd_switch (no lab/config/sources.toml here or above)",
    )
    .next("run the lab inside the repository")
    .into())
}
