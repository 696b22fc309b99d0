// SPDX-License-Identifier: GPL-2.0
//! What guests, tasks, VMMs and the scheduler can do, and what must be so after each of it.
//!
//! A step is one of them, run by the shipped code from its beginning to its end, with interrupts and
//! preemption in between wherever they may be. CPUs share nothing but tasks that are on neither, so
//! that steps of two CPUs need not be interleaved any finer.

use std::ffi::c_int;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Result;
use stateright::{Model, Property};

use crate::counters::Why;
use crate::cpu::{Cpu, MSR_XFD, MSR_XFD_ERR, TILES, XCR0};
use crate::shipped::{
    Machine, Place, Plan, Setup, Shadow, View, AMX, AMX_TILES, CPUS, GUEST_XMM, IDLE, IN_GUEST,
    IN_RUN, IN_USER, PLAIN, TASKS, VCPUS,
};
use crate::strategies::Chosen;

/// Tiles that a guest writes, and that an image has.
const GUEST_TILES: [u8; 2] = [0x11, 0x12];
const IMAGE_TILES: u8 = 0x21;

/// One thing that happens on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Switch(usize),
    Hardirq,
    Softirq,
    KernelFpu,
    Idle,
    Sync,
    Fork,
    Amx(u8),
    RunBegin,
    RunSpoiled,
    RunEnd,
    Enter,
    Exit,
    Emulate(Msr, bool),
    EmulatedRead,
    Init,
    Hide(bool),
    Guest(Guest),
    Ioctl(usize, Ioctl),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Msr {
    Xfd,
    XfdErr,
}

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guest {
    Write(Msr, bool),
    Tiles(u8),
    Release,
    /// A use of tiles whose #NM exits for another reason than XFD: vm86.
    NmExits,
}

/// What a VMM does with a vCPU that is not in KVM_RUN, from any of its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ioctl {
    Set(Msr, bool),
    SetXfdLoaded(bool),
    Get,
    GetXsave,
    SetXsave(u8),
    SetXsaveRefused,
}

impl Msr {
    fn number(self) -> u32 {
        match self {
            Self::Xfd => MSR_XFD,
            Self::XfdErr => MSR_XFD_ERR,
        }
    }
}

impl fmt::Display for Msr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xfd => "XFD",
            Self::XfdErr => "XFD_ERR",
        })
    }
}

fn value(on: bool) -> u64 {
    if on {
        TILES
    } else {
        0
    }
}

fn bit(on: bool) -> &'static str {
    if on {
        "1"
    } else {
        "0"
    }
}

fn task_name(task: usize) -> String {
    match task {
        AMX => "the task with AMX".to_owned(),
        PLAIN => "the task without AMX".to_owned(),
        IDLE.. => "the idle task".to_owned(),
        v => format!("vCPU {v}'s thread"),
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(task) => write!(f, "the scheduler switches to {}", task_name(*task)),
            Self::Hardirq => write!(f, "a hardirq uses the FPU"),
            Self::Softirq => write!(f, "a softirq uses the FPU"),
            Self::KernelFpu => write!(f, "the kernel uses the FPU for the current task"),
            Self::Idle => write!(f, "the idle task calls fpu_idle_fpregs()"),
            Self::Sync => write!(f, "the current task's registers are saved for a core dump"),
            Self::Fork => write!(f, "the current task forks"),
            Self::Amx(0) => write!(f, "the task releases its tiles"),
            Self::Amx(_) => write!(f, "the task writes its tiles"),
            Self::RunBegin => write!(f, "KVM_RUN begins"),
            Self::RunSpoiled => write!(f, "KVM_RUN begins with registers that XRSTORS refuses"),
            Self::RunEnd => write!(f, "KVM_RUN returns to userspace"),
            Self::Enter => write!(f, "VM-entry"),
            Self::Exit => write!(f, "VM-exit"),
            Self::Emulate(msr, on) => {
                write!(f, "KVM emulates the guest's WRMSR: {msr}[18]={}", bit(*on))
            }
            Self::EmulatedRead => write!(f, "KVM emulates the guest's RDMSRs of XFD and XFD_ERR"),
            Self::Init => write!(f, "the vCPU takes an INIT"),
            Self::Hide(on) => write!(f, "KVM emulates XSETBV: XCR0[18]={}", bit(!on)),
            Self::Guest(Guest::Write(msr, on)) => {
                write!(f, "the guest writes {msr}[18]={}", bit(*on))
            }
            Self::Guest(Guest::Tiles(n)) => write!(f, "the guest writes its tiles ({n:#x})"),
            Self::Guest(Guest::Release) => write!(f, "the guest executes TILERELEASE"),
            Self::Guest(Guest::NmExits) => {
                write!(
                    f,
                    "the guest uses its tiles, and the #NM exits because of vm86"
                )
            }
            Self::Ioctl(v, what) => match what {
                Ioctl::Set(msr, on) => {
                    write!(f, "KVM_SET_MSRS on vCPU {v}: {msr}[18]={}", bit(*on))
                }
                Ioctl::SetXfdLoaded(on) => write!(
                    f,
                    "KVM_SET_MSRS on vCPU {v}: an MSR of CET's, and XFD[18]={}",
                    bit(*on)
                ),
                Ioctl::Get => write!(f, "KVM_GET_MSRS on vCPU {v}: XFD and XFD_ERR"),
                Ioctl::GetXsave => write!(f, "KVM_GET_XSAVE2 on vCPU {v}"),
                Ioctl::SetXsave(0) => write!(f, "KVM_SET_XSAVE on vCPU {v}, without tiles"),
                Ioctl::SetXsave(_) => write!(f, "KVM_SET_XSAVE on vCPU {v}, with tiles"),
                Ioctl::SetXsaveRefused => {
                    write!(
                        f,
                        "KVM_SET_XSAVE on vCPU {v}, with a header that is refused"
                    )
                }
            },
        }
    }
}

