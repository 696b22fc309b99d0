// SPDX-License-Identifier: GPL-2.0
//! A distribution of lengths: exact below 2^15, and to four digits above.

use hdrhistogram::Histogram;
use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};

#[derive(Clone, Debug, PartialEq)]
pub struct Distribution(Histogram<u64>);

const DIGITS: u8 = 4;

impl Default for Distribution {
    fn default() -> Self {
        Distribution(Histogram::new(DIGITS).expect("four digits are not too many"))
    }
}

impl Distribution {
    pub fn add(&mut self, length: u64) {
        // It grows with what is added, and takes all there is.
        self.0.record(length).expect("it grows");
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The length that this share of all does not exceed.
    pub fn at(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    pub fn p1(&self) -> u64 {
        self.at(0.01)
    }

    pub fn median(&self) -> u64 {
        self.at(0.5)
    }

    pub fn p99(&self) -> u64 {
        self.at(0.99)
    }

    /// Each length that there is, the least first, and how often.
    pub fn values(&self) -> Vec<(u64, u64)> {
        let values = self.0.iter_recorded();
        values
            .map(|v| (v.value_iterated_to(), v.count_at_value()))
            .collect()
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &self.count())?;
        // Of nothing there is no median.
        if self.count() > 0 {
            map.serialize_entry("min", &self.0.min())?;
            map.serialize_entry("p1", &self.p1())?;
            map.serialize_entry("median", &self.median())?;
            map.serialize_entry("p99", &self.p99())?;
            map.serialize_entry("max", &self.0.max())?;
            let values: IndexMap<u64, u64> = self.values().into_iter().collect();
            map.serialize_entry("values", &values)?;
        }
        map.end()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn of(lengths: impl IntoIterator<Item = u64>) -> Distribution {
        let mut all = Distribution::default();
        lengths.into_iter().for_each(|l| all.add(l));
        all
    }

    #[test]
    fn figures_are_those_of_all_lengths() {
        let json = serde_json::to_value(of((1001..=1200).rev())).unwrap();
        for (key, value) in [
            ("count", 200),
            ("min", 1001),
            ("p1", 1002),
            ("median", 1100),
            ("p99", 1198),
            ("max", 1200),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!(json["values"].as_object().unwrap().len(), 200);
        assert_eq!(json["values"]["1100"], 1);
    }

    #[test]
    fn small_lengths_are_exact_and_large_ones_nearly() {
        for length in [0, 1, 1119, 32767] {
            assert_eq!(of([length]).median(), length);
        }
        let large = 123_456_789_012;
        let off = of([large]).median().abs_diff(large);
        assert!(off * 10_000 <= large, "{off}");
        assert_eq!(of([u64::MAX]).count(), 1);
    }

    #[test]
    fn nothing_has_a_count_alone() {
        let json = serde_json::to_string(&Distribution::default()).unwrap();
        assert_eq!(json, "{\"count\":0}");
    }
}
