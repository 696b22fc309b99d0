// SPDX-License-Identifier: GPL-2.0
//! The strategies that the module has, in the order of every table of the measurement.

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;

/// Where the module has its list of them.
const LIST: &str = "rust/strategy.rs";

/// The default comes last: what it is to be compared with stands before it.
pub fn strategies(lab: &Lab) -> Result<Vec<String>> {
    let text = files::text(&lab.at(LIST))?;
    let mut all = listed(&text).ok_or_else(|| {
        Failure::new(format!("{LIST} has no list of strategies"))
            .next("one line of `macro_rules! each` is one of them: module::Type,")
    })?;
    all.rotate_left(1);
    Ok(all)
}

/// The modules of `each!`, which are named as their strategies; `make check` compares the names.
fn listed(text: &str) -> Option<Vec<String>> {
    let (_, list) = text.split_once("macro_rules! each {")?;
    let (_, list) = list.split_once("$of! {")?;
    let (list, _) = list.split_once('}')?;
    let lines = list.lines().map(str::trim).filter(|l| !l.is_empty());
    let names = lines.map(|l| Some(l.split_once("::")?.0.to_owned()));
    names.collect::<Option<Vec<_>>>().filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_list_is_read() {
        let all = listed(include_str!("../../../rust/strategy.rs")).unwrap();
        assert_eq!(all[..4], ["lazy", "xinuse", "eager", "autoload"]);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "macro_rules! each {", "macro_rules! each {\n$of! {\n}"] {
            assert_eq!(listed(text), None);
        }
    }
}
