// SPDX-License-Identifier: GPL-2.0
//! The kernels: stock, which nobody has changed; minimal, with the one patch that is the module's
//! rival; patched, with the fixes, the series and Rust; and three kinds of the patched one: the debug
//! kernel, with the kernel's own checks and with KVM built in, the rt kernel, with PREEMPT_RT, and the
//! coverage kernel, which counts how often the lines run that the patches touch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::base::stamp::{self, Fingerprint};
use crate::base::step::Step;
pub use crate::build::built::Kernel;
use crate::build::copy;
use crate::build::profiled;
use crate::build::series;
use crate::build::source::{self, Source};
use crate::build::toolchain;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The pristine source.
    Stock,
    /// With patches/minimal.
    Minimal,
    /// With patches/fixes and patches/linux.
    Patched,
    /// The patched source with the checks of kernel/debug.config, and KVM=y.
    Debug,
    /// The patched source with kernel/rt.config: PREEMPT_RT.
    Rt,
    /// The patched source with kernel/coverage.config: gcov, for the files that the patches touch.
    Coverage,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Stock => "stock",
            Kind::Minimal => "minimal",
            Kind::Patched => "patched",
            Kind::Debug => "debug",
            Kind::Rt => "rt",
            Kind::Coverage => "coverage",
        }
    }

    /// The fragments of lab/config/kernel that configure it; what comes later wins.
    fn fragments(self) -> &'static [&'static str] {
        match self {
            Kind::Stock | Kind::Minimal => &["common.config"],
            Kind::Patched => &["common.config", "patched.config"],
            Kind::Debug => &["common.config", "patched.config", "debug.config"],
            Kind::Rt => &["common.config", "patched.config", "rt.config"],
            Kind::Coverage => &["common.config", "patched.config", "coverage.config"],
        }
    }

    /// The directories of the patches that its source has, in the order in which they apply.
    pub fn series(self) -> &'static [&'static str] {
        match self {
            Kind::Stock => &[],
            Kind::Minimal => &[MINIMAL],
            Kind::Patched | Kind::Debug | Kind::Rt | Kind::Coverage => &[FIXES, SERIES],
        }
    }

    /// Whether the module can be built for it, and loaded.
    pub fn has_hooks(self) -> bool {
        self.series().contains(&SERIES)
    }

    /// Whether its tests are a command of their own: `lab check` would take too long with them.
    pub fn is_checked_apart(self) -> bool {
        matches!(self, Kind::Debug | Kind::Rt | Kind::Coverage)
    }

    /// What the fragments say.
    fn wanted(self, lab: &Lab) -> Result<String> {
        self.fragments()
            .iter()
            .map(|name| files::text(&lab.at(CONFIG).join(name)))
            .collect()
    }
}

/// Where the fragments are.
const CONFIG: &str = "lab/config/kernel";

/// The bugs of stock, each mended by itself.
pub const FIXES: &str = "patches/fixes";
/// The host series, on top of the fixes.
pub const SERIES: &str = "patches/linux";
/// One patch on stock, which needs no module.
pub const MINIMAL: &str = "patches/minimal";
/// What Debian packages of the patched kernel need beyond it.
pub const PACKAGING: &str = "patches/packaging";
/// All that the source of the packages has.
pub const PACKAGED: [&str; 3] = [FIXES, SERIES, PACKAGING];

/// The patches that a kernel's source has, in the order in which they apply.
pub fn patches(lab: &Lab, kind: Kind) -> Result<Vec<PathBuf>> {
    patches_in(lab, kind.series())
}

/// The patches of these directories.
pub fn patches_in(lab: &Lab, dirs: &[&str]) -> Result<Vec<PathBuf>> {
    let patches = dirs.iter().map(|dir| series::patches(&lab.at(dir)));
    Ok(patches.collect::<Result<Vec<_>>>()?.concat())
}

/// The source tree of a kernel, unpacked and in step with its patches; no kernel is built.
pub fn tree(lab: &Lab, kind: Kind) -> Result<PathBuf> {
    let pristine = source::kernel(lab)?;
    // A source that nobody has tried must take all patches before anything is built from it, the stock
    // kernel included, which may be built at the same time by another thread.
    let of = |kind: Kind| in_step(lab, &pristine, kind.name(), kind.series());
    if !pristine.pinned {
        of(Kind::Patched)?;
        of(Kind::Minimal)?;
    }
    match kind {
        Kind::Stock => Ok(pristine.dir),
        Kind::Minimal => of(kind),
        Kind::Patched | Kind::Debug | Kind::Rt | Kind::Coverage => of(Kind::Patched),
    }
}

