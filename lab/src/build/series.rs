// SPDX-License-Identifier: GPL-2.0
//! A patch series, and trees kept in step with it file by file, so that make rebuilds only what a
//! changed patch touches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files::remove;
use crate::base::layout::Lab;
use crate::base::stamp::Fingerprint;
use crate::base::step::Step;

/// The patches in a directory, in order of their names; a cover letter is none.
pub fn patches(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        entries => entries
            .with_context(|| format!("reading {}", dir.display()))?
            .filter_map(|e| e.ok().map(|e| e.path()))
            .filter(|p| p.extension().is_some_and(|x| x == "patch"))
            .filter(|p| {
                !p.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with("0000-"))
            })
            .collect(),
    };
    found.sort();
    Ok(found)
}

pub fn fingerprint(print: Fingerprint, dir: &Path) -> Result<Fingerprint> {
    patches(dir)?
        .iter()
        .try_fold(print, |print, patch| print.file(patch))
}

/// The files that a patch adds, changes or removes, as its `---` and `+++` lines say.
pub fn touched(patch: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut before: Option<&str> = None;
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("--- ") {
            before = Some(path);
        } else if let (Some(old), Some(new)) = (before.take(), line.strip_prefix("+++ ")) {
            for (path, prefix) in [(old, "a/"), (new, "b/")] {
                let path = path.split('\t').next().unwrap_or(path).trim_end();
                if let Some(path) = path.strip_prefix(prefix) {
                    found.insert(path.to_owned());
                }
            }
        }
    }
    found
}

fn touched_by_all(dir: &Path) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for patch in patches(dir)? {
        let text = fs::read(&patch).with_context(|| format!("reading {}", patch.display()))?;
        all.extend(touched(&String::from_utf8_lossy(&text)));
    }
    Ok(all)
}

/// Where [`keep_in_step`] keeps what is applied to a tree.
pub fn applied(tree: &Path) -> PathBuf {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    tree.with_file_name(format!("{name}.series"))
}

/// Makes `tree` what `pristine` is with the series of `dir` applied.
///
/// `tree` starts as hard links to `pristine`, so no file in it is ever written to: each is
/// replaced by name. Files whose content stays the same keep their time of change.
pub fn keep_in_step(
    lab: &Lab,
    step: &mut Step,
    pristine: &Path,
    tree: &Path,
    dir: &Path,
) -> Result<()> {
    let name = tree
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let applied = applied(tree);
    if !tree.exists() {
        step.say(&format!(
            "linking {} from {}",
            lab.shown(tree),
            lab.shown(pristine)
        ))?;
        let new = tree.with_file_name(format!("{name}.new"));
        remove(&new)?;
        remove(&applied)?;
        step.run(Command::new("cp").arg("-al").arg(pristine).arg(&new))?;
        fs::rename(&new, tree)?;
    }
    let mut files = touched_by_all(dir)?;
    files.extend(touched_by_all(&applied)?);
    let staging = tree.with_file_name(format!("{name}.staging"));
    remove(&staging)?;
    fs::create_dir_all(&staging)?;
    for file in &files {
        let from = pristine.join(file);
        if from.is_file() {
            let to = staging.join(file);
            fs::create_dir_all(to.parent().unwrap_or(&staging))?;
            fs::copy(&from, &to).with_context(|| format!("copying {file}"))?;
        }
    }
    for patch in patches(dir)? {
        let mut command = Command::new("patch");
        command
            .args([
                "-p1",
                "--batch",
                "--forward",
                "--no-backup-if-mismatch",
                "--fuzz=0",
                "-d",
            ])
            .arg(&staging)
            .arg("-i")
            .arg(&patch);
        if !step.status(&mut command)? {
            return Err(Failure::new(format!("{} does not apply", lab.shown(&patch)))
                .log(step.log_path())
                .details(step.tail(8))
                .next("mend the patch (`lab kernel edit` for the host series), then run the same command again")
                .into());
        }
    }
    // While the tree is between two series, a later call must know the files of both.
    fs::create_dir_all(&applied)?;
    for patch in patches(dir)? {
        let name = patch
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        fs::copy(&patch, applied.join(format!("next-{name}")))?;
    }
    for file in &files {
        replace(&staging.join(file), &tree.join(file))
            .with_context(|| format!("updating {file}"))?;
    }
    remove(&applied)?;
    fs::create_dir_all(&applied)?;
    for patch in patches(dir)? {
        fs::copy(&patch, applied.join(patch.file_name().unwrap_or_default()))?;
    }
    remove(&staging)
}