/// An event, where it happens, what comes in between, and what follows.
#[derive(Clone)]
pub struct Step {
    pub cpu: usize,
    pub event: Event,
    pub plan: Plan,
    next: State,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}: {} {:?}", self.cpu, self.event, self.plan)
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        (self.cpu, self.event, &self.plan) == (other.cpu, other.event, &other.plan)
    }
}

/// All of memory that matters, and the CPUs.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    words: Box<[u64]>,
    pub violation: Option<Box<str>>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words.hash(state);
        self.violation.is_some().hash(state);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.violation)
    }
}

/// What is explored.
#[derive(Clone)]
pub struct Scope {
    pub name: &'static str,
    pub strategy: Chosen,
    pub rt: bool,
    /// Which tasks there are.
    pub tasks: [bool; TASKS],
    pub cpus: usize,
    pub attached: [bool; VCPUS],
    pub cap: [bool; VCPUS],
    /// How many things may come in between in one step.
    pub between: usize,
}

/// The model.
pub struct World {
    pub scope: Scope,
    machine: Mutex<Machine>,
    first: State,
    /// When to look no further, and whether there would have been more.
    pub until: Option<Instant>,
    pub cut: Arc<AtomicBool>,
}

// SAFETY: The machine is behind the mutex, and its memory is its own.
unsafe impl Send for World {}
// SAFETY: As above.
unsafe impl Sync for World {}

impl World {
    /// `shared` must not have been loaded before: its memory is this world's.
    pub fn new(shared: &Path, scope: Scope) -> Result<Self> {
        let mut setup = Setup::default();
        for task in 0..TASKS {
            setup.task[task] = scope.tasks[task].into();
        }
        for v in 0..VCPUS {
            setup.attached[v] = scope.attached[v].into();
            setup.cap[v] = scope.cap[v].into();
        }
        let machine = Machine::new(shared, setup, scope.rt, scope.cpus > 1, scope.strategy)?;
        let mut words = Vec::new();
        machine.save(&mut words);
        let first = State {
            words: words.into(),
            violation: machine.violated(),
        };
        Ok(Self {
            scope,
            machine: Mutex::new(machine),
            first,
            until: None,
            cut: Arc::default(),
        })
    }

    /// Makes a step from a state, and returns what follows, and what else could come in between.
    fn run(
        &self,
        m: &Machine,
        from: &State,
        cpu: usize,
        event: Event,
        plan: &Plan,
    ) -> (State, Plan) {
        m.restore(&from.words);
        let limit = self.scope.between;
        let live = |v: usize| (0..CPUS).any(|c| m.view(c).live == v as i32);
        let were: [bool; VCPUS] = std::array::from_fn(live);
        m.step(cpu, plan, limit, |m| event.happen(m, cpu));
        for cpu in 0..CPUS {
            check(m, cpu);
        }
        m.counted(m.own_counts(), event.saves_for());
        for (v, counts) in m.counts().iter().enumerate() {
            if counts.balance() != i64::from(live(v)) - i64::from(were[v]) {
                m.violate(format!(
                    "counters of vCPU {v}: not all loads and saves are counted"
                ));
            }
        }
        // SAFETY: Nothing runs.
        unsafe { (m.f.world_forget)() };
        let mut words = Vec::with_capacity(from.words.len());
        m.save(&mut words);
        let next = State {
            words: words.into(),
            violation: m.violated(),
        };
        (next, m.could())
    }

