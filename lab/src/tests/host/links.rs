// SPDX-License-Identifier: GPL-2.0
//! What the documents point to: files, make's targets, test programs and web pages. Sphinx checks the
//! references of RST among themselves; no web page is asked for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use regex_lite::Regex;

use crate::base::failure::Failure;
use crate::base::files;
use crate::build::{kernel, series};
use crate::tests::host::{host, Host};

pub fn test() -> Host {
    host("docs: links", |lab| {
        let there = There::of(&lab.root)?;
        let mut broken = Vec::new();
        for file in documents(&lab.root)? {
            let text = files::text(&file)?;
            let dir = file.parent().unwrap_or(&lab.root);
            let found = there.broken(dir, &text, Kind::of(&file));
            let shown = lab.shown(&file);
            broken.extend(found.map(|(line, what)| format!("{shown}:{line}: {what}")));
        }
        if broken.is_empty() {
            return Ok(());
        }
        Err(Failure::new("documents point to what is not there")
            .details(broken)
            .next("mend the lines that are named")
            .into())
    })
}

/// The README and whatever else is there to be read, as Markdown or RST.
pub fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(root)
        .with_context(|| format!("reading {}", root.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.is_file())
        .collect();
    found.extend(files::below(&root.join("Documentation"))?);
    found.retain(|f| f.extension().is_some_and(|x| x == "md" || x == "rst"));
    found.sort();
    Ok(found)
}

/// How a document is written.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Markdown,
    Rst,
    /// In Markdown; it may name what is gone.
    Changelog,
}

impl Kind {
    fn of(file: &Path) -> Kind {
        match file.extension().is_some_and(|x| x == "rst") {
            true => Kind::Rst,
            false if file.ends_with("CHANGELOG.md") => Kind::Changelog,
            false => Kind::Markdown,
        }
    }
}

/// Where the kernel's tree has the like of ours.
const KVM_SELFTESTS: &str = "tools/testing/selftests/kvm/x86/";

/// What documents can point to.
struct There {
    root: PathBuf,
    targets: BTreeSet<String>,
    programs: BTreeSet<String>,
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant")
}

impl There {
    fn of(root: &Path) -> Result<There> {
        let makefile = root.join("Makefile");
        let makefile = files::text(&makefile)?;
        let mut programs = files::below(&root.join("selftests"))?;
        // And those that the kernel's patches add to its tree.
        for dir in [kernel::FIXES, kernel::SERIES, kernel::MINIMAL] {
            let touched = series::touched_by(&series::patches(&root.join(dir))?)?;
            let selftests = touched.into_iter().filter(|f| f.starts_with(KVM_SELFTESTS));
            programs.extend(selftests.map(PathBuf::from));
        }
        Ok(There {
            root: root.to_owned(),
            targets: regex(r"(?m)^([a-z][a-z-]*):(?:[^=]|$)")
                .captures_iter(&makefile)
                .map(|target| target[1].to_owned())
                .collect(),
            programs: programs
                .iter()
                .filter(|f| f.extension().is_some_and(|x| x == "c"))
                .filter_map(|f| Some(f.file_stem()?.to_string_lossy().into_owned()))
                .collect(),
        })
    }

    /// The line and the reason of all that a document in `dir` points to in vain.
    fn broken(&self, dir: &Path, text: &str, kind: Kind) -> impl Iterator<Item = (usize, String)> {
        let mut found: Vec<(usize, String)> = Vec::new();
        for code in code(text, kind) {
            if kind == Kind::Changelog {
                break;
            }
            found.extend(self.command(code.1).map(|what| (code.0, what)));
            found.extend(code.1.split_whitespace().filter_map(|word| {
                let what = self.word(dir, word)?;
                Some((code.0, what))
            }));
        }
        let links = match kind {
            Kind::Rst => regex(r"`[^`<]*<([^>`]*[^>`_])>`_"),
            _ => regex(r"\]\(([^)\s]*)\)"),
        };
        for link in links.captures_iter(text) {
            if let (Some(target), Some(what)) = (link.get(1), self.link(dir, text, &link[1])) {
                found.push((target.start(), what));
            }
        }
        for url in regex(r"\b[a-z]+:/[^\s<>`)\]|]*").find_iter(text) {
            if !well_formed(
                url.as_str()
                    .trim_end_matches(['.', ',', ';', ':', '\'', '"']),
            ) {
                found.push((url.start(), format!("{} is no address", url.as_str())));
            }
        }
        found.sort();
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let found: Vec<_> = found.into_iter().map(|(at, w)| (line(at), w)).collect();
        found.into_iter()
    }