/// The patched tree, from which packages can be made.
pub fn packaged_tree(lab: &Lab) -> Result<PathBuf> {
    in_step(lab, &source::kernel(lab)?, "packaged", &PACKAGED)
}

/// The tree of a name that has the patches of these directories, made what it should be.
fn in_step(lab: &Lab, pristine: &Source, name: &str, dirs: &[&str]) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let tree = lab.at(&format!("build/linux/{name}-source"));
    let name = format!("linux-{name}");
    let patches = patches_in(lab, dirs)?;
    let print = Fingerprint::new("series").text("source", &pristine.sha256);
    let print = series::fingerprint(print, &patches)?.finish();
    if !stamp::fresh(lab, &name, &print, &[&tree]) {
        stamp::forget(lab, &name)?;
        let what = format!("applying {}", dirs.join(" and "));
        let mut step = Step::begin(lab, &name, &what)?;
        series::keep_in_step(lab, &mut step, pristine, &tree, &patches)?;
        stamp::record(lab, &name, &print)?;
        step.done();
    }
    Ok(tree)
}

/// Builds a kernel and its modules, unless that is done.
pub fn build(lab: &Lab, kind: Kind) -> Result<Kernel> {
    let kernel = Kernel {
        source: tree(lab, kind)?,
        objects: lab.at("build/linux").join(kind.name()),
    };
    let stamp_name = format!("kernel-{}", kind.name());
    let print = series::fingerprint(fingerprint(lab, kind)?, &patches(lab, kind)?)?.finish();
    let outputs = [kernel.image(), kernel.objects.join("modules.order")];
    if stamp::fresh(
        lab,
        &stamp_name,
        &print,
        &outputs.each_ref().map(|o| o.as_path()),
    ) {
        return Ok(kernel);
    }
    if matches!(kind, Kind::Minimal | Kind::Patched) {
        // It begins as stock's objects, so that make builds only what the patches change.
        copy::objects(lab, &build(lab, Kind::Stock)?, &kernel)?;
    }
    let what = format!("building the {} kernel", kind.name());
    stamp::forget(lab, &stamp_name)?;
    make(lab, &kernel, &stamp_name, &what, kind)?;
    stamp::record(lab, &stamp_name, &print)?;
    Ok(kernel)
}

/// Builds `source` (a tree of the user's own, say) into `objects`; make finds out what changed.
pub fn build_tree(
    lab: &Lab,
    source: &Path,
    objects: &Path,
    what: &str,
    kind: Kind,
) -> Result<Kernel> {
    let kernel = Kernel {
        source: source.to_owned(),
        objects: objects.to_owned(),
    };
    toolchain::bindgen(lab)?;
    let name = objects.file_name().unwrap_or_default().to_string_lossy();
    make(lab, &kernel, &format!("kernel-{name}"), what, kind)?;
    Ok(kernel)
}

/// Configurations that no kernel of the lab has. The patched source must link with each.
pub const LINKED: [&str; 2] = ["without-kvm", "i386-kvm"];

/// The fragment of one of [`LINKED`].
pub fn linked_config(lab: &Lab, name: &str) -> PathBuf {
    lab.at(CONFIG).join(format!("{name}.config"))
}

/// Links one of [`LINKED`], from nothing, as make does not repeat the warnings of what it has built. Its
/// log is named "kernel-" and its name.
pub fn link(lab: &Lab, name: &str) -> Result<()> {
    let kernel = Kernel {
        source: tree(lab, Kind::Patched)?,
        objects: lab.at("build/linux").join(name),
    };
    files::remove(&kernel.objects)?;
    make_configured(
        lab,
        &kernel,
        &format!("kernel-{name}"),
        &format!("linking the kernel of {name}.config"),
        &files::text(&linked_config(lab, name))?,
        &["vmlinux".to_owned()],
    )?;
    files::remove(&kernel.objects)
}

