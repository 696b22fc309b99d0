// SPDX-License-Identifier: GPL-2.0
//! A file that another process appends to; it may not be there yet.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};

pub struct Tail {
    path: PathBuf,
    file: Option<File>,
}

impl Tail {
    pub fn new(path: PathBuf) -> Self {
        Tail { path, file: None }
    }

    /// What is new since the last call.
    pub fn read(&mut self) -> Result<Vec<u8>> {
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
