// SPDX-License-Identifier: GPL-2.0
//! The version of what is in this checkout.

use std::process::Command;

use crate::base::layout::Lab;
use crate::base::step::ask;

/// By git's tags; a tree that is none of git's has no version.
pub fn version(lab: &Lab) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(&lab.root);
    let said = ask(git.args(["describe", "--tags", "--always", "--dirty"]));
    let said = said.map(|v| v.trim().trim_start_matches('v').to_owned());
    said.filter(|v| !v.is_empty())
        .unwrap_or_else(|| "unversioned".into())
}

/// The same as dpkg takes it: it begins with a digit, has no dash, and one that is not of a tag comes
/// before all that are.
pub fn of_package(version: &str) -> String {
    let version = version.replace('-', "+");
    match version.contains('.') {
        true => version,
        false => format!("0~{version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_packages_begin_with_a_digit_and_have_no_dash() {
        assert_eq!(of_package("0.2.0"), "0.2.0");
        assert_eq!(of_package("0.2.0-7-gabc-dirty"), "0.2.0+7+gabc+dirty");
        assert_eq!(of_package("abc-dirty"), "0~abc+dirty");
        assert_eq!(of_package("unversioned"), "0~unversioned");
    }
}
