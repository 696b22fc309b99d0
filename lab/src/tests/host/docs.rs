// SPDX-License-Identifier: GPL-2.0
//! Documentation/ as HTML, without a warning, and the list of mutants that is made on the way.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use regex_lite::Regex;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::build::series;
use crate::tests::host::{host, program, Host};
use crate::tests::list::List;

pub fn tests() -> Vec<Host> {
    vec![
        host("docs", |lab| html(lab).map(drop)),
        host("mutants: list", |lab| {
            let page = html(lab)?.join("lazy.html");
            let html = files::text(&page)?;
            let patches = series::patches(&lab.at("selftests/mutants"))?;
            let tests = known_tests(lab)?;
            let wrong = unlisted(&text_of(&html), &patches, &tests)?;
            if wrong.is_empty() {
                return Ok(());
            }
            Err(Failure::new("the documents' list of mutants is not right")
                .details(wrong)
                .next("Documentation/conf.py makes it from the headers in selftests/mutants")
                .into())
        }),
    ]
}

/// Builds the documents and returns where they are.
fn html(lab: &Lab) -> Result<PathBuf> {
    program(
        lab,
        "docs",
        "building the documents",
        "mend what sphinx-build names (`make docs` repeats it); if it is missing: \
         apt-get install python3-sphinx",
        Command::new("make")
            .args(["--no-print-directory", "docs"])
            .current_dir(&lab.root)
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL"),
    )?;
    Ok(lab.at("build/docs"))
}

/// What a mutant can name as its test: entries of the list, and programs.
fn known_tests(lab: &Lab) -> Result<Vec<String>> {
    let list = List::read(lab)?;
    let mut known: Vec<String> = list.test.into_iter().map(|entry| entry.name).collect();
    let sources = files::below(&lab.at("selftests"))?;
    let programs = sources
        .iter()
        .filter(|f| f.extension().is_some_and(|x| x == "c"))
        .filter_map(|f| Some(f.file_stem()?.to_string_lossy().into_owned()));
    known.extend(programs);
    Ok(known)
}

/// The words of a page, each run of white space a blank.
fn text_of(html: &str) -> String {
    let tags = Regex::new("<[^>]*>").expect("a constant");
    let text = tags
        .replace_all(html, " ")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#x27;", "'")
        .replace("&#39;", "'")
        .replace("&amp;", "&");
    words(&text)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the page does not say of the mutants, or says of a test that is not there.
fn unlisted(page: &str, patches: &[PathBuf], tests: &[String]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for patch in patches {
        let name = patch.file_name().unwrap_or_default().to_string_lossy();
        let mut complain = |what: &str| wrong.push(format!("{name}: {what}"));
        let (what, test) = header(patch)?;
        let program = test.split_whitespace().next().unwrap_or_default();
        if what.is_empty() || test.is_empty() {
            complain("its header has no sentence, or no line \"Test:\"");
        } else if !tests.iter().any(|t| *t == test || t == program) {
            complain(&format!("there is no test \"{test}\""));
        } else if !page.contains(&words(&format!("{what} {test}"))) {
            complain(&format!("\"{what}\" is not in the list"));
        }
    }
    Ok(wrong)
}

/// What a mutant breaks, and the test that notices.
fn header(patch: &Path) -> Result<(String, String)> {
    let text = files::text(patch)?;
    let header: Vec<&str> = text.lines().take_while(|l| !l.starts_with("---")).collect();
    let test = header.iter().find_map(|l| l.strip_prefix("Test: "));
    Ok((
        header.first().map_or("", |l| l.trim()).to_owned(),
        test.map_or("", str::trim).to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_the_page_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let patches: Vec<PathBuf> = [
            ("listed", "A <b> & c.\n\nTest: switch\n---\n"),
            ("absent", "Nobody saves.\n\nTest: switch\n---\n"),
            ("moved", "A <b> & c.\n\nTest: state\n---\n"),
            ("no-test", "A <b> & c.\n\n---\n"),
            ("unknown", "A <b> & c.\n\nTest: nothing -x\n---\n"),
            ("command", "D.\n\nTest: xfd_a_test -x\n---\n"),
        ]
        .into_iter()
        .map(|(name, text)| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        })
        .collect();
        let page = text_of(
            "<td><p>A &lt;b&gt;\n&amp; c.</p></td><td><code>switch</code></td>\
             <td>D.</td><td><code><span>xfd_a_test</span> <span>-x</span></code></td>",
        );
        let tests = ["switch", "state", "xfd_a_test"].map(str::to_owned);
        assert_eq!(
            unlisted(&page, &patches, &tests).unwrap(),
            [
                "absent: \"Nobody saves.\" is not in the list",
                "moved: \"A <b> & c.\" is not in the list",
                "no-test: its header has no sentence, or no line \"Test:\"",
                "unknown: there is no test \"nothing -x\"",
            ]
        );
    }
}
