// SPDX-License-Identifier: GPL-2.0
//! The emulated machine: what is in it, how it runs, what it says.

pub mod console; // what the machine's serial lines say: output, marks, splats
pub mod image; // the disk that the emulator boots from
pub mod initramfs; // what is in the machine
pub mod run; // one run of the emulator, followed to its end
pub mod words; // what a machine is told: words for sh, kernel parameters, CPU features
