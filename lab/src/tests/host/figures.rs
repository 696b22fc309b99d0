// SPDX-License-Identifier: GPL-2.0
//! What the documents quote of the measurement: tables, as `make run` and `lab costs` print them, and
//! the figures in their text, which Documentation/figures.toml lists.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use regex_lite::{Captures, Regex};
use serde_json::Value;

use crate::base::failure::Failure;
use crate::base::files::{self, write_atomic};
use crate::base::layout::Lab;
use crate::build::kernel::{FIXES, MINIMAL, SERIES};
use crate::measure::costs::{self, Ledger};
use crate::measure::report::{Report, WITHOUT_MODULE};
use crate::measure::table;
use crate::tests::host::goals::Measurement;
use crate::tests::host::links::documents;
use crate::tests::host::{host, Host};

/// Documentation/figures.toml: by document, its sentences, with `{what}` where the figure stands.
type Sentences = BTreeMap<String, Vec<String>>;

const LIST: &str = "Documentation/figures.toml";
const README: &str = "README.md";
/// It may tell old figures.
const CHANGELOG: &str = "CHANGELOG.md";
/// Each series of patches may have one.
const COVER_LETTER: &str = "0000-cover-letter.patch";

pub fn tests(lab: &Lab, measurement: &Arc<Measurement>) -> Result<Vec<Host>> {
    let mut tests = vec![host("figures: listed", listed)];
    for name in quoting(&sentences(lab)?) {
        let measurement = measurement.clone();
        tests.push(Host {
            measures: true,
            ..host(format!("figures: {name}"), move |lab| {
                let document = Document::read(lab, &name)?;
                let figures = Figures::of(measurement.report(lab)?, &Ledger::read(lab)?)?;
                let (_, stale) = document.renewed(&figures)?;
                if stale.is_empty() {
                    return Ok(());
                }
                Err(Failure::new(format!("{name} is not what was measured"))
                    .details(stale)
                    .next("if the new figures are right, `make figures` writes them")
                    .into())
            })
        });
    }
    Ok(tests)
}

/// Writes the figures of a report into the documents; those that changed.
pub fn renew(lab: &Lab, report: &Report) -> Result<Vec<PathBuf>> {
    let figures = Figures::of(report, &Ledger::read(lab)?)?;
    let mut changed = Vec::new();
    for name in quoting(&sentences(lab)?) {
        let document = Document::read(lab, &name)?;
        let (text, _) = document.renewed(&figures)?;
        // What cannot be written is stale for good, say a sentence that is no longer there.
        let (_, stale) = Document {
            text: text.clone(),
            ..document.clone()
        }
        .renewed(&figures)?;
        if !stale.is_empty() {
            return Err(
                Failure::new(format!("{name} has figures that cannot be found"))
                    .details(stale)
                    .next(format!("mend the document, or its sentences in {LIST}"))
                    .into(),
            );
        }
        if text != document.text {
            let path = lab.at(&name);
            write_atomic(&path, text.as_bytes())?;
            changed.push(path);
        }
    }
    Ok(changed)
}

fn sentences(lab: &Lab) -> Result<Sentences> {
    files::toml(&lab.at(LIST))
}

/// The documents that quote figures: the README its table, and those of the list.
fn quoting(sentences: &Sentences) -> Vec<String> {
    let listed = sentences.keys().filter(|name| *name != README);
    [README.to_owned()]
        .into_iter()
        .chain(listed.cloned())
        .collect()
}

/// That the list and the documents know each other's figures.
fn listed(lab: &Lab) -> Result<()> {
    let mut wrong = Vec::new();
    let mut look = |name: &str| -> Result<()> {
        let found = Document::read(lab, name)?.mismatches()?;
        wrong.extend(found.into_iter().map(|what| format!("{name}: {what}")));
        Ok(())
    };
    let mut all = documents(&lab.root)?;
    for dir in [FIXES, SERIES, MINIMAL] {
        all.push(lab.at(dir).join(COVER_LETTER));
    }
    for path in all.iter().filter(|path| path.exists()) {
        let name = lab.shown(path);
        if name != CHANGELOG {
            look(&name)?;
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the documents and {LIST} do not quote the same figures"
    ))
    .details(wrong)
    .next(format!("list the sentences of the documents in {LIST}"))
    .into())
}

