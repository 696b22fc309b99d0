// SPDX-License-Identifier: GPL-2.0
//! The lab: fetches, builds, boots, tests and measures xfd_switch in an emulated machine.
//!
//! Each room uses those above it, and each file in a room is one noun.

mod base; // paths, steps, stamps, failures
mod build; // what is fetched and built
mod machine; // the emulated machine
mod measure; // figures, goals, tables
mod tests; // the list, what each test did, the verdict

mod commands; // one file for each command

use std::process::ExitCode;

fn main() -> ExitCode {
    base::interrupt::install();
    commands::cli::main()
}
