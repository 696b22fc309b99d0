// SPDX-License-Identifier: GPL-2.0
//! checkpatch --strict on the kernel's patches, on the module's C and on the selftests'.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::build::kernel;
use crate::build::module;
use crate::tests::host::{host, program, Host};

/// The source comes without history, so no commit in it is known; and MAINTAINERS names directories
/// that new files of this series fall into.
const IGNORED: &str = "UNKNOWN_COMMIT_ID,FILE_PATH_CHANGES";

/// TRACE_EVENT() has a layout of its own in all of the kernel, which checkpatch takes for calls.
const IGNORED_OF_EVENTS: &str = "OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT";

pub fn tests(lab: &Lab) -> Result<Vec<Host>> {
    let mut tests = Vec::new();
    for file in module::sources(lab)?.into_iter().filter(|f| is_c(f)) {
        let name = format!("module: checkpatch {}", lab.shown(&file));
        tests.push(host(name, move |lab| {
            let tree = kernel::tree(lab, kernel::Kind::Patched)?;
            let mut options = vec!["-f"];
            options.extend(for_events(&file)?);
            checkpatch(
                lab,
                &tree,
                &stem(&file),
                &options,
                std::slice::from_ref(&file),
            )
        }));
    }
    for (of, dirs) in [
        ("host series", kernel::Kind::Patched.series()),
        ("minimal", kernel::Kind::Minimal.series()),
        ("packages", &[kernel::PACKAGING]),
    ] {
        for patch in kernel::patches_in(lab, dirs)? {
            let shown = patch.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{of}: checkpatch {shown}");
            tests.push(host(name, move |lab| {
                let tree = kernel::tree(lab, kernel::Kind::Patched)?;
                checkpatch(
                    lab,
                    &tree,
                    &stem(&patch),
                    for_events(&patch)?,
                    std::slice::from_ref(&patch),
                )
            }));
        }
    }
    tests.push(host("checkpatch: selftests", |lab| {
        let tree = kernel::tree(lab, kernel::Kind::Patched)?;
        let mut sources = files::below(&lab.at("selftests"))?;
        sources.retain(|f| is_c(f));
        // Without a tree it asks nobody whose file each is, which is all that takes time. One of the
        // tests' modules is there to oops.
        let options = ["-f", "--no-tree", "--ignore", "AVOID_BUG"];
        checkpatch(lab, &tree, "selftests", &options, &sources)
    }));
    Ok(tests)
}

/// checkpatch's options for what defines trace events.
fn for_events(file: &Path) -> Result<&'static [&'static str]> {
    Ok(match files::text(file)?.contains("TRACE_EVENT(") {
        true => &["--ignore", IGNORED_OF_EVENTS],
        false => &[],
    })
}

fn is_c(file: &Path) -> bool {
    file.extension().is_some_and(|x| x == "c" || x == "h")
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Runs the script of `tree` over files, or patches; `name` is its log's.
fn checkpatch(
    lab: &Lab,
    tree: &Path,
    name: &str,
    options: &[&str],
    files: &[PathBuf],
) -> Result<()> {
    let mut command = Command::new("perl");
    command
        .current_dir(tree)
        .arg("scripts/checkpatch.pl")
        .args(["--strict", "--quiet", "--show-types", "--ignore", IGNORED])
        .args(options)
        .args(files);
    let of = match files {
        [file] => lab.shown(file),
        _ => name.to_owned(),
    };
    let log = format!("checkpatch-{name}");
    let what = format!("checkpatch on {of}");
    program(lab, &log, &what, "mend what checkpatch names", &mut command).map_err(|error| {
        match error.downcast::<Failure>() {
            // checkpatch's whole output is the reason.
            Ok(_) => {
                let log = lab.log(&log);
                let text = fs::read_to_string(&log).unwrap_or_default();
                Failure::new("checkpatch --strict complains")
                    .details(text.lines().skip(1).take(40).map(str::to_owned))
                    .log(&log)
                    .next("mend what checkpatch names")
                    .into()
            }
            Err(error) => error,
        }
    })
}
