//! Commands that look at the guest's memory.

use super::commands::{Call, Command, Outcome};
use super::subject::Subject;
use std::fmt::Write;

/// Most bytes that one command shows.
const SHOWN: u64 = 4096;
/// Most bytes that one command adds up.
const SUMMED: u64 = 64 << 20;
/// Bytes of a line.
const LINE: usize = 16;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        names: &["xp"],
        args: "[/[COUNT][x][b|h|w|g]] ADDRESS",
        words: (1, 2),
        help: "memory at a guest-physical address, in hexadecimal",
        run: show,
    },
    Command {
        names: &["sum"],
        args: "ADDRESS SIZE",
        words: (2, 2),
        help: "16-bit BSD checksum of memory at a guest-physical address",
        run: sum,
    },
];

fn number(word: &str) -> Result<u64, String> {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| format!("'{}' is no number", word.escape_debug()))
}

fn outside(address: u64) -> String {
    format!("no memory at guest-physical address {address:#x}")
}

/// How many items, and bytes of one.
fn format(text: &str) -> Result<(u64, usize), String> {
    let wrong = || format!("'{text}': a count, x, and b, h, w or g for 1, 2, 4 or 8 bytes");
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (count, letters) = text.split_at(end.unwrap_or(text.len()));
    let count = match count {
        "" => 1,
        count => count.parse().map_err(|_| wrong())?,
    };
    let mut width = 4;
    for letter in letters.chars() {
        width = match letter {
            'x' => width,
            'b' => 1,
            'h' => 2,
            'w' => 4,
            'g' => 8,
            _ => return Err(wrong()),
        };
    }
    Ok((count, width))
}

fn show(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let (text, word) = match call.words {
        [text, word] => (text.strip_prefix('/'), word),
        [word, ..] => (Some(""), word),
        [] => (None, &""),
    };
    let text = text.ok_or("usage: xp [/[COUNT][x][b|h|w|g]] ADDRESS")?;
    let (count, width) = format(text)?;
    let address = number(word)?;
    let length = count.checked_mul(width as u64);
    let length = length
        .filter(|length| (1..=SHOWN).contains(length))
        .ok_or_else(|| format!("1 to {SHOWN} bytes at a time"))?;
    let mut bytes = vec![0; length as usize];
    if address.checked_add(length).is_none() || !subject.memory(address, &mut bytes) {
        return Err(outside(address));
    }
    let mut out = String::new();
    for (line, bytes) in bytes.chunks(LINE).enumerate() {
        let _ = write!(out, "{:016x}:", address + (line * LINE) as u64);
        for item in bytes.chunks(width) {
            let digits: String = item
                .iter()
                .rev()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let _ = write!(out, " 0x{digits}");
        }
        out.push('\n');
    }
    Ok(Outcome::Said(out))
}

fn sum(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let (address, size) = (number(call.words[0])?, number(call.words[1])?);
    if size > SUMMED || address.checked_add(size).is_none() {
        return Err(format!("{SUMMED} bytes at most"));
    }
    let mut sum = 0u16;
    let mut buffer = vec![0; 64 << 10];
    let mut done = 0;
    while done < size {
        let count = (size - done).min(buffer.len() as u64) as usize;
        if !subject.memory(address + done, &mut buffer[..count]) {
            return Err(outside(address + done));
        }
        for byte in &buffer[..count] {
            sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
        }
        done += count as u64;
    }
    Ok(Outcome::Said(format!("{sum:05}")))
}