/// Puts `from` in the place of `to` when their contents differ; removes `to` when `from` is not there.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).ok();
    let old = fs::read(to).ok();
    match (new, old) {
        (None, Some(_)) => fs::remove_file(to)?,
        (Some(new), old) if old.as_ref() != Some(&new) => {
            let dir = to.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(dir)?;
            let temporary = dir.join(format!(
                ".{}.new",
                to.file_name().unwrap_or_default().to_string_lossy()
            ));
            remove(&temporary)?;
            fs::write(&temporary, new)?;
            fs::set_permissions(&temporary, fs::metadata(from)?.permissions())?;
            fs::rename(&temporary, to)?;
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choices::Choices;
    use std::os::unix::fs::MetadataExt;

    fn patch(file: &str, old: &str, new: &str) -> String {
        format!("Subject: x\n\n---\n stat\n\ndiff --git a/{file} b/{file}\n--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-{old}\n+{new}\n")
    }

    #[test]
    fn touched_files_are_read_from_headers() {
        let text = patch("d/x.c", "1", "2") + "--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+x\n";
        assert_eq!(
            touched(&text).into_iter().collect::<Vec<_>>(),
            ["d/x.c", "new.c"]
        );
        // A removed line that begins with dashes is no header.
        assert!(touched("--- a comment\n-foo\n").is_empty());
    }

    #[test]
    fn cover_letters_are_no_patches() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "0002-b.patch",
            "0000-cover-letter.patch",
            "0001-a.patch",
            "README",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names: Vec<_> = patches(dir.path())
            .unwrap()
            .into_iter()
            .map(|p| p.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["0001-a.patch", "0002-b.patch"]);
    }

    #[test]
    fn a_tree_follows_its_series_and_leaves_the_pristine_one_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("lab/config")).unwrap();
        let lab = Lab::at_root(dir.path(), Choices::default()).unwrap();
        let at = |p: &str| dir.path().join(p);
        for (file, content) in [("p/a.c", "1\n"), ("p/b.c", "1\n"), ("p/c.c", "1\n")] {
            fs::create_dir_all(at("p")).unwrap();
            fs::write(at(file), content).unwrap();
        }
        fs::create_dir_all(at("s")).unwrap();
        fs::write(at("s/0001.patch"), patch("a.c", "1", "2")).unwrap();
        fs::write(at("s/0002.patch"), patch("b.c", "1", "2")).unwrap();
        let apply = || {
            let mut step = Step::begin(&lab, "series", "test")?;
            keep_in_step(&lab, &mut step, &at("p"), &at("t"), &at("s"))
        };
        let read = |p: &str| fs::read_to_string(at(p)).unwrap();
        apply().unwrap();
        assert_eq!(
            (read("t/a.c"), read("t/b.c"), read("t/c.c")),
            ("2\n".into(), "2\n".into(), "1\n".into())
        );
        assert_eq!((read("p/a.c"), read("p/b.c")), ("1\n".into(), "1\n".into()));

        // One patch goes, one stays: the first file comes back, the second is not written.
        let before = fs::metadata(at("t/b.c")).unwrap();
        fs::remove_file(at("s/0001.patch")).unwrap();
        apply().unwrap();
        let after = fs::metadata(at("t/b.c")).unwrap();
        assert_eq!(read("t/a.c"), "1\n");
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec())
        );

        // One that does not apply says which, and leaves the tree as it was.
        fs::write(at("s/0003.patch"), patch("c.c", "9", "2")).unwrap();
        let error = apply().unwrap_err().to_string();
        assert!(error.contains("0003.patch does not apply"), "{error}");
        assert_eq!((read("t/b.c"), read("t/c.c")), ("2\n".into(), "1\n".into()));
    }
}