    /// Where what came in between in a step came.
    pub fn places(&self, from: &State, step: &Step) -> Vec<Place> {
        let m = self.machine.lock().expect("one thread at a time");
        self.run(&m, from, step.cpu, step.event, &step.plan);
        m.places()
    }

    /// Whether what a guest does in a step exits.
    pub fn exits(&self, step: &Step) -> bool {
        let m = self.machine.lock().expect("one thread at a time");
        m.restore(&step.next.words);
        let task = m.view(step.cpu).task as usize;
        matches!(step.event, Event::Guest(Guest::Write(..) | Guest::Tiles(_)))
            && m.shadow().place[task] != IN_GUEST
    }

    /// Makes the steps of a list in turn, with nothing in between; for directed tests.
    pub fn play(&self, events: &[(usize, Event)]) -> State {
        let m = self.machine.lock().expect("one thread at a time");
        let mut state = self.first.clone();
        for &(cpu, event) in events {
            m.restore(&state.words);
            assert!(
                self.possible(&m, cpu).contains(&event),
                "CPU {cpu}: {event} cannot happen"
            );
            state = self.run(&m, &state, cpu, event, &Plan::new()).0;
            if state.violation.is_some() {
                break;
            }
        }
        state
    }

    /// What can happen on a CPU in the state that the machine is in.
    fn possible(&self, m: &Machine, cpu: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let task = m.view(cpu).task as usize;
        let shadow = m.shadow();
        let place = |t: usize| if t < VCPUS { shadow.place[t] } else { IN_USER };
        if task < VCPUS && place(task) == IN_GUEST {
            self.of_guest(m, task, &mut events);
            return events;
        }

        let elsewhere: Vec<usize> = (0..CPUS).map(|c| m.view(c).task as usize).collect();
        for to in 0..TASKS {
            if self.scope.tasks[to] && !elsewhere.contains(&to) {
                events.push(Event::Switch(to));
            }
        }
        if task != IDLE + cpu {
            events.push(Event::Switch(IDLE + cpu));
        }
        events.extend([Event::Hardirq, Event::KernelFpu]);
        if !self.scope.rt {
            events.push(Event::Softirq);
        }
        if task >= IDLE {
            events.push(Event::Idle);
            return events;
        }
        if place(task) == IN_RUN {
            events.extend([
                Event::RunEnd,
                Event::Enter,
                Event::Emulate(Msr::Xfd, true),
                Event::Emulate(Msr::Xfd, false),
                Event::Emulate(Msr::XfdErr, true),
                Event::Emulate(Msr::XfdErr, false),
                Event::EmulatedRead,
                Event::Init,
                Event::Hide(shadow.hidden[task] == 0),
            ]);
            return events;
        }

        events.extend([Event::Sync, Event::Fork]);
        if task == AMX {
            events.extend([Event::Amx(AMX_TILES), Event::Amx(0)]);
        }
        if task < VCPUS {
            events.extend([Event::RunBegin, Event::RunSpoiled]);
        }
        for v in 0..VCPUS {
            if self.scope.tasks[v] && shadow.place[v] == IN_USER {
                let of = |what| Event::Ioctl(v, what);
                events.extend([
                    of(Ioctl::Set(Msr::Xfd, true)),
                    of(Ioctl::Set(Msr::Xfd, false)),
                    of(Ioctl::Set(Msr::XfdErr, true)),
                    of(Ioctl::Set(Msr::XfdErr, false)),
                    of(Ioctl::SetXfdLoaded(true)),
                    of(Ioctl::SetXfdLoaded(false)),
                    of(Ioctl::Get),
                    of(Ioctl::GetXsave),
                    of(Ioctl::SetXsave(0)),
                    of(Ioctl::SetXsave(IMAGE_TILES)),
                    of(Ioctl::SetXsaveRefused),
                ]);
            }
        }
        events
    }

