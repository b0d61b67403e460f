//! One channel's bus master (82371FB/82371SB data sheet, 2.7 "Bus master IDE registers"; SFF-8038i 1.0).
//!
//! ```text
//!   command: start ----> cursor: descriptor (address, bytes, last?) -- used up --> next one ... last --> ACTIVE clear
//! ```
//! A descriptor moves at least two bytes, so the drive's command bounds how many of them are read.

use crate::device::Memory;
use serde::{Deserialize, Serialize};

/// Command: run.
const START: u8 = 0x01;
/// Command: into memory.
const TO_MEMORY: u8 = 0x08;
/// Status.
const ACTIVE: u8 = 0x01;
const ERROR: u8 = 0x02;
const INTERRUPT: u8 = 0x04;
/// Status: drives 0 and 1 can do it; kept for software only.
const CAPABLE: u8 = 0x60;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    next: u32,
    address: u32,
    left: u32,
    last: bool,
}

/// The bus master.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Master {
    command: u8,
    status: u8,
    table: u32,
    cursor: Cursor,
}

impl Master {
    /// Reads a byte of the channel's eight.
    pub(super) fn read(&self, offset: u64) -> u8 {
        match offset {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[offset as usize - 4],
            _ => 0,
        }
    }

    /// Writes a byte of the channel's eight.
    pub(super) fn write(&mut self, offset: u64, value: u8) {
        match offset {
            0 => {
                let started = value & START != 0 && self.command & START == 0;
                self.command = value & (START | TO_MEMORY);
                if started {
                    self.status |= ACTIVE;
                    self.cursor = Cursor {
                        next: self.table,
                        ..Cursor::default()
                    };
                } else if value & START == 0 {
                    self.status &= !ACTIVE;
                }
            }
            2 => {
                let cleared = value & (ERROR | INTERRUPT);
                self.status = (self.status & !cleared & !CAPABLE) | (value & CAPABLE);
            }
            4..=7 => {
                let mut bytes = self.table.to_le_bytes();
                bytes[offset as usize - 4] = value;
                self.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
    }

    /// The drive raised its interrupt.
    pub(super) fn interrupted(&mut self) {
        self.status |= INTERRUPT;
        self.settle();
    }

    /// It may move data now, in that direction.
    pub(super) fn is_ready(&self, to_memory: bool) -> bool {
        self.status & ACTIVE != 0 && (self.command & TO_MEMORY != 0) == to_memory
    }

    /// The last descriptor is used up: it is no longer active.
    fn settle(&mut self) {
        if self.cursor.left == 0 && self.cursor.last {
            self.status &= !ACTIVE;
        }
    }

    /// Bytes that can be moved at an address without another look at the table; none if it has ended.
    fn piece(&mut self, memory: &dyn Memory) -> Option<(u64, usize)> {
        if self.status & ACTIVE == 0 {
            return None;
        }
        if self.cursor.left == 0 {
            self.settle();
            if self.cursor.last {
                return None;
            }
            let mut entry = [0; 8];
            if memory.read(self.cursor.next.into(), &mut entry).is_err() {
                self.fail();
                return None;
            }
            let [a, b, c, d, low, high, _, flags] = entry;
            let count = u32::from(u16::from_le_bytes([low & !1, high]));
            // The table does not cross 64 KiB: the counter is 16 bits wide.
            let next =
                (self.cursor.next & 0xffff_0000) | (self.cursor.next.wrapping_add(8) & 0xffff);
            self.cursor = Cursor {
                next,
                address: u32::from_le_bytes([a & !1, b, c, d]),
                left: if count == 0 { 0x1_0000 } else { count },
                last: flags & 0x80 != 0,
            };
        }
        Some((self.cursor.address.into(), self.cursor.left as usize))
    }

    fn moved(&mut self, bytes: usize) {
        self.cursor.address = self.cursor.address.wrapping_add(bytes as u32);
        self.cursor.left -= bytes as u32;
    }

    fn fail(&mut self) {
        self.status = (self.status & !ACTIVE) | ERROR;
    }

    /// Moves `from` into guest memory as far as descriptors go; how many bytes that were.
    pub(super) fn give(&mut self, from: &[u8], memory: &dyn Memory) -> usize {
        let mut done = 0;
        while done < from.len() {
            let Some((address, room)) = self.piece(memory) else {
                break;
            };
            let count = room.min(from.len() - done);
            if memory.write(address, &from[done..done + count]).is_err() {
                self.fail();
                break;
            }
            self.moved(count);
            done += count;
        }
        done
    }

    /// Fills `into` from guest memory as far as descriptors go; how many bytes that were.
    pub(super) fn take(&mut self, into: &mut [u8], memory: &dyn Memory) -> usize {
        let mut done = 0;
        while done < into.len() {
            let Some((address, room)) = self.piece(memory) else {
                break;
            };
            let count = room.min(into.len() - done);
            if memory.read(address, &mut into[done..done + count]).is_err() {
                self.fail();
                break;
            }
            self.moved(count);
            done += count;
        }
        done
    }

    /// Whether it can be a saved one.
    pub(super) fn is_sound(&self) -> bool {
        self.cursor.left <= 0x1_0000
            && self.status & !(CAPABLE | ACTIVE | ERROR | INTERRUPT) == 0
            && self.command & !(START | TO_MEMORY) == 0
    }
}
