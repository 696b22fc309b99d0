// SPDX-License-Identifier: GPL-2.0
//! The kernel's splats: everything with which a kernel says on its console that something is wrong
//! with itself, its debugging code included.

use crate::machine::console::message;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Severity {
    Warning,
    /// The kernel will not go on.
    Panic,
}

/// Finds them, line by line.
#[derive(Default)]
pub struct SplatScanner {
    /// Lines since the last head of a splat, whose call trace is its own.
    since_head: Option<usize>,
}

/// How the kernel's last message begins.
const PANIC: &str = "Kernel panic - not syncing";

/// How a complaint begins. "BUG" without a colon is SLUB's.
const HEADS: [&str; 18] = [
    "WARNING: ",
    "BUG: ",
    "[ BUG: ",
    "BUG ",
    "kernel BUG at",
    "Oops: ",
    "INFO: task ",
    "INFO: rcu",
    "INFO: lockdep ",
    "INFO: trying to register non-static key",
    "rcu: INFO:",
    "watchdog: ",
    "general protection fault",
    "unchecked MSR access error",
    "Bad FPU state detected",
    "UBSAN: ",
    "list_add ",
    "list_del ",
];

/// What only a complaint contains. Lockdep says the first when it has found something, and when it
/// has run out of memory: either way it checks nothing from then on.
const SIGNS: [&str; 4] = [
    "turning off the locking correctness validator",
    "suspicious RCU usage",
    "KASAN: ",
    "detected stall",
];

/// How the kernel reports an allocation of xfd_hostile_test's that has been made to fail: by the name
/// that lib/fault.c gives its thread. It is no complaint, and nor is the call trace below it.
const FAILED_ON_PURPOSE: &str = "memory-fails: ";

/// What such a report says: of vmalloc(), and of the page allocator.
const FAILED: [&str; 2] = ["vmalloc error: ", "page allocation failure: "];

impl SplatScanner {
    /// What a line is the head of, if anything.
    pub fn feed(&mut self, line: &str) -> Option<Severity> {
        self.since_head = self.since_head.map(|n| n + 1).filter(|&n| n < 80);
        let text = message(line)?;
        // The marks that tests leave in the kernel's log are the lab's own.
        if text.starts_with("lab: ") {
            return None;
        }
        if let Some(report) = text.strip_prefix(FAILED_ON_PURPOSE) {
            if FAILED.iter().any(|f| report.starts_with(f)) {
                self.since_head = Some(0);
                return None;
            }
        }
        let severity = if text.starts_with(PANIC) {
            Severity::Panic
        } else if HEADS.iter().any(|h| text.starts_with(h))
            || SIGNS.iter().any(|s| text.contains(s))
            || says_possible(text)
            || (text.trim() == "Call Trace:" && self.since_head.is_none())
        {
            Severity::Warning
        } else {
            return None;
        };
        self.since_head = Some(0);
        Some(severity)
    }
}

