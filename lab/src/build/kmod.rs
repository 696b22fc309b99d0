// SPDX-License-Identifier: GPL-2.0
//! selftests/kmod: the kernel modules that tests load to make the kernel do things, built for each
//! kernel that a machine has.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::kernel::Kernel;
use crate::build::module;
use crate::build::toolchain;

const SOURCE: &str = "selftests/kmod";

/// Builds them, unless that is done.
pub fn build(lab: &Lab, kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let name = module::named(lab, kernel, "kmod");
    let dir = lab.at("build").join(&name);
    let objects = objects(lab, &dir)?;
    let print = Fingerprint::new("kmod")
        .text("toolchain", &toolchain::c_versions(lab)?)
        .identity(&kernel.objects.join("Module.symvers"))?
        .identity(&kernel.image())?
        .tree(&lab.at(SOURCE))?
        .finish();
    let outputs: Vec<_> = objects.iter().map(PathBuf::as_path).collect();
    if stamp::fresh(lab, &name, &print, &outputs) {
        return Ok(objects);
    }
    stamp::forget(lab, &name)?;
    let mut step = Step::begin(lab, &name, "building the tests' kernel modules")?
        .next("mend what the log shows, then run the same command again");
    stage(lab, &dir)?;
    step.run(&mut module::make_command(lab, kernel, &dir)?)?;
    stamp::record(lab, &name, &print)?;
    step.done();
    Ok(objects)
}

/// Builds them against the user's own kernel (KDIR=).
pub fn build_for(lab: &Lab, kdir: &Path) -> Result<Vec<PathBuf>> {
    let kdir = module::prepared(kdir)?;
    let dir = lab.at("build/kmod-kdir");
    let what = format!("building the tests' kernel modules for {}", kdir.display());
    let mut step = Step::begin(lab, "kmod-kdir", &what)?.next("mend what the log shows");
    stage(lab, &dir)?;
    step.run(&mut module::make_command_for(lab, &kdir, &dir))?;
    step.done();
    objects(lab, &dir)
}

/// What is built of them in `dir`.
fn objects(lab: &Lab, dir: &Path) -> Result<Vec<PathBuf>> {
    let files = files::below(&lab.at(SOURCE))?;
    let sources = files
        .iter()
        .filter(|f| f.extension().is_some_and(|x| x == "c"));
    let names = sources.filter_map(|f| Some(format!("{}.ko", f.file_stem()?.to_str()?)));
    Ok(names.map(|name| dir.join(name)).collect())
}

/// Copies their sources, and nothing else is in `dir` then.
fn stage(lab: &Lab, dir: &Path) -> Result<()> {
    files::remove(dir)?;
    files::copy_below(&lab.at(SOURCE), dir)
}
