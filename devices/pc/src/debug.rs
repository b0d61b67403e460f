//! Debug ports: text of firmware and drivers, into the domain's log line by line.
//!
//! ```text
//!   0x402  SeaBIOS, OVMF (a read gives 0xe9: "somebody listens")
//!   0xe9   Bochs' and Xen's (hvmloader, SeaBIOS that finds Xen, grub, ...)
//! ```

use crate::device::{Device, Effect, Ports, Region, Turn, Width};
use crate::state::{self, StateError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const PORTS: &[Ports] = &[
    Ports {
        first: 0xe9,
        count: 1,
    },
    Ports {
        first: 0x402,
        count: 1,
    },
];
/// What a read gives, so that firmware knows it is heard.
const LISTENS: u32 = 0xe9;
/// Longest line; a longer one is cut into several, bytes.
const LINE: usize = 200;
const VERSION: u64 = 1;

/// Both debug ports; each has its own line.
#[derive(Debug, Default)]
pub struct Debug {
    lines: Lines,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Lines([TextLine; 2]);

/// A line that comes byte by byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextLine(Vec<u8>);

impl TextLine {
    /// Takes a byte; the line, once it is whole.
    pub fn put(&mut self, byte: u8) -> Option<String> {
        match byte {
            b'\r' => return None,
            b'\n' => {}
            byte => self.0.push(byte),
        }
        let whole = (byte == b'\n' || self.0.len() >= LINE) && !self.0.is_empty();
        whole.then(|| text(&std::mem::take(&mut self.0)))
    }

    /// A line that was saved is no longer than one can be.
    pub fn cut(&mut self) {
        self.0.truncate(LINE - 1);
    }
}

impl Debug {
    /// Nothing written yet.
    pub fn new() -> Debug {
        Debug::default()
    }
}

fn text(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect()
}

impl Device for Debug {
    fn name(&self) -> &str {
        "debug"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn read(&mut self, _region: Region, _offset: u64, _width: Width, _turn: &mut Turn) -> u32 {
        LISTENS
    }

    fn write(&mut self, region: Region, _offset: u64, _width: Width, value: u32, turn: &mut Turn) {
        let Region::Ports(index) = region else { return };
        let Some(line) = self.lines.0.get_mut(index) else {
            return;
        };
        if let Some(line) = line.put(value as u8) {
            turn.effects.push(Effect::Log(line));
        }
    }

    fn reset(&mut self, _turn: &mut Turn) {
        self.lines = Lines::default();
    }

    fn save(&self) -> Value {
        state::wrap(VERSION, &self.lines)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, mut lines): (_, Lines) = state::unwrap(self.name(), VERSION, saved)?;
        lines.0.iter_mut().for_each(TextLine::cut);
        self.lines = lines;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Ram;

    fn write(device: &mut Debug, port: usize, bytes: &[u8]) -> Vec<Effect> {
        let memory = Ram::new();
        let mut effects = Vec::new();
        let mut turn = Turn {
            now: 0,
            memory: &memory,
            effects: &mut effects,
        };
        for byte in bytes {
            let value = u32::from(*byte);
            device.write(Region::Ports(port), 0, Width::Byte, value, &mut turn);
        }
        effects
    }

    #[test]
    fn text_comes_line_by_line_and_ports_do_not_mix() {
        let mut device = Debug::new();
        assert!(write(&mut device, 0, b"half").is_empty());
        let seen = write(&mut device, 1, b"SeaBIOS\r\n\n");
        assert_eq!(seen, [Effect::Log("SeaBIOS".into())]);
        let seen = write(&mut device, 0, b" \x1b[1m\xff\n");
        assert_eq!(seen, [Effect::Log("half .[1m\u{fffd}".into())]);
    }

    #[test]
    fn endless_line_is_cut() {
        let seen = write(&mut Debug::new(), 0, &[b'x'; 1000]);
        assert_eq!(seen.len(), 1000 / LINE);
    }
}