/// "possible circular locking dependency", "possible reason: unannotated irqs-on", and whatever else
/// the kernel thinks possible, but not what it does if possible.
fn says_possible(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    (0..words.len())
        .any(|i| words[i] == "possible" && (i == 0 || !["if", "as"].contains(&words[i - 1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splats(text: &str) -> usize {
        let mut scanner = SplatScanner::default();
        text.lines().filter(|l| scanner.feed(l).is_some()).count()
    }

    #[test]
    fn a_warning_counts_once_with_its_trace() {
        let text = "[    1.000000] ------------[ cut here ]------------\n\
                    [    1.000001] WARNING: arch/x86/kernel/fpu/core.c:12 at foo+0x1/0x2, CPU#0: x/1\n\
                    [    1.000002] Modules linked in:\n\
                    [    1.000003] Call Trace:\n";
        assert_eq!(splats(text), 1);
        assert_eq!(
            splats("[    1.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:3 foo+0x1/0x2\n"),
            1
        );
    }

    #[test]
    fn every_kind_of_complaint_counts() {
        // As Linux 7.3 prints them, with the debug kernel's options and some more.
        for line in [
            "WARNING: arch/x86/kernel/fpu/core.c:610 at f+0x69/0xb0, CPU#0: x/229",
            "WARNING: at f+0x69/0xb0, CPU#0: x/229",
            "WARNING: possible circular locking dependency detected",
            "WARNING: possible recursive locking detected",
            "WARNING: possible irq lock inversion dependency detected",
            "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected",
            "WARNING: inconsistent lock state",
            "WARNING: bad unlock balance detected!",
            "WARNING: held lock freed!",
            "WARNING: x/229 still has locks held!",
            "WARNING: lock held when returning to user space!",
            "WARNING: Nested lock was not taken",
            "WARNING: suspicious RCU usage",
            "[ BUG: Invalid wait context ]",
            "possible reason: unannotated irqs-off.",
            "INFO: trying to register non-static key.",
            "INFO: lockdep is turned off.",
            "turning off the locking correctness validator.",
            "BUG: MAX_LOCKDEP_CHAINS too low!",
            "BUG: sleeping function called from invalid context at kernel/x.c:1",
            "BUG: scheduling while atomic: x/229/0x00000002",
            "BUG: using smp_processor_id() in preemptible [00000000] code: x/229",
            "BUG: assuming non migratable context at kernel/x.c:1",
            "BUG: KASAN: slab-out-of-bounds in f+0x1/0x2",
            "BUG kmalloc-64 (Not tainted): Poison overwritten",
            "BUG: unable to handle page fault for address: 00",
            "BUG: Bad page state in process x  pfn:00001",
            "BUG: workqueue leaked atomic, lock or RCU: x[229]",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:229]",
            "kernel BUG at mm/x.c:1!",
            "Oops: invalid opcode: 0000 [#1] SMP",
            "INFO: task x:229 blocked for more than 120 seconds.",
            "INFO: rcu_tasks detected stalls on tasks:",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-...D }",
            "unchecked MSR access error: WRMSR to 0x1c4",
            "UBSAN: array-index-out-of-bounds in x.c:1:2",
            "list_add corruption. prev->next should be next",
        ] {
            assert_eq!(splats(&format!("[    1.0] {line}\n")), 1, "{line}");
            // With CONFIG_PRINTK_CALLER.
            assert_eq!(splats(&format!("[    1.0][  T229] {line}\n")), 1, "{line}");
        }
        assert_eq!(splats("[ 1.0] Call Trace:\n[ 1.1] <TASK>\n"), 1);
    }

    #[test]
    fn other_messages_do_not_count() {
        for line in [
            "rcu: Preemptible hierarchical RCU implementation.",
            "rcu: srcu_init: Setting srcu_struct sizes based on contention.",
            "kprobes: kprobe jump-optimization is enabled. All kprobes are optimized if possible.",
            "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
            "DEBUG: fine",
            "foo BUG: bar",
            "lab: test the possible BUG: stock, 1 CPU",
        ] {
            assert_eq!(splats(&format!("[    1.0] {line}\n")), 0, "{line}");
        }
        assert_eq!(splats("WARNING: CPU: from user space\n"), 0);
    }

    #[test]
    fn memory_that_fails_on_purpose_is_no_complaint() {
        let report =
            "[    1.0] memory-fails: vmalloc error: size 12288, failed to allocate pages, \
                      mode:0xdc0(GFP_KERNEL|__GFP_ZERO), nodemask=(null),cpuset=/\n";
        let trace = "[    1.1] Call Trace:\n[    1.1]  <TASK>\n";
        assert_eq!(splats(&format!("{report}{trace}")), 0);
        // Of anybody else it is, and so is whatever else the thread is named for.
        let other = report.replace("memory-fails", "xfd_switch_test");
        assert_eq!(splats(&format!("{other}{trace}")), 1);
        assert_eq!(
            splats("[    1.0] memory-fails: x\n[    1.1] Call Trace:\n"),
            1
        );
        let splat = "[    1.2] WARNING: mm/x.c:1 at f+0x1/0x2, CPU#0: memory-fails/229\n";
        assert_eq!(splats(&format!("{report}{trace}{splat}")), 1);
    }

    #[test]
    fn a_panic_is_the_end() {
        let line = "[    3.5] Kernel panic - not syncing: sysrq triggered crash";
        assert_eq!(SplatScanner::default().feed(line), Some(Severity::Panic));
    }
}
