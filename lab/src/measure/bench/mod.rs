// SPDX-License-Identifier: GPL-2.0
//! How long VM-exits take: distributions from kvm_exit and kvm_entry, of the lab's machines or of
//! someone's own, and pictures of them.

pub mod figure; // what a picture shows
pub mod from; // traces that someone has recorded
pub mod page; // the pictures, and a page with all of them
pub mod picture; // a figure, drawn
pub mod report; // bench.json
pub mod run; // the lab's own machines

mod distribution; // of lengths of exits
mod event; // what of a trace is looked at
mod pairs; // an exit and the entry after it
mod trace; // a trace as text
mod trace_dat; // a trace as trace-cmd records it
