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
}
