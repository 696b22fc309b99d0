// SPDX-License-Identifier: GPL-2.0
//! Copies of a built kernel. With other patches, make builds in them only what the patches change.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::base::files::{self, remove};
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::kernel::Kernel;
use crate::build::series;
use crate::build::source;

/// Like [`of`], but made anew: nothing was built in it.
pub fn anew(lab: &Lab, kernel: &Kernel, name: &str) -> Result<Kernel> {
    stamp::forget(lab, &stamp_name(name))?;
    of(lab, kernel, name)
}

fn stamp_name(name: &str) -> String {
    format!("copy-{name}")
}

/// The copy of this name; it stays, and is made anew when the kernel that it is of is another.
pub fn of(lab: &Lab, kernel: &Kernel, name: &str) -> Result<Kernel> {
    let copy = Kernel {
        source: lab.at("build/linux").join(format!("{name}-source")),
        objects: lab.at("build/linux").join(name),
    };
    let (tree, objects) = (&copy.source, &copy.objects);
    let stamp_name = stamp_name(name);
    let print = Fingerprint::new("copy")
        .text("of", &kernel.objects.display().to_string())
        .file(&kernel.image())?
        .finish();
    if stamp::fresh(lab, &stamp_name, &print, &[tree, objects]) {
        return Ok(copy);
    }
    lab.need_space(2, "copying a kernel")?;
    stamp::forget(lab, &stamp_name)?;
    let what = format!("copying {}", lab.shown(&kernel.objects));
    let mut step = Step::begin(lab, &stamp_name, &what)?;
    let directories = [(&kernel.source, tree), (&kernel.objects, objects)];
    for (how, (from, to)) in ["-al", "-a"].into_iter().zip(directories) {
        remove(to)?;
        step.run(Command::new("cp").arg(how).arg(from).arg(to))?;
    }
    // make compares the commands, which name source and objects.
    for file in files::below(objects)? {
        if file.extension().is_some_and(|x| x == "cmd") {
            let text = fs::read_to_string(&file)?;
            let moved = directories.iter().fold(text.clone(), |text, (from, to)| {
                moved(
                    &text,
                    &from.display().to_string(),
                    &to.display().to_string(),
                )
            });
            if moved != text {
                fs::write(&file, moved)?;
            }
        }
    }
    stamp::record(lab, &stamp_name, &print)?;
    step.done();
    Ok(copy)
}

/// Makes the copy's source the pristine one with these patches, in their order; `what` names them.
pub fn apply<'a>(
    lab: &Lab,
    copy: &Kernel,
    what: &str,
    patches: impl Iterator<Item = &'a PathBuf>,
) -> Result<()> {
    let patches: Vec<PathBuf> = patches.cloned().collect();
    let name = copy.objects.file_name().unwrap_or_default();
    let log = format!("apply-{}", name.to_string_lossy());
    let mut step = Step::begin(lab, &log, &format!("applying {what}"))?;
    let pristine = source::kernel(lab)?;
    series::keep_in_step(lab, &mut step, &pristine, &copy.source, &patches)?;
    step.done();
    Ok(())
}

/// The text with one directory in the place of another, but not of one whose name only begins so.
fn moved(text: &str, from: &str, to: &str) -> String {
    let mut pieces = text.split(from);
    let mut result = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        let whole = !piece.starts_with(|c: char| c.is_ascii_alphanumeric() || "-._".contains(c));
        result += if whole { to } else { from };
        result += piece;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_follow_the_source() {
        let text = "-I/b/patched-source/include /b/patched-source-old/x /b/patched-source";
        let text = moved(text, "/b/patched-source", "/b/m-source");
        assert_eq!(
            text,
            "-I/b/m-source/include /b/patched-source-old/x /b/m-source"
        );
        // One directory's name begins like the other's.
        assert_eq!(
            moved("/b/patched/x /b/patched-source", "/b/patched", "/b/m"),
            "/b/m/x /b/patched-source"
        );
    }
}