fn fingerprint(lab: &Lab, kind: Kind) -> Result<Fingerprint> {
    // Those that have no Rust need not wait for bindgen.
    let versions = match kind {
        Kind::Stock | Kind::Minimal => toolchain::c_versions(lab)?,
        Kind::Patched | Kind::Debug | Kind::Rt | Kind::Coverage => {
            toolchain::bindgen(lab)?;
            toolchain::versions_with_rust(lab)?
        }
    };
    Ok(Fingerprint::new("kernel")
        .text("source", &source::kernel(lab)?.sha256)
        .text("toolchain", &versions)
        .text("config", &kind.wanted(lab)?))
}

/// `make` for a kernel tree, always with the same toolchain and a result that does not depend on
/// when and where it was built.
pub fn make_command(lab: &Lab, kernel: &Kernel) -> Result<Command> {
    let mut command = Command::new("make");
    toolchain::with_toolchain(lab, &mut command)?;
    command
        .arg("-C")
        .arg(&kernel.source)
        .arg(format!("O={}", kernel.objects.display()))
        .args([
            "LLVM=1",
            "KBUILD_BUILD_TIMESTAMP=2026-01-01",
            "KBUILD_BUILD_USER=lab",
            "KBUILD_BUILD_HOST=lab",
        ]);
    lab.jobs.share(&mut command);
    Ok(command)
}

fn make(lab: &Lab, kernel: &Kernel, log: &str, what: &str, kind: Kind) -> Result<()> {
    let mut arguments = vec!["bzImage".to_owned(), "modules".to_owned()];
    if kind == Kind::Coverage {
        arguments.extend(profiled::variables(&patches(lab, kind)?)?);
    }
    make_configured(lab, kernel, log, what, &kind.wanted(lab)?, &arguments)
}

fn make_configured(
    lab: &Lab,
    kernel: &Kernel,
    log: &str,
    what: &str,
    wanted: &str,
    arguments: &[String],
) -> Result<()> {
    lab.need_space(3, what)?;
    fs::create_dir_all(&kernel.objects)?;
    let mut step = Step::begin(lab, log, what)?.next(&format!(
        "mend what the log shows (the patches are in patches/, the configuration in {CONFIG}), \
         then run the same command again",
    ));
    configure(lab, kernel, &mut step, wanted)?;
    step.run(make_command(lab, kernel)?.args(arguments))?;
    step.done();
    Ok(())
}

/// tinyconfig and what is `wanted` on top; fails when an option did not survive.
fn configure(lab: &Lab, kernel: &Kernel, step: &mut Step, wanted: &str) -> Result<()> {
    let fragment = kernel.objects.join(".lab.config");
    let config = kernel.objects.join(".config");
    let same = fs::read_to_string(&fragment).is_ok_and(|old| old == wanted);
    if same && config.exists() {
        step.run(make_command(lab, kernel)?.arg("olddefconfig"))?;
    } else {
        files::remove(&fragment)?;
        step.run(make_command(lab, kernel)?.arg("tinyconfig"))?;
        set(lab, kernel, step, &files::text(&config)?, wanted)?;
        fs::write(&fragment, wanted)?;
    }
    nothing_lost(lab, kernel, step, wanted)
}

/// The configuration of a distribution, or the lab's own patched kernel's, and
/// lab/config/kernel/packaged.config on top; fails when an option that we want did not survive.
pub fn configure_packaged(
    lab: &Lab,
    kernel: &Kernel,
    step: &mut Step,
    distribution: Option<&str>,
) -> Result<()> {
    let ours = files::text(&lab.at(CONFIG).join("packaged.config"))?;
    let (base, wanted) = match distribution {
        Some(text) => (text.to_owned(), ours),
        None => {
            step.run(make_command(lab, kernel)?.arg("tinyconfig"))?;
            let tiny = files::text(&kernel.objects.join(".config"))?;
            (tiny, Kind::Patched.wanted(lab)? + &ours)
        }
    };
    set(lab, kernel, step, &base, &wanted)?;
    nothing_lost(lab, kernel, step, &wanted)
}

/// Makes a whole configuration of one and what is `wanted` beyond it.
fn set(lab: &Lab, kernel: &Kernel, step: &mut Step, base: &str, wanted: &str) -> Result<()> {
    // What comes later in a .config wins.
    let text = format!("{base}\n{}", as_config(wanted));
    fs::write(kernel.objects.join(".config"), text)?;
    step.run(make_command(lab, kernel)?.arg("olddefconfig"))
}

