// SPDX-License-Identifier: GPL-2.0
//! One run of the emulator: composed, started, followed on both serial lines, and brought to an
//! end, its own or a forced and explained one.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::files::remove;
use crate::base::interrupt;
use crate::base::layout::Lab;
use crate::base::stamp::Fingerprint;
use crate::build::kernel::Kernel;
use crate::machine::console::{message, Event, Lines, OutputParser, Severity, SplatScanner};
use crate::machine::image;
use crate::machine::initramfs::{self, Archive};

/// A machine to be: what it runs and for how long.
pub struct Machine {
    /// Names its directory below build/boot.
    pub name: String,
    pub emulator: PathBuf,
    pub kernel: Kernel,
    /// xfd_switch.ko, to be there; it is loaded only with a strategy.
    pub module: Option<PathBuf>,
    pub strategy: Option<String>,
    pub programs: Vec<PathBuf>,
    pub added: Vec<PathBuf>,
    pub cpus: u32,
    /// MiB
    pub memory: u32,
    /// The kernel's, and those of KVM's modules: "kvm_intel.ept=0".
    pub parameters: String,
    /// Names of CPU features that the machine is to lack, as Bochs has them, by commas.
    pub without: String,
    /// A script for the machine's sh.
    pub command: String,
    pub timeout: Duration,
    /// How long both serial lines may be silent.
    pub silence: Duration,
}

