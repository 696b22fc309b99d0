// SPDX-License-Identifier: GPL-2.0
//! Debian's trace-cmd with its libraries.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::layout::Lab;
use crate::build::download::Pins;
use crate::build::unpacked::Unpacked;

const TRACE_CMD: Unpacked = Unpacked {
    name: "trace-cmd",
    program: "usr/bin/trace-cmd",
    files: &[],
};

/// Its directory: see [`Unpacked::build`].
pub fn build(lab: &Lab) -> Result<PathBuf> {
    TRACE_CMD.build(lab, &Pins::read(lab)?.trace_cmd)
}
