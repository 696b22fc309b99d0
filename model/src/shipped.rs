// SPDX-License-Identifier: GPL-2.0
//! The shipped code at work: the shared object's functions, what they call, and their memory, which
//! can be saved and restored.

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void, CStr};
use std::path::Path;

use anyhow::{Context, Result};
use libloading::Library;

use crate::counters::{Counts, Why};
use crate::cpu::{self, Cpu, Fault};
use crate::strategies::Chosen;

pub const CPUS: usize = 2;
pub const VCPUS: usize = 2;

/// The tasks, as c/world.c numbers them; the vCPUs' threads come first.
pub const AMX: usize = 2;
pub const PLAIN: usize = 3;
pub const IDLE: usize = 4;
pub const TASKS: usize = 4;

/// What each task has in its vector registers, and each guest.
pub const TASK_XMM: [u64; TASKS] = [0x51, 0x52, 0x53, 0x54];
pub const GUEST_XMM: [u64; VCPUS] = [0x61, 0x62];
/// What the kernel leaves in them.
const KERNEL_XMM: u64 = 0xee;
/// What the task with AMX has in its tiles, once it has used them.
pub const AMX_TILES: u8 = 0xaa;

/// Where a vCPU's thread is.
pub const IN_USER: u8 = 0;
pub const IN_RUN: u8 = 1;
pub const IN_GUEST: u8 = 2;

/// What guests and tasks ought to see, as bare metal would show it, and where threads are. A part of
/// the state.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default, Debug)]
pub struct Shadow {
    /// Whether the module's notifier is registered: C writes it.
    pub notifier: [u8; VCPUS],
    pub place: [u8; VCPUS],
    /// XFD[18] and XFD_ERR[18] of each guest; whether its XCR0[18] is 0.
    pub g: [u8; VCPUS],
    pub e: [u8; VCPUS],
    pub hidden: [u8; VCPUS],
    /// What its tiles are, 0 if initial, and whether they may have become that meanwhile.
    pub tiles: [u8; VCPUS],
    pub may_lose: [u8; VCPUS],
    pub xmm: [u8; VCPUS],
    /// The tiles of the task that has AMX.
    pub amx: u8,
    _rest: [u8; 32 - 9 * VCPUS - 1],
}

/// `struct setup`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Setup {
    pub xmm: [u64; 8],
    pub task: [u8; 8],
    pub attached: [u8; VCPUS],
    pub cap: [u8; VCPUS],
    pub has_vmexit: u8,
    pub msr_lists: u8,
}

/// `struct view`: a CPU between two steps.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct View {
    pub xfd_state: u64,
    pub fpstate_xfd: u64,
    pub task: i32,
    pub live: i32,
    pub load: u8,
    pub valid: u8,
    pub guest: u8,
    pub quiet: u8,
    pub listed: u8,
}

/// `struct cpu` of C.
#[repr(C)]
pub struct Kernel {
    running: *mut c_void,
    preempt_count: u32,
    irqs_disabled: u32,
}

/// `struct host`.
#[repr(C)]
struct Host {
    rdmsr: extern "C" fn(u32) -> u64,
    wrmsr: extern "C" fn(u32, u64),
    xgetbv: extern "C" fn(u32) -> u64,
    xsetbv: extern "C" fn(u32, u64),
    xsaves: extern "C" fn(*mut u8, u64),
    xrstors: extern "C" fn(*mut u8, u64) -> c_int,
    tilerelease: extern "C" fn(),
    cpuid: extern "C" fn(u32, u32, *mut u32),
    clobber: extern "C" fn(),
    point: extern "C" fn(u32, *const c_void, *const u8, u64),
    warn: extern "C" fn(*const c_char, *const c_char, c_int),
    vmexit: extern "C" fn(*mut u64) -> bool,
}

static HOST: Host = Host {
    rdmsr,
    wrmsr,
    xgetbv,
    xsetbv,
    xsaves,
    xrstors,
    tilerelease,
    cpuid,
    clobber,
    point,
    warn,
    vmexit,
};

/// What comes in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Between {
    /// An interrupt whose handler uses the FPU, if it may.
    Hardirq,
    /// A softirq that uses it.
    Softirq,
    /// The thread is preempted by the task with AMX, which uses tiles, and goes on.
    PreemptAmx,
    /// It is preempted by a kernel thread that uses the FPU, and goes on.
    PreemptKernel,
    /// It goes on on the other CPU.
    Migrate,
}

