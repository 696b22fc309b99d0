// SPDX-License-Identifier: GPL-2.0
//! The KTAP that a test writes: its parts, and whether one of them failed or was skipped.

/// What a test's output says of its parts.
pub struct Ktap<'a> {
    /// In their order, without their numbers: "ok state with FMM", "not ok ...".
    pub parts: Vec<String>,
    /// Whether a part failed, which is not the same as that it could not run.
    pub failed: bool,
    /// The first line that says that something was skipped.
    pub skip: Option<&'a str>,
    /// What the first part that failed said, or the last lines if none did.
    pub why: &'a [String],
}

/// How many lines of a failure are shown at most.
const WHY: usize = 15;

impl<'a> Ktap<'a> {
    pub fn read(output: &'a [String]) -> Ktap<'a> {
        Ktap {
            parts: output.iter().filter_map(|line| part(line)).collect(),
            failed: output.iter().any(|l| l.starts_with("not ok ")),
            skip: output
                .iter()
                .map(String::as_str)
                .find(|l| l.contains("# SKIP")),
            why: why(output),
        }
    }
}

fn why(output: &[String]) -> &[String] {
    let failed = output.iter().position(|l| l.starts_with("not ok "));
    let end = failed.map_or(output.len(), |i| i + 1);
    let begins = |line: &String| failed.is_some() && line.starts_with("#  RUN ");
    let begin = output[..end].iter().rposition(begins).unwrap_or(0);
    &output[begin.max(end.saturating_sub(WHY))..end]
}

fn part(line: &str) -> Option<String> {
    let word = ["ok", "not ok"]
        .into_iter()
        .find(|word| line.starts_with(&format!("{word} ")))?;
    let (number, name) = line[word.len() + 1..].split_once(' ')?;
    let numbered = number.bytes().all(|b| b.is_ascii_digit());
    numbered.then(|| format!("{word} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_failures_and_skips_are_read() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let well = lines("TAP version 13\n1..2\nok 1 a\nnoise\nok 2 b # SKIP no c\n");
        let ktap = Ktap::read(&well);
        assert_eq!(ktap.parts, ["ok a", "ok b # SKIP no c"]);
        assert_eq!(
            (ktap.failed, ktap.skip),
            (false, Some("ok 2 b # SKIP no c"))
        );

        let ill = lines("not ok 1 a\n# not ok b\nok then\n");
        let ktap = Ktap::read(&ill);
        assert_eq!(ktap.parts, ["not ok a"]);
        assert_eq!((ktap.failed, ktap.skip), (true, None));
        let whole = lines("1..0 # SKIP - Requirement not met: x");
        assert!(Ktap::read(&whole).skip.is_some());
    }

    #[test]
    fn a_failure_is_what_its_first_failed_part_said() {
        let why = |said: &str| {
            let said: Vec<_> = said.lines().map(str::to_owned).collect();
            Ktap::read(&said).why.join("|")
        };
        let parts = "#  RUN  a\nok 1 a\n#  RUN  b\n# want 1\nnot ok 2 b\n#  RUN  c\nok 3 c";
        assert_eq!(why(parts), "#  RUN  b|# want 1|not ok 2 b");
        assert_eq!(why("#  RUN  a\nkilled"), "#  RUN  a|killed");
        assert_eq!(why(&"x\n".repeat(99)).matches('x').count(), WHY);
        assert_eq!(why(""), "");
    }
}
