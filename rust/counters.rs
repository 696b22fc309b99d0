// SPDX-License-Identifier: GPL-2.0

//! What the FPU core has counted for vCPUs, in debugfs.
//!
//! `kvm/PID-FD/vcpuN/xfd_switch` has it of a vCPU, `kvm/PID-FD/xfd_switch` of a VM, and
//! `xfd_switch/summary` of all that were attached since the module was loaded. Reading it stops
//! no vCPU that runs, so that the counters may belong to different moments.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::atomic::{
    atomic_load,
    Relaxed, //
};

use super::bindings;
use super::debugfs::{
    self,
    Show, //
};

/// What the counters are called, in their order: the saves, by reason, in that of the C enumeration.
const SAVES: [&str; bindings::fpu_guest_xfd_why_FPU_GUEST_XFD_FPREGS as usize] = [
    "switch",
    "userspace",
    "task",
    "softirq",
    "hardirq",
    "access",
    "strategy",
];

/// `READ_ONCE()` of a counter, which its vCPU may be about to increment.
///
/// # Safety
///
/// `counter` must be valid.
unsafe fn read_once(counter: *const u64) -> u64 {
    // SAFETY: The caller's promise. C's increments are no atomic stores, but x86 stores an aligned
    // u64 at once.
    unsafe { atomic_load(counter.cast_mut(), Relaxed) }
}

/// The counters of one vCPU, or of several.
struct Counters {
    vcpus: u64,
    exits: u64,
    loads: u64,
    saves: [u64; SAVES.len()],
    dormant_saves: u64,
    xfd_writes: u64,
    xfd_err_writes: u64,
}

impl Counters {
    const ZERO: Self = Self {
        vcpus: 0,
        exits: 0,
        loads: 0,
        saves: [0; SAVES.len()],
        dormant_saves: 0,
        xfd_writes: 0,
        xfd_err_writes: 0,
    };

    /// Adds those of a vCPU.
    ///
    /// # Safety
    ///
    /// `vcpu` must be valid. It may be running.
    unsafe fn add(&mut self, vcpu: *const bindings::kvm_vcpu) {
        self.vcpus += 1;
        // SAFETY: A valid vCPU has them all.
        unsafe {
            let counts = &raw const (*vcpu).arch.guest_xfd.counts;

            self.exits += read_once(&raw const (*vcpu).stat.exits);
            self.loads += read_once(&raw const (*counts).loads);
            for (why, saves) in self.saves.iter_mut().enumerate() {
                *saves += read_once(&raw const (*counts).saves[why]);
            }
            self.dormant_saves += read_once(&raw const (*counts).dormant_saves);
            self.xfd_writes += read_once(&raw const (*counts).xfd_writes);
            self.xfd_err_writes += read_once(&raw const (*counts).xfd_err_writes);
        }
    }

    /// Writes them, a key and its value a line.
    fn show(&self, to: &SeqFile) {
        let saves: u64 = self.saves.iter().sum();

        seq_print!(to, "vcpus {}\n", self.vcpus);
        seq_print!(to, "exits {}\n", self.exits);
        // Each save is of another exit: it ends what a VM-entry has begun.
        seq_print!(
            to,
            "exits_without_save {}\n",
            self.exits.saturating_sub(saves)
        );
        seq_print!(to, "loads {}\n", self.loads);
        seq_print!(to, "saves {}\n", saves);
        for (why, saves) in SAVES.iter().zip(self.saves) {
            seq_print!(to, "saves_{} {}\n", why, saves);
        }
        seq_print!(to, "saves_dormant {}\n", self.dormant_saves);
        seq_print!(to, "rdmsr_xfd {}\n", saves);
        seq_print!(to, "rdmsr_xfd_err {}\n", saves);
        seq_print!(to, "wrmsr_xfd {}\n", self.xfd_writes);
        seq_print!(to, "wrmsr_xfd_err {}\n", self.xfd_err_writes);
    }
}

/// A vCPU that was created and not freed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Attached(NonNull<bindings::kvm_vcpu>);

// SAFETY: A vCPU's counters may be read by any thread.
unsafe impl Send for Attached {}

