// SPDX-License-Identifier: GPL-2.0
//! A serial line of the machine, cut into lines, and what a line of the kernel's console says.

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

/// A console line without its time stamp (and, with PRINTK_CALLER, without its caller).
pub fn message(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('[')?;
    let (time, mut text) = rest.split_once(']')?;
    if !time.trim().bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    text = text.trim_start();
    if let Some((caller, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        let number = caller.trim().strip_prefix(['T', 'C']).unwrap_or("");
        if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
            text = rest.trim_start();
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_for_their_end() {
        let mut lines = Lines::default();
        assert!(lines.feed(b"ab").is_empty());
        assert_eq!(lines.feed(b"c\r\nd"), ["abc"]);
        assert_eq!(lines.rest().as_deref(), Some("d"));
        assert_eq!(lines.rest(), None);
    }
}
