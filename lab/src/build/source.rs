// SPDX-License-Identifier: GPL-2.0
//! Unpacked sources, pristine: nobody writes into them once they have their name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files::remove;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::download::{self, Archive, Pins};

/// A source directory and the SHA-256 of the archive that it came from.
pub struct Source {
    pub dir: PathBuf,
    pub sha256: String,
}

/// build/linux/source
pub fn kernel(lab: &Lab) -> Result<Source> {
    let pins = Pins::read(lab)?;
    let own = lab.choices.kernel_source.as_deref();
    let dir = lab.at("build/linux/source");
    unpacked(
        lab,
        &pins,
        &pins.kernel,
        own,
        &dir,
        "the kernel source",
        "Makefile",
    )
}

/// build/bochs/source
pub fn emulator(lab: &Lab) -> Result<Source> {
    let pins = Pins::read(lab)?;
    let own = lab.choices.emulator_source.as_deref();
    let dir = lab.at("build/bochs/source");
    unpacked(
        lab,
        &pins,
        &pins.emulator,
        own,
        &dir,
        "the emulator source",
        "configure",
    )
}

/// Fetches both archives and unpacks nothing.
pub fn fetch(lab: &Lab) -> Result<()> {
    let pins = Pins::read(lab)?;
    for (pin, own) in [
        (&pins.kernel, lab.choices.kernel_source.as_deref()),
        (&pins.emulator, lab.choices.emulator_source.as_deref()),
    ] {
        let archive = download::obtain(lab, &pins, pin, own)?;
        eprintln!("lab: {} is there", archive.path.display());
    }
    Ok(())
}

fn unpacked(
    lab: &Lab,
    pins: &Pins,
    pin: &download::Pin,
    own: Option<&Path>,
    dir: &Path,
    what: &str,
    witness: &str,
) -> Result<Source> {
    let stamp_name = lab.shown(dir).replace('/', "-");
    // A pinned archive that has been unpacked need not be looked at again, nor be there.
    let (print, archive) = match own {
        None => (
            Fingerprint::new("unpack")
                .text("sha256", &pin.sha256)
                .finish(),
            None,
        ),
        Some(_) => {
            let archive = download::obtain(lab, pins, pin, own)?;
            (
                Fingerprint::new("unpack")
                    .text("sha256", &archive.sha256)
                    .finish(),
                Some(archive),
            )
        }
    };
    let sha256 = archive
        .as_ref()
        .map_or_else(|| pin.sha256.clone(), |a| a.sha256.clone());
    let source = Source {
        dir: dir.to_owned(),
        sha256,
    };
    if stamp::fresh(lab, &stamp_name, &print, &[&dir.join(witness)]) {
        return Ok(source);
    }
    let archive = match archive {
        Some(archive) => archive,
        None => download::obtain(lab, pins, pin, None)?,
    };
    lab.need_space(
        if what.contains("kernel") { 8 } else { 1 },
        &format!("unpacking and building {what}"),
    )?;
    stamp::forget(lab, &stamp_name)?;
    let mut step = Step::begin(lab, &stamp_name, &format!("unpacking {what}"))?
        .next("check the disk and the archive named in the log, then run the same command again");
    let new = dir.with_extension("new");
    remove(&new)?;
    fs::create_dir_all(&new)?;
    unpack(&mut step, &archive, &new)?;
    if !new.join(witness).exists() {
        return Err(Failure::new(format!(
            "{} is not an archive of {what}: no {witness} in it",
            archive.path.display()
        ))
        .log(step.log_path())
        .next(format!(
            "give an archive of release {}, or none to have it fetched",
            pin.release
        ))
        .into());
    }
    remove(dir)?;
    fs::rename(&new, dir)?;
    // Trees made from another source are of no use.
    if let Some(parent) = dir.parent() {
        for name in [
            "patched-source",
            "patched-source.series",
            "debug",
            "patched",
            "stock",
        ] {
            remove(&parent.join(name))?;
        }
    }
    stamp::record(lab, &stamp_name, &print)?;
    step.done();
    Ok(source)
}

/// Unpacks a tar archive, or the one inside a Debian linux-source package, without its top directory.
fn unpack(step: &mut Step, archive: &Archive, to: &Path) -> Result<()> {
    let mut command = Command::new("bash");
    let script = if archive.path.extension().is_some_and(|x| x == "deb") {
        "set -o pipefail; dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './usr/src/*.tar.xz' \
         | xz -dc -T0 | tar -x --strip-components=1 -C \"$2\""
    } else {
        "tar -xf \"$1\" --strip-components=1 -C \"$2\""
    };
    step.run(
        command
            .args(["-c", script, "unpack"])
            .arg(&archive.path)
            .arg(to),
    )
}
