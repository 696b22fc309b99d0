// SPDX-License-Identifier: GPL-2.0
//! The error that a user sees: what failed, why, the log that has the rest, and the next step.

use std::fmt;
use std::path::{Path, PathBuf};

/// One clear message. `Display` gives all of it, on several lines.
#[derive(Debug, Default)]
pub struct Failure {
    what: String,
    details: Vec<String>,
    log: Option<PathBuf>,
    next: Option<String>,
}

impl Failure {
    pub fn new(what: impl Into<String>) -> Self {
        Failure {
            what: what.into(),
            ..Default::default()
        }
    }

    /// Lines that show why: a tool's own words, the last console lines.
    pub fn details<I: IntoIterator<Item = S>, S: Into<String>>(mut self, lines: I) -> Self {
        self.details.extend(lines.into_iter().map(Into::into));
        self
    }

    pub fn log(mut self, log: &Path) -> Self {
        self.log = Some(log.to_owned());
        self
    }

    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for line in &self.details {
            write!(f, "\n    {line}")?;
        }
        if let Some(log) = &self.log {
            write!(f, "\n  log:  {}", log.display())?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n  next: {next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

const DISK_FULL: &str = "No space left on device";
pub const DISK_FULL_NEXT: &str =
    "free some space (`make clean` removes build/, about 6 GiB), then run the same command again";

/// The failure of a step whose tool wrote `log`: errors first, then the end, 20 lines in all.
pub fn from_log(what: &str, log: &Path, next: &str) -> Failure {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    if text.contains(DISK_FULL) {
        return Failure::new(format!("{what}: the disk is full"))
            .log(log)
            .next(DISK_FULL_NEXT);
    }
    Failure::new(what)
        .details(excerpt(&text, 20))
        .log(log)
        .next(next)
}

/// Whether a line of a tool's log reads like the reason of a failure.
fn is_error(line: &str) -> bool {
    const SIGNS: [&str; 10] = [
        "error:",
        "error[",
        "Error ",
        "fatal",
        "undefined ",
        "undefined!",
        "FAILED",
        "E: ",
        "cannot find",
        "unrecognized",
    ];
    SIGNS.iter().any(|sign| line.contains(sign))
}

/// At most `limit` lines, in their order: those that look like errors, and the last ones.
fn excerpt(text: &str, limit: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let mut keep: Vec<usize> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        if is_error(line) {
            // The lines after an error show the place.
            for near in i..(i + 3).min(lines.len()) {
                if keep.len() < limit * 3 / 4 && keep.last().is_none_or(|&k| k < near) {
                    keep.push(near);
                }
            }
        }
    }
    let room = limit - keep.len();
    let tail = lines.len().saturating_sub(room);
    keep.extend(
        (tail..lines.len())
            .filter(|i| keep.binary_search(i).is_err())
            .collect::<Vec<_>>(),
    );
    keep.sort_unstable();
    keep.into_iter().map(|i| lines[i].to_owned()).collect()
}

/// Says one clear thing about an I/O error that is about the disk, wherever it came from.
pub fn explain(error: &anyhow::Error) -> String {
    for cause in error.chain() {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if io.raw_os_error() == Some(nix::errno::Errno::ENOSPC as i32) {
                return format!("{error:#}: the disk is full\n  next: {DISK_FULL_NEXT}");
            }
        }
    }
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_before_the_tail() {
        let mut text = String::from("a.c:1:2: error: no such thing\n  1 | x\n    | ^\n");
        for i in 0..100 {
            text += &format!("CC file{i}.o\n");
        }
        text += "make: *** [Makefile:1: all] Error 2\n";
        let lines = excerpt(&text, 20);
        assert!(lines.len() <= 20);
        assert!(lines[0].contains("no such thing"));
        assert!(lines[1].contains("1 | x"));
        assert!(lines.last().unwrap().contains("Error 2"));
        assert_eq!(lines.iter().filter(|l| l.contains("Error 2")).count(), 1);
    }

    #[test]
    fn short_logs_are_shown_whole() {
        assert_eq!(excerpt("one\n\ntwo\n", 20), ["one", "two"]);
    }

    #[test]
    fn a_full_disk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        std::fs::write(&log, "cc1: fatal error: a.o: No space left on device\n").unwrap();
        let text = from_log("building x failed", &log, "look").to_string();
        assert!(text.contains("disk is full") && text.contains("x.log") && text.contains("next:"));

        let error = anyhow::Error::from(std::io::Error::from_raw_os_error(28)).context("writing");
        assert!(explain(&error).contains("disk is full"));
    }
}
