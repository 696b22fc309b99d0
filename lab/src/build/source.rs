// SPDX-License-Identifier: GPL-2.0
//! Unpacked sources, pristine: nobody writes into them once they have their name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files::remove;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::download::{self, Archive, Pin, Pins};

/// A source directory, and the archive that it came from.
#[derive(Clone, Debug)]
pub struct Source {
    pub dir: PathBuf,
    pub sha256: String,
    /// The Debian package and its version, or the user's own file.
    pub name: String,
    /// Whether it is what lab/config/sources.toml names.
    pub pinned: bool,
}

/// One of the two things whose source the lab needs.
struct Wanted {
    pin: Pin,
    /// Debian's suites, if a newer version of the package will do as well.
    suites: Vec<String>,
    /// The archive that the user gave, and the variable to give it with.
    own: Option<PathBuf>,
    variable: &'static str,
    /// What it is called, its directory, and a file that is in every archive of it.
    what: &'static str,
    dir: &'static str,
    witness: &'static str,
    /// What unpacking and building it takes, in GiB.
    space: u64,
}

impl Wanted {
    fn kernel(lab: &Lab) -> Result<Wanted> {
        let pins = Pins::read(lab)?;
        Ok(Wanted {
            pin: pins.kernel,
            suites: pins.suites,
            own: lab.choices.kernel_source.clone(),
            variable: "KERNEL_SOURCE",
            what: "the kernel source",
            dir: "build/linux/source",
            witness: "Makefile",
            space: 8,
        })
    }

    fn emulator(lab: &Lab) -> Result<Wanted> {
        Ok(Wanted {
            pin: Pins::read(lab)?.emulator,
            suites: Vec::new(),
            own: lab.choices.emulator_source.clone(),
            variable: "EMULATOR_SOURCE",
            what: "the emulator source",
            dir: "build/bochs/source",
            witness: "configure",
            space: 1,
        })
    }

    /// The user's own archive, or the one of the pin, or the one that was taken in its place; the
    /// last two are fetched if they must be there.
    fn archive(&self, lab: &Lab, fetched: bool) -> Result<(Source, Archive)> {
        let (archive, name) = match &self.own {
            Some(own) => self.own_archive(lab, own)?,
            None => {
                let pin = if fetched {
                    download::obtain(lab, &self.pin, &self.suites, self.variable)?
                } else {
                    self.pin.or_taken(lab)
                };
                (pin.archive(lab), pin.name())
            }
        };
        let source = Source {
            dir: lab.at(self.dir),
            sha256: archive.sha256.clone(),
            name,
            pinned: archive.sha256 == self.pin.sha256,
        };
        Ok((source, archive))
    }

