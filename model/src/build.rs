// SPDX-License-Identifier: GPL-2.0
//! Compiles the shipped files, and the lines taken from KVM, for the host: a shared object.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

/// What of the tree is compiled as it is.
const SHIPPED: [&str; 4] = [
    "arch/x86/kernel/fpu/core.c",
    "arch/x86/kernel/fpu/guest_xfd.c",
    "arch/x86/kernel/fpu/xstate.c",
    "arch/x86/kvm/xfd.c",
];

/// The headers that are the tree's own.
const REAL: [&str; 9] = [
    "asm/cpufeatures.h",
    "asm/fpu/api.h",
    "asm/fpu/guest_xfd.h",
    "asm/fpu/sched.h",
    "asm/fpu/types.h",
    "asm/fpu/xcr.h",
    "asm/fpu/xstate.h",
    "asm/kvm_xfd.h",
    "asm/msr-index.h",
];

/// The tree's headers that its files include from where they are.
const NEAR: [&str; 7] = [
    "arch/x86/kernel/fpu/context.h",
    "arch/x86/kernel/fpu/internal.h",
    "arch/x86/kernel/fpu/legacy.h",
    "arch/x86/kernel/fpu/xstate.h",
    "arch/x86/kvm/cpuid.h",
    "arch/x86/kvm/x86.h",
    "arch/x86/kvm/xfd.h",
];

/// What those include besides: c/kernel.h has as much of it as they need.
const ELSEWHERE: [&str; 40] = [
    "asm/cpufeature.h",
    "asm/cpuid/api.h",
    "asm/elf.h",
    "asm/fpu/regset.h",
    "asm/fpu/signal.h",
    "asm/irq_regs.h",
    "asm/msr.h",
    "asm/page_types.h",
    "asm/prctl.h",
    "asm/processor.h",
    "asm/tlbflush.h",
    "asm/trace/fpu.h",
    "asm/traps.h",
    "asm/user.h",
    "linux/bitops.h",
    "linux/bits.h",
    "linux/bottom_half.h",
    "linux/compat.h",
    "linux/coredump.h",
    "linux/cpu.h",
    "linux/export.h",
    "linux/hardirq.h",
    "linux/jump_label.h",
    "linux/kvm_types.h",
    "linux/mman.h",
    "linux/module.h",
    "linux/nospec.h",
    "linux/percpu.h",
    "linux/pkeys.h",
    "linux/proc_fs.h",
    "linux/sched.h",
    "linux/seq_file.h",
    "linux/sort.h",
    "linux/static_call.h",
    "linux/types.h",
    "linux/uaccess.h",
    "linux/vmalloc.h",
    "uapi/asm/elf.h",
    "uapi/asm/kvm.h",
    "linux/build_bug.h",
];

/// -fsanitize=thread has a function of c/world.c called before each access of memory. No vector
/// registers, as the kernel; no red zone, as the inline assembly calls.
const FLAGS: [&str; 11] = [
    "-std=gnu11",
    "-O1",
    "-g",
    "-fPIC",
    "-fno-strict-aliasing",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-mno-red-zone",
    "-mgeneral-regs-only",
    "-Werror=implicit-function-declaration",
    "-Werror=incompatible-pointer-types",
];

/// What to compile.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The patched kernel's tree.
    pub tree: &'a Path,
    /// A patch for it, that breaks something.
    pub patch: Option<&'a Path>,
}

