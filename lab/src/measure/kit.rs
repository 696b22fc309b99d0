// SPDX-License-Identifier: GPL-2.0
//! What a kit has found on a host (selftests/kit/run.sh), and its tables beside the emulator's counts.
//! Ticks of the TSC and instructions are never added to one another, nor compared.

mod figure; // its pictures

use std::fmt::{Display, Write};
use std::fs;
use std::path::Path;

use anyhow::{anyhow, Context, Result};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::table::table;
use crate::measure::bench::picture::{png, svg};
use crate::measure::collection::Collection;
use crate::measure::report::{Report, LOSSES, STATES};

/// Of the file's format, the probe's and the meter's.
const VERSION: u32 = 1;

/// The file of a kit. One that has other keys is of another version of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kit {
    pub xfd_switch_kit: u32,
    pub version: String,
    pub kernel: String,
    pub date: String,
    pub seconds: u64,
    pub rehearsed: bool,
    pub quick: bool,
    pub probe: Probe,
    /// None if it did not load, and then "failures" says why.
    pub meter: Option<Meter>,
    /// By column, as xfd_measure has printed them.
    pub measured: IndexMap<String, Vec<Value>>,
    pub tests: Vec<Test>,
    pub failures: Vec<String>,
}

/// What selftests/xfd_probe.c prints where there is AMX.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub xfd_probe: u32,
    pub kernel: String,
    pub cpu: Cpu,
    pub cpuid: Value,
    pub xcr0: String,
    pub unit: Unit,
    pub tsc: Tsc,
    pub permission: bool,
    pub xinuse: Vec<XInUse>,
    pub costs: IndexMap<String, Cost>,
    pub skip: Option<String>,
    pub failures: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    pub vendor: String,
    pub model_name: String,
    pub family: u32,
    pub model: u32,
    pub stepping: u32,
    pub microcode: String,
    pub hypervisor: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Tsc,
    Instructions,
}

