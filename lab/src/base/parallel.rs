// SPDX-License-Identifier: GPL-2.0
//! Work on several things side by side: a list, or things of which some need others.

use std::collections::BTreeSet;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Result;

use crate::base::interrupt;
use crate::base::jobs::{Jobs, Slot};

/// Runs `work` over a list of machines, in its order, as many side by side as there are jobs, but
/// not more than there is memory for; the results are in the list's order.
pub fn side_by_side<J: Sync, R: Send>(
    jobs: &Jobs,
    list: &[J],
    work: impl Fn(&J) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<R>>> = Mutex::new(list.iter().map(|_| None).collect());
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let threads = jobs
        .number()
        .min(machines_that_fit(&memory))
        .min(list.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(one) = list.get(i) else { break };
                // Without one the lab is being interrupted, which the work itself sees.
                let _slot = jobs.take();
                let result = work(one);
                locked(&results)[i] = Some(result);
            });
        }
    });
    results
        .into_inner()
        .unwrap_or_else(|e| e.into_inner())
        .into_iter()
        .flatten()
        .collect()
}

/// A machine has 1 GiB of memory, and its emulator takes some of its own.
fn machines_that_fit(meminfo: &str) -> usize {
    let available = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))
        .and_then(|l| l.trim().split(' ').next()?.parse::<usize>().ok());
    available.map_or(usize::MAX, |kib| (kib / (5 << 18)).max(1))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Things to do, each once, and after those that it needs.
pub trait Plan: Sync {
    type Part: Copy + Ord + Sync + Send;

    fn needs(&self, part: Self::Part) -> Vec<Self::Part>;

    /// Whether it only waits for the network, and so takes no job from the others.
    fn waits(&self, part: Self::Part) -> bool;

    fn work(&self, part: Self::Part) -> Result<()>;
}

struct Progress<'a, P> {
    /// Those that have not asked for a job yet, least first.
    left: Vec<P>,
    done: BTreeSet<P>,
    /// Of parts that are done, for those that this made ready.
    passed_on: Vec<Slot<'a>>,
    failure: Option<anyhow::Error>,
}

