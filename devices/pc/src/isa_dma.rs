//! The two DMA controllers of a PC AT and their page registers (Intel 8237A data sheet; 82371SB data sheet, 2.5 "DMA registers").
//!
//! ```text
//!   0x00..0x0f  controller 1: channels 0 to 3, bytes     0xc0..0xdf  controller 2: channels 4 to 7, words (every other port)
//!   0x80..0x8f  page registers: address bits 16 to 23
//!
//!   a device's Line --give/take--> channel: address, count, mode --> guest memory; "terminal count" when the count runs out
//! ```
//! The bytes move while the device is called; a channel that is masked moves none. An address wraps within its 64 KiB (128 KiB
//! for words), as the chips' do.

use crate::device::{Device, Memory, Ports, Region, Turn, Width};
use crate::state::{self, StateError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const VERSION: u64 = 1;
const PORTS: &[Ports] = &[
    Ports {
        first: 0x00,
        count: 16,
    },
    Ports {
        first: 0xc0,
        count: 32,
    },
    Ports {
        first: 0x80,
        count: 16,
    },
];
/// Page register of each channel, as an offset from 0x80 (channel 4 connects the two chips).
const PAGES: [usize; 8] = [7, 3, 1, 2, 15, 11, 9, 10];
/// Command register: the controller is switched off.
const DISABLED: u8 = 0x04;
/// Mode register: initialise again at the end, addresses go down.
const AUTOINIT: u8 = 0x10;
const DOWN: u8 = 0x20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Channel {
    base_address: u16,
    base_count: u16,
    address: u16,
    count: u16,
    mode: u8,
    masked: bool,
    requested: bool,
    /// Terminal count was reached since status was last read.
    ended: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Chip {
    channels: [Channel; 4],
    command: u8,
    /// The next byte of an address or count is the high one.
    high: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    chips: [Chip; 2],
    pages: [u8; 16],
}

impl Chip {
    fn clear(&mut self) {
        self.command = 0;
        self.high = false;
        for channel in &mut self.channels {
            channel.masked = true;
            channel.requested = false;
            channel.ended = false;
        }
    }

    fn read(&mut self, register: u64) -> u8 {
        match register {
            0..=7 => {
                let channel = &self.channels[register as usize / 2];
                let word = if register.is_multiple_of(2) {
                    channel.address
                } else {
                    channel.count
                };
                let byte = word.to_le_bytes()[usize::from(self.high)];
                self.high = !self.high;
                byte
            }
            8 => {
                let mut status = 0;
                for (index, channel) in self.channels.iter_mut().enumerate() {
                    status |= u8::from(std::mem::take(&mut channel.ended)) << index;
                    status |= u8::from(channel.requested) << (4 + index);
                }
                status
            }
            15 => self
                .channels
                .iter()
                .enumerate()
                .fold(0xf0, |mask, (index, channel)| {
                    mask | u8::from(channel.masked) << index
                }),
            _ => 0,
        }
    }

    fn write(&mut self, register: u64, value: u8) {
        let chosen = usize::from(value & 3);
        match register {
            0..=7 => {
                let high = usize::from(self.high);
                self.high = !self.high;
                let channel = &mut self.channels[register as usize / 2];
                let (base, current) = if register.is_multiple_of(2) {
                    (&mut channel.base_address, &mut channel.address)
                } else {
                    (&mut channel.base_count, &mut channel.count)
                };
                let mut bytes = base.to_le_bytes();
                bytes[high] = value;
                *base = u16::from_le_bytes(bytes);
                *current = *base;
            }
            8 => self.command = value,
            9 => self.channels[chosen].requested = value & 4 != 0,
            10 => self.channels[chosen].masked = value & 4 != 0,
            11 => self.channels[chosen].mode = value & !3,
            12 => self.high = false,
            13 => self.clear(),
            14 => self
                .channels
                .iter_mut()
                .for_each(|channel| channel.masked = false),
            _ => {
                for (index, channel) in self.channels.iter_mut().enumerate() {
                    channel.masked = value >> index & 1 != 0;
                }
            }
        }
    }
}

/// The controllers as a device.
#[derive(Debug)]
pub struct IsaDma(Arc<Mutex<State>>);

/// A device's way to one channel.
#[derive(Debug, Clone)]
pub struct Line {
    state: Arc<Mutex<State>>,
    channel: usize,
}

/// What came of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Bytes.
    pub bytes: usize,
    /// The count ran out with the last of them.
    pub end: bool,
}

/// Which way a channel is set up (mode register, bits 3 and 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Verify,
    ToMemory,
    FromMemory,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IsaDma {
    /// Everything masked.
    #[allow(clippy::new_without_default)]
    pub fn new() -> IsaDma {
        let mut state = State::default();
        state.chips.iter_mut().for_each(Chip::clear);
        IsaDma(Arc::new(Mutex::new(state)))
    }

    /// The way to a channel, 0 to 7.
    pub fn line(&self, channel: u8) -> Line {
        Line {
            state: self.0.clone(),
            channel: usize::from(channel & 7),
        }
    }
}

impl Line {
    /// Moves bytes from the device into memory, as far as the count goes.
    pub fn give(&self, from: &[u8], memory: &dyn Memory) -> Moved {
        self.run(from.len(), Way::ToMemory, |at, range| {
            memory.write(at, &from[range]).is_ok()
        })
    }

    /// Moves bytes from memory to the device, as far as the count goes.
    pub fn take(&self, into: &mut [u8], memory: &dyn Memory) -> Moved {
        self.run(into.len(), Way::FromMemory, |at, range| {
            memory.read(at, &mut into[range]).is_ok()
        })
    }

    /// Lets `length` bytes go by as if they were moved (the floppy controller's VERIFY).
    pub fn pass(&self, length: usize) -> Moved {
        self.run(length, Way::Verify, |_, _| true)
    }

    fn run(
        &self,
        length: usize,
        way: Way,
        mut act: impl FnMut(u64, std::ops::Range<usize>) -> bool,
    ) -> Moved {
        let nothing = Moved {
            bytes: 0,
            end: false,
        };
        let mut state = lock(&self.state);
        let page = u64::from(state.pages[PAGES[self.channel]]);
        let (which, word) = (self.channel / 4, self.channel >= 4);
        // Controller 2 hands on what controller 1 asks, if it is on and its channel 0 (channel 4) is not masked.
        let cascade = &state.chips[1];
        let blocked = cascade.command & DISABLED != 0 || (which == 0 && cascade.channels[0].masked);
        let chip = &mut state.chips[which];
        let off = chip.command & DISABLED != 0;
        let channel = &mut chip.channels[self.channel % 4];
        let set = match channel.mode >> 2 & 3 {
            0 => Way::Verify,
            1 => Way::ToMemory,
            _ => Way::FromMemory,
        };
        if blocked
            || off
            || channel.masked
            || (set != way && set != Way::Verify && way != Way::Verify)
        {
            return nothing;
        }
        let unit = if word { 2 } else { 1 };
        let mut done = 0;
        while done + unit <= length {
            // As far as the count and the end of the 64 KiB go; downwards unit by unit.
            let down = channel.mode & DOWN != 0;
            let left = usize::from(channel.count) + 1;
            let room = if down {
                1
            } else {
                0x1_0000 - usize::from(channel.address)
            };
            let units = left.min(room).min((length - done) / unit);
            let at = if word {
                (page & 0xfe) << 16 | u64::from(channel.address) << 1
            } else {
                page << 16 | u64::from(channel.address)
            };
            // Nothing answers beyond RAM: the bytes are lost, the channel does not notice.
            if set == way {
                act(at, done..done + units * unit);
            }
            done += units * unit;
            channel.address = if down {
                channel.address.wrapping_sub(1)
            } else {
                channel.address.wrapping_add(units as u16)
            };
            let (count, over) = channel.count.overflowing_sub(units as u16);
            channel.count = count;
            if over || units == 0x1_0000 {
                channel.ended = true;
                if channel.mode & AUTOINIT != 0 {
                    channel.address = channel.base_address;
                    channel.count = channel.base_count;
                } else {
                    channel.masked = true;
                }
                return Moved {
                    bytes: done,
                    end: true,
                };
            }
        }
        Moved {
            bytes: done,
            end: false,
        }
    }
}

impl Device for IsaDma {
    fn name(&self) -> &str {
        "isa-dma"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, _turn: &mut Turn) -> u32 {
        let mut state = lock(&self.0);
        (0..width.bytes() as u64).fold(0, |value, index| {
            let at = offset + index;
            let byte = match region {
                Region::Ports(0) => state.chips[0].read(at),
                Region::Ports(1) => state.chips[1].read(at / 2),
                _ => state.pages[at as usize & 15],
            };
            value | u32::from(byte) << (8 * index)
        })
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, _turn: &mut Turn) {
        let mut state = lock(&self.0);
        for index in 0..width.bytes() as u64 {
            let (at, byte) = (offset + index, (value >> (8 * index)) as u8);
            match region {
                Region::Ports(0) => state.chips[0].write(at, byte),
                Region::Ports(1) => state.chips[1].write(at / 2, byte),
                _ => state.pages[at as usize & 15] = byte,
            }
        }
    }

    fn reset(&mut self, _turn: &mut Turn) {
        lock(&self.0).chips.iter_mut().for_each(Chip::clear);
    }

    fn save(&self) -> Value {
        state::wrap(VERSION, &*lock(&self.0))
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, state): (u64, State) = state::unwrap("isa-dma", VERSION, saved)?;
        *lock(&self.0) = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Ram;

    fn set_up(dma: &mut IsaDma, mode: u8, address: u32, count: u16) {
        let ram = Ram::new();
        let mut effects = Vec::new();
        let mut turn = Turn {
            now: 0,
            memory: &ram,
            effects: &mut effects,
        };
        let [low, high, page, _] = address.to_le_bytes();
        let [few, many] = (count - 1).to_le_bytes();
        let writes = [
            (0, 0x0c, 0),
            (0, 4, low),
            (0, 4, high),
            (2, 1, page),
            (0, 5, few),
            (0, 5, many),
            (0, 0x0b, mode | 2),
            (0, 0x0a, 2),
            (1, 0x14, 0),
        ];
        for (region, offset, value) in writes {
            dma.write(
                Region::Ports(region),
                offset,
                Width::Byte,
                value.into(),
                &mut turn,
            );
        }
    }

    #[test]
    fn bytes_go_to_memory_until_the_count_runs_out() {
        let (mut dma, ram) = (IsaDma::new(), Ram::new());
        let line = dma.line(2);
        assert_eq!(line.give(&[1; 4], &ram).bytes, 0, "masked");
        set_up(&mut dma, 0x44, 0x1_2340, 6);
        assert_eq!(line.take(&mut [0; 4], &ram).bytes, 0, "the other way");
        assert_eq!(
            line.give(&[1, 2, 3, 4], &ram),
            Moved {
                bytes: 4,
                end: false
            }
        );
        assert_eq!(
            line.give(&[5, 6, 7, 8], &ram),
            Moved {
                bytes: 2,
                end: true
            }
        );
        assert_eq!(ram.get(0x1_2340, 7), [1, 2, 3, 4, 5, 6, 0]);
        assert_eq!(line.give(&[9], &ram).bytes, 0, "it masks itself at the end");
    }

    #[test]
    fn automatic_channel_begins_again_and_addresses_stay_in_their_page() {
        let (mut dma, ram) = (IsaDma::new(), Ram::new());
        let line = dma.line(2);
        set_up(&mut dma, 0x58, 0x1_fffe, 4);
        ram.put(0x1_fffe, &[1, 2]);
        ram.put(0x1_0000, &[3, 4]);
        for _ in 0..2 {
            let mut bytes = [0; 4];
            assert_eq!(
                line.take(&mut bytes, &ram),
                Moved {
                    bytes: 4,
                    end: true
                }
            );
            assert_eq!(bytes, [1, 2, 3, 4]);
        }
    }

    #[test]
    fn sixteen_bit_channel_counts_words() {
        let (dma, ram) = (IsaDma::new(), Ram::new());
        {
            let mut state = lock(&dma.0);
            state.pages[11] = 0x03;
            let channel = &mut state.chips[1].channels[1];
            (channel.address, channel.count, channel.mode, channel.masked) = (0x80, 1, 0x04, false);
        }
        assert_eq!(
            dma.line(5).give(&[1, 2, 3, 4, 5], &ram),
            Moved {
                bytes: 4,
                end: true
            }
        );
        assert_eq!(ram.get(0x2_0100, 4), [1, 2, 3, 4]);
    }
}
