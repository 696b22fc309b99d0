// SPDX-License-Identifier: GPL-2.0
//! `lab kernel`: the loop of a developer of the host series. A git tree of the patched kernel is
//! edited with git's own commands, built, booted, and written back as patches/fixes and patches/linux.
//!
//! An empty commit stands between the two, so that their border moves with them in a rebase.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::step::{ask, Step};
use crate::build::kernel;
use crate::build::series;
use crate::build::source::{self, Source};
use crate::commands::boot;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make build/linux/tree: a git tree with one commit for each patch of patches/fixes and
    /// patches/linux, and an empty one between them
    ///
    /// Then work there as with any kernel tree: commit, `git rebase -i base`, and so on.
    Edit,
    /// Build that tree, changes not yet committed included, and boot it
    Try(Box<Try>),
    /// Write the tree's commits since the tag `base` back: to patches/fixes up to the empty commit, to
    /// patches/linux from there on
    Save,
}

#[derive(clap::Args)]
pub struct Try {
    /// Options of `lab boot`, and after `--` the command [default: only build]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    boot: Vec<String>,
}

/// The subject of the empty commit.
const BORDER: &str = "The fixes end here, and the host series begins";

fn tree(lab: &Lab) -> PathBuf {
    lab.at("build/linux/tree")
}

fn git(tree: &Path) -> Process {
    let mut command = Process::new("git");
    command.arg("-C").arg(tree).env("LC_ALL", "C");
    command
}

pub fn run(lab: &Lab, command: &Command) -> Result<u8> {
    match command {
        Command::Edit => edit(lab)?,
        Command::Try(options) => return attempt(lab, options),
        Command::Save => save(lab)?,
    }
    Ok(0)
}

fn edit(lab: &Lab) -> Result<()> {
    let tree = tree(lab);
    if tree.exists() {
        return Err(Failure::new(format!("{} is there already", lab.shown(&tree)))
            .next("go on working in it, or save it (`lab kernel save`), remove it, and run this again")
            .into());
    }
    lab.lock()?;
    make(lab, &source::kernel(lab)?, &tree)
}

/// Makes the git tree of a source and the patches.
fn make(lab: &Lab, pristine: &Source, tree: &Path) -> Result<()> {
    let mut step = Step::begin(
        lab,
        "kernel-edit",
        "making the git tree of the patched kernel",
    )?;
    let new = tree.with_extension("new");
    files::remove(&new)?;
    step.run(Process::new("cp").arg("-a").arg(&pristine.dir).arg(&new))?;
    step.run(git(&new).args(["init", "-q", "-b", "xfd"]))?;
    // Debian's archive has files that the kernel's .gitignore names.
    step.run(git(&new).args(["add", "-A", "-f"]))?;
    let me = "-c user.name=lab -c user.email=lab@localhost -c commit.gpgsign=false".split(' ');
    let commit = ["commit", "-q", "-m", "The pristine kernel source"];
    step.run(git(&new).args(me.clone()).args(commit))?;
    step.run(git(&new).args(["tag", "base"]))?;
    // The committer is the user's own when git knows one.
    let known = ask(git(&new).args(["config", "user.email"])).is_some_and(|e| !e.is_empty());
    let mut command = git(&new);
    if !known {
        command.args(me);
    }
    let border = lab.at("build/linux/border.patch");
    let date = "Thu, 1 Jan 2026 00:00:00 +0000";
    let text = format!("From: lab <lab@localhost>\nDate: {date}\nSubject: {BORDER}\n\n");
    fs::write(&border, text)?;
    command.args(["am", "-q", "--keep-non-patch", "--empty=keep"]);
    command.args(series::patches(&lab.at(kernel::FIXES))?);
    command.arg(&border);
    command.args(series::patches(&lab.at(kernel::SERIES))?);
    let applied = step.status(&mut command)?;
    fs::rename(&new, tree)?;
    let shown = lab.shown(tree);
    if !applied {
        let what = format!("not all patches apply to {}", pristine.name);
        return Err(Failure::new(what)
            .details(step.tail(8))
            .next(format!(
                "git am waits in {shown}: `git apply --reject` the patch that it names, mend what is in \
                 the .rej files, `git add` it, `git am --continue`, and `git am --allow-empty` for \
                 \"{BORDER}\"; then `lab kernel save`"
            ))
            .into());
    }
    step.done();
    eprintln!(
        "lab: edit and commit in {shown}, then `lab kernel try -- COMMAND` and `lab kernel save`"
    );
    Ok(())
}

