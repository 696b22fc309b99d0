// SPDX-License-Identifier: GPL-2.0
//! The lab: fetches, builds, boots, tests and measures xfd_switch in an emulated machine.
//!
//! This file is the table of contents; each module is one noun.

mod bisect; // `lab bisect`: the kernel after each patch of the host series
mod boot; // `lab boot`: one command in one machine
mod check; // `lab check`: every test, as KTAP and check.json
mod cli; // the command line
mod console; // what the machine's serial lines say: output, marks, splats
mod copy; // copies of a built kernel, for other patches
mod download; // pinned files through apt's own tools
mod edit; // `lab kernel`: the loop of a developer of the host series
mod emulator; // Bochs, with and without our series
mod failure; // the error a user sees: what, why, log, next step
mod goals; // what the measurement must show
mod host; // tests that need no machine
mod image; // the disk that the emulator boots from
mod initramfs; // what is in the machine
mod interrupt; // ^C and the children it must take along
mod kernel; // the stock, the patched and the debug kernel
mod kmod; // the kernel modules that tests load
mod layout; // where everything lies
mod list; // selftests/list.toml
mod machine; // one run of the emulator, followed to its end
mod module; // xfd_switch.ko, and its deliberately broken twin
mod mutants; // `lab mutants`: broken synchronisation points, and the tests that must notice
mod packages; // Debian packages and bindgen
mod report; // run.json
mod run; // `lab run`: every strategy, measured
mod selftests; // the programs that run inside
mod series; // patch series and the trees they apply to
mod source; // unpacked sources
mod stamp; // what was built from what, so that it is not built again
mod step; // one piece of work: its log, its progress, its failure
mod strategies; // config/strategies.toml
mod table; // the tables of the measurement
mod upstream; // `lab upstream`: the kernel tree's own KVM selftests, with and without the module
mod verdict; // what came of each test: KTAP and check.json
mod watch; // the tests of one machine, followed

use std::process::ExitCode;

fn main() -> ExitCode {
    interrupt::install();
    cli::main()
}
