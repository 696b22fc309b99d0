// SPDX-License-Identifier: GPL-2.0
//! An event of a trace, as far as it matters to the length of VM-exits: one line of what tracefs,
//! `trace-cmd report` and `perf script` print.

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub time: Time,
    pub cpu: u32,
    /// The kernel's id of the thread that it happened in: of a vCPU's, but for those of `Switch`.
    pub thread: u32,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Exit {
        vcpu: Option<u32>,
        reason: String,
        /// Whether it is a #NM; `None` if the line does not say of an exception which one it is.
        nm: Option<bool>,
    },
    Entry {
        vcpu: Option<u32>,
    },
    /// KVM_RUN returns to userspace.
    Userspace,
    /// The thread is scheduled out.
    Switch,
}

/// A time as the line has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Time {
    /// Of a clock that counts: the TSC.
    Ticks(u64),
    /// Nanoseconds; the line had so many digits after the second.
    Nanoseconds(u64, u32),
}

/// What is looked at of a trace.
const NAMES: [&str; 4] = [
    "kvm_exit",
    "kvm_entry",
    "kvm_userspace_exit",
    "sched_switch",
];

/// What a line of all three programs has: the task with its thread, its CPU, perhaps flags, the time,
/// perhaps perf's period, the event with or without its system, and what is said of it.
struct Line<'a> {
    thread: &'a str,
    cpu: &'a str,
    time: &'a str,
    name: &'a str,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// A task may have any name, and so the CPU's brackets in it.
    fn of(line: &'a str) -> Option<Line<'a>> {
        let brackets = line.match_indices('[');
        brackets.map(|(at, _)| at).find_map(|at| {
            let (cpu, rest) = line[at + 1..].split_once(']')?;
            let found = Line::with(line[..at].trim_end(), cpu, rest)?;
            [cpu, found.thread]
                .iter()
                .all(|n| is_number(n))
                .then_some(found)
        })
    }

    fn with(task: &'a str, cpu: &'a str, rest: &'a str) -> Option<Line<'a>> {
        // The thread's group, in parentheses, as tracefs has it.
        let task = match task.strip_suffix(')') {
            Some(group) => group[..group.rfind('(')?].trim_end(),
            None => task,
        };
        let (_, thread) = task.rsplit_once(|c: char| !c.is_ascii_digit())?;
        let mut rest = rest.strip_prefix(' ')?;
        let mut word = || {
            let (word, after) = rest
                .trim_start()
                .split_once(' ')
                .unwrap_or((rest.trim_start(), ""));
            rest = after;
            word
        };
        let mut time = word();
        if !time.ends_with(':') {
            time = word();
        }
        let mut name = word();
        if is_number(name) {
            name = word();
        }
        let name = name.strip_suffix(':')?;
        Some(Line {
            thread,
            cpu,
            time: time.strip_suffix(':')?,
            name: name.rsplit(':').next().unwrap_or(name),
            text: rest,
        })
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

/// The word after this name, be it "name word" or, of a raw field, "name=word".
fn word<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.match_indices(name).find_map(|(at, _)| {
        let begins = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &text[at + name.len()..];
        let rest = rest.strip_prefix('=').or(rest.strip_prefix(' '));
        rest.filter(|_| begins)
    })?;
    let word = rest.trim_start().split([' ', ',', '\t']).next()?;
    (!word.is_empty()).then_some(word)
}

/// VMX's name for exit reason 0, which a raw field has as a number.
const EXCEPTION: [&str; 2] = ["EXCEPTION_NMI", "0"];

impl Event {
    /// `None` if the line is not one of those that matter; an error if it is and cannot be read.
    pub fn of(line: &str) -> Result<Option<Event>, &'static str> {
        if !mentioned(line) {
            return Ok(None);
        }
        const FORM: &str = "this event has another form than those that are known";
        let line = Line::of(line).ok_or(FORM)?;
        let what = match line.name {
            "kvm_exit" => exit(line.text)?,
            "kvm_entry" => What::Entry {
                vcpu: vcpu(line.text),
            },
            "kvm_userspace_exit" => What::Userspace,
            "sched_switch" => What::Switch,
            // The name is one in the text of another event.
            _ => return Ok(None),
        };
        let number = |word: &str| word.parse().map_err(|_| "this number is too large");
        Ok(Some(Event {
            time: time(line.time)?,
            cpu: number(line.cpu)?,
            thread: number(line.thread)?,
            what,
        }))
    }
}

/// Whether a line has the name of an event in it as a line of a trace has.
fn mentioned(line: &str) -> bool {
    let is = |word: &str| {
        let name = word.strip_suffix(':');
        name.is_some_and(|n| NAMES.contains(&n.rsplit(':').next().unwrap_or(n)))
    };
    line.split_whitespace().any(is)
}

fn exit(text: &str) -> Result<What, &'static str> {
    let reason = word(text, "reason").or(word(text, "exit_reason"));
    let reason = reason.ok_or("this exit has no reason")?.to_owned();
    let info = match word(text, "intr_info") {
        None => None,
        Some(word) => Some(hex_or_decimal(word).ok_or("this intr_info is no number of 32 bits")?),
    };
    let nm = match EXCEPTION.contains(&reason.as_str()) {
        true => info.map(is_nm),
        false => Some(false),
    };
    Ok(What::Exit {
        vcpu: vcpu(text),
        reason,
        nm,
    })
}

fn vcpu(text: &str) -> Option<u32> {
    word(text, "vcpu").or(word(text, "vcpu_id"))?.parse().ok()
}

