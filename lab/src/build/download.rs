// SPDX-License-Identifier: GPL-2.0
//! Pinned files, fetched with apt's own tools from the mirror that this machine already uses.
//!
//! apt reads the suites through a configuration of our own, so the user's is not touched. What
//! arrives counts only when its SHA-256 is the pinned one, and has its final name only then.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::base::failure::Failure;
use crate::base::files::write_atomic;
use crate::base::layout::Lab;
use crate::base::stamp::hex;
use crate::base::step::{ask, Step};

/// lab/config/sources.toml
#[derive(Clone, Debug, Deserialize)]
pub struct Pins {
    suites: Vec<String>,
    pub kernel: Pin,
    pub emulator: Pin,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Pin {
    package: String,
    version: String,
    kind: Kind,
    file: String,
    pool: String,
    size: u64,
    pub sha256: String,
    /// The upstream release, which an archive of the user's own should be too.
    pub release: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Binary,
    Source,
}

impl Pins {
    pub fn read(lab: &Lab) -> Result<Pins> {
        let path = lab.at("lab/config/sources.toml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }
}

/// An archive on disk, and the SHA-256 of its content.
pub struct Archive {
    pub path: PathBuf,
    pub sha256: String,
}

/// The kernel's and the emulator's archives, without fetching: what a build's fingerprint needs.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file
            .read(&mut buffer)
            .with_context(|| format!("reading {}", path.display()))?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

/// Fails, in words for the user, unless `path` has the pinned content.
fn verify(path: &Path, pin: &Pin) -> Result<()> {
    let found = sha256_of(path)?;
    if found == pin.sha256 {
        return Ok(());
    }
    let size = fs::metadata(path)?.len();
    Err(Failure::new(format!("wrong checksum: {}", path.display()))
        .details([
            format!("expected SHA-256 {} ({} bytes)", pin.sha256, pin.size),
            format!("found    SHA-256 {found} ({size} bytes)"),
        ])
        .next(format!(
            "rm '{}', then run the same command again",
            path.display()
        ))
        .into())
}

/// The file that `pin` names, or the user's own in its place; fetched when it is not there.
pub fn obtain(lab: &Lab, pins: &Pins, pin: &Pin, own: Option<&Path>) -> Result<Archive> {
    if let Some(own) = own {
        let path = lab.root.join(own);
        if !path.is_file() {
            return Err(Failure::new(format!("there is no source archive {}", path.display()))
                .next("give KERNEL_SOURCE or EMULATOR_SOURCE a .deb or .tar file, or leave it out")
                .into());
        }
        let sha256 = sha256_of(&path)?;
        if sha256 != pin.sha256 {
            eprintln!(
                "lab: using {} (not the pinned archive, SHA-256 {sha256})",
                path.display()
            );
        }
        return Ok(Archive { path, sha256 });
    }
    let dir = lab.downloads();
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let path = dir.join(&pin.file);
    if path.exists() {
        verify(&path, pin)?;
    } else {
        fetch(lab, pins, pin, &path)?;
    }
    Ok(Archive {
        path,
        sha256: pin.sha256.clone(),
    })
}

/// Whether apt's words are about the way to the mirror, not about what it has.
fn is_unreachable(log: &str) -> bool {
    [
        "Could not connect",
        "Unable to connect",
        "Could not resolve",
        "Temporary failure resolving",
        "Connection timed out",
        "Network is unreachable",
        "No route to host",
    ]
    .iter()
    .any(|sign| log.contains(sign))
}

fn not_fetched(pin: &Pin, log: &Path) -> Failure {
    let text = fs::read_to_string(log).unwrap_or_default();
    if text.contains("No space left on device") {
        return crate::base::failure::from_log(&format!("fetching {} failed", pin.file), log, "");
    }
    let (what, next) = if text.contains("Hash Sum mismatch") || text.contains("unexpected size") {
        (
            format!(
                "wrong checksum: what the mirror has as {} is not what is pinned",
                pin.file
            ),
            "try another mirror, or check the pin in lab/config/sources.toml",
        )
    } else if is_unreachable(&text) {
        (
            format!("{} could not be fetched: no network, or the mirror is down", pin.file),
            "when `apt-get update` works here, run the same command again; or give an archive of your own \
             with KERNEL_SOURCE= or EMULATOR_SOURCE=",
        )
    } else {
        (
            format!("{} could not be fetched", pin.file),
            "check this machine's apt sources, then run the same command again; or give an archive of your \
             own with KERNEL_SOURCE= or EMULATOR_SOURCE=",
        )
    };
    let errors: Vec<&str> = text.lines().filter(|l| l.starts_with("E: ")).collect();
    Failure::new(what)
        .details([format!("expected SHA-256 {}", pin.sha256)])
        .details(errors[errors.len().saturating_sub(4)..].iter().copied())
        .log(log)
        .next(next)
}

fn fetch(lab: &Lab, pins: &Pins, pin: &Pin, path: &Path) -> Result<()> {
    let mut step = Step::begin(lab, &format!("fetch-{}", pin.package), &format!("fetching {}", pin.file))?.next(
        "check the network and this machine's apt sources, then run the same command again; or give an \
         archive of your own with KERNEL_SOURCE= or EMULATOR_SOURCE=",
    );
    let mirror = mirror()?;
    let config = apt_config(lab, pins, &mirror)?;
    // Without a network the index cannot be read; the pool's address is then tried, and fails clearly.
    if !step.status(apt(&config).arg("update"))? {
        step.say("lab: the index of the suites could not be read")?;
    }
    let mut uris: Vec<String> = index_uri(&config, pin).into_iter().collect();
    let pool = pool_uri(&mirror, pin);
    if !uris.contains(&pool) {
        uris.push(pool);
    }
    // apt-helper itself goes on with a part that is there.
    let part = path.with_file_name(format!("{}.part", pin.file));
    for uri in &uris {
        let mut helper = Command::new("/usr/lib/apt/apt-helper");
        helper
            .env("APT_CONFIG", &config)
            .env("LC_ALL", "C")
            .args([
                "-o",
                "Acquire::Retries=3",
                "-o",
                "Acquire::http::Timeout=60",
                "download-file",
            ])
            .arg(uri)
            .arg(&part)
            .arg(format!("SHA256:{}", pin.sha256));
        let arrived = step.status(&mut helper)?;
        if !part.exists() {
            continue;
        }
        let whole = fs::metadata(&part)?.len() >= pin.size;
        if arrived || whole {
            if let Err(error) = verify(&part, pin) {
                // Keep the evidence under a name that no later call takes for a good part.
                let bad = path.with_file_name(format!("{}.bad", pin.file));
                fs::rename(&part, &bad)?;
                return Err(error.context(format!("kept as {}", bad.display())));
            }
            fs::rename(&part, path)?;
            step.done();
            return Ok(());
        }
    }
    // What apt-helper itself found wrong.
    let _ = fs::remove_file(path.with_file_name(format!("{}.part.FAILED", pin.file)));
    Err(not_fetched(pin, step.log_path()).into())
}

/// The base address of the Debian archive that this machine uses.
fn mirror() -> Result<String> {
    let format = "$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)";
    let targets =
        ask(Command::new("apt-get").args(["indextargets", "--format", format])).unwrap_or_default();
    let configured = main_archive(&targets);
    Ok(configured.unwrap_or_else(|| "http://deb.debian.org/debian/".to_owned()))
}

/// The first address, in `apt-get indextargets`' list, of Debian itself, not its security archive.
fn main_archive(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let (uri, rest) = line.split_once(' ')?;
        let debian = rest.starts_with("Debian Debian ") && rest.ends_with(" main");
        debian.then(|| format!("{}/", uri.trim_end_matches('/')))
    })
}

/// Where the pool of `mirror` has the pinned file, whatever its index says.
fn pool_uri(mirror: &str, pin: &Pin) -> String {
    let file = pin.file.replace('~', "%7e").replace('+', "%2b");
    format!("{}/{}/{file}", mirror.trim_end_matches('/'), pin.pool)
}

fn apt(config: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("APT_CONFIG", config)
        .env("LC_ALL", "C")
        .args([
            "-o",
            "Acquire::Retries=2",
            "-o",
            "Acquire::http::Timeout=30",
        ])
        // Otherwise an index that could not be fetched is only a warning.
        .args(["-o", "APT::Update::Error-Mode=any"]);
    command
}

/// Writes a private apt configuration; the machine's own (its proxy, say) is read besides.
fn apt_config(lab: &Lab, pins: &Pins, mirror: &str) -> Result<PathBuf> {
    let dir = lab.at("build/apt");
    for sub in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let signed = if Path::new(keys).exists() {
        format!("[signed-by={keys}] ")
    } else {
        String::new()
    };
    let mut list = String::new();
    for suite in &pins.suites {
        list += &format!("deb {signed}{mirror} {suite} main\n");
        list += &format!("deb-src {signed}{mirror} {suite} main\n");
    }
    write_atomic(&dir.join("sources.list"), list.as_bytes())?;
    let at = dir.display();
    let config = format!(
        "Dir::State::lists \"{at}/lists\";\n\
         Dir::State::status \"/dev/null\";\n\
         Dir::Cache \"{at}/cache\";\n\
         Dir::Etc::sourcelist \"{at}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    );
    let path = dir.join("apt.conf");
    write_atomic(&path, config.as_bytes())?;
    Ok(path)
}

/// The address that the index gives for the pinned version, if it still has it.
fn index_uri(config: &Path, pin: &Pin) -> Option<String> {
    let wanted = format!("{}={}", pin.package, pin.version);
    let mut command = apt(config);
    match pin.kind {
        Kind::Binary => command.args(["download", "--print-uris", &wanted]),
        Kind::Source => command.args(["source", "--print-uris", &wanted]),
    };
    printed_uri(&ask(&mut command)?, pin)
}

/// The line of `--print-uris` for the pinned file: 'URI' name size SHA256:hash
fn printed_uri(output: &str, pin: &Pin) -> Option<String> {
    output.lines().find_map(|line| {
        let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split(' ');
        let name = words.next()?;
        let hash = words.nth(1)?;
        (name == pin.file && hash == format!("SHA256:{}", pin.sha256)).then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins() -> Pins {
        toml::from_str(include_str!("../../config/sources.toml")).unwrap()
    }

    #[test]
    fn pins_are_whole() {
        let pins = pins();
        for pin in [&pins.kernel, &pins.emulator] {
            assert_eq!(pin.sha256.len(), 64);
            assert!(pin.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(pin.size > 1 << 20);
        }
        assert!(pins.kernel.file.contains(&pins.kernel.version));
        assert_eq!(pins.emulator.kind, Kind::Source);
    }

    #[test]
    fn a_printed_address_needs_the_pinned_hash() {
        let pin = pins().kernel;
        let line = |hash: &str| {
            format!(
                "Reading...\n'http://h/d/pool/x_1%7e1.deb' {} 166780612 SHA256:{hash}\n",
                pin.file
            )
        };
        assert_eq!(
            printed_uri(&line(&pin.sha256), &pin).as_deref(),
            Some("http://h/d/pool/x_1%7e1.deb")
        );
        assert_eq!(printed_uri(&line("00"), &pin), None);
    }

    #[test]
    fn the_mirror_is_the_main_archive() {
        let targets = "http://m/debian-security/ Debian Debian-Security main\n\
                       http://other/ Other Other main\n\
                       http://m/debian/ Debian Debian main\n";
        assert_eq!(main_archive(targets).as_deref(), Some("http://m/debian/"));
        assert_eq!(main_archive("http://other/ Other Other main\n"), None);
    }

    #[test]
    fn the_pool_address_is_escaped() {
        let uri = pool_uri("http://m/debian/", &pins().kernel);
        assert_eq!(
            uri,
            "http://m/debian/pool/main/l/linux/linux-source-7.3_7.3.4-1%7ebpo13%2b1_all.deb"
        );
    }

    #[test]
    fn a_wrong_checksum_names_the_file_and_the_next_step() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "not the kernel").unwrap();
        let error = verify(file.path(), &pins().kernel).unwrap_err().to_string();
        assert!(error.contains("wrong checksum") && error.contains(file.path().to_str().unwrap()));
        assert!(error.contains("next: rm"));

        let mut pin = pins().kernel;
        pin.sha256 = sha256_of(file.path()).unwrap();
        verify(file.path(), &pin).unwrap();
    }

    #[test]
    fn apt_s_words_become_one_clear_message() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let said = |text: &str| {
            fs::write(log.path(), text).unwrap();
            not_fetched(&pins().kernel, log.path()).to_string()
        };
        assert!(said("E: Failed to fetch x  Could not resolve 'x'\n").contains("no network"));
        assert!(said("E: Failed x  Hash Sum mismatch\n").contains("wrong checksum"));
        assert!(said("E: x [IP] No space left on device\n").contains("disk is full"));
        let other = said("E: 404  Not Found\n");
        assert!(other.contains("404") && other.contains("log:") && other.contains("next:"));
    }

    #[test]
    fn sha256_is_sha256() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "abc").unwrap();
        assert!(sha256_of(file.path())
            .unwrap()
            .starts_with("ba7816bf8f01cfea"));
    }
}
