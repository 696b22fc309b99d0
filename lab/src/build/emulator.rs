// SPDX-License-Identifier: GPL-2.0
//! Bochs, which emulates the machine: with our series (XFD and correct AMX state), or as it is
//! upstream, where our conformance test must fail.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::{ask, Step};
use crate::build::series;
use crate::build::source;

/// The two that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Emulator {
    Patched,
    Unpatched,
}

impl Emulator {
    pub fn name(self) -> &'static str {
        match self {
            Emulator::Patched => "patched",
            Emulator::Unpatched => "unpatched",
        }
    }
}

/// show-ips stays off: its SIGALRM handler takes the log's mutex and can deadlock a run.
const CONFIGURE: [&str; 18] = [
    "--enable-cpu-level=6",
    "--enable-x86-64",
    "--enable-smp",
    "--enable-vmx=2",
    "--enable-avx",
    "--enable-evex",
    "--enable-amx",
    "--enable-memtype",
    "--enable-protection-keys",
    "--enable-cet",
    "--enable-uintr",
    "--enable-all-optimizations",
    "--enable-pci",
    "--disable-show-ips",
    "--with-nogui",
    "--disable-docbook",
    "--without-x",
    "--disable-readline",
];

/// Builds the emulator, unless that is done, and returns its program.
pub fn build(lab: &Lab, which: Emulator) -> Result<PathBuf> {
    let pristine = source::emulator(lab)?;
    let dir = lab.at("build/bochs").join(which.name());
    let program = dir.join("bochs");
    let patches = match which {
        Emulator::Patched => series::patches(&lab.at("patches/bochs"))?,
        Emulator::Unpatched => Vec::new(),
    };
    let stamp_name = format!("emulator-{}", which.name());
    let mut print = Fingerprint::new("emulator")
        .text("source", &pristine.sha256)
        .text("configure", &CONFIGURE.join(" "))
        .text(
            "compiler",
            &ask(Command::new("g++").arg("--version")).unwrap_or_default(),
        );
    for patch in &patches {
        print = print.file(patch)?;
    }
    let print = print.finish();
    if stamp::fresh(lab, &stamp_name, &print, &[&program]) {
        return Ok(program);
    }
    lab.need_space(1, "building the emulator")?;
    stamp::forget(lab, &stamp_name)?;
    let mut step = Step::begin(
        lab,
        &stamp_name,
        &format!("building the emulator ({})", which.name()),
    )?
    .next("mend what the log shows (the series is patches/bochs), then run the same command again");
    series::keep_in_step(lab, &mut step, &pristine, &dir, &patches)?;
    let configured = dir.join(".lab.configure");
    let wanted = CONFIGURE.join(" ");
    if !fs::read_to_string(&configured).is_ok_and(|c| c == wanted) || !dir.join("Makefile").exists()
    {
        step.run(
            Command::new("./configure")
                .current_dir(&dir)
                .args(CONFIGURE)
                .env("CXXFLAGS", "-O2")
                .env("CFLAGS", "-O2"),
        )?;
        files::remove(&configured)?;
        fs::write(&configured, &wanted)?;
    }
    let mut make = Command::new("make");
    lab.jobs.share(make.current_dir(&dir).arg("bochs"));
    step.run(&mut make)?;
    stamp::record(lab, &stamp_name, &print)?;
    step.done();
    Ok(program)
}
