// SPDX-License-Identifier: GPL-2.0
//! Debian's tools that show trace events, with their libraries.

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

const PERF: Unpacked = Unpacked {
    name: "perf",
    program: "usr/bin/perf",
    files: &[],
};

/// trace-cmd's directory: see [`Unpacked::build`].
pub fn trace_cmd(lab: &Lab) -> Result<PathBuf> {
    TRACE_CMD.build(lab, &Pins::read(lab)?.trace_cmd)
}

/// perf's.
pub fn perf(lab: &Lab) -> Result<PathBuf> {
    PERF.build(lab, &Pins::read(lab)?.perf)
}