/// The figures of a report, by their names in run.json.
struct Figures {
    strategies: Value,
    /// As printed: each begins with one of HEADS.
    tables: Vec<String>,
}

/// The first words of all tables.
const HEADS: [&str; 2] = [WITHOUT_MODULE[0], costs::PUBLISHED];

impl Figures {
    fn of(report: &Report, ledger: &Ledger) -> Result<Figures> {
        let text = format!(
            "{}\n{}",
            table::tables(report),
            costs::tables(ledger, report)
        );
        Ok(Figures {
            strategies: serde_json::to_value(&report.strategies)?,
            tables: text
                .split("\n\n")
                .map(|t| t.trim_end().to_owned())
                .collect(),
        })
    }

    /// "lazy.nm.instructions", or the difference of two: "a - b".
    fn value(&self, what: &str) -> Option<f64> {
        let mut terms = what.split(" - ").map(|term| self.term(term.trim()));
        let first = terms.next()??;
        terms.try_fold(first, |sum, term| Some(sum - term?))
    }

    fn term(&self, path: &str) -> Option<f64> {
        let (of, figure) = path.rsplit_once('.')?;
        let of = self
            .strategies
            .pointer(&format!("/{}", of.replace('.', "/")))?;
        let sum = |names: &[&str]| {
            names
                .iter()
                .map(|n| of.get(n)?.as_f64())
                .sum::<Option<f64>>()
        };
        let times = || of.get("times")?.as_f64();
        // As in the tables: of both MSRs, each time.
        Some(match figure {
            "rdmsr" => sum(&["rdmsr_xfd", "rdmsr_xfd_err"])? / times()?,
            "wrmsr" => sum(&["wrmsr_xfd", "wrmsr_xfd_err"])? / times()?,
            "accesses" => {
                self.term(&path.replace("accesses", "rdmsr"))?
                    + self.term(&path.replace("accesses", "wrmsr"))?
            }
            _ => of.get(figure)?.as_f64()?,
        })
    }
}

/// How a figure may be written besides in digits; what stands for 0 is no word like the others.
const WORDS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
];
const NOTHING: [&str; 3] = ["no", "not one", "none"];

/// `value` as `said` says it, which it is if that is right.
fn as_said(said: &str, value: f64) -> String {
    let whole = value.fract() == 0.0;
    if value == 0.0 && NOTHING.contains(&said) {
        return said.to_owned();
    }
    let decimals = match said.split_once('.') {
        Some((_, decimals)) => decimals.len(),
        None if whole => 0,
        None => 2,
    };
    match WORDS.get(value as usize) {
        Some(word) if whole && value >= 0.0 && said.starts_with(char::is_alphabetic) => {
            (*word).to_owned()
        }
        _ => format!("{value:.decimals$}"),
    }
}

/// A text, and the sentences of it that have figures.
#[derive(Clone)]
struct Document {
    text: String,
    sentences: Vec<String>,
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant")
}

impl Document {
    fn read(lab: &Lab, name: &str) -> Result<Document> {
        Ok(Document {
            text: files::text(&lab.at(name))?,
            sentences: sentences(lab)?.remove(name).unwrap_or_default(),
        })
    }

