// SPDX-License-Identifier: GPL-2.0
//! The measurement: figures, goals, tables.

pub mod collection; // the figures as they come
pub mod goals; // what the measurement must show
pub mod report; // run.json
pub mod run; // what is measured, and the last measurement
pub mod strategies; // the module's list of strategies
pub mod table; // the tables of the measurement

mod words; // the line of plain words
