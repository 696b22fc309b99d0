// SPDX-License-Identifier: GPL-2.0
//! Tests: the list, what each did, the verdict.

pub mod host; // tests that need no machine
pub mod list; // selftests/list.toml
pub mod verdict; // what came of each test: KTAP and check.json
pub mod watch; // the tests of one machine, followed
