// SPDX-License-Identifier: GPL-2.0
//! Pinned files, fetched with apt's own tools from the Debian mirror that this machine already uses.
//!
//! A file counts only when its SHA-256 is the pinned one, and has its final name only then. What is
//! pinned leaves Debian's pool one day. Then the signed index says what there is instead, and with
//! which SHA-256; the choice is written down beside the downloads, so that later calls make the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::failure::{self, Failure};
use crate::base::files::{self, write_atomic};
use crate::base::layout::Lab;
use crate::base::step::{ask, Step};

/// lab/config/sources.toml
#[derive(Clone, Debug, Deserialize)]
pub struct Pins {
    pub suites: Vec<String>,
    pub kernel: Pin,
    pub emulator: Pin,
    pub qemu: Packages,
    #[serde(rename = "trace-cmd")]
    pub trace_cmd: Packages,
    pub perf: Packages,
    pub vmm: Packages,
}

/// Debian packages that are wanted as they are in the first of the suites today.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Packages {
    packages: Vec<String>,
    /// Those whose source is wanted.
    #[serde(default)]
    sources: Vec<String>,
}

/// A file of a Debian package.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Pin {
    package: String,
    version: String,
    file: String,
    /// The directory on each mirror.
    pool: String,
    size: u64,
    pub sha256: String,
    /// The upstream release, which an archive of the user's own should be too.
    pub release: String,
}

/// What was taken when a pinned file had gone.
#[derive(Deserialize, Serialize)]
struct Taken {
    /// The SHA-256 of the pin: under another pin, this says nothing.
    instead_of: String,
    pin: Pin,
}

impl Pins {
    pub fn read(lab: &Lab) -> Result<Pins> {
        files::toml(&lab.at("lab/config/sources.toml"))
    }
}

impl Pin {
    /// The package and its version.
    pub fn name(&self) -> String {
        format!("{} {}", self.package, self.version)
    }

    /// The archive, which need not be there yet.
    pub fn archive(&self, lab: &Lab) -> Archive {
        Archive {
            path: lab.downloads().join(&self.file),
            sha256: self.sha256.clone(),
        }
    }

    /// This file, or what was taken in its place.
    pub fn or_taken(&self, lab: &Lab) -> Pin {
        let taken = fs::read_to_string(self.record(lab)).unwrap_or_default();
        let taken = toml::from_str::<Taken>(&taken).ok();
        match taken.filter(|t| t.instead_of == self.sha256) {
            Some(taken) if !self.archive(lab).path.exists() => {
                self.say_taken(&taken.pin);
                taken.pin
            }
            _ => self.clone(),
        }
    }

    fn record(&self, lab: &Lab) -> PathBuf {
        lab.downloads().join(format!("{}.toml", self.package))
    }

    fn say_taken(&self, taken: &Pin) {
        say_once(format!(
            "lab: {} is no longer offered; taking {}",
            self.name(),
            taken.version
        ));
    }

    /// Where the pool of `mirror` has it, whatever the index says.
    fn uri(&self, mirror: &str) -> String {
        let file = self.file.replace('~', "%7e").replace('+', "%2b");
        format!("{}/{}/{file}", mirror.trim_end_matches('/'), self.pool)
    }
}

/// An archive on disk, and the SHA-256 of its content.
#[derive(Clone, Debug)]
pub struct Archive {
    pub path: PathBuf,
    pub sha256: String,
}

/// Says a line on the first call only: what is asked for at every step need not be said at each.
pub fn say_once(line: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(|e| e.into_inner());
    if !said.contains(&line) {
        eprintln!("{line}");
        said.insert(line);
    }
}

pub fn sha256_of(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut hash))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(format!("{:x}", hash.finalize()))
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

/// Fetches what is pinned, or says what is there in its place: the newest version of the package in
/// `instead`, Debian's suites. Without suites, nothing else will do.
///
/// `variable` is how the user can give an archive of their own.
pub fn obtain(lab: &Lab, pin: &Pin, instead: &[String], variable: &str) -> Result<Pin> {
    let dir = lab.downloads();
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let now = pin.or_taken(lab);
    let path = now.archive(lab).path;
    if path.exists() {
        verify(&path, &now)?;
        return Ok(now);
    }
    let mirror = mirror();
    if fetch(lab, &now, &mirror, variable, !instead.is_empty())? {
        return Ok(now);
    }
    let newest = newest(lab, pin, instead, &mirror, variable)?;
    if newest.version != pin.version {
        pin.say_taken(&newest);
    }
    fetch(lab, &newest, &mirror, variable, false)?;
    let taken = Taken {
        instead_of: pin.sha256.clone(),
        pin: newest,
    };
    write_atomic(&pin.record(lab), toml::to_string(&taken)?.as_bytes())?;
    Ok(taken.pin)
}

