// SPDX-License-Identifier: GPL-2.0
//! Traces that someone has recorded, each a column, all of the same unit.

use std::path::{Path, PathBuf};

use anyhow::Result;
use indexmap::IndexMap;

use crate::base::failure::Failure;
use crate::measure::bench::pairs::{Kind, Pairs};
use crate::measure::bench::report::{sound, Report, State, Unit, ANY};
use crate::measure::bench::trace::Trace;
use crate::measure::bench::trace_dat;

/// What these files have; `emulated` says that they are of an emulator whose TSC counts instructions.
/// What is to be said of them goes to `tell`.
pub fn read(files: &[PathBuf], emulated: bool, tell: &mut dyn FnMut(String)) -> Result<Report> {
    let mut report: Option<Report> = None;
    for file in files {
        let shown = file.display().to_string();
        let trace = Trace::parse(&trace_dat::text(file)?, &shown)?;
        let (unit, resolution) = Unit::of(trace.clock, emulated);
        let pairs = sound(&trace, &shown)?;
        let (kinds, said) = told_apart(&pairs);
        said.into_iter()
            .for_each(|line| tell(format!("{shown}: {line}")));
        let mut state = State::default();
        state.add(&pairs, &kinds);
        let all = report.get_or_insert_with(|| Report {
            unit,
            resolution,
            columns: IndexMap::new(),
            traced: IndexMap::new(),
        });
        if all.unit != unit {
            let units = format!("{} and {}", all.unit.words(), unit.words());
            return Err(Failure::new(format!(
                "{shown}: its times are in another unit than those before"
            ))
            .details([units])
            .next("call `lab bench` once for each unit")
            .into());
        }
        all.resolution = all.resolution.max(resolution);
        let name = column(file);
        if all.columns.contains_key(&name) {
            return Err(Failure::new(format!("two files are named {name}"))
                .next("the name is what the column is called: rename one of them")
                .into());
        }
        all.columns.insert(name, [(ANY.to_owned(), state)].into());
    }
    report.ok_or_else(|| Failure::new("no file is named").next("--from FILE").into())
}

/// What a file's column is called.
fn column(file: &Path) -> String {
    file.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The kinds that a trace tells, and what is to be said of what it does not.
fn told_apart(pairs: &Pairs) -> (Vec<Kind>, Vec<String>) {
    let (mut kinds, mut said) = (vec![Kind::Exit], Vec::new());
    let unknown = pairs
        .pairs
        .iter()
        .filter(|p| p.kind == Kind::Exception)
        .count();
    match unknown {
        0 => kinds.push(Kind::Nm),
        n => said.push(format!(
            "of {n} exceptions it does not say which they are (no intr_info): there are no figures of #NM; \
             `trace-cmd report -N` and tracefs print it"
        )),
    }
    for (has, kind, words) in [
        (
            pairs.has_switches,
            Kind::Switch,
            "no sched_switch is in it: exits with a task switch are among the others",
        ),
        (
            pairs.has_userspace,
            Kind::Userspace,
            "no kvm_userspace_exit is in it: exits to userspace are among the others",
        ),
    ] {
        match has {
            true => kinds.push(kind),
            false => said.push(words.into()),
        }
    }
    if pairs.uncertain > 0 {
        said.push(format!(
            "{} exits or entries are left out, as events are lost around them",
            pairs.uncertain
        ));
    }
    if pairs.unpaired > 0 {
        said.push(format!(
            "{} exits or entries have no counterpart",
            pairs.unpaired
        ));
    }
    (kinds, said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::bench::trace::tests::tracefs;

    type Events<'a> = &'a [(u32, u32, &'a str, char)];

    fn read_these(files: &[(&str, Events)]) -> (Result<Report>, String) {
        let dir = tempfile::tempdir().unwrap();
        let paths = files.iter().map(|(name, events)| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, tracefs(events)).unwrap();
            path
        });
        let mut said = String::new();
        let report = read(&paths.collect::<Vec<_>>(), false, &mut |line| said += &line);
        (report, said)
    }

    const TICKS: Events = &[(0, 1, "1000", 'x'), (0, 1, "2464", 'e')];
    const NS: Events = &[
        (0, 1, "1.000001", '7'),
        (0, 1, "1.000005", 'e'),
        (0, 1, "1.000009", 'x'),
        (0, 1, "1.000010", 'u'),
        (0, 1, "1.000019", 'e'),
        (0, 1, "1.000029", 's'),
    ];

    #[test]
    fn files_stand_side_by_side() {
        let (report, said) = read_these(&[("stock.txt", NS), ("lazy.txt", NS)]);
        let json = serde_json::to_value(report.unwrap()).unwrap();
        assert_eq!(
            (&json["unit"], &json["resolution"]),
            (&"nanoseconds".into(), &1000.into())
        );
        let lazy = &json["columns"]["lazy"]["any"];
        assert_eq!(lazy["nm"]["median"], 4000);
        assert_eq!(lazy["userspace"]["median"], 10000);
        assert_eq!(lazy["switch"]["count"], 0);
        assert_eq!(said, "");
    }

    #[test]
    fn what_a_trace_does_not_tell_is_said_and_left_out() {
        let odd: Events = &[
            (0, 1, "1000", '?'),
            (0, 1, "2000", 'e'),
            (0, 1, "3000", 'x'),
            (0, 1, "4000", 'e'),
        ];
        let (report, said) = read_these(&[("a", odd)]);
        let json = serde_json::to_value(report.unwrap()).unwrap();
        let any = json["columns"]["a"]["any"].as_object().unwrap();
        let keys: Vec<&str> = any.keys().map(String::as_str).collect();
        assert_eq!(keys, ["exit", "reasons", "unpaired", "uncertain"]);
        assert_eq!(any["exit"]["count"], 1);
        for words in [
            "no sched_switch",
            "no kvm_userspace_exit",
            "of 1 exceptions",
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(json["unit"], "cycles");
    }

    #[test]
    fn units_and_names_are_never_mixed() {
        let (report, _) = read_these(&[("a", NS), ("b", TICKS)]);
        let said = report.err().unwrap().to_string();
        assert!(said.contains("nanoseconds and TSC ticks"), "{said}");
        let (report, _) = read_these(&[("x/a.txt", TICKS), ("y/a.dat", TICKS)]);
        assert!(report
            .err()
            .unwrap()
            .to_string()
            .contains("two files are named a"));
    }
}
