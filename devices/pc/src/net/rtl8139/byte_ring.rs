//! C mode's receive buffer: a ring of bytes, each frame behind four bytes of status and length (RTL8139C+ data sheet, 5.9, 6.2).
//!
//! ```text
//!   RBSTART [ status:16 length:16 frame ... check sequence ] [ ... ]        CBR: the card writes there
//!                                                                 CAPR + 16: the host reads there
//! ```

use super::registers::*;
use super::Rtl8139;
use crate::device::Turn;
use crate::net::{hash, to, To, MAX_FRAME};

const ACCEPT_ALL: u32 = 0x01;
const ACCEPT_MINE: u32 = 0x02;
const ACCEPT_MANY: u32 = 0x04;
const ACCEPT_BROADCAST: u32 = 0x08;
/// The last frame may go beyond the end instead of around it.
const NO_WRAP: u32 = 0x80;
/// Status of a frame: good, and to whom.
const ROK: u16 = 0x0001;
const BROADCAST: u16 = 0x2000;
const MINE: u16 = 0x4000;
const MANY: u16 = 0x8000;

impl Rtl8139 {
    /// Whether the receive filter lets `frame` in.
    pub(super) fn accepts(&self, frame: &[u8]) -> bool {
        let filter = self.get32(RCR);
        if filter & ACCEPT_ALL != 0 {
            return true;
        }
        match to(frame) {
            To::All => filter & ACCEPT_BROADCAST != 0,
            To::One => filter & ACCEPT_MINE != 0 && frame[..6] == self.state.bytes[..6],
            To::Many => {
                let bit = (hash(&frame[..6]) >> 26) as usize;
                filter & ACCEPT_MANY != 0 && self.state.bytes[MAR + bit / 8] >> (bit % 8) & 1 != 0
            }
        }
    }

    /// Bytes of the ring.
    fn ring_bytes(&self) -> usize {
        (8 << 10) << (self.get32(RCR) >> 11 & 3)
    }

    fn read_at(&self) -> usize {
        (usize::from(self.get16(CAPR)) + 16) % self.ring_bytes()
    }

    fn write_at(&self) -> usize {
        usize::from(self.get16(CBR)) % self.ring_bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.read_at() == self.write_at()
    }

    /// Whether the longest frame fits: the ring is never filled up to the reader.
    pub(super) fn has_byte_room(&self) -> bool {
        let size = self.ring_bytes();
        let used = (self.write_at() + size - self.read_at()) % size;
        used + MAX_FRAME + 16 < size
    }

    /// Puts a frame into the ring.
    pub(super) fn receive_bytes(&mut self, frame: &[u8], turn: &mut Turn) {
        let status = ROK
            | match to(frame) {
                To::All => BROADCAST,
                To::Many => MANY,
                To::One if frame[..6] == self.state.bytes[..6] => MINE,
                To::One => 0,
            };
        let mut bytes = Vec::with_capacity(frame.len() + 11);
        bytes.extend(status.to_le_bytes());
        bytes.extend((frame.len() as u16 + 4).to_le_bytes());
        bytes.extend(frame);
        bytes.extend(crc32fast::hash(frame).to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);

        let size = self.ring_bytes();
        let base = u64::from(self.get32(RBSTART));
        let at = self.write_at();
        let wraps = self.get32(RCR) & NO_WRAP == 0 || size == 64 << 10;
        let first = if wraps {
            bytes.len().min(size - at)
        } else {
            bytes.len()
        };
        // A buffer outside of memory is the guest's own loss.
        let _ = turn.memory.write(base + at as u64, &bytes[..first]);
        let _ = turn.memory.write(base, &bytes[first..]);
        self.put16(CBR, ((at + bytes.len()) % size) as u16);
        self.raise(ISR_ROK);
    }
}