pub const BETWEEN: [Between; 5] = [
    Between::Hardirq,
    Between::Softirq,
    Between::PreemptAmx,
    Between::PreemptKernel,
    Between::Migrate,
];

impl Between {
    /// For what it has a live guest saved.
    fn why(self) -> Why {
        match self {
            Self::Hardirq => Why::Hardirq,
            Self::Softirq => Why::Softirq,
            Self::PreemptAmx | Self::PreemptKernel | Self::Migrate => Why::Switch,
        }
    }
}

/// What comes in between at which point of a step.
pub type Plan = Vec<(u32, Between)>;

macro_rules! functions {
    ($($name:ident($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// What the explorer calls.
        #[allow(clippy::type_complexity)]
        pub struct Functions {
            $(pub $name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
        }

        impl Functions {
            unsafe fn of(library: &Library) -> Result<Self> {
                Ok(Self {
                    $($name: unsafe { *library.get(concat!(stringify!($name), "\0").as_bytes())? },)*
                })
            }
        }
    };
}

functions! {
    world_init(*const c_void, *mut Shadow, *const Setup);
    world_state(*mut *const Range) -> u64;
    world_points(bool);
    world_base() -> *const c_void;
    world_switch(c_int);
    world_to_user();
    world_hardirq();
    world_softirq();
    world_kernel_fpu();
    world_sync();
    world_fork();
    world_idle();
    world_forget();
    world_view(c_int, *mut View);
    kvm_run_begin(c_int);
    kvm_run_end(c_int);
    kvm_enter(c_int);
    kvm_exit(c_int, bool);
    kvm_write_msr(c_int, u32, u64, bool);
    kvm_read_msr(c_int, u32, bool) -> u64;
    kvm_write_msr_loaded(c_int, u32, u64);
    kvm_write_xcr0(c_int, u64);
    kvm_init(c_int);
    kvm_get_xsave(c_int) -> u64;
    kvm_set_xsave(c_int, u64, u64, bool) -> bool;
    kvm_spoil(c_int);
    kvm_area(c_int) -> *const u8;
    kvm_counts(c_int) -> *mut Counts;
    kvm_intercepts_nm(c_int) -> bool;
    kvm_intercepts_write(c_int, u32) -> bool;
}

#[repr(C)]
pub struct Range {
    at: *mut u8,
    size: u64,
}

/// The shipped code, its memory, and the CPUs.
///
/// All of it is behind a shared reference: what C calls back changes it while a function of C's runs.
pub struct Machine {
    pub f: Functions,
    pub setup: Setup,
    cpus: Box<[Cell<Cpu>; CPUS]>,
    shadow: Box<Cell<Shadow>>,
    violation: RefCell<Option<Box<str>>>,
    rt: bool,
    /// Whether tasks may move: to the other CPU.
    moves: bool,
    strategy: Chosen,
    /// All words of memory that change: first the state's.
    words: Vec<*mut u64>,
    state: usize,
    this_cpu: *mut u64,
    kernels: *mut Kernel,
    base: usize,

    // A step: what is to come in between, and what else could.
    plan: RefCell<Plan>,
    done: Cell<usize>,
    points: Cell<u32>,
    limit: Cell<usize>,
    inside: Cell<bool>,
    /// What was counted for what came in between.
    others: Cell<[Counts; VCPUS]>,
    could: RefCell<Plan>,
    places: RefCell<Vec<Place>>,
    /// What each thing would change here, if it is known.
    effects: RefCell<Effects>,
    known: Cell<bool>,
    scratch: RefCell<[Vec<u64>; 2]>,
    _library: Library,
}

/// What each of [`BETWEEN`] would change: none that it cannot come, or changes nothing.
type Effects = [Option<Vec<usize>>; BETWEEN.len()];

/// What the code does next, after a point.
#[derive(Clone, Copy)]
enum Next {
    Read(usize, usize),
    Write,
    /// It goes on in another function, may turn interrupts off, or the CPU executes an instruction.
    Other {
        may_move: bool,
    },
}

/// A point, for who reads.
#[derive(Clone, Debug)]
pub enum Place {
    /// Before an access of memory, or between two calls: the offset in the shared object.
    At(usize),
    /// Before an instruction.
    Before(&'static str),
}

thread_local! {
    static MACHINE: Cell<*const Machine> = const { Cell::new(std::ptr::null()) };
}

/// The machine that is at work in this thread.
fn machine<'a>() -> &'a Machine {
    // SAFETY: C calls back only from within `Machine::within`, which sets it.
    unsafe { &*MACHINE.with(Cell::get) }
}

const HARDIRQ: u32 = 0xf0000;
const SOFTIRQ: u32 = 0xff00;

impl Machine {
    /// Boots it.
    pub fn new(
        shared: &Path,
        setup: Setup,
        rt: bool,
        moves: bool,
        strategy: Chosen,
    ) -> Result<Self> {
        // SAFETY: It is ours, and has no constructors.
        let library = unsafe { Library::new(shared) }
            .with_context(|| format!("cannot load {}", shared.display()))?;
        // SAFETY: c/*.c define them so.
        let (f, this_cpu, kernels) = unsafe {
            (
                Functions::of(&library)?,
                *library.get::<*mut u64>(b"this_cpu\0")?,
                *library.get::<*mut Kernel>(b"cpus\0")?,
            )
        };
        let mut setup = setup;
        setup.xmm[..TASKS].copy_from_slice(&TASK_XMM);
        setup.has_vmexit = strategy.has_vmexit.into();
        setup.msr_lists = strategy.msr_lists.into();
        // SAFETY: It only returns an address.
        let base = unsafe { (f.world_base)() } as usize;
        let mut m = Self {
            f,
            setup,
            cpus: Box::new([const { Cell::new(Cpu::RESET) }; CPUS]),
            shadow: Box::default(),
            violation: RefCell::default(),
            rt,
            moves,
            strategy,
            words: Vec::new(),
            state: 0,
            this_cpu,
            kernels,
            base,
            plan: RefCell::default(),
            done: Cell::new(0),
            points: Cell::new(0),
            limit: Cell::new(0),
            inside: Cell::new(true),
            others: Cell::default(),
            could: RefCell::default(),
            places: RefCell::default(),
            effects: RefCell::default(),
            known: Cell::new(false),
            scratch: RefCell::default(),
            _library: library,
        };
        m.within(|m| {
            // SAFETY: It is called first, and once.
            unsafe { (m.f.world_init)((&raw const HOST).cast(), m.shadow.as_ptr(), &m.setup) };
            for (v, xmm) in GUEST_XMM.into_iter().enumerate() {
                // SAFETY: No vCPU is in KVM_RUN.
                unsafe { (m.f.kvm_set_xsave)(v as c_int, 0, xmm, false) };
                m.note(|s| s.xmm[v] = xmm as u8);
            }
        });
        let mut parts = std::ptr::null();
        // SAFETY: The array is static.
        let parts = unsafe {
            let n = (m.f.world_state)(&mut parts);
            std::slice::from_raw_parts(parts, n as usize)
        };
        let ours = [
            (m.cpus.as_ptr() as usize, size_of::<[Cpu; CPUS]>()),
            (m.shadow.as_ptr() as usize, size_of::<Shadow>()),
        ];
        let parts = parts.iter().map(|p| (p.at as usize, p.size as usize));
        m.words = parts
            .chain(ours)
            .flat_map(|(at, size)| (at & !7..at + size).step_by(8))
            .map(|at| at as *mut u64)
            .collect();
        m.words.sort();
        m.words.dedup();
        m.state = m.words.len();
        for v in 0..VCPUS {
            let counts = m.counts_of(v).cast::<u64>();
            // SAFETY: They are this many.
            m.words
                .extend((0..size_of::<Counts>() / 8).map(|n| unsafe { counts.add(n) }));
        }
        Ok(m)
    }

    /// Lets C call back.
    fn within(&self, f: impl FnOnce(&Self)) {
        let old = MACHINE.with(|m| m.replace(self));
        f(self);
        MACHINE.with(|m| m.set(old));
    }

    /// Copies the whole state.
    pub fn save(&self, to: &mut Vec<u64>) {
        self.copy(&self.words[..self.state], to);
    }

    fn copy(&self, words: &[*mut u64], to: &mut Vec<u64>) {
        to.clear();
        // SAFETY: The words are ours or C's, and live as long.
        to.extend(words.iter().map(|&word| unsafe { *word }));
    }

    /// Puts a state back.
    pub fn restore(&self, from: &[u64]) {
        for (&word, &value) in self.words.iter().zip(from) {
            // SAFETY: As above.
            unsafe { *word = value };
        }
    }

    /// The number of the CPU that runs.
    pub fn here(&self) -> usize {
        // SAFETY: A variable of C's.
        unsafe { *self.this_cpu as usize }
    }

    fn set_here(&self, cpu: usize) {
        // SAFETY: A variable of C's.
        unsafe { *self.this_cpu = cpu as u64 };
    }

    pub fn cpu(&self, n: usize) -> Cpu {
        self.cpus[n].get()
    }

    /// Has the CPU that runs do something.
    pub fn on_cpu<T>(&self, f: impl FnOnce(&mut Cpu) -> T) -> T {
        let cell = &self.cpus[self.here()];
        let mut cpu = cell.get();
        let result = f(&mut cpu);
        cell.set(cpu);
        result
    }

    fn counts_of(&self, v: usize) -> *mut Counts {
        // SAFETY: It only returns an address.
        unsafe { (self.f.kvm_counts)(v as c_int) }
    }

    /// What was counted for each vCPU in this step so far.
    pub fn counts(&self) -> [Counts; VCPUS] {
        // SAFETY: It is the same structure.
        std::array::from_fn(|v| unsafe { *self.counts_of(v) })
    }

    /// What was counted for each vCPU in this step for what did not come in between.
    pub fn own_counts(&self) -> [Counts; VCPUS] {
        let (all, others) = (self.counts(), self.others.get());
        std::array::from_fn(|v| all[v] - others[v])
    }

    /// What has been counted must have been for this.
    pub fn counted(&self, counts: [Counts; VCPUS], reasons: &[Why]) {
        for (v, counts) in counts.iter().enumerate() {
            if let Some(what) = counts.beside(reasons) {
                self.violate(format!("counters of vCPU {v}: {what}"));
            }
        }
    }

    pub fn shadow(&self) -> Shadow {
        self.shadow.get()
    }

    /// Writes down what ought to be seen.
    pub fn note(&self, f: impl FnOnce(&mut Shadow)) {
        let mut shadow = self.shadow.get();
        f(&mut shadow);
        self.shadow.set(shadow);
    }

    pub fn view(&self, cpu: usize) -> View {
        let mut view = View::default();
        // SAFETY: It only reads.
        unsafe { (self.f.world_view)(cpu as c_int, &mut view) };
        view
    }

    /// The first violation of a step counts.
    pub fn violate(&self, what: impl Into<String>) {
        let mut violation = self.violation.borrow_mut();
        if violation.is_none() {
            *violation = Some(what.into().into());
        }
    }

    pub fn violated(&self) -> Option<Box<str>> {
        self.violation.take()
    }

    /// What else could come in between in the last step.
    pub fn could(&self) -> Plan {
        self.could.take()
    }

    /// Where in the last step each of its plan came.
    pub fn places(&self) -> Vec<Place> {
        self.places.take()
    }

    /// Makes a step on a CPU, with this in between; up to `limit` of it in all are looked for.
    pub fn step(&self, cpu: usize, plan: &Plan, limit: usize, f: impl FnOnce(&Self)) {
        self.plan.borrow_mut().clone_from(plan);
        self.done.set(0);
        self.points.set(0);
        self.limit.set(limit);
        self.could.take();
        self.places.take();
        self.violation.take();
        self.set_here(cpu);
        self.known.set(false);
        self.others.take();
        for v in 0..VCPUS {
            // SAFETY: It is the same structure.
            unsafe { *self.counts_of(v) = Counts::default() };
        }
        self.within(|m| {
            m.look_out(true);
            f(m);
            m.look_out(false);
        });
        self.set_here(0);
    }

    /// Whether points count.
    fn look_out(&self, on: bool) {
        self.inside.set(!on);
        // SAFETY: It sets a flag.
        unsafe { (self.f.world_points)(on) };
    }

    fn may(&self, between: Between, may_move: bool) -> bool {
        // SAFETY: A variable of C's.
        let kernel = unsafe { &*self.kernels.add(self.here()) };
        if kernel.irqs_disabled != 0 || kernel.preempt_count & HARDIRQ != 0 {
            return false;
        }
        match between {
            Between::Hardirq => true,
            Between::Softirq => !self.rt && kernel.preempt_count & SOFTIRQ == 0,
            _ if kernel.preempt_count != 0 => false,
            Between::PreemptKernel => self.view(self.here()).task < IDLE as i32,
            Between::PreemptAmx => {
                self.setup.task[AMX] != 0 && (0..CPUS).all(|c| self.view(c).task != AMX as i32)
            }
            Between::Migrate => {
                let (here, there) = (self.here(), 1 - self.here());
                may_move
                    && self.moves
                    && self.view(here).task < IDLE as i32
                    && self.view(there).task == (IDLE + there) as i32
            }
        }
    }

    fn come(&self, between: Between) {
        self.look_out(false);
        let here = self.here();
        let task = self.view(here).task;
        let before = self.counts();
        // SAFETY: `may` says that each may happen here.
        unsafe {
            match between {
                Between::Hardirq => (self.f.world_hardirq)(),
                Between::Softirq => (self.f.world_softirq)(),
                Between::PreemptAmx => {
                    (self.f.world_switch)(AMX as c_int);
                    (self.f.world_to_user)();
                    self.user(here);
                    self.amx_uses_tiles(AMX_TILES);
                    (self.f.world_switch)(task);
                }
                Between::PreemptKernel => {
                    (self.f.world_switch)((IDLE + here) as c_int);
                    (self.f.world_kernel_fpu)();
                    (self.f.world_switch)(task);
                }
                Between::Migrate => {
                    (self.f.world_switch)((IDLE + here) as c_int);
                    self.set_here(1 - here);
                    (self.f.world_switch)(task);
                }
            }
        }
        let after = self.counts();
        let since = std::array::from_fn(|v| after[v] - before[v]);
        self.counted(since, &[between.why()]);
        self.look_out(true);
    }

    /// The task that has AMX writes its tiles.
    pub fn amx_uses_tiles(&self, contents: u8) {
        if self.on_cpu(|c| c.use_tiles(contents.into())).is_err() {
            self.violate("I3: a task that has AMX takes a #NM");
        }
        self.note(|s| s.amx = contents);
    }

    /// What must be so when the current task is in user mode.
    pub fn user(&self, cpu: usize) {
        let (view, hw) = (self.view(cpu), self.cpu(cpu));
        let task = view.task as usize;
        if view.load != 0 || view.valid == 0 {
            self.violate("I3: a task is in user mode without its registers");
        }
        if hw.xmm != TASK_XMM[task] {
            self.violate(format!(
                "I2: task {task} has {:#x} in its vector registers, not {:#x}",
                hw.xmm, TASK_XMM[task]
            ));
        }
        let tiles = if task == AMX { self.shadow().amx } else { 0 };
        if hw.tiles != u64::from(tiles) {
            self.violate(format!(
                "I2: task {task} has tiles {:#x}, not {tiles:#x}",
                hw.tiles
            ));
        }
        if hw.xfd != view.fpstate_xfd || hw.xfd != if task == AMX { 0 } else { cpu::TILES } {
            self.violate(format!("I3: task {task} runs with XFD={:#x}", hw.xfd));
        }
        if hw.xfd_err != 0 {
            self.violate("I3: a task runs with XFD_ERR other than 0");
        }
    }

    fn point(&self, next: Next, place: impl FnOnce() -> Place) {
        if self.inside.get() {
            return;
        }
        let n = self.points.get();
        self.points.set(n + 1);
        let planned = self.plan.borrow().get(self.done.get()).copied();
        if let Some((at, between)) = planned {
            if at == n {
                self.done.set(self.done.get() + 1);
                self.places.borrow_mut().push(place());
                let own = self.own_counts();
                self.come(between);
                let all = self.counts();
                self.others.set(std::array::from_fn(|v| all[v] - own[v]));
                self.known.set(false);
                // After the last of all that may come nobody looks.
                if self.done.get() == self.limit.get() {
                    self.look_out(false);
                }
            }
            return;
        }
        let may_move = matches!(next, Next::Other { may_move: true });
        if !self.known.get() || may_move {
            self.look(may_move);
        }
        let mut could = self.could.borrow_mut();
        for (between, effect) in BETWEEN.into_iter().zip(&*self.effects.borrow()) {
            let Some(changed) = effect else { continue };
            // Before a read of what it does not change it may as well come after it.
            let matters = match next {
                Next::Read(at, size) => changed
                    .iter()
                    .any(|&word| at < word + 8 && word < at + size),
                _ => true,
            };
            if matters && self.may(between, may_move) {
                could.push((n, between));
            }
        }
        // What is known stays so until something is written.
        self.known.set(matches!(next, Next::Read(..)));
    }

    /// Finds out what each thing that may come here would change.
    fn look(&self, may_move: bool) {
        let [mut before, mut after] = self.scratch.take();
        self.copy(&self.words, &mut before);
        let violation = self.violation.take();
        let mut effects = self.effects.borrow_mut();
        for (between, effect) in BETWEEN.into_iter().zip(&mut *effects) {
            *effect = None;
            if !self.may(between, may_move) {
                continue;
            }
            self.come(between);
            self.copy(&self.words, &mut after);
            // What changes nothing need not come.
            if after != before || self.violation.take().is_some() {
                *effect = Some(self.differences(&before, &after));
                self.restore(&before);
            }
        }
        self.violation.replace(violation);
        self.scratch.replace([before, after]);
    }

    /// The addresses of the words that differ.
    fn differences(&self, before: &[u64], after: &[u64]) -> Vec<usize> {
        let words = self.words.iter().zip(before.iter().zip(after));
        words
            .filter(|(_, (before, after))| before != after)
            .map(|(&word, _)| word as usize)
            .collect()
    }

    fn before(&self, instruction: &'static str) {
        let next = Next::Other { may_move: false };
        self.point(next, || Place::Before(instruction));
    }
}

extern "C" fn rdmsr(msr: u32) -> u64 {
    let m = machine();
    m.before(match msr {
        cpu::MSR_XFD => "RDMSR of XFD",
        _ => "RDMSR of XFD_ERR",
    });
    m.on_cpu(|c| c.rdmsr(msr))
}

extern "C" fn wrmsr(msr: u32, value: u64) {
    let m = machine();
    m.before(match msr {
        cpu::MSR_XFD => "WRMSR of XFD",
        _ => "WRMSR of XFD_ERR",
    });
    m.on_cpu(|c| c.wrmsr(msr, value));
}

extern "C" fn xgetbv(index: u32) -> u64 {
    let m = machine();
    m.before("XGETBV");
    m.on_cpu(|c| c.xgetbv(index))
}

extern "C" fn xsetbv(_: u32, value: u64) {
    machine().on_cpu(|c| c.xcr0 = value);
}

extern "C" fn xsaves(area: *mut u8, mask: u64) {
    let m = machine();
    m.before("XSAVES");
    // SAFETY: It is the area of an fpstate.
    m.on_cpu(|c| unsafe { c.xsaves(area, mask) });
}

extern "C" fn xrstors(area: *mut u8, mask: u64) -> c_int {
    let m = machine();
    m.before("XRSTORS");
    // SAFETY: It is the area of an fpstate.
    match m.on_cpu(|c| unsafe { c.xrstors(area, mask) }) {
        Ok(()) => 0,
        Err(Fault::Nm) => {
            m.violate("I2: XRSTORS raises #NM in the host");
            0
        }
        Err(Fault::Gp) => {
            for v in 0..VCPUS {
                // SAFETY: It only reads.
                if unsafe { (m.f.kvm_area)(v as c_int) } == area {
                    // Whose registers fault gets initial ones.
                    m.note(|s| {
                        s.tiles[v] = 0;
                        s.xmm[v] = 0;
                    });
                }
            }
            cpu::GP
        }
    }
}

extern "C" fn tilerelease() {
    let m = machine();
    m.before("TILERELEASE");
    m.on_cpu(Cpu::tilerelease);
}

extern "C" fn cpuid(leaf: u32, index: u32, regs: *mut u32) {
    // SAFETY: C passes four.
    unsafe { regs.cast::<[u32; 4]>().write(cpu::cpuid(leaf, index)) };
}

extern "C" fn clobber() {
    machine().on_cpu(|c| c.xmm = KERNEL_XMM);
}

extern "C" fn point(kind: u32, from: *const c_void, at: *const u8, size: u64) {
    let m = machine();
    let next = match kind {
        0 => Next::Read(at as usize, size as usize),
        1 => Next::Write,
        _ => Next::Other { may_move: true },
    };
    m.point(next, || Place::At(from as usize - m.base));
}

extern "C" fn warn(condition: *const c_char, file: *const c_char, line: c_int) {
    // SAFETY: C passes strings.
    let (condition, file) = unsafe { (CStr::from_ptr(condition), CStr::from_ptr(file)) };
    let (condition, file) = (condition.to_string_lossy(), file.to_string_lossy());
    let file = file.rsplit_once("/tree/").map_or(&*file, |(_, f)| f);
    machine().violate(format!("I4, I7: WARN_ON({condition}) at {file}:{line}"));
}

extern "C" fn vmexit(disarm: *mut u64) -> bool {
    let m = machine();
    let decide = m.strategy.vmexit;
    let mut in_use = || machine().on_cpu(|c| c.xgetbv(1)) & cpu::TILES;
    let decision = decide(&mut in_use);
    // SAFETY: C passes a variable.
    unsafe { disarm.write(decision.unwrap_or(0)) };
    decision.is_some()
}
