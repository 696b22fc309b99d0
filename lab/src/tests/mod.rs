// SPDX-License-Identifier: GPL-2.0
//! Tests: the list, what each did, the verdict.

pub mod column; // tests that have a machine in common, until each has a result
pub mod fuzz; // random guest programs, as tests of a machine
pub mod gcov; // what the coverage kernel has counted
pub mod guests; // Linux guests in QEMU
pub mod host; // tests that need no machine
pub mod hosts; // what a guest runs on
pub mod kept; // results that outlive the lab
pub mod kit; // what is carried to a host of real hardware
pub mod ktap; // what a test writes
pub mod list; // selftests/list.toml
pub mod results; // what the lab writes of tests: KTAP and check.json
pub mod select; // the tests that the command line names
pub mod session; // tests in a machine, from its parts to its end
pub mod verdict; // what was seen of a test, and the verdict
pub mod watch; // the tests of one machine, followed
