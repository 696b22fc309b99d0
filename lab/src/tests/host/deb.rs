// SPDX-License-Identifier: GPL-2.0
//! The module's Debian package: it has all that the module is built of, and offers its strategies.
//! `make check-deb` does the rest, which needs a Debian of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::step::{ask, Step};
use crate::build::kernel::{self, Kind};
use crate::build::{deb, module};
use crate::measure::strategies::strategies;
use crate::tests::host::{host, Host};

pub fn test() -> Host {
    host("packages: module", |lab| {
        let output = lab.at("build/deb-check");
        files::remove(&output)?;
        let package = deb::build_module(lab, "0", &output)?;
        let root = output.join("unpacked");
        let mut step = Step::begin(
            lab,
            "check-deb-module",
            "building the module from its package",
        )?
        .next("mend what the log shows; lab/src/build/deb.rs says what is in the package");
        step.run(Command::new("dpkg-deb").arg("-x").args([&package, &root]))?;
        let kernel = kernel::build(lab, Kind::Patched)?;
        let source = root.join("usr/src/xfd_switch-0");
        step.run(&mut module::make_command(lab, &kernel, &source)?)?;
        step.done();
        let options = files::text(&root.join("etc/modprobe.d/xfd_switch.conf"))?;
        let mut wrong = wrong(&options, strategies(lab)?);
        wrong.extend(conffiles(&package)?);
        wrong.extend(unshipped(&options, &root));
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Failure::new("the module's package is not as it should be")
            .details(wrong)
            .next("mend the file in packaging/")
            .into())
    })
}

/// What is wrong with modprobe's options: they set the default, the last one, and name all others.
fn wrong(options: &str, mut strategies: Vec<String>) -> Vec<String> {
    let default = strategies.pop().unwrap_or_default();
    let set = format!("options xfd_switch strategy={default}");
    let mut wrong = Vec::new();
    if !options.lines().any(|line| line == set) {
        wrong.push(format!("modprobe.conf has no line \"{set}\""));
    }
    let comments: String = options.lines().filter(|l| l.starts_with('#')).collect();
    let words: Vec<_> = comments
        .split(|c: char| !c.is_ascii_alphanumeric())
        .collect();
    let unnamed = strategies.iter().filter(|s| !words.contains(&s.as_str()));
    wrong.extend(unnamed.map(|s| format!("modprobe.conf does not name {s}")));
    wrong
}

/// What modprobe's options name to be read that is not among the files of the package.
fn unshipped(options: &str, root: &Path) -> Vec<String> {
    let words = options.split_whitespace();
    let documents = words.filter_map(|word| word.strip_prefix("/usr/share/doc/"));
    let gone = documents.filter(|at| !root.join("usr/share/doc").join(at).is_file());
    gone.map(|at| format!("the package has no /usr/share/doc/{at}"))
        .collect()
}

/// What is wrong with the files that belong to who runs the host: dpkg must leave their changes alone.
fn conffiles(package: &Path) -> Result<Vec<String>> {
    let said = |arguments: &[&str], of: &[&str]| {
        let mut command = Command::new("dpkg-deb");
        let said = ask(command.args(arguments).arg(package).args(of));
        said.with_context(|| format!("dpkg-deb cannot read {}", package.display()))
    };
    let listed = said(&["--info"], &["conffiles"])?;
    let contents = said(&["--contents"], &[])?;
    let in_etc = contents
        .lines()
        .filter_map(|line| line.split_once(" ./etc/"));
    let files = in_etc.map(|(_, at)| format!("/etc/{at}"));
    let own = files.filter(|at| !at.ends_with('/') && !listed.lines().any(|line| line == at));
    Ok(own.map(|at| format!("{at} is no conffile")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_is_offered_and_the_default_is_set() {
        let all = || vec!["often".to_owned(), "seldom".to_owned()];
        let good = "# seldom (the default),\n# or often\noptions xfd_switch strategy=seldom\n";
        assert!(wrong(good, all()).is_empty());
        let other = good.replace("strategy=seldom", "strategy=often");
        let set = "modprobe.conf has no line \"options xfd_switch strategy=seldom\"";
        assert_eq!(wrong(&other, all()), [set]);
        let less = good.replace("or often", "more oftener");
        assert_eq!(wrong(&less, all()), ["modprobe.conf does not name often"]);
    }

    #[test]
    fn a_document_that_is_named_is_shipped() {
        let root = tempfile::tempdir().unwrap();
        let options = "# More is in /usr/share/doc/x/a.rst and beside it.\n";
        let gone = unshipped(options, root.path());
        assert_eq!(gone, ["the package has no /usr/share/doc/x/a.rst"]);
        let dir = root.path().join("usr/share/doc/x");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("a.rst"), "").unwrap();
        assert!(unshipped(options, root.path()).is_empty());
    }
}
