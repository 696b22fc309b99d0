// SPDX-License-Identifier: GPL-2.0
//! How a machine's run ended, and what to tell the user of an end that is not the command's own.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::failure::Failure;

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
    /// Of the console.
    pub(super) last_lines: Vec<String>,
    /// What the machine was given.
    pub(super) timeout: Duration,
    pub(super) silence: Duration,
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
