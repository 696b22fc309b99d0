// SPDX-License-Identifier: GPL-2.0
//! `lab boot`: one command in one machine, its output streamed, its status returned.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::layout::Lab;
use crate::build::emulator::{self, Emulator};
use crate::build::kernel::{self, Kernel, Kind};
use crate::build::kmod;
use crate::build::module;
use crate::build::selftests;
use crate::machine::words::{self, quoted};
use crate::machine::{self, End, Machine, Severity, Told, FILES};
use crate::measure::strategies;

#[derive(clap::Args)]
pub struct Options {
    /// Load xfd_switch.ko with this strategy first (otherwise it is there, at /lib/modules)
    #[arg(long, conflicts_with_all = ["stock", "minimal"])]
    strategy: Option<String>,
    /// Boot the stock kernel instead of the patched one
    #[arg(long, group = "which")]
    stock: bool,
    /// Boot the stock kernel with patches/minimal instead
    #[arg(long, group = "which")]
    minimal: bool,
    /// Boot the debug kernel (lockdep, KASAN, X86_DEBUG_FPU, KVM=y) instead
    #[arg(long, group = "which")]
    debug: bool,
    /// Boot the rt kernel (PREEMPT_RT) instead
    #[arg(long, group = "which")]
    rt: bool,
    /// A kernel build directory of your own instead
    #[arg(long, value_name = "DIR", group = "which")]
    kernel: Option<PathBuf>,
    /// Use the deliberately broken build of the module
    #[arg(long, conflicts_with_all = ["stock", "minimal"])]
    broken: bool,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    cpus: u32,
    /// MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Boot on the emulator as it is upstream
    #[arg(long)]
    emulator_unpatched: bool,
    /// A Bochs program of your own instead
    #[arg(long, value_name = "PROGRAM", conflicts_with = "emulator_unpatched")]
    emulator: Option<PathBuf>,
    /// CPU features that the machine is to lack, as Bochs names them ("xfd")
    #[arg(long, default_value = "", value_name = "FEATURES")]
    without: String,
    /// Leave the selftests out: boots a little faster
    #[arg(long)]
    bare: bool,
    /// A file or directory to put into the machine, under /add (may be repeated)
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    /// A file to bring out of the machine when the command has ended, into this directory (may be
    /// repeated)
    #[arg(long, value_name = "FILE")]
    get: Vec<String>,
    /// Seconds after which the machine is killed
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Seconds without any output after which the machine is killed
    #[arg(long, default_value_t = 120)]
    silence: u64,
    /// More kernel parameters
    #[arg(long, default_value = "")]
    params: String,
    /// Show the kernel's console too, on stderr
    #[arg(long)]
    console: bool,
    /// What to run: one word is a script for sh, several are a program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Options {
    /// Which of the lab's kernels.
    fn kind(&self) -> Kind {
        match (self.stock, self.minimal, self.debug, self.rt) {
            (true, ..) => Kind::Stock,
            (_, true, ..) => Kind::Minimal,
            (_, _, true, _) => Kind::Debug,
            (.., true) => Kind::Rt,
            _ => Kind::Patched,
        }
    }
}

/// Returns the command's exit status.
pub fn run(lab: &Lab, options: &Options) -> Result<i32> {
    if let Some(name) = &options.strategy {
        strategies::need(lab, name, options.broken)?;
    }
    // With everything of the caller's own, nothing is built here.
    let builds = !(options.bare
        && options.kernel.is_some()
        && options.emulator.is_some()
        && options.strategy.is_none());
    if builds {
        lab.lock()?;
    }
    let emulator = match &options.emulator {
        Some(program) => own(program)?,
        None if options.emulator_unpatched => emulator::build(lab, Emulator::Unpatched)?,
        None => emulator::build(lab, Emulator::Patched)?,
    };
    let kernel = match &options.kernel {
        Some(dir) => Kernel {
            source: PathBuf::new(),
            objects: own(dir)?,
        },
        None => kernel::build(lab, options.kind())?,
    };
    let module = match &options.kernel {
        // Someone's own kernel may lack the hooks; only a strategy needs the module.
        Some(_) if options.strategy.is_none() => None,
        None if !options.kind().has_hooks() => None,
        _ if options.broken => Some(module::build(lab, &kernel, module::Kind::Broken)?),
        _ => Some(module::build(lab, &kernel, module::Kind::Shipped)?),
    };
    let programs = match options.bare {
        true => Vec::new(),
        false => selftests::programs(&selftests::build(lab)?)?,
    };
    let mut added = match options.bare {
        true => Vec::new(),
        false => kmod::build(lab, &kernel)?,
    };
    added.extend(options.add.iter().cloned());
    let machine = Machine {
        name: format!("boot-{}", std::process::id()),
        emulator,
        kernel,
        module,
        strategy: options.strategy.clone(),
        programs,
        added,
        cpus: options.cpus,
        memory: options.memory,
        parameters: words::parameters(options.emulator_unpatched, &options.params),
        without: words::lacking(options.emulator_unpatched, &options.without),
        command: script(&options.command, &options.get),
        timeout: Duration::from_secs(options.timeout),
        silence: Duration::from_secs(options.silence),
    };
    let status = boot(lab, &machine, options.console)?;
    let files = lab.at("build/boot").join(&machine.name).join(FILES);
    for name in options.get.iter().filter_map(|f| Path::new(f).file_name()) {
        let from = files.join(name);
        if from.exists() {
            fs::copy(&from, name).with_context(|| format!("writing {}", name.to_string_lossy()))?;
        }
    }
    Ok(status)
}

