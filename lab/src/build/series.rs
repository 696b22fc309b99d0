// SPDX-License-Identifier: GPL-2.0
//! A patch series, and trees kept in step with it file by file, so that make rebuilds only what a
//! changed patch touches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files::{self, remove, write_atomic};
use crate::base::layout::Lab;
use crate::base::stamp::Fingerprint;
use crate::base::step::Step;
use crate::build::source::Source;

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

pub fn fingerprint(print: Fingerprint, patches: &[PathBuf]) -> Result<Fingerprint> {
    let mut patches = patches.iter();
    patches.try_fold(print, |print, patch| print.file(patch))
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

/// All files that these patches touch.
pub fn touched_by(patches: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for patch in patches {
        let text = fs::read(patch).with_context(|| format!("reading {}", patch.display()))?;
        all.extend(touched(&String::from_utf8_lossy(&text)));
    }
    Ok(all)
}

/// How a patch applies.
#[derive(Debug, PartialEq)]
pub enum Applies {
    /// Every hunk where the patch says.
    Cleanly,
    /// Every hunk, some of them in other lines than the patch says.
    WithOffsets,
    /// Not all of it: the hunks that don't (`file:line`), the files that are missing.
    Fails(Vec<String>),
}

/// Applies a patch to the files below `dir`; of one that fails, the hunks that do apply.
pub fn apply(patch: &Path, dir: &Path) -> Result<Applies> {
    let mut command = Command::new("git");
    command
        .args(["apply", "--verbose", "--reject", "--whitespace=nowarn"])
        .arg(fs::canonicalize(patch).with_context(|| format!("reading {}", patch.display()))?)
        .current_dir(dir)
        // No repository and no configuration around it shall have a say.
        .env("GIT_CEILING_DIRECTORIES", dir.parent().unwrap_or(dir))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    for inherited in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(inherited);
    }
    let output = command.output().context("starting git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(if !output.status.success() {
        Applies::Fails(why(&said))
    } else if said.contains("(offset ") {
        Applies::WithOffsets
    } else {
        Applies::Cleanly
    })
}

/// The reasons in what `git apply` says.
fn why(said: &str) -> Vec<String> {
    said.lines()
        .filter_map(|line| line.strip_prefix("error: "))
        // What it was looking for stands in the patch.
        .filter(|line| !line.starts_with("while searching for"))
        .map(|line| line.trim_start_matches("patch failed: ").to_owned())
        .collect()
}

/// Where a tree keeps the names of the files in which it may differ from the pristine one.
const DIFFERS: &str = ".lab.differs";

/// Makes `tree` what `pristine` is with these patches applied.
///
/// `tree` starts as hard links to `pristine`, so no file in it is ever written to: each is
/// replaced by name. Files whose content stays the same keep their time of change.
pub fn keep_in_step(
    lab: &Lab,
    step: &mut Step,
    pristine: &Source,
    tree: &Path,
    patches: &[PathBuf],
) -> Result<()> {
    let differs = tree.join(DIFFERS);
    if !differs.exists() {
        step.say(&format!(
            "linking {} from {}",
            lab.shown(tree),
            lab.shown(&pristine.dir)
        ))?;
        let new = tree.with_extension("new");
        remove(&new)?;
        step.run(Command::new("cp").arg("-al").arg(&pristine.dir).arg(&new))?;
        fs::write(new.join(DIFFERS), "")?;
        remove(tree)?;
        fs::rename(&new, tree)?;
    }
    let mut files = touched_by(patches)?;
    files.extend(fs::read_to_string(&differs)?.lines().map(str::to_owned));
    let staging = tree.with_extension("staging");
    remove(&staging)?;
    fs::create_dir_all(&staging)?;
    for file in files.iter().filter(|f| pristine.dir.join(f).is_file()) {
        let to = staging.join(file);
        fs::create_dir_all(to.parent().unwrap_or(&staging))?;
        fs::copy(pristine.dir.join(file), to).with_context(|| format!("copying {file}"))?;
    }
    for patch in patches {
        step.say(&format!("applying {}", lab.shown(patch)))?;
        if let Applies::Fails(why) = apply(patch, &staging)? {
            let what = format!("{} does not apply to {}", lab.shown(patch), pristine.name);
            return Err(Failure::new(what).details(why).next(next(pristine)).into());
        }
    }
    // A later call must know each file before it changes.
    let list: String = files.iter().map(|f| format!("{f}\n")).collect();
    write_atomic(&differs, list.as_bytes())?;
    for file in &files {
        replace(&staging.join(file), &tree.join(file))
            .with_context(|| format!("updating {file}"))?;
    }
    remove(&staging)
}

