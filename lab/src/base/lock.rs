// SPDX-License-Identifier: GPL-2.0
//! The lock that lets one lab build in a repository at a time.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::base::interrupt;

/// Taken and given back by any thread of a lab; its file names the process that holds it.
#[derive(Default)]
pub struct Lock(Mutex<Option<Flock<File>>>);

impl Lock {
    fn held(&self) -> MutexGuard<'_, Option<Flock<File>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until no other lab holds it, and says for whom; fine when this one does.
    pub fn take(&self, path: &Path) -> Result<()> {
        let mut waiting = None;
        let mut said = false;
        while self.held().is_none() {
            interrupt::check()?;
            let file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)
                .with_context(|| format!("opening {}", path.display()))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    // Never empty: who waits may read it at any moment.
                    let holder = format!("{}\n", std::process::id());
                    lock.rewind()?;
                    lock.write_all(holder.as_bytes())?;
                    lock.set_len(holder.len() as u64)?;
                    *self.held() = Some(lock);
                    return Ok(());
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let since = *waiting.get_or_insert_with(Instant::now);
                    // One that has only just taken it may not have its number there yet.
                    if !said && since.elapsed() > Duration::from_millis(500) {
                        eprintln!(
                            "lab: waiting for another lab{} to finish building",
                            holder(path)
                        );
                        said = true;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()))
                }
            }
        }
        Ok(())
    }

    pub fn release(&self) {
        self.held().take();
    }
}

/// " (process N)", as far as the lock's file says.
fn holder(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.lines().next().map(str::parse::<u32>) {
        Some(Ok(pid)) => format!(" (process {pid})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        // What a lab with a longer number has left.
        std::fs::write(&path, "4194304999\nx\n").unwrap();
        let (first, second) = (Lock::default(), Lock::default());
        first.take(&path).unwrap();
        first.take(&path).unwrap();
        assert_eq!(holder(&path), format!(" (process {})", std::process::id()));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| second.take(&path).is_ok());
            std::thread::sleep(Duration::from_millis(50));
            assert!(!waits.is_finished());
            first.release();
            assert!(waits.join().unwrap());
        });
        assert!(first.held().is_none() && second.held().is_some());
    }

    #[test]
    fn an_unnamed_holder_is_no_process() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(&dir.path().join("lock")), "");
    }
}
