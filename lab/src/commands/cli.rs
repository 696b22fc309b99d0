// SPDX-License-Identifier: GPL-2.0
//! The command line, and how each command's end becomes an exit code.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::base::choices::Choices;
use crate::base::failure;
use crate::base::files;
use crate::base::interrupt::Interrupted;
use crate::base::layout::Lab;
use crate::build::emulator::Emulator;
use crate::build::plan::{self, Product};
use crate::build::{kernel, module, packages, source, toolchain, vmm};
use crate::commands::{
    bench, bisect, boot, check, costs, coverage, deb, edit, explore, figures, fits, fuzz, guests,
    hostile, kit, mutants, nightly, run, upstream,
};
use crate::tests::{kit as kits, select::Wanted};

#[derive(Parser)]
#[command(
    name = "lab",
    version,
    about = "Fetches, builds, boots, tests and measures xfd_switch in an emulated machine"
)]
struct Cli {
    #[command(flatten)]
    choices: Choices,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the Debian packages that are missing, and bindgen
    Setup,
    /// Fetch the kernel's and the emulator's source
    Fetch,
    /// Build something, and what it needs
    Build {
        #[arg(value_enum, default_value_t = What::All)]
        what: What,
    },
    /// Boot a machine, run a command in it, and return its exit status (125: the lab itself failed)
    Boot(Box<boot::Options>),
    /// Measure every strategy; prints the table and writes build/report/run.json
    Run,
    /// Trace how long VM-exits take on each host and in each state, or read traces of your own; prints
    /// tables, and writes bench.json and pictures into build/report/bench
    Bench(bench::Options),
    /// Write the figures of the last measurement into README.md and Documentation/; measures first
    /// if there is none of what is built now
    Figures,
    /// Print what the counts of the last measurement come to in cycles, by what is published of the
    /// operations (Documentation/costs.toml)
    Costs,
    /// Run every test; prints KTAP and writes build/report/check.json
    Check(check::Options),
    /// Run the kernel tree's own KVM selftests with and without the module; writes
    /// build/report/upstream.json and fails if a strategy changes any result
    Upstream(upstream::Options),
    /// Let Linux guests in QEMU go through selftests/guest/list.toml on each host; prints what it
    /// costs, writes build/report/guests.json and fails if anything is wrong
    Guests(guests::Options),
    /// Let userspace that means ill throw ioctls at KVM, on the debug kernel and on the patched one,
    /// with and without the module; writes build/report/hostile.json and fails if it does any harm
    Hostile(hostile::Options),
    /// Make Debian packages of the patched kernel, from a distribution's configuration, and of the
    /// module, for DKMS: build/deb
    Deb(deb::Options),
    /// Let random guest programs run undisturbed and disturbed on each host; writes
    /// build/report/fuzz.json and fails if a guest can see a difference
    Fuzz(fuzz::Options),
    /// Print what a kit has found on a host of real hardware, beside what the emulator has counted
    Kit(kit::Options),
    /// Break the synchronisation points one by one (selftests/mutants); each must make its test fail
    Mutants(Wanted),
    /// Explore every interleaving of the shipped code that saves and loads XFD (model/); writes
    /// build/report/explore.json and fails if anything is lost, or a seeded bug is not found
    Explore(explore::Options),
    /// Count which lines of the patches run in the tests of the patched kernel; writes
    /// build/report/coverage.json and fails if one has neither run nor a reason (selftests/uncovered.toml)
    Coverage,
    /// Build and boot the kernel after each patch of patches/fixes, patches/linux and patches/minimal
    Bisect,
    /// Do all that takes long: check --debug, check --rt, guests, hostile, mutants, explore (for 2 hours),
    /// fuzz (for 1), coverage, bisect and upstream; prints a table and writes build/report/nightly.json
    Nightly,
    /// Say of each patch for the kernel whether a kernel source (KERNEL_SOURCE, an archive or a tree)
    /// takes it; nothing is built
    Fits,
    /// Work on the host kernel series in a git tree
    #[command(subcommand)]
    Kernel(edit::Command),
    /// Remove what was built; downloads stay
    Clean,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Stock,
    Minimal,
    Patched,
    Debug,
    Rt,
    Coverage,
    Emulator,
    EmulatorUnpatched,
    Module,
    ModuleBroken,
    /// The module's documentation
    Rustdoc,
    Selftests,
    /// build/kit: what tests and measures the module on a host of real hardware
    Kit,
    /// build/vmm/qemu: QEMU with patches/qemu
    Vmm,
    All,
}

/// The exit code of `lab boot` when not the command but the lab failed.
const BOOT_FAILED: u8 = 125;

