// SPDX-License-Identifier: GPL-2.0
//! A file that the machine sends over its second serial line, packed: see lab_get in guest/lab.sh.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::machine::tool;

/// Where the files of a machine lie, in its directory.
pub const FILES: &str = "files";

/// One that is on its way.
pub struct Brought {
    dir: PathBuf,
    packed: PathBuf,
    file: File,
}

impl Brought {
    /// The machine's directory, and what the machine calls the file, without a path.
    pub fn begin(dir: &Path, name: &str) -> Result<Brought> {
        fs::create_dir_all(dir.join(FILES))?;
        let name = Path::new(name).file_name().unwrap_or_default();
        let mut packed = dir.join(FILES).join(name).into_os_string();
        packed.push(".b64");
        let packed = PathBuf::from(packed);
        let file = File::create(&packed);
        Ok(Brought {
            dir: dir.to_owned(),
            file: file.with_context(|| format!("creating {}", packed.display()))?,
            packed,
        })
    }

    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .with_context(|| format!("writing {}", self.packed.display()))
    }

    /// It has arrived.
    pub fn end(self) -> Result<()> {
        let mut unpack = Command::new("bash");
        let script = "set -o pipefail; base64 -di \"$1\" | gzip -dc >\"$2\"";
        unpack.args(["-c", script, "unpack"]).arg(&self.packed);
        unpack.arg(self.packed.with_extension(""));
        tool::run(&mut unpack, "unpacking a file of the machine", &self.dir)?;
        Ok(fs::remove_file(&self.packed)?)
    }
}