fn own(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| {
        Failure::new(format!("{}: {error}", path.display()))
            .next("check the path")
            .into()
    })
}

/// Boots, streams the output, and explains an end that is not the command's.
pub fn boot(lab: &Lab, machine: &Machine, console: bool) -> Result<i32> {
    let dir = machine::compose(lab, machine)?;
    lab.unlock();
    let mut stdout = std::io::stdout();
    let mut broken = None;
    let outcome = machine::run(machine, &dir, &mut |told| match told {
        Told::Output(bytes) => {
            if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
                broken.get_or_insert(error);
            }
        }
        Told::Console(line, severity) if console || severity.is_some() => {
            let what = if severity == Some(Severity::Panic) {
                "panic"
            } else {
                "console"
            };
            eprintln!("lab: {what}: {line}");
        }
        _ => {}
    })?;
    if let Some(error) = broken {
        return Err(anyhow::Error::from(error).context("writing the machine's output"));
    }
    if let Some(failure) = outcome.failure() {
        return Err(failure.into());
    }
    let End::Exit(status) = outcome.end else {
        unreachable!("every other end is a failure")
    };
    let splats = outcome.splats.len();
    if splats > 0 {
        eprintln!(
            "lab: {splats} kernel splats, see {}",
            lab.shown(&outcome.console)
        );
    }
    if !outcome.powered_off {
        eprintln!("lab: the machine did not switch itself off");
    }
    eprintln!(
        "lab: exit status {status} after {:.1} s (console: {})",
        outcome.elapsed.as_secs_f64(),
        lab.shown(&outcome.console)
    );
    Ok(status)
}

/// One word is a script; several are quoted, so that the machine's sh sees the same words. The files
/// come out whatever the command's status, which stays.
fn script(words: &[String], get: &[String]) -> String {
    let command = match words {
        [one] => format!("{one}\n"),
        many => many.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" ") + "\n",
    };
    if get.is_empty() {
        return command;
    }
    let mut text = format!("(\n{command})\nstatus=$?\n. /etc/lab.sh\n");
    for file in get {
        text += &format!("lab_get {} || status=1\n", quoted(file));
    }
    text + "exit $status\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_that_is_not_there_is_refused_before_anything_is_built() {
        #[derive(clap::Parser)]
        struct Arguments {
            #[command(flatten)]
            boot: Options,
        }
        let words = ["boot", "--strategy", "eagre", "--", "true"];
        let options = <Arguments as clap::Parser>::parse_from(words).boot;
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("rust/strategy.rs");
        std::fs::create_dir_all(list.with_file_name("")).unwrap();
        std::fs::write(list, include_str!("../../../rust/strategy.rs")).unwrap();
        let lab = Lab::at_root(dir.path(), Default::default()).unwrap();
        let said = run(&lab, &options).unwrap_err().to_string();
        assert!(said.contains("no strategy \"eagre\""), "{said}");
    }

    #[test]
    fn words_reach_the_machine_as_they_are() {
        assert_eq!(script(&["echo a; echo b".into()], &[]), "echo a; echo b\n");
        let words = [
            "printf".to_owned(),
            "%s|".into(),
            "it's".into(),
            "a b".into(),
            "$x".into(),
        ];
        let out = std::process::Command::new("sh")
            .arg("-c")
            .arg(script(&words, &[]))
            .output()
            .unwrap();
        assert_eq!(out.stdout, b"it's|a b|$x|");
    }

    #[test]
    fn files_come_out_and_the_status_stays() {
        let text = script(&["exit 3".into()], &["/tmp/x".into()]);
        let lab_get = "lab_get() { echo \"got $1\"; }\n";
        let text = text.replace(". /etc/lab.sh\n", lab_get);
        let mut sh = std::process::Command::new("sh");
        let out = sh.arg("-c").arg(text).output().unwrap();
        assert_eq!(
            (out.status.code(), out.stdout),
            (Some(3), b"got /tmp/x\n".to_vec())
        );
    }
}
