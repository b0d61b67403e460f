//! How firmware asks the host (fw_cfg): what QEMU's firmware, SeaBIOS and OVMF, knows of its machine.
//!
//! ```text
//!   0x510 selector --> an item, from its start        0x511 its bytes, one after the other
//!   0x514 address of a request in memory, big-endian  select, read, skip; the request's first word tells the outcome
//! ```
//! Source: QEMU's documentation, docs/specs/fw_cfg; numbers of items likewise. Nothing can be written.

use crate::device::{Device, Ports, Region, Turn, Width};
use crate::state::{self, StateError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

const VERSION: u64 = 1;
const PORTS: &[Ports] = &[
    Ports {
        first: 0x510,
        count: 2,
    },
    Ports {
        first: 0x514,
        count: 8,
    },
];
const SELECT_AND_DATA: usize = 0;

const SIGNATURE: u16 = 0;
const FEATURES: u16 = 1;
const CPUS: u16 = 5;
const MAX_CPUS: u16 = 0x0f;
const DIRECTORY: u16 = 0x19;
const FIRST_FILE: u16 = 0x20;
/// Firmware for a PC is told that IRQ 0 is pin 2 of the I/O APIC.
const IRQ0_OVERRIDE: u16 = 0x8002;
/// Ports as ever, and requests in memory.
const FEATURE_BITS: u32 = 3;
/// What the address register of requests reads as.
const DMA_SIGNATURE: &[u8; 8] = b"QEMU CFG";
/// Longest name of a file, with its zero.
const NAME: usize = 56;

const ERROR: u32 = 1;
const READ: u32 = 2;
const SKIP: u32 = 4;
const SELECT: u32 = 8;
const WRITE: u32 = 16;
/// Most bytes that one request may have filled beyond the end of an item.
const MAX_FILL: usize = 1 << 20;
const CHUNK: usize = 4096;

/// Items and where the guest stands in one.
#[derive(Debug)]
pub struct FwCfg {
    items: BTreeMap<u16, Arc<[u8]>>,
    cursor: Cursor,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    selected: u16,
    offset: u64,
    /// Address of a request, of which the upper half may have been written.
    address: u64,
}

impl FwCfg {
    /// A machine with `cpus` CPUs and these files.
    pub fn new(cpus: u16, files: Vec<(String, Vec<u8>)>) -> FwCfg {
        let mut items: BTreeMap<u16, Arc<[u8]>> = BTreeMap::new();
        items.insert(SIGNATURE, Arc::from(*b"QEMU"));
        items.insert(FEATURES, Arc::from(FEATURE_BITS.to_le_bytes()));
        items.insert(CPUS, Arc::from(cpus.to_le_bytes()));
        items.insert(MAX_CPUS, Arc::from(cpus.to_le_bytes()));
        items.insert(IRQ0_OVERRIDE, Arc::from([1]));
        let mut files = files;
        files.sort();
        let mut directory = (files.len() as u32).to_be_bytes().to_vec();
        for (number, (name, bytes)) in (FIRST_FILE..).zip(files) {
            directory.extend((bytes.len() as u32).to_be_bytes());
            directory.extend(number.to_be_bytes());
            directory.extend([0; 2]);
            let mut field = name.into_bytes();
            field.resize(NAME - 1, 0);
            field.push(0);
            directory.extend(field);
            items.insert(number, bytes.into());
        }
        items.insert(DIRECTORY, directory.into());
        FwCfg {
            items,
            cursor: Cursor::default(),
        }
    }

    fn select(&mut self, item: u16) {
        self.cursor.selected = item;
        self.cursor.offset = 0;
    }

    /// What is left of the selected item.
    fn rest(&self) -> &[u8] {
        let item = self.items.get(&self.cursor.selected);
        let offset = usize::try_from(self.cursor.offset).unwrap_or(usize::MAX);
        item.and_then(|bytes| bytes.get(offset..)).unwrap_or(&[])
    }

    fn skip(&mut self, bytes: usize) {
        self.cursor.offset = self.cursor.offset.saturating_add(bytes as u64);
    }

    fn next_byte(&mut self) -> u8 {
        let byte = self.rest().first().copied().unwrap_or(0);
        self.skip(1);
        byte
    }

    /// Serves the request at the address register.
    fn request(&mut self, turn: &mut Turn) {
        let at = std::mem::take(&mut self.cursor.address);
        let mut request = [0; 16];
        if turn.memory.read(at, &mut request).is_err() {
            return;
        }
        let word = |offset: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&request[offset..offset + 4]);
            u32::from_be_bytes(bytes)
        };
        let (control, length) = (word(0), word(4) as usize);
        let address = u64::from(word(8)) << 32 | u64::from(word(12));
        if control & SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let done = match control & (READ | SKIP | WRITE) {
            0 => true,
            SKIP => {
                self.skip(length);
                true
            }
            READ => self.copy(address, length, turn),
            _ => false,
        };
        let outcome: u32 = if done { 0 } else { ERROR };
        // A request that has gone away meanwhile gets no answer.
        let _ = turn.memory.write(at, &outcome.to_be_bytes());
    }

    fn copy(&mut self, address: u64, length: usize, turn: &mut Turn) -> bool {
        let rest = self.rest();
        let there = rest.len().min(length);
        if length - there > MAX_FILL {
            return false;
        }
        let mut at = address;
        let mut pieces = rest[..there].chunks(CHUNK);
        let zeros = [0; CHUNK];
        let mut fill = length - there;
        let ok = pieces.all(|piece| {
            let ok = turn.memory.write(at, piece).is_ok();
            at = at.wrapping_add(piece.len() as u64);
            ok
        });
        while ok && fill > 0 {
            let piece = &zeros[..fill.min(CHUNK)];
            if turn.memory.write(at, piece).is_err() {
                return false;
            }
            at = at.wrapping_add(piece.len() as u64);
            fill -= piece.len();
        }
        self.skip(length);
        ok
    }
}