/// What apt's words say.
#[derive(Debug, PartialEq)]
enum Trouble {
    DiskFull,
    WrongContent,
    Unreachable,
    Gone,
    Other,
}

fn trouble(log: &str) -> Trouble {
    let has = |signs: &[&str]| signs.iter().any(|sign| log.contains(sign));
    if has(&["No space left on device"]) {
        Trouble::DiskFull
    } else if has(&["Hash Sum mismatch", "unexpected size"]) {
        Trouble::WrongContent
    } else if has(&[
        "Could not connect",
        "Unable to connect",
        "Could not resolve",
        "Temporary failure resolving",
        "Connection timed out",
        "Network is unreachable",
        "No route to host",
    ]) {
        Trouble::Unreachable
    } else if has(&["404  Not Found", "410  Gone", "File not found"]) {
        Trouble::Gone
    } else {
        Trouble::Other
    }
}

fn not_fetched(pin: &Pin, mirror: &str, variable: &str, log: &Path) -> Failure {
    let text = fs::read_to_string(log).unwrap_or_default();
    let file = &pin.file;
    let own = format!("give an archive of your own with {variable}=");
    let (what, next) = match trouble(&text) {
        Trouble::DiskFull => {
            return failure::from_log(&format!("fetching {file} failed"), log, "");
        }
        Trouble::WrongContent => (
            format!("wrong checksum: what {mirror} has as {file} is not what is wanted"),
            "try another mirror, or check the pin in lab/config/sources.toml".to_owned(),
        ),
        Trouble::Unreachable => (
            format!("{file} could not be fetched: no network, or the mirror is down"),
            format!("when `apt-get update` works here, run the same command again; or {own}"),
        ),
        Trouble::Gone => (
            format!("{file} could not be fetched: {mirror} does not have it (404)"),
            format!("try another mirror in this machine's apt sources; or {own}"),
        ),
        Trouble::Other => (
            format!("{file} could not be fetched"),
            format!("check this machine's apt sources, then run the same command again; or {own}"),
        ),
    };
    let errors: Vec<&str> = text.lines().filter(|l| l.starts_with("E: ")).collect();
    Failure::new(what)
        .details([format!("expected SHA-256 {}", pin.sha256)])
        .details(errors[errors.len().saturating_sub(4)..].iter().copied())
        .log(log)
        .next(next)
}

/// Fetches it from the mirror's pool, checked; false: the mirror no longer has it, and that
/// `may_be_gone`.
fn fetch(lab: &Lab, pin: &Pin, mirror: &str, variable: &str, may_be_gone: bool) -> Result<bool> {
    let mut step = Step::begin(
        lab,
        &format!("fetch-{}", pin.package),
        &format!("fetching {}", pin.file),
    )?;
    let path = pin.archive(lab).path;
    // apt-helper itself goes on with a part that is there.
    let part = path.with_file_name(format!("{}.part", pin.file));
    let mut helper = apt("/usr/lib/apt/apt-helper");
    helper
        .arg("download-file")
        .arg(pin.uri(mirror))
        .arg(&part)
        .arg(format!("SHA256:{}", pin.sha256));
    let arrived = step.status(&mut helper)?;
    if part.exists() && (arrived || fs::metadata(&part)?.len() >= pin.size) {
        if let Err(error) = verify(&part, pin) {
            // Keep the evidence under a name that no later call takes for a good part.
            let bad = path.with_file_name(format!("{}.bad", pin.file));
            fs::rename(&part, &bad)?;
            return Err(error.context(format!("kept as {}", bad.display())));
        }
        fs::rename(&part, &path)?;
        step.done();
        return Ok(true);
    }
    // What apt-helper itself found wrong.
    let _ = fs::remove_file(path.with_file_name(format!("{}.part.FAILED", pin.file)));
    let said = fs::read_to_string(step.log_path()).unwrap_or_default();
    if may_be_gone && trouble(&said) == Trouble::Gone {
        return Ok(false);
    }
    Err(not_fetched(pin, mirror, variable, step.log_path()).into())
}

/// The base address of the Debian archive that this machine uses.
fn mirror() -> String {
    let format = "$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)";
    let targets =
        ask(Command::new("apt-get").args(["indextargets", "--format", format])).unwrap_or_default();
    main_archive(&targets).unwrap_or_else(|| "http://deb.debian.org/debian/".to_owned())
}

/// The first address, in `apt-get indextargets`' list, of Debian itself, not its security archive.
fn main_archive(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let (uri, rest) = line.split_once(' ')?;
        let debian = rest.starts_with("Debian Debian ") && rest.ends_with(" main");
        debian.then(|| format!("{}/", uri.trim_end_matches('/')))
    })
}

/// One of apt's programs, in this machine's own configuration (its proxy, say).
fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").args([
        "-oAcquire::Retries=3",
        "-oAcquire::http::Timeout=60",
        "-oAPT::Sandbox::User=root",
    ]);
    command
}