    fn of_guest(&self, m: &Machine, v: usize, events: &mut Vec<Event>) {
        events.push(Event::Exit);
        for msr in [Msr::Xfd, Msr::XfdErr] {
            for on in [false, true] {
                events.push(Event::Guest(Guest::Write(msr, on)));
            }
        }
        // Without XCR0[18] the guest's use of tiles is a #UD.
        let shadow = m.shadow();
        if shadow.hidden[v] == 0 {
            for tiles in GUEST_TILES {
                events.push(Event::Guest(Guest::Tiles(tiles)));
            }
            events.push(Event::Guest(Guest::Release));
            if shadow.g[v] != 0 {
                events.push(Event::Guest(Guest::NmExits));
            }
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.first.clone()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.violation.is_some() {
            return;
        }
        if self.until.is_some_and(|until| Instant::now() > until) {
            self.cut.store(true, Ordering::Relaxed);
            return;
        }
        let m = self.machine.lock().expect("one thread at a time");
        for cpu in 0..self.scope.cpus {
            m.restore(&state.words);
            for event in self.possible(&m, cpu) {
                let first = actions.len();
                let mut plans = vec![Plan::new()];
                while let Some(plan) = plans.pop() {
                    let (next, could) = self.run(&m, state, cpu, event, &plan);
                    if next.violation.is_none() {
                        plans.extend(could.into_iter().map(|more| {
                            let mut plan = plan.clone();
                            plan.push(more);
                            plan
                        }));
                    }
                    let known = next == *state || actions[first..].iter().any(|s| s.next == next);
                    if !known {
                        actions.push(Step {
                            cpu,
                            event,
                            plan,
                            next,
                        });
                    }
                }
            }
        }
    }

    fn next_state(&self, _: &State, step: Step) -> Option<State> {
        Some(step.next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(NOTHING_IS_LOST, |_, state: &State| {
            state.violation.is_none()
        })]
    }
}

pub const NOTHING_IS_LOST: &str = "nothing is lost";

impl Event {
    /// For what it may have a live guest saved.
    fn saves_for(self) -> &'static [Why] {
        match self {
            Self::Switch(_) => &[Why::Switch],
            Self::Hardirq => &[Why::Hardirq],
            Self::Softirq => &[Why::Softirq],
            Self::KernelFpu => &[Why::Task],
            Self::RunEnd | Self::Init => &[Why::Userspace],
            Self::Exit => &[Why::Strategy],
            Self::Emulate(..) | Self::EmulatedRead => &[Why::Access],
            Self::Guest(_) => &[Why::Strategy, Why::Access],
            _ => &[],
        }
    }

    /// Lets it happen on this CPU, which is the current one.
    fn happen(self, m: &Machine, cpu: usize) {
        let task = m.view(cpu).task as usize;
        // SAFETY: `possible` says that each may be called here.
        unsafe {
            match self {
                Self::Switch(to) => (m.f.world_switch)(to as c_int),
                Self::Hardirq => (m.f.world_hardirq)(),
                Self::Softirq => (m.f.world_softirq)(),
                Self::KernelFpu => (m.f.world_kernel_fpu)(),
                Self::Idle => (m.f.world_idle)(),
                Self::Sync => (m.f.world_sync)(),
                Self::Fork => (m.f.world_fork)(),
                Self::Amx(tiles) => m.amx_uses_tiles(tiles),
                Self::RunBegin | Self::RunSpoiled => {
                    if self == Self::RunSpoiled {
                        (m.f.kvm_spoil)(task as c_int);
                    }
                    (m.f.kvm_run_begin)(task as c_int);
                    m.note(|s| s.place[task] = IN_RUN);
                }
                Self::RunEnd => {
                    (m.f.kvm_run_end)(task as c_int);
                    m.note(|s| s.place[task] = IN_USER);
                }
                Self::Enter => enter(m, task),
                Self::Exit => exit(m, task, false),
                Self::Emulate(msr, on) => emulate(m, task, msr, on),
                Self::EmulatedRead => reads(m, task, false),
                Self::Init => (m.f.kvm_init)(task as c_int),
                Self::Hide(on) => {
                    (m.f.kvm_write_xcr0)(task as c_int, if on { XCR0 & !TILES } else { XCR0 });
                    m.note(|s| s.hidden[task] = on.into());
                }
                Self::Guest(what) => what.happen(m, task),
                Self::Ioctl(v, what) => what.happen(m, v),
            }
            // Migrated or not, this is the CPU that the current task is on.
            let cpu = m.here();
            let task = m.view(cpu).task as usize;
            let in_user = task < IDLE && (task >= VCPUS || m.shadow().place[task] == IN_USER);
            if in_user {
                (m.f.world_to_user)();
                m.user(m.here());
            }
        }
    }
}

