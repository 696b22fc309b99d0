// SPDX-License-Identifier: GPL-2.0
//! The emulated machine: what is in it, how it runs, what it says.

pub mod console; // lines of the kernel's console
pub mod words; // what a machine is told: words for sh, kernel parameters, CPU features

mod bochsrc; // the emulator's configuration
mod brought; // a file that the machine sends
mod common; // what many machines have in common, packed
mod compose; // a machine's directory, ready to be run
mod follow; // one run of the emulator, followed to its end
mod image; // the disk that the emulator boots from
mod initramfs; // a tree of files, packed
mod marks; // output of the command, and marks in it
mod newest; // what is kept of old boots and archives
mod outcome; // how a run ended
mod spec; // a machine to be
mod splats; // complaints of the kernel
mod tail; // a file that grows
mod tool; // programs that make parts of the machine

pub use brought::FILES;
pub use compose::compose;
pub use follow::{run, Told};
pub use initramfs::Tree;
pub use outcome::{End, Outcome};
pub use spec::Machine;
pub use splats::Severity;
