// SPDX-License-Identifier: GPL-2.0
//! Files: written whole or not at all, listed, removed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file's text.
pub fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// What a TOML file says.
pub fn toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    toml::from_str(&text(path)?).with_context(|| format!("reading {}", path.display()))
}

/// Writes a file so that it is either old or new, never half.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content)
        .and_then(|()| file.flush())
        .with_context(|| format!("writing {}", path.display()))?;
    // A temporary file is private; what the lab writes is for everyone to read.
    fs::set_permissions(
        file.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )?;
    file.persist(path)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

/// Writes a report, as [`write_atomic`] does.
pub fn write_json(path: &Path, report: &impl serde::Serialize) -> Result<()> {
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    write_atomic(path, json.as_bytes())
}

/// All plain files below `dir`, sorted; none when there is no such directory.
pub fn below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("reading {}", dir.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies all plain files below `from` to the same places below `to`.
pub fn copy_below(from: &Path, to: &Path) -> Result<()> {
    for file in below(from)? {
        let at = to.join(file.strip_prefix(from)?);
        fs::create_dir_all(at.parent().unwrap_or(to))?;
        fs::copy(&file, at).with_context(|| format!("copying {}", file.display()))?;
    }
    Ok(())
}

/// Removes a file or a directory with all that is in it; fine when there is none.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.with_context(|| format!("removing {}", path.display()))
}
