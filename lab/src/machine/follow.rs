// SPDX-License-Identifier: GPL-2.0
//! One run of the emulator: started, followed on both serial lines, and brought to an end, its own
//! or a forced and explained one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::base::files::remove;
use crate::base::interrupt;
use crate::machine::brought::Brought;
use crate::machine::console::{message, Lines};
use crate::machine::marks::{Event, OutputParser};
use crate::machine::splats::{Severity, SplatScanner};
use crate::machine::tail::Tail;
use crate::machine::{End, Machine, Outcome};

/// What the follower of a boot is told as it happens.
pub enum Told<'a> {
    Output(&'a [u8]),
    Mark(&'a str),
    /// A line of the kernel's console, and whether it is the head of a splat.
    Console(&'a str, Option<Severity>),
}

const LAST_LINES: usize = 15;

/// The kernel's last words. The machine has no ACPI with which to go off by itself then.
const HALTED: [&str; 3] = [
    "reboot: Power off not available: System halted instead",
    "reboot: System halted",
    "reboot: Power down",
];

/// How long a machine may take to switch itself off.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// Starts the emulator in a composed directory and follows it to the end.
pub fn run(machine: &Machine, dir: &Path, tell: &mut dyn FnMut(Told)) -> Result<Outcome> {
    interrupt::check()?;
    let began = Instant::now();
    let words = File::create(dir.join("emulator.out"))?;
    let mut command = Command::new(&machine.emulator);
    command
        .args(["-q", "-f", "bochsrc"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(words.try_clone()?)
        .stderr(words);
    let mut child = interrupt::tie(&mut command)
        .spawn()
        .with_context(|| format!("starting the emulator {}", machine.emulator.display()))?;
    let followed = Follower::new(machine, dir, began).follow(&mut child, tell);
    interrupt::end(&mut child);
    // A killed emulator leaves it, and the next one would refuse to start.
    remove(&dir.join("disk.img.lock"))?;
    // The logs are what anyone still wants.
    remove(&dir.join("disk.img"))?;
    followed
}

struct Follower<'a> {
    machine: &'a Machine,
    began: Instant,
    heard: Instant,
    console: Tail,
    output: Tail,
    parser: OutputParser,
    /// The file that comes where output would.
    file: Option<Brought>,
    lines: Lines,
    scanner: SplatScanner,
    last_lines: Vec<String>,
    splats: Vec<String>,
    setup: Option<String>,
    running: bool,
    exit: Option<(i32, Instant)>,
    panic: Option<Instant>,
    halted: Option<Instant>,
    dir: PathBuf,
}

impl<'a> Follower<'a> {
    fn new(machine: &'a Machine, dir: &Path, began: Instant) -> Self {
        Follower {
            machine,
            began,
            heard: began,
            console: Tail::new(dir.join("console.log")),
            output: Tail::new(dir.join("output.log")),
            parser: OutputParser::default(),
            file: None,
            lines: Lines::default(),
            scanner: SplatScanner::default(),
            last_lines: Vec::new(),
            splats: Vec::new(),
            setup: None,
            running: false,
            exit: None,
            panic: None,
            halted: None,
            dir: dir.to_owned(),
        }
    }

    fn follow(mut self, child: &mut Child, tell: &mut dyn FnMut(Told)) -> Result<Outcome> {
        let (end, powered_off) = loop {
            interrupt::check()?;
            // Asked before reading, so that nothing written before the end is missed.
            let ended = child.try_wait()?.is_some();
            let something = self.listen(tell)?;
            if something {
                self.heard = Instant::now();
            }
            if let Some(end) = self.decide(ended, Instant::now()) {
                break (end, ended || self.halted.is_some());
            }
            if !something {
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        if let Some(line) = self.lines.rest() {
            self.console_line(&line, tell);
        }
        Ok(self.outcome(end, powered_off))
    }

    fn outcome(self, end: End, powered_off: bool) -> Outcome {
        Outcome {
            end,
            console: self.dir.join("console.log"),
            dir: self.dir,
            splats: self.splats,
            powered_off,
            elapsed: self.began.elapsed(),
            last_lines: self.last_lines,
            timeout: self.machine.timeout,
            silence: self.machine.silence,
        }
    }

    /// Reads both lines; whether there was anything new.
    fn listen(&mut self, tell: &mut dyn FnMut(Told)) -> Result<bool> {
        let console = self.console.read()?;
        let output = self.output.read()?;
        for line in self.lines.feed(&console) {
            self.console_line(&line, tell);
        }
        for event in self.parser.feed(&output) {
            match event {
                Event::Output(bytes) => match &mut self.file {
                    Some(file) => file.take(&bytes)?,
                    None if self.running => tell(Told::Output(&bytes)),
                    None => {}
                },
                Event::Mark(mark) => self.mark(&mark, tell)?,
            }
        }
        Ok(!console.is_empty() || !output.is_empty())
    }

    fn mark(&mut self, mark: &str, tell: &mut dyn FnMut(Told)) -> Result<()> {
        match mark.split_once(' ').unwrap_or((mark, "")) {
            ("run", _) => self.running = true,
            ("failed", words) if !self.running => self.setup = Some(words.to_owned()),
            ("file", name) => self.file = Some(Brought::begin(&self.dir, name)?),
            ("end-file", _) => {
                if let Some(file) = self.file.take() {
                    file.end()?;
                }
            }
            ("exit", status) => self.exit = Some((status.parse().unwrap_or(125), Instant::now())),
            _ => tell(Told::Mark(mark)),
        }
        Ok(())
    }

    fn console_line(&mut self, line: &str, tell: &mut dyn FnMut(Told)) {
        let severity = self.scanner.feed(line);
        if severity.is_some() {
            self.splats.push(line.to_owned());
        }
        if severity == Some(Severity::Panic) {
            self.panic.get_or_insert_with(Instant::now);
        }
        if message(line).is_some_and(|m| HALTED.contains(&m)) {
            self.halted.get_or_insert_with(Instant::now);
        }
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.remove(0);
        }
        self.last_lines.push(line.to_owned());
        tell(Told::Console(line, severity));
    }

    /// What the run has come to, if it is over; `ended` says that the emulator is.
    fn decide(&self, ended: bool, now: Instant) -> Option<End> {
        let later = |at: Instant, than: Duration| now.duration_since(at) > than;
        // The rest of a panic's console comes within a moment.
        if let Some(at) = self.panic {
            return (ended || later(at, Duration::from_secs(1))).then_some(End::Panic);
        }
        // What the kernel says while it shuts down counts, so that is waited for.
        if let Some((status, at)) = self.exit {
            let late = later(at, SHUTDOWN.min(self.machine.silence));
            // Its very last words may still be on their way.
            let off = self
                .halted
                .is_some_and(|at| later(at, Duration::from_millis(300)));
            return (ended || off || late).then(|| match &self.setup {
                Some(words) => End::Setup(words.clone()),
                None => End::Exit(status),
            });
        }
        if ended {
            Some(End::Died)
        } else if later(self.began, self.machine.timeout) {
            Some(End::Timeout)
        } else if later(self.heard, self.machine.silence) {
            Some(End::Silent)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::kernel::Kernel;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn machine(emulator: &Path) -> Machine {
        let kernel = Kernel {
            source: PathBuf::new(),
            objects: PathBuf::new(),
        };
        Machine {
            // However busy this machine is, no test comes near it.
            timeout: Duration::from_secs(3600),
            silence: Duration::from_secs(1800),
            ..Machine::new("test", emulator, &kernel)
        }
    }

    /// Runs a shell script in the emulator's place.
    fn pretend(script: &str) -> (Outcome, String, Vec<String>) {
        pretend_for(script, Duration::from_secs(3600))
    }

    fn pretend_for(script: &str, timeout: Duration) -> (Outcome, String, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let emulator = dir.path().join("emulator");
        fs::write(&emulator, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&emulator, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("disk.img.lock"), "").unwrap();
        let machine = Machine {
            timeout,
            ..machine(&emulator)
        };
        let (mut output, mut marks) = (Vec::new(), Vec::new());
        let outcome = run(&machine, dir.path(), &mut |told| match told {
            Told::Output(bytes) => output.extend_from_slice(bytes),
            Told::Mark(mark) => marks.push(mark.to_owned()),
            Told::Console(..) => {}
        })
        .unwrap();
        assert!(!dir.path().join("disk.img.lock").exists());
        (outcome, String::from_utf8(output).unwrap(), marks)
    }

    /// What a follower decides about a machine that has said this and nothing since, at these times
    /// after its last word; and what it makes of it in the end.
    fn decided(output: &str, console: &str, after: &[Duration]) -> (Vec<Option<End>>, Outcome) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("output.log"), output).unwrap();
        fs::write(dir.path().join("console.log"), console).unwrap();
        let machine = machine(Path::new(""));
        let mut follower = Follower::new(&machine, dir.path(), Instant::now());
        follower.listen(&mut |_| {}).unwrap();
        follower.heard = Instant::now();
        let said = follower.exit.map_or(follower.heard, |(_, at)| at);
        let decided = after.iter().map(|&t| follower.decide(false, said + t));
        let decided: Vec<_> = decided.collect();
        let end = decided.iter().flatten().next().cloned();
        (decided, follower.outcome(end.unwrap_or(End::Died), false))
    }

    const BEGIN: &str = "printf 'setting up\\036LAB begin\\n\\036LAB run\\n' >>output.log";

    #[test]
    fn output_and_status_come_through() {
        let script = format!("{BEGIN}; printf 'hello\\n\\036LAB label x\\n\\036LAB exit 3\\n' >>output.log; sleep 0.1");
        let (outcome, output, marks) = pretend(&script);
        assert_eq!(outcome.end, End::Exit(3));
        assert!(outcome.failure().is_none());
        assert_eq!(output, "hello\n");
        assert_eq!(marks, ["begin", "label x"]);
    }

    #[test]
    fn a_file_comes_out_of_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let words = "printf '\\036LAB begin\\n\\036LAB run\\na\\n\\036LAB file /tmp/x\\n'; \
                     printf 'hello' | gzip -c | base64; printf '\\036LAB end-file\\nb\\n'";
        let output = std::process::Command::new("sh")
            .args(["-c", words])
            .output();
        fs::write(dir.path().join("output.log"), output.unwrap().stdout).unwrap();
        let machine = machine(Path::new(""));
        let mut follower = Follower::new(&machine, dir.path(), Instant::now());
        let mut said = Vec::new();
        let mut tell = |told: Told| {
            if let Told::Output(bytes) = told {
                said.extend_from_slice(bytes);
            }
        };
        follower.listen(&mut tell).unwrap();
        assert_eq!(said, b"a\nb\n");
        assert_eq!(fs::read(dir.path().join("files/x")).unwrap(), b"hello");
    }

    #[test]
    fn what_is_said_while_shutting_down_counts() {
        let script = format!("{BEGIN}; printf '\\036LAB exit 0\\n' >>output.log; sleep 0.7; echo '[ 1.0] BUG: x' >console.log");
        let (outcome, _, _) = pretend(&script);
        assert_eq!((outcome.end, outcome.splats.len()), (End::Exit(0), 1));
        assert!(outcome.powered_off);
    }

    #[test]
    fn a_machine_that_does_not_go_off_is_not_waited_for_for_ever() {
        let second = Duration::from_secs(1);
        let output = "\x1eLAB begin\n\x1eLAB run\n\x1eLAB exit 0\n";
        let (decided, _) = decided(output, "", &[SHUTDOWN - second, SHUTDOWN + second]);
        assert_eq!(decided, [None, Some(End::Exit(0))]);
    }

    #[test]
    fn a_machine_that_has_halted_is_off() {
        for words in HALTED {
            let script = format!(
                "{BEGIN}; printf '\\036LAB exit 0\\n' >>output.log; echo '[ 1.0] {words}' >console.log; sleep 100"
            );
            let (outcome, _, _) = pretend(&script);
            assert_eq!(outcome.end, End::Exit(0));
            assert!(outcome.powered_off);
        }
    }

    #[test]
    fn a_hung_machine_is_told_from_a_slow_one_and_explained() {
        let (minute, machine) = (Duration::from_secs(60), machine(Path::new("")));
        let (silence, timeout) = (machine.silence, machine.timeout);
        let after = [silence - minute, silence + minute, timeout + minute];
        let words = "[ 1.0] the last words\n";
        let (decided, outcome) = decided("\x1eLAB begin\n\x1eLAB run\n", words, &after);
        assert_eq!(decided, [None, Some(End::Silent), Some(End::Timeout)]);
        let text = outcome.failure().unwrap().to_string();
        assert!(
            text.contains("the last words")
                && text.contains("console.log")
                && text.contains("next:")
        );
    }

    #[test]
    fn a_hung_machine_is_killed() {
        let (outcome, _, _) = pretend_for("sleep 1000", Duration::ZERO);
        assert_eq!(outcome.end, End::Timeout);
    }

    #[test]
    fn a_panic_is_told_from_a_hang() {
        let script = "echo '[ 1.0] Kernel panic - not syncing: test' >console.log; sleep 100";
        let (outcome, _, _) = pretend(script);
        assert_eq!(outcome.end, End::Panic);
        assert_eq!(outcome.splats.len(), 1);
        assert!(outcome.failure().unwrap().to_string().contains("panicked"));
    }

    #[test]
    fn an_emulator_that_dies_is_no_success() {
        let (outcome, _, _) = pretend(&format!("{BEGIN}; exit 0"));
        assert_eq!(outcome.end, End::Died);
    }

    #[test]
    fn a_module_that_does_not_load_is_the_setup_s_failure() {
        let script = "printf '\\036LAB begin\\n\\036LAB failed insmod x.ko: no\\n\\036LAB exit 125\\n' >output.log";
        let (outcome, _, _) = pretend(script);
        assert_eq!(outcome.end, End::Setup("insmod x.ko: no".into()));
    }
}
