// SPDX-License-Identifier: GPL-2.0
//! What is fetched and built: packages, sources, kernels, the emulator, the module, programs.

pub mod built; // a built kernel
pub mod copy; // copies of a built kernel, for other patches
pub mod deb; // the kernel and the module as Debian packages
pub mod download; // pinned files through apt's own tools
pub mod emulator; // Bochs, with and without our series
pub mod explorer; // what finds every interleaving of the save path
pub mod kernel; // the stock, the minimal, the patched one and its kinds: debug, rt, coverage
pub mod kmod; // the kernel modules that tests load
pub mod module; // xfd_switch.ko, and its deliberately broken twin
pub mod observers; // Debian's trace-cmd and perf, unpacked
pub mod packages; // Debian packages
pub mod plan; // what needs what, built side by side
pub mod profiled; // what gcov counts, and the lines that are the patches'
pub mod qemu; // Debian's QEMU, unpacked
pub mod selftests; // the programs that run inside
pub mod series; // patch series and the trees they apply to
pub mod source; // unpacked sources
pub mod toolchain; // clang, rustc and bindgen for kernels and modules
pub mod unpacked; // programs of Debian's that are not installed
pub mod upstream; // the kernel tree's own KVM selftests
pub mod version; // of what is in this checkout
pub mod vmm; // QEMU with our series