impl Source<'_> {
    /// Copies what is compiled below `dir`, made anew, and returns all of its text.
    fn copy(&self, model: &Path, dir: &Path, patch: Option<&Path>) -> Result<String> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        let tree = dir.join("tree");
        for file in self.files(model)? {
            let to = tree.join(&file);
            fs::create_dir_all(to.parent().context("a file of the tree")?)?;
            fs::copy(self.tree.join(&file), &to)
                .with_context(|| format!("{} has no {file}", self.tree.display()))?;
        }
        if let Some(patch) = patch {
            apply(patch, &tree)?;
        }
        let kvm = taken(&fs::read_to_string(model.join("c/kvm.c"))?, &tree)?;
        write(&dir.join("kvm.c"), &kvm)?;
        let mut text: String = kvm.lines().filter(|l| !l.starts_with("#line")).collect();
        for file in SHIPPED.iter().chain(&NEAR) {
            text += &fs::read_to_string(tree.join(file))?;
        }
        for header in REAL {
            text += &fs::read_to_string(tree.join("arch/x86/include").join(header))?;
        }
        Ok(text)
    }

    /// Compiles it in `dir`, which is made anew, for a kernel with PREEMPT_RT or without; returns the
    /// shared object.
    /// `base` is where the source without the patch has been compiled already, if it has.
    pub fn compile(
        &self,
        model: &Path,
        dir: &Path,
        rt: bool,
        base: Option<&Path>,
    ) -> Result<PathBuf> {
        self.copy(model, dir, self.patch)?;
        let tree = dir.join("tree");
        for header in REAL {
            write(
                &dir.join("include").join(header),
                &format!(
                    "#include \"{}/arch/x86/include/{header}\"\n",
                    tree.display()
                ),
            )?;
        }
        for header in ELSEWHERE {
            write(&dir.join("include").join(header), "")?;
        }
        write(
            &dir.join("include/linux/kvm_host.h"),
            "#include \"kvm.h\"\n",
        )?;

        let mut objects = Vec::new();
        let ours = [dir.join("kvm.c"), model.join("c/world.c")];
        for source in SHIPPED.map(|f| tree.join(f)).into_iter().chain(ours) {
            let object = dir
                .join(source.file_name().context("a source file")?)
                .with_extension("o");
            if let Some(base) = base.filter(|base| same(base, dir, &source)) {
                objects.push(base.join(object.file_name().context("an object")?));
                continue;
            }
            let mut cc = Command::new("cc");
            cc.args(FLAGS)
                .arg(format!("-I{}", dir.join("include").display()))
                .arg(format!("-I{}", model.join("c").display()))
                .arg(format!("-I{}", tree.join("arch/x86/kvm").display()))
                .arg(format!("-include{}", model.join("c/kernel.h").display()));
            if rt {
                cc.arg("-DCONFIG_PREEMPT_RT=1");
            }
            if !source.ends_with("c/world.c") {
                cc.arg("-fsanitize=thread");
            }
            // kvm/xfd.c is compiled with two headers of KVM's that are too large for this.
            cc.args(["-DARCH_X86_KVM_CPUID_H", "-DARCH_X86_KVM_X86_H"]);
            run(cc.arg("-c").arg(&source).arg("-o").arg(&object))?;
            objects.push(object);
        }
        let shared = dir.join("shipped.so");
        let mut ld = Command::new("cc");
        ld.args(["-shared", "-Wl,-z,defs", "-o"]).arg(&shared);
        run(ld.args(&objects))?;
        Ok(shared)
    }

    /// What is copied of the tree: what is compiled, what that includes, what lines are taken from.
    fn files(&self, model: &Path) -> Result<Vec<String>> {
        let mut files: Vec<String> = SHIPPED.iter().map(|&f| f.to_owned()).collect();
        files.extend(REAL.iter().map(|f| format!("arch/x86/include/{f}")));
        files.extend(NEAR.map(str::to_owned));
        for line in fs::read_to_string(model.join("c/kvm.c"))?.lines() {
            if let Some(take) = Take::of(line) {
                files.push(take.file.to_owned());
            }
        }
        files.sort();
        files.dedup();
        Ok(files)
    }
}

/// Whether a source below `dir`, and all headers, are those below `base`.
fn same(base: &Path, dir: &Path, source: &Path) -> bool {
    let headers = REAL
        .iter()
        .map(|header| format!("tree/arch/x86/include/{header}"));
    let near = NEAR.iter().map(|file| format!("tree/{file}"));
    let source = source.strip_prefix(dir).ok().and_then(Path::to_str);
    headers
        .chain(near)
        .chain(source.map(str::to_owned))
        .all(|file| {
            let [base, dir] = [base, dir].map(|d| fs::read(d.join(&file)).ok());
            base.is_some() && base == dir
        })
}

