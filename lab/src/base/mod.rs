// SPDX-License-Identifier: GPL-2.0
//! What every part of the lab stands on: paths, steps, stamps, failures.

pub mod choices; // what the caller chose
pub mod disk; // whether it has room
pub mod failure; // the error a user sees: what, why, log, next step
pub mod files; // written whole, listed, removed
pub mod interrupt; // ^C and the children it must take along
pub mod jobs; // how many things run at a time
pub mod layout; // where everything lies
pub mod lock; // one lab builds at a time
pub mod parallel; // several things side by side
pub mod stamp; // what was built from what, so that it is not built again
pub mod step; // one piece of work: its log, its progress, its failure
