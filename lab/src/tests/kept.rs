// SPDX-License-Identifier: GPL-2.0
//! Results that outlive the lab, each with the fingerprint of all that it depends on: so a command
//! that was interrupted goes on where it was, and repeats nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::{files::write_json, layout::Lab};

/// A result, and what it was found with; for anything else it is worth nothing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record<T> {
    #[serde(flatten)]
    pub result: T,
    pub print: String,
}

/// The results of one command, in a file below build/results.
pub struct Kept<T> {
    path: PathBuf,
    all: Mutex<BTreeMap<String, Record<T>>>,
}

impl<T: Clone + DeserializeOwned + Serialize> Kept<T> {
    /// A file that is missing, or of another version of the lab, has none.
    pub fn open(lab: &Lab, name: &str) -> Kept<T> {
        let path = lab.at("build/results").join(format!("{name}.json"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        Kept {
            path,
            all: Mutex::new(serde_json::from_str(&text).unwrap_or_default()),
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Record<T>>> {
        self.all.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn get(&self, name: &str, print: &str) -> Option<Record<T>> {
        let all = self.all();
        all.get(name).filter(|r| r.print == print).cloned()
    }

    pub fn keep(&self, name: &str, print: &str, result: T) -> Result<()> {
        let mut all = self.all();
        let print = print.to_owned();
        all.insert(name.to_owned(), Record { result, print });
        write_json(&self.path, &*all)
    }

    /// Takes care that what has this name is done again.
    pub fn forget(&self, name: &str) {
        self.all().remove(name);
    }

    /// The same, if what came of it is not good enough.
    pub fn forget_unless(&self, name: &str, good: impl Fn(&T) -> bool) {
        let mut all = self.all();
        if all.get(name).is_some_and(|record| !good(&record.result)) {
            all.remove(name);
        }
    }

    /// All of them, in order of their names, whatever they were found with.
    pub fn records(&self) -> Vec<Record<T>> {
        self.all().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    struct Word {
        word: String,
    }

    #[test]
    fn a_result_is_good_for_its_fingerprint_and_outlives_the_lab() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::at_root(dir.path(), Default::default()).unwrap();
        let word = |word: &str| Word { word: word.into() };
        let kept = Kept::open(&lab, "x");
        kept.keep("a", "1", word("one")).unwrap();
        kept.keep("b", "1", word("two")).unwrap();
        let again = Kept::<Word>::open(&lab, "x");
        assert_eq!(again.get("a", "1").unwrap().result, word("one"));
        assert!(again.get("a", "2").is_none());
        again.forget("a");
        assert!(again.get("a", "1").is_none());
        again.keep("c", "3", word("three")).unwrap();
        again.forget_unless("c", |result| result.word == "three");
        again.forget_unless("none", |_| false);
        let names: Vec<String> = Kept::<Word>::open(&lab, "x")
            .records()
            .into_iter()
            .map(|r| r.result.word)
            .collect();
        assert_eq!(names, ["two", "three"]);

        fs::write(&again.path, "{").unwrap();
        assert!(Kept::<Word>::open(&lab, "x").records().is_empty());
    }
}
