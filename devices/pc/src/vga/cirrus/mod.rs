//! The Cirrus Logic CL-GD5446 (Technical Reference Manual), PCI 1013:00b8: a VGA with packed pixels, a cursor and a blitter.
//!
//! ```text
//!   0x3b0..0x3df  VGA registers (../registers.rs); beyond them: sequencer 6..1f, graphics 9..39, CRT 1a..27, hidden DAC
//!   0xa0000       window: VGA, or two banks of packed pixels    0xb8000: the blitter's registers, if so chosen
//!   BAR 0         all of the memory; while the guest gives a blit's source, what it writes there is that
//!   BAR 1         0x000 VGA registers from 0x3c0, 0x100 the blitter's
//! ```

mod blit;
#[cfg(any(test, feature = "conformance"))]
pub mod subject;
#[cfg(test)]
mod tests;

use super::dispi::Mode;
use super::registers::Registers;
use super::view::{Sprite, View};
use super::window;
use crate::backing::Backing;
use crate::device::{Device, Effect, Ports, Region, Turn, Width, Window};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use blit::Blit;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

const VERSION: u64 = 1;
const NAME: &str = "cirrus";
const PORTS: [Ports; 1] = [Ports {
    first: 0x3b0,
    count: 0x30,
}];
const WINDOWS: [Window; 1] = [Window {
    first: 0xa_0000,
    length: 0x2_0000,
}];
const IDENTITY: Identity = Identity {
    vendor: 0x1013,
    device: 0x00b8,
    class: 0x03_0000,
    revision: 0,
    subsystem: (0x1af4, 0x1100),
    pin: 0,
    multifunction: false,
};
/// Bytes of memory, as the card has at most.
pub const MEMORY: u64 = 4 << 20;
/// BAR 0 has the memory at its start and nothing behind.
const BAR_0: u32 = 32 << 20;
const MMIO: u32 = 4096;
/// What the last register of the CRT controller says: a 5446.
const CHIP: u8 = 0xb8;
/// Unlocks the extensions, and what they say when they are locked.
const UNLOCKED: u8 = 0x12;
const LOCKED: u8 = 0x0f;
/// The blitter's status: busy, start, reset, starts by itself.
const BUSY: u8 = 1;
const START: u8 = 2;
const RESET: u8 = 4;
const AUTOSTART: u8 = 0x80;
/// Cursors lie in the last 16 KiB of the memory.
const CURSORS: u64 = 16 << 10;

/// Registers beyond VGA's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extended {
    sequencer_index: u8,
    sequencer: [u8; 32],
    graphics_index: u8,
    graphics: Vec<u8>,
    crt_index: u8,
    crt: Vec<u8>,
    /// The register behind the mask of the palette, and how often that was read.
    hidden: u8,
    hidden_reads: u8,
    /// Where the cursor is.
    cursor: (u16, u16),
    /// The cursor's two colours, six bits a part.
    cursor_palette: Vec<u8>,
    palette_index: u8,
    /// A blit that waits for its source.
    blit: Option<Blit>,
    source: Vec<u8>,
}

const GRAPHICS: usize = 0x40;
const CRT: usize = 0x28;

impl Extended {
    fn new() -> Extended {
        let mut extended = Extended {
            sequencer_index: 0,
            sequencer: [0; 32],
            graphics_index: 0,
            graphics: vec![0; GRAPHICS],
            crt_index: 0,
            crt: vec![0; CRT],
            hidden: 0,
            hidden_reads: 0,
            cursor: (0, 0),
            cursor_palette: vec![0; 6],
            palette_index: 0,
            blit: None,
            source: Vec::new(),
        };
        extended.sequencer[6] = LOCKED;
        // 64 bits wide, two banks: 4 MiB; a PCI card.
        extended.sequencer[0x0f] = 0x98;
        extended.sequencer[0x15] = 4;
        extended.sequencer[0x17] = 0x20;
        extended.sequencer[0x1f] = 0x2d;
        extended
    }

    fn is_unlocked(&self) -> bool {
        self.sequencer[6] == UNLOCKED
    }

    /// Pixels are packed.
    fn is_packed(&self) -> bool {
        self.sequencer[7] & 1 != 0
    }

    /// Bits of a packed pixel.
    fn bits(&self) -> u32 {
        let fifteen = if self.hidden & 0x0f == 1 { 16 } else { 15 };
        match self.sequencer[7] & 0x0e {
            0x02 | 0x06 => fifteen,
            0x04 => 24,
            0x08 => 32,
            _ => 8,
        }
    }

    fn graphics32(&self, registers: [usize; 4]) -> u32 {
        u32::from_le_bytes(registers.map(|register| self.graphics[register]))
    }

