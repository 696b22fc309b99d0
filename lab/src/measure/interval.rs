// SPDX-License-Identifier: GPL-2.0
//! An interval of costs: what something takes at least, and at most if that is known.

use std::fmt;
use std::iter::Sum;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    least: f64,
    /// Infinite if it is not known.
    most: f64,
}

impl Interval {
    /// Nothing is known of it.
    pub const UNKNOWN: Interval = Interval {
        least: 0.0,
        most: f64::INFINITY,
    };

    /// None if it is no interval of costs.
    pub fn new(least: f64, most: Option<f64>) -> Option<Interval> {
        let most = most.unwrap_or(f64::INFINITY);
        let sound = least.is_finite() && 0.0 <= least && least <= most;
        sound.then_some(Interval { least, most })
    }

    /// The smallest interval that has both in it.
    pub fn hull(self, other: Interval) -> Interval {
        Interval {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }

    /// That, or anything above it; nothing stays nothing.
    pub fn or_more(self) -> Interval {
        let most = if self.most == 0.0 { 0.0 } else { f64::INFINITY };
        Interval { most, ..self }
    }

    /// Of so many of them; none cost nothing, whatever one does.
    pub fn times(self, count: f64) -> Interval {
        match count == 0.0 {
            true => [].into_iter().sum(),
            false => Interval {
                least: self.least * count,
                most: self.most * count,
            },
        }
    }
}

impl Sum for Interval {
    fn sum<I: Iterator<Item = Interval>>(all: I) -> Interval {
        let nothing = Interval {
            least: 0.0,
            most: 0.0,
        };
        all.fold(nothing, |sum, one| Interval {
            least: sum.least + one.least,
            most: sum.most + one.most,
        })
    }
}

/// In whole numbers, rounded outwards: "100", "300-400", "125+" if there is no most.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.least.floor(), self.most.ceil());
        match most.is_finite() {
            _ if *self == Interval::UNKNOWN => f.pad("unknown"),
            true if least == most => f.pad(&format!("{least}")),
            true => f.pad(&format!("{least}-{most}")),
            false => f.pad(&format!("{least}+")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(least: f64, most: f64) -> Interval {
        Interval::new(least, Some(most)).unwrap()
    }

    fn from(least: f64) -> Interval {
        Interval::new(least, None).unwrap()
    }

    #[test]
    fn ends_are_added_and_multiplied_one_by_one() {
        let (a, b) = (of(300.0, 400.0), of(16.0, 30.0));
        assert_eq!([a, b].into_iter().sum::<Interval>(), of(316.0, 430.0));
        assert_eq!(a.times(2.0), of(600.0, 800.0));
        assert_eq!(a.times(0.5), of(150.0, 200.0));
        assert_eq!(a.hull(b), of(16.0, 400.0));
        assert_eq!(b.hull(a), of(16.0, 400.0));
        assert_eq!(a.hull(of(350.0, 360.0)), a);
    }

    #[test]
    fn what_has_no_most_has_none_in_any_sum() {
        let sum = |all: &[Interval]| all.iter().copied().sum::<Interval>();
        assert_eq!(sum(&[of(1.0, 2.0), from(125.0)]), from(126.0));
        assert_eq!(sum(&[of(1.0, 2.0), Interval::UNKNOWN]), from(1.0));
        assert_eq!(from(125.0).times(3.0), from(375.0));
        assert_eq!(from(125.0).hull(of(1.0, 2.0)), from(1.0));
        assert_eq!(of(1.0, 2.0).or_more(), from(1.0));
        assert_eq!(of(1.0, 2.0).times(0.0).or_more(), of(0.0, 0.0));
        assert_eq!(sum(&[]), of(0.0, 0.0));
    }

    #[test]
    fn none_of_what_is_unknown_costs_nothing() {
        assert_eq!(Interval::UNKNOWN.times(0.0), of(0.0, 0.0));
        assert_eq!(from(125.0).times(0.0), of(0.0, 0.0));
        assert_eq!(Interval::UNKNOWN.times(2.0), Interval::UNKNOWN);
    }

    #[test]
    fn ends_that_are_none_make_no_interval() {
        assert_eq!(Interval::new(3.0, Some(2.0)), None);
        assert_eq!(Interval::new(-1.0, None), None);
        assert_eq!(Interval::new(f64::NAN, Some(1.0)), None);
        assert_eq!(Interval::new(1.0, Some(f64::NAN)), None);
        assert_eq!(Interval::new(f64::INFINITY, None), None);
    }

    #[test]
    fn it_is_shown_rounded_outwards() {
        for (interval, shown) in [
            (of(0.0, 0.0), "0"),
            (of(100.0, 100.0), "100"),
            (of(100.2, 100.2), "100-101"),
            (of(99.9, 200.1), "99-201"),
            (from(125.5), "125+"),
            (Interval::UNKNOWN, "unknown"),
        ] {
            assert_eq!(interval.to_string(), shown);
        }
    }
}
