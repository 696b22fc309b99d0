// SPDX-License-Identifier: GPL-2.0
//! Where everything lies, the caller's choices, and the lock that lets one lab build at a time.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::base::failure::Failure;
use crate::base::interrupt;

/// What the caller chose, on the command line or through make's variables.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Choices {
    /// `no`: install nothing, only say what is missing
    #[arg(long, env = "SETUP", global = true, hide_env_values = true)]
    pub setup: Option<String>,
    /// Jobs for make [default: the number of CPUs]
    #[arg(long, env = "JOBS", global = true, hide_env_values = true)]
    pub jobs: Option<String>,
    /// A prepared kernel build directory to build the module against
    #[arg(long, env = "KDIR", global = true, hide_env_values = true)]
    pub kdir: Option<PathBuf>,
    /// The kernel series, which must be the one that patches/linux is for
    #[arg(long, env = "KERNEL", global = true, hide_env_values = true)]
    pub series: Option<String>,
    /// A kernel source archive (.deb or .tar.*) of your own instead of the download
    #[arg(long, env = "KERNEL_SOURCE", global = true, hide_env_values = true)]
    pub kernel_source: Option<PathBuf>,
    /// A Bochs source archive (.tar.*) of your own instead of the download
    #[arg(long, env = "EMULATOR_SOURCE", global = true, hide_env_values = true)]
    pub emulator_source: Option<PathBuf>,
    /// Where downloads are kept [default: $XDG_CACHE_HOME/xfd_switch/downloads]
    #[arg(long, env = "DOWNLOADS", global = true, hide_env_values = true)]
    pub downloads: Option<PathBuf>,
}

impl Choices {
    pub fn may_install(&self) -> bool {
        self.setup.as_deref() != Some("no")
    }

    pub fn jobs(&self) -> usize {
        self.jobs
            .as_deref()
            .and_then(|j| j.parse().ok())
            .filter(|&j| j > 0)
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
    }
}

/// The lab: the repository it works in and what the caller chose.
pub struct Lab {
    pub root: PathBuf,
    pub choices: Choices,
    lock: Mutex<Option<Flock<File>>>,
}

impl Lab {
    pub fn open(choices: Choices) -> Result<Lab> {
        Lab::at_root(&find_root()?, choices)
    }

    /// The lab of a repository that is already found.
    pub fn at_root(root: &Path, choices: Choices) -> Result<Lab> {
        let lab = Lab {
            root: root.to_owned(),
            choices,
            lock: Mutex::new(None),
        };
        fs::create_dir_all(lab.logs())
            .with_context(|| format!("creating {}", lab.logs().display()))?;
        Ok(lab)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Flock<File>>> {
        self.lock.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A path below the repository's root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub fn build(&self) -> PathBuf {
        self.at("build")
    }

    pub fn logs(&self) -> PathBuf {
        self.at("build/logs")
    }

    pub fn log(&self, step: &str) -> PathBuf {
        self.logs().join(format!("{step}.log"))
    }

    /// Downloads lie outside of build/, so that `make clean` keeps them.
    pub fn downloads(&self) -> PathBuf {
        if let Some(dir) = &self.choices.downloads {
            return self.root.join(dir);
        }
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
            .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))
            .unwrap_or_else(|| self.build());
        cache.join("xfd_switch/downloads")
    }

    /// Waits until no other lab builds in this repository; held until [`Lab::unlock`].
    pub fn lock(&self) -> Result<()> {
        if self.held().is_some() {
            return Ok(());
        }
        let path = self.build().join("lock");
        let mut said = false;
        loop {
            interrupt::check()?;
            let file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
                .with_context(|| format!("opening {}", path.display()))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut held) => {
                    held.set_len(0)?;
                    held.rewind()?;
                    write!(held, "{}", std::process::id())?;
                    *self.held() = Some(held);
                    return Ok(());
                }
                Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                    if !said {
                        let mut pid = String::new();
                        let _ = file.read_to_string(&mut pid);
                        eprintln!(
                            "lab: waiting for another lab (process {pid}) to finish building"
                        );
                        said = true;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(300));
                }
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()))
                }
            }
        }
    }

    /// Lets other labs build; booting needs no lock, a boot has its own directory.
    pub fn unlock(&self) {
        self.held().take();
    }

    /// Fails early when the disk has not `gib` GiB left for `what`.
    pub fn need_space(&self, gib: u64, what: &str) -> Result<()> {
        let stat = nix::sys::statvfs::statvfs(&self.build())?;
        let free = stat.blocks_available() as u64 * stat.fragment_size() as u64;
        if free >> 20 >= gib << 10 {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the disk is too full: {what} needs {gib} GiB in {}, {:.1} GiB are free",
            self.build().display(),
            free as f64 / (1u64 << 30) as f64
        ))
        .next("free some space, then run the same command again")
        .into())
    }

    /// A path as the user would write it: relative to the root where it lies below it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// The repository: above the current directory, or above the lab's own executable.
fn find_root() -> Result<PathBuf> {
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    for start in starts.into_iter().flatten() {
        for dir in start.ancestors() {
            if dir.join("lab/config/sources.toml").is_file() {
                return Ok(dir.to_owned());
            }
        }
    }
    Err(Failure::new(
        "this is not a checkout of xfd_switch (no lab/config/sources.toml here or above)",
    )
    .next("run the lab inside the repository")
    .into())
}