/// VM-entry: the guest must find what bare metal would show.
unsafe fn enter(m: &Machine, v: usize) {
    unsafe { (m.f.kvm_enter)(v as c_int) };
    if m.shadow().may_lose[v] != 0 && m.cpu(m.here()).tiles == 0 {
        m.note(|s| s.tiles[v] = 0);
    }
    m.note(|s| s.may_lose[v] = 0);
    m.note(|s| s.place[v] = IN_GUEST);
}

unsafe fn exit(m: &Machine, v: usize, nm: bool) {
    may_lose(m, v);
    m.note(|s| s.place[v] = IN_RUN);
    unsafe { (m.f.kvm_exit)(v as c_int, nm) };
}

/// A guest that is not attached may lose, in the host, what its XFD disables.
fn may_lose(m: &Machine, v: usize) {
    if m.setup.attached[v] == 0 && m.shadow().g[v] != 0 {
        m.note(|s| s.may_lose[v] = 1);
    }
}

/// Its XFD or XFD_ERR is now so.
fn set(m: &Machine, v: usize, msr: Msr, on: bool) {
    m.note(|s| match msr {
        Msr::Xfd => s.g[v] = on.into(),
        Msr::XfdErr => s.e[v] = on.into(),
    });
}

unsafe fn emulate(m: &Machine, v: usize, msr: Msr, on: bool) {
    set(m, v, msr, on);
    may_lose(m, v);
    unsafe { (m.f.kvm_write_msr)(v as c_int, msr.number(), value(on), false) };
}

unsafe fn reads(m: &Machine, v: usize, from_vmm: bool) {
    for msr in [Msr::Xfd, Msr::XfdErr] {
        let got = unsafe { (m.f.kvm_read_msr)(v as c_int, msr.number(), from_vmm) };
        let is = match msr {
            Msr::Xfd => m.shadow().g[v],
            Msr::XfdErr => m.shadow().e[v],
        };
        if got != value(is != 0) {
            m.violate(format!("I5: KVM says that {msr} of vCPU {v} is {got:#x}"));
        }
    }
}

impl Guest {
    unsafe fn happen(self, m: &Machine, v: usize) {
        unsafe {
            match self {
                Self::Write(msr, on) => {
                    if (m.f.kvm_intercepts_write)(v as c_int, msr.number()) {
                        exit(m, v, false);
                        emulate(m, v, msr, on);
                    } else {
                        set(m, v, msr, on);
                        m.on_cpu(|c| c.wrmsr(msr.number(), value(on)));
                    }
                }
                Self::Tiles(tiles) => {
                    if m.on_cpu(|c| c.use_tiles(tiles.into())).is_ok() {
                        m.note(|s| s.tiles[v] = tiles);
                        return;
                    }
                    m.note(|s| s.e[v] = 1);
                    if (m.f.kvm_intercepts_nm)(v as c_int) {
                        exit(m, v, true);
                    }
                }
                Self::Release => {
                    m.on_cpu(Cpu::tilerelease);
                    m.note(|s| s.tiles[v] = 0);
                }
                Self::NmExits => {
                    let _ = m.on_cpu(|c| c.use_tiles(0));
                    m.note(|s| s.e[v] = 1);
                    exit(m, v, true);
                }
            }
        }
    }
}

