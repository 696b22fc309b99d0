// SPDX-License-Identifier: GPL-2.0
//! What the coverage kernel of a machine has counted: see lab_get_gcov in guest/lab.sh.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files;
use crate::build::{kernel::Kernel, toolchain};
use crate::machine::FILES;

/// Of each line that is code, by its file in the tree, whether it has run.
pub type Ran = BTreeMap<String, BTreeMap<u32, bool>>;

/// What it counted while the machine in `dir` ran, for all files below its source.
pub fn counted(kernel: &Kernel, dir: &Path) -> Result<Ran> {
    let tar = dir.join(FILES).join("gcov.tar");
    let counts = dir.join("gcov");
    files::remove(&counts)?;
    fs::create_dir_all(&counts)?;
    let mut unpack = Command::new("tar");
    said_by(unpack.arg("-C").arg(&counts).arg("-xf").arg(&tar))?;
    let mut all = Ran::new();
    for gcda in files::below(&counts)? {
        // It is called by the object's path.
        let object = Path::new("/").join(gcda.strip_prefix(&counts)?);
        let gcno = object.with_extension("gcno");
        fs::copy(&gcno, gcda.with_extension("gcno"))
            .with_context(|| format!("reading {}", gcno.display()))?;
        let mut read = Command::new(Path::new(toolchain::LLVM).join("bin/llvm-cov"));
        let text = said_by(
            read.args(["gcov", "-t"])
                .arg(&gcda)
                .current_dir(&kernel.objects),
        )?;
        add(&mut all, &lines(&text, kernel));
    }
    if all.is_empty() {
        let what = format!("{} has counts of no file", tar.display());
        let next =
            "the kernel needs CONFIG_GCOV_KERNEL, and debugfs; the console log says what is wrong";
        return Err(Failure::new(what).next(next).into());
    }
    Ok(all)
}

fn said_by(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("starting {program}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::new(format!("{command:?} failed"))
        .details(said.lines().map(str::to_owned))
        .next("`lab setup` installs the programs that are missing")
        .into())
}

/// A line has run if it has in any object or any machine.
pub fn add(all: &mut Ran, more: &Ran) {
    for (file, lines) in more {
        let known = all.entry(file.clone()).or_default();
        for (line, ran) in lines {
            *known.entry(*line).or_default() |= ran;
        }
    }
}

/// Reads gcov's text: "COUNT:LINE:SOURCE", where a count is "-" of what is no code and "#####" of what
/// never ran; each file's begins with its path.
fn lines(text: &str, kernel: &Kernel) -> Ran {
    let mut all = Ran::new();
    let mut file = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(count), Some(number), Some(rest)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if let Some(path) = rest.strip_prefix("Source:") {
            file = in_tree(path, kernel);
        }
        let (count, number) = (count.trim(), number.trim().parse().unwrap_or(0));
        let Some(file) = file.as_ref().filter(|_| number > 0 && count != "-") else {
            continue;
        };
        let ran = !count.starts_with(['#', '=']);
        let known = all.entry(file.clone()).or_default();
        *known.entry(number).or_default() |= ran;
    }
    all
}

/// A path as the patches have it; `None` for what is not the source's.
fn in_tree(path: &str, kernel: &Kernel) -> Option<String> {
    let mut whole = PathBuf::new();
    for part in kernel.objects.join(path).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
    }
    let below = whole.strip_prefix(&kernel.source).ok()?;
    Some(below.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gcovs_text_is_read() {
        let kernel = Kernel {
            source: "/x/source".into(),
            objects: "/x/objects".into(),
        };
        let text = "        -:    0:Source:/x/source/arch/x86/kvm/../../../virt/kvm/a.c\n\
                    \x20       -:    0:Graph:a.gcno\n\
                    \x20       -:    1:// a\n\
                    \x20      12:    2:a: b();\n\
                    \x20   #####:    3:c();\n\
                    \x20       -:    0:Source:../source/b.h\n\
                    \x20   =====:    3:d();\n\
                    \x20       -:    0:Source:/usr/include/c.h\n\
                    \x20       1:    9:e();\n";
        let found = lines(text, &kernel);
        let expected = [
            ("virt/kvm/a.c", vec![(2, true), (3, false)]),
            ("b.h", vec![(3, false)]),
        ];
        let expected = expected.map(|(f, l)| (f.to_owned(), l.into_iter().collect()));
        assert_eq!(found, Ran::from(expected));

        let mut all = found.clone();
        let more = Ran::from([("b.h".to_owned(), [(3, true), (4, false)].into())]);
        add(&mut all, &more);
        add(&mut all, &found);
        assert_eq!(all["b.h"], [(3, true), (4, false)].into());
    }
}
