//! The record of a guest that died: why, registers, stack, last console lines.

use crate::vstate::vcpu::Registers;
use kvm_bindings::kvm_segment;
use noxen_monitor_abi::pages::{Crash, CRASH_STACK};
use std::collections::VecDeque;
use std::fmt::Write;
use std::mem::offset_of;

/// Lines of console output in a record.
const CONSOLE_LINES: usize = 64;
/// `Crash::vector` of a guest that called shutdown(crash) itself.
const BY_ITSELF: u32 = 0xffff;

/// A crash page as read from guest memory.
#[derive(Debug, Clone)]
pub struct CrashPage {
    bytes: Vec<u8>,
}

impl CrashPage {
    /// Takes the page; whatever is in it, formatting copes.
    pub fn new(bytes: Vec<u8>) -> CrashPage {
        CrashPage { bytes }
    }

    fn u64(&self, offset: usize) -> u64 {
        let word = self.bytes.get(offset..offset + 8);
        word.and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    }

    fn u32(&self, offset: usize) -> u32 {
        self.u64(offset) as u32
    }

    /// Why, as the monitor put it; printable, one line.
    pub fn reason(&self) -> String {
        let start = offset_of!(Crash, reason);
        let bytes = self.bytes.get(start..start + 128).unwrap_or(&[]);
        let text = bytes.split(|&b| b == 0).next().unwrap_or(&[]);
        let text = printable(text);
        match text.is_empty() {
            true => format!("exception {}", self.u32(offset_of!(Crash, vector))),
            false => text,
        }
    }

    /// Registers and stack, several lines.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let vector = self.u32(offset_of!(Crash, vector));
        let cause = match vector {
            BY_ITSELF => "shutdown(crash) by the guest".to_string(),
            vector => format!("exception {vector}"),
        };
        let mode = match self.u64(offset_of!(Crash, kernel_mode)) {
            0 => "user space",
            _ => "kernel",
        };
        let word = |offset| self.u64(offset);
        let _ = writeln!(
            out,
            "vcpu {} in guest {mode}: {cause}, error code {:#x}, cr2 {:016x}",
            self.u32(offset_of!(Crash, vcpu)),
            word(offset_of!(Crash, error)),
            word(offset_of!(Crash, cr2)),
        );
        let _ = writeln!(
            out,
            "rip {:016x}  cs {:04x}  rflags {:08x}  rsp {:016x}  ss {:04x}  cr3 {:016x}",
            word(offset_of!(Crash, rip)),
            word(offset_of!(Crash, cs)),
            word(offset_of!(Crash, rflags)),
            word(offset_of!(Crash, rsp)),
            word(offset_of!(Crash, ss)),
            word(offset_of!(Crash, cr3)),
        );
        const NAMES: [&str; 15] = [
            "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx",
            "rdx", "rsi", "rdi",
        ];
        let registers: Vec<(&str, u64)> = NAMES
            .iter()
            .enumerate()
            .map(|(index, name)| (*name, word(offset_of!(Crash, gprs) + index * 8)))
            .collect();
        rows(&mut out, &registers);
        let count = word(offset_of!(Crash, nr_stack)).min(CRASH_STACK as u64) as usize;
        let stack: Vec<u64> = (0..count)
            .map(|index| word(offset_of!(Crash, stack) + index * 8))
            .collect();
        stack_rows(&mut out, word(offset_of!(Crash, rsp)), &stack);
        out
    }
}

/// Registers of a vCPU as KVM has them, several lines.
pub fn registers_text(vcpu: u32, registers: &Registers) -> String {
    let (g, s) = (&registers.general, &registers.system);
    let mut out = String::new();
    let segment = |name: &str, segment: &kvm_segment| {
        format!("{name} {:04x} base {:016x}", segment.selector, segment.base)
    };
    let ring = s.cs.selector & 3;
    let _ = writeln!(
        out,
        "vcpu {vcpu} ring {ring}: rip {:016x}  cs {:04x}  rflags {:08x}  rsp {:016x}  ss {:04x}",
        g.rip, s.cs.selector, g.rflags, g.rsp, s.ss.selector
    );
    rows(
        &mut out,
        &[
            ("rax", g.rax),
            ("rbx", g.rbx),
            ("rcx", g.rcx),
            ("rdx", g.rdx),
            ("rsi", g.rsi),
            ("rdi", g.rdi),
            ("rbp", g.rbp),
            ("r8", g.r8),
            ("r9", g.r9),
            ("r10", g.r10),
            ("r11", g.r11),
            ("r12", g.r12),
            ("r13", g.r13),
            ("r14", g.r14),
            ("r15", g.r15),
            ("cr0", s.cr0),
            ("cr2", s.cr2),
            ("cr3", s.cr3),
            ("cr4", s.cr4),
            ("efer", s.efer),
        ],
    );
    let _ = writeln!(
        out,
        "  {}  {}  {}",
        segment("fs", &s.fs),
        segment("gs", &s.gs),
        segment("tr", &s.tr)
    );
    if s.cr0 >> 31 == 0 {
        // SVM leaves no state behind a triple fault, so KVM resets the vCPU.
        out.push_str("  (paging is off: this vCPU was reset, what it did before is lost)\n");
    }
    let _ = writeln!(
        out,
        "  gdt {:016x}+{:x}  idt {:016x}+{:x}",
        s.gdt.base, s.gdt.limit, s.idt.base, s.idt.limit
    );
    out
}

