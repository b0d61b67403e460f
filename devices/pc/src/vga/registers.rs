//! Registers of a VGA (IBM VGA Technical Reference), at ports 0x3b0 to 0x3df.
//!
//! ```text
//!   0x3c4/5 sequencer   0x3ce/f graphics controller   0x3d4/5 (0x3b4/5) CRT controller
//!   0x3c0/1 attributes: index and data take turns     0x3c6..9 palette (DAC)   0x3c2, cc, da, ca: the rest
//! ```

use serde::{Deserialize, Serialize};

/// A frame takes that long, ns: 70 in a second.
const FRAME: u64 = 1_000_000_000 / 70;
/// The part of it that is vertical retrace.
const RETRACE: u64 = FRAME / 16;
/// A line, and the part of it that is horizontal retrace.
const LINE: u64 = FRAME / 449;

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registers {
    pub(super) misc: u8,
    feature: u8,
    sequencer_index: u8,
    pub(super) sequencer: [u8; 8],
    graphics_index: u8,
    pub(super) graphics: [u8; 16],
    crt_index: u8,
    pub(super) crt: [u8; 32],
    /// With bit 5: the palette is the display's.
    attribute_index: u8,
    /// The next write to 0x3c0 is data.
    attribute_data: bool,
    pub(super) attribute: [u8; 32],
    pub(super) dac_mask: u8,
    dac_writing: bool,
    dac_index: (u8, u8),
    dac_part: u8,
    dac_cache: [u8; 3],
    /// Red, green, blue, one after the other.
    pub(super) palette: Vec<u8>,
    pub(super) latch: u32,
}

/// Bits that exist: of sequencer's, graphics controller's registers.
const SEQUENCER: [u8; 8] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0xff];
const GRAPHICS: [u8; 16] = [
    0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0, 0, 0, 0, 0, 0, 0,
];
/// Colours.
const COLOURS: usize = 256;

impl Registers {
    pub(super) fn new() -> Registers {
        Registers {
            // Colour: 0x3d4.
            misc: 1,
            feature: 0,
            sequencer_index: 0,
            sequencer: [0; 8],
            graphics_index: 0,
            graphics: [0; 16],
            crt_index: 0,
            crt: [0; 32],
            attribute_index: 0,
            attribute_data: false,
            attribute: [0; 32],
            dac_mask: 0xff,
            dac_writing: false,
            dac_index: (0, 0),
            dac_part: 0,
            dac_cache: [0; 3],
            palette: vec![0; 3 * COLOURS],
            latch: 0,
        }
    }

    /// Addresses count through the planes.
    pub(super) fn is_chained(&self) -> bool {
        self.sequencer[4] & 8 != 0
    }

    /// Even addresses are planes 0 and 2, odd ones 1 and 3.
    pub(super) fn is_odd_even(&self) -> bool {
        self.graphics[5] & 0x10 != 0
    }

    /// The display has the palette, and so shows something.
    pub(super) fn is_shown(&self) -> bool {
        self.attribute_index & 0x20 != 0 && self.sequencer[1] & 0x20 == 0
    }

    /// Whether the CRT controller answers at 0x3dX, otherwise at 0x3bX.
    fn is_colour(&self) -> bool {
        self.misc & 1 != 0
    }

    /// Reads a byte of port `0x3b0 + offset`; `now` in ns.
    pub(super) fn read(&mut self, offset: u64, now: u64) -> u8 {
        let port = 0x3b0 + offset;
        match self.place(port) {
            0x3c0 => self.attribute_index,
            0x3c1 => self.attribute[usize::from(self.attribute_index & 0x1f)],
            // No monitor that senses is there; the switch of EGA cards.
            0x3c2 => 0x10,
            0x3c4 => self.sequencer_index,
            0x3c5 => self.sequencer[usize::from(self.sequencer_index & 7)],
            0x3c6 => self.dac_mask,
            0x3c7 => {
                if self.dac_writing {
                    0
                } else {
                    3
                }
            }
            0x3c8 => self.dac_index.1,
            0x3c9 => self.read_dac(),
            0x3ca => self.feature,
            0x3cc => self.misc,
            0x3ce => self.graphics_index,
            0x3cf => self.graphics[usize::from(self.graphics_index & 15)],
            0x3d4 => self.crt_index,
            0x3d5 => self.crt[usize::from(self.crt_index & 31)],
            0x3da => {
                self.attribute_data = false;
                let vertical = now % FRAME >= FRAME - RETRACE;
                let blank = vertical || now % LINE >= LINE * 3 / 4;
                u8::from(vertical) << 3 | u8::from(blank)
            }
            _ => 0xff,
        }
    }

    /// A port of the CRT controller and its status as the colour one's; others as they are, absent ones 0.
    fn place(&self, port: u64) -> u64 {
        match (port, self.is_colour()) {
            (0x3c0..=0x3cf, _) => port,
            (0x3d0..=0x3df, true) => port,
            (0x3b0..=0x3bf, false) => port + 0x20,
            _ => 0,
        }
    }

