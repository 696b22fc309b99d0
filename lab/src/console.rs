// SPDX-License-Identifier: GPL-2.0
//! What the machine's two serial lines say: the command's output and the marks in it (ttyS1), and
//! the kernel's splats (ttyS0).

/// What starts a mark, see guest/lab.sh.
const SEPARATOR: u8 = 0x1e;

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What the command wrote, byte for byte.
    Output(Vec<u8>),
    /// What follows "LAB " in a mark.
    Mark(String),
}

/// Splits the second serial line into output and marks, however it is cut into pieces.
#[derive(Default)]
pub struct OutputParser {
    /// The mark that has begun, without its separator.
    mark: Option<Vec<u8>>,
}

impl OutputParser {
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut output = Vec::new();
        for &byte in bytes {
            match (&mut self.mark, byte) {
                (None, SEPARATOR) => self.mark = Some(Vec::new()),
                (None, _) => output.push(byte),
                (Some(mark), b'\n') => {
                    let text = String::from_utf8_lossy(mark).into_owned();
                    match text.strip_prefix("LAB ") {
                        Some(words) => {
                            if !output.is_empty() {
                                events.push(Event::Output(std::mem::take(&mut output)));
                            }
                            events.push(Event::Mark(words.trim_end().to_owned()));
                        }
                        // Someone's own record separator.
                        None => {
                            output.push(SEPARATOR);
                            output.extend_from_slice(mark);
                            output.push(b'\n');
                        }
                    }
                    self.mark = None;
                }
                (Some(mark), _) => mark.push(byte),
            }
        }
        if !output.is_empty() {
            events.push(Event::Output(output));
        }
        events
    }
}

/// Cuts bytes into lines, keeping what has not ended yet.
#[derive(Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.0.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        lines
    }

    pub fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.0);
        (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).trim_end().to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Severity {
    Warning,
    /// The kernel will not go on.
    Panic,
}

/// Finds splats in the kernel's console.
#[derive(Default)]
pub struct SplatScanner {
    /// Lines since the last head of a splat, whose call trace is its own.
    since_head: Option<usize>,
}

impl SplatScanner {
    /// What a line is the head of, if anything.
    pub fn feed(&mut self, line: &str) -> Option<Severity> {
        const PANICS: [&str; 1] = ["Kernel panic - not syncing"];
        const WARNINGS: [&str; 14] = [
            "WARNING: CPU:",
            "WARNING: possible",
            "WARNING: suspicious",
            "WARNING: inconsistent",
            "WARNING: bad unlock",
            "BUG: ",
            "kernel BUG at",
            "Oops: ",
            "INFO: task ",
            "INFO: rcu",
            "rcu: INFO:",
            "general protection fault",
            "unchecked MSR access error",
            "UBSAN: ",
        ];
        self.since_head = self.since_head.map(|n| n + 1).filter(|&n| n < 80);
        let text = message(line)?;
        let severity = if PANICS.iter().any(|p| text.starts_with(p)) {
            Severity::Panic
        } else if WARNINGS.iter().any(|w| text.starts_with(w))
            || is_warn_on(text)
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

/// "WARNING: arch/x86/kvm/x86.c:1234 at function+0x1/0x2, CPU#0: comm/1"
fn is_warn_on(text: &str) -> bool {
    text.strip_prefix("WARNING: ").is_some_and(|rest| {
        let place = rest.split(' ').next().unwrap_or("");
        place.rsplit_once(':').is_some_and(|(file, line)| {
            file.contains('.') && line.bytes().all(|b| b.is_ascii_digit())
        })
    })
}

/// A console line without its time stamp (and, with PRINTK_CALLER, without its caller).
pub fn message(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('[')?;
    let (time, mut text) = rest.split_once(']')?;
    if !time.trim().bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    text = text.trim_start();
    if text.starts_with("[ ") || text.starts_with("[T") || text.starts_with("[C") {
        text = text.split_once(']').map_or(text, |(_, t)| t.trim_start());
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
        let mut parser = OutputParser::default();
        let (mut output, mut marks) = (Vec::new(), Vec::new());
        for piece in pieces {
            for event in parser.feed(piece) {
                match event {
                    Event::Output(bytes) => output.extend(bytes),
                    Event::Mark(mark) => marks.push(mark),
                }
            }
        }
        (output, marks)
    }

    #[test]
    fn marks_are_taken_out_wherever_the_bytes_are_cut() {
        let stream = b"\x1eLAB begin\nfoo\nno newline\x1eLAB exit 3\nlate";
        let whole = parse(&[stream]);
        assert_eq!(whole.0, b"foo\nno newlinelate");
        assert_eq!(whole.1, ["begin", "exit 3"]);
        for cut in 0..stream.len() {
            assert_eq!(parse(&[&stream[..cut], &stream[cut..]]), whole);
        }
    }

    #[test]
    fn order_of_output_and_marks_is_kept() {
        let events = OutputParser::default().feed(b"a\x1eLAB x\nb");
        assert_eq!(
            events,
            [
                Event::Output(b"a".into()),
                Event::Mark("x".into()),
                Event::Output(b"b".into())
            ]
        );
    }

    #[test]
    fn other_separators_and_bytes_pass() {
        let (output, marks) = parse(&[b"\x1exyz\n\x00\xff"]);
        assert_eq!(output, b"\x1exyz\n\x00\xff");
        assert!(marks.is_empty());
    }

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
    fn lockdep_oops_and_bare_traces_count() {
        assert_eq!(
            splats("[ 1.0] WARNING: possible circular locking dependency detected\n"),
            1
        );
        assert_eq!(splats("[ 1.0] WARNING: suspicious RCU usage\n"), 1);
        assert_eq!(
            splats("[ 1.0] BUG: unable to handle page fault for address: 00\n"),
            1
        );
        assert_eq!(splats("[ 1.0] Call Trace:\n[ 1.1] <TASK>\n"), 1);
        assert_eq!(splats("[ 1.0][    T1] BUG: scheduling while atomic\n"), 1);
    }

    #[test]
    fn words_of_other_messages_do_not_count() {
        assert_eq!(
            splats("[ 1.0] WARNING: this is a KASAN-less kernel\nWARNING: CPU: from user space\n"),
            0
        );
        assert_eq!(splats("[ 1.0] DEBUG: fine\n[ 1.0] foo BUG: bar\n"), 0);
    }

    #[test]
    fn a_panic_is_the_end() {
        let line = "[    3.5] Kernel panic - not syncing: sysrq triggered crash";
        assert_eq!(SplatScanner::default().feed(line), Some(Severity::Panic));
    }

    #[test]
    fn lines_wait_for_their_end() {
        let mut lines = Lines::default();
        assert!(lines.feed(b"ab").is_empty());
        assert_eq!(lines.feed(b"c\r\nd"), ["abc"]);
        assert_eq!(lines.rest().as_deref(), Some("d"));
        assert_eq!(lines.rest(), None);
    }
}
