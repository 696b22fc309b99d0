// SPDX-License-Identifier: GPL-2.0
//! A trace as text, whichever of tracefs, trace-cmd and perf has written it: its events in their order,
//! its clock, and where events are missing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::Result;
use regex_lite::Regex;

use crate::base::failure::Failure;
use crate::measure::bench::event::{Event, Time, What};

#[derive(Debug, PartialEq)]
pub struct Trace {
    pub clock: Clock,
    pub events: Vec<At>,
    /// From when to when events may be missing.
    pub lost: Vec<(u64, u64)>,
}

/// An event at a time of the trace's clock.
#[derive(Debug, PartialEq)]
pub struct At {
    pub time: u64,
    pub event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clock {
    /// The TSC's ticks.
    Ticks,
    /// Nanoseconds, of which all times are multiples of so many.
    Nanoseconds(u64),
}

/// "# entries-in-buffer/entries-written: 5/7   #P:2"
static WRITTEN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^# entries-in-buffer/entries-written: (\d+)/(\d+)"));
/// tracefs and trace-cmd, whose numbers stand in different places, and perf.
static LOST: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\bLOST\b.*\bEVENTS\b|\bEVENTS DROPPED\b|\bPERF_RECORD_LOST"));
static CPU: LazyLock<Regex> = LazyLock::new(|| pattern(r"^CPU:?\s*(\d+) \[|\[(\d+)\]"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is sound")
}

/// No two events are nearer to each other than this many of a TSC's ticks, half of the time.
const LEAST_TICKS: u64 = 20;

/// How to record what is wanted.
pub const RECORD: &str =
    "record kvm:kvm_exit, kvm:kvm_entry, kvm:kvm_userspace_exit and sched:sched_switch, \
     as Documentation/bench.rst shows";

impl Trace {
    /// `name` is what messages call it.
    pub fn parse(text: &str, name: &str) -> Result<Trace> {
        let mut reader = Reader::default();
        for (i, line) in text.split_inclusive('\n').enumerate() {
            let error = |why: &str| {
                Failure::new(format!("{name}: line {}: {why}", i + 1)).details([line.trim_end()])
            };
            let whole = line.strip_suffix('\n');
            let Some(whole) = whole else {
                return Err(error("the file is cut off in this line")
                    .next("copy it again; a newline at its end says that it is whole")
                    .into());
            };
            let read = reader.line(whole.trim_end_matches('\r'));
            read.map_err(|why| error(why).next(RECORD))?;
        }
        reader
            .finish()
            .map_err(|(why, next)| Failure::new(format!("{name}: {why}")).next(next).into())
    }
}

#[derive(Default)]
struct Reader {
    events: Vec<Event>,
    /// Where events are missing: before which one of all, on which CPU, on any if none is named.
    missing: Vec<(usize, Option<u32>)>,
    overwritten: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.starts_with('#') {
            let found = WRITTEN.captures(line);
            self.overwritten |= found.is_some_and(|f| f[1] != f[2]);
            return Ok(());
        }
        if let Some(event) = Event::of(line)? {
            if let Some(last) = self.events.last() {
                let (a, b) = (number(last.time), number(event.time));
                match (last.time, event.time) {
                    (Time::Ticks(_), Time::Nanoseconds(..))
                    | (Time::Nanoseconds(..), Time::Ticks(_)) => {
                        return Err("its time is of another clock than those before it")
                    }
                    _ if b < a => {
                        return Err("its time is before that of the event before it; \
                                    the clock differs from CPU to CPU, or the file is several")
                    }
                    _ => {}
                }
            }
            self.events.push(event);
        } else if LOST.is_match(line) {
            let cpu = CPU.captures(line);
            let cpu = cpu.and_then(|c| c.get(1).or(c.get(2))?.as_str().parse().ok());
            self.missing.push((self.events.len(), cpu));
        }
        Ok(())
    }

    fn finish(self) -> Result<Trace, (&'static str, &'static str)> {
        let has = |is: fn(&What) -> bool| self.events.iter().any(|e| is(&e.what));
        if !has(|w| matches!(w, What::Exit { .. })) {
            return Err(("there is no kvm_exit in it", RECORD));
        }
        if !has(|w| matches!(w, What::Entry { .. })) {
            return Err(("there is no kvm_entry in it", RECORD));
        }
        let digits = self.events.iter().map(|e| match e.time {
            Time::Ticks(_) => None,
            Time::Nanoseconds(_, digits) => Some(digits),
        });
        let clock = match digits.max().flatten() {
            Some(digits) => Clock::Nanoseconds(10u64.pow(9 - digits)),
            None => Clock::Ticks,
        };
        let lost = self.lost();
        let events = self.events.into_iter().map(|event| At {
            time: number(event.time),
            event,
        });
        let events: Vec<At> = events.collect();
        if clock == Clock::Ticks {
            let mut gaps: Vec<u64> = events.windows(2).map(|w| w[1].time - w[0].time).collect();
            gaps.sort_unstable();
            if gaps[gaps.len() / 2] < LEAST_TICKS {
                return Err((
                    "its times are no TSC's; the clock \"counter\" only numbers events",
                    "record with the clock x86-tsc, mono or local",
                ));
            }
        }
        Ok(Trace {
            clock,
            events,
            lost,
        })
    }

    /// Each from the last event that there is of the CPU to the next.
    fn lost(&self) -> Vec<(u64, u64)> {
        let mut lost = Vec::new();
        let mut cpus = BTreeMap::new();
        for event in &self.events {
            cpus.entry(event.cpu).or_insert(number(event.time));
        }
        for (at, cpu) in &self.missing {
            let (before, after) = self.events.split_at(*at);
            for &one in cpus.keys().filter(|c| cpu.is_none_or(|cpu| **c == cpu)) {
                let is = |e: &&Event| e.cpu == one;
                let from = before.iter().rev().find(is).map_or(0, |e| number(e.time));
                let to = after.iter().find(is);
                lost.push((from, to.map_or(u64::MAX, |e| number(e.time))));
            }
        }
        // What was overwritten is what was first on its CPU.
        if self.overwritten {
            lost.push((0, cpus.into_values().max().unwrap_or(0)));
        }
        lost
    }
}

fn number(time: Time) -> u64 {
    match time {
        Time::Ticks(n) | Time::Nanoseconds(n, _) => n,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Lines of tracefs: CPU, thread, time, and an event in a letter.
    pub fn tracefs(events: &[(u32, u32, &str, char)]) -> String {
        let mut text = "# tracer: nop\n#\n".to_owned();
        for (cpu, thread, time, letter) in events {
            let event = match letter {
                'x' => "kvm_exit: vcpu 0 reason VMCALL rip 0x1 info1 0x0 info2 0x0 intr_info 0x00000000",
                'i' => "kvm_exit: vcpu 0 reason EXTERNAL_INTERRUPT rip 0x1 intr_info 0x800000ec",
                '7' => "kvm_exit: vcpu 0 reason EXCEPTION_NMI rip 0x1 intr_info 0x80000307",
                '?' => "kvm_exit: reason EXCEPTION_NMI rip 0x1 info 0 80000307",
                'X' => "kvm_exit: vcpu 1 reason VMCALL rip 0x1 intr_info 0x00000000",
                'e' => "kvm_entry: vcpu 0, rip 0x1 intr_info 0x00000000 error_code 0x00000000",
                'u' => "kvm_userspace_exit: reason KVM_EXIT_IO (2)",
                _ => "sched_switch: prev_comm=q prev_pid=1 prev_prio=120 prev_state=S ==> next_comm=x",
            };
            text += &format!("  q-{thread}   [{cpu:03}] d..1. {time}: {event}\n");
        }
        text
    }

    fn failure(text: &str) -> String {
        Trace::parse(text, "it").unwrap_err().to_string()
    }

    const TWO: [(u32, u32, &str, char); 2] = [(0, 1, "1.000001", 'x'), (0, 1, "1.000003", 'e')];

    #[test]
    fn clock_and_events_are_read() {
        let trace = Trace::parse(&tracefs(&TWO), "it").unwrap();
        assert_eq!(trace.clock, Clock::Nanoseconds(1000));
        assert_eq!(trace.events[1].time - trace.events[0].time, 2000);
        assert_eq!(trace.lost, []);
        let ticks = tracefs(&[(0, 1, "1000", 'x'), (0, 1, "2464", 'e')]);
        assert_eq!(Trace::parse(&ticks, "it").unwrap().clock, Clock::Ticks);
        // As a file of DOS, and among lines of other kinds.
        let dos = format!("cpus=2\n\n{}", tracefs(&TWO)).replace('\n', "\r\n");
        assert_eq!(Trace::parse(&dos, "it").unwrap(), trace);
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error() {
        let text = tracefs(&TWO);
        for cut in [1, 5, 40] {
            let said = failure(&text[..text.len() - cut]);
            assert!(said.contains("line 4: the file is cut off"), "{said}");
        }
    }

    #[test]
    fn what_is_no_trace_of_exits_is_an_error() {
        for text in ["", "hello\n", &tracefs(&[(0, 1, "1.0", 'e')])] {
            let said = failure(text);
            assert!(
                said.contains("no kvm_exit") && said.contains("next: record"),
                "{said}"
            );
        }
        assert!(failure(&tracefs(&[(0, 1, "1.0", 'x')])).contains("no kvm_entry"));
        let strange = "  q-1    0d..1  5us : kvm_exit: vcpu 0 reason VMCALL\n";
        assert!(failure(strange).contains("it: line 1: "));
    }

    #[test]
    fn times_that_cannot_be_are_errors() {
        let back = tracefs(&[(0, 1, "2.5", 'x'), (1, 1, "2.4", 'e')]);
        assert!(failure(&back).contains("line 4: its time is before"));
        let mixed = tracefs(&[(0, 1, "2.5", 'x'), (1, 1, "3000000000", 'e')]);
        assert!(failure(&mixed).contains("another clock"));
        let negative = tracefs(&[(0, 1, "-2.5", 'x')]);
        assert!(failure(&negative).contains("below zero"));
        let counter = tracefs(&[(0, 1, "1", 'x'), (0, 1, "2", 'e'), (0, 1, "3", 'x')]);
        assert!(failure(&counter).contains("\"counter\""));
    }

    #[test]
    fn events_that_are_lost_are_seen() {
        let lost = |words: &str| {
            let mut text = tracefs(&[(0, 1, "1000", 'x'), (1, 2, "2000", 'x')]);
            text += words;
            text += &tracefs(&[(1, 2, "3000", 'e'), (0, 1, "4000", 'e')]);
            Trace::parse(&text, "it").unwrap().lost
        };
        assert_eq!(lost("CPU:0 [LOST 12 EVENTS]\n"), [(1000, 4000)]);
        assert_eq!(lost("CPU 1 [LOST 12 EVENTS]\n"), [(2000, 3000)]);
        assert_eq!(lost("CPU:1 [12 EVENTS DROPPED]\n"), [(2000, 3000)]);
        let perf = "CPU 0/KVM 1 [001] 2.0: PERF_RECORD_LOST lost 12\n";
        assert_eq!(lost(perf), [(2000, 3000)]);
        let any = "PERF_RECORD_LOST lost 12\n";
        assert_eq!(lost(any), [(1000, 4000), (2000, 3000)]);
        let written = |n| format!("# entries-in-buffer/entries-written: 4/{n}   #P:2\n");
        assert_eq!(lost(&written(4)), []);
        assert_eq!(lost(&written(9)), [(0, 2000)]);
    }
}
