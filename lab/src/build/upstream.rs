// SPDX-License-Identifier: GPL-2.0
//! The kernel tree's own x86 KVM selftests, all of them and unmodified.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::base::{
    failure::Failure,
    files,
    layout::Lab,
    stamp::{self, Fingerprint},
    step::{ask, Step},
};
use crate::build::source;

/// Where their names are.
const LIST: &str = "list";

/// Builds them with the tree's own makefile, static, from the pristine source, and returns the
/// directory that holds them.
pub fn build(lab: &Lab) -> Result<PathBuf> {
    let output = lab.at("build/upstream/programs");
    let pristine = source::kernel(lab)?;
    let print = Fingerprint::new("upstream-programs")
        .text("source", &pristine.sha256)
        .text(
            "compiler",
            &ask(Command::new("gcc").arg("--version")).unwrap_or_default(),
        )
        .finish();
    if stamp::fresh(lab, "upstream-programs", &print, &[&output]) {
        return Ok(output);
    }
    stamp::forget(lab, "upstream-programs")?;
    let mut step = Step::begin(lab, "upstream-programs", "building upstream's selftests")?;
    let objects = lab.at("build/upstream/objects");
    let headers = lab.at("build/upstream/headers");
    let scratch = lab.at("build/upstream/headers-objects");
    for dir in [&objects, &headers, &scratch] {
        fs::create_dir_all(dir)?;
    }
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(&pristine.dir)
        .args(["-s", "ARCH=x86_64"])
        .arg(format!("O={}", scratch.display()))
        .arg(format!("INSTALL_HDR_PATH={}", headers.display()))
        .arg("headers_install");
    step.run(clean(lab, &mut make))?;
    step.run(own_make(lab, &pristine.dir, &objects, &headers).arg("all"))?;
    // Its own list of what the tests are, by name; `all` builds a few programs more.
    let mut emit = own_make(lab, &pristine.dir, &objects, &headers);
    let emitted = ask(emit.args(["-s", "COLLECTION=kvm", "emit_tests"]));
    let names = tests(&emitted.unwrap_or_default());
    if names.len() < 50 {
        return Err(
            Failure::new("the kernel tree's list of KVM selftests could not be read")
                .log(step.log_path())
                .next("run its makefile's target emit_tests by hand")
                .into(),
        );
    }
    files::remove(&output)?;
    fs::create_dir_all(&output)?;
    let kvm = pristine.dir.join("tools/testing/selftests/kvm");
    for dir in [&objects, &kvm] {
        for file in executables(dir, &objects)? {
            fs::copy(&file, output.join(file.file_name().unwrap_or_default()))?;
        }
    }
    let missing: Vec<&String> = names.iter().filter(|n| !output.join(n).exists()).collect();
    if !missing.is_empty() {
        return Err(Failure::new(format!("not built: {missing:?}"))
            .log(step.log_path())
            .next("mend what the log shows, then run the same command again")
            .into());
    }
    fs::write(output.join(LIST), names.join("\n") + "\n")?;
    stamp::record(lab, "upstream-programs", &print)?;
    step.done();
    Ok(output)
}

/// The names of the tests in that directory.
pub fn names(programs: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(programs.join(LIST))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Upstream's makefile, with its output outside of the source.
fn own_make(lab: &Lab, source: &Path, objects: &Path, headers: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(source.join("tools/testing/selftests/kvm"))
        .args(["ARCH=x86", "CC=gcc", "LDFLAGS=-static -pthread"])
        .arg(format!("OUTPUT={}", objects.display()))
        .arg(format!("TMPOUT={}/.tmp", objects.display()))
        .arg(format!("INSTALL_HDR_PATH={}", headers.display()))
        .arg(format!(
            "KHDR_INCLUDES=-isystem {}/include",
            headers.display()
        ));
    clean(lab, &mut make);
    make
}

fn clean<'a>(lab: &Lab, command: &'a mut Command) -> &'a mut Command {
    for inherited in ["OUTPUT", "KDIR"] {
        command.env_remove(inherited);
    }
    lab.jobs.share(command);
    command.env("LC_ALL", "C")
}

/// The names in what emit_tests prints: "kvm:amx_test".
fn tests(emitted: &str) -> Vec<String> {
    emitted
        .lines()
        .filter_map(|l| l.strip_prefix("kvm:"))
        .map(str::to_owned)
        .collect()
}

/// What can be run below `dir`: programs in `objects`, scripts elsewhere.
fn executables(dir: &Path, objects: &Path) -> Result<Vec<PathBuf>> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = Vec::new();
    for file in files::below(dir)? {
        let runs = fs::metadata(&file)?.permissions().mode() & 0o111 != 0;
        let script = file.extension().is_some_and(|x| x == "sh");
        if runs && script != (dir == objects) {
            found.push(file);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tree_s_list_is_read() {
        let emitted = "make: Entering\nkvm:amx_test\nkvm:nx_huge_pages_test.sh\n";
        assert_eq!(tests(emitted), ["amx_test", "nx_huge_pages_test.sh"]);
    }
}
