// SPDX-License-Identifier: GPL-2.0
//! What is in the machine: a cpio archive (the "newc" format of the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst), written here, so that neither root
//! nor device nodes are needed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use flate2::Compression;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::step::ask;

enum Entry {
    Directory,
    File {
        mode: u32,
        content: Vec<u8>,
    },
    Link(String),
    /// A character device: major, minor.
    Device(u32, u32),
}

/// An archive in the making; entries are sorted, parents come first.
#[derive(Default)]
pub struct Archive(BTreeMap<String, Entry>);

impl Archive {
    pub fn directory(&mut self, path: &str) {
        if path.is_empty() {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.0.entry(path.to_owned()).or_insert(Entry::Directory);
    }

    fn put(&mut self, path: &str, entry: Entry) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.0.insert(path.to_owned(), entry);
    }

    pub fn text(&mut self, path: &str, mode: u32, content: &str) {
        self.put(
            path,
            Entry::File {
                mode,
                content: content.into(),
            },
        );
    }

    /// A file of the host's, with its own permissions.
    pub fn file(&mut self, path: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        let mode = fs::metadata(from)?.permissions().mode() & 0o777;
        self.put(path, Entry::File { mode, content });
        Ok(())
    }

    /// A file or a whole directory of the host's.
    pub fn add(&mut self, path: &str, from: &Path) -> Result<()> {
        if from.is_dir() {
            self.directory(path);
            for file in files::below(from)? {
                let below = file.strip_prefix(from)?.display().to_string();
                self.file(&format!("{path}/{below}"), &file)?;
            }
            return Ok(());
        }
        self.file(path, from)
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.put(path, Entry::Link(target.into()));
    }

    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.put(path, Entry::Device(major, minor));
    }

    /// The archive, gzipped. The same entries give the same bytes.
    pub fn pack(&self) -> Result<Vec<u8>> {
        // The kernel unpacks stored blocks fastest in the emulator, but the BIOS reads them slowest.
        let mut out = GzEncoder::new(Vec::new(), Compression::new(6));
        for (number, (path, entry)) in self.0.iter().enumerate() {
            write_entry(&mut out, number as u32 + 1, path, entry)?;
        }
        write_entry(
            &mut out,
            0,
            "TRAILER!!!",
            &Entry::File {
                mode: 0,
                content: Vec::new(),
            },
        )?;
        let mut bytes = out.finish()?;
        // Another archive may follow; each starts at a multiple of four.
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Ok(bytes)
    }
}

fn write_entry(out: &mut impl Write, inode: u32, path: &str, entry: &Entry) -> Result<()> {
    let (mode, content, major, minor): (u32, &[u8], u32, u32) = match entry {
        Entry::Directory => (0o040_755, &[], 0, 0),
        Entry::File { mode, content } => (0o100_000 | mode, content, 0, 0),
        Entry::Link(target) => (0o120_777, target.as_bytes(), 0, 0),
        Entry::Device(major, minor) => (0o020_600, &[], *major, *minor),
    };
    let name_size = path.len() as u32 + 1;
    let size = u32::try_from(content.len())
        .with_context(|| format!("{path} is too large for a cpio archive"))?;
    // inode, mode, uid, gid, links, mtime, size, device (2), rdevice (2), name size, check
    let fields = [
        inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0,
    ];
    write!(out, "070701")?;
    for field in fields {
        write!(out, "{field:08X}")?;
    }
    let pad = |out: &mut dyn Write, length: usize| {
        out.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    };
    write!(out, "{path}\0")?;
    pad(out, 110 + name_size as usize)?;
    out.write_all(content)?;
    pad(out, content.len())?;
    Ok(())
}