fn need(lab: &Lab) -> Result<PathBuf> {
    let tree = tree(lab);
    if tree.join(".git").exists() {
        return Ok(tree);
    }
    Err(Failure::new("there is no git tree yet")
        .next("`lab kernel edit` makes it")
        .into())
}

fn attempt(lab: &Lab, options: &Try) -> Result<u8> {
    let tree = need(lab)?;
    lab.lock()?;
    let objects = lab.at("build/linux/tree-build");
    kernel::build_tree(
        lab,
        &tree,
        &objects,
        "building the kernel of the git tree",
        kernel::Kind::Patched,
    )?;
    if options.boot.is_empty() {
        return Ok(0);
    }
    use clap::Parser;
    #[derive(clap::Parser)]
    #[command(name = "lab kernel try")]
    struct Arguments {
        #[command(flatten)]
        boot: boot::Options,
    }
    let mut words = vec![
        "lab kernel try".to_owned(),
        "--kernel".to_owned(),
        objects.display().to_string(),
    ];
    if !options.boot.iter().any(|w| w == "--") && !options.boot[0].starts_with("--") {
        words.push("--".to_owned());
    }
    words.extend(options.boot.iter().cloned());
    let arguments = Arguments::parse_from(words);
    Ok(boot::run(lab, &arguments.boot)?.clamp(0, 255) as u8)
}

fn save(lab: &Lab) -> Result<()> {
    let tree = need(lab)?;
    for under_way in ["rebase-apply", "rebase-merge"] {
        if tree.join(".git").join(under_way).exists() {
            return Err(
                Failure::new("git am or git rebase is not finished in the git tree")
                    .next(format!(
                        "finish it in {} (`git status` says how), then run this again",
                        lab.shown(&tree)
                    ))
                    .into(),
            );
        }
    }
    let dirty =
        ask(git(&tree).args(["status", "--porcelain", "--untracked-files=no"])).unwrap_or_default();
    if !dirty.is_empty() {
        return Err(
            Failure::new("the git tree has changes that are not committed")
                .details(dirty.lines().take(10))
                .next(format!(
                    "commit them in {}, then run this again",
                    lab.shown(&tree)
                ))
                .into(),
        );
    }
    let log = ask(git(&tree).args(["log", "--format=%H %s", "base..HEAD"])).unwrap_or_default();
    let mut commits = log.lines().filter_map(|line| line.split_once(' '));
    let Some((border, _)) = commits.find(|(_, subject)| *subject == BORDER) else {
        return Err(Failure::new("nothing says which commits are the fixes")
            .next(format!(
                "git commit --allow-empty -m \"{BORDER}\", and by `git rebase -i base` put it behind them"
            ))
            .into());
    };
    let mut step = Step::begin(lab, "kernel-save", "writing the patches")?;
    for (dir, commits) in [
        (kernel::FIXES, format!("base..{border}^")),
        (kernel::SERIES, format!("{border}..HEAD")),
    ] {
        let count = write(lab, &mut step, &tree, &commits, dir)?;
        eprintln!("lab: {count} patches written to {dir}");
    }
    step.done();
    Ok(())
}