/// Makes the files of a tree that differ from those of `pristine` newer than all that was built so far.
pub fn renew(tree: &Path, pristine: &Path) -> Result<()> {
    for file in files::text(&tree.join(DIFFERS))?.lines() {
        let path = tree.join(file);
        // Not all that are listed still do.
        let ours = fs::read(&path).ok();
        if ours.is_some() && ours != fs::read(pristine.join(file)).ok() {
            let file = fs::File::options().append(true).open(&path)?;
            file.set_modified(SystemTime::now())
                .with_context(|| format!("renewing {}", path.display()))?;
        }
    }
    Ok(())
}

fn next(pristine: &Source) -> &'static str {
    if pristine.pinned {
        "mend the patch (`lab kernel edit` for the host series), then run the same command again"
    } else {
        "`make fits` lists all hunks of the host series that fail, `lab kernel edit` makes a tree to \
         mend them in; or give the release that lab/config/sources.toml names, with KERNEL_SOURCE= \
         or EMULATOR_SOURCE="
    }
}

/// Puts `from` in the place of `to` when their contents differ; removes `to` when `from` is not there.
fn replace(from: &Path, to: &Path) -> Result<()> {
    match (fs::read(from).ok(), fs::read(to).ok()) {
        (None, Some(_)) => fs::remove_file(to)?,
        (Some(new), old) if old.as_ref() != Some(&new) => {
            fs::create_dir_all(to.parent().unwrap_or(to))?;
            fs::rename(from, to)?;
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
            let pristine = Source {
                dir: at("p"),
                sha256: String::new(),
                name: "p 1".into(),
                pinned: true,
            };
            keep_in_step(&lab, &mut step, &pristine, &at("t"), &patches(&at("s"))?)
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
        assert!(
            error.contains("s/0003.patch does not apply to p 1\n    c.c:1\n"),
            "{error}"
        );
        assert_eq!((read("t/b.c"), read("t/c.c")), ("2\n".into(), "1\n".into()));

        // One that adds a file, and its end.
        let new = "--- /dev/null\n+++ b/d/new.c\n@@ -0,0 +1 @@\n+x\n";
        fs::write(at("s/0003.patch"), new).unwrap();
        apply().unwrap();
        assert_eq!(read("t/d/new.c"), "x\n");
        fs::remove_file(at("s/0003.patch")).unwrap();
        apply().unwrap();
        assert!(!at("t/d/new.c").exists() && !at("p/d/new.c").exists());

        // A tree that does not say in which files it differs is made anew.
        fs::remove_file(at("t").join(DIFFERS)).unwrap();
        fs::write(at("t/left.c"), "").unwrap();
        apply().unwrap();
        assert!(!at("t/left.c").exists());
        assert_eq!(read("t/b.c"), "2\n");
    }

    #[test]
    fn what_differs_is_renewed_though_a_copy_links_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        for (file, content) in [
            ("p/same.c", "1"),
            ("p/other.c", "1"),
            ("t/other.c", "2"),
            ("t/new.c", "2"),
        ] {
            fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs::write(at(file), content).unwrap();
        }
        fs::hard_link(at("p/same.c"), at("t/same.c")).unwrap();
        fs::hard_link(at("t/other.c"), at("copy.c")).unwrap();
        fs::write(at("t").join(DIFFERS), "gone.c\nnew.c\nother.c\nsame.c\n").unwrap();
        let old = SystemTime::UNIX_EPOCH;
        let files = ["t/new.c", "t/other.c", "t/same.c"].map(at);
        for file in &files {
            let file = fs::File::options().append(true).open(file).unwrap();
            file.set_modified(old).unwrap();
        }
        renew(&at("t"), &at("p")).unwrap();
        let renewed = files.map(|file| fs::metadata(file).unwrap().modified().unwrap() > old);
        assert_eq!(renewed, [true, true, false]);
    }

    #[test]
    fn a_patch_applies_cleanly_with_offsets_or_says_where_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        fs::create_dir(at("k")).unwrap();
        let lines = |first: &str| format!("{first}1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        let diff = "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n";
        let how = |content: &str, files: &[&str]| {
            fs::write(at("k/a.c"), content).unwrap();
            let text = files
                .iter()
                .map(|f| format!("--- a/{f}\n+++ b/{f}\n{diff}"));
            fs::write(at("x.patch"), text.collect::<String>()).unwrap();
            apply(&at("x.patch"), &at("k")).unwrap()
        };
        assert_eq!(how(&lines(""), &["a.c"]), Applies::Cleanly);
        assert_eq!(how(&lines("0\n"), &["a.c"]), Applies::WithOffsets);
        // Context that differs is no offset: it may be other code.
        let other = lines("").replace('3', "33");
        assert_eq!(how(&other, &["a.c"]), Applies::Fails(vec!["a.c:2".into()]));
        // What applies is applied, so that later patches are judged by themselves.
        let missing = how(&lines(""), &["b.c", "a.c"]);
        let why = vec!["b.c: No such file or directory".to_owned()];
        assert_eq!(missing, Applies::Fails(why));
        assert!(fs::read_to_string(at("k/a.c")).unwrap().contains('x'));
    }
}
