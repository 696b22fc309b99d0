// SPDX-License-Identifier: GPL-2.0
//! What needs what: everything that the lab builds, as a graph, built side by side.
//!
//! The longest way is the stock kernel, the patched one, whose objects begin as a copy of stock's,
//! and the module; the order of [`Product`] is that in which those start that could.

use anyhow::Result;

use crate::base::layout::Lab;
use crate::base::parallel::{self, Plan};
use crate::build::emulator::{self, Emulator};
use crate::build::kernel;
use crate::build::kmod;
use crate::build::module;
use crate::build::selftests;
use crate::build::source;
use crate::build::toolchain;

/// Something that is fetched or built, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Product {
    KernelSource,
    EmulatorSource,
    StockKernel,
    Bindgen,
    /// The source with patches/fixes and patches/linux applied.
    PatchedSource,
    PatchedKernel,
    DebugKernel,
    RtKernel,
    CoverageKernel,
    MinimalKernel,
    Emulator(Emulator),
    Selftests,
    /// For this kernel.
    Module(kernel::Kind, module::Kind),
    /// The tests' own kernel modules, for this kernel.
    Kmod(kernel::Kind),
}

impl Product {
    pub fn kernel(kind: kernel::Kind) -> Product {
        match kind {
            kernel::Kind::Stock => Product::StockKernel,
            kernel::Kind::Minimal => Product::MinimalKernel,
            kernel::Kind::Patched => Product::PatchedKernel,
            kernel::Kind::Debug => Product::DebugKernel,
            kernel::Kind::Rt => Product::RtKernel,
            kernel::Kind::Coverage => Product::CoverageKernel,
        }
    }
}

impl Plan for Lab {
    type Part = Product;

    fn needs(&self, part: Product) -> Vec<Product> {
        match part {
            Product::KernelSource | Product::EmulatorSource | Product::Bindgen => vec![],
            Product::PatchedSource | Product::StockKernel => vec![Product::KernelSource],
            Product::MinimalKernel => vec![Product::StockKernel],
            Product::PatchedKernel => vec![
                Product::StockKernel,
                Product::Bindgen,
                Product::PatchedSource,
            ],
            Product::DebugKernel | Product::RtKernel | Product::CoverageKernel => {
                vec![Product::Bindgen, Product::PatchedSource]
            }
            Product::Emulator(_) => vec![Product::EmulatorSource],
            Product::Selftests => vec![Product::PatchedSource],
            Product::Module(kernel, _) | Product::Kmod(kernel) => vec![Product::kernel(kernel)],
        }
    }

    fn waits(&self, part: Product) -> bool {
        matches!(part, Product::KernelSource | Product::EmulatorSource)
    }

    fn work(&self, part: Product) -> Result<()> {
        match part {
            Product::KernelSource => source::kernel(self).map(drop),
            Product::EmulatorSource => source::emulator(self).map(drop),
            Product::Bindgen => toolchain::bindgen(self),
            Product::PatchedSource => kernel::tree(self, kernel::Kind::Patched).map(drop),
            Product::PatchedKernel => kernel::build(self, kernel::Kind::Patched).map(drop),
            Product::DebugKernel => kernel::build(self, kernel::Kind::Debug).map(drop),
            Product::RtKernel => kernel::build(self, kernel::Kind::Rt).map(drop),
            Product::CoverageKernel => kernel::build(self, kernel::Kind::Coverage).map(drop),
            Product::StockKernel => kernel::build(self, kernel::Kind::Stock).map(drop),
            Product::MinimalKernel => kernel::build(self, kernel::Kind::Minimal).map(drop),
            Product::Emulator(kind) => emulator::build(self, kind).map(drop),
            Product::Selftests => selftests::build(self).map(drop),
            Product::Module(kind, which) => {
                module::build(self, &kernel::build(self, kind)?, which).map(drop)
            }
            Product::Kmod(kind) => kmod::build(self, &kernel::build(self, kind)?).map(drop),
        }
    }
}

/// Builds these and what they need. After it each part's own `build` finds its work done, and says
/// where it is.
pub fn build(lab: &Lab, parts: impl IntoIterator<Item = Product>) -> Result<()> {
    let parts: Vec<Product> = parts.into_iter().collect();
    parallel::carry_out(&lab.jobs, lab, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choices::Choices;

    #[test]
    fn what_is_needed_comes_before_what_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::at_root(dir.path(), Choices::default()).unwrap();
        for kernel in [
            kernel::Kind::Stock,
            kernel::Kind::Minimal,
            kernel::Kind::Patched,
            kernel::Kind::Debug,
            kernel::Kind::Rt,
            kernel::Kind::Coverage,
        ] {
            for part in [
                Product::Module(kernel, module::Kind::Shipped),
                Product::Kmod(kernel),
                Product::kernel(kernel),
                Product::PatchedSource,
                Product::Selftests,
                Product::Emulator(Emulator::Patched),
            ] {
                assert!(lab.needs(part).iter().all(|&needed| needed < part));
            }
        }
    }
}
