// SPDX-License-Identifier: GPL-2.0
//! A trace as trace-cmd records it, trace.dat: trace-cmd itself turns it into text.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::base::failure::Failure;

/// What such a file begins with.
const MAGIC: &[u8] = b"\x17\x08\x44tracing";
/// And what perf's begins with.
const PERF_MAGIC: &[u8] = b"PERFILE2";

/// A file's text; of a trace.dat what trace-cmd says that is in it.
pub fn text(path: &Path) -> Result<String> {
    text_by(path, "trace-cmd")
}

fn text_by(path: &Path, trace_cmd: &str) -> Result<String> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("reading {shown}"))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .with_context(|| format!("reading {shown}"))?;
    if bytes.starts_with(PERF_MAGIC) {
        return Err(
            Failure::new(format!("{shown} is perf's record, not its text"))
                .next(format!(
                    "perf script --ns -i {shown} >FILE, and name that FILE"
                ))
                .into(),
        );
    }
    if !bytes.starts_with(MAGIC) {
        // A task may have any name.
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    // All digits of a time, and fields as the kernel prints them.
    let mut report = Command::new(trace_cmd);
    report.args(["report", "-t", "-N", "-i"]).arg(path);
    let output = report.stdin(Stdio::null()).output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::new(format!(
                "{shown} is a record of trace-cmd's, and there is no trace-cmd here"
            ))
            .next(format!(
                "install Debian's trace-cmd; or, where there is one: trace-cmd report -t -N -i {shown} >FILE, \
                 and name that FILE"
            ))
            .into())
        }
        other => other.context("starting trace-cmd")?,
    };
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let words: Vec<String> = words.lines().map(str::to_owned).collect();
        return Err(Failure::new(format!("trace-cmd cannot read {shown}"))
            .details(words)
            .next("is it whole, and does this trace-cmd know files of the other's version?")
            .into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn text_is_text_and_records_go_through_their_program() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let write = |bytes: &[u8]| std::fs::write(&file, bytes).unwrap();
        write(b"hello\xff\n");
        assert!(text(&file).unwrap().starts_with("hello"));
        write(b"PERFILE2 and more");
        let said = text(&file).unwrap_err().to_string();
        assert!(said.contains("next: perf script --ns -i"), "{said}");

        write(b"\x17\x08\x44tracing6\0");
        let said = text_by(&file, "/nowhere/trace-cmd")
            .unwrap_err()
            .to_string();
        assert!(said.contains("install Debian's trace-cmd"), "{said}");
        let program = |script: &str| {
            let program = dir.path().join("trace-cmd");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
            text_by(&file, program.to_str().unwrap())
        };
        let called = program("echo \"$@\"").unwrap();
        assert_eq!(called, format!("report -t -N -i {}\n", file.display()));
        let said = program("echo no space >&2; exit 1")
            .unwrap_err()
            .to_string();
        assert!(said.contains("no space"), "{said}");
    }
}