/// Words of a stack from `rsp` upwards, four in a row.
pub fn stack_rows(out: &mut String, rsp: u64, words: &[u64]) {
    for (row, chunk) in words.chunks(4).enumerate() {
        let _ = write!(out, "  {:016x}:", rsp.wrapping_add(row as u64 * 32));
        for word in chunk {
            let _ = write!(out, " {word:016x}");
        }
        out.push('\n');
    }
}

fn rows(out: &mut String, registers: &[(&str, u64)]) {
    for row in registers.chunks(4) {
        for (name, value) in row {
            let _ = write!(out, "  {name:>4} {value:016x}");
        }
        out.push('\n');
    }
}

/// The last bytes of a text stream.
#[derive(Debug)]
pub struct Tail {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl Tail {
    /// Keeps `limit` bytes.
    pub fn new(limit: usize) -> Tail {
        Tail {
            bytes: VecDeque::new(),
            limit,
        }
    }

    /// Adds text, dropping the oldest.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.limit)..];
        let surplus = (self.bytes.len() + bytes.len()).saturating_sub(self.limit);
        self.bytes.drain(..surplus);
        self.bytes.extend(bytes);
    }

    /// All that is kept.
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines, control characters made visible.
    pub fn last_lines(&self) -> Vec<String> {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let lines: Vec<String> = bytes
            .split(|&b| b == b'\n')
            .map(printable)
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(CONSOLE_LINES)..].to_vec()
    }
}

/// Guest text for a log line: no control characters, no broken UTF-8.
pub fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| *c != '\r')
        .map(|c| if c.is_control() { '.' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Vec<u8> {
        let mut bytes = vec![0u8; 4096];
        let mut set = |offset: usize, value: u64| {
            bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes())
        };
        set(offset_of!(Crash, vcpu), 2 | 14 << 32);
        set(offset_of!(Crash, error), 6);
        set(offset_of!(Crash, gprs) + 80, 0xaaaa);
        set(offset_of!(Crash, rip), 0xffff_ffff_8100_0000);
        set(offset_of!(Crash, rsp), 0x1000);
        set(offset_of!(Crash, nr_stack), 6);
        set(offset_of!(Crash, stack) + 32, 0x5555);
        set(offset_of!(Crash, kernel_mode), 1);
        let at = offset_of!(Crash, reason);
        bytes[at..at + 9].copy_from_slice(b"no\nhandle");
        bytes
    }

    #[test]
    fn record_names_registers_and_stack() {
        let text = CrashPage::new(page()).text();
        assert!(text.contains("vcpu 2 in guest kernel: exception 14, error code 0x6"));
        assert!(text.contains("rip ffffffff81000000"));
        assert!(text.contains("rax 000000000000aaaa"), "{text}");
        assert!(
            text.contains("0000000000001020: 0000000000005555"),
            "{text}"
        );
    }

    #[test]
    fn reason_is_one_printable_line() {
        assert_eq!(CrashPage::new(page()).reason(), "no.handle");
    }

    #[test]
    fn record_of_a_short_or_hostile_page_is_still_text() {
        assert!(!CrashPage::new(Vec::new()).text().is_empty());
        let text = CrashPage::new(vec![0xff; 4096]).text();
        assert!(text.lines().count() <= 3 + 4 + CRASH_STACK / 4);
    }

    #[test]
    fn tail_keeps_the_last_bytes_and_lines() {
        let mut tail = Tail::new(10);
        tail.push(b"0123456789");
        tail.push(b"ab\ncd");
        assert_eq!(tail.text(), "56789ab\ncd");
        assert_eq!(tail.last_lines(), ["56789ab", "cd"]);
        tail.push(&[b'x'; 50]);
        assert_eq!(tail.text(), "x".repeat(10));
    }
}