    fn graphics16(&self, low: usize, mask: u16) -> u32 {
        u32::from(u16::from_le_bytes([self.graphics[low], self.graphics[low + 1]]) & mask)
    }

    fn graphics24(&self, low: usize) -> u32 {
        u32::from_le_bytes([
            self.graphics[low],
            self.graphics[low + 1],
            self.graphics[low + 2] & 0x3f,
            0,
        ])
    }

    /// What the blitter's registers ask for.
    fn asked(&self) -> Blit {
        Blit {
            width: self.graphics16(0x20, 0x1fff) + 1,
            height: self.graphics16(0x22, 0x07ff) + 1,
            to_pitch: self.graphics16(0x24, 0x1fff),
            from_pitch: self.graphics16(0x26, 0x1fff),
            to: self.graphics24(0x28),
            from: self.graphics24(0x2c),
            mode: self.graphics[0x30],
            extended: self.graphics[0x33],
            operation: self.graphics[0x32],
            foreground: self.graphics32([0x01, 0x11, 0x13, 0x15]),
            background: self.graphics32([0x00, 0x10, 0x12, 0x14]),
            transparent: self.graphics16(0x34, 0xffff) as u16,
            skip: self.graphics[0x2f],
        }
    }

    /// Where the window begins in the memory for an access at `at`.
    fn bank(&self, at: u64) -> u64 {
        let mode = self.graphics[0x0b];
        let (register, inside) = match (mode & 1 != 0, at >= 0x8000) {
            (true, true) => (0x0a, at - 0x8000),
            _ => (0x09, at),
        };
        let shift = if mode & 0x20 != 0 { 14 } else { 12 };
        (u64::from(self.graphics[register]) << shift) + inside
    }
}

/// The adapter.
#[derive(Debug)]
pub struct Cirrus {
    function: Function,
    memory: Arc<dyn Backing>,
    rom: Vec<u8>,
    registers: Registers,
    extended: Extended,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    registers: Registers,
    extended: Extended,
}

impl Cirrus {
    /// One with `memory`, of [`MEMORY`] bytes, and the VGA BIOS `rom`, which may be empty.
    pub fn new(memory: Arc<dyn Backing>, rom: Vec<u8>) -> Cirrus {
        let mut bars = [None; 6];
        bars[0] = Some(Bar {
            kind: BarKind::Prefetchable,
            size: BAR_0,
        });
        bars[1] = Some(Bar {
            kind: BarKind::Memory,
            size: MMIO,
        });
        let mut function = Function::new(IDENTITY, bars);
        if !rom.is_empty() {
            function = function.with_rom(rom.len().next_power_of_two().max(2048) as u32);
        }
        Cirrus {
            function,
            memory,
            rom,
            registers: Registers::new(),
            extended: Extended::new(),
        }
    }

    /// What it shows at `now`, ns.
    pub fn view(&self, now: u64) -> View {
        let mode = self.extended.is_packed().then(|| self.mode());
        let mut view = View::new(&self.registers, mode, false, self.memory.clone(), now);
        view.sprite = self.sprite();
        view
    }

    /// The packed mode that the registers describe.
    fn mode(&self) -> Mode {
        let crt = |index: usize| u32::from(self.registers.crt[index]);
        let more = |index: usize| u32::from(self.extended.crt[index]);
        let height = 1 + (crt(0x12) | (crt(7) & 2) << 7 | (crt(7) & 0x40) << 3);
        let start = crt(0x0c) << 8 | crt(0x0d);
        let high = (more(0x1b) & 1) << 16 | (more(0x1b) & 0x0c) << 15 | (more(0x1d) & 0x80) << 12;
        Mode {
            width: (crt(1) + 1) * 8,
            height: if more(0x1a) & 1 != 0 {
                height * 2
            } else {
                height
            },
            bits: self.extended.bits(),
            pitch: (crt(0x13) | (more(0x1b) & 0x10) << 4) * 8,
            start: u64::from(start | high) * 4,
        }
    }

