// SPDX-License-Identifier: GPL-2.0
//! The scenarios that are wanted, on the hosts that are wanted, in machines; what was found before, with
//! all the same, is not found again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::base::{failure::Failure, files::remove, layout::Lab, parallel::side_by_side};
use crate::build::{
    emulator::{self, Emulator},
    kernel::{self, Kind},
    module, packages,
    plan::{self, Product},
};
use crate::machine::FILES;
use crate::measure::report::is_strategy;
use crate::tests::{
    column::{Column, FromRun},
    guests::{
        figures::Figures,
        files, goals,
        report::{self, Report, Scenarios},
        scenario::Scenario,
    },
    hosts::{hosts, kind},
    kept::Kept,
    list::Test,
    results::Row,
    session::{print_of, Parts},
    verdict::{Seen, Verdict},
};

/// What is wanted of all.
#[derive(Default)]
pub struct Wanted {
    /// Only scenarios that [`Scenario::check`] is for.
    pub check: bool,
    /// Parts of names of scenarios, all if there are none.
    pub only: Vec<String>,
    /// Hosts, all if there are none.
    pub on: Vec<String>,
    /// Whatever is known already.
    pub again: bool,
}

/// What is kept of a scenario on one host.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Ran {
    result: Verdict,
    figures: Option<Figures>,
    #[serde(default)]
    said: Vec<String>,
    seconds: f64,
}

impl Ran {
    fn missing() -> Ran {
        Ran {
            result: Verdict::Fail,
            figures: None,
            said: vec!["it did not run: no image came from the other host".into()],
            seconds: 0.0,
        }
    }
}

impl FromRun for Ran {
    fn from_run(row: &Row, seen: &Seen) -> Ran {
        let mut ran = Ran {
            result: row.verdict,
            figures: Figures::of(&seen.output),
            said: row.said.clone(),
            seconds: seen.seconds,
        };
        if ran.result == Verdict::Pass && ran.figures.is_none() {
            ran.result = Verdict::Fail;
            ran.said.push("it has printed no figures".into());
        }
        ran
    }

    fn words(&self) -> String {
        let last = self.said.last().map(|l| format!(": {l}"));
        format!("{}{}", self.result.word(), last.unwrap_or_default())
    }
}

/// Where the images of migrations lie that other machines are given.
const IMAGES: &str = "build/guests/images";

/// Builds what is needed, runs what is wanted, and judges it. Takes the lab's lock to build, and has let
/// go of it when it returns.
pub fn run(lab: &Lab, wanted: &Wanted) -> Result<Report> {
    lab.lock()?;
    packages::setup(lab)?;
    let list = Scenario::list(lab)?;
    let scenarios = wanted.scenarios(&list)?;
    let hosts = hosts(lab, &wanted.on)?;
    let made = Made::build(lab, &hosts, scenarios.iter().any(|s| s.vmm))?;
    lab.unlock();

    // `make check` may run beside `make guests`: each has machines and results of its own.
    let machines = if wanted.check {
        "check-guests"
    } else {
        "guests"
    };
    let kept = Kept::<Ran>::open(lab, machines);
    let composing = Mutex::new(());
    let carry_out = |columns: &[Column]| -> Result<()> {
        for (test, _) in columns.iter().flat_map(|c| &c.tests) {
            kept.forget_unless(&test.id, |ran| !wanted.again && !ran.result.failed());
        }
        let ended = side_by_side(&lab.jobs, columns, |column| {
            column.run(lab, &composing, &kept, machines)
        });
        ended.into_iter().collect()
    };
    let (after, first): (Vec<&Scenario>, Vec<&Scenario>) =
        scenarios.iter().copied().partition(|s| s.image.is_some());
    let mut columns = made.columns(lab, &hosts, &first, None)?;
    // A result is worth nothing without the file that came with it, nor is the file without the result.
    for column in &columns {
        for (test, print) in &column.tests {
            let scenario = first.iter().find(|s| s.name == test.entry.name);
            let Some(file) = scenario.and_then(|s| s.get.as_ref()) else {
                continue;
            };
            let image = image(lab, &column.name, file);
            let known = kept.get(&test.id, print);
            if known.is_none_or(|known| wanted.again || known.result.result.failed()) {
                remove(&image)?;
            }
            if !image.exists() {
                kept.forget(&test.id);
            }
        }
    }
    carry_out(&columns)?;
    for column in &columns {
        take_images(lab, machines, column, &first)?;
    }
    if !after.is_empty() {
        let given = made.given(lab, &hosts, &after)?;
        carry_out(&given)?;
        columns.extend(given);
    }

    let mut found = Scenarios::new();
    for scenario in &scenarios {
        let mut results = IndexMap::new();
        for host in &hosts {
            if scenario.image.is_some() && giver(host, &hosts).is_none() {
                continue;
            }
            let mut of_host = columns.iter().filter(|c| host_of(&c.name) == host);
            let record = of_host.find_map(|column| column.result(&scenario.name, &kept));
            let ran = record.map_or_else(Ran::missing, |record| record.result);
            let result = report::Column {
                ok: !ran.result.failed(),
                figures: ran.figures,
                said: ran.said,
            };
            results.insert(host.clone(), result);
        }
        found.insert(scenario.name.clone(), results);
    }
    Ok(Report {
        kernel: kernel::build(lab, Kind::Stock)?.release()?,
        goals: goals::judge(&list, &found),
        scenarios: found,
    })
}