/// The SDM's VM-exit interruption information: valid, a hardware exception, vector 7.
fn is_nm(info: u32) -> bool {
    const VALID: u32 = 1 << 31;
    const TYPE: u32 = 7 << 8;
    const HARDWARE_EXCEPTION: u32 = 3 << 8;
    info & VALID != 0 && info & TYPE == HARDWARE_EXCEPTION && info & 0xff == 7
}

fn hex_or_decimal(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

fn time(word: &str) -> Result<Time, &'static str> {
    const LARGE: &str = "this time is no number, or too large";
    if word.starts_with('-') {
        return Err("this time is below zero");
    }
    let Some((seconds, fraction)) = word.split_once('.') else {
        return word.parse().map(Time::Ticks).map_err(|_| LARGE);
    };
    let digits = fraction.len() as u32;
    if digits > 9 {
        return Err("this time has more digits than nanoseconds have");
    }
    let seconds: u64 = seconds.parse().map_err(|_| LARGE)?;
    let fraction: u64 = fraction.parse().map_err(|_| LARGE)?;
    let whole = seconds.checked_mul(1_000_000_000).ok_or(LARGE)?;
    let nanoseconds = whole.checked_add(fraction * 10u64.pow(9 - digits));
    Ok(Time::Nanoseconds(nanoseconds.ok_or(LARGE)?, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Event {
        Event::of(line).unwrap().unwrap()
    }

    #[test]
    fn all_three_programs_lines_are_read() {
        let exit = |vcpu, nm| What::Exit {
            vcpu,
            reason: if nm == Some(false) {
                "VMCALL"
            } else {
                "EXCEPTION_NMI"
            }
            .into(),
            nm,
        };
        let ns = |ns, digits| Time::Nanoseconds(ns, digits);
        let tail = "rip 0x402b5c info1 0x0 info2 0x0 intr_info 0x00000000 error_code 0x0";
        for (line, time, cpu, thread, what) in [
            (
                format!("             exe-59      [000] d..1.   1143952302: kvm_exit: vcpu 0 reason VMCALL {tail}"),
                Time::Ticks(1143952302), 0, 59, exit(Some(0), Some(false)),
            ),
            (
                format!(" CPU 1/KVM-4711  (  4700) [012] d..1.  12.000345: kvm_exit: vcpu 1 reason VMCALL {tail}"),
                ns(12_000_345_000, 6), 12, 4711, exit(Some(1), Some(false)),
            ),
            (
                "CPU 0/KVM  4711 [002] 12.000345678:      kvm:kvm_exit: reason VMCALL rip 0x1 info 0 0".into(),
                ns(12_000_345_678, 9), 2, 4711, exit(None, Some(false)),
            ),
            (
                "CPU 0/KVM  4700/4711  [002] 12.000345:   1  kvm:kvm_entry: vcpu 0, rip 0x1".into(),
                ns(12_000_345_000, 6), 2, 4711, What::Entry { vcpu: Some(0) },
            ),
            (
                "   CPU 0/KVM-4711  [002]  12.000345: kvm_exit:             reason EXCEPTION_NMI rip 0x1 info 0 80000307".into(),
                ns(12_000_345_000, 6), 2, 4711, exit(None, None),
            ),
            (
                "   a-b 5-6 [7]-4711  [002] ..... 12345: kvm_userspace_exit:   reason KVM_EXIT_IO (2)".into(),
                Time::Ticks(12345), 2, 4711, What::Userspace,
            ),
            (
                "          <idle>-0     [003] d..2.  5.5: sched_switch: prev_comm=swapper/3 prev_pid=0".into(),
                ns(5_500_000_000, 1), 3, 0, What::Switch,
            ),
            (
                " q-1 [000] 7: kvm_exit: [FAILED TO PARSE] exit_reason=0 isa=1 intr_info=0x80000307 vcpu_id=3".into(),
                Time::Ticks(7), 0, 1,
                What::Exit { vcpu: Some(3), reason: "0".into(), nm: Some(true) },
            ),
        ] {
            let event = Event { time, cpu, thread, what };
            assert_eq!(one(&line), event, "{line}");
        }
    }

    #[test]
    fn a_nm_is_told_from_other_exceptions() {
        let nm = |info: &str| {
            let line = format!(
                "e-1 [000] d..1. 5: kvm_exit: vcpu 0 reason EXCEPTION_NMI rip 0x1 intr_info {info}"
            );
            match one(&line).what {
                What::Exit { nm, .. } => nm,
                _ => panic!("{line}"),
            }
        };
        assert_eq!(nm("0x80000307"), Some(true));
        // #PF; an NMI; not valid; a software exception of this vector.
        for other in ["0x80000b0e", "0x80000202", "0x00000307", "0x80000607"] {
            assert_eq!(nm(other), Some(false), "{other}");
        }
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "# tracer: nop",
            "cpus=4",
            "  exe-59 [000] d..1. 5: kvm_msr: msr_read 1c4 = 0x0",
            "        ffffffff81 kvm_exit+0x1 ([kernel.kallsyms])",
        ] {
            assert_eq!(Event::of(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for line in [
            // The latency format, and what somebody has cut.
            "  exe-59    0d..1  5us : kvm_exit: vcpu 0 reason VMCALL",
            "[000] d..1. 5: kvm_entry: vcpu 0",
            "exe-59 [000] d..1. 5: kvm_exit: vcpu 0",
            "exe-59 [000] d..1. -5.000001: kvm_entry: vcpu 0",
            "exe-59 [000] d..1. 5.0123456789: kvm_entry: vcpu 0",
            "exe-59 [000] d..1. 99999999999999999999: kvm_entry: vcpu 0",
            "exe-59 [000] d..1. 5: kvm_exit: reason EXCEPTION_NMI intr_info 0x123456789",
        ] {
            assert!(Event::of(line).is_err(), "{line}");
        }
    }
}
