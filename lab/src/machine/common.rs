// SPDX-License-Identifier: GPL-2.0
//! What all machines with the same kernel, module and programs have in common: busybox, init and
//! those. It is packed once and kept in build/initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::Fingerprint;
use crate::base::step::ask;
use crate::machine::initramfs::Tree;
use crate::machine::{newest, Machine};

/// The packed archive; made in `dir` if there is none of the same files.
pub fn common(lab: &Lab, machine: &Machine, dir: &Path) -> Result<Vec<u8>> {
    let guest = lab.at("lab/guest");
    let modules = machine.kernel.modules()?.into_iter();
    let modules: Vec<PathBuf> = modules.filter(|m| m.exists()).collect();
    let mut print = Fingerprint::new("initramfs")
        .text("release", &machine.kernel.release()?)
        .tree(&guest)?;
    let large = modules.iter().chain(&machine.module);
    for file in large.chain(&machine.programs) {
        print = print.identity(file)?;
    }
    let kept = lab.at("build/initramfs");
    let path = kept.join(format!("{}.cpio.gz", &print.finish()[..16]));
    if let Ok(packed) = fs::read(&path) {
        return Ok(packed);
    }
    let packed = gathered(machine, &modules, &guest, dir)?.pack()?;
    files::write_atomic(&path, &packed)?;
    newest::keep(8, &kept, "")?;
    Ok(packed)
}

fn gathered(machine: &Machine, modules: &[PathBuf], guest: &Path, dir: &Path) -> Result<Tree> {
    let tree = Tree::new(dir, "common")?;
    for empty in ["proc", "sys", "dev", "tmp", "add", "tests"] {
        tree.directory(empty)?;
    }
    tree.add("init", &guest.join("init.sh"))?;
    tree.executable("init")?;
    tree.add("etc/lab.sh", &guest.join("lab.sh"))?;
    // For whoami, which a test of the kernel tree asks.
    tree.text("etc/passwd", "root:x:0:0::/:/bin/sh\n")?;
    busybox(&tree)?;
    let release = machine.kernel.release()?;
    let mut order = String::new();
    for module in modules {
        let name = file_name(module);
        tree.add(&format!("lib/modules/{release}/{name}"), module)?;
        // Tests do not want to know the release.
        tree.link(&format!("lib/modules/{name}"), &format!("{release}/{name}"))?;
        order += &format!("{name}\n");
    }
    tree.text(&format!("lib/modules/{release}/modules.order"), &order)?;
    tree.depmod(&release)?;
    // Ours is not modprobe's: the lab loads it, with a strategy.
    if let Some(module) = &machine.module {
        let name = file_name(module);
        tree.add(&format!("lib/modules/{name}"), module)?;
        tree.text("lib/modules/own", &format!("{name}\n"))?;
    }
    for program in &machine.programs {
        let name = file_name(program);
        // KVM selftests open themselves by the name they were called by: from where commands
        // run, that name must do. An added file of the same name comes later and wins.
        tree.link(&format!("add/{name}"), &format!("/tests/{name}"))?;
        let path = format!("tests/{name}");
        // Half of what the BIOS has to read is symbols.
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(tree.at(&path)?).arg(program);
        if !strip
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
        {
            tree.add(&path, program)?;
        }
        tree.executable(&path)?;
    }
    Ok(tree)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The static busybox of Debian's busybox-static, with a link for each of its applets.
fn busybox(tree: &Tree) -> Result<()> {
    let install = "run `make SETUP=yes` or install Debian's busybox-static";
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let Some(place) = places.into_iter().find(|p| p.exists()) else {
        return Err(Failure::new("busybox is missing").next(install).into());
    };
    tree.add("bin/busybox", place)?;
    let applets = ask(Command::new(place).arg("--list")).unwrap_or_default();
    for wanted in ["insmod", "modprobe"] {
        if !applets.lines().any(|a| a == wanted) {
            return Err(Failure::new(format!("{} has no {wanted}", place.display()))
                .next(install)
                .into());
        }
    }
    for applet in applets
        .lines()
        .filter(|a| *a != "busybox" && !a.contains('/'))
    {
        tree.link(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(())
}
