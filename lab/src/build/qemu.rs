// SPDX-License-Identifier: GPL-2.0
//! Debian's QEMU with its libraries and firmware.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::layout::Lab;
use crate::build::download::Pins;
use crate::build::unpacked::Unpacked;

const QEMU: Unpacked = Unpacked {
    name: "qemu",
    // The smaller one of the package's: the machine type microvm, and what it takes.
    program: "usr/bin/qemu-system-x86_64-microvm",
    // What it reads when a guest starts from a kernel image.
    files: &[
        "usr/share/qemu/qboot.rom",
        "usr/share/qemu/linuxboot_dma.bin",
    ],
};

/// Its directory: see [`Unpacked::build`].
pub fn build(lab: &Lab) -> Result<PathBuf> {
    QEMU.build(lab, &Pins::read(lab)?.qemu)
}
