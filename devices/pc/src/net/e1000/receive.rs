//! From the cable into the receive ring (Software Developer's Manual, 3.2).

use super::registers::*;
use super::E1000;
use crate::device::Turn;
use crate::net::{to, To, FRAMES, MAX_FRAME};

/// RCTL.
const ENABLED: u32 = 1 << 1;
const ALL_UNICAST: u32 = 1 << 3;
const ALL_MULTICAST: u32 = 1 << 4;
const BROADCAST: u32 = 1 << 15;
const VLAN_FILTER: u32 = 1 << 18;
const EXTENDED: u32 = 1 << 25;
const STRIP_CHECK: u32 = 1 << 26;
/// Status of a descriptor: done, end of packet, checksums are not looked at, VLAN tag beside.
const DONE: u8 = 0x01;
const END: u8 = 0x02;
const NO_CHECKSUM: u8 = 0x04;
const TAGGED: u8 = 0x08;

impl E1000 {
    /// Bytes of each buffer (13.4.22, BSIZE and BSEX).
    fn buffer_bytes(&self) -> usize {
        let control = self.get(RCTL);
        let plain = 2048 >> (control >> 16 & 3);
        match (control & EXTENDED != 0, plain) {
            (true, 2048) | (false, _) => plain,
            (true, _) => plain * 16,
        }
    }

    /// Descriptors that the card owns.
    fn free(&self) -> u32 {
        let (_, count) = self.ring(RDBAL);
        let (head, tail) = (self.get(RDH), self.get(RDT));
        if count == 0 || head >= count || tail >= count {
            return 0;
        }
        (tail + count - head) % count
    }

    fn accepts(&self, frame: &[u8]) -> bool {
        let control = self.get(RCTL);
        let tagged = frame[12..14] == (self.get(VET) as u16).to_be_bytes();
        if tagged && control & VLAN_FILTER != 0 {
            let id = u32::from(u16::from_be_bytes([frame[14], frame[15]]) & 0xfff);
            if self.get(VFTA + id / 32 * 4) >> (id % 32) & 1 == 0 {
                return false;
            }
        }
        let exact = (0..16).any(|entry| {
            let high = self.get(RAL + 8 * entry + 4);
            let low = self.get(RAL + 8 * entry).to_le_bytes();
            high & ADDRESS_VALID != 0 && frame[..4] == low && frame[4..6] == high.to_le_bytes()[..2]
        });
        exact
            || match to(frame) {
                To::All => control & BROADCAST != 0 || control & ALL_MULTICAST != 0,
                To::One => control & ALL_UNICAST != 0,
                To::Many => {
                    // Twelve bits of the address's end; which, MO says.
                    let shift = [4, 3, 2, 0][(control >> 12 & 3) as usize];
                    let bit = u32::from(u16::from_le_bytes([frame[4], frame[5]])) >> shift & 0xfff;
                    control & ALL_MULTICAST != 0
                        || self.get(MTA + bit / 32 * 4) >> (bit % 32) & 1 != 0
                }
            }
    }

    /// Takes frames while there is room for them.
    pub(super) fn receive(&mut self, turn: &mut Turn) {
        let on = self.get(RCTL) & ENABLED != 0 && self.function.is_master();
        if !on {
            return crate::net::lose(self.cable.as_mut());
        }
        // A whole frame must fit, and one descriptor stays free.
        let needed = (MAX_FRAME + 4).div_ceil(self.buffer_bytes()) as u32;
        for _ in 0..FRAMES {
            if self.free() < needed {
                return;
            }
            let mut frame = std::mem::take(&mut self.frame);
            let came = self.cable.receive(&mut frame);
            if came && frame.len() > 16 && frame.len() <= MAX_FRAME && self.accepts(&frame) {
                crate::net::pad(&mut frame);
                self.store(&mut frame, turn);
            }
            self.frame = frame;
            if !came {
                return;
            }
        }
    }

    fn store(&mut self, frame: &mut Vec<u8>, turn: &mut Turn) {
        let (base, count) = self.ring(RDBAL);
        let size = self.buffer_bytes();
        let (mut status, mut tag) = (NO_CHECKSUM, [0; 2]);
        if self.get(CTRL) & CTRL_VLAN != 0 && frame[12..14] == (self.get(VET) as u16).to_be_bytes()
        {
            tag = [frame[15], frame[14]];
            frame.drain(12..16);
            crate::net::pad(frame);
            status |= TAGGED;
        }
        if self.get(RCTL) & STRIP_CHECK == 0 {
            let check = crc32fast::hash(frame).to_le_bytes();
            frame.extend(check);
        }
        let pieces = frame.len().div_ceil(size);
        for (index, piece) in frame.chunks(size).enumerate() {
            let head = self.get(RDH);
            let at = base.wrapping_add(u64::from(head) * 16);
            let mut descriptor = [0; 16];
            if turn.memory.read(at, &mut descriptor).is_ok() {
                let mut address = [0; 8];
                address.copy_from_slice(&descriptor[..8]);
                let address = u64::from_le_bytes(address);
                // An address of 0 is a descriptor to skip (3.2.3); one outside of memory is the guest's own loss.
                if address != 0 {
                    let _ = turn.memory.write(address, piece);
                }
                let last = index + 1 == pieces;
                descriptor[8..10].copy_from_slice(&(piece.len() as u16).to_le_bytes());
                descriptor[10..12].fill(0);
                descriptor[12] = status | DONE | if last { END } else { 0 };
                descriptor[13] = 0;
                descriptor[14..].copy_from_slice(&tag);
                let _ = turn.memory.write(at, &descriptor);
            }
            self.set(RDH, (head + 1) % count.max(1));
        }
        self.count(GPRC, 1);
        self.count(TPR, 1);
        let threshold = count >> (1 + (self.get(RCTL) >> 8 & 3)).min(3);
        let few = if self.free() <= threshold {
            CAUSE_FEW
        } else {
            0
        };
        self.raise(CAUSE_RECEIVED | few);
    }
}
