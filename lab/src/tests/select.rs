// SPDX-License-Identifier: GPL-2.0
//! The tests that the words of a command line name.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::machine::words::quoted;
use crate::tests::list::{Expect, Group, Test};

/// What is asked of a command that keeps its results.
#[derive(clap::Args)]
pub struct Wanted {
    /// Only those whose names contain one of these words
    #[arg(value_name = "NAME")]
    pub only: Vec<String>,
    /// Run them again, even where there is a result already
    #[arg(long)]
    pub again: bool,
}

type Machines = BTreeMap<Group, Vec<Test>>;

/// The items whose names contain one of the words, or all if there are no words.
pub fn named<T>(all: Vec<T>, words: &[String], name: impl Fn(&T) -> &str) -> Result<Vec<T>> {
    if let Some(word) = words
        .iter()
        .find(|word| !all.iter().any(|item| name(item).contains(*word)))
    {
        return Err(nothing(word, all.iter().map(&name)).into());
    }
    let mut all = all;
    all.retain(|item| words.is_empty() || words.iter().any(|w| name(item).contains(w.as_str())));
    Ok(all)
}

fn nothing<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Failure {
    Failure::new(format!("nothing is named \"{word}\"; there are"))
        .details(names.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ")))
        .next("give a part of one of these names")
}

/// The tests that the words name, in machines and on this one; all if there are no words. A word is
///
/// * a part of a row's name: "switch: lazy";
/// * or a program: "xfd_switch_test";
/// * or one of both and, after a slash, a test of the program: "switch/move.armed.preempt", or
///   "switch/preempt" for each with this last part.
pub fn tests<'a>(
    words: &[String],
    all: Machines,
    on_host: &[&'a str],
) -> Result<(Machines, Vec<&'a str>)> {
    if words.is_empty() {
        return Ok((all, on_host.to_vec()));
    }
    let mut machines = Machines::new();
    let mut here = Vec::new();
    for word in words {
        let mut found = named_by(word, &all);
        here.extend(on_host.iter().copied().filter(|name| name.contains(word)));
        if found.is_empty() && !on_host.iter().any(|name| name.contains(word)) {
            if let Some((left, part)) = word.split_once('/') {
                found = only(part, named_by(left, &all));
            }
            if found.is_empty() {
                return Err(unknown(word, &all, on_host).into());
            }
        }
        for (group, test) in found {
            let tests = machines.entry(group).or_default();
            if !tests.iter().any(|t| t.id == test.id) {
                tests.push(test);
            }
        }
    }
    let here = on_host.iter().copied().filter(|name| here.contains(name));
    Ok((machines, here.collect()))
}

/// The tests of which a row's name has the word, or a command the program.
fn named_by(word: &str, all: &Machines) -> Vec<(Group, Test)> {
    let names = |t: &Test| t.id.contains(word) || programs(&t.entry.command).any(|p| p == word);
    all.iter()
        .flat_map(|(group, tests)| tests.iter().map(move |t| (group, t)))
        .filter(|(_, test)| names(test))
        .map(|(group, test)| (group.clone(), test.clone()))
        .collect()
}

/// The words of a command, among which its programs are.
fn programs(command: &str) -> impl Iterator<Item = &str> {
    command.split(|c: char| c.is_whitespace() || ";&|()".contains(c))
}

/// These tests with one part of each program only, where the command is a program and its arguments.
/// Of a negative control some part fails, but not each: they are left out if there is anything else.
fn only(part: &str, tests: Vec<(Group, Test)>) -> Vec<(Group, Test)> {
    let mut found = Vec::new();
    for (group, test) in tests {
        let words: Vec<&str> = test.entry.command.split_whitespace().collect();
        let script = test.entry.command.contains([';', '&', '|', '\n']);
        let picked = ["-t", "-r"].iter().any(|option| words.contains(option));
        if part.is_empty() || script || picked {
            continue;
        }
        let mut entry = test.entry.clone();
        let (program, rest) = words.split_first().unwrap_or((&"", &[]));
        entry.name = format!("{}/{part}", entry.name);
        // kselftest_harness.h's options for a test's full name, and for its last part.
        let option = if part.contains('.') { "-r" } else { "-t" };
        entry.command = format!("{program} {option} {} {}", quoted(part), rest.join(" "));
        entry.command.truncate(entry.command.trim_end().len());
        entry.only = Some(part.to_owned());
        found.push(Test::of(&entry, &test.on, group.kernel, group.cpus));
    }
    if found.iter().any(|(_, t)| t.entry.expect == Expect::Pass) {
        found.retain(|(_, t)| t.entry.expect == Expect::Pass);
    }
    found
}

fn unknown(word: &str, all: &Machines, on_host: &[&str]) -> Failure {
    let mut names: Vec<String> = Vec::new();
    for test in all.values().flatten() {
        let is_program = |word: &&str| {
            word.contains('_') && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let name = match programs(&test.entry.command).find(is_program) {
            Some(program) => format!("{} ({program})", test.entry.name),
            None => test.entry.name.clone(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort();
    let names = names.iter().map(String::as_str);
    nothing(word, names.chain(on_host.iter().copied())).next(
        "give a part of a name, or the program that is in brackets; PROGRAM/TEST is one test of a \
         program, and `lab boot -- PROGRAM -l` lists those",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::list::{machines, List};

    fn selected(words: &[&str]) -> Result<Vec<String>> {
        let list: List = toml::from_str(
            "[[test]]\nname='switch'\ncommand='xfd_switch_test --expect=attached'\n\
             kernels=['lazy', 'eager']\n\
             [[test]]\nname='switch'\ncommand='xfd_switch_test'\nkernels=['stock']\nexpect='fail'\n\
             [[test]]\nname='reload'\ncommand='xfd_odd_test -u; exit 0'\nkernels=['lazy']\n\
             debug=false\n",
        )?;
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let mut all = machines(&list);
        all.retain(|group, _| !group.kernel.is_checked_apart());
        let (found, here) = tests(&words, all, &["module: rust/a.rs", "rustfmt"])?;
        let mut names: Vec<String> = found
            .values()
            .flatten()
            .map(|t| format!("{} = {}", t.id, t.entry.command))
            .chain(here.into_iter().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn a_word_names_rows_programs_and_tests_of_this_machine() {
        assert_eq!(selected(&[]).unwrap().len(), 7);
        let lazy = "switch: lazy, 1 CPU = xfd_switch_test --expect=attached";
        assert_eq!(selected(&["switch: lazy"]).unwrap(), [lazy]);
        assert_eq!(selected(&["xfd_switch_test"]).unwrap().len(), 4);
        let reload = "reload: lazy, 1 CPU = xfd_odd_test -u; exit 0";
        assert_eq!(selected(&["xfd_odd_test"]).unwrap(), [reload]);
        // A word with a slash may be a name.
        assert_eq!(selected(&["rust/a.rs"]).unwrap(), ["module: rust/a.rs"]);
        assert_eq!(selected(&["rust", "lazy", "lazy"]).unwrap().len(), 4);
    }

    #[test]
    fn one_test_of_a_program_is_its_argument() {
        let run = |on: &str| {
            format!("switch/a.b: {on}, 1 CPU = xfd_switch_test -r 'a.b' --expect=attached")
        };
        let both = [run("eager"), run("lazy")];
        assert_eq!(selected(&["switch/a.b"]).unwrap(), both);
        assert_eq!(selected(&["xfd_switch_test/a.b"]).unwrap(), both);
        let each = selected(&["switch: lazy/b"]).unwrap().concat();
        assert!(each.ends_with("xfd_switch_test -t 'b' --expect=attached"));
        assert_eq!(selected(&["switch: lazy/a.b"]).unwrap(), [run("lazy")]);
        // A negative control when it is asked for.
        assert_eq!(
            selected(&["switch: stock/a.b"]).unwrap(),
            ["switch/a.b: stock, 1 CPU (must fail) = xfd_switch_test -r 'a.b'"]
        );
    }

    #[test]
    fn a_word_that_names_nothing_is_an_error_with_the_names() {
        for word in ["swich", "switch/", "swich/a.b", "reload/a.b"] {
            let error = selected(&["switch", word]).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{word}\"")), "{error}");
            assert!(error.contains("switch (xfd_switch_test)") && error.contains("rustfmt"));
        }
        let names = |words: &[String]| named(vec!["ab", "cd"], words, |n| n);
        assert_eq!(names(&["a".into()]).unwrap(), ["ab"]);
        assert_eq!(names(&[]).unwrap().len(), 2);
        let error = names(&["a".into(), "x".into()]).unwrap_err().to_string();
        assert!(error.contains("ab\n") && error.contains("\"x\""), "{error}");
    }
}