    /// The cursor, if it is shown.
    fn sprite(&self) -> Option<Sprite> {
        let attribute = self.extended.sequencer[0x12];
        if attribute & 1 == 0 {
            return None;
        }
        let pattern = u64::from(self.extended.sequencer[0x13]);
        let large = attribute & 4 != 0;
        let (side, number, bytes) = match large {
            true => (64, pattern & 0x3c, 1024),
            false => (32, pattern & 0x3f, 256),
        };
        let mut planes = vec![0; bytes];
        let first = self.memory.length().saturating_sub(CURSORS) + number * 256;
        self.memory.read(first, &mut planes);
        let line = side / 8;
        // Large ones have both planes line by line, small ones one after the other.
        let at = |plane: usize, y: usize| match large {
            true => y * 16 + plane * 8,
            false => plane * 128 + y * line,
        };
        let mut pixels = Vec::with_capacity(side * side);
        for y in 0..side {
            for x in 0..side {
                let bit = |plane: usize| planes[at(plane, y) + x / 8] >> (7 - x % 8) & 1;
                pixels.push(bit(0) | bit(1) << 1);
            }
        }
        let colour = |first: usize| {
            let part = |at: usize| {
                let six = u32::from(self.extended.cursor_palette[at] & 0x3f);
                six << 2 | six >> 4
            };
            part(first) << 16 | part(first + 1) << 8 | part(first + 2)
        };
        Some(Sprite {
            x: self.extended.cursor.0.into(),
            y: self.extended.cursor.1.into(),
            side: side as u32,
            pixels: pixels.into(),
            colours: [colour(0), colour(3)],
        })
    }

    fn read_port(&mut self, offset: u64, now: u64) -> u8 {
        let port = 0x3b0 + offset;
        let e = &mut self.extended;
        if port != 0x3c6 {
            e.hidden_reads = 0;
        }
        match port {
            0x3c4 => e.sequencer_index,
            0x3c5 => match e.sequencer_index & 0x1f {
                index @ 6..=0x1f if e.is_unlocked() || index == 6 => {
                    e.sequencer[usize::from(index)]
                }
                6.. => 0xff,
                _ => self.registers.read(offset, now),
            },
            0x3c6 => {
                if e.hidden_reads == 4 {
                    e.hidden_reads = 0;
                    return e.hidden;
                }
                e.hidden_reads += 1;
                self.registers.read(offset, now)
            }
            0x3ce => e.graphics_index,
            0x3cf => match usize::from(e.graphics_index) {
                index @ (0 | 1 | 9..GRAPHICS) => e.graphics[index],
                2..9 => self.registers.read(offset, now),
                _ => 0xff,
            },
            0x3b4 | 0x3d4 => e.crt_index,
            0x3b5 | 0x3d5 => match usize::from(e.crt_index) {
                0x27 => CHIP,
                index @ 0x19..CRT => e.crt[index],
                _ => self.registers.read(offset, now),
            },
            _ => self.registers.read(offset, now),
        }
    }

    fn write_port(&mut self, offset: u64, value: u8) {
        let port = 0x3b0 + offset;
        let e = &mut self.extended;
        let reads = std::mem::take(&mut e.hidden_reads);
        match port {
            0x3c4 => {
                e.sequencer_index = value;
                self.registers.write(offset, value & 7);
            }
            0x3c5 => match e.sequencer_index & 0x1f {
                0..6 => {
                    self.registers.write(offset, value);
                }
                index => self.write_sequencer(index, value),
            },
            0x3c6 if reads == 4 => e.hidden = value,
            0x3c8 => {
                e.palette_index = 0;
                self.registers.write(offset, value);
                // The cursor's colours are behind entries 0 and 15.
                if e.sequencer[0x12] & 2 != 0 && value & 0x0f == 0x0f {
                    e.palette_index = 3;
                }
            }
            0x3c9 if e.sequencer[0x12] & 2 != 0 => {
                let at = usize::from(e.palette_index) % 6;
                e.cursor_palette[at] = value & 0x3f;
                e.palette_index = (at as u8 + 1) % 6;
            }
            0x3ce => {
                e.graphics_index = value & 0x3f;
                self.registers.write(offset, value & 15);
            }
            0x3cf => {
                let index = usize::from(e.graphics_index);
                if index < 9 {
                    self.registers.write(offset, value);
                }
                if matches!(index, 0 | 1 | 9..GRAPHICS) {
                    self.write_graphics(index, value);
                }
            }
            0x3b4 | 0x3d4 => {
                e.crt_index = value & 0x3f;
                self.registers.write(offset, value & 31);
            }
            0x3b5 | 0x3d5 => match usize::from(e.crt_index) {
                index @ 0x19..0x27 => e.crt[index] = value,
                0..0x19 => {
                    self.registers.write(offset, value);
                }
                _ => {}
            },
            _ => {
                self.registers.write(offset, value);
            }
        }
    }

