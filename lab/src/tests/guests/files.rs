// SPDX-License-Identifier: GPL-2.0
//! What a machine gets for its guests, below /add/guest: QEMU, the guest's kernel and initramfs, and
//! the scripts' library; and below /add/vmm our own QEMU, and its guest.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::kernel::{self, Kind};
use crate::build::{qemu, selftests, vmm};
use crate::machine::Tree;

/// The directory, made anew if something in it is another than it was, and its fingerprint.
pub fn build(lab: &Lab) -> Result<(PathBuf, String)> {
    let output = lab.at("build/guests/guest");
    let qemu = qemu::build(lab)?;
    let kernel = kernel::build(lab, Kind::Stock)?.image();
    let workload = selftests::build(lab)?.join("guest/workload");
    let scripts = ["qemu.sh", "bench.sh"].map(|name| lab.at("selftests/guest").join(name));
    let print = Fingerprint::new("guest").tree(&qemu)?.file(&kernel)?;
    let print = scripts
        .iter()
        .try_fold(print.file(&workload)?, |print, script| print.file(script))?
        .finish();
    if stamp::fresh(lab, "guest", &print, &[&output]) {
        return Ok((output, print));
    }
    stamp::forget(lab, "guest")?;
    let mut step = Step::begin(lab, "guest", "making the guest")?;
    files::remove(&output)?;
    files::copy_below(&qemu, &output.join("qemu"))?;
    fs::copy(&kernel, output.join("bzImage"))?;
    for script in &scripts {
        fs::copy(script, output.join(script.file_name().unwrap_or_default()))?;
    }
    let program = output.join("workload");
    step.run(Command::new("strip").arg("-o").arg(&program).arg(&workload))?;
    // The second has the first in it, and the kernel, to start that with kexec.
    for initrd in ["initrd", "initrd-kexec"] {
        let tree = Tree::new(lab.at("build/guests").as_path(), initrd)?;
        tree.add("init", &program)?;
        tree.executable("init")?;
        tree.directory("proc")?;
        tree.directory("dev")?;
        if initrd != "initrd" {
            tree.add("bzImage", &kernel)?;
            tree.add("initrd", &output.join("initrd"))?;
        }
        fs::write(output.join(initrd), tree.pack()?)?;
    }
    stamp::record(lab, "guest", &print)?;
    step.done();
    Ok((output, print))
}

/// What there is below /add/vmm for scenarios with the QEMU of patches/qemu, made anew each time, and its
/// fingerprint.
pub fn vmm(lab: &Lab) -> Result<(PathBuf, String)> {
    let output = lab.at("build/guests/vmm");
    let (qemu, guest) = (
        vmm::build(lab)?,
        selftests::build(lab)?.join("guest/dormant"),
    );
    files::remove(&output)?;
    fs::create_dir_all(&output)?;
    fs::copy(&qemu, output.join("qemu"))?;
    fs::copy(&guest, output.join("dormant"))?;
    let print = Fingerprint::new("vmm").tree(&output)?.finish();
    Ok((output, print))
}