    fn own_archive(&self, lab: &Lab, own: &Path) -> Result<(Archive, String)> {
        let path = lab.root.join(own);
        if !path.is_file() {
            let what = format!("there is no source archive {}", path.display());
            return Err(Failure::new(what)
                .next(format!(
                    "give {} a .deb or .tar file, or leave it out",
                    self.variable
                ))
                .into());
        }
        let sha256 = download::sha256_of(&path)?;
        if sha256 != self.pin.sha256 {
            download::say_once(format!(
                "lab: using {} (not the pinned archive, SHA-256 {sha256})",
                path.display()
            ));
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{file} SHA-256 {sha256}");
        Ok((Archive { path, sha256 }, name))
    }

    fn stamp_name(&self) -> String {
        self.dir.replace('/', "-")
    }

    fn print(source: &Source) -> String {
        let print = Fingerprint::new("unpack").text("sha256", &source.sha256);
        print.finish()
    }

    fn is_unpacked(&self, lab: &Lab, source: &Source) -> bool {
        let witness = source.dir.join(self.witness);
        stamp::fresh(lab, &self.stamp_name(), &Self::print(source), &[&witness])
    }

    fn unpacked(&self, lab: &Lab) -> Result<Source> {
        // An archive that has been unpacked need not be looked at again, nor be there.
        let (source, _) = self.archive(lab, false)?;
        if self.is_unpacked(lab, &source) {
            return Ok(source);
        }
        let (source, archive) = self.archive(lab, true)?;
        if self.is_unpacked(lab, &source) {
            return Ok(source);
        }
        let stamp_name = self.stamp_name();
        let what = self.what;
        lab.need_space(self.space, &format!("unpacking and building {what}"))?;
        stamp::forget(lab, &stamp_name)?;
        let mut step = Step::begin(lab, &stamp_name, &format!("unpacking {what}"))?.next(
            "check the disk and the archive named in the log, then run the same command again",
        );
        let new = source.dir.with_extension("new");
        remove(&new)?;
        fs::create_dir_all(&new)?;
        step.run(&mut tar(&archive.path, &new))?;
        if !new.join(self.witness).exists() {
            return Err(self.no_archive(&archive.path, &step).into());
        }
        remove_outdated(&lab.at(self.dir).with_file_name(""), &new)?;
        fs::rename(&new, &source.dir)?;
        stamp::record(lab, &stamp_name, &Self::print(&source))?;
        step.done();
        Ok(source)
    }

    fn no_archive(&self, path: &Path, step: &Step) -> Failure {
        Failure::new(format!(
            "{} is not an archive of {}: no {} in it",
            path.display(),
            self.what,
            self.witness
        ))
        .log(step.log_path())
        .next(format!(
            "give {} an archive of release {}, or leave it out to have that fetched",
            self.variable, self.pin.release
        ))
    }
}

/// What was made from another source than `new` is of no use, but for a tree that somebody works in.
pub fn remove_outdated(dir: &Path, new: &Path) -> Result<()> {
    for beside in fs::read_dir(dir)? {
        let beside = beside?;
        let name = beside.file_name();
        if !name.to_string_lossy().starts_with("tree") && beside.path() != new {
            remove(&beside.path())?;
        }
    }
    Ok(())
}

/// build/linux/source
pub fn kernel(lab: &Lab) -> Result<Source> {
    Wanted::kernel(lab)?.unpacked(lab)
}

/// build/bochs/source
pub fn emulator(lab: &Lab) -> Result<Source> {
    Wanted::emulator(lab)?.unpacked(lab)
}

/// What the kernels are built from: Debian's package and its version, or the file that the user gave
/// and its SHA-256.
pub fn kernel_name(lab: &Lab) -> Result<String> {
    Ok(Wanted::kernel(lab)?.archive(lab, false)?.0.name)
}

/// Fails when the user wants another kernel series (KERNEL=) than the one that patches/linux is for.
pub fn check_kernel(lab: &Lab) -> Result<()> {
    let known = Pins::read(lab)?.kernel.release;
    match &lab.choices.series {
        Some(other) if *other != known => Err(Failure::new(format!(
            "KERNEL={other}: there is no host series for it; known: {known}"
        ))
        .next(
            "leave KERNEL= out; `make fits KERNEL_SOURCE=FILE` says what of the series another kernel \
             takes, and Documentation/host-series.rst what is in the way",
        )
        .into()),
        _ => Ok(()),
    }
}

/// Fetches both archives and unpacks nothing.
pub fn fetch(lab: &Lab) -> Result<()> {
    for wanted in [Wanted::kernel(lab)?, Wanted::emulator(lab)?] {
        let (_, archive) = wanted.archive(lab, true)?;
        eprintln!("lab: {} is there", archive.path.display());
    }
    Ok(())
}

/// Puts these files of a kernel into `to`, those that it has: of the user's own archive or tree, or of
/// what [`kernel`] would unpack. Returns the name of the source.
pub fn kernel_files(lab: &Lab, files: &BTreeSet<String>, to: &Path) -> Result<String> {
    let wanted = Wanted::kernel(lab)?;
    let mut step = Step::begin(lab, "files", "reading the files that the series touches")?;
    let files = files.iter().map(String::as_str).chain([wanted.witness]);
    let own_tree = wanted.own.as_ref().map(|own| lab.root.join(own));
    let (name, path) = if let Some(tree) = own_tree.filter(|own| own.is_dir()) {
        copy_files(&tree, files, to)?;
        (tree.display().to_string(), tree)
    } else {
        let (source, _) = wanted.archive(lab, false)?;
        if wanted.is_unpacked(lab, &source) {
            copy_files(&source.dir, files, to)?;
            (source.name, source.dir)
        } else {
            let (source, archive) = wanted.archive(lab, true)?;
            let mut command = tar(&archive.path, to);
            command.args(["--wildcards", "--no-wildcards-match-slash"]);
            command.args(files.map(|f| format!("*/{f}")));
            let whole = step.status(&mut command)?;
            let log = fs::read_to_string(step.log_path())?;
            let wrong: Vec<&str> = complaints(&log).collect();
            if !whole && !wrong.is_empty() {
                let what = format!("{} cannot be read", archive.path.display());
                return Err(Failure::new(what)
                    .details(wrong)
                    .log(step.log_path())
                    .next("give KERNEL_SOURCE a .deb, a .tar file or a kernel tree")
                    .into());
            }
            (source.name, archive.path)
        }
    };
    if !to.join(wanted.witness).exists() {
        return Err(wanted.no_archive(&path, &step).into());
    }
    step.done();
    Ok(name)
}

fn copy_files<'a>(tree: &Path, files: impl Iterator<Item = &'a str>, to: &Path) -> Result<()> {
    for file in files.filter(|f| tree.join(f).is_file()) {
        let to = to.join(file);
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::copy(tree.join(file), to)?;
    }
    Ok(())
}

