//! `xm dmesg`: what guests and monitors said on the emergency console.
//!
//! ```text
//!   console_io text of each domain, line by line behind "(dN) ", ids ascending
//!   before them: the text of domains that are gone, as far as 256 KiB go
//! ```
//! A hypervisor keeps one ring for all; here each monitor keeps its domain's and xend puts them together, so
//! lines of different domains are not interleaved in time. `--clear` remembers how far each text was read.

use std::collections::BTreeMap;

/// Bytes kept of domains that are gone.
const KEPT: usize = 256 << 10;
/// Bytes by which the place in a text that has rolled over is found again.
const ANCHOR: usize = 256;

/// What xend itself remembers.
#[derive(Debug, Default)]
pub struct Dmesg {
    /// What domains that are gone had said, and xend itself.
    gone: String,
    /// The end of each domain's text when it was cleared last.
    cleared: BTreeMap<u32, String>,
}

impl Dmesg {
    /// Everything to print; `live` are the texts of the running domains.
    pub fn read(&mut self, live: &[(u32, String)], clear: bool) -> String {
        let mut out = self.gone.clone();
        for (domid, text) in live {
            append(&mut out, *domid, self.unread(*domid, text));
        }
        if clear {
            self.gone.clear();
            self.cleared = live
                .iter()
                .map(|(domid, text)| (*domid, tail(text, ANCHOR).to_owned()))
                .collect();
        }
        out
    }

    /// A domain ends; `text` is what it had said.
    pub fn retire(&mut self, domid: u32, text: &str) {
        let unread = self.unread(domid, text).to_owned();
        append(&mut self.gone, domid, &unread);
        self.cleared.remove(&domid);
        self.trim();
    }

    /// Adds what xend itself has to say, as a hypervisor says it.
    pub fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.gone.push_str(&format!("(XEN) {line}\n"));
        }
        self.trim();
    }

    fn trim(&mut self) {
        if self.gone.len() > KEPT {
            let cut = tail(&self.gone, KEPT);
            self.gone = cut
                .split_once('\n')
                .map_or(cut, |(_, rest)| rest)
                .to_owned();
        }
    }

    fn unread<'a>(&self, domid: u32, text: &'a str) -> &'a str {
        match self.cleared.get(&domid) {
            Some(anchor) if !anchor.is_empty() => match text.rfind(anchor.as_str()) {
                Some(at) => &text[at + anchor.len()..],
                None => text,
            },
            _ => text,
        }
    }
}

fn append(out: &mut String, domid: u32, text: &str) {
    for line in text.lines() {
        out.push_str(&format!("(d{domid}) {line}\n"));
    }
}

/// The last `bytes` of `text`, or a little less, so that it starts at a character.
fn tail(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(text: &str) -> Vec<(u32, String)> {
        vec![(2, text.to_owned())]
    }

    #[test]
    fn read_marks_lines_with_their_domain() {
        let mut d = Dmesg::default();
        assert_eq!(d.read(&live("a\nb"), false), "(d2) a\n(d2) b\n");
    }

    #[test]
    fn read_after_clear_shows_only_what_came_since() {
        let mut d = Dmesg::default();
        d.read(&live("a\n"), true);
        assert_eq!(d.read(&live("a\n"), false), "");
        assert_eq!(d.read(&live("a\nb\n"), false), "(d2) b\n");
    }

    #[test]
    fn read_after_clear_finds_its_place_in_a_text_that_rolled() {
        let mut d = Dmesg::default();
        let first: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        d.read(&live(&first), true);
        let rolled = format!("{}new\n", tail(&first, 2000));
        assert_eq!(d.read(&live(&rolled), false), "(d2) new\n");
    }

    #[test]
    fn retire_keeps_the_text_within_its_bound() {
        let mut d = Dmesg::default();
        for domid in 1..20 {
            d.retire(domid, &"é".repeat(20_000));
            d.retire(domid, "end\n");
        }
        assert!(d.gone.len() <= KEPT);
        assert!(d.read(&[], true).ends_with("(d19) end\n"));
        assert_eq!(d.read(&[], false), "");
    }
}