    /// Writes a byte of port `0x3b0 + offset`; true if that may show.
    pub(super) fn write(&mut self, offset: u64, value: u8) -> bool {
        let port = 0x3b0 + offset;
        match self.place(port) {
            0x3c0 => return self.write_attribute(value),
            0x3c2 => self.misc = value & !0x10,
            0x3c4 => self.sequencer_index = value & 7,
            0x3c5 => {
                let index = usize::from(self.sequencer_index);
                self.sequencer[index] = value & SEQUENCER[index];
                return true;
            }
            0x3c6 => {
                self.dac_mask = value;
                return true;
            }
            0x3c7 => {
                self.dac_index.0 = value;
                self.dac_part = 0;
                self.dac_writing = false;
            }
            0x3c8 => {
                self.dac_index.1 = value;
                self.dac_part = 0;
                self.dac_writing = true;
            }
            0x3c9 => return self.write_dac(value),
            0x3ce => self.graphics_index = value & 15,
            0x3cf => {
                let index = usize::from(self.graphics_index);
                self.graphics[index] = value & GRAPHICS[index];
                return true;
            }
            0x3d4 => self.crt_index = value & 31,
            0x3d5 => return self.write_crt(value),
            0x3da => self.feature = value & 0x10,
            _ => {}
        }
        false
    }

    fn write_attribute(&mut self, value: u8) -> bool {
        self.attribute_data = !self.attribute_data;
        if self.attribute_data {
            let before = self.attribute_index;
            self.attribute_index = value & 0x3f;
            return (before ^ value) & 0x20 != 0;
        }
        let index = self.attribute_index & 0x1f;
        let mask = match index {
            0..=15 => 0x3f,
            0x10 => 0xef,
            0x11 => 0xff,
            0x12 => 0x3f,
            0x13 | 0x14 => 0x0f,
            _ => return false,
        };
        self.attribute[usize::from(index)] = value & mask;
        true
    }

    fn write_crt(&mut self, value: u8) -> bool {
        let index = usize::from(self.crt_index);
        if index > 0x18 {
            return false;
        }
        // Registers 0 to 7 can be locked, all but one bit of the line compare.
        if self.crt[0x11] & 0x80 != 0 && index <= 7 {
            if index == 7 {
                self.crt[7] = self.crt[7] & !0x10 | value & 0x10;
            }
            return true;
        }
        self.crt[index] = value;
        true
    }

    fn read_dac(&mut self) -> u8 {
        let at = usize::from(self.dac_index.0) * 3 + usize::from(self.dac_part);
        let value = self.palette[at];
        self.dac_part += 1;
        if self.dac_part == 3 {
            self.dac_part = 0;
            self.dac_index.0 = self.dac_index.0.wrapping_add(1);
        }
        value
    }

    fn write_dac(&mut self, value: u8) -> bool {
        self.dac_cache[usize::from(self.dac_part)] = value;
        self.dac_part += 1;
        if self.dac_part < 3 {
            return false;
        }
        self.dac_part = 0;
        let at = usize::from(self.dac_index.1) * 3;
        self.palette[at..at + 3].copy_from_slice(&self.dac_cache);
        self.dac_index.1 = self.dac_index.1.wrapping_add(1);
        true
    }

    /// VBE has switched a mode on: the window becomes that of 64 KiB, chained or, with four bits a pixel, planar.
    pub(super) fn for_vbe(&mut self, planar: bool) {
        self.graphics[6] = self.graphics[6] & !0x0e | 0x05;
        self.graphics[5] &= !0x10;
        self.sequencer[2] |= 0x0f;
        if planar {
            self.sequencer[4] &= !8;
        } else {
            self.sequencer[4] |= 8;
        }
    }

    /// A colour of the palette as `0x00RRGGBB`; `wide`: eight bits a part, else six.
    pub(super) fn colour(&self, index: u8, wide: bool) -> u32 {
        let at = usize::from(index & self.dac_mask) * 3;
        let part = |at: usize| {
            let value = self.palette[at];
            let eight = if wide {
                value
            } else {
                (value & 0x3f) << 2 | (value & 0x3f) >> 4
            };
            u32::from(eight)
        };
        part(at) << 16 | part(at + 1) << 8 | part(at + 2)
    }

    /// The palette's index that the attribute controller makes of a colour of four bits.
    pub(super) fn attribute_colour(&self, colour: u8) -> u8 {
        let low = self.attribute[usize::from(colour & 15 & self.attribute[0x12])];
        let select = self.attribute[0x14];
        if self.attribute[0x10] & 0x80 != 0 {
            (select & 0x0f) << 4 | low & 0x0f
        } else {
            (select & 0x0c) << 4 | low & 0x3f
        }
    }

    /// No VGA could have saved this.
    pub(super) fn is_wild(&self) -> bool {
        self.palette.len() != 3 * COLOURS
            || self.dac_part > 2
            || self.sequencer_index > 7
            || self.graphics_index > 15
            || self.crt_index > 31
    }
}
