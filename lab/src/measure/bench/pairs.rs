// SPDX-License-Identifier: GPL-2.0
//! VM-exits, each with the VM-entry after it in the same thread, and what happened between.

use std::collections::BTreeMap;

use crate::measure::bench::event::What;
use crate::measure::bench::trace::Trace;

/// An exit and the entry after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// From the exit to the entry.
    pub length: u64,
    pub reason: String,
    pub kind: Kind,
}

/// What it is, by what lies between exit and entry; the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// KVM_RUN has returned to userspace.
    Userspace,
    /// The thread was scheduled out.
    Switch,
    /// The exit is an interrupt of the host's, whose handler lies between.
    Interrupt,
    /// It is a guest's #NM.
    Nm,
    /// It is an exception, and the trace does not say which.
    Exception,
    /// The kernel has handled it.
    Exit,
}

/// All of a trace.
#[derive(Debug, Default, PartialEq)]
pub struct Pairs {
    pub pairs: Vec<Pair>,
    /// Exits without an entry and entries without an exit, but for the first and last of a thread.
    pub unpaired: u64,
    /// Pairs that are left out, and what has no counterpart, where events may be missing.
    pub uncertain: u64,
    /// Whether there are such events at all: without any, no pair is known to be of that kind.
    pub has_userspace: bool,
    pub has_switches: bool,
}

/// An exit that waits for its entry.
struct Open {
    vcpu: Option<u32>,
    reason: String,
    nm: Option<bool>,
    userspace: bool,
    switched: bool,
}

/// VMX's names for what is an interrupt of the host's.
const INTERRUPTS: [&str; 2] = ["EXTERNAL_INTERRUPT", "1"];

impl Open {
    fn kind(&self) -> Kind {
        match (self.userspace, self.switched, self.nm) {
            (true, ..) => Kind::Userspace,
            (_, true, _) => Kind::Switch,
            _ if INTERRUPTS.contains(&self.reason.as_str()) => Kind::Interrupt,
            (.., Some(true)) => Kind::Nm,
            (.., None) => Kind::Exception,
            (.., Some(false)) => Kind::Exit,
        }
    }
}

