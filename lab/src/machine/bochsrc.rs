// SPDX-License-Identifier: GPL-2.0
//! The emulator's configuration: the machine's hardware, its disk, and where its serial lines go.

use std::path::Path;

use crate::machine::image::Image;
use crate::machine::Machine;

/// The text of `bochsrc`, to be read in the machine's directory.
pub fn bochsrc(machine: &Machine, disk: &Image) -> String {
    let vga = [
        "/usr/share/vgabios/vgabios-stdvga.bin",
        "/usr/share/vgabios/vgabios.bin",
    ];
    let vga = vga
        .into_iter()
        .find(|v| Path::new(v).exists())
        .unwrap_or(vga[0]);
    // While the CPU has SMAP the emulator walks the page tables for each byte that the kernel copies
    // from or to user space: tests took three times as long.
    let without = match machine.without.as_str() {
        "" => "smap".to_owned(),
        features => format!("smap,{features}"),
    };
    format!(
        "config_interface: textconfig\n\
         display_library: nogui\n\
         memory: guest={memory}, host={host}\n\
         cpu: model=sapphire_rapids, count={cpus}, ips=20000000, reset_on_triple_fault=0, exclude_features=\"{without}\"\n\
         romimage: file=/usr/share/bochs/BIOS-bochs-latest\n\
         vgaromimage: file={vga}\n\
         ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata0-master: type=disk, path=disk.img, mode=flat, cylinders={cylinders}, heads=16, spt=63\n\
         boot: disk\n\
         clock: sync=none, time0=1767225600\n\
         com1: enabled=1, mode=file, dev=console.log\n\
         com2: enabled=1, mode=file, dev=output.log\n\
         log: bochs.log\n\
         panic: action=fatal\n\
         error: action=ignore\n\
         info: action=ignore\n\
         debug: action=ignore\n",
        memory = machine.memory,
        // The most that the emulator takes; it keeps the rest in a file.
        host = machine.memory.min(2048),
        cpus = machine.cpus,
        cylinders = disk.cylinders,
    )
}