    /// A target of make that a command names in vain.
    fn command(&self, code: &str) -> Option<String> {
        let mut simple = code.split(['&', '|', ';', '\n']);
        simple.find_map(|command| {
            let command = command.split(" #").next().unwrap_or(command);
            let mut words = command
                .split_whitespace()
                .skip_while(|w| ["$", "#", "sudo", "time"].contains(w) || w.contains('='));
            if words.next() != Some("make") {
                return None;
            }
            let arguments: Vec<&str> = words.collect();
            // Of another directory's makefile nothing is known here.
            if arguments.iter().any(|w| w.starts_with('-')) {
                return None;
            }
            let target = regex("^[a-z][a-z-]*$");
            arguments
                .into_iter()
                .find(|w| target.is_match(w) && !self.targets.contains(*w))
                .map(|w| format!("make has no target {w}"))
        })
    }

    /// A word of code that is the path of a file that is not there, or the name of a program.
    fn word(&self, dir: &Path, word: &str) -> Option<String> {
        let word = word.trim_matches(['(', ')', ',', '.', ';', ':', '"', '\'', '/']);
        let word = regex(":[0-9]+$").replace(word, "");
        let program = regex("^xfd_([a-z_]+_test|hole_[a-z_]+|measure|conformance)$");
        if program.is_match(&word) && !self.programs.contains(&*word) {
            return Some(format!("selftests/ has no {word}"));
        }
        let gone = || Some(format!("there is no {word}"));
        match word.split_once('/') {
            // Not build/: it may be there or not.
            Some((first, _)) if ["build", ".git", ".", "..", ""].contains(&first) => None,
            Some((first, _)) if !self.root.join(first).is_dir() => None,
            Some(_) if word.contains(['<', '>', '$', '{']) => None,
            Some(_) if matches(&self.root, &word) => None,
            Some(_) => gone(),
            None if !(word.ends_with(".md") || word.ends_with(".rst")) => None,
            None if [dir, &self.root, &self.root.join("Documentation")]
                .iter()
                .any(|d| d.join(&*word).is_file()) =>
            {
                None
            }
            None => gone(),
        }
    }

    /// The target of a link that is not there.
    fn link(&self, dir: &Path, text: &str, target: &str) -> Option<String> {
        if target.contains("://") {
            return None;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let at = dir.join(file);
        if !file.is_empty() && !at.exists() {
            return Some(format!("there is no {target}"));
        }
        let page = match file {
            "" => text.to_owned(),
            _ => fs::read_to_string(&at).unwrap_or_default(),
        };
        let known = anchor.is_empty() || headings(&page).any(|h| h == anchor);
        (!known).then(|| format!("there is no heading {target}"))
    }
}

/// Anchors of a Markdown page's headings, as code forges make them.
fn headings(page: &str) -> impl Iterator<Item = String> + '_ {
    let heads = page.lines().filter(|l| l.starts_with('#'));
    heads.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    })
}

/// Whether `path`, in whose last part `*` stands for anything, is there.
fn matches(root: &Path, path: &str) -> bool {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    if !name.contains('*') {
        return root.join(path).exists();
    }
    let pattern = regex(&format!(
        "^{}$",
        regex_lite::escape(name).replace(r"\*", ".*")
    ));
    fs::read_dir(root.join(dir)).is_ok_and(|entries| {
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        names.into_iter().any(|name| pattern.is_match(&name))
    })
}

fn well_formed(url: &str) -> bool {
    regex(r"^(https?|git)://[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}(:[0-9]+)?(/[!-~]*)?$")
        .is_match(url)
}

