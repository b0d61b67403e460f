//! C+ mode's descriptor rings (RTL8139C+ data sheet, 6.3 "C+ mode"): 16 bytes each, at most 64 in a ring.
//!
//! ```text
//!   transmit: OWN EOR FS LS [LGSEN size-of-segment | IPCS UDPCS TCPCS] length   VLAN   address
//!   receive:  OWN EOR length of the buffer --> EOR FS LS kind, checksums, length   VLAN   address
//! ```

use super::registers::*;
use super::Rtl8139;
use crate::device::{Memory, Turn};
use crate::net::offload::Layers;
use crate::net::{to, To};

const OWN: u32 = 1 << 31;
const END_OF_RING: u32 = 1 << 30;
const FIRST: u32 = 1 << 29;
const LAST: u32 = 1 << 28;
const LARGE: u32 = 1 << 27;
const IP_CHECKSUM: u32 = 1 << 18;
const UDP_CHECKSUM: u32 = 1 << 17;
const TCP_CHECKSUM: u32 = 1 << 16;
/// In the second word: transmit with a tag; received with a tag.
const TAGGED: u32 = 1 << 17;
const RECEIVED_TAG: u32 = 1 << 16;
/// Receive status.
const MANY: u32 = 1 << 26;
const MINE: u32 = 1 << 25;
const BROADCAST: u32 = 1 << 24;
const TCP_PACKET: u32 = 1 << 17;
const UDP_PACKET: u32 = 1 << 18;

const BYTES: u64 = 16;
const IN_RING: u32 = 64;
/// Bytes of one large segment with its headers at most.
const MAX_LARGE: usize = 0x1_0000 + 64;

#[derive(Debug, Clone, Copy)]
struct Descriptor {
    at: u64,
    command: u32,
    tag: u32,
    buffer: u64,
}

impl Descriptor {
    fn read(at: u64, memory: &dyn Memory) -> Option<Descriptor> {
        let mut bytes = [0; BYTES as usize];
        memory.read(at, &mut bytes).ok()?;
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        Some(Descriptor {
            at,
            command: u32::from_le_bytes([a, b, c, d]),
            tag: u32::from_le_bytes([e, f, g, h]),
            buffer: u64::from_le_bytes(rest),
        })
    }

    fn length(&self) -> usize {
        (self.command & 0xffff) as usize
    }
}

impl Rtl8139 {
    fn ring_at(&self, ring: usize) -> u64 {
        let base = [TNPDS, TNPDS + 8, RDSAR][ring];
        let start = u64::from(self.get32(base)) | u64::from(self.get32(base + 4)) << 32;
        (start & !0xff).wrapping_add(u64::from(self.state.next[ring] % IN_RING) * BYTES)
    }

    fn step(&mut self, ring: usize, command: u32) {
        let next = &mut self.state.next[ring];
        *next = if command & END_OF_RING != 0 {
            0
        } else {
            (*next + 1) % IN_RING
        };
    }

    /// Sends what the host has put into a transmit ring: 0 normal, 1 high priority.
    pub(super) fn transmit_plus(&mut self, ring: usize, turn: &mut Turn) {
        let enabled = self.is_plus_transmit() && self.state.bytes[COMMAND] & TRANSMIT != 0;
        if !enabled || !self.function.is_master() {
            return;
        }
        let mut frame = Vec::new();
        let mut first: Option<Descriptor> = None;
        let mut sent = false;
        // Once around at most: a ring that the host fills meanwhile is looked at when it says so again.
        for _ in 0..IN_RING {
            let at = self.ring_at(ring);
            let Some(descriptor) =
                Descriptor::read(at, turn.memory).filter(|found| found.command & OWN != 0)
            else {
                break;
            };
            if descriptor.command & FIRST != 0 {
                frame.clear();
                first = Some(descriptor);
            }
            let from = frame.len();
            if from + descriptor.length() <= MAX_LARGE {
                frame.resize(from + descriptor.length(), 0);
                if turn
                    .memory
                    .read(descriptor.buffer, &mut frame[from..])
                    .is_err()
                {
                    first = None;
                }
            } else {
                first = None;
            }
            // Bits that a driver reads back are those that it wrote, without OWN (and no error).
            let done = (descriptor.command & !OWN).to_le_bytes();
            if turn.memory.write(descriptor.at, &done).is_err() {
                break;
            }
            self.step(ring, descriptor.command);
            if descriptor.command & LAST != 0 {
                if let Some(head) = first.take() {
                    self.finish_frame(&mut frame, head, descriptor);
                }
                sent = true;
            }
        }
        self.raise(if sent { ISR_TOK | ISR_TDU } else { ISR_TDU });
    }