    fn write_sequencer(&mut self, index: u8, value: u8) {
        let e = &mut self.extended;
        if index == 6 {
            e.sequencer[6] = if value & 0x17 == UNLOCKED {
                UNLOCKED
            } else {
                LOCKED
            };
            return;
        }
        if !e.is_unlocked() {
            return;
        }
        // Three bits of the cursor's place are in the index.
        let place = u16::from(value) << 3 | u16::from(e.sequencer_index >> 5);
        match index {
            0x10 => e.cursor.0 = place,
            0x11 => e.cursor.1 = place,
            // How much memory there is, is what there is.
            0x0f | 0x15 => return,
            _ => {}
        }
        e.sequencer[usize::from(index)] = value;
    }

    fn write_graphics(&mut self, index: usize, value: u8) {
        let before = self.extended.graphics[index];
        let e = &mut self.extended;
        e.graphics[index] = value;
        match index {
            // The last byte of the destination starts a blit, if that is chosen.
            0x2a if e.graphics[0x31] & AUTOSTART != 0 => self.start_blit(),
            0x31 => {
                e.graphics[0x31] = value & !BUSY | before & BUSY;
                if before & RESET != 0 && value & RESET == 0 {
                    self.end_blit();
                } else if before & START == 0 && value & START != 0 {
                    self.start_blit();
                }
            }
            _ => {}
        }
    }

    fn end_blit(&mut self) {
        let e = &mut self.extended;
        e.graphics[0x31] &= !(BUSY | START);
        e.blit = None;
        e.source = Vec::new();
    }

    fn start_blit(&mut self) {
        let blit = self.extended.asked();
        self.end_blit();
        if blit.mode & blit::TO_GUEST != 0 || !blit.is_bounded(self.memory.length()) {
            return;
        }
        if blit.mode & blit::FROM_GUEST == 0 {
            return blit.run(&*self.memory, &[]);
        }
        self.extended.graphics[0x31] |= BUSY;
        self.extended.blit = Some(blit);
    }

    /// A byte of a blit's source; false if no blit waits for one.
    fn feed_blit(&mut self, value: u8) -> bool {
        let e = &mut self.extended;
        let Some(blit) = e.blit else {
            return false;
        };
        e.source.push(value);
        if e.source.len() >= blit.guest_bytes() as usize {
            let source = std::mem::take(&mut e.source);
            blit.run(&*self.memory, &source);
            self.end_blit();
        }
        true
    }

    fn read_window(&mut self, at: u64) -> u8 {
        if self.is_mmio_window(at) {
            return self.read_blitter(at & 0xff);
        }
        if !self.extended.is_packed() {
            return window::read(&mut self.registers, &*self.memory, at, 0);
        }
        if at >= 0x1_0000 {
            return 0xff;
        }
        let mut byte = [0];
        self.memory.read(self.extended.bank(at), &mut byte);
        byte[0]
    }

    fn write_window(&mut self, at: u64, value: u8) {
        if self.is_mmio_window(at) {
            return self.write_blitter(at & 0xff, value);
        }
        if at < 0x1_0000 && self.feed_blit(value) {
            return;
        }
        if !self.extended.is_packed() {
            return window::write(&self.registers, &*self.memory, at, 0, value);
        }
        if at < 0x1_0000 {
            self.write_packed(self.extended.bank(at), value);
        }
    }

    /// A write to packed pixels: one byte, or with the extended write modes eight pixels of one bit each.
    fn write_packed(&mut self, at: u64, value: u8) {
        let e = &self.extended;
        let mode = e.graphics[0x0b];
        let write = self.registers.graphics[5] & 7;
        if mode & 0x04 == 0 || !matches!(write, 4 | 5) {
            let shift = if mode & 0x02 != 0 { 3 } else { 0 };
            return self.memory.write(at << shift, &[value]);
        }
        let wide = mode & 0x10 != 0;
        let size = if wide { 2 } else { 1 };
        let first = at * 8 * size as u64;
        let colour = |low: usize, high: usize| [e.graphics[low], e.graphics[high]];
        for bit in 0..8 {
            let colour = match (value >> (7 - bit) & 1, write) {
                (0, 4) => continue,
                (0, _) => colour(0x00, 0x10),
                _ => colour(0x01, 0x11),
            };
            self.memory
                .write(first + bit * size as u64, &colour[..size]);
        }
    }

    fn is_mmio_window(&self, at: u64) -> bool {
        self.extended.sequencer[0x17] & 0x44 == 0x04 && (0x1_8000..0x1_8100).contains(&at)
    }

