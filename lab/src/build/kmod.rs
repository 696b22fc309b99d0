// SPDX-License-Identifier: GPL-2.0
//! selftests/kmod: the kernel modules that tests load to make the kernel do things, built for each
//! kernel that a machine has.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::kernel::Kernel;
use crate::build::module;
use crate::build::toolchain;

/// Builds them, unless that is done.
pub fn build(lab: &Lab, kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let source = lab.at("selftests/kmod");
    let files = files::below(&source)?;
    let names: Vec<String> = files
        .iter()
        .filter(|f| f.extension().is_some_and(|x| x == "c"))
        .filter_map(|f| Some(format!("{}.ko", f.file_stem()?.to_str()?)))
        .collect();
    let name = module::named(lab, kernel, "kmod");
    let dir = lab.at("build").join(&name);
    let objects: Vec<PathBuf> = names.iter().map(|n| dir.join(n)).collect();
    let print = Fingerprint::new("kmod")
        .text("toolchain", &toolchain::c_versions(lab)?)
        .identity(&kernel.objects.join("Module.symvers"))?
        .identity(&kernel.image())?
        .tree(&source)?
        .finish();
    let outputs: Vec<_> = objects.iter().map(PathBuf::as_path).collect();
    if stamp::fresh(lab, &name, &print, &outputs) {
        return Ok(objects);
    }
    stamp::forget(lab, &name)?;
    let mut step = Step::begin(lab, &name, "building the tests' kernel modules")?
        .next("mend what the log shows, then run the same command again");
    crate::base::files::remove(&dir)?;
    for file in &files {
        let to = dir.join(file.strip_prefix(&source)?);
        fs::create_dir_all(to.parent().unwrap_or(&dir))?;
        fs::copy(file, to)?;
    }
    step.run(&mut module::make_command(lab, kernel, &dir)?)?;
    stamp::record(lab, &name, &print)?;
    step.done();
    Ok(objects)
}