    /// The text with the figures of today, and what is wrong with those that it has.
    fn renewed(&self, figures: &Figures) -> Result<(String, Vec<String>)> {
        let mut stale = Vec::new();
        let mut new: Vec<(Range<usize>, String)> = Vec::new();
        for (at, indent, old) in tables(&self.text) {
            let head = |t: &str| t.lines().nth(1).map(str::to_owned);
            match figures.tables.iter().find(|t| head(t) == head(&old)) {
                Some(printed) if *printed != old => {
                    stale.extend(differences(&old, printed));
                    new.push((at, indented(printed, indent)));
                }
                Some(_) => {}
                None => stale.push(format!(
                    "no table has \"{}\"",
                    head(&old).unwrap_or_default()
                )),
            }
        }
        for sentence in &self.sentences {
            let found: Vec<_> = self.found(sentence)?.collect();
            if found.is_empty() {
                stale.push(format!("nowhere: \"{sentence}\""));
            }
            for captures in found {
                for (figure, said) in placeholders(sentence).zip(captures.iter().skip(1)) {
                    let (Some(value), Some(said)) = (figures.value(figure), said) else {
                        stale.push(format!("run.json has no {figure}"));
                        continue;
                    };
                    let right = as_said(said.as_str(), value);
                    if right != said.as_str() {
                        stale.push(format!("\"{}\", not \"{right}\": {figure}", said.as_str()));
                        new.push((said.range(), right));
                    }
                }
            }
        }
        let mut text = self.text.clone();
        new.sort_by_key(|(at, _)| std::cmp::Reverse(at.start));
        for (at, right) in new {
            text.replace_range(at, &right);
        }
        Ok((text, stale))
    }

    /// Where a sentence stands, whatever its figures are and wherever its lines end.
    fn found<'a>(&'a self, sentence: &str) -> Result<impl Iterator<Item = Captures<'a>>> {
        let number = format!(
            r"(-?\d+(?:\.\d+)?|{}|{})",
            NOTHING.join("|"),
            WORDS.join("|")
        );
        let between = regex(r"\{[^}]*\}");
        let mut pattern = String::new();
        let mut parts = between.split(sentence).peekable();
        while let Some(part) = parts.next() {
            let words: Vec<String> = part.split(' ').map(regex_lite::escape).collect();
            pattern += &words.join(r"\s+");
            if parts.peek().is_some() {
                pattern += &number;
            }
        }
        let pattern = Regex::new(&pattern).with_context(|| format!("\"{sentence}\""))?;
        let found: Vec<_> = pattern.captures_iter(&self.text).collect();
        Ok(found.into_iter())
    }

    /// Sentences of the list that are not in the text, and numbers of instructions and MSR accesses
    /// that no sentence of the list covers.
    fn mismatches(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut covered: Vec<Range<usize>> = tables(&self.text).map(|(at, ..)| at).collect();
        for sentence in &self.sentences {
            let found = self.found(sentence)?.filter_map(|c| c.get(0));
            let before = covered.len();
            covered.extend(found.map(|m| m.range()));
            if covered.len() == before {
                wrong.push(format!("it does not say \"{sentence}\""));
            }
        }
        let counts = regex(
            r"\b\d+(\.\d+)?\s+((MSR\s+)?accesses|(more\s+|fewer\s+|less\s+)?(instructions|RDMSR|WRMSR))\b",
        );
        let counted = counts.find_iter(&self.text);
        let unlisted = counted.filter(|m| !covered.iter().any(|c| c.contains(&m.start())));
        wrong.extend(unlisted.map(|m| {
            let words: Vec<&str> = m.as_str().split_whitespace().collect();
            format!("\"{}\" is not in the list", words.join(" "))
        }));
        Ok(wrong)
    }
}

fn placeholders(sentence: &str) -> impl Iterator<Item = &str> {
    let parts = sentence.split('{').skip(1);
    parts.filter_map(|part| part.split_once('}').map(|(inside, _)| inside))
}

