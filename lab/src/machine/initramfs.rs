// SPDX-License-Identifier: GPL-2.0
//! An initramfs: a tree of files that is gathered in a directory and packed as a cpio archive.
//!
//! Neither root nor device nodes are needed: /dev/console is in the archive that each kernel has
//! built in.

use std::fs::{self, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::files;
use crate::machine::tool;

/// Owned by root, without times of change, and in order, so that the same files give the same bytes.
/// The kernel unpacks stored blocks fastest in the emulator, but the BIOS reads them slowest.
const PACK: &str = r"set -eo pipefail
find . -type d -exec chmod 755 {} +
find . -exec touch -h -d @0 {} +
find . -mindepth 1 -print0 | LC_ALL=C sort -z |
	cpio -0 -o -H newc -R 0:0 --reproducible --quiet | gzip -6n
";

/// A tree in the making.
pub struct Tree {
    /// The machine's directory.
    dir: PathBuf,
    root: PathBuf,
}

impl Tree {
    /// An empty one, gathered in `dir`/`name`.
    pub fn new(dir: &Path, name: &str) -> Result<Self> {
        let (dir, root) = (dir.to_owned(), dir.join(name));
        files::remove(&root)?;
        fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
        Ok(Tree { dir, root })
    }

    /// Where a path of the tree lies, in a directory that is there.
    pub fn at(&self, path: &str) -> Result<PathBuf> {
        let at = self.root.join(path);
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        Ok(at)
    }

    pub fn directory(&self, path: &str) -> Result<()> {
        Ok(fs::create_dir_all(self.root.join(path))?)
    }

    pub fn text(&self, path: &str, content: &str) -> Result<()> {
        files::write_atomic(&self.at(path)?, content.as_bytes())
    }

    pub fn link(&self, path: &str, target: &str) -> Result<()> {
        symlink(target, self.at(path)?).with_context(|| format!("making the link {path}"))
    }

    /// A file of the host's with its own permissions, or a whole directory of files.
    pub fn add(&self, path: &str, from: &Path) -> Result<()> {
        if from.is_dir() {
            self.directory(path)?;
            for file in files::below(from)? {
                let below = file.strip_prefix(from)?.display().to_string();
                self.add(&format!("{path}/{below}"), &file)?;
            }
            return Ok(());
        }
        fs::copy(from, self.at(path)?).with_context(|| format!("reading {}", from.display()))?;
        Ok(())
    }

    pub fn executable(&self, path: &str) -> Result<()> {
        Ok(fs::set_permissions(
            self.root.join(path),
            Permissions::from_mode(0o755),
        )?)
    }

    /// depmod's index of the modules in lib/modules/`release`, for modprobe.
    pub fn depmod(&self, release: &str) -> Result<()> {
        let mut depmod = Command::new("/sbin/depmod");
        depmod.arg("-b").arg(&self.root).arg(release);
        tool::run(&mut depmod, "listing the kernel's modules", &self.dir)?;
        Ok(())
    }

    /// The archive, gzipped; the directory is gone then.
    pub fn pack(self) -> Result<Vec<u8>> {
        let mut pack = Command::new("bash");
        pack.args(["-c", PACK]).current_dir(&self.root);
        let mut bytes = tool::run(&mut pack, "packing the initramfs", &self.dir)?;
        // Another archive may follow; each starts at a multiple of four.
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        files::remove(&self.root)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpio_reads_what_is_packed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path(), "tree").unwrap();
        tree.text("a/b/hello", "hello\n").unwrap();
        tree.executable("a/b/hello").unwrap();
        tree.link("a/link", "b/hello").unwrap();
        fs::write(dir.path().join("x.cpio.gz"), tree.pack().unwrap()).unwrap();
        let script = "gzip -dcq x.cpio.gz | cpio -id --quiet";
        let mut unpack = Command::new("sh");
        unpack.args(["-c", script]).current_dir(dir.path());
        assert!(unpack.status().unwrap().success());
        let text = fs::read_to_string(dir.path().join("a/link")).unwrap();
        assert_eq!(text, "hello\n");
        let meta = fs::metadata(dir.path().join("a/b/hello")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn packing_is_reproducible_and_aligned() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name| {
            let tree = Tree::new(dir.path(), name).unwrap();
            tree.text("x", name.get(..5).unwrap()).unwrap();
            tree.directory("d/e").unwrap();
            tree.link("d/link", "e").unwrap();
            tree.pack().unwrap()
        };
        let one = make("12345");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(one, make("12345 again"));
        assert_eq!(one.len() % 4, 0);
        assert!(!dir.path().join("12345").exists());
    }

    #[test]
    fn modules_are_listed_with_what_they_need() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path(), "tree").unwrap();
        let make = |name: &str, exports: &str, needs: &str| {
            let source = dir.path().join("x.S");
            let text = format!(
                ".section __ksymtab_strings,\"a\"\n.asciz \"{exports}\"\n.data\n.quad {needs}\n"
            );
            fs::write(&source, text).unwrap();
            let mut gcc = Command::new("gcc");
            gcc.arg("-c").arg(source).arg("-o");
            gcc.arg(tree.at(&format!("lib/modules/7.3.4/{name}")).unwrap());
            assert!(gcc.status().unwrap().success());
        };
        make("kvm-intel.ko", "x", "kvm_init");
        make("kvm.ko", "kvm_init", "irq_bypass");
        make("irqbypass.ko", "irq_bypass", "0");
        tree.depmod("7.3.4").unwrap();
        let text = fs::read_to_string(tree.at("lib/modules/7.3.4/modules.dep").unwrap()).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "irqbypass.ko:",
                "kvm-intel.ko: kvm.ko irqbypass.ko",
                "kvm.ko: irqbypass.ko"
            ]
        );
    }
}
