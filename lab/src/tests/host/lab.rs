// SPDX-License-Identifier: GPL-2.0
//! The lab's own tests: unit tests, rustfmt, clippy.

use std::process::Command;

use crate::base::layout::Lab;
use crate::tests::host::{host, program, Host};

pub fn tests() -> Vec<Host> {
    const CLIPPY: [&str; 6] = [
        "clippy",
        "--release",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    [
        ("unit tests", &["test", "--release"][..]),
        ("rustfmt", &["fmt", "--check"]),
        ("clippy", &CLIPPY),
    ]
    .into_iter()
    .map(|(what, arguments)| {
        let name = format!("lab: {what}");
        host(name.clone(), move |lab| {
            program(
                lab,
                &format!("check-lab-{}", arguments[0]),
                &name,
                "mend what the log shows",
                &mut cargo(lab, arguments),
            )
        })
    })
    .collect()
}

fn cargo(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .arg(arguments[0])
        .arg("--manifest-path")
        .arg(lab.at("lab/Cargo.toml"))
        .args(&arguments[1..])
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    if arguments[0] != "fmt" {
        command.env("CARGO_TARGET_DIR", lab.at("build/lab"));
    }
    command
}
