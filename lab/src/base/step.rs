// SPDX-License-Identifier: GPL-2.0
//! One piece of work: its programs write to one log, its progress is shown, and its failure names
//! the log and the next command.

use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::base::failure::{self, Failure};
use crate::base::interrupt;
use crate::base::layout::Lab;

/// The bars of all steps in progress, one below the other.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A step in progress. Dropped without [`Step::done`], it has failed.
pub struct Step {
    name: String,
    next: String,
    log_path: PathBuf,
    log: File,
    bar: ProgressBar,
    terminal: bool,
    began: Instant,
    said: Instant,
    lines: usize,
}

impl Step {
    /// `name` says what is done ("building the stock kernel"); `log` names its log.
    pub fn begin(lab: &Lab, log: &str, name: &str) -> Result<Step> {
        interrupt::check()?;
        let log_path = lab.log(log);
        let file =
            File::create(&log_path).with_context(|| format!("creating {}", log_path.display()))?;
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal {
            let style =
                ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg:.dim}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = BARS.add(ProgressBar::new_spinner());
            bar.set_style(style);
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        } else {
            eprintln!("lab: {name} (log: {})", lab.shown(&log_path));
            ProgressBar::hidden()
        };
        Ok(Step {
            name: name.to_owned(),
            next: "look at the log, mend the cause, then run the same command again".into(),
            log_path,
            log: file,
            bar,
            terminal,
            began: Instant::now(),
            said: Instant::now(),
            lines: 0,
        })
    }

    /// What to do when it fails.
    pub fn next(mut self, next: &str) -> Self {
        self.next = next.to_owned();
        self
    }

    /// Runs a program to its end; anything but exit code 0 is the step's failure.
    pub fn run(&mut self, command: &mut Command) -> Result<()> {
        if self.status(command)? {
            Ok(())
        } else {
            Err(self.failed().into())
        }
    }

    /// Runs a program to its end and says whether it went well.
    pub fn status(&mut self, command: &mut Command) -> Result<bool> {
        writeln!(self.log, "$ {command:?}")?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = interrupt::tie(command)
            .stdin(Stdio::null())
            .stdout(self.log.try_clone()?)
            .stderr(self.log.try_clone()?)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let mut tail = File::open(&self.log_path)?;
        tail.seek(SeekFrom::End(0))?;
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            if let Err(interrupted) = interrupt::check() {
                interrupt::end(&mut child);
                return Err(interrupted.into());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
            self.follow(&mut tail)?;
        }
    }

    /// The failure of this step, with what its log says.
    pub fn failed(&self) -> Failure {
        failure::from_log(&format!("{} failed", self.name), &self.log_path, &self.next)
    }

    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// The last lines of the log.
    pub fn tail(&self, lines: usize) -> Vec<String> {
        let bytes = std::fs::read(&self.log_path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..]
            .iter()
            .map(|l| (*l).to_owned())
            .collect()
    }

    pub fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.log, "{line}")?;
        self.bar.set_message(line.to_owned());
        Ok(())
    }

    pub fn done(self) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        BARS.suspend(|| eprintln!("lab: {}: done in {seconds:.1} s", self.name));
    }

    fn follow(&mut self, tail: &mut File) -> Result<()> {
        let mut new = Vec::new();
        tail.read_to_end(&mut new)?;
        let text = String::from_utf8_lossy(&new);
        self.lines += text.lines().count();
        if let Some(last) = text.lines().rfind(|l| !l.trim().is_empty()) {
            self.bar
                .set_message(format!("{} lines, {}", self.lines, last.trim()));
        }
        if !self.terminal && self.said.elapsed() > Duration::from_secs(60) {
            self.said = Instant::now();
            let seconds = self.began.elapsed().as_secs();
            eprintln!(
                "lab: {}: {seconds} s, {} lines of log",
                self.name, self.lines
            );
        }
        Ok(())
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Runs a quick program whose output is wanted; `None` when it is absent or fails.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
