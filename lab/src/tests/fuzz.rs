// SPDX-License-Identifier: GPL-2.0
//! selftests/xfd_fuzz as a test of a machine: its command for a host and for some seeds, and what it
//! says that came of them.

use serde::{Deserialize, Serialize};

use crate::tests::list::Entry;

/// The machine that it runs in: vCPUs are moved from one CPU to another.
pub const CPUS: u32 = 2;

/// In how many seeds a mutant must be noticed.
pub const SEEDS_FOR_MUTANTS: u64 = 500;

/// What its last line has, and build/report/fuzz.json.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Counts {
    pub seeds: u64,
    pub operations: u64,
    pub disturbances: u64,
    pub differences: u64,
}

impl Counts {
    /// None if the program did not come to its end.
    pub fn of(output: &[String]) -> Option<Counts> {
        let mut said = output.iter().rev();
        let line = said.find_map(|line| line.strip_prefix("# fuzz: "))?;
        serde_json::from_str(line).ok()
    }

    pub fn add(&mut self, other: &Counts) {
        self.seeds += other.seeds;
        self.operations += other.operations;
        self.disturbances += other.disturbances;
        self.differences += other.differences;
    }
}

/// These seeds on this host.
pub fn entry(on: &str, first: u64, last: u64) -> Entry {
    let expect = match on {
        "stock" | "minimal" => "stock",
        "unloaded" => "unattached",
        _ => "attached",
    };
    let command = format!(
        "xfd_fuzz --expect={expect} --fpu-user=/add/xfd_fpu_user.ko --seeds={first}-{last}"
    );
    Entry {
        // A seed takes a tenth of a second.
        timeout: 60 + (last + 1 - first),
        ..Entry::new(&format!("fuzz {first}-{last}"), &command)
    }
}

/// How many seeds it took until something was noticed, or where it was when the machine stopped.
pub fn noticed_after(output: &[String]) -> Option<String> {
    if let Some(counts) = Counts::of(output) {
        let seeds = counts.seeds;
        return (counts.differences > 0).then(|| format!("after {seeds} seeds"));
    }
    // One that differs comes before its program is shrunk, which may kill the machine.
    let of = |prefix| output.iter().rev().find_map(|l| l.strip_prefix(prefix));
    let differs = of("# seed ").map(|seed| format!("in seed {}", seed.trim_end_matches(':')));
    differs.or_else(|| Some(format!("in seeds {}", of("# seeds ")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const END: &str =
        "# fuzz: {\"seeds\":7,\"operations\":90,\"disturbances\":40,\"differences\":1}";

    #[test]
    fn its_last_line_is_read() {
        let output = lines(&format!("# seeds 1-15\n{END}\nnot ok 1 fuzz"));
        let counts = Counts::of(&output).unwrap();
        assert_eq!((counts.seeds, counts.operations), (7, 90));
        assert_eq!((counts.disturbances, counts.differences), (40, 1));
        let mut sum = counts;
        sum.add(&counts);
        assert_eq!((sum.seeds, sum.differences), (14, 2));
        assert_eq!(Counts::of(&lines("# seeds 1-15")), None);
    }

    #[test]
    fn it_says_when_something_was_noticed() {
        let after = |text: &str| noticed_after(&lines(text));
        assert_eq!(after(END).unwrap(), "after 7 seeds");
        assert_eq!(after(&END.replace("s\":1", "s\":0")), None);
        let stopped = "# seeds 1-15\n# seeds 16-31\n";
        assert_eq!(after(stopped).unwrap(), "in seeds 16-31");
        let shrinking = format!("{stopped}# seed 20:\n# 3 operations");
        assert_eq!(after(&shrinking).unwrap(), "in seed 20");
        assert_eq!(after(""), None);
    }

    #[test]
    fn it_expects_what_the_host_promises() {
        let command = |on| entry(on, 1, 200).command;
        assert!(command("minimal").contains("--expect=stock "));
        assert!(command("unloaded").contains("--expect=unattached "));
        assert!(command("eager").ends_with("--seeds=1-200"));
        assert!(command("eager").contains("--expect=attached "));
    }
}