impl Wanted {
    fn scenarios<'a>(&self, list: &'a [Scenario]) -> Result<Vec<&'a Scenario>> {
        let of = |s: &Scenario, word: &String| s.name.contains(word.as_str());
        if let Some(word) = self.only.iter().find(|w| !list.iter().any(|s| of(s, w))) {
            let names = list.iter().map(|s| format!("{}: {}", s.name, s.what));
            return Err(
                Failure::new(format!("no scenario is named \"{word}\"; there are"))
                    .details(names)
                    .next("give a part of one of these names")
                    .into(),
            );
        }
        let is_wanted = |s: &&Scenario| {
            (s.check || !self.check) && (self.only.is_empty() || self.only.iter().any(|w| of(s, w)))
        };
        Ok(list.iter().filter(is_wanted).collect())
    }
}

/// A column's machine has its number of CPUs in its name.
fn host_of(column: &str) -> &str {
    column.split_once('-').map_or(column, |(host, _)| host)
}

fn image(lab: &Lab, column: &str, file: &str) -> PathBuf {
    lab.at(IMAGES).join(host_of(column)).join(file)
}

/// Which host's image another one is given: each is one way between stock and ours.
fn giver<'a>(host: &str, hosts: &'a [String]) -> Option<&'a String> {
    match host {
        "stock" => hosts.iter().rfind(|h| *h != "stock"),
        _ => hosts.iter().find(|h| *h == "stock"),
    }
}

/// What all machines are made of.
struct Made {
    emulator: PathBuf,
    module: Option<PathBuf>,
    guest: PathBuf,
    guest_print: String,
    /// For scenarios that want it, with its fingerprint.
    vmm: Option<(PathBuf, String)>,
}

impl Made {
    fn build(lab: &Lab, hosts: &[String], vmm: bool) -> Result<Made> {
        let mut products = vec![
            Product::Emulator(Emulator::Patched),
            Product::StockKernel,
            Product::Selftests,
        ];
        products.extend(hosts.iter().map(|host| Product::kernel(kind(host))));
        let loads = hosts.iter().any(|host| is_strategy(host));
        if loads {
            products.push(Product::Module(Kind::Patched, module::Kind::Shipped));
        }
        plan::build(lab, products)?;
        let (guest, guest_print) = files::build(lab)?;
        let module = match loads {
            true => {
                let kernel = kernel::build(lab, Kind::Patched)?;
                Some(module::build(lab, &kernel, module::Kind::Shipped)?)
            }
            false => None,
        };
        Ok(Made {
            emulator: emulator::build(lab, Emulator::Patched)?,
            module,
            guest,
            guest_print,
            vmm: vmm.then(|| files::vmm(lab)).transpose()?,
        })
    }