/// Makes the patches in a directory those of some commits, and says how many these are.
fn write(lab: &Lab, step: &mut Step, tree: &Path, commits: &str, dir: &str) -> Result<usize> {
    let new = lab.at("build/linux/series.new");
    files::remove(&new)?;
    fs::create_dir_all(&new)?;
    // No hash, no version of git, no encoding, and nothing of the user's settings or of the tree's
    // size: the same commits give the same files.
    let format = "-c format.useAutoBase=false -c diff.algorithm=myers format-patch -q --zero-commit \
                  --no-signature -n --no-base --no-thread --abbrev=8 --src-prefix=a/ --dst-prefix=b/ -o";
    step.run(
        git(tree)
            .args(format.split_whitespace())
            .arg(&new)
            .arg(commits),
    )?;
    let dir = lab.at(dir);
    fs::create_dir_all(&dir)?;
    for old in series::patches(&dir)? {
        fs::remove_file(old)?;
    }
    let patches = series::patches(&new)?;
    for patch in &patches {
        fs::copy(patch, dir.join(patch.file_name().unwrap_or_default()))?;
    }
    files::remove(&new)?;
    Ok(patches.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_says_what_is_a_fix() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        let lab = Lab::at_root(dir.path(), Default::default()).unwrap();
        for new in ["k", "build/linux", kernel::FIXES, kernel::SERIES] {
            fs::create_dir_all(at(new)).unwrap();
        }
        for (file, tag, dir) in [
            ("a.c", "", kernel::FIXES),
            ("b.c", "[RFC] ", kernel::SERIES),
        ] {
            fs::write(at("k").join(file), "1\n").unwrap();
            let head = "From: x <x@y>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n";
            let diff = format!("--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-1\n+2\n");
            let patch = format!("{head}Subject: [PATCH] {tag}Change {file}\n\nWhy.\n---\n{diff}");
            fs::write(at(dir).join("0001-x.patch"), patch).unwrap();
            fs::write(at(dir).join("0000-cover-letter.patch"), "mine\n").unwrap();
        }
        let pristine = Source {
            dir: at("k"),
            sha256: String::new(),
            name: "k 1".into(),
            pinned: true,
        };
        make(&lab, &pristine, &tree(&lab)).unwrap();
        // Settings of the user's that change what git writes.
        for (name, value) in [
            ("core.abbrev", "20"),
            ("diff.noprefix", "true"),
            ("format.noprefix", "true"),
        ] {
            let mut config = git(&tree(&lab));
            assert!(config
                .args(["config", name, value])
                .status()
                .unwrap()
                .success());
        }
        let saved = || {
            save(&lab).unwrap();
            [kernel::FIXES, kernel::SERIES].map(|dir| {
                let letter = fs::read_to_string(at(dir).join("0000-cover-letter.patch"));
                assert_eq!(letter.unwrap(), "mine\n");
                let patches = series::patches(&at(dir)).unwrap();
                let names = patches.iter().filter_map(|p| p.file_name()?.to_str());
                names.collect::<Vec<_>>().join(" ")
            })
        };
        let both = ["0001-Change-a.c.patch", "0001-RFC-Change-b.c.patch"];
        assert_eq!(saved(), both);
        let text = fs::read_to_string(at(kernel::FIXES).join(both[0])).unwrap();
        assert!(
            text.contains("Subject: [PATCH 1/1] Change a.c\n\nWhy.\n---\n"),
            "{text}"
        );
        let changed =
            "\ndiff --git a/a.c b/a.c\nindex d00491fd..0cfbf088 100644\n--- a/a.c\n+++ b/a.c\n";
        assert!(text.contains(changed), "{text}");

        // It follows a rebase, and a patch that is moved over it changes its directory.
        let mut rebase = git(&tree(&lab));
        rebase.args("-c user.name=x -c user.email=x@y -c commit.gpgsign=false".split(' '));
        rebase.args(["-c", "sequence.editor=sed -i -n '1{h;n;G};p'"]);
        let output = rebase.args(["rebase", "-i", "base"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let moved = "0001-Change-a.c.patch 0002-RFC-Change-b.c.patch";
        assert_eq!(saved(), ["", moved]);
    }
}