/// What the follower of a boot is told as it happens.
pub enum Told<'a> {
    Output(&'a [u8]),
    Mark(&'a str),
    /// A line of the kernel's console, and whether it is the head of a splat.
    Console(&'a str, Option<Severity>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The command's exit status.
    Exit(i32),
    Panic,
    Timeout,
    Silent,
    /// The emulator ended by itself before the command did.
    Died,
    /// The machine could not be set up, in its own words.
    Setup(String),
}

pub struct Outcome {
    pub end: End,
    pub dir: PathBuf,
    pub console: PathBuf,
    /// The heads of all splats.
    pub splats: Vec<String>,
    /// Whether the machine switched itself off, and had not to be killed.
    pub powered_off: bool,
    pub elapsed: Duration,
    last_lines: Vec<String>,
    timeout: Duration,
    silence: Duration,
}

#[cfg(test)]
impl Outcome {
    /// An outcome for the tests of those who judge it.
    pub fn test(end: End) -> Outcome {
        Outcome {
            end,
            dir: PathBuf::new(),
            console: PathBuf::new(),
            splats: Vec::new(),
            powered_off: true,
            elapsed: Duration::ZERO,
            last_lines: Vec::new(),
            timeout: Duration::ZERO,
            silence: Duration::ZERO,
        }
    }
}

impl Outcome {
    /// `None` when the command ran to its end.
    pub fn failure(&self) -> Option<Failure> {
        let seconds = self.elapsed.as_secs();
        let (what, next) = match &self.end {
            End::Exit(_) => return None,
            End::Panic => (
                format!("the kernel in the machine panicked after {seconds} s"),
                "read the console log from its first splat on; `lab boot -- COMMAND` repeats a single command",
            ),
            End::Timeout => (
                format!("the machine did not finish within {} s and was killed", self.timeout.as_secs()),
                "if it was only slow, give it --timeout SECONDS; if it hung, the console log shows where",
            ),
            End::Silent => (
                format!("the machine said nothing for {} s and was killed", self.silence.as_secs()),
                "it hangs, or works in silence: the console log shows where; --silence SECONDS gives it longer",
            ),
            End::Died => (
                format!("the emulator ended after {seconds} s, before the command did"),
                "read emulator.out and bochs.log beside the console log (a triple fault shows as \"3rd exception\")",
            ),
            End::Setup(words) => (
                format!("the machine could not be set up: {words}"),
                "the console log has the kernel's reason; is the module built for this kernel, and the strategy one that it has?",
            ),
        };
        let mut failure = Failure::new(what);
        if !self.last_lines.is_empty() {
            failure = failure
                .details(["last console lines:"])
                .details(self.last_lines.iter().cloned());
        }
        Some(failure.log(&self.console).next(next))
    }
}

const LAST_LINES: usize = 15;

/// The kernel's last words. The machine has no ACPI with which to go off by itself then.
const HALTED: [&str; 2] = ["reboot: System halted", "reboot: Power down"];

/// How long a machine may take to switch itself off.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// Instructions, and thereby ticks of the TSC, in a second of the machine's time. CPUID names the
/// frequency of a real CPU, and there is no other clock than the TSC to find out by: the kernel is told.
const IPS: u32 = 20_000_000;

/// Composes the machine's directory with its disk; the lab should be locked while it does.
pub fn compose(lab: &Lab, machine: &Machine) -> Result<PathBuf> {
    let dir = lab.at("build/boot").join(&machine.name);
    remove(&dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    forget_old_boots(lab)?;
    let base = base(lab, machine)?;
    let mut own = Archive::default();
    own.text("cmd", 0o755, &machine.command);
    own.text(
        "etc/strategy",
        0o644,
        machine.strategy.as_deref().unwrap_or(""),
    );
    own.directory("add");
    for file in &machine.added {
        let name = file.file_name().ok_or_else(|| {
            Failure::new(format!("{} has no name to add it under", file.display()))
                .next("name a file or a directory")
        })?;
        if !file.exists() {
            return Err(
                Failure::new(format!("there is no {} to add", file.display()))
                    .next("check --add")
                    .into(),
            );
        }
        own.add(&format!("add/{}", name.to_string_lossy()), file)?;
    }
    // idle=halt: with two CPUs and the default idle loop tests stalled for a second now and then, with
    // this they did not. The emulator's MWAIT is the suspect; nobody has looked.
    let parameters = format!(
        "console=ttyS0,115200 rdinit=/init panic=0 idle=halt tsc_early_khz={} {}",
        IPS / 1000,
        machine.parameters
    );
    let disk = image::make(
        &dir,
        &machine.kernel.image(),
        &[&base, &own.pack()?],
        &parameters,
    )?;
    fs::write(dir.join("bochsrc"), bochsrc(machine, &disk))?;
    Ok(dir)
}

/// The packed part that all boots of one kernel share, kept in build/initramfs.
fn base(lab: &Lab, machine: &Machine) -> Result<Vec<u8>> {
    let init = lab.at("lab/guest/init.sh");
    let functions = lab.at("lab/guest/lab.sh");
    let modules: Vec<PathBuf> = machine
        .kernel
        .modules()?
        .into_iter()
        .filter(|m| m.exists())
        .collect();
    let mut print = Fingerprint::new("initramfs")
        .file(&init)?
        .file(&functions)?;
    for file in modules
        .iter()
        .chain(&machine.module)
        .chain(&machine.programs)
    {
        print = print.identity(file)?;
    }
    let path = lab
        .at("build/initramfs")
        .join(format!("{}.cpio.gz", &print.finish()[..16]));
    if let Ok(packed) = fs::read(&path) {
        return Ok(packed);
    }
    let archive = initramfs::base(
        &init,
        &functions,
        &modules,
        machine.module.as_deref(),
        &machine.programs,
    )?;
    let packed = archive.pack()?;
    forget_old(path.parent().unwrap_or(Path::new(".")))?;
    crate::base::files::write_atomic(&path, &packed)?;
    Ok(packed)
}

/// Keeps the newest few packed archives.
fn forget_old(dir: &Path) -> Result<()> {
    let mut files: Vec<_> = files::below(dir)?
        .into_iter()
        .filter_map(|f| Some((fs::metadata(&f).ok()?.modified().ok()?, f)))
        .collect();
    files.sort();
    for (_, file) in files.iter().rev().skip(7) {
        remove(file)?;
    }
    Ok(())
}

/// Keeps the logs of the last few single boots.
fn forget_old_boots(lab: &Lab) -> Result<()> {
    let mut dirs: Vec<_> = fs::read_dir(lab.at("build/boot"))?
        .filter_map(Result::ok)
        .filter(|e| e.file_name().to_string_lossy().starts_with("boot-"))
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    dirs.sort();
    for (_, dir) in dirs.iter().rev().skip(20) {
        remove(dir)?;
    }
    Ok(())
}

fn bochsrc(machine: &Machine, disk: &image::Image) -> String {
    let vga = [
        "/usr/share/vgabios/vgabios-stdvga.bin",
        "/usr/share/vgabios/vgabios.bin",
    ];
    let vga = vga
        .into_iter()
        .find(|v| Path::new(v).exists())
        .unwrap_or(vga[0]);
    let without = match machine.without.as_str() {
        "" => String::new(),
        features => format!(", exclude_features=\"{features}\""),
    };
    format!(
        "config_interface: textconfig\n\
         display_library: nogui\n\
         memory: guest={memory}, host={host}\n\
         cpu: model=sapphire_rapids, count={cpus}, ips={ips}, reset_on_triple_fault=0{without}\n\
         romimage: file=/usr/share/bochs/BIOS-bochs-latest\n\
         vgaromimage: file={vga}\n\
         ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata0-master: type=disk, path=disk.img, mode=flat, cylinders={cylinders}, heads=16, spt=63\n\
         boot: disk\n\
         clock: sync=none, time0=1767225600\n\
         com1: enabled=1, mode=file, dev=console.log\n\
         com2: enabled=1, mode=file, dev=output.log\n\
         log: bochs.log\n\
         panic: action=fatal\n\
         error: action=ignore\n\
         info: action=ignore\n\
         debug: action=ignore\n",
        ips = IPS,
        memory = machine.memory,
        // The most that the emulator takes; it keeps the rest in a file.
        host = machine.memory.min(2048),
        cpus = machine.cpus,
        cylinders = disk.cylinders,
    )
}

/// A file that another process appends to; it may not be there yet.
struct Tail {
    path: PathBuf,
    file: Option<File>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Tail { path, file: None }
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut bytes)
                .with_context(|| format!("reading {}", self.path.display()))?;
        }
        Ok(bytes)
    }
}

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

    fn follow(
        mut self,
        child: &mut std::process::Child,
        tell: &mut dyn FnMut(Told),
    ) -> Result<Outcome> {
        let (end, powered_off) = loop {
            interrupt::check()?;
            // Asked before reading, so that nothing written before the end is missed.
            let ended = child.try_wait()?.is_some();
            let something = self.listen(tell)?;
            if something {
                self.heard = Instant::now();
            }
            if let Some(end) = self.decide(ended) {
                break (end, ended || self.halted.is_some());
            }
            if !something {
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        if let Some(line) = self.lines.rest() {
            self.console_line(&line, tell);
        }
        Ok(Outcome {
            end,
            console: self.dir.join("console.log"),
            dir: self.dir,
            splats: self.splats,
            powered_off,
            elapsed: self.began.elapsed(),
            last_lines: self.last_lines,
            timeout: self.machine.timeout,
            silence: self.machine.silence,
        })
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
                Event::Output(bytes) => {
                    if self.running {
                        tell(Told::Output(&bytes));
                    }
                }
                Event::Mark(mark) => self.mark(&mark, tell),
            }
        }
        Ok(!console.is_empty() || !output.is_empty())
    }

    fn mark(&mut self, mark: &str, tell: &mut dyn FnMut(Told)) {
        match mark.split_once(' ').unwrap_or((mark, "")) {
            ("run", _) => self.running = true,
            ("failed", words) if !self.running => self.setup = Some(words.to_owned()),
            ("exit", status) => self.exit = Some((status.parse().unwrap_or(125), Instant::now())),
            _ => tell(Told::Mark(mark)),
        }
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

    fn decide(&self, ended: bool) -> Option<End> {
        // The rest of a panic's console comes within a moment.
        if let Some(at) = self.panic {
            return (ended || at.elapsed() > Duration::from_secs(1)).then_some(End::Panic);
        }
        // What the kernel says while it shuts down counts, so that is waited for.
        if let Some((status, at)) = self.exit {
            let late = at.elapsed() > SHUTDOWN.min(self.machine.silence);
            // Its very last words may still be on their way.
            let off = self
                .halted
                .is_some_and(|at| at.elapsed() > Duration::from_millis(300));
            return (ended || off || late).then(|| match &self.setup {
                Some(words) => End::Setup(words.clone()),
                None => End::Exit(status),
            });
        }
        if ended {
            Some(End::Died)
        } else if self.began.elapsed() > self.machine.timeout {
            Some(End::Timeout)
        } else if self.heard.elapsed() > self.machine.silence {
            Some(End::Silent)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Runs a shell script in the emulator's place.
    fn pretend(script: &str, timeout: u64, silence: u64) -> (Outcome, String, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let emulator = dir.path().join("emulator");
        fs::write(&emulator, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&emulator, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("disk.img.lock"), "").unwrap();
        let machine = Machine {
            name: "test".into(),
            emulator,
            kernel: Kernel {
                source: PathBuf::new(),
                objects: PathBuf::new(),
            },
            module: None,
            strategy: None,
            programs: Vec::new(),
            added: Vec::new(),
            cpus: 1,
            memory: 1,
            parameters: String::new(),
            without: String::new(),
            command: String::new(),
            timeout: Duration::from_millis(timeout),
            silence: Duration::from_millis(silence),
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

    const BEGIN: &str = "printf 'setting up\\036LAB begin\\n\\036LAB run\\n' >>output.log";

    #[test]
    fn output_and_status_come_through() {
        let script = format!("{BEGIN}; printf 'hello\\n\\036LAB label x\\n\\036LAB exit 3\\n' >>output.log; sleep 0.1");
        let (outcome, output, marks) = pretend(&script, 10_000, 10_000);
        assert_eq!(outcome.end, End::Exit(3));
        assert!(outcome.failure().is_none());
        assert_eq!(output, "hello\n");
        assert_eq!(marks, ["begin", "label x"]);
    }

    #[test]
    fn what_is_said_while_shutting_down_counts() {
        let script = format!("{BEGIN}; printf '\\036LAB exit 0\\n' >>output.log; sleep 0.7; echo '[ 1.0] BUG: x' >console.log");
        let (outcome, _, _) = pretend(&script, 10_000, 10_000);
        assert_eq!((outcome.end, outcome.splats.len()), (End::Exit(0), 1));
        assert!(outcome.powered_off);
        let script = format!("{BEGIN}; printf '\\036LAB exit 0\\n' >>output.log; sleep 100");
        let (outcome, _, _) = pretend(&script, 10_000, 300);
        assert_eq!(outcome.end, End::Exit(0));
        assert!(!outcome.powered_off);
    }

    #[test]
    fn a_machine_that_has_halted_is_off() {
        for words in HALTED {
            let script = format!(
                "{BEGIN}; printf '\\036LAB exit 0\\n' >>output.log; echo '[ 1.0] {words}' >console.log; sleep 100"
            );
            let (outcome, _, _) = pretend(&script, 60_000, 60_000);
            assert_eq!(outcome.end, End::Exit(0));
            assert!(outcome.powered_off && outcome.elapsed < Duration::from_secs(20));
        }
    }

    #[test]
    fn a_hung_machine_is_killed_and_explained() {
        let script = format!("{BEGIN}; echo '[ 1.0] the last words' >console.log; sleep 100");
        let (outcome, _, _) = pretend(&script, 300, 10_000);
        assert_eq!(outcome.end, End::Timeout);
        let text = outcome.failure().unwrap().to_string();
        assert!(
            text.contains("the last words")
                && text.contains("console.log")
                && text.contains("next:")
        );

        let (outcome, _, _) = pretend(&script, 10_000, 300);
        assert_eq!(outcome.end, End::Silent);
    }

    #[test]
    fn a_panic_is_told_from_a_hang() {
        let script = "echo '[ 1.0] Kernel panic - not syncing: test' >console.log; sleep 100";
        let (outcome, _, _) = pretend(script, 20_000, 20_000);
        assert_eq!(outcome.end, End::Panic);
        assert_eq!(outcome.splats.len(), 1);
        assert!(outcome.failure().unwrap().to_string().contains("panicked"));
    }

    #[test]
    fn an_emulator_that_dies_is_no_success() {
        let (outcome, _, _) = pretend(&format!("{BEGIN}; exit 0"), 5_000, 5_000);
        assert_eq!(outcome.end, End::Died);
    }

    #[test]
    fn a_module_that_does_not_load_is_the_setup_s_failure() {
        let script = "printf '\\036LAB begin\\n\\036LAB failed insmod x.ko: no\\n\\036LAB exit 125\\n' >output.log";
        let (outcome, _, _) = pretend(script, 5_000, 5_000);
        assert_eq!(outcome.end, End::Setup("insmod x.ko: no".into()));
    }
}
