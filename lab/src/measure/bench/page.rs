// SPDX-License-Identifier: GPL-2.0
//! The directory of a report: bench.json, its pictures as SVG and PNG, and a page with all of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::base::files::{self, write_atomic, write_json};
use crate::base::table::table;
use crate::measure::bench::figure::{figures, Figure};
use crate::measure::bench::picture::{png, svg};
use crate::measure::bench::report::{Report, KINDS};

/// Writes all into `dir`, and removes what was there before.
pub fn write(dir: &Path, report: &Report) -> Result<()> {
    files::remove(dir)?;
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let all = figures(report);
    for figure in &all {
        let name = |ending: &str| dir.join(format!("{}.{ending}", figure.name));
        write_atomic(&name("svg"), svg(figure)?.as_bytes())?;
        png(figure, &name("png"))?;
    }
    write_atomic(&dir.join("index.html"), html(report, &all).as_bytes())?;
    write_json(&dir.join("bench.json"), report)
}

/// Medians with the 1st and 99th percentile, a table for each kind.
pub fn tables(report: &Report) -> String {
    let tables = rows(report).into_iter().map(|(title, head, rows)| {
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        format!("{title}\n{}", table(&head, rows))
    });
    tables.collect::<Vec<_>>().join("\n\n")
}

/// A table's title, its head and its rows.
type Rows = (String, Vec<String>, Vec<Vec<String>>);

fn rows(report: &Report) -> Vec<Rows> {
    let mut all = Vec::new();
    for (kind, _, words) in KINDS {
        let mut states: Vec<&String> = Vec::new();
        for (state, found) in report.columns.values().flatten() {
            if found.kinds.contains_key(kind) && !states.contains(&state) {
                states.push(state);
            }
        }
        let head = [String::new()]
            .into_iter()
            .chain(report.columns.keys().cloned());
        let rows = states.into_iter().map(|state| {
            let cells = report.columns.values().map(|column| {
                match column.get(state).and_then(|s| s.kinds.get(kind)) {
                    None => "-".to_owned(),
                    Some(d) if d.count() == 0 => "none".to_owned(),
                    Some(d) => format!("{} ({}-{})", d.median(), d.p1(), d.p99()),
                }
            });
            [state.clone()].into_iter().chain(cells).collect()
        });
        let rows: Vec<Vec<String>> = rows.collect();
        if !rows.is_empty() {
            let title = format!(
                "{words}, {}: median (1st-99th percentile)",
                report.unit.words()
            );
            all.push((title, head.collect(), rows));
        }
    }
    all
}

fn html(report: &Report, figures: &[Figure]) -> String {
    let mut page = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
        <title>xfd_switch: how long VM-exits take</title>\n<style>\n\
        body { font-family: sans-serif; max-width: 64em; margin: 1em auto; padding: 0 1em; }\n\
        img { max-width: 100%; height: auto; }\n\
        table { border-collapse: collapse; margin: 1em 0; }\n\
        td, th { border-bottom: 1px solid #ccc; padding: 0.2em 0.8em; text-align: right; }\n\
        caption { text-align: left; padding: 0.4em 0; }\n\
        </style>\n</head>\n<body>\n<h1>How long VM-exits take</h1>\n"
        .to_owned();
    page += &format!(
        "<p>From kvm_exit to the next kvm_entry of the same vCPU's thread, in {}, with trace events on. \
         The figures are in <a href=\"bench.json\">bench.json</a>.</p>\n",
        report.unit.words()
    );
    for (title, head, rows) in rows(report) {
        page += &format!("<table>\n<caption>{}</caption>\n", escaped(&title));
        let mut line = |cells: &[String], tag: &str| {
            let cells = cells
                .iter()
                .map(|c| format!("<{tag}>{}</{tag}>", escaped(c)));
            page += &format!("<tr>{}</tr>\n", cells.collect::<String>());
        };
        line(&head, "th");
        rows.iter().for_each(|row| line(row, "td"));
        page += "</table>\n";
    }
    for figure in figures {
        let (name, title) = (escaped(&figure.name), escaped(&figure.title));
        page += &format!(
            "<figure>\n<a href=\"{name}.png\"><img src=\"{name}.svg\" alt=\"{title}\"></a>\n</figure>\n"
        );
    }
    page + "</body>\n</html>\n"
}

/// A file's name may have anything in it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::bench::figure::tests::report;

    #[test]
    fn the_page_has_every_picture_and_every_picture_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("bench");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("histogram-old.svg"), "").unwrap();
        let mut report = report();
        for column in report.columns.values_mut() {
            column.shift_remove("armed");
        }
        write(&dir, &report).unwrap();
        let page = fs::read_to_string(dir.join("index.html")).unwrap();
        let mut pictures = 0;
        for file in fs::read_dir(&dir).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".svg") {
                pictures += 1;
                assert!(page.contains(&format!("src=\"{name}\"")), "{name}");
                let png = name.replace(".svg", ".png");
                assert!(
                    page.contains(&format!("href=\"{png}\"")) && dir.join(&png).exists(),
                    "{png}"
                );
            }
        }
        assert_eq!(pictures, page.matches("<img ").count());
        assert_eq!(pictures, 4);
        let json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(dir.join("bench.json")).unwrap()).unwrap();
        assert_eq!(json["columns"]["lazy"]["no_amx"]["exit"]["count"], 200);
    }

    #[test]
    fn tables_say_what_is_none_and_what_is_not_known() {
        let text = tables(&report());
        let nm: Vec<&str> = text
            .split("#NM")
            .nth(1)
            .unwrap()
            .lines()
            .nth(2)
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(
            nm,
            [
                "armed",
                "1700",
                "(1700-1700)",
                "1690",
                "(1690-1690)",
                "none"
            ]
        );
        assert_eq!(escaped("<a&\">"), "&lt;a&amp;&quot;&gt;");
    }
}
