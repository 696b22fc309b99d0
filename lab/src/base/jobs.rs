// SPDX-License-Identifier: GPL-2.0
//! How many things may run at a time (JOBS), shared by all that the lab starts: a thread that works
//! holds one slot, and the makes and cargos take from the same ones through GNU make's jobserver.
//!
//! The lab itself holds one slot while no thread does, as make counts itself for one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::{fcntl, FcntlArg, FdFlag, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::base::interrupt;

/// How long a change can go unnoticed.
const PATIENCE: Duration = Duration::from_millis(50);

pub struct Jobs {
    number: usize,
    tokens: Tokens,
    slots: Mutex<Slots>,
    changed: Condvar,
}

/// Slots that are not the jobserver's to give.
struct Slots {
    /// Kept for threads that wait: a running make would be quicker to take it.
    kept: usize,
    held: usize,
    /// Who waits, first come, first served.
    waiting: VecDeque<ThreadId>,
}

/// One thread's right to work; given back when dropped.
pub struct Slot<'a>(&'a Jobs);

impl Jobs {
    pub fn new(number: usize) -> Result<Jobs> {
        Ok(Jobs {
            number,
            tokens: Tokens::new(number - 1).context("making a pipe for the jobs")?,
            slots: Mutex::new(Slots {
                kept: 1,
                held: 0,
                waiting: VecDeque::new(),
            }),
            changed: Condvar::new(),
        })
    }

    /// JOBS
    pub fn number(&self) -> usize {
        self.number
    }

    /// Lets a make or a cargo start more jobs while there are slots. It must not be given -j.
    pub fn share(&self, command: &mut Command) {
        // What a caller's make has left is not for our makes.
        for inherited in ["MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"] {
            command.env_remove(inherited);
        }
        self.tokens.pass_to(command);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for a slot.
    pub fn take(&self) -> Result<Slot<'_>> {
        let mut slots = self.slots();
        let me = std::thread::current().id();
        slots.waiting.push_back(me);
        let result = loop {
            if slots.waiting.front() == Some(&me) {
                if slots.kept > 0 {
                    slots.kept -= 1;
                    break Ok(());
                }
                if self.tokens.take() {
                    break Ok(());
                }
            }
            if let Err(interrupted) = interrupt::check() {
                break Err(interrupted.into());
            }
            slots = if slots.waiting.front() == Some(&me) {
                drop(slots);
                self.tokens.wait();
                self.slots()
            } else {
                self.changed
                    .wait_timeout(slots, PATIENCE)
                    .unwrap_or_else(|e| e.into_inner())
                    .0
            };
        };
        slots.waiting.retain(|&thread| thread != me);
        self.changed.notify_all();
        result.map(|()| {
            slots.held += 1;
            Slot(self)
        })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut slots = self.0.slots();
        slots.held -= 1;
        if slots.kept < slots.waiting.len() || slots.held == 0 && slots.kept == 0 {
            slots.kept += 1;
            self.0.changed.notify_all();
        } else {
            self.0.tokens.give(1);
        }
    }
}

/// The pipe of a jobserver: each byte in it is a job that may be started.
///
/// Not the crate of that name: it cannot look into a pipe of its own without blocking.
struct Tokens {
    read: OwnedFd,
    write: File,
    /// The read end once more, without blocking, which is no business of the makes'.
    look: File,
}

