// SPDX-License-Identifier: GPL-2.0
//! `lab fits`: whether a kernel source takes the patches of each kernel. Nothing is built, and only the
//! files that they touch are unpacked.

use std::fs;

use anyhow::Result;

use crate::base::layout::Lab;
use crate::build::kernel::{self, Kind};
use crate::build::series::{self, Applies};
use crate::build::source;

/// Returns whether every patch applies.
pub fn run(lab: &Lab) -> Result<bool> {
    lab.lock()?;
    let (mut fit, mut all) = (0, 0);
    for dirs in [&kernel::PACKAGED[..], Kind::Minimal.series()] {
        let patches = kernel::patches_in(lab, dirs)?;
        let dir = tempfile::tempdir_in(lab.build())?;
        let name = source::kernel_files(lab, &series::touched_by(&patches)?, dir.path())?;
        let makefile = fs::read_to_string(dir.path().join("Makefile"))?;
        let of = dirs.join(" and ");
        println!("{of} on {name}{}", version(&makefile));
        for patch in &patches {
            let applies = series::apply(patch, dir.path())?;
            println!("{}: {}", lab.shown(patch), words(&applies));
            fit += usize::from(!matches!(applies, Applies::Fails(_)));
        }
        all += patches.len();
    }
    println!("{fit} of {all} patches apply");
    if fit < all {
        eprintln!(
            "lab: a hunk may fail for want of one before it: mend them in order, in the tree that \
             `lab kernel edit` makes of this source"
        );
    }
    Ok(fit == all)
}

fn words(applies: &Applies) -> String {
    match applies {
        Applies::Cleanly => "applies".into(),
        Applies::WithOffsets => "applies with offsets".into(),
        Applies::Fails(why) => format!("FAILS: {}", why.join("; ")),
    }
}

/// " (Linux 7.3.4)", as the kernel's top Makefile has it; nothing when it is no kernel's.
fn version(makefile: &str) -> String {
    let value = |name: &str| {
        let mut lines = makefile.lines();
        lines.find_map(|l| l.strip_prefix(name)?.trim_start().strip_prefix('='))
    };
    let numbers = ["VERSION", "PATCHLEVEL", "SUBLEVEL"].map(value);
    match numbers {
        [Some(a), Some(b), Some(c)] => format!(" (Linux {}.{}.{})", a.trim(), b.trim(), c.trim()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choices::Choices;
    use std::path::Path;

    #[test]
    fn the_version_is_the_makefiles() {
        let text = "# x\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n";
        assert_eq!(version(text), " (Linux 7.3.4)");
        assert_eq!(version("all:\n"), "");
    }

    #[test]
    fn every_patch_has_its_word() {
        assert_eq!(words(&Applies::Cleanly), "applies");
        assert_eq!(words(&Applies::WithOffsets), "applies with offsets");
        let fails = Applies::Fails(vec!["a.c:7".into(), "b.c: No such file".into()]);
        assert_eq!(words(&fails), "FAILS: a.c:7; b.c: No such file");
    }

    #[test]
    fn a_tree_fits_until_a_line_of_it_differs() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        for dir in [
            "lab/config",
            kernel::FIXES,
            kernel::SERIES,
            kernel::PACKAGING,
            kernel::MINIMAL,
            "k",
        ] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/sources.toml");
        fs::copy(config, at("lab/config/sources.toml")).unwrap();
        fs::write(at("k/Makefile"), "VERSION = 7\n").unwrap();
        for (dir, old, new) in [
            (kernel::FIXES, "1", "2"),
            (kernel::SERIES, "2", "3"),
            (kernel::PACKAGING, "3", "4"),
            (kernel::MINIMAL, "1", "3"),
        ] {
            let patch = format!("--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-{old}\n+{new}\n");
            fs::write(at(dir).join("0001-x.patch"), patch).unwrap();
        }
        let choices = Choices {
            kernel_source: Some("k".into()),
            ..Choices::default()
        };
        let lab = Lab::at_root(root.path(), choices).unwrap();
        fs::write(at("k/a.c"), "1\n").unwrap();
        assert!(run(&lab).unwrap());
        // The tree itself is only read.
        assert_eq!(fs::read_to_string(at("k/a.c")).unwrap(), "1\n");
        // Each of them counts.
        for dir in kernel::PACKAGED.into_iter().chain([kernel::MINIMAL]) {
            let patch = at(dir).join("0002-y.patch");
            fs::write(&patch, "--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-9\n+8\n").unwrap();
            assert!(!run(&lab).unwrap());
            fs::remove_file(patch).unwrap();
        }
        fs::write(at("k/a.c"), "9\n").unwrap();
        assert!(!run(&lab).unwrap());
    }
}