/// What all boots of one kernel have in common.
pub fn base(
    init: &Path,
    functions: &Path,
    kernel_modules: &[PathBuf],
    xfd_switch: Option<&Path>,
    programs: &[PathBuf],
) -> Result<Archive> {
    let mut archive = Archive::default();
    for dir in [
        "proc",
        "sys",
        "dev",
        "tmp",
        "add",
        "tests",
        "etc",
        "lib/modules",
        "bin",
    ] {
        archive.directory(dir);
    }
    archive.device("dev/console", 5, 1);
    archive.file("init", init)?;
    archive.file("etc/lab.sh", functions)?;
    // For whoami, which a test of the kernel tree asks.
    archive.text("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\n");
    if let Some(Entry::File { mode, .. }) = archive.0.get_mut("init") {
        *mode = 0o755;
    }
    busybox(&mut archive)?;
    let mut order = String::new();
    for module in load_order(kernel_modules)? {
        let name = file_name(&module);
        archive.file(&format!("lib/modules/{name}"), &module)?;
        order += &format!("{name}\n");
    }
    archive.text("lib/modules/order", 0o644, &order);
    if let Some(module) = xfd_switch {
        let name = file_name(module);
        archive.file(&format!("lib/modules/{name}"), module)?;
        archive.text("lib/modules/own", 0o644, &format!("{name}\n"));
    }
    for program in programs {
        let name = file_name(program);
        // KVM selftests open themselves by the name they were called by: from where commands
        // run, that name must do. An added file of the same name comes later and wins.
        archive.link(&format!("add/{name}"), &format!("/tests/{name}"));
        archive.put(
            &format!("tests/{name}"),
            Entry::File {
                mode: 0o755,
                content: stripped(program)?,
            },
        );
    }
    Ok(archive)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The static busybox of Debian's busybox-static, with a link for each of its applets.
fn busybox(archive: &mut Archive) -> Result<()> {
    let place = ["/bin/busybox", "/usr/bin/busybox"]
        .map(Path::new)
        .into_iter()
        .find(|p| p.exists());
    let Some(place) = place else {
        return Err(Failure::new("busybox is missing")
            .next("run `make SETUP=yes` or install busybox-static")
            .into());
    };
    archive.file("bin/busybox", place)?;
    let applets = ask(Command::new(place).arg("--list")).unwrap_or_default();
    if !applets.lines().any(|a| a == "insmod") {
        return Err(Failure::new(format!("{} has no insmod", place.display()))
            .next("install Debian's busybox-static")
            .into());
    }
    for applet in applets
        .lines()
        .filter(|a| *a != "busybox" && !a.contains('/'))
    {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

/// A program without its symbols: half of what the BIOS has to read.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let out = tempfile::NamedTempFile::new()?;
    let ended = Command::new("strip")
        .arg("-o")
        .arg(out.path())
        .arg(program)
        .stderr(std::process::Stdio::null())
        .status();
    let from = if ended.is_ok_and(|s| s.success()) {
        out.path()
    } else {
        program
    };
    fs::read(from).with_context(|| format!("reading {}", program.display()))
}

/// Modules so that each comes after those it depends on.
fn load_order(modules: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let by_name: HashMap<String, &PathBuf> = modules.iter().map(|m| (module_name(m), m)).collect();
    let mut order = Vec::new();
    let mut seen = HashSet::new();
    // Depth first; the kernel allows no cycles.
    fn visit(
        module: &PathBuf,
        by_name: &HashMap<String, &PathBuf>,
        seen: &mut HashSet<PathBuf>,
        order: &mut Vec<PathBuf>,
    ) -> Result<()> {
        if !seen.insert(module.clone()) {
            return Ok(());
        }
        let content = fs::read(module).with_context(|| format!("reading {}", module.display()))?;
        for name in depends(&content) {
            if let Some(needed) = by_name.get(&name) {
                visit(needed, by_name, seen, order)?;
            }
        }
        order.push(module.clone());
        Ok(())
    }
    for module in modules {
        visit(module, &by_name, &mut seen, &mut order)?;
    }
    Ok(order)
}

fn module_name(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .replace('-', "_")
}

/// The modules named in a module's `depends=` string.
fn depends(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = content.windows(KEY.len()).position(|w| w == KEY) else {
        return Vec::new();
    };
    let rest = &content[at + KEY.len()..];
    let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end])
        .split(',')
        .filter(|n| !n.is_empty())
        .map(|n| n.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn cpio_reads_what_is_packed() {
        let mut archive = Archive::default();
        archive.text("a/b/hello", 0o755, "hello\n");
        archive.link("a/link", "b/hello");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(archive.pack().unwrap().as_slice())
            .read_to_end(&mut plain)
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.cpio");
        fs::write(&file, plain).unwrap();
        let script = "cd \"$1\" && cpio -id --quiet <x.cpio";
        let status = Command::new("sh")
            .args(["-c", script, "x"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(
            fs::read_to_string(dir.path().join("a/link")).unwrap(),
            "hello\n"
        );
        let mode = fs::metadata(dir.path().join("a/b/hello"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn packing_is_reproducible_and_aligned() {
        let make = || {
            let mut archive = Archive::default();
            archive.text("x", 0o644, "12345");
            archive.directory("d/e");
            archive.pack().unwrap()
        };
        assert_eq!(make(), make());
        assert_eq!(make().len() % 4, 0);
    }

    #[test]
    fn modules_are_ordered_by_what_they_need() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, needs: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("ELF\0license=GPL\0depends={needs}\0x")).unwrap();
            path
        };
        let modules = [
            make("kvm-intel.ko", "kvm"),
            make("kvm.ko", "irqbypass"),
            make("irqbypass.ko", ""),
            make("msr.ko", ""),
        ];
        let order: Vec<String> = load_order(&modules)
            .unwrap()
            .iter()
            .map(|m| file_name(m))
            .collect();
        assert_eq!(order, ["irqbypass.ko", "kvm.ko", "kvm-intel.ko", "msr.ko"]);
    }
}
