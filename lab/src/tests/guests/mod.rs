// SPDX-License-Identifier: GPL-2.0
//! Linux guests in QEMU, as users run them: what they go through on each host, and what it costs.

pub mod figures; // what was counted in one scenario
pub mod files; // what the machine gets: QEMU, the guest's kernel, its workload
pub mod goals; // what the figures must show
pub mod report; // guests.json, and the tables
pub mod run; // the scenarios that are wanted, in machines
pub mod scenario; // selftests/guest/list.toml
