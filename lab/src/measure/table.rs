// SPDX-License-Identifier: GPL-2.0
//! The tables that `lab run` prints: rows are figures, columns are strategies.

use std::fmt;

use comfy_table::{presets, CellAlignment};

use crate::measure::report::{
    Cost, Figures, Nested, Report, States, LOSSES, NESTED, STATES, VCPUS,
};

/// Rows under the names of the strategies; a row without cells is a section's title.
pub struct Table<'a> {
    report: &'a Report,
    rows: Vec<(String, Option<Vec<String>>)>,
}

impl<'a> Table<'a> {
    pub fn new(report: &'a Report) -> Self {
        Table {
            report,
            rows: Vec::new(),
        }
    }

    pub fn section(&mut self, title: &str) {
        self.rows.push((title.to_owned(), None));
    }

    pub fn row(&mut self, name: &str, cell: impl Fn(&Figures) -> String) {
        let cells = self.report.strategies.values().map(cell).collect();
        self.rows.push((format!("  {name}"), Some(cells)));
    }

    /// A section with a row for each state of the guest.
    pub fn by_state(&mut self, title: &str, cell: impl Fn(&Figures, &str) -> String) {
        self.section(title);
        for state in STATES {
            self.row(&shown(state), |f| cell(f, state));
        }
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING);
        let names = self.report.strategies.keys().map(String::as_str);
        table.set_header([""].into_iter().chain(names));
        for (name, cells) in &self.rows {
            if let Some(cells) = cells {
                table.add_row([name].into_iter().chain(cells));
            }
        }
        for (number, column) in table.column_iter_mut().enumerate() {
            column.set_padding((if number == 0 { 0 } else { 2 }, 0));
            if number > 0 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut lines = table.lines();
        writeln!(f, "{}", lines.next().unwrap_or_default())?;
        for (title, cells) in &self.rows {
            let line = match cells {
                Some(_) => lines.next().unwrap_or_default(),
                None => title.clone(),
            };
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// All tables, one below the other.
pub fn tables(report: &Report) -> String {
    format!(
        "{}\n{}\n{}\n{}",
        per_exit(report),
        nested(report),
        slow_path(report),
        growth(report)
    )
}

fn per_exit(report: &Report) -> Table<'_> {
    let mut table = Table::new(report);
    table.by_state("MSR accesses per exit (XFD, XFD_ERR)", |f, state| {
        format!("{:.2}", f.exit[state].accesses())
    });
    table.by_state("entries of VMX MSR lists per exit and entry", |f, state| {
        f.list_entries[state].to_string()
    });
    table.by_state("instructions per exit", |f, state| {
        f.exit[state].instructions.to_string()
    });
    table.by_state(
        "VMs older than the module: MSR accesses and instructions per exit",
        |f, state| {
            let cost = f.older.as_ref().map(|older| &older[state]);
            or_none(cost.map(|c| format!("{:.2} {}", c.accesses(), c.instructions)))
        },
    );
    table.section("a guest's #NM");
    table.row("exits", |f| format!("{:.2}", f.nm.exits));
    table.row("instructions", |f| f.nm.instructions.to_string());
    table.section("bytes of tile data lost");
    for loss in LOSSES {
        let name = loss.replacen('_', ", ", 1).replace('_', "-");
        table.row(&name, |f| f.bytes_lost[loss].to_string());
    }
    table
}

/// What an L2 of an armed guest costs.
fn nested(report: &Report) -> Table<'_> {
    let mut table = Table::new(report);
    type Of = fn(&Nested) -> String;
    let figures: [(&str, Of); 3] = [
        ("MSR accesses (XFD, XFD_ERR)", |n| {
            format!("{:.2}", n.accesses())
        }),
        ("exits to L0", |n| format!("{:.2}", n.exits())),
        ("instructions", |n| n.instructions.to_string()),
    ];
    for (title, of) in figures {
        table.section(&format!("an L2 of an armed guest: {title}"));
        for what in NESTED {
            table.row(done_by_l2(what), |f| of(&f.nested[what]));
        }
    }
    table
}

/// By what they are, and where the figures have them.
type SlowPath = (&'static str, fn(&Figures) -> &States);

/// What saves the guest's registers.
pub const SLOW_PATHS: [SlowPath; 3] = [
    ("a switch to a plain task and back", |f| &f.switch_plain),
    ("a switch to a task with tiles and back", |f| &f.switch_amx),
    ("an exit to userspace and back", |f| &f.userspace),
];

/// What a task switch, or an exit to userspace, costs in MSR accesses and instructions.
fn slow_path(report: &Report) -> Table<'_> {
    let mut table = Table::new(report);
    let costs = "RDMSR and WRMSR of XFD+XFD_ERR, instructions";
    for (title, of) in SLOW_PATHS {
        table.by_state(&format!("{title}: {costs}"), |f, state| {
            slow_cell(&of(f)[state])
        });
    }
    if report.strategies.iter().any(|(_, f)| {
        SLOW_PATHS
            .iter()
            .any(|(_, of)| of(f).values().any(|c| c.kept < c.times))
    }) {
        table.section("* and the tiles are lost");
    }
    table
}

fn slow_cell(cost: &Cost) -> String {
    let a = &cost.msr;
    let each = |n: u64| {
        let n = n as f64 / cost.times as f64;
        let exact = n.fract() == 0.0;
        format!("{n:.*}", if exact { 0 } else { 2 })
    };
    format!(
        "{}+{} {}+{} {}{}",
        each(a.rdmsr_xfd),
        each(a.rdmsr_xfd_err),
        each(a.wrmsr_xfd),
        each(a.wrmsr_xfd_err),
        cost.instructions,
        if cost.kept < cost.times { "*" } else { " " }
    )
}

/// What more vCPUs cost: each exit, and memory.
fn growth(report: &Report) -> Table<'_> {
    let mut table = Table::new(report);
    table.section("armed vCPUs on one CPU: MSR accesses and instructions per exit");
    for n in VCPUS {
        table.row(&n.to_string(), |f| {
            let cost = &f.vcpus[&n];
            let (min, max) = (cost.instructions_min, cost.instructions_max);
            let instructions = match min == max {
                true => min.to_string(),
                false => format!("{min}-{max}"),
            };
            format!("{:.2} {instructions}", cost.accesses())
        });
    }
    table.section("bytes of memory per vCPU");
    table.row("struct kvm_vcpu", |f| f.bytes_per_vcpu.kvm_vcpu.to_string());
    table.row("its task_struct", |f| {
        f.bytes_per_vcpu.task_struct.to_string()
    });
    table.row("module", |f| or_none(f.bytes_per_vcpu.module));
    table
}

