// SPDX-License-Identifier: GPL-2.0
//! The lab's own tests, and the explorer's: unit tests, rustfmt, clippy.

use std::process::Command;

use crate::base::layout::Lab;
use crate::tests::host::{host, program, Host};

/// The name of each in its rows, where its Cargo.toml is, and where it is built.
const CRATES: [(&str, &str, &str); 2] = [
    ("lab", "lab/Cargo.toml", "build/lab"),
    ("explore", "model/Cargo.toml", "build/model"),
];

pub fn tests() -> Vec<Host> {
    const CLIPPY: [&str; 6] = [
        "clippy",
        "--release",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    let all = [
        ("unit tests", &["test", "--release"][..]),
        ("rustfmt", &["fmt", "--check"]),
        ("clippy", &CLIPPY),
    ];
    CRATES
        .into_iter()
        .flat_map(|of| all.map(|(what, arguments)| (of, what, arguments)))
        .map(|((of, manifest, target), what, arguments)| {
            let name = format!("{of}: {what}");
            host(name.clone(), move |lab| {
                program(
                    lab,
                    &format!("check-{of}-{}", arguments[0]),
                    &name,
                    "mend what the log shows",
                    &mut cargo(lab, manifest, target, arguments),
                )
            })
        })
        .collect()
}

fn cargo(lab: &Lab, manifest: &str, target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .arg(arguments[0])
        .arg("--manifest-path")
        .arg(lab.at(manifest))
        .args(&arguments[1..])
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    if arguments[0] != "fmt" {
        command.env("CARGO_TARGET_DIR", lab.at(target));
    }
    command
}
