// SPDX-License-Identifier: GPL-2.0
//! What every part of the lab stands on: paths, steps, stamps, failures.

pub mod failure; // the error a user sees: what, why, log, next step
pub mod files; // written whole, listed, removed
pub mod interrupt; // ^C and the children it must take along
pub mod layout; // where everything lies
pub mod parallel; // several things at a time
pub mod stamp; // what was built from what, so that it is not built again
pub mod step; // one piece of work: its log, its progress, its failure
pub mod table; // a table for the terminal
