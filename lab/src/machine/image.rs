// SPDX-License-Identifier: GPL-2.0
//! The disk that the emulator boots from: a FAT file system with syslinux, made without root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::machine::tool;

const HEADS: u64 = 16;
const SECTORS: u64 = 63;
const CYLINDER: u64 = HEADS * SECTORS * 512;

pub struct Image {
    /// What the emulator must be told about it.
    pub cylinders: u64,
}

/// Makes `dir`/disk.img from a kernel, initrd parts (concatenated) and the kernel's parameters.
pub fn make(dir: &Path, kernel: &Path, initrd: &[&[u8]], parameters: &str) -> Result<Image> {
    let [kernel_here, initrd_here] = ["bzImage", "initrd"].map(|name| dir.join(name));
    let initrd = initrd.concat();
    let content = fs::metadata(kernel)
        .with_context(|| format!("reading {}", kernel.display()))?
        .len()
        + initrd.len() as u64;
    let cylinders = cylinders(content);
    symlink(kernel, &kernel_here)?;
    fs::write(&initrd_here, initrd)
        .with_context(|| format!("writing {}", initrd_here.display()))?;
    fs::write(
        dir.join("syslinux.cfg"),
        format!("DEFAULT lab\nPROMPT 0\nLABEL lab\n LINUX bzImage\n INITRD initrd\n APPEND {parameters}\n"),
    )?;
    for line in [
        &format!("mformat -C -i disk.img -t {cylinders} -h {HEADS} -s {SECTORS} ::"),
        "syslinux --install disk.img",
        "mcopy -i disk.img bzImage initrd syslinux.cfg ::",
    ] {
        let mut words = line.split(' ');
        let mut tool = Command::new(words.next().unwrap_or_default());
        // mtools refuses nothing: the checks are for hard disks with a partition table.
        tool.args(words).env("MTOOLS_SKIP_CHECK", "1");
        tool::run(tool.current_dir(dir), "making the boot image", dir)?;
    }
    fs::remove_file(kernel_here)?;
    fs::remove_file(initrd_here)?;
    Ok(Image { cylinders })
}

/// The content, the boot loader, and room for what FAT itself takes; at least what makes a FAT16.
fn cylinders(content: u64) -> u64 {
    ((content + content / 50 + (2 << 20)).div_ceil(CYLINDER)).max(20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_has_room() {
        assert_eq!(cylinders(0), 20);
        for content in [1u64 << 20, 54 << 20, 300 << 20] {
            assert!(cylinders(content) * CYLINDER > content + (1 << 20));
        }
    }
}