fn nothing_lost(lab: &Lab, kernel: &Kernel, step: &mut Step, wanted: &str) -> Result<()> {
    let lost = lost(wanted, &files::text(&kernel.objects.join(".config"))?);
    if lost.is_empty() {
        return Ok(());
    }
    let _ = step.status(make_command(lab, kernel)?.arg("rustavailable"))?;
    Err(Failure::new(format!(
        "the kernel's configuration lost {}",
        lost.join(" ")
    ))
    .details(step.tail(6))
    .log(step.log_path())
    .next("`lab setup` installs the toolchain; the log's last lines say what the kernel finds missing")
    .into())
}

/// The lines of a fragment as .config has them: "X=n" is "# X is not set".
fn as_config(fragment: &str) -> String {
    let mut text = String::new();
    for line in fragment.lines().filter(|l| l.starts_with("CONFIG_")) {
        match line.strip_suffix("=n") {
            Some(name) => text += &format!("# {name} is not set\n"),
            None => text += &format!("{line}\n"),
        }
    }
    text
}

/// The options of a fragment that a finished .config does not have as asked.
fn lost(fragment: &str, config: &str) -> Vec<String> {
    // The last word on an option counts.
    let mut wanted = std::collections::BTreeMap::new();
    for line in fragment.lines().filter(|l| l.starts_with("CONFIG_")) {
        if let Some((name, value)) = line.split_once('=') {
            wanted.insert(name, value);
        }
    }
    let have: std::collections::HashMap<&str, &str> =
        config.lines().filter_map(|l| l.split_once('=')).collect();
    wanted
        .into_iter()
        .filter(|(name, value)| match have.get(name) {
            Some(have) => have != value,
            // An option that does not come up has no value, which is what these say.
            None => !["n", "\"\""].contains(value),
        })
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_options_are_found() {
        let wanted = "# c\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\nCONFIG_D=n\nCONFIG_E=8\n";
        let have = "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=y\nCONFIG_E=8\n";
        assert_eq!(lost(wanted, have), ["CONFIG_B=m", "CONFIG_D=n"]);
    }

    #[test]
    fn an_empty_string_is_no_value() {
        let wanted = "CONFIG_A=\"\"\nCONFIG_B=\"\"\nCONFIG_C=\"\"\n";
        let have = "CONFIG_A=\"\"\nCONFIG_C=\"x.pem\"\n";
        assert_eq!(lost(wanted, have), ["CONFIG_C=\"\""]);
    }

    #[test]
    fn the_last_word_on_an_option_counts() {
        assert!(lost("CONFIG_KVM=m\nCONFIG_KVM=y\n", "CONFIG_KVM=y\n").is_empty());
    }

    #[test]
    fn the_kernels_are_what_they_are_called() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lab = Lab::at_root(&root, Default::default()).unwrap();
        let set = |kind: Kind, option: &str| {
            let wanted = kind.wanted(&lab).unwrap();
            let last = wanted
                .lines()
                .rfind(|l| l.starts_with(&format!("{option}=")));
            last.map(str::to_owned)
        };
        let all = [
            Kind::Stock,
            Kind::Minimal,
            Kind::Patched,
            Kind::Debug,
            Kind::Rt,
            Kind::Coverage,
        ];
        for kind in all {
            let rust = kind.has_hooks().then(|| "CONFIG_RUST=y".to_owned());
            assert_eq!(set(kind, "CONFIG_RUST"), rust);
        }
        for kind in [Kind::Patched, Kind::Rt, Kind::Coverage] {
            assert_eq!(set(kind, "CONFIG_KVM").unwrap(), "CONFIG_KVM=m");
        }
        assert_eq!(set(Kind::Debug, "CONFIG_KVM").unwrap(), "CONFIG_KVM=y");
        assert_eq!(
            set(Kind::Rt, "CONFIG_PREEMPT_RT").unwrap(),
            "CONFIG_PREEMPT_RT=y"
        );
        assert_eq!(set(Kind::Debug, "CONFIG_PREEMPT_RT"), None);
    }

    #[test]
    fn fragments_become_config_lines() {
        assert_eq!(
            as_config("# x\nCONFIG_A=y\nCONFIG_B=n\n"),
            "CONFIG_A=y\n# CONFIG_B is not set\n"
        );
    }
}
