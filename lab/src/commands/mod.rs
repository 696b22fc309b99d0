// SPDX-License-Identifier: GPL-2.0
//! One file for each command.

pub mod bench; // `lab bench`: how long VM-exits take, as distributions
pub mod bisect; // `lab bisect`: the kernel after each patch of the host series
pub mod boot; // `lab boot`: one command in one machine
pub mod check; // `lab check`: every test, as KTAP and check.json
pub mod cli; // the command line
pub mod costs; // `lab costs`: what the counts come to in cycles
pub mod coverage; // `lab coverage`: the lines of the patches that no test runs
pub mod deb; // `lab deb`: the kernel and the module as Debian packages
pub mod edit; // `lab kernel`: the loop of a developer of the host series
pub mod explore; // `lab explore`: every interleaving of the shipped save path
pub mod figures; // `lab figures`: the last measurement, written into the documents
pub mod fits; // `lab fits`: does a kernel source take the host series?
pub mod fuzz; // `lab fuzz`: random guest programs, which disturbances must not change
pub mod guests; // `lab guests`: Linux guests in QEMU, what they go through and what it costs
pub mod hostile; // `lab hostile`: userspace that means ill
pub mod kit; // `lab kit`: what a kit has found on a host
pub mod mutants; // `lab mutants`: broken synchronisation points, and the tests that must notice
pub mod nightly; // `lab nightly`: all that takes long
pub mod run; // `lab run`: every strategy, measured
pub mod upstream; // `lab upstream`: the kernel tree's own KVM selftests, with and without the module
