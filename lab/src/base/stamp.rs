// SPDX-License-Identifier: GPL-2.0
//! Stamps: a step whose inputs have the same fingerprint, and whose outputs are there, is done.
//!
//! A stamp is removed before its step starts and written when it has ended, so a step that was
//! cut off at any moment is simply done again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::base::files;
use crate::base::files::write_atomic;
use crate::base::layout::Lab;

/// The SHA-256 of everything that a step's result depends on.
pub struct Fingerprint(Sha256);

impl Fingerprint {
    pub fn new(step: &str) -> Self {
        // The number changes when the meaning of the inputs does.
        Fingerprint(Sha256::new()).text("step 1", step)
    }

    pub fn text(mut self, name: &str, value: &str) -> Self {
        // Lengths keep ("ab", "c") apart from ("a", "bc").
        for part in [name, value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part.as_bytes());
        }
        self
    }

    /// A file's name and content; a file that is missing is an input like any other.
    pub fn file(self, path: &Path) -> Result<Self> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match fs::read(path) {
            Ok(content) => {
                let hash = format!("{:x}", Sha256::digest(content));
                Ok(self.text(&name, &hash))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(self.text(&name, "absent"))
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// All files below a directory, in order of their names.
    pub fn tree(self, dir: &Path) -> Result<Self> {
        files::below(dir)?
            .into_iter()
            .try_fold(self, |print, file| {
                let name = file
                    .strip_prefix(dir)
                    .unwrap_or(&file)
                    .display()
                    .to_string();
                print.text("at", &name).file(&file)
            })
    }

    /// A file by its size and time of change: for large ones that the lab itself makes.
    pub fn identity(self, path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
        let value = format!("{} {}.{}", meta.size(), meta.mtime(), meta.mtime_nsec());
        Ok(self.text(&path.display().to_string(), &value))
    }

    pub fn finish(self) -> String {
        format!("{:x}", self.0.finalize())
    }
}

fn path(lab: &Lab, step: &str) -> PathBuf {
    lab.at("build/stamps").join(step)
}

/// Whether `step` was done with this fingerprint and its outputs are still there.
pub fn fresh(lab: &Lab, step: &str, print: &str, outputs: &[&Path]) -> bool {
    fs::read_to_string(path(lab, step)).is_ok_and(|old| old == print)
        && outputs.iter().all(|o| o.exists())
}

/// To be called before a step changes anything.
pub fn forget(lab: &Lab, step: &str) -> Result<()> {
    match fs::remove_file(path(lab, step)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// To be called when a step has ended well.
pub fn record(lab: &Lab, step: &str, print: &str) -> Result<()> {
    write_atomic(&path(lab, step), print.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let a = Fingerprint::new("s").text("ab", "c").finish();
        let b = Fingerprint::new("s").text("a", "bc").finish();
        assert_ne!(a, b);
        assert_eq!(a, Fingerprint::new("s").text("ab", "c").finish());
    }

    #[test]
    fn a_tree_changes_with_content_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let print = || Fingerprint::new("s").tree(dir.path()).unwrap().finish();
        let empty = print();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), "1").unwrap();
        let one = print();
        fs::write(dir.path().join("d/a"), "2").unwrap();
        let two = print();
        fs::rename(dir.path().join("d/a"), dir.path().join("a")).unwrap();
        let moved = print();
        let all = [&empty, &one, &two, &moved];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b));
        }
    }

    #[test]
    fn a_missing_file_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let missing = Fingerprint::new("s").file(&file).unwrap().finish();
        fs::write(&file, "").unwrap();
        assert_ne!(missing, Fingerprint::new("s").file(&file).unwrap().finish());
    }
}
