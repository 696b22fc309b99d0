// SPDX-License-Identifier: GPL-2.0
//! The measurement: figures, goals, tables, costs.

pub mod bench; // how long VM-exits take: distributions and pictures
pub mod collection; // the figures as they come
pub mod costs; // the ledger of costs, and what the counts come to with it
pub mod goals; // what the measurement must show
pub mod kit; // what a kit has found on a host
pub mod report; // run.json
pub mod run; // what is measured, and the last measurement
pub mod strategies; // the module's list of strategies
pub mod table; // the tables of the measurement

mod interval; // what something costs at least, and at most
mod words; // the line of plain words