    /// A whole frame has been gathered: what its descriptors ask for is done.
    fn finish_frame(&mut self, frame: &mut Vec<u8>, first: Descriptor, last: Descriptor) {
        if frame.len() < 14 {
            return;
        }
        if last.tag & TAGGED != 0 {
            // The tag stands in the descriptor the way it goes over the wire.
            let [low, high, ..] = last.tag.to_le_bytes();
            frame.splice(12..12, [0x81, 0x00, low, high]);
        }
        let layers = Layers::of(frame);
        if first.command & LARGE != 0 {
            let size = (first.command >> 16 & 0x7ff) as usize;
            for piece in layers
                .map(|layers| layers.cut(frame, size))
                .unwrap_or_default()
            {
                self.send(&piece);
            }
            return;
        }
        if frame.len() > crate::net::MAX_FRAME {
            return;
        }
        if let Some(layers) = layers {
            if last.command & IP_CHECKSUM != 0 {
                layers.fill_ip(frame);
            }
            let transport = last.command & TCP_CHECKSUM != 0 && layers.is_tcp()
                || last.command & UDP_CHECKSUM != 0 && layers.is_udp();
            if transport {
                layers.fill_transport(frame);
            }
        }
        let frame = std::mem::take(frame);
        self.send(&frame);
    }

    /// Whether the host has left a buffer for the next frame.
    pub(super) fn has_descriptor(&self, turn: &Turn) -> bool {
        Descriptor::read(self.ring_at(2), turn.memory).is_some_and(|found| found.command & OWN != 0)
    }

    /// Puts a frame into the next buffer.
    pub(super) fn receive_plus(&mut self, frame: &[u8], turn: &mut Turn) {
        let Some(descriptor) = Descriptor::read(self.ring_at(2), turn.memory) else {
            return;
        };
        let (mut frame, mut tag) = (frame.to_vec(), 0);
        if self.get16(CPLUS) & CPLUS_VLAN != 0 && frame[12..14] == [0x81, 0] {
            tag = RECEIVED_TAG | u32::from(u16::from_le_bytes([frame[14], frame[15]]));
            frame.drain(12..16);
            crate::net::pad(&mut frame);
        }
        let mut status = FIRST
            | LAST
            | match to(&frame) {
                To::All => BROADCAST,
                To::Many => MANY,
                To::One if frame[..6] == self.state.bytes[..6] => MINE,
                To::One => 0,
            };
        if self.get16(CPLUS) & CPLUS_CHECKSUM != 0 {
            // Frames that come from this host are whole; nobody has damaged them on the way.
            status |= match Layers::of(&frame) {
                Some(layers) if layers.is_tcp() => TCP_PACKET,
                Some(layers) if layers.is_udp() => UDP_PACKET,
                _ => 0,
            };
        }
        let check = crc32fast::hash(&frame).to_le_bytes();
        frame.extend(check);
        let room = (descriptor.command & 0x1fff) as usize;
        if frame.len() > room {
            // Does not fit into one buffer: lost, and counted.
            self.state.missed = self.state.missed.wrapping_add(1);
            self.raise(ISR_RXOVW);
            return;
        }
        let _ = turn.memory.write(descriptor.buffer, &frame);
        let word = descriptor.command & END_OF_RING | status | frame.len() as u32;
        let mut done = word.to_le_bytes().to_vec();
        done.extend(tag.to_le_bytes());
        let _ = turn.memory.write(descriptor.at, &done);
        self.step(2, descriptor.command);
        self.raise(ISR_ROK);
    }
}