    /// The graphics register that the blitter's byte `at` is.
    fn blitter_register(at: u64) -> Option<usize> {
        Some(match at {
            0x00 => 0x00,
            0x01 => 0x10,
            0x02 => 0x12,
            0x03 => 0x14,
            0x04 => 0x01,
            0x05 => 0x11,
            0x06 => 0x13,
            0x07 => 0x15,
            0x08..=0x0f => 0x20 + at as usize - 0x08,
            0x10..=0x12 => 0x28 + at as usize - 0x10,
            0x14..=0x16 => 0x2c + at as usize - 0x14,
            0x17 => 0x2f,
            0x18 => 0x30,
            0x1a => 0x32,
            0x1b => 0x33,
            0x1c => 0x34,
            0x1d => 0x35,
            0x40 => 0x31,
            _ => return None,
        })
    }

    fn read_blitter(&self, at: u64) -> u8 {
        let register = Cirrus::blitter_register(at);
        register.map_or(0xff, |register| self.extended.graphics[register])
    }

    fn write_blitter(&mut self, at: u64, value: u8) {
        if let Some(register) = Cirrus::blitter_register(at) {
            self.write_graphics(register, value);
        }
    }

    fn read_byte(&mut self, region: Region, offset: u64, now: u64) -> u8 {
        match (region, offset) {
            (Region::Ports(_), _) => self.read_port(offset, now),
            (Region::Window(_), _) => self.read_window(offset),
            (Region::Bar(0), _) => {
                let mut byte = [0];
                self.memory.read(offset, &mut byte);
                byte[0]
            }
            (Region::Bar(1), 0..0x20) => self.read_port(offset + 0x10, now),
            (Region::Bar(1), 0x100..0x200) => self.read_blitter(offset - 0x100),
            (Region::Rom, _) => self.rom.get(offset as usize).copied().unwrap_or(0xff),
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, region: Region, offset: u64, value: u8) {
        match (region, offset) {
            (Region::Ports(_), _) => self.write_port(offset, value),
            (Region::Window(_), _) => self.write_window(offset, value),
            (Region::Bar(0), _) => {
                let taken = self.feed_blit(value);
                if !taken {
                    self.write_packed(offset, value);
                }
            }
            (Region::Bar(1), 0..0x20) => self.write_port(offset + 0x10, value),
            (Region::Bar(1), 0x100..0x200) => self.write_blitter(offset - 0x100, value),
            _ => {}
        }
    }

    /// What BAR 0 does is more than memory now: the machine must not map it.
    fn is_plain(&self) -> bool {
        let e = &self.extended;
        e.blit.is_none() && e.graphics[0x0b] & 0x06 == 0
    }
}

impl Device for Cirrus {
    fn name(&self) -> &str {
        NAME
    }

    fn ports(&self) -> &[Ports] {
        &PORTS
    }

    fn windows(&self) -> &[Window] {
        &WINDOWS
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn view(&self, now: u64) -> Option<View> {
        Some(Cirrus::view(self, now))
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        (0..width.bytes() as u64).fold(0, |value, byte| {
            let read = self.read_byte(region, offset + byte, turn.now);
            value | u32::from(read) << (8 * byte)
        })
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        let plain = self.is_plain();
        for byte in 0..width.bytes() as u64 {
            self.write_byte(region, offset + byte, (value >> (8 * byte)) as u8);
        }
        if plain != self.is_plain() {
            turn.effects.push(Effect::Remap);
        }
    }

    fn backing(&self) -> Option<(usize, Arc<dyn Backing>)> {
        Some((0, self.memory.clone()))
    }

    fn is_mappable(&self) -> bool {
        self.is_plain()
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        self.registers = Registers::new();
        self.extended = Extended::new();
        turn.effects.push(Effect::Remap);
    }

    fn save(&self) -> Value {
        let saved = Saved {
            registers: self.registers.clone(),
            extended: self.extended.clone(),
        };
        self.function.wrap(VERSION, &saved)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, saved): (_, Saved) = pci::unwrap(NAME, VERSION, saved)?;
        let e = &saved.extended;
        let waits = |blit: Blit| {
            blit.width <= 0x2000
                && blit.height <= 0x800
                && blit.width > 0
                && blit.height > 0
                && blit.is_bounded(self.memory.length())
                && e.source.len() < (blit.guest_bytes() as usize).max(1)
        };
        let good = !saved.registers.is_wild()
            && e.graphics.len() == GRAPHICS
            && e.crt.len() == CRT
            && usize::from(e.graphics_index) < GRAPHICS
            && e.crt_index < 0x40
            && e.cursor_palette.len() == 6
            && e.hidden_reads <= 4
            && e.blit.map_or(e.source.is_empty(), waits);
        if !good {
            return Err(StateError::wrong(
                NAME,
                "registers that it does not have, or a blit larger than its memory",
            ));
        }
        self.function.restore(&config, NAME)?;
        self.registers = saved.registers;
        self.extended = saved.extended;
        Ok(())
    }
}

impl Pci for Cirrus {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }
}