/// Whether the patch changes anything that is compiled of the tree; `out` is for copies of both.
pub fn changes(tree: &Path, patch: &Path, model: &Path, out: &Path) -> Result<bool> {
    let dir = out.join("compare");
    let source = Source { tree, patch: None };
    let before = source.copy(model, &dir, None)?;
    let after = source.copy(model, &dir, Some(patch))?;
    fs::remove_dir_all(&dir)?;
    Ok(before != after)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(file.parent().context("a file in a directory")?)?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Applies as much of the patch as is about files that are there.
fn apply(patch: &Path, tree: &Path) -> Result<()> {
    let text = fs::read_to_string(patch)?;
    let mut mine = String::new();
    let mut taken = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("--- ") {
            let file = lines.peek().and_then(|l| l.strip_prefix("+++ b/"));
            taken = file.is_some_and(|f| tree.join(f).exists());
        }
        if taken {
            mine += line;
            mine.push('\n');
        }
    }
    if mine.is_empty() {
        return Ok(());
    }
    let file = tree.join("mutant.patch");
    fs::write(&file, mine)?;
    let mut command = Command::new("patch");
    command.args(["-p1", "-s", "-F3", "--no-backup-if-mismatch", "-i"]);
    run(command.arg(&file).arg("-d").arg(tree))
}

/// A comment that says what to take.
struct Take<'a> {
    file: &'a str,
    after: Option<&'a str>,
    what: What<'a>,
}

enum What<'a> {
    Function(&'a str),
    Lines(&'a str, &'a str),
}

impl<'a> Take<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let line = line.trim_start().strip_prefix("/* take ")?;
        let line = line.strip_suffix(" */")?;
        let (from, what) = line.split_once(": ")?;
        let (file, after) = match from.split_once(" after ") {
            Some((file, after)) => (file, Some(after)),
            None => (from, None),
        };
        let what = match (what.strip_suffix("()"), what.split_once(" ... ")) {
            (_, Some((from, to))) => What::Lines(from, to),
            (Some(name), None) => What::Function(name),
            _ => return None,
        };
        Some(Self { file, after, what })
    }

    /// Returns the number of the first line, from 1, and the lines.
    fn find(&self, text: &'a str) -> Option<(usize, Vec<&'a str>)> {
        let lines: Vec<&str> = text.lines().collect();
        let defines = |line: &str, name: &str| {
            line.contains(&format!("{name}(")) && line.starts_with(|c: char| c.is_alphabetic())
        };
        let begin = match self.after {
            Some(name) => lines.iter().position(|l| defines(l, name))?,
            None => 0,
        };
        let (first, last) = match self.what {
            What::Function(name) => {
                let first = begin + lines[begin..].iter().position(|l| defines(l, name))?;
                (
                    first,
                    first + lines[first..].iter().position(|&l| l == "}")?,
                )
            }
            What::Lines(from, to) => {
                let first = begin + lines[begin..].iter().position(|l| l.starts_with(from))?;
                let last = lines[first..].iter().position(|l| l.starts_with(to))?;
                // A block's end may be the end of what was to be ended.
                (first, first + last)
            }
        };
        let lines = lines[first..=last].to_vec();
        Some((first + 1, lines))
    }
}

/// Puts in what the comments say.
fn taken(text: &str, tree: &Path) -> Result<String> {
    let mut out = String::new();
    for (n, line) in text.lines().enumerate() {
        let Some(take) = Take::of(line) else {
            out += line;
            out.push('\n');
            continue;
        };
        let file = tree.join(take.file);
        let source = fs::read_to_string(&file)?;
        let (first, lines) = take
            .find(&source)
            .with_context(|| format!("{} has no such lines: {line}", take.file))?;
        out += &format!("#line {first} \"{}\"\n", take.file);
        for line in lines {
            if line != "#endif" {
                out += line;
                out.push('\n');
            }
        }
        out += &format!("#line {} \"model/c/kvm.c\"\n", n + 2);
    }
    Ok(out)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "int f(void)\n{\n\treturn 1;\n}\n\nstatic int\tg(int x)\n{\n\ta;\n\tb;\n}\n";

    fn find(line: &str) -> Option<(usize, Vec<&str>)> {
        Take::of(line)?.find(TEXT)
    }

    #[test]
    fn functions_and_lines_are_found() {
        let (first, lines) = find("/* take x.c: f() */").unwrap();
        assert_eq!((first, lines.len()), (1, 4));
        let (first, lines) = find("	/* take x.c after g: \ta; ... \tb; */").unwrap();
        assert_eq!((first, lines.join(" ")), (8, "\ta; \tb;".to_owned()));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert!(find("/* take x.c: h() */").is_none());
        assert!(find("/* take x.c after g: \treturn ... \tb; */").is_none());
        assert!(Take::of("/* takes */").is_none());
    }
}