/// The tables of a text: where they are, how far they are indented, and what they say. They are
/// between Markdown's fences, or RST's literal blocks.
fn tables(text: &str) -> impl Iterator<Item = (Range<usize>, usize, String)> + '_ {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    // Where a fence was opened, and the end of the line before a literal block.
    let (mut fence, mut literal) = (None, None);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if line.starts_with("```") {
            match fence.take() {
                Some(from) => blocks.push(from..at),
                None => fence = Some(end),
            }
        } else if let Some(from) =
            literal.filter(|_| line.starts_with(|c: char| !c.is_whitespace()))
        {
            blocks.push(from..at);
            literal = None;
        }
        if line.trim_end().ends_with("::") {
            literal = Some(end);
        }
        at = end;
    }
    blocks.extend(literal.map(|from| from..at));
    blocks.into_iter().filter_map(|at| {
        let block = text[at.clone()].trim_end();
        let from = at.start + block.len() - block.trim_start_matches('\n').len();
        let block = &text[from..at.start + block.len()];
        let is_table = HEADS.contains(&block.split_whitespace().next()?);
        let lines = block.lines().filter(|l| !l.is_empty());
        let indent = lines.map(|l| l.len() - l.trim_start().len()).min()?;
        let plain = block.lines().map(|l| l.get(indent..).unwrap_or_default());
        let plain = plain.collect::<Vec<_>>().join("\n");
        is_table.then_some((from..from + block.len(), indent, plain))
    })
}

fn indented(table: &str, by: usize) -> String {
    let lines = table.lines().map(|l| format!("{:by$}{l}", ""));
    lines.collect::<Vec<_>>().join("\n")
}

