// SPDX-License-Identifier: GPL-2.0
//! What the FPU core counts of a guest's loads and saves.
//!
//! The counters are no part of the state, which would be infinite with them: they are 0 when a step
//! begins, and are looked at when it ends.

use std::ops::Sub;

/// `enum fpu_guest_xfd_why`: why XFD and XFD_ERR are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Switch,
    Userspace,
    Task,
    Softirq,
    Hardirq,
    Access,
    Strategy,
}

const WHY: usize = 7;

/// `struct fpu_guest_xfd_counts`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    loads: u64,
    saves: [u64; WHY],
    dormant_saves: u64,
    xfd_writes: u64,
    xfd_err_writes: u64,
}

impl Counts {
    /// Saves for another reason than these, in words.
    pub fn beside(&self, reasons: &[Why]) -> Option<String> {
        let one =
            |why: Why| (self.saves[why as usize] != 0 && !reasons.contains(&why)).then_some(why);
        let all = [
            Why::Switch,
            Why::Userspace,
            Why::Task,
            Why::Softirq,
            Why::Hardirq,
            Why::Access,
            Why::Strategy,
        ];
        let other = all.into_iter().find_map(one)?;
        Some(format!(
            "a save counts as one for {other:?}, which it is not"
        ))
    }

    /// How many loads there were more than saves.
    pub fn balance(&self) -> i64 {
        self.loads as i64 - self.saves.iter().sum::<u64>() as i64
    }
}

impl Sub for Counts {
    type Output = Self;

    /// What has been counted since `other`.
    fn sub(self, other: Self) -> Self {
        let mut saves = self.saves;
        for (save, other) in saves.iter_mut().zip(other.saves) {
            *save = save.wrapping_sub(other);
        }
        Self {
            loads: self.loads.wrapping_sub(other.loads),
            saves,
            dormant_saves: self.dormant_saves.wrapping_sub(other.dormant_saves),
            xfd_writes: self.xfd_writes.wrapping_sub(other.xfd_writes),
            xfd_err_writes: self.xfd_err_writes.wrapping_sub(other.xfd_err_writes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(why: Why) -> Counts {
        let mut counts = Counts::default();
        counts.saves[why as usize] = 1;
        counts
    }

    #[test]
    fn another_reason_is_named() {
        let counts = saved(Why::Task);
        assert_eq!(counts.beside(&[Why::Access, Why::Task]), None);
        assert!(counts.beside(&[Why::Softirq]).unwrap().contains("for Task"));
        assert_eq!((counts - counts).beside(&[]), None);
    }

    #[test]
    fn a_save_ends_a_load() {
        let mut counts = saved(Why::Switch);
        assert_eq!(counts.balance(), -1);
        counts.loads = 1;
        assert_eq!(counts.balance(), 0);
    }
}
