// SPDX-License-Identifier: GPL-2.0
//! The disk that the emulator boots from: a FAT file system with syslinux, made without root.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::failure::Failure;
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
    let path = dir.join("disk.img");
    let initrd_path = dir.join("initrd");
    fs::write(&initrd_path, initrd.concat())
        .with_context(|| format!("writing {}", initrd_path.display()))?;
    let config = dir.join("syslinux.cfg");
    fs::write(
        &config,
        format!("DEFAULT lab\nPROMPT 0\nLABEL lab\n LINUX bzImage\n INITRD initrd\n APPEND {parameters}\n"),
    )?;
    let content = fs::metadata(kernel)
        .with_context(|| format!("reading {}", kernel.display()))?
        .len()
        + fs::metadata(&initrd_path)?.len();
    let cylinders = cylinders(content);
    let _ = fs::remove_file(&path);
    // mtools refuses nothing: the checks are for hard disks with a partition table.
    let tool = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("MTOOLS_SKIP_CHECK", "1");
        tool::run(&mut command, "making the boot image", dir)
    };
    let image = text(&path)?;
    let (tracks, heads, sectors) = (
        cylinders.to_string(),
        HEADS.to_string(),
        SECTORS.to_string(),
    );
    tool(
        "mformat",
        &[
            "-C", "-i", image, "-t", &tracks, "-h", &heads, "-s", &sectors, "::",
        ],
    )?;
    tool("syslinux", &["--install", image])?;
    tool("mcopy", &["-i", image, text(kernel)?, "::bzImage"])?;
    tool(
        "mcopy",
        &["-i", image, text(&initrd_path)?, text(&config)?, "::"],
    )?;
    let _ = fs::remove_file(&initrd_path);
    Ok(Image { cylinders })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Failure::new(format!("{} is not UTF-8", path.display()))
            .next("use a checkout whose path is")
            .into()
    })
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
