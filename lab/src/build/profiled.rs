// SPDX-License-Identifier: GPL-2.0
//! What gcov counts in the coverage kernel, and which lines of it are the patches' own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::build::series;

/// Numbers of lines, by the path of their file in the tree.
pub type Lines = BTreeMap<String, BTreeSet<u32>>;

/// make's variables that have clang count in the files that these patches touch.
pub fn variables(patches: &[PathBuf]) -> Result<Vec<String>> {
    let touched = series::touched_by(patches)?;
    Ok(touched.iter().filter_map(|file| variable(file)).collect())
}

/// An object is called by its path from the makefile that has it: those of virt/kvm and of the
/// directories below arch/x86/kvm are in the latter's.
fn variable(file: &str) -> Option<String> {
    let stem = file.strip_suffix(".c").filter(|f| kernel_has(f))?;
    let object = match (
        stem.strip_prefix("arch/x86/kvm/"),
        stem.strip_prefix("virt/kvm/"),
    ) {
        (Some(below), _) => below.to_owned(),
        (_, Some(name)) => format!("../../../virt/kvm/{name}"),
        _ => stem.rsplit('/').next().unwrap_or(stem).to_owned(),
    };
    Some(format!("GCOV_PROFILE_{object}.o=y"))
}

/// Whether a file is compiled into the kernel: neither its documentation nor its selftests are.
fn kernel_has(file: &str) -> bool {
    !file.starts_with("tools/") && !file.starts_with("Documentation/")
}

/// The lines of C that these patches have added or changed: `tree` has them, `pristine` has not.
pub fn added(pristine: &Path, tree: &Path, patches: &[PathBuf]) -> Result<Lines> {
    let mut all = Lines::new();
    for file in series::touched_by(patches)? {
        if !kernel_has(&file) || !(file.ends_with(".c") || file.ends_with(".h")) {
            continue;
        }
        let before = Some(pristine.join(&file)).filter(|f| f.exists());
        let mut diff = Command::new("git");
        diff.args(["diff", "--no-index", "--no-color", "--unified=0", "--"])
            .arg(before.as_deref().unwrap_or(Path::new("/dev/null")))
            .arg(tree.join(&file));
        let output = diff.output().context("starting git")?;
        // 1 says that they differ.
        if !matches!(output.status.code(), Some(0 | 1)) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::new(format!("comparing {file} failed"))
                .details(said.lines().map(str::to_owned))
                .into());
        }
        let lines = hunks(&String::from_utf8_lossy(&output.stdout));
        if !lines.is_empty() {
            all.insert(file, lines);
        }
    }
    Ok(all)
}

/// The new lines of a diff without context: "@@ -3,2 +5,4 @@" has 5 to 8.
fn hunks(diff: &str) -> BTreeSet<u32> {
    let heads = diff.lines().filter_map(|line| line.strip_prefix("@@ "));
    let ranges = heads.filter_map(|head| {
        let new = head.split(' ').find_map(|word| word.strip_prefix('+'))?;
        let (first, count) = new.split_once(',').unwrap_or((new, "1"));
        let (first, count) = (first.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
        Some(first..first + count)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn objects_are_called_as_their_makefiles_call_them() {
        let of = |file| variable(file).unwrap_or_default();
        assert_eq!(of("arch/x86/kernel/fpu/core.c"), "GCOV_PROFILE_core.o=y");
        assert_eq!(of("arch/x86/kvm/x86.c"), "GCOV_PROFILE_x86.o=y");
        assert_eq!(of("arch/x86/kvm/vmx/vmx.c"), "GCOV_PROFILE_vmx/vmx.o=y");
        let main = "GCOV_PROFILE_../../../virt/kvm/kvm_main.o=y";
        assert_eq!(of("virt/kvm/kvm_main.c"), main);
        for none in [
            "arch/x86/kvm/xfd.h",
            "Documentation/virt/kvm/api.rst",
            "tools/testing/selftests/kvm/x86/xfd_test.c",
        ] {
            assert_eq!(variable(none), None);
        }
    }

    #[test]
    fn the_lines_of_patches_are_those_that_differ() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("old/a.c", "1\n2\n3\n4\n");
        write("new/a.c", "1\nx\ny\n3\n4\nz\n");
        write("new/b.h", "1\n2\n");
        write("new/tools/c.c", "1\n");
        let names = ["a.c", "b.h", "tools/c.c"];
        let patch: String = names
            .iter()
            .map(|f| format!("--- a/{f}\n+++ b/{f}\n"))
            .collect();
        write("x.patch", &patch);
        let at = |name| dir.path().join(name);
        let lines = added(&at("old"), &at("new"), &[at("x.patch")]).unwrap();
        let expected = [("a.c", vec![2, 3, 6]), ("b.h", vec![1, 2])];
        let expected = expected.map(|(f, l)| (f.to_owned(), l.into_iter().collect()));
        assert_eq!(lines, Lines::from(expected));
    }
}