impl Pairs {
    pub fn of(trace: &Trace) -> Pairs {
        let mut all = Pairs::default();
        let lost = |from: u64, to: u64| trace.lost.iter().any(|&(a, b)| a < to && from < b);
        // When each thread has last left or entered its guest, and the exit that waits.
        let mut threads: BTreeMap<u32, (u64, Option<Open>)> = BTreeMap::new();
        for at in &trace.events {
            let thread = at.event.thread;
            let before = threads.get_mut(&thread);
            let mut alone = |since: u64| match lost(since, at.time) {
                true => all.uncertain += 1,
                false => all.unpaired += 1,
            };
            match &at.event.what {
                What::Exit { vcpu, reason, nm } => {
                    if let Some((since, Some(_))) = before {
                        alone(*since);
                    }
                    let open = Open {
                        vcpu: *vcpu,
                        reason: reason.clone(),
                        nm: *nm,
                        userspace: false,
                        switched: false,
                    };
                    threads.insert(thread, (at.time, Some(open)));
                }
                What::Entry { vcpu } => match threads.insert(thread, (at.time, None)) {
                    // It was in the guest when the trace began.
                    None => {}
                    Some((since, None)) => alone(since),
                    Some((since, Some(open))) => {
                        if open.vcpu.zip(*vcpu).is_some_and(|(a, b)| a != b) {
                            alone(since);
                            alone(since);
                        } else if lost(since, at.time) {
                            all.uncertain += 1;
                        } else {
                            all.pairs.push(Pair {
                                length: at.time - since,
                                kind: open.kind(),
                                reason: open.reason,
                            });
                        }
                    }
                },
                What::Userspace => {
                    all.has_userspace = true;
                    if let Some((_, Some(open))) = before {
                        open.userspace = true;
                    }
                }
                What::Switch => {
                    all.has_switches = true;
                    if let Some((_, Some(open))) = before {
                        open.switched = true;
                    }
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::bench::trace::tests::tracefs;

    fn of(events: &[(u32, u32, &str, char)]) -> Pairs {
        Pairs::of(&Trace::parse(&tracefs(events), "it").unwrap())
    }

    fn kinds(pairs: &Pairs) -> Vec<(u64, Kind)> {
        pairs.pairs.iter().map(|p| (p.length, p.kind)).collect()
    }

    #[test]
    fn an_exit_is_paired_with_the_next_entry_and_named_by_what_lies_between() {
        let all = of(&[
            (0, 1, "1000", 'x'),
            (0, 1, "1500", 'e'),
            (0, 1, "2000", 'x'),
            (0, 1, "2100", 's'),
            (0, 2, "2200", 's'),
            (0, 1, "2600", 'e'),
            (0, 1, "3000", 'x'),
            (0, 1, "3100", 's'),
            (0, 1, "3200", 'u'),
            (0, 1, "3700", 'e'),
            (0, 1, "4000", '7'),
            (0, 1, "4800", 'e'),
            (0, 1, "5000", 'i'),
            (0, 1, "5900", 'e'),
            (0, 1, "6000", '?'),
            (0, 1, "6050", 'e'),
        ]);
        let want = [
            (500, Kind::Exit),
            (600, Kind::Switch),
            (700, Kind::Userspace),
            (800, Kind::Nm),
            (900, Kind::Interrupt),
            (50, Kind::Exception),
        ];
        assert_eq!(kinds(&all), want);
        assert_eq!(all.pairs[3].reason, "EXCEPTION_NMI");
        assert!(all.has_switches && all.has_userspace);
        assert_eq!((all.unpaired, all.uncertain), (0, 0));
    }

    #[test]
    fn threads_are_told_apart_on_one_cpu_and_followed_to_another() {
        let all = of(&[
            (0, 1, "1000", 'x'),
            (0, 1, "1010", 's'),
            (0, 2, "1100", 'x'),
            (0, 2, "1600", 'e'),
            (0, 2, "1700", 'x'),
            (0, 2, "1710", 's'),
            (1, 1, "2000", 'e'),
            (0, 2, "2700", 'e'),
        ]);
        let want = [
            (500, Kind::Exit),
            (1000, Kind::Switch),
            (1000, Kind::Switch),
        ];
        assert_eq!(kinds(&all), want);
        assert!(!all.has_userspace);
    }

    #[test]
    fn what_has_no_counterpart_is_counted_and_not_paired() {
        // In the guest at first, and out of it in the end.
        let all = of(&[
            (0, 1, "1000", 'e'),
            (0, 1, "1100", 'x'),
            (0, 1, "1300", 'e'),
            (0, 1, "1400", 'x'),
        ]);
        assert_eq!((kinds(&all), all.unpaired), (vec![(200, Kind::Exit)], 0));
        // Two exits, two entries, and an entry of another vCPU.
        let all = of(&[
            (0, 1, "1000", 'x'),
            (0, 1, "1100", 'x'),
            (0, 1, "1300", 'e'),
            (0, 1, "1400", 'e'),
            (0, 1, "1500", 'X'),
            (0, 1, "1600", 'e'),
        ]);
        assert_eq!((kinds(&all), all.unpaired), (vec![(200, Kind::Exit)], 4));
    }

    #[test]
    fn pairs_around_lost_events_are_left_out() {
        let (before, after) = (
            tracefs(&[
                (0, 1, "1000", 'x'),
                (0, 1, "1500", 'e'),
                (0, 1, "1600", 'x'),
                (1, 2, "1650", 'x'),
            ]),
            tracefs(&[
                (0, 1, "2000", 'e'),
                (1, 2, "2050", 'e'),
                (0, 1, "2100", 'x'),
                (0, 1, "2600", 'e'),
            ]),
        );
        let pairs = |lost: &str| {
            let text = format!("{before}{lost}{after}");
            Pairs::of(&Trace::parse(&text, "it").unwrap())
        };
        assert_eq!(pairs("").pairs.len(), 4);
        let all = pairs("CPU:0 [LOST 7 EVENTS]\n");
        assert_eq!(
            (kinds(&all), all.uncertain),
            (vec![(500, Kind::Exit); 2], 2)
        );

        // An exit whose entry is lost, and an entry whose exit is.
        let lost = |first: char, then: char| {
            let text = tracefs(&[
                (0, 1, "500", 'x'),
                (0, 1, "900", 'e'),
                (0, 1, "1000", first),
            ]) + "CPU:0 [LOST 7 EVENTS]\n"
                + &tracefs(&[(0, 1, "2000", then), (0, 1, "2100", 'e')]);
            let all = Pairs::of(&Trace::parse(&text, "it").unwrap());
            (kinds(&all), all.uncertain, all.unpaired)
        };
        let (one, two) = ((400, Kind::Exit), (100, Kind::Exit));
        assert_eq!(lost('x', 'x'), (vec![one, two], 1, 0));
        assert_eq!(lost('u', 'e'), (vec![one], 1, 1));
    }
}