impl Ioctl {
    unsafe fn happen(self, m: &Machine, v: usize) {
        let n = v as c_int;
        let stays = m.setup.cap[v] != 0 || m.shadow().g[v] == 0;
        unsafe {
            match self {
                Self::Set(msr, on) => {
                    (m.f.kvm_write_msr)(n, msr.number(), value(on), true);
                    set(m, v, msr, on);
                    may_lose(m, v);
                }
                Self::SetXfdLoaded(on) => {
                    (m.f.kvm_write_msr_loaded)(n, MSR_XFD, value(on));
                    // Registers that were loaded under the old XFD are saved under the new.
                    may_lose(m, v);
                    set(m, v, Msr::Xfd, on);
                    may_lose(m, v);
                }
                Self::Get => reads(m, v, true),
                Self::GetXsave => {
                    let got = (m.f.kvm_get_xsave)(n);
                    let tiles = if stays { m.shadow().tiles[v] } else { 0 };
                    if got != u64::from(tiles) && !(got == 0 && m.shadow().may_lose[v] != 0) {
                        m.violate(format!(
                            "I5: KVM_GET_XSAVE2 of vCPU {v} returns tiles {got:#x}, not {tiles:#x}"
                        ));
                    }
                }
                Self::SetXsave(tiles) => {
                    if (m.f.kvm_set_xsave)(n, tiles.into(), GUEST_XMM[v], false) {
                        m.violate(format!("I5: KVM_SET_XSAVE of vCPU {v} is refused"));
                    }
                    m.note(|s| s.tiles[v] = if stays { tiles } else { 0 });
                    m.note(|s| s.xmm[v] = GUEST_XMM[v] as u8);
                    m.note(|s| s.may_lose[v] = 0);
                }
                Self::SetXsaveRefused => {
                    if !(m.f.kvm_set_xsave)(n, IMAGE_TILES.into(), 0, true) {
                        m.violate(format!("I6: KVM_SET_XSAVE of vCPU {v} takes a bad header"));
                    }
                }
            }
        }
    }
}

/// What must be so on a CPU after each step.
fn check(m: &Machine, cpu: usize) {
    let (view, hw) = (m.view(cpu), m.cpu(cpu));
    let task = view.task as usize;
    let vcpu = (task < VCPUS).then_some(task);
    let place = vcpu.map_or(IN_USER, |v| m.shadow().place[v]);
    if view.live >= 0 {
        live(m, &view, place);
    }
    if let Some(v) = vcpu.filter(|_| place == IN_GUEST) {
        entered(m, cpu, v);
        return;
    }
    if view.quiet == 0 {
        m.violate("I7: something is left locked");
    }
    if hw.xcr0 != XCR0 {
        m.violate("I7: the host runs with the guest's XCR0");
    }
    if view.live < 0 {
        if hw.xfd != view.xfd_state {
            m.violate(format!(
                "I4: XFD is {:#x}, and xfd_state {:#x}",
                hw.xfd, view.xfd_state
            ));
        }
        if hw.xfd_err != 0 {
            m.violate("I3: XFD_ERR is left in the host");
        }
    }
    if let Some(v) = vcpu.filter(|_| place == IN_RUN && view.load == 0) {
        let lost = m.shadow().may_lose[v] != 0 && hw.tiles == 0;
        if hw.xmm != u64::from(m.shadow().xmm[v]) {
            m.violate(format!("I2: vCPU {v} has lost its vector registers"));
        }
        if hw.tiles != u64::from(m.shadow().tiles[v]) && !lost {
            m.violate(format!("I2: vCPU {v} has lost its tiles"));
        }
    }
    if vcpu.is_none_or(|_| place == IN_USER) && task < IDLE {
        m.user(cpu);
    }
}

/// I7: what live implies.
fn live(m: &Machine, view: &View, place: u8) {
    let v = view.live;
    if view.task != v || place == IN_USER {
        m.violate(format!(
            "I7: vCPU {v} is live, and {} runs",
            task_name(view.task as usize)
        ));
    }
    if view.load != 0 || view.valid == 0 || view.guest == 0 {
        m.violate(format!("I7: vCPU {v} is live without its registers"));
    }
    if m.setup.attached[v as usize] == 0 || view.listed != 0 {
        m.violate(format!("I8: vCPU {v} is live"));
    }
}

/// I1: at VM-entry, and in the guest, the CPU has what the guest ought to see.
fn entered(m: &Machine, cpu: usize, v: usize) {
    let hw = m.cpu(cpu);
    let Shadow {
        g,
        e,
        hidden,
        tiles,
        xmm,
        ..
    } = m.shadow();
    let wants = [
        ("XFD", hw.xfd, value(g[v] != 0)),
        ("XFD_ERR", hw.xfd_err, value(e[v] != 0)),
        (
            "XCR0",
            hw.xcr0,
            if hidden[v] != 0 { XCR0 & !TILES } else { XCR0 },
        ),
        ("tiles", hw.tiles, tiles[v].into()),
        ("vector registers", hw.xmm, xmm[v].into()),
    ];
    for (what, is, want) in wants {
        if is != want {
            m.violate(format!(
                "I1: the guest of vCPU {v} has {what} {is:#x}, not {want:#x}"
            ));
        }
    }
}