/// A figure that only a strategy has.
fn or_none(figure: Option<impl fmt::Display>) -> String {
    figure.map_or("-".into(), |figure| figure.to_string())
}

/// What an L2 does, as the tables have it.
fn done_by_l2(what: &str) -> &'static str {
    match what {
        "write_xfd" => "write of XFD",
        "nm" => "#NM",
        "exit_l0" => "exit L0 handles",
        _ => "exit to L1, back",
    }
}

/// A state as the tables have it.
fn shown(state: &str) -> String {
    state.replace("no_amx", "no AMX")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::collection::tests::narrow_report as report;

    #[test]
    fn the_tables_have_a_row_for_each_figure() {
        let mut report = report();
        let stock = &mut report.strategies[0];
        stock.switch_plain.get_mut("dormant").unwrap().kept = 0;
        stock.userspace.get_mut("live").unwrap().msr.wrmsr_xfd_err = 500;
        let text = tables(&report);
        let row = |title: &str, name: &str| -> Vec<String> {
            let rows = text.lines().skip_while(|l| !l.starts_with(title));
            let line = rows.skip(1).find(|l| l.trim().starts_with(name)).unwrap();
            let cells = line.trim().trim_start_matches(name);
            cells.split_whitespace().map(str::to_owned).collect()
        };
        for (title, name, cells) in [
            ("MSR accesses", "armed", "1.00 0.00 1.00 0.00 4.00 0.00"),
            (
                "instructions per",
                "no AMX",
                "1122 1122 1122 1122 1122 1122",
            ),
            ("VMs older", "live", "- - - 1.00 1142 1.00 1142 1.00 1142"),
            ("bytes of memory", "module", "- - - 32 32 32"),
            (
                "an L2 of an armed guest: exits",
                "write of XFD",
                "1.00 1.00 1.00 0.00 0.00 0.00",
            ),
            (
                "an L2 of an armed guest: instructions",
                "exit to L1, back",
                "1400 1400 1400 1400 1400 1400",
            ),
            (
                "bytes of tile",
                "dormant, userspace",
                "1020 1020 1020 0 0 0",
            ),
        ] {
            assert_eq!(row(title, name).join(" "), cells);
        }
        for (title, name, first) in [
            ("a switch to a plain", "dormant", "1+0 2+0 6000*"),
            ("an exit to userspace", "live", "1+0 2+0.50 6000"),
            ("armed vCPUs", "64", "0.00 1121 0.00"),
        ] {
            assert_eq!(row(title, name)[..3].join(" "), first);
        }
        assert!(text.lines().all(|l| l.len() <= 110));
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let text = tables(&report());
        let head: Vec<&str> = text.lines().take(3).collect();
        assert_eq!(
            head,
            [
                "                      stock  minimal  unloaded     xinuse      eager       lazy",
                "MSR accesses per exit (XFD, XFD_ERR)",
                "  never                0.00     0.00      0.00       0.00       0.00       0.00",
            ]
        );
        assert!(text.lines().all(|l| l == l.trim_end()));
    }
}