impl Unit {
    pub fn words(self) -> &'static str {
        match self {
            Unit::Tsc => "TSC ticks",
            Unit::Instructions => "instructions",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tsc {
    pub ticks_of_1000_nops: u64,
    pub ticks_of_1000_imuls: u64,
    pub khz: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XInUse {
    pub after: String,
    pub xtilecfg: u8,
    pub xtiledata: u8,
    pub must: [Option<u8>; 2],
}

/// Of many samples; `net` is the median beyond that of nothing.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    pub min: u64,
    pub median: u64,
    pub p99: u64,
    pub net: i64,
}

/// What selftests/kmod/xfd_meter.c shows.
#[derive(Deserialize)]
pub struct Meter {
    pub meter: u32,
    pub unit: Unit,
    pub rehearsed: u8,
    pub hypervisor: u8,
    pub cpu: u32,
    pub tsc_khz: u64,
    pub nops_1000: u64,
    pub imuls_1000: u64,
    pub rounds: u64,
    pub rfbm: String,
    #[serde(flatten)]
    pub costs: IndexMap<String, Cost>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub name: String,
    pub on: String,
    pub result: String,
    pub status: i32,
    pub seconds: u64,
}

impl Kit {
    pub fn read(path: &Path) -> Result<Kit> {
        Kit::of(&files::text(path)?).map_err(|error| {
            Failure::new(format!(
                "{} is not what a kit writes: {error}",
                path.display()
            ))
            .next("give the file that run.sh has written, and a lab of the kit's version")
            .into()
        })
    }

    fn of(text: &str) -> Result<Kit> {
        let kit: Kit = serde_json::from_str(text)?;
        let meter = kit.meter.as_ref().map_or(VERSION, |m| m.meter);
        match [kit.xfd_switch_kit, kit.probe.xfd_probe, meter] == [VERSION; 3] {
            true => Ok(kit),
            false => Err(anyhow!("it is of another version than {VERSION}")),
        }
    }

    /// The figures of each column, merged.
    pub fn figures(&self) -> Result<Figures> {
        let mut all = Collection::default();
        for (on, lines) in &self.measured {
            for line in lines {
                all.line(Some(on), &format!("#XFD {line}"))?;
            }
        }
        Ok(Figures(all.into_values()))
    }
}

/// Figures by column, of which some may be missing.
pub struct Figures(IndexMap<String, Value>);

impl Figures {
    /// Of the emulator.
    pub fn of(report: &Report) -> Result<Figures> {
        let columns = report.strategies.iter();
        let columns = columns.map(|(on, f)| Ok((on.clone(), serde_json::to_value(f)?)));
        Ok(Figures(columns.collect::<Result<_>>()?))
    }

    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn number(&self, on: &str, path: &str) -> Option<f64> {
        self.0.get(on)?.pointer(path)?.as_f64()
    }

    /// Those of these columns alone.
    fn only(&self, columns: &[String]) -> Figures {
        let of_them = self.0.iter().filter(|(on, _)| columns.contains(on));
        Figures(of_them.map(|(on, f)| (on.clone(), f.clone())).collect())
    }

    /// Accesses of both MSRs, of one event.
    fn accesses(&self, on: &str, at: &str) -> Option<f64> {
        const ALL: [&str; 4] = ["rdmsr_xfd", "wrmsr_xfd", "rdmsr_xfd_err", "wrmsr_xfd_err"];
        let counts = ALL.map(|key| self.number(on, &format!("{at}/{key}")));
        let sum: Option<f64> = counts.into_iter().sum();
        Some(sum? / self.number(on, &format!("{at}/times"))?)
    }
}

/// The events of which there are costs by state, and where they are in the figures.
pub const EVENTS: [(&str, &str); 4] = [
    ("an exit", "exit"),
    ("an exit to userspace and back", "userspace"),
    ("a switch to a plain task and back", "switch_plain"),
    ("a switch to a task with tiles and back", "switch_amx"),
];

/// All tables. `emulated` is what the emulator has counted, if there is a measurement.
pub fn tables(kit: &Kit, emulated: Option<&Report>) -> Result<String> {
    let here = kit.figures()?;
    let emulated = emulated.map(Figures::of).transpose()?;
    let mut text = head(kit);
    text += &costs(kit);
    text += &xinuse(kit);
    text += &measured(kit, &here, emulated.as_ref());
    text += &tests(kit);
    Ok(text)
}

/// Draws all pictures into `dir`, and removes what was there before.
pub fn draw(kit: &Kit, emulated: Option<&Report>, dir: &Path) -> Result<()> {
    let here = kit.figures()?;
    let emulated = emulated.map(Figures::of).transpose()?;
    files::remove(dir)?;
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for figure in figure::figures(kit, &here, emulated.as_ref()) {
        let name = |ending: &str| dir.join(format!("{}.{ending}", figure.name));
        files::write_atomic(&name("svg"), svg(&figure)?.as_bytes())?;
        png(&figure, &name("png"))?;
    }
    Ok(())
}

fn head(kit: &Kit) -> String {
    let (probe, cpu) = (&kit.probe, &kit.probe.cpu);
    let mut lines = vec![
        format!(
            "{} ({}), family {}, model {}, stepping {}, microcode {}",
            cpu.model_name,
            cpu.vendor,
            cpu.family,
            cpu.model,
            cpu.stepping,
            or_dash(Some(&cpu.microcode).filter(|m| !m.is_empty())),
        ),
        format!(
            "Linux {}, kit {}, {}, {} s",
            kit.kernel, kit.version, kit.date, kit.seconds
        ),
        format!(
            "TSC at {} kHz; 1000 NOPs take {} ticks of it, 1000 IMULs {}; XCR0 is {}",
            probe.tsc.khz, probe.tsc.ticks_of_1000_nops, probe.tsc.ticks_of_1000_imuls, probe.xcr0
        ),
    ];
    if let Some(meter) = &kit.meter {
        lines.push(format!(
            "ring 0: CPU {}, {} kHz, 1000 NOPs take {} ticks, 1000 IMULs {}, {} rounds, RFBM {}",
            meter.cpu, meter.tsc_khz, meter.nops_1000, meter.imuls_1000, meter.rounds, meter.rfbm
        ));
    }
    if let Some(hypervisor) = &cpu.hypervisor {
        lines.push(format!(
            "it is a guest's, of {hypervisor}: accesses may be VM-exits"
        ));
    }
    if let Some(skip) = &probe.skip {
        lines.push(format!("the probe: {skip}"));
    }
    if kit.rehearsed {
        lines.push("REHEARSED in an emulator: no figure here is a cost".into());
    }
    lines.join("\n") + "\n"
}

/// A median beyond that of nothing, and what lies around it.
fn cell(cost: Option<&Cost>) -> String {
    or_dash(cost.map(|c| format!("{} ({} {} {})", c.net, c.min, c.median, c.p99)))
}

fn costs(kit: &Kit) -> String {
    let at_ring_0 = kit.meter.as_ref().map(|m| &m.costs);
    let mut keys: Vec<&String> = at_ring_0.into_iter().flat_map(|c| c.keys()).collect();
    for key in kit.probe.costs.keys() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let rows = keys.into_iter().map(|key| {
        let ring_0 = cell(at_ring_0.and_then(|costs| costs.get(key)));
        vec![key.clone(), ring_0, cell(kit.probe.costs.get(key))]
    });
    format!(
        "\n{} of one operation: median beyond that of nothing (least, median, 99th percentile)\n{}\n",
        kit.probe.unit.words(),
        table(&["", "ring 0", "ring 3"], rows)
    )
}

fn xinuse(kit: &Kit) -> String {
    let rows = kit.probe.xinuse.iter().map(|row| {
        let met = |is: u8, must: Option<u8>| must.is_none_or(|must| must == is);
        let met = met(row.xtilecfg, row.must[0]) && met(row.xtiledata, row.must[1]);
        vec![
            row.after.clone(),
            row.xtilecfg.to_string(),
            row.xtiledata.to_string(),
            if met { "" } else { "NOT WHAT IT MUST BE" }.to_owned(),
        ]
    });
    let head = ["XINUSE after", "XTILECFG", "XTILEDATA", ""];
    format!("\n{}\n", table(&head, rows))
}

fn measured(kit: &Kit, here: &Figures, emulated: Option<&Figures>) -> String {
    let unit = kit.probe.unit.words();
    let columns: Vec<&str> = here.columns().collect();
    let both = |path: &str, of: fn(&Figures, &str, &str) -> Option<f64>, digits: usize| {
        let cells = columns.iter().map(|on| {
            let shown = |f: Option<&Figures>| {
                or_dash(
                    f.and_then(|f| of(f, on, path))
                        .map(|n| format!("{n:.digits$}")),
                )
            };
            format!("{} ({})", shown(Some(here)), shown(emulated))
        });
        cells.collect::<Vec<_>>()
    };
    let mut text = String::new();
    let mut section = |title: String, rows: Vec<(String, Vec<String>)>| {
        let head: Vec<&str> = [""].into_iter().chain(columns.iter().copied()).collect();
        let rows = rows
            .into_iter()
            .map(|(name, cells)| [name].into_iter().chain(cells).collect::<Vec<_>>());
        let _ = writeln!(text, "\n{title}\n{}", table(&head, rows));
    };
    for (what, key) in EVENTS {
        let of = |figure: &str, get, digits| {
            let rows = STATES.map(|state| {
                let path = format!("/{key}/{state}{figure}");
                (state.replace('_', " "), both(&path, get, digits))
            });
            rows.to_vec()
        };
        section(
            format!("{what}: MSR accesses (the emulator's count)"),
            of("", Figures::accesses, 2),
        );
        section(
            format!("{what}: {unit} (instructions in the emulator)"),
            of("/instructions", Figures::number, 0),
        );
    }
    section(
        format!("a guest's #NM: exits, and {unit} (the emulator's, instructions)"),
        vec![
            ("exits".into(), both("/nm/exits", Figures::number, 2)),
            (unit.into(), both("/nm/instructions", Figures::number, 0)),
        ],
    );
    let lost = LOSSES.map(|loss| {
        let path = format!("/bytes_lost/{loss}");
        (loss.replace('_', " "), both(&path, Figures::number, 0))
    });
    section(
        "bytes of tile data lost (in the emulator)".into(),
        lost.to_vec(),
    );
    text
}

fn tests(kit: &Kit) -> String {
    let count = |result| kit.tests.iter().filter(|t| t.result == result).count();
    let mut text = format!(
        "\ntests: {} passed, {} skipped, {} failed\n",
        count("pass"),
        count("skip"),
        count("fail")
    );
    for test in kit.tests.iter().filter(|t| t.result != "pass") {
        let _ = writeln!(
            text,
            "{}: {}: {}, exit status {} after {} s",
            test.result, test.on, test.name, test.status, test.seconds
        );
    }
    for failure in &kit.failures {
        let _ = writeln!(text, "failed: {failure}");
    }
    text
}

fn or_dash(what: Option<impl Display>) -> String {
    what.map_or("-".into(), |what| what.to_string())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::measure::collection::tests::{report, states};
    use serde_json::json;

    /// What a host says that reads XFD once per exit without the module.
    fn text() -> String {
        let cost = json!({ "min": 40, "median": 74, "p99": 90, "net": 32 });
        let states: Value = serde_json::from_str(&states(1000, 2222)[5..]).unwrap();
        json!({
            "xfd_switch_kit": 1, "version": "0.2.0", "kernel": "7.3.4", "date": "2026-11-26",
            "seconds": 7, "rehearsed": false, "quick": true,
            "probe": {
                "xfd_probe": 1, "kernel": "7.3.4",
                "cpu": { "vendor": "GenuineIntel", "model_name": "A CPU", "family": 6, "model": 143,
                    "stepping": 8, "microcode": "0x1", "hypervisor": null },
                "cpuid": { "amx_tile": true }, "xcr0": "0x602e7", "unit": "tsc",
                "tsc": { "ticks_of_1000_nops": 170, "ticks_of_1000_imuls": 3000, "khz": 2000000 }, "permission": true,
                "xinuse": [
                    { "after": "LDTILECFG", "xtilecfg": 1, "xtiledata": 0, "must": [1, null] },
                    { "after": "TILERELEASE", "xtilecfg": 0, "xtiledata": 1, "must": [0, 0] },
                ],
                "costs": { "nothing": cost, "tilezero": cost }, "skip": null, "failures": 1,
            },
            "meter": { "meter": 1, "unit": "tsc", "rehearsed": 0, "hypervisor": 0, "cpu": 3,
                "tsc_khz": 2000000, "nops_1000": 170, "imuls_1000": 3000, "rounds": 1000, "rfbm": "0x607e7",
                "nothing": cost, "rdmsr_xfd": cost },
            "measured": { "unloaded": [states, { "bytes_lost": { "live_preempt": 0 } }] },
            "tests": [{ "name": "switch", "on": "unloaded", "result": "pass", "status": 0, "seconds": 3 }],
            "failures": ["unloaded: x: exit status 1"],
        })
        .to_string()
    }

    pub fn kit() -> Kit {
        Kit::of(&text()).unwrap()
    }

    #[test]
    fn the_tables_have_both_figures_side_by_side() {
        let kit = kit();
        let text = tables(&kit, Some(&report())).unwrap();
        let row = |title: &str, name: &str| {
            let rows = text.lines().skip_while(|l| !l.starts_with(title));
            let line = rows.skip(1).find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            row("TSC ticks of one", "rdmsr_xfd"),
            "rdmsr_xfd 32 (40 74 90) -"
        );
        assert_eq!(
            row("TSC ticks of one", "tilezero"),
            "tilezero - 32 (40 74 90)"
        );
        assert_eq!(row("XINUSE", "LDTILECFG"), "LDTILECFG 1 0");
        assert_eq!(
            row("XINUSE", "TILERELEASE"),
            "TILERELEASE 0 1 NOT WHAT IT MUST BE"
        );
        assert_eq!(row("an exit: MSR", "armed"), "armed 1.00 (1.00)");
        assert_eq!(row("an exit: TSC ticks", "armed"), "armed 2222 (1142)");
        assert_eq!(row("bytes of tile", "live preempt"), "live preempt 0 (0)");
        assert_eq!(
            row("bytes of tile", "dormant userspace"),
            "dormant userspace - (1020)"
        );
        assert!(text.contains("1 passed, 0 skipped, 0 failed\nfailed: unloaded: x"));
        assert!(!text.contains("REHEARSED"));
        assert!(tables(&kit, None).unwrap().contains("2222 (-)"));
    }

    #[test]
    fn another_key_is_another_file() {
        assert!(Kit::of(&text().replace("\"quick\":true,", "")).is_err());
        assert!(Kit::of(&text().replace("\"quick\":", "\"quack\":1,\"quick\":")).is_err());
        assert!(Kit::of(&text().replace("\"khz\":", "\"mhz\":")).is_err());
        assert!(Kit::of(&text().replace("\"min\":", "\"least\":")).is_err());
        assert!(Kit::of(&text().replace("\"meter\":1", "\"meter\":2")).is_err());
    }
}