/// What a document says in code, and where: literals within the text, and lines of blocks.
fn code(text: &str, kind: Kind) -> Vec<(usize, &str)> {
    let literal = match kind {
        Kind::Rst => regex("``([^`]+)``"),
        _ => regex("`([^`\n]+(?:\n[^`\n]+)?)`"),
    };
    let literals = literal.captures_iter(text).filter_map(|c| c.get(1));
    let mut found: Vec<_> = literals.map(|c| (c.start(), c.as_str())).collect();

    let (mut at, mut fenced, mut block, mut before) = (0, false, None, "");
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        let blank = line.trim().is_empty();
        match kind {
            Kind::Rst => {
                if block.is_some_and(|of| !blank && indent <= of) {
                    block = None;
                }
                if block.is_some() && !blank {
                    found.push((at, line));
                } else if line.trim_end().ends_with("::") {
                    block = Some(indent);
                }
            }
            _ if line.trim_start().starts_with("```") => fenced = !fenced,
            _ => {
                let starts = before.trim().is_empty() || block.is_some();
                block = (indent >= 4 && starts && !blank).then_some(0);
                if fenced || block.is_some() {
                    found.push((at, line));
                }
            }
        }
        before = line;
        at += line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("Makefile", "LAB := x\ncheck-debug: lab\n\t@x\ncheck:\n"),
            ("README.md", "# The First, one\n"),
            ("lab/src/a.rs", ""),
            ("selftests/xfd_state_test.c", ""),
            ("Documentation/lazy.rst", ""),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn broken(text: &str, kind: Kind) -> Vec<String> {
        let dir = repository();
        let there = There::of(dir.path()).unwrap();
        let found = there.broken(dir.path(), text, kind);
        found
            .map(|(line, what)| format!("{line}: {what}"))
            .collect()
    }

    #[test]
    fn what_is_there_may_be_named() {
        let fine = "`make check`, `make X=1 check-debug`, `lab/src/a.rs`, `lab/src/*.rs:12`,\n\
            `lab/`, `lazy.rst`, `build/x/y`, `arch/x86/kvm`, `xfd_state_test -x`, `xfd_state`,\n\
            `./mytest`, `apt-get install make git`, `make -C dir all`,\n\
            [one](#the-first-one), [two](README.md#the-first-one), [three](lab/src),\n\
            <https://lore.kernel.org/kvm/a.b@c/>.\n\n# The First, one\n\n    make check\n";
        assert_eq!(broken(fine, Kind::Markdown), [""; 0]);
    }

    #[test]
    fn what_is_not_there_is_named_with_its_line() {
        let cases = [
            ("`make chekc`", "1: make has no target chekc"),
            (
                "x\n\n    SETUP=no make check chekc # y\n",
                "3: make has no target chekc",
            ),
            (
                "```\nmake check && make no\n```",
                "2: make has no target no",
            ),
            ("see `lab/src/b.rs`.", "1: there is no lab/src/b.rs"),
            ("`lab/src/*.c`", "1: there is no lab/src/*.c"),
            ("`design.rst`", "1: there is no design.rst"),
            ("`xfd_odd_test`", "1: selftests/ has no xfd_odd_test"),
            ("[x](lab/b)", "1: there is no lab/b"),
            ("[x](#second)", "1: there is no heading #second"),
            (
                "[x](README.md#second)",
                "1: there is no heading README.md#second",
            ),
            ("<https://kernel>", "1: https://kernel is no address"),
            ("http:/kernel.org", "1: http:/kernel.org is no address"),
            ("htps://kernel.org", "1: htps://kernel.org is no address"),
        ];
        for (text, what) in cases {
            assert_eq!(broken(text, Kind::Markdown), [what], "{text}");
        }
    }

    #[test]
    fn rst_has_literals_and_blocks_of_its_own() {
        let text =
            "One ``make no`` and::\n\n    make check\n    cat lab/no\n\n* make\n  make nothing of it\n\n\
            Two, `web <https://kernel>`_, `file <no.rst>`_, :doc:`lazy`\n";
        assert_eq!(
            broken(text, Kind::Rst),
            [
                "1: make has no target no",
                "4: there is no lab/no",
                "9: https://kernel is no address",
                "9: there is no no.rst",
            ]
        );
    }

    #[test]
    fn a_changelog_may_name_what_is_gone() {
        assert_eq!(
            broken("`make gone`, `lab/gone.rs`", Kind::Changelog),
            [""; 0]
        );
        assert_eq!(broken("[x](lab/gone.rs)", Kind::Changelog).len(), 1);
    }
}