/// Does `parts` and what they need, side by side; of those that could start, the least one in their
/// order does. The first failure stops everything, and is the one that is returned.
pub fn carry_out<T: Plan>(jobs: &Jobs, plan: &T, parts: &[T::Part]) -> Result<()> {
    let mut all = BTreeSet::new();
    with_needs(plan, parts, &mut all);
    let parts: Vec<_> = all.into_iter().collect();
    let stop = Arc::new(AtomicBool::new(false));
    let progress = Mutex::new(Progress {
        left: parts.clone(),
        done: BTreeSet::new(),
        passed_on: Vec::new(),
        failure: None,
    });
    let changed = Condvar::new();
    let ready = |state: &Progress<T::Part>, part: T::Part| {
        plan.needs(part).iter().all(|n| state.done.contains(n))
    };
    // The first of those that want a job and could start.
    let first = |state: &Progress<T::Part>| {
        let mut left = state.left.iter().copied();
        left.find(|&p| !plan.waits(p) && ready(state, p))
    };
    let one = |part: T::Part| -> Result<()> {
        let mut state = locked(&progress);
        while !(ready(&state, part) && (plan.waits(part) || first(&state) == Some(part))) {
            interrupt::check()?;
            state = changed
                .wait_timeout(state, Duration::from_millis(200))
                .unwrap_or_else(|e| e.into_inner())
                .0;
        }
        state.left.retain(|&p| p != part);
        let passed_on = match plan.waits(part) {
            true => None,
            false => state.passed_on.pop(),
        };
        drop(state);
        changed.notify_all();
        let slot = match passed_on {
            None if !plan.waits(part) => Some(jobs.take()?),
            passed_on => passed_on,
        };
        plan.work(part)?;
        let mut state = locked(&progress);
        state.done.insert(part);
        // Given back, a job would go to a running make.
        if first(&state).is_some() {
            state.passed_on.extend(slot);
        }
        drop(state);
        changed.notify_all();
        Ok(())
    };
    std::thread::scope(|scope| {
        for &part in &parts {
            let (one, progress, changed, stop) = (&one, &progress, &changed, &stop);
            scope.spawn(move || {
                interrupt::ends_with(stop.clone());
                let ended = catch_unwind(AssertUnwindSafe(|| one(part)));
                if matches!(ended, Ok(Ok(()))) {
                    return;
                }
                // Those that it stops are interrupted, which is no failure of theirs.
                let is_first = !stop.swap(true, Ordering::Relaxed);
                changed.notify_all();
                match ended {
                    Ok(Err(error)) if is_first => locked(progress).failure = Some(error),
                    Err(panic) => resume_unwind(panic),
                    Ok(_) => {}
                }
            });
        }
    });
    interrupt::check()?;
    let failure = locked(&progress).failure.take();
    match failure {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Adds the parts and all that they need.
fn with_needs<T: Plan>(plan: &T, parts: &[T::Part], all: &mut BTreeSet<T::Part>) {
    for &part in parts {
        if all.insert(part) {
            with_needs(plan, &plan.needs(part), all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::Failure;

    #[test]
    fn every_job_is_done_once_and_in_order() {
        let list: Vec<u32> = (0..50).collect();
        for number in [1, 2, 5] {
            let jobs = Jobs::new(number).unwrap();
            assert_eq!(
                side_by_side(&jobs, &list, |j| j * 2),
                list.iter().map(|j| j * 2).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn machines_fit_into_memory() {
        assert_eq!(machines_that_fit("MemAvailable:    8388608 kB\n"), 6);
        assert_eq!(machines_that_fit("MemAvailable:    1000 kB\n"), 1);
        assert_eq!(machines_that_fit(""), usize::MAX);
    }

    /// 4 needs 2 and 3, both need 1; 9 only waits.
    #[derive(Default)]
    struct Diamond {
        log: Mutex<Vec<u32>>,
        running: AtomicUsize,
        most: AtomicUsize,
        fails: u32,
    }

    impl Plan for Diamond {
        type Part = u32;

        fn needs(&self, part: u32) -> Vec<u32> {
            match part {
                4 => vec![2, 3],
                2 | 3 => vec![1],
                _ => vec![],
            }
        }

        fn waits(&self, part: u32) -> bool {
            part == 9
        }

        fn work(&self, part: u32) -> Result<()> {
            if part == self.fails {
                return Err(Failure::new(format!("{part} failed")).into());
            }
            if part == 9 {
                // Until the failure ends it, if there is one.
                for _ in 0..self.fails * 1000 {
                    interrupt::check()?;
                    std::thread::sleep(Duration::from_millis(1));
                }
            } else {
                let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
                self.most.fetch_max(running, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(30));
                self.running.fetch_sub(1, Ordering::SeqCst);
            }
            self.log.lock().unwrap().push(part);
            Ok(())
        }
    }

    #[test]
    fn what_is_needed_comes_first_and_jobs_are_kept_to() {
        for number in [1, 2, 8] {
            let plan = Diamond::default();
            carry_out(&Jobs::new(number).unwrap(), &plan, &[4, 9, 5]).unwrap();
            let log = plan.log.into_inner().unwrap();
            let at = |part: u32| log.iter().position(|&p| p == part).unwrap();
            assert_eq!(log.len(), 6, "{log:?}");
            assert!(
                at(1) < at(2) && at(1) < at(3) && at(2).max(at(3)) < at(4),
                "{log:?}"
            );
            let most = plan.most.into_inner();
            assert!(
                most <= number && (number == 1 || most > 1),
                "{most} of {number}"
            );
        }
    }

    #[test]
    fn the_first_failure_stops_the_others_and_is_reported() {
        let plan = Diamond {
            fails: 3,
            ..Default::default()
        };
        let error = carry_out(&Jobs::new(2).unwrap(), &plan, &[4, 9]).unwrap_err();
        assert_eq!(error.to_string(), "3 failed");
        let log = plan.log.into_inner().unwrap();
        assert!(!log.contains(&4) && !log.contains(&9), "{log:?}");
    }
}
