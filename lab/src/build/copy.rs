// SPDX-License-Identifier: GPL-2.0
//! Copies of a built kernel. With other patches, make builds in them only what the patches change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::base::files::{self, remove};
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
use crate::build::built::Kernel;
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
    fill(lab, kernel, &copy, true)?;
    Ok(copy)
}

/// Makes `to` have the objects of `from`; its source is there, and differs in a few files. They may
/// be older than the objects, and make goes by the time.
pub fn objects(lab: &Lab, from: &Kernel, to: &Kernel) -> Result<()> {
    fill(lab, from, to, false)
}

fn fill(lab: &Lab, from: &Kernel, to: &Kernel, with_source: bool) -> Result<()> {
    let name = to.objects.file_name().unwrap_or_default();
    let stamp_name = stamp_name(&name.to_string_lossy());
    let print = Fingerprint::new("copy")
        .text("of", &from.objects.display().to_string())
        .file(&from.image())?
        .finish();
    if stamp::fresh(lab, &stamp_name, &print, &[&to.source, &to.objects]) {
        return Ok(());
    }
    lab.need_space(2, "copying a kernel")?;
    stamp::forget(lab, &stamp_name)?;
    let what = format!("copying {}", lab.shown(&from.objects));
    let mut step = Step::begin(lab, &stamp_name, &what)?;
    let mut copy = |how, from: &Path, to: &Path| -> Result<()> {
        remove(to)?;
        step.run(Command::new("cp").arg(how).arg(from).arg(to))
    };
    if with_source {
        copy("-al", &from.source, &to.source)?;
    }
    copy("-a", &from.objects, &to.objects)?;
    if !with_source {
        series::renew(&to.source, &from.source)?;
    }
    // make compares the commands, which name source and objects.
    let directories = [(&from.source, &to.source), (&from.objects, &to.objects)];
    for file in files::below(&to.objects)? {
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
    Ok(())
}

/// Makes the copy's source the pristine one with these patches, in their order; `what` names them.
pub fn apply(lab: &Lab, copy: &Kernel, what: &str, patches: &[PathBuf]) -> Result<()> {
    let name = copy.objects.file_name().unwrap_or_default();
    let log = format!("apply-{}", name.to_string_lossy());
    let mut step = Step::begin(lab, &log, &format!("applying {what}"))?;
    let pristine = source::kernel(lab)?;
    series::keep_in_step(lab, &mut step, &pristine, &copy.source, patches)?;
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