impl Tokens {
    fn new(number: usize) -> Result<Tokens> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let look = File::options()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(format!("/proc/self/fd/{}", read.as_raw_fd()))?;
        let tokens = Tokens {
            read,
            write: write.into(),
            look,
        };
        tokens.give(number);
        Ok(tokens)
    }

    fn give(&self, number: usize) {
        // It can only fail when nobody can read it any more.
        let _ = (&self.write).write_all(&vec![b'+'; number]);
    }

    /// Whether there was one.
    fn take(&self) -> bool {
        (&self.look).read(&mut [0]).is_ok_and(|n| n == 1)
    }

    /// Waits a moment for one. Woken by the make that gives it back, who waits here is often quicker
    /// than that make itself, which first has to expand its next recipe.
    fn wait(&self) {
        let mut look = [PollFd::new(self.look.as_fd(), PollFlags::POLLIN)];
        // However it ends, the caller looks again.
        let _ = poll(
            &mut look,
            PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO),
        );
    }

    /// In the form that GNU make had before 4.4, which all take.
    fn pass_to(&self, command: &mut Command) {
        let (read, write) = (self.read.as_raw_fd(), self.write.as_raw_fd());
        let flags = format!("-j --jobserver-fds={read},{write} --jobserver-auth={read},{write}");
        // make closes the pipe for whatever is no make, but does not tell it so, and a rustc complains
        // of that. It looks here first, and takes these for no pipe.
        let for_rustc = match command.get_program() == "cargo" {
            true => &flags,
            false => "--jobserver-auth=-1,-1",
        };
        command
            .env("CARGO_MAKEFLAGS", for_rustc)
            .env("MAKEFLAGS", &flags);
        // SAFETY: fcntl() is async-signal-safe and the closure allocates nothing.
        unsafe {
            command.pre_exec(move || {
                for end in [read, write] {
                    fcntl(end, FcntlArg::F_SETFD(FdFlag::empty()))?;
                }
                Ok(())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_slots_than_jobs() {
        let jobs = Jobs::new(2).unwrap();
        for _ in 0..3 {
            let (one, two) = (jobs.take().unwrap(), jobs.take().unwrap());
            assert!(!jobs.tokens.take());
            drop((one, two));
            // One is the lab's own again.
            assert_eq!(jobs.slots().kept, 1);
        }
    }

    #[test]
    fn a_thread_that_waits_comes_before_the_makes() {
        let jobs = Jobs::new(1).unwrap();
        let held = jobs.take().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| jobs.take().map(drop).is_ok());
            while jobs.slots().waiting.is_empty() {
                std::thread::yield_now();
            }
            drop(held);
            assert!(!jobs.tokens.take());
            assert!(waits.join().unwrap());
        });
    }

    #[test]
    fn makes_share_the_slots() {
        let dir = tempfile::tempdir().unwrap();
        // Each of four jobs says how many run while it does.
        let makefile =
            "all: a b c d\na b c d:\n\t@touch $@.runs; ls | grep -c runs; sleep 0.3; rm $@.runs\n";
        std::fs::write(dir.path().join("Makefile"), makefile).unwrap();
        let most = |jobs: &Jobs| {
            let mut make = Command::new("make");
            jobs.share(make.arg("-s").current_dir(dir.path()));
            let output = make.output().unwrap();
            assert!(output.stderr.is_empty(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().map(|n| n.parse::<usize>().unwrap()).max()
        };
        assert_eq!(most(&Jobs::new(1).unwrap()), Some(1));
        let jobs = Jobs::new(3).unwrap();
        assert_eq!(most(&jobs), Some(3));
        let _slots = (jobs.take().unwrap(), jobs.take().unwrap());
        assert_eq!(most(&jobs), Some(2));
    }

    #[test]
    fn a_compiler_that_a_make_starts_does_not_complain() {
        let dir = tempfile::tempdir().unwrap();
        let makefile = "x := $(shell echo | rustc --crate-type lib --emit metadata - >&2)\nall:\n";
        std::fs::write(dir.path().join("Makefile"), makefile).unwrap();
        let mut make = Command::new("make");
        Jobs::new(2)
            .unwrap()
            .share(make.arg("-s").current_dir(dir.path()));
        let output = make.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }

    #[test]
    fn a_running_make_does_not_starve_a_thread() {
        let dir = tempfile::tempdir().unwrap();
        let makefile = "all: $(shell seq 200)\n%:\n\t@sleep 0.02\n";
        std::fs::write(dir.path().join("Makefile"), makefile).unwrap();
        let jobs = Jobs::new(2).unwrap();
        let _of_make = jobs.take().unwrap();
        let mut make = Command::new("make");
        jobs.share(make.arg("-s").current_dir(dir.path()));
        let mut make = make.spawn().unwrap();
        while jobs.tokens.take() {
            // Not before the make has it.
            jobs.tokens.give(1);
            std::thread::sleep(Duration::from_millis(1));
        }
        let slot = jobs.take().unwrap();
        assert!(make.try_wait().unwrap().is_none());
        drop(slot);
        assert!(make.wait().unwrap().success());
    }
}