/// Debian's index of some suites, and apt's programs with it: a list of sources and an index of our
/// own, so that the user's are not touched.
struct Index {
    options: [String; 3],
}

impl Index {
    /// Fetches the index, of which apt checks the signature; that of sources, too, if it is wanted.
    fn fetched(
        lab: &Lab,
        step: &mut Step,
        suites: &[String],
        mirror: &str,
        sources: bool,
    ) -> Result<Index> {
        let dir = lab.at("build/apt");
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("cache"))?;
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let signed = Path::new(keys).exists();
        let signed = if signed {
            format!("[signed-by={keys}] ")
        } else {
            String::new()
        };
        let kinds = if sources {
            &["deb", "deb-src"][..]
        } else {
            &["deb"]
        };
        let list: String = suites
            .iter()
            .flat_map(|suite| kinds.iter().map(move |kind| (kind, suite)))
            .map(|(kind, suite)| format!("{kind} {signed}{mirror} {suite} main\n"))
            .collect();
        write_atomic(&dir.join("sources.list"), list.as_bytes())?;
        let index = Index {
            options: [
                ("Dir::State::lists", "lists"),
                ("Dir::Cache", "cache"),
                ("Dir::Etc::sourcelist", "sources.list"),
            ]
            .map(|(option, at)| format!("-o{option}={}", dir.join(at).display())),
        };
        step.run(index.apt("apt-get").arg("update"))?;
        Ok(index)
    }

    /// One of apt's programs, which sees this index and nothing installed.
    fn apt(&self, program: &str) -> Command {
        let mut command = apt(program);
        command.args(&self.options).args([
            "-oDir::Etc::sourceparts=/dev/null",
            "-oDir::State::status=/dev/null",
            "-oAcquire::Languages=none",
            // Otherwise an index that could not be fetched is only a warning.
            "-oAPT::Update::Error-Mode=any",
        ]);
        command
    }
}

/// What to do when apt reaches nothing.
const UNREACHABLE: &str =
    "check the network and this machine's apt sources, then run the same command again";

/// The newest version of the pin's package in the index of the suites.
fn newest(lab: &Lab, pin: &Pin, suites: &[String], mirror: &str, variable: &str) -> Result<Pin> {
    let mut step =
        Step::begin(lab, "index", &format!("looking for {}", pin.package))?.next(UNREACHABLE);
    let index = Index::fetched(lab, &mut step, suites, mirror, false)?;
    let shown = ask(index.apt("apt-cache").args(["show", &pin.package])).unwrap_or_default();
    let newest = stanza(&shown, pin).ok_or_else(|| {
        Failure::new(format!(
            "{} is no longer offered, and {} has no other version of it",
            pin.name(),
            suites.join(", ")
        ))
        .log(step.log_path())
        .next(format!(
            "give an archive of Linux {} with {variable}=, or move the series to a newer one",
            pin.release
        ))
    })?;
    step.done();
    Ok(newest)
}

/// What was fetched of [`Packages`]: each file and the SHA-256 that it had then.
#[derive(Deserialize, Serialize)]
struct Fetched {
    #[serde(flatten)]
    wanted: Packages,
    files: BTreeMap<String, String>,
}