impl Device for FwCfg {
    fn name(&self) -> &str {
        "fw-cfg"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, _turn: &mut Turn) -> u32 {
        if region == Region::Ports(SELECT_AND_DATA) {
            return match offset {
                1 => u32::from(self.next_byte()),
                _ => 0,
            };
        }
        (0..width.bytes()).rev().fold(0, |value, index| {
            let byte = DMA_SIGNATURE.get(offset as usize + index).copied();
            value << 8 | u32::from(byte.unwrap_or(0))
        })
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        match (region, offset, width) {
            (Region::Ports(SELECT_AND_DATA), 0, Width::Word) => self.select(value as u16),
            (Region::Ports(SELECT_AND_DATA), ..) => {}
            (_, 0, Width::Dword) => self.cursor.address = u64::from(value.swap_bytes()) << 32,
            (_, 4, Width::Dword) => {
                self.cursor.address |= u64::from(value.swap_bytes());
                self.request(turn);
            }
            _ => {}
        }
    }

    /// SeaBIOS waits for all processors on its way back.
    fn wake(&mut self, turn: &mut Turn, processors: u16) {
        self.items.insert(CPUS, Arc::from(processors.to_le_bytes()));
        self.reset(turn);
    }

    fn reset(&mut self, _turn: &mut Turn) {
        self.cursor = Cursor::default();
    }

    fn save(&self) -> Value {
        state::wrap(VERSION, &self.cursor)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        (_, self.cursor) = state::unwrap(self.name(), VERSION, saved)?;
        self.cursor.address &= 0xffff_ffff_0000_0000;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Ram;
    use crate::device::Effect;

    struct Machine {
        device: FwCfg,
        memory: Ram,
    }

    impl Machine {
        fn new() -> Machine {
            let files = vec![
                ("etc/b".to_owned(), vec![7; 5000]),
                ("etc/a".to_owned(), b"text".to_vec()),
            ];
            Machine {
                device: FwCfg::new(3, files),
                memory: Ram::new(),
            }
        }

        fn with<T>(&mut self, act: impl FnOnce(&mut FwCfg, &mut Turn) -> T) -> T {
            let mut effects: Vec<Effect> = Vec::new();
            let mut turn = Turn {
                now: 0,
                memory: &self.memory,
                effects: &mut effects,
            };
            act(&mut self.device, &mut turn)
        }

        fn bytes(&mut self, item: u16, count: usize) -> Vec<u8> {
            self.with(|device, turn| {
                device.write(Region::Ports(0), 0, Width::Word, item.into(), turn);
                (0..count)
                    .map(|_| device.read(Region::Ports(0), 1, Width::Byte, turn) as u8)
                    .collect()
            })
        }

        fn request(&mut self, words: [u32; 4]) -> u32 {
            for (index, word) in words.iter().enumerate() {
                self.memory
                    .put(0x1000 + 4 * index as u64, &word.to_be_bytes());
            }
            self.with(|device, turn| {
                device.write(Region::Ports(1), 0, Width::Dword, 0, turn);
                device.write(
                    Region::Ports(1),
                    4,
                    Width::Dword,
                    0x1000_u32.swap_bytes(),
                    turn,
                );
            });
            let outcome = self.memory.get(0x1000, 4);
            u32::from_be_bytes(outcome.try_into().unwrap())
        }
    }

    #[test]
    fn items_are_read_byte_by_byte_and_end_in_zeros() {
        let mut machine = Machine::new();
        assert_eq!(machine.bytes(0, 6), b"QEMU\0\0");
        assert_eq!(machine.bytes(5, 2), [3, 0]);
        assert_eq!(machine.bytes(0x77, 2), [0, 0]);
        let directory = machine.bytes(0x19, 4 + 64);
        assert_eq!(directory[..4], [0, 0, 0, 2]);
        assert_eq!(directory[4..12], [0, 0, 0, 4, 0, 0x20, 0, 0]);
        assert_eq!(&directory[12..18], b"etc/a\0");
        assert_eq!(machine.bytes(0x20, 4), b"text");
    }

    #[test]
    fn request_selects_and_reads_into_memory() {
        let mut machine = Machine::new();
        let select_and_read = 0x21 << 16 | SELECT | READ;
        assert_eq!(machine.request([select_and_read, 5004, 0, 0x2000]), 0);
        let bytes = machine.memory.get(0x2000, 5004);
        assert!(bytes[..5000].iter().all(|byte| *byte == 7));
        assert_eq!(bytes[5000..], [0; 4]);
        assert_eq!(machine.request([0x20 << 16 | SELECT | SKIP, 2, 0, 0]), 0);
        assert_eq!(machine.request([READ, 2, 0, 0x3000]), 0);
        assert_eq!(machine.memory.get(0x3000, 2), b"xt");
    }

    #[test]
    fn request_that_cannot_be_is_an_error() {
        let mut machine = Machine::new();
        assert_eq!(machine.request([WRITE, 4, 0, 0x2000]), ERROR);
        assert_eq!(machine.request([READ, u32::MAX, 0, 0x2000]), ERROR);
        assert_eq!(machine.request([READ, 4, 1, 0]), ERROR);
        let signature =
            machine.with(|device, turn| device.read(Region::Ports(1), 0, Width::Dword, turn));
        assert_eq!(signature.to_le_bytes(), *b"QEMU");
    }
}