    /// The machines of these scenarios: on each host, one for each number of CPUs; with the image of
    /// another host.
    fn columns(
        &self,
        lab: &Lab,
        hosts: &[String],
        scenarios: &[&Scenario],
        given: Option<&Path>,
    ) -> Result<Vec<Column>> {
        let mut columns: Vec<Column> = Vec::new();
        for host in hosts {
            let kind = kind(host);
            let parts = Parts {
                emulator: self.emulator.clone(),
                kernel: kernel::build(lab, kind)?,
                module: self.module.clone().filter(|_| is_strategy(host)),
                programs: Vec::new(),
                added: Vec::new(),
                pace: 5,
            };
            let print = parts.print(lab)? + &self.guest_print;
            for scenario in scenarios {
                let (group, test) = Test::of(&scenario.entry(), host, kind, scenario.cpus);
                let mut print = print_of(&print, &group, std::slice::from_ref(&test));
                let vmm = self.vmm.as_ref().filter(|_| scenario.vmm);
                if let Some((_, vmm_print)) = vmm {
                    print = print.text("vmm", vmm_print);
                }
                if let Some(image) = given {
                    print = print.file(image)?;
                }
                let print = print.finish();
                let mut name = format!("{host}-{}", scenario.cpus);
                if let Some(file) = &scenario.image {
                    name += &format!("-{file}");
                }
                let at = match columns.iter().position(|c| c.name == name) {
                    Some(at) => at,
                    None => {
                        let mut parts = parts.clone();
                        parts.added.push(self.guest.clone());
                        parts.added.extend(given.map(Path::to_owned));
                        columns.push(Column {
                            name,
                            group,
                            parts,
                            tests: Vec::new(),
                        });
                        columns.len() - 1
                    }
                };
                columns[at].tests.push((test, print));
                // The machine of several has what one of them wants.
                let added = &mut columns[at].parts.added;
                added.extend(
                    vmm.map(|(dir, _)| dir.clone())
                        .filter(|dir| !added.contains(dir)),
                );
            }
        }
        Ok(columns)
    }

    /// The machines that are given an image, each for one scenario.
    fn given(&self, lab: &Lab, hosts: &[String], scenarios: &[&Scenario]) -> Result<Vec<Column>> {
        let mut columns = Vec::new();
        for host in hosts {
            let Some(giver) = giver(host, hosts) else {
                continue;
            };
            for scenario in scenarios {
                let file = scenario.image.as_ref();
                let image = file.map(|file| image(lab, giver, file));
                // Its own scenario has failed then, and says why.
                if let Some(image) = image.filter(|i| i.exists()) {
                    let (host, one) = (std::slice::from_ref(host), std::slice::from_ref(scenario));
                    columns.extend(self.columns(lab, host, one, Some(&image))?);
                }
            }
        }
        Ok(columns)
    }
}

/// Keeps what a machine has sent, if it has run.
fn take_images(lab: &Lab, machines: &str, column: &Column, scenarios: &[&Scenario]) -> Result<()> {
    let sent = lab
        .at("build/boot")
        .join(format!("{machines}-{}", column.name));
    for file in scenarios.iter().filter_map(|s| s.get.as_ref()) {
        let from = sent.join(FILES).join(file);
        if from.exists() {
            let to = image(lab, &column.name, file);
            fs::create_dir_all(to.parent().context("an image has a directory")?)?;
            fs::rename(&from, &to).with_context(|| format!("keeping {}", from.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_go_from_stock_to_ours_and_back() {
        let hosts = ["stock", "minimal", "lazy"].map(str::to_owned);
        assert_eq!(giver("stock", &hosts).unwrap(), "lazy");
        assert_eq!(giver("lazy", &hosts).unwrap(), "stock");
        assert_eq!(giver("lazy", &hosts[2..]), None);
        assert_eq!(giver("stock", &hosts[..1]), None);
    }

    #[test]
    fn what_passes_must_have_figures() {
        let row = Row::new("a", Verdict::Pass, Vec::new());
        let ran = Ran::from_run(&row, &Seen::default());
        assert_eq!(ran.result, Verdict::Fail);
        assert!(ran.words().contains("no figures"));
    }

    #[test]
    fn a_column_is_a_host_s() {
        assert_eq!(host_of("lazy-2-image"), "lazy");
        assert_eq!(host_of("stock-1"), "stock");
    }
}