/// The lines of two texts that differ.
fn differences(old: &str, new: &str) -> Vec<String> {
    let only = |text: &str, other: &str, sign: char| -> Vec<String> {
        let other: Vec<&str> = other.lines().collect();
        let lines = text.lines().enumerate();
        lines
            .filter(|(i, line)| other.get(*i) != Some(line))
            .map(|(_, line)| format!("{sign}{line}"))
            .collect()
    };
    [only(old, new, '-'), only(new, old, '+')].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::collection::tests::report;
    use crate::measure::costs::tests::ledger;

    fn document(text: &str, sentences: &[&str]) -> Document {
        Document {
            text: text.to_owned(),
            sentences: sentences.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    fn figures(change: impl Fn(&mut Report)) -> Figures {
        let mut report = report();
        change(&mut report);
        Figures::of(&report, &ledger()).unwrap()
    }

    const NM: &str = "costs {lazy.nm.exits} exits and {lazy.nm.instructions} instructions, \
        {stock.nm.instructions - lazy.nm.instructions} fewer.";

    #[test]
    fn figures_are_found_across_lines_and_compared() {
        let (lazy, stock) = (63, 2662);
        let figures = figures(|report| {
            report.strategies["lazy"].nm.instructions = lazy;
            report.strategies["stock"].nm.instructions = stock;
        });
        let fine = "A #NM costs no exits\n  and 63 instructions,\n  2599 fewer.";
        let (text, stale) = document(fine, &[NM]).renewed(&figures).unwrap();
        assert_eq!((text.as_str(), stale), (fine, vec![]));
        let old = "A #NM costs two exits\n  and 62 instructions,\n  2599 fewer.";
        let (text, stale) = document(old, &[NM]).renewed(&figures).unwrap();
        assert_eq!(text, fine.replace("no exits", "zero exits"));
        assert_eq!(
            stale,
            [
                "\"two\", not \"zero\": lazy.nm.exits",
                "\"62\", not \"63\": lazy.nm.instructions"
            ]
        );
    }

    #[test]
    fn a_sentence_or_a_figure_that_is_gone_is_stale() {
        let figures = figures(|_| {});
        let gone = |text, sentence: &str| document(text, &[sentence]).renewed(&figures).unwrap().1;
        assert_eq!(gone("x", NM), [format!("nowhere: \"{NM}\"")]);
        assert_eq!(gone("0 y", "{lazy.nm.x} y"), ["run.json has no lazy.nm.x"]);
    }

    #[test]
    fn accesses_are_those_of_one_event() {
        let figures = figures(|report| {
            let cost = report.strategies["stock"].exit.get_mut("armed").unwrap();
            cost.times = 1000;
            (cost.msr.rdmsr_xfd, cost.msr.rdmsr_xfd_err) = (1000, 500);
            (cost.msr.wrmsr_xfd, cost.msr.wrmsr_xfd_err) = (2000, 0);
        });
        let value = |what: &str| figures.value(&format!("stock.exit.armed.{what}"));
        assert_eq!(value("rdmsr"), Some(1.5));
        assert_eq!(value("wrmsr"), Some(2.0));
        assert_eq!(value("accesses"), Some(3.5));
    }

    #[test]
    fn figures_keep_the_way_they_are_written() {
        for (said, value, right) in [
            ("4", 5.0, "5"),
            ("four", 5.0, "five"),
            ("four", 13.0, "13"),
            ("no", 0.0, "no"),
            ("none", 0.0, "none"),
            ("none", 2.0, "two"),
            ("0.00", 1.0, "1.00"),
            ("1", 1.5, "1.50"),
            ("three", -1.0, "-1"),
        ] {
            assert_eq!(as_said(said, value), right, "{said}");
        }
    }

    #[test]
    fn a_table_must_be_as_printed() {
        let figures = figures(|_| {});
        let markdown = |table: &str| format!("# x\n\n```\n{table}\n```\n\n```\nother\n```\n");
        let rst = |table: &str| {
            let table = indented(table, 4);
            format!("x\n=\n\nIt says::\n\n{table}\n\n::\n\n    other\n\nx\n")
        };
        let at_the_end = |table: &str| format!("::\n\n{}\n", indented(table, 3));
        type With<'a> = &'a dyn Fn(&str) -> String;
        let all: [With; 3] = [&markdown, &rst, &at_the_end];
        assert_eq!(figures.tables.len(), 7);
        for (printed, with) in figures
            .tables
            .iter()
            .flat_map(|t| all.map(|with| (t, with)))
        {
            let fine = with(printed);
            assert_eq!(tables(&fine).count(), 1, "{fine}");
            let (text, stale) = document(&fine, &[]).renewed(&figures).unwrap();
            assert_eq!((text, stale), (fine.clone(), vec![]));
            let last = printed.lines().last().unwrap();
            let rest = printed.strip_suffix(last).unwrap();
            let old = with(&format!("{rest}  armed 1 2 3"));
            let (text, stale) = document(&old, &[]).renewed(&figures).unwrap();
            assert_eq!(text, fine);
            assert_eq!(stale, ["-  armed 1 2 3".to_owned(), format!("+{last}")]);
        }
    }

    #[test]
    fn a_table_that_nobody_prints_is_stale() {
        let figures = figures(|_| {});
        for block in ["```\nstock\nx\n  y\n```\n", "::\n\n  published\n  x\n"] {
            let (text, stale) = document(block, &[]).renewed(&figures).unwrap();
            assert_eq!(
                (text.as_str(), stale),
                (block, vec!["no table has \"x\"".into()])
            );
        }
    }

    #[test]
    fn a_figure_that_no_sentence_covers_is_named_and_so_is_a_sentence_that_is_gone() {
        let text = "It costs 12 instructions and\n0.50 MSR\naccesses; 3 more WRMSR. 7 exits.";
        let wrong = |sentences: &[&str]| document(text, sentences).mismatches().unwrap();
        let all = [
            "\"12 instructions\" is not in the list",
            "\"0.50 MSR accesses\" is not in the list",
            "\"3 more WRMSR\" is not in the list",
        ];
        assert_eq!(wrong(&[]), all);
        let listed = "{a} instructions and {b} MSR accesses";
        assert_eq!(wrong(&[listed]), all[2..]);
        let gone = "it does not say \"{a} WRMSR less\"";
        assert_eq!(wrong(&[listed, "{a} WRMSR less"]), [gone, all[2]]);
    }

    #[test]
    fn the_list_names_figures_that_there_are() {
        let text = include_str!("../../../../Documentation/figures.toml");
        let sentences: Sentences = toml::from_str(text).unwrap();
        let figures = figures(|_| {});
        for what in sentences.values().flatten().flat_map(|s| placeholders(s)) {
            assert!(figures.value(what).is_some(), "{what}");
        }
    }
}
