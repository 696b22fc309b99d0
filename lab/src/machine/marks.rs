// SPDX-License-Identifier: GPL-2.0
//! What the machine says on ttyS1: the command's output, and the marks in it.

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
}
