// SPDX-License-Identifier: GPL-2.0
//! The strategies that the module has, in the order of every table of the measurement.

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;

/// Where the module has its list of them.
const LIST: &str = "rust/strategy.rs";

/// What the broken module has besides.
pub const BROKEN: &str = "broken";

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

/// Fails if the module, or the broken one, has no strategy of this name.
pub fn need(lab: &Lab, name: &str, broken: bool) -> Result<()> {
    let mut all = strategies(lab)?;
    if broken {
        all.push(BROKEN.to_owned());
    }
    if all.iter().any(|strategy| strategy == name) {
        return Ok(());
    }
    Err(
        Failure::new(format!("the module has no strategy \"{name}\""))
            .next(format!("choose one of {LIST}: {}", all.join(", ")))
            .into(),
    )
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
    use std::path::Path;

    #[test]
    fn the_modules_list_is_read() {
        let all = listed(include_str!("../../../rust/strategy.rs")).unwrap();
        assert_eq!(all[..4], ["lazy", "xinuse", "eager", "autoload"]);
    }

    #[test]
    fn one_that_is_not_there_is_an_error_that_names_all() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lab = Lab::at_root(&root, Default::default()).unwrap();
        assert!(need(&lab, "lazy", false).is_ok());
        assert!(need(&lab, "lazy", true).is_ok());
        assert!(need(&lab, BROKEN, true).is_ok());
        let said = need(&lab, BROKEN, false).unwrap_err().to_string();
        assert!(said.contains("no strategy \"broken\""), "{said}");
        assert!(
            said.contains("xinuse, ") && said.contains(", lazy"),
            "{said}"
        );
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "macro_rules! each {", "macro_rules! each {\n$of! {\n}"] {
            assert_eq!(listed(text), None);
        }
    }
}
