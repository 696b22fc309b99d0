// SPDX-License-Identifier: GPL-2.0
//! The patched kernel and the module as Debian packages: linux-image and linux-headers by the kernel's
//! own bindeb-pkg, from a distribution's configuration, and xfd-switch-dkms, which DKMS builds the
//! module from.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::step::{ask, Step};
use crate::build::kernel::{self, Kernel};
use crate::build::module;
use crate::build::toolchain;
use crate::build::version::{commits, of_package, version};

/// What is filled in, and becomes files of xfd-switch-dkms.
const PACKAGING: &str = "packaging";

/// The documents that who has installed the module wants, of those in [`DOCUMENTATION`].
const DOCUMENTS: [&str; 3] = ["module.rst", "observing.rst", "packages.rst"];

const DOCUMENTATION: &str = "Documentation";

/// The Debian release that the packages are for: they are built with its rustc and its bindgen, and
/// DKMS wants the same ones.
const RELEASE: &str = "trixie";

/// Where the packages are put.
const OUTPUT: &str = "build/deb";

/// The configuration that the kernel's begins with.
pub enum Config {
    /// Of the lab's own kernels: built in minutes, but it drives hardly any hardware.
    Lab,
    /// A distribution's.
    Text { text: String, from: PathBuf },
}

/// What asks for [`Config::Lab`].
const LAB: &str = "lab";

impl Config {
    /// The file that the user gave, or the running kernel's.
    pub fn find(own: Option<&Path>) -> Result<Config> {
        if own == Some(Path::new(LAB)) {
            return Ok(Config::Lab);
        }
        let release = ask(Command::new("uname").arg("-r")).unwrap_or_default();
        let boot = PathBuf::from(format!("/boot/config-{}", release.trim()));
        let places = [boot, PathBuf::from("/proc/config.gz")];
        let from = match own {
            Some(own) => Some(own.to_owned()),
            None => places.iter().find(|place| place.exists()).cloned(),
        };
        let Some(from) = from else {
            return Err(Failure::new(
                "there is no configuration of the running kernel to begin with",
            )
            .details(places.map(|place| format!("no {}", place.display())))
            .next("give CONFIG= the .config of the kernel that it shall be like")
            .into());
        };
        let text = read(&from)?;
        if !text.lines().any(|line| line == "CONFIG_X86_64=y") {
            let what = format!("{} is no configuration of an x86-64 kernel", from.display());
            return Err(Failure::new(what)
                .next("give CONFIG= the .config of the kernel that it shall be like")
                .into());
        }
        Ok(Config::Text { text, from })
    }

    fn text(&self) -> Option<&str> {
        match self {
            Config::Lab => None,
            Config::Text { text, .. } => Some(text),
        }
    }

    /// Where it is from, in words.
    fn from(&self) -> String {
        match self {
            Config::Lab => "the lab's own".to_owned(),
            Config::Text { from, .. } => from.display().to_string(),
        }
    }
}

/// The text of a file that may have been compressed.
fn read(path: &Path) -> Result<String> {
    if path.extension().is_none_or(|x| x != "gz") {
        return files::text(path);
    }
    let text = ask(Command::new("gzip").arg("-dc").arg(path));
    text.with_context(|| format!("gzip cannot read {}", path.display()))
}

