// SPDX-License-Identifier: GPL-2.0
//! ^C: a flag that every wait looks at, and children that never outlive the lab.

use std::cell::OnceCell;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

thread_local! {
    /// Set when what this thread does is no longer wanted.
    static UNWANTED: OnceCell<Arc<AtomicBool>> = const { OnceCell::new() };
}

/// The error with which everything unwinds after ^C.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "interrupted; run the same command again and it goes on from here"
        )
    }
}

impl std::error::Error for Interrupted {}

/// From now on SIGINT, SIGTERM and SIGHUP set the flag; a second one ends the lab at once.
pub fn install() {
    let flag = FLAG.get_or_init(Default::default);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // Registered first so that it sees the flag as the first signal left it.
        let _ = signal_hook::flag::register_conditional_shutdown(signal as i32, 130, flag.clone());
        let _ = signal_hook::flag::register(signal as i32, flag.clone());
    }
}

/// Fails once the user has asked to stop, or what this thread does is no longer wanted.
pub fn check() -> Result<(), Interrupted> {
    let user = FLAG.get().is_some_and(|f| f.load(Ordering::Relaxed));
    let unwanted = UNWANTED.with(|u| u.get().is_some_and(|f| f.load(Ordering::Relaxed)));
    match user || unwanted {
        true => Err(Interrupted),
        false => Ok(()),
    }
}

/// Makes [`check`] fail in this thread once `flag` is set.
pub fn ends_with(flag: Arc<AtomicBool>) {
    // A thread does one thing in its life.
    UNWANTED.with(|u| u.set(flag).ok());
}

/// Makes `command` the leader of a process group of its own, which dies with the lab.
pub fn tie(command: &mut Command) -> &mut Command {
    command.process_group(0);
    // SAFETY: prctl() is async-signal-safe and the closure allocates nothing.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
            Ok(())
        })
    }
}

/// Ends a child made with [`tie`], and all of its group.
pub fn end(child: &mut Child) {
    let group = Pid::from_raw(child.id() as i32);
    let _ = killpg(group, Signal::SIGTERM);
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Also after the leader has gone: others of its group may be left.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    #[test]
    fn a_whole_group_ends() {
        // Whoever outlives the shell has its output, and uses it.
        let script = "(sleep 20; echo alive) & echo begun; wait";
        let mut child = tie(Command::new("sh").args(["-c", script]))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "begun");
        end(&mut child);
        assert!(lines.next().is_none());
    }
}