/// Fetches packages into a directory of their own beside the other downloads, and returns their archives,
/// in order of their names. What is there already is looked at, but not fetched again.
pub fn packages(lab: &Lab, wanted: &Packages, name: &str) -> Result<Vec<Archive>> {
    let dir = lab.downloads().join(name);
    let record = dir.join("fetched.toml");
    if let Some(there) = fetched(&dir, &record, wanted)? {
        return Ok(there);
    }
    files::remove(&dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut step =
        Step::begin(lab, &format!("fetch-{name}"), &format!("fetching {name}"))?.next(UNREACHABLE);
    let suites = Pins::read(lab)?.suites;
    let sources = !wanted.sources.is_empty();
    let index = Index::fetched(lab, &mut step, &suites[..1], &mirror(), sources)?;
    // It compares each file with the index's checksum.
    let mut download = index.apt("apt-get");
    download.arg("download").args(&wanted.packages);
    step.run(download.current_dir(&dir))?;
    if sources {
        let mut download = index.apt("apt-get");
        download.args(["source", "--download-only", "--only-source"]);
        step.run(download.args(&wanted.sources).current_dir(&dir))?;
    }
    let mut now = Fetched {
        wanted: wanted.clone(),
        files: BTreeMap::new(),
    };
    for file in files::below(&dir)? {
        let name = file.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        now.files.insert(name, sha256_of(&file)?);
    }
    write_atomic(&record, toml::to_string(&now)?.as_bytes())?;
    step.done();
    Ok(now.archives(&dir))
}

impl Fetched {
    fn archives(&self, dir: &Path) -> Vec<Archive> {
        let archive = |(file, sha256): (&String, &String)| Archive {
            path: dir.join(file),
            sha256: sha256.clone(),
        };
        self.files.iter().map(archive).collect()
    }
}

/// The archives, if the record is one of these packages and they are still what it says.
fn fetched(dir: &Path, record: &Path, wanted: &Packages) -> Result<Option<Vec<Archive>>> {
    let text = fs::read_to_string(record).unwrap_or_default();
    let Ok(fetched) = toml::from_str::<Fetched>(&text) else {
        return Ok(None);
    };
    let archives = fetched.archives(dir);
    for archive in &archives {
        if !archive.path.exists() || sha256_of(&archive.path)? != archive.sha256 {
            return Ok(None);
        }
    }
    Ok((fetched.wanted == *wanted).then_some(archives))
}

/// The first version in what `apt-cache show` says, which is the newest.
fn stanza(shown: &str, pin: &Pin) -> Option<Pin> {
    let field = |name: &str| {
        let mut lines = shown.lines().take_while(|l| !l.is_empty());
        lines.find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
    };
    let (pool, file) = field("Filename")?.rsplit_once('/')?;
    Some(Pin {
        package: field("Package").filter(|p| *p == pin.package)?.to_owned(),
        version: field("Version")?.to_owned(),
        file: file.to_owned(),
        pool: pool.to_owned(),
        size: field("Size")?.parse().ok()?,
        sha256: field("SHA256").filter(|h| h.len() == 64)?.to_owned(),
        release: pin.release.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choices::Choices;

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
        assert!(pins.kernel.package.ends_with(&pins.kernel.release));
    }

    #[test]
    fn the_index_gives_the_newest_version_and_its_hash() {
        let pin = pins().kernel;
        let hash = "a".repeat(64);
        let one = |version: &str| {
            format!(
                "Package: {}\nVersion: {version}\nFilename: pool/main/l/linux/x_{version}_all.deb\n\
                 Size: 7\nSHA256: {hash}\nDescription: x\n y: z\n\n",
                pin.package
            )
        };
        let shown = one("7.3.6-1~bpo13+1") + &one("7.3.5-1");
        let newest = stanza(&shown, &pin).unwrap();
        assert_eq!(newest.name(), "linux-source-7.3 7.3.6-1~bpo13+1");
        assert_eq!((newest.size, &newest.sha256), (7, &hash));
        assert_eq!(
            newest.uri("http://m/debian/"),
            "http://m/debian/pool/main/l/linux/x_7.3.6-1%7ebpo13%2b1_all.deb"
        );
        // What has no hash is nothing that could be trusted.
        assert_eq!(stanza(&shown.replace(&hash, ""), &pin), None);
        assert_eq!(stanza("", &pin), None);
    }

    #[test]
    fn what_was_taken_is_taken_again_until_the_pin_changes() {
        let dir = tempfile::tempdir().unwrap();
        let choices = Choices {
            downloads: Some("d".into()),
            ..Choices::default()
        };
        let lab = Lab::at_root(dir.path(), choices).unwrap();
        let pin = pins().kernel;
        assert_eq!(pin.or_taken(&lab), pin);
        let other = Pin {
            version: "7.3.5-1".into(),
            file: "other.deb".into(),
            sha256: "b".repeat(64),
            ..pin.clone()
        };
        let taken = Taken {
            instead_of: pin.sha256.clone(),
            pin: other.clone(),
        };
        write_atomic(
            &pin.record(&lab),
            toml::to_string(&taken).unwrap().as_bytes(),
        )
        .unwrap();
        assert_eq!(pin.or_taken(&lab), other);
        let moved = Pin {
            sha256: "c".repeat(64),
            ..pin.clone()
        };
        assert_eq!(moved.or_taken(&lab), moved);
        // The pinned file itself, when somebody has it, comes first.
        fs::write(&pin.archive(&lab).path, "").unwrap();
        assert_eq!(pin.or_taken(&lab), pin);
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
        let uri = pins().kernel.uri("http://m/debian/");
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
            not_fetched(&pins().kernel, "http://m", "KERNEL_SOURCE", log.path()).to_string()
        };
        assert!(said("E: Failed to fetch x  Could not resolve 'x'\n").contains("no network"));
        assert!(said("E: Failed x  Hash Sum mismatch\n").contains("wrong checksum"));
        assert!(said("E: x [IP] No space left on device\n").contains("disk is full"));
        let gone = said("E: Failed to fetch x  404  Not Found [IP: x]\n");
        assert!(gone.contains("http://m does not have it (404)"), "{gone}");
        let other = said("E: x\n");
        assert!(other.contains("E: x") && other.contains("log:") && other.contains("next:"));
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