/// Fails on any system but [`RELEASE`]: what is built there apt could not install, or DKMS not use.
pub fn only_where_they_fit() -> Result<()> {
    fits(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

/// The same for what os-release says.
fn fits(os_release: &str) -> Result<()> {
    if value(os_release, "VERSION_CODENAME") == Some(RELEASE) {
        return Ok(());
    }
    let this = value(os_release, "PRETTY_NAME").unwrap_or("a system that does not say its name");
    Err(Failure::new(format!(
        "the packages are for Debian 13 ({RELEASE}) and are built there, and this is {this}"
    ))
    .details(["DKMS builds the module with the rustc and the bindgen that have built the kernel"])
    .next(
        "run it on Debian 13; or, as root, `make check-deb KEEP=yes CONFIG=FILE`: it makes one in a \
         directory, and leaves the packages in build/check-deb/root/root/xfd_switch/build/deb",
    )
    .into())
}

/// What a file like os-release sets a variable to.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']))
}

/// Makes all three packages.
pub fn build(lab: &Lab, config: &Config) -> Result<Vec<PathBuf>> {
    toolchain::bindgen(lab)?;
    let output = lab.at(OUTPUT);
    fs::create_dir_all(&output)?;
    for old in packages(&output)? {
        files::remove(&old)?;
    }
    let version = of_package(&version(lab), commits(lab));
    build_module(lab, &version, &output)?;
    build_kernel(lab, config, &version, &output)?;
    packages(&output)
}

/// The packages in a directory.
fn packages(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|x| x == "deb") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// linux-image and linux-headers.
fn build_kernel(lab: &Lab, config: &Config, version: &str, output: &Path) -> Result<()> {
    lab.need_space(12, "building the kernel's packages")?;
    // bindeb-pkg puts what it makes beside the objects.
    let work = output.join("work");
    let kernel = Kernel {
        source: kernel::packaged_tree(lab)?,
        objects: work.join("linux"),
    };
    fs::create_dir_all(&kernel.objects)?;
    for old in packages(&work)? {
        files::remove(&old)?;
    }
    let what = format!(
        "building the kernel's packages, configuration: {}",
        config.from()
    );
    let mut step = Step::begin(lab, "deb-kernel", &what)?.next(
        "mend what the log shows (CONFIG= names another configuration), then run the same command again",
    );
    kernel::configure_packaged(lab, &kernel, &mut step, config.text())?;
    let mut numbers = kernel::make_command(lab, &kernel)?;
    let numbers =
        ask(numbers.args(["-s", "kernelversion"])).context("make kernelversion failed")?;
    let mut make = kernel::make_command(lab, &kernel)?;
    make.arg("bindeb-pkg")
        .arg(format!("KDEB_PKGVERSION={}-{version}", numbers.trim()))
        .env("DEBFULLNAME", "xfd_switch developers")
        .env("DEBEMAIL", "xfd-switch@localhost");
    step.run(&mut make)?;
    for package in packages(&work)? {
        let name = package.file_name().unwrap_or_default();
        // The system's own stays: nothing in it is ours.
        if !name.to_string_lossy().starts_with("linux-libc-dev_") {
            fs::rename(&package, output.join(name))?;
        }
    }
    step.done();
    Ok(())
}

/// xfd-switch-dkms, of a version, put into a directory; its path.
pub fn build_module(lab: &Lab, version: &str, output: &Path) -> Result<PathBuf> {
    let mut step = Step::begin(lab, "deb-module", "making the module's package")?;
    let root = output.join("work/xfd-switch-dkms");
    files::remove(&root)?;
    let source = format!("usr/src/xfd_switch-{version}");
    fs::create_dir_all(root.join(&source))?;
    module::stage(lab, &root.join(&source))?;
    let mut conffiles = String::new();
    for (from, to, mode) in [
        ("dkms.conf", format!("{source}/dkms.conf").as_str(), 0o644),
        (
            "same-rustc.sh",
            &format!("{source}/packaging/same-rustc.sh"),
            0o755,
        ),
        ("modprobe.conf", "etc/modprobe.d/xfd_switch.conf", 0o644),
        (
            "modules-load.conf",
            "etc/modules-load.d/xfd_switch.conf",
            0o644,
        ),
        (
            "copyright",
            "usr/share/doc/xfd-switch-dkms/copyright",
            0o644,
        ),
        ("control", "DEBIAN/control", 0o644),
        ("postinst", "DEBIAN/postinst", 0o755),
        ("prerm", "DEBIAN/prerm", 0o755),
    ] {
        let text = files::text(&lab.at(PACKAGING).join(from))?;
        write(&root.join(to), &filled_in(&text, version), mode)?;
        if to.starts_with("etc/") {
            conffiles += &format!("/{to}\n");
        }
    }
    write(&root.join("DEBIAN/conffiles"), &conffiles, 0o644)?;
    let documentation = lab.at(DOCUMENTATION);
    for name in DOCUMENTS {
        let text = files::text(&documentation.join(name))?;
        let to = root.join("usr/share/doc/xfd-switch-dkms").join(name);
        write(&to, &with_what_it_shows(&text, &documentation)?, 0o644)?;
    }
    let mut pack = Command::new("dpkg-deb");
    let package = output.join(format!("xfd-switch-dkms_{version}_all.deb"));
    pack.args(["--root-owner-group", "--build"]);
    step.run(pack.args([&root, &package]))?;
    step.done();
    Ok(package)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// A document of `dir` with the files in it that it has Sphinx include: they are not in the package.
fn with_what_it_shows(text: &str, dir: &Path) -> Result<String> {
    let mut whole = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(file) = line.strip_prefix(".. literalinclude:: ") else {
            whole += &format!("{line}\n");
            continue;
        };
        let file = files::text(&dir.join(file))?;
        let mut shown: Vec<&str> = file.lines().collect();
        while let Some(option) = lines.next_if(|line| line.starts_with("   :")) {
            if let Some(mark) = option.trim().strip_prefix(":start-after: ") {
                let at = shown.iter().position(|line| line.contains(mark));
                shown.drain(..at.map_or(0, |at| at + 1));
            }
        }
        whole += "::\n\n";
        for line in shown {
            whole += format!("    {line}").trim_end();
            whole.push('\n');
        }
    }
    Ok(whole)
}

/// A file of [`PACKAGING`] with what only the lab knows.
fn filled_in(text: &str, version: &str) -> String {
    text.replace("@VERSION@", version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_one_of_x86_64_and_may_be_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("config"), "CONFIG_X86_64=y\nCONFIG_A=m\n").unwrap();
        let text = |name: &str| {
            let found = Config::find(Some(&at(name))).unwrap();
            found.text().unwrap().to_owned()
        };
        assert_eq!(text("config"), "CONFIG_X86_64=y\nCONFIG_A=m\n");
        assert!(Command::new("gzip")
            .arg(at("config"))
            .status()
            .unwrap()
            .success());
        assert_eq!(text("config.gz"), "CONFIG_X86_64=y\nCONFIG_A=m");
        let lab = Config::find(Some(Path::new(LAB))).unwrap();
        assert!(lab.text().is_none());
        fs::write(at("other"), "CONFIG_ARM64=y\n").unwrap();
        let why = |name: &str| Config::find(Some(&at(name))).err().unwrap().to_string();
        assert!(why("other").contains("no configuration of an x86-64 kernel"));
        assert!(why("none").contains("none"));
    }

    #[test]
    fn packages_are_built_on_one_release_alone() {
        let why = |text: &str| fits(text).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(why("ID=debian\nVERSION_CODENAME=trixie\n"), "");
        assert_eq!(why("VERSION_CODENAME=\"trixie\"\nID=debian"), "");
        let older = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\n";
        assert!(why(older).contains("this is Debian GNU/Linux 12 (bookworm)"));
        assert!(why("PRETTY_NAME='A'\nOLD_VERSION_CODENAME=trixie\n").contains("this is A\n"));
        assert!(why("").contains("does not say its name"));
        let check = include_str!("../../check-deb.sh");
        assert!(check.contains(&format!("\nrelease={RELEASE}\n")));
    }

    #[test]
    fn a_document_has_in_it_what_it_shows() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.sh"), "#!/bin/sh\n# [\ncd x\n\n\tls\n").unwrap();
        fs::write(dir.path().join("a.txt"), "y\n").unwrap();
        let text = "A\n\n.. literalinclude:: a.sh\n   :language: sh\n   :start-after: # [\n\nB\n\n\
            .. literalinclude:: a.txt\n   :language: none\n";
        let whole = "A\n\n::\n\n    cd x\n\n    \tls\n\nB\n\n::\n\n    y\n";
        assert_eq!(with_what_it_shows(text, dir.path()).unwrap(), whole);
        assert!(with_what_it_shows(".. literalinclude:: b", dir.path()).is_err());
    }
}