pub fn main() -> ExitCode {
    // make passes its unset variables on as empty ones.
    for name in [
        "SETUP",
        "JOBS",
        "KDIR",
        "KERNEL",
        "KERNEL_SOURCE",
        "EMULATOR_SOURCE",
        "DOWNLOADS",
        "CONFIG",
    ] {
        if std::env::var_os(name).is_some_and(|value| value.is_empty()) {
            std::env::remove_var(name);
        }
    }
    let cli = Cli::parse();
    let boots = matches!(
        cli.command,
        Command::Boot(_) | Command::Kernel(edit::Command::Try(_))
    );
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.chain().any(|c| c.is::<Interrupted>()) => {
            eprintln!("\nlab: {Interrupted}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("lab: error: {}", failure::explain(&error));
            ExitCode::from(if boots { BOOT_FAILED } else { 1 })
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8> {
    let lab = Lab::open(cli.choices)?;
    source::check_kernel(&lab)?;
    match cli.command {
        Command::Setup => {
            lab.lock()?;
            packages::setup(&lab)?;
            toolchain::bindgen(&lab)?;
            eprintln!("lab: everything that is needed is installed");
        }
        Command::Fetch => {
            lab.lock()?;
            source::fetch(&lab)?;
        }
        Command::Build { what } => build(&lab, what)?,
        Command::Boot(options) => {
            packages::setup(&lab)?;
            return Ok(boot::run(&lab, &options)?.clamp(0, 255) as u8);
        }
        Command::Run => run::run(&lab)?,
        Command::Bench(options) => bench::run(&lab, &options)?,
        Command::Figures => figures::run(&lab)?,
        Command::Costs => costs::run(&lab)?,
        Command::Check(options) => return status(check::run(&lab, &options)),
        Command::Upstream(options) => return status(upstream::run(&lab, &options)),
        Command::Guests(options) => guests::run(&lab, &options)?,
        Command::Hostile(options) => hostile::run(&lab, &options)?,
        Command::Deb(options) => {
            packages::setup(&lab)?;
            deb::run(&lab, &options)?;
        }
        Command::Fuzz(options) => return status(fuzz::run(&lab, &options)),
        Command::Kit(options) => kit::run(&lab, &options)?,
        Command::Mutants(wanted) => return status(mutants::run(&lab, &wanted)),
        Command::Explore(options) => explore::run(&lab, &options)?,
        Command::Coverage => return status(coverage::run(&lab)),
        Command::Bisect => return status(bisect::run(&lab)),
        Command::Nightly => return status(nightly::run(&lab)),
        Command::Fits => return status(fits::run(&lab)),
        Command::Kernel(command) => return edit::run(&lab, &command),
        Command::Clean => {
            lab.lock()?;
            // The lab itself stays: it is running.
            for entry in std::fs::read_dir(lab.build())? {
                let entry = entry?;
                if !["lab", "lock"]
                    .iter()
                    .any(|keep| entry.file_name() == *keep)
                {
                    files::remove(&entry.path())?;
                }
            }
        }
    }
    Ok(0)
}

/// The exit code of a command that says whether all is well.
fn status(well: Result<bool>) -> Result<u8> {
    Ok(if well? { 0 } else { 1 })
}

/// Whether `lab` takes these arguments.
#[cfg(test)]
pub fn parses(arguments: &[&str]) -> bool {
    Cli::try_parse_from(["lab"].iter().chain(arguments)).is_ok()
}

fn build(lab: &Lab, what: What) -> Result<()> {
    lab.lock()?;
    if let (What::Module, Some(kdir)) = (what, lab.choices.kdir.clone()) {
        toolchain::bindgen_for_module(lab)?;
        let object = module::build_for(lab, &kdir)?;
        eprintln!("lab: {} is built", lab.shown(&object));
        return Ok(());
    }
    packages::setup(lab)?;
    let (patched, module) = (kernel::Kind::Patched, module::Kind::Shipped);
    let all = vec![
        Product::Emulator(Emulator::Patched),
        Product::Emulator(Emulator::Unpatched),
        Product::MinimalKernel,
        Product::DebugKernel,
        Product::RtKernel,
        Product::Module(patched, module),
        Product::Module(patched, module::Kind::Broken),
        Product::Selftests,
    ];
    let parts = match what {
        What::All => all,
        What::Stock => vec![Product::StockKernel],
        What::Minimal => vec![Product::MinimalKernel],
        What::Patched => vec![Product::PatchedKernel],
        What::Debug => vec![Product::DebugKernel],
        What::Rt => vec![Product::RtKernel],
        What::Coverage => vec![Product::CoverageKernel],
        What::Emulator => vec![Product::Emulator(Emulator::Patched)],
        What::EmulatorUnpatched => vec![Product::Emulator(Emulator::Unpatched)],
        What::Module => vec![Product::Module(patched, module)],
        What::ModuleBroken => vec![Product::Module(patched, module::Kind::Broken)],
        What::Rustdoc => vec![Product::PatchedKernel],
        What::Selftests => vec![Product::Selftests],
        // Its modules may be for a kernel of the user's own.
        What::Kit | What::Vmm => Vec::new(),
    };
    plan::build(lab, parts)?;
    if matches!(what, What::Kit) {
        let kit = kits::make(lab)?;
        eprintln!("lab: {} and its .tar.gz are made", lab.shown(&kit.dir));
    }
    if matches!(what, What::Vmm) {
        let program = vmm::build(lab)?;
        eprintln!("lab: {} is built", lab.shown(&program));
    }
    if matches!(what, What::Rustdoc) {
        let page = module::rustdoc(lab, &kernel::build(lab, patched)?)?;
        eprintln!("lab: {} is written", lab.shown(&page));
    }
    if matches!(what, What::All | What::Module) {
        let object = module::build(lab, &kernel::build(lab, patched)?, module)?;
        eprintln!("lab: {} is built", lab.shown(&object));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn boot_takes_the_command_after_two_dashes() {
        assert!(Cli::try_parse_from(["lab", "boot", "--cpus", "2", "--", "ls", "-l"]).is_ok());
        assert!(Cli::try_parse_from(["lab", "boot"]).is_err());
        assert!(
            Cli::try_parse_from(["lab", "boot", "--stock", "--strategy", "x", "--", "true"])
                .is_err()
        );
        assert!(Cli::try_parse_from(["lab", "boot", "--stock", "--debug", "--", "true"]).is_err());
        let none = ["lab", "boot", "--minimal", "--strategy", "x", "--", "true"];
        assert!(Cli::try_parse_from(none).is_err());
        assert!(Cli::try_parse_from(["lab", "boot", "--cpus", "0", "--", "true"]).is_err());
    }
}