/// All attached vCPUs, and what those have left that are gone.
struct All {
    // Not KVec: a host may have more vCPUs than kmalloc() finds contiguous memory for.
    vcpus: KVVec<Attached>,
    gone: Counters,
}

kernel::sync::global_lock! {
    // SAFETY: `init` is called before anybody can use it.
    unsafe(uninit) static ALL: Mutex<All> = All { vcpus: KVVec::new(), gone: Counters::ZERO };
}

/// What [`attach`] keeps of each vCPU, in bytes.
pub(crate) const SIZE_OF_ATTACHED: usize = size_of::<Attached>();

/// To be called when the module is loaded.
///
/// # Safety
///
/// Neither this nor anything else here was called before.
pub(crate) unsafe fn init() {
    // SAFETY: The caller's promise.
    unsafe { ALL.init() };
}

/// Counts this vCPU from now on. May sleep, and fail for want of memory.
///
/// # Safety
///
/// `vcpu` must be valid until [`detach`].
pub(crate) unsafe fn attach(vcpu: NonNull<bindings::kvm_vcpu>) -> Result {
    Ok(ALL.lock().vcpus.push(Attached(vcpu), GFP_KERNEL)?)
}

/// Keeps what was counted of this vCPU, and forgets it. May sleep.
///
/// # Safety
///
/// `vcpu` must be valid.
pub(crate) unsafe fn detach(vcpu: NonNull<bindings::kvm_vcpu>) {
    let mut all = ALL.lock();

    // SAFETY: The caller's promise.
    unsafe { all.gone.add(vcpu.as_ptr()) };
    all.gone.vcpus = 0;
    all.vcpus.retain(|&mut attached| attached != Attached(vcpu));
    if all.vcpus.is_empty() {
        // A static is not dropped when the module is unloaded, so its memory has to go before.
        all.vcpus = KVVec::new();
    }
}

/// Adds its counters to a VM's directory.
///
/// # Safety
///
/// `dir` must be a directory, or an error, that is removed before the VM is destroyed.
pub(crate) unsafe fn show_vm(kvm: *mut bindings::kvm, dir: *mut bindings::dentry) {
    // SAFETY: The caller's promise.
    unsafe { debugfs::file(FILE, dir.cast(), kvm) };
}

/// Adds its counters to a vCPU's directory.
///
/// # Safety
///
/// `dir` must be a directory, or an error, that is removed before the vCPU is destroyed.
pub(crate) unsafe fn show_vcpu(vcpu: *mut bindings::kvm_vcpu, dir: *mut bindings::dentry) {
    // SAFETY: The caller's promise.
    unsafe { debugfs::file(FILE, dir.cast(), vcpu) };
}

/// The name of a file in KVM's directories.
const FILE: &CStr = c"xfd_switch";

impl Show for bindings::kvm_vcpu {
    unsafe fn show(this: *const Self, to: &SeqFile) {
        let mut counters = Counters::ZERO;

        // SAFETY: The vCPU's directory is removed before the vCPU.
        unsafe { counters.add(this) };
        counters.show(to);
    }
}

impl Show for bindings::kvm {
    unsafe fn show(this: *const Self, to: &SeqFile) {
        let all = ALL.lock();
        let mut counters = Counters::ZERO;

        for vcpu in &all.vcpus {
            // SAFETY: Who frees a vCPU calls `detach` before, which takes the lock.
            unsafe {
                if ptr::eq((*vcpu.0.as_ptr()).kvm, this) {
                    counters.add(vcpu.0.as_ptr());
                }
            }
        }
        drop(all);
        counters.show(to);
    }
}

/// Shows the sum of all.
struct Summary;

impl Show for Summary {
    unsafe fn show(_: *const Self, to: &SeqFile) {
        let all = ALL.lock();
        let mut counters = Counters { ..all.gone };

        for vcpu in &all.vcpus {
            // SAFETY: As for a VM.
            unsafe { counters.add(vcpu.0.as_ptr()) };
        }
        drop(all);
        counters.show(to);
    }
}

/// Makes the module's own directory, which is there as long as the result.
pub(crate) fn show_all() -> debugfs::Dir {
    let dir = debugfs::Dir::new(c"xfd_switch");

    dir.file(c"summary", &Summary);
    dir
}
