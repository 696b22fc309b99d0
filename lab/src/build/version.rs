// SPDX-License-Identifier: GPL-2.0
//! The version of what is in this checkout.

use std::process::Command;

use crate::base::layout::Lab;
use crate::base::step::ask;

/// By git's tags; a tree that is none of git's has no version.
pub fn version(lab: &Lab) -> String {
    let said = git(lab, &["describe", "--tags", "--always", "--dirty"]);
    let said = said.map(|v| v.trim().trim_start_matches('v').to_owned());
    said.filter(|v| !v.is_empty())
        .unwrap_or_else(|| "unversioned".into())
}

fn git(lab: &Lab, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    ask(git.arg("-C").arg(&lab.root).args(arguments))
}

/// How many commits lead to what is in this checkout; 0 if git does not know.
pub fn commits(lab: &Lab) -> usize {
    let said = git(lab, &["rev-list", "--count", "HEAD"]);
    said.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// The same as dpkg takes it: it begins with a digit, has no dash, and one that is not of a tag comes
/// before all that are, in order of its commits.
pub fn of_package(version: &str, commits: usize) -> String {
    let version = version.replace('-', "+");
    match version.contains('.') {
        true => version,
        false => format!("0~r{commits}+{version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_packages_begin_with_a_digit_and_have_no_dash() {
        assert_eq!(of_package("0.2.0", 7), "0.2.0");
        assert_eq!(of_package("0.2.0-7-gabc-dirty", 7), "0.2.0+7+gabc+dirty");
        assert_eq!(of_package("abc-dirty", 7), "0~r7+abc+dirty");
        assert_eq!(of_package("unversioned", 0), "0~r0+unversioned");
    }

    #[test]
    fn a_later_version_of_a_package_takes_the_place_of_an_earlier() {
        let versions = [
            of_package("fff", 9),
            of_package("aaa", 10),
            of_package("0.2.0", 11),
            of_package("0.2.0-9-gfff", 20),
            of_package("0.2.0-10-gaaa", 21),
        ];
        for pair in versions.windows(2) {
            let mut dpkg = Command::new("dpkg");
            let args = ["--compare-versions", &pair[0], "lt", &pair[1]];
            assert!(dpkg.args(args).status().unwrap().success(), "{pair:?}");
        }
    }
}