/// What tar and its like say, but that an archive has not all that was asked for.
fn complaints(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| {
        !line.starts_with("$ ")
            && !line.ends_with(": Not found in archive")
            && !line.ends_with("Exiting with failure status due to previous errors")
    })
}

/// Unpacks a tar archive, or the one inside a Debian linux-source package, without its top directory;
/// arguments that follow name what is wanted of it.
pub fn tar(archive: &Path, to: &Path) -> Command {
    let script = if archive.extension().is_some_and(|x| x == "deb") {
        "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './usr/src/*.tar.xz' | xz -dc -T0 \
         | tar -x --strip-components=1 -C \"${@:2}\""
    } else {
        "tar -xf \"$1\" --strip-components=1 -C \"${@:2}\""
    };
    let mut command = Command::new("bash");
    command
        .env("LC_ALL", "C")
        .args(["-c", &format!("set -o pipefail; {script}"), "unpack"])
        .arg(archive)
        .arg(to);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choices::Choices;

    #[test]
    fn a_file_that_is_absent_is_no_broken_archive() {
        let absent = "$ bash x\ntar: */a.c: Not found in archive\n\
                      tar: Exiting with failure status due to previous errors\n";
        assert_eq!(complaints(absent).count(), 0);
        let half = format!("{absent}xz: (stdin): Unexpected end of input\n");
        assert_eq!(complaints(&half).count(), 1);
    }

    #[test]
    fn files_come_from_a_tree_or_an_archive() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        for file in [
            "linux-1/Makefile",
            "linux-1/d/a.c",
            "linux-1/tools/d/a.c",
            "linux-1/b.c",
        ] {
            fs::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs::write(at(file), "").unwrap();
        }
        fs::create_dir_all(at("lab/config")).unwrap();
        fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("config/sources.toml"),
            at("lab/config/sources.toml"),
        )
        .unwrap();
        let mut command = Command::new("tar");
        command
            .arg("-czf")
            .arg(at("x.tar.gz"))
            .arg("-C")
            .arg(dir.path())
            .arg("linux-1");
        assert!(command.status().unwrap().success());
        let wanted = BTreeSet::from(["d/a.c".to_owned(), "not-there.c".to_owned()]);
        let read = |source: &str| {
            let choices = Choices {
                kernel_source: Some(source.into()),
                ..Choices::default()
            };
            let lab = Lab::at_root(dir.path(), choices).unwrap();
            let to = tempfile::tempdir().unwrap();
            let name = kernel_files(&lab, &wanted, to.path())?;
            let found = crate::base::files::below(to.path())?.len();
            Ok::<_, anyhow::Error>((name, found, to.path().join("d/a.c").exists()))
        };
        let (name, found, a) = read("linux-1").unwrap();
        assert!(name.ends_with("/linux-1") && found == 2 && a);
        let (name, found, a) = read("x.tar.gz").unwrap();
        assert!(
            name.starts_with("x.tar.gz SHA-256 ") && found == 2 && a,
            "{found}"
        );
        // No kernel at all, and half an archive.
        fs::write(at("half.tar.gz"), &fs::read(at("x.tar.gz")).unwrap()[..90]).unwrap();
        assert!(read("half.tar.gz").is_err());
        let error = read("lab").unwrap_err().to_string();
        assert!(error.contains("no Makefile in it"), "{error}");
        let error = read("nothing").unwrap_err().to_string();
        assert!(error.contains("there is no source archive"), "{error}");
    }

    #[test]
    fn an_unknown_kernel_series_lists_the_known() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let check = |series: Option<&str>| {
            let choices = Choices {
                series: series.map(str::to_owned),
                ..Choices::default()
            };
            check_kernel(&Lab::at_root(&root, choices).unwrap())
        };
        check(None).unwrap();
        check(Some("7.3")).unwrap();
        let error = check(Some("6.1")).unwrap_err().to_string();
        assert!(
            error.contains("KERNEL=6.1") && error.contains("known: 7.3"),
            "{error}"
        );
    }
}
