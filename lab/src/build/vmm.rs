// SPDX-License-Identifier: GPL-2.0
//! The VMM that asks for what the host series offers: QEMU with patches/qemu, from Debian's source, with
//! no more in it than the lab's guests need. It runs with the libraries of Debian's own ([`super::qemu`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::{ask, Step};
use crate::build::download::{self, Archive, Pins};
use crate::build::source::{self, Source};
use crate::build::{packages, series};

/// The configuration `microvm` is the series'.
const CONFIGURE: [&str; 15] = [
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--without-default-devices",
    "--with-devices-x86_64=microvm",
    "--enable-kvm",
    "--enable-fdt=system",
    "--disable-tcg",
    "--disable-tools",
    "--disable-guest-agent",
    "--disable-docs",
    "--disable-install-blobs",
    "--disable-download",
    // It takes half as long to build.
    "--disable-debug-info",
    "--enable-trace-backends=nop",
    "-Doptimization=1",
];
const PROGRAM: &str = "qemu-system-x86_64";
/// Where Debian's meson has its modules.
const MESON: &str = "usr/lib/python3/dist-packages";

/// Builds it, unless that is done, and returns the program.
pub fn build(lab: &Lab) -> Result<PathBuf> {
    let at = |name: &str| lab.at("build/vmm").join(name);
    let program = at("qemu");
    packages::setup_for(lab, "vmm")?;
    let archives = download::packages(lab, &Pins::read(lab)?.vmm, "vmm")?;
    let patches = series::patches(&lab.at("patches/qemu"))?;
    let mut print = Fingerprint::new("vmm")
        .text("configure", &CONFIGURE.join(" "))
        .text(
            "compiler",
            &ask(Command::new("gcc").arg("--version")).unwrap_or_default(),
        );
    for archive in &archives {
        print = print.text("archive", &archive.sha256);
    }
    let print = series::fingerprint(print, &patches)?.finish();
    if stamp::fresh(lab, "vmm", &print, &[&program]) {
        return Ok(program);
    }
    lab.need_space(2, "building QEMU")?;
    stamp::forget(lab, "vmm")?;
    let pristine = unpacked(lab, &archives)?;
    let mut step = Step::begin(lab, "vmm", "building QEMU")?.next(
        "mend what the log shows (the series is patches/qemu), then run the same command again",
    );
    let (tree, objects) = (at("patched"), at("objects"));
    series::keep_in_step(lab, &mut step, &pristine, &tree, &patches)?;
    // Its configure looks for a meson that Python finds, and so does what that makes.
    let meson = pristine.dir.with_file_name("meson").join(MESON);
    let configured = objects.join(".lab.configure");
    let wanted = CONFIGURE.join(" ");
    if !fs::read_to_string(&configured).is_ok_and(|c| c == wanted) {
        files::remove(&objects)?;
        fs::create_dir_all(&objects)?;
        let mut configure = Command::new(tree.join("configure"));
        configure.current_dir(&objects).args(CONFIGURE);
        step.run(configure.env("PYTHONPATH", &meson))?;
        fs::write(&configured, &wanted)?;
    }
    let mut ninja = Command::new("ninja");
    ninja.arg("-C").arg(&objects).arg("-j");
    ninja.arg(lab.jobs.number().to_string()).arg(PROGRAM);
    step.run(ninja.env("PYTHONPATH", &meson))?;
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&program).arg(objects.join(PROGRAM));
    step.run(&mut strip)?;
    stamp::record(lab, "vmm", &print)?;
    step.done();
    Ok(program)
}

/// Both, pristine, in build/vmm/source and build/vmm/meson.
fn unpacked(lab: &Lab, archives: &[Archive]) -> Result<Source> {
    let (source, meson) = (
        archive(archives, "qemu_", ".orig.tar.xz")?,
        archive(archives, "meson_", ".deb")?,
    );
    let dir = lab.at("build/vmm");
    let pristine = Source {
        dir: dir.join("source"),
        sha256: source.sha256.clone(),
        name: name(&source.path),
        pinned: true,
    };
    let print = Fingerprint::new("vmm source").text("source", &source.sha256);
    let print = print.text("meson", &meson.sha256).finish();
    if stamp::fresh(lab, "build-vmm-source", &print, &[&pristine.dir]) {
        return Ok(pristine);
    }
    stamp::forget(lab, "build-vmm-source")?;
    let mut step = Step::begin(lab, "build-vmm-source", "unpacking QEMU's source")?;
    let new = pristine.dir.with_extension("new");
    files::remove(&new)?;
    fs::create_dir_all(&new)?;
    step.run(&mut source::tar(&source.path, &new))?;
    source::remove_outdated(&dir, &new)?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&meson.path).arg(dir.join("meson"));
    step.run(&mut unpack)?;
    fs::rename(&new, &pristine.dir)?;
    stamp::record(lab, "build-vmm-source", &print)?;
    step.done();
    Ok(pristine)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The one of what was fetched that is named so.
fn archive<'a>(archives: &'a [Archive], begin: &str, end: &str) -> Result<&'a Archive> {
    let mut all = archives.iter();
    let found = all.find(|a| name(&a.path).starts_with(begin) && name(&a.path).ends_with(end));
    found.ok_or_else(|| {
        Failure::new(format!("no {begin}*{end} was fetched"))
            .next("look at [vmm] in lab/config/sources.toml")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_found_among_what_comes_with_it() {
        let archives = [
            "meson_1_all.deb",
            "qemu_1.debian.tar.xz",
            "qemu_1.dsc",
            "qemu_1.orig.tar.xz",
        ];
        let archives = archives.map(|file| Archive {
            path: Path::new("/d").join(file),
            sha256: file.to_owned(),
        });
        let found = archive(&archives, "qemu_", ".orig.tar.xz").unwrap();
        assert_eq!(found.sha256, "qemu_1.orig.tar.xz");
        let error = archive(&archives, "linux_", ".deb")
            .unwrap_err()
            .to_string();
        assert!(error.contains("no linux_*.deb was fetched"), "{error}");
    }
}
