//! From the transmit ring onto the cable (Software Developer's Manual, 3.3 to 3.5).
//!
//! ```text
//!   legacy:   address, length, CMD, where a checksum goes
//!   context:  where IP's and TCP's checksums begin, end and go; segment size
//!   data:     address, length, DCMD (end, large, report), POPTS (which checksums)
//! ```
//! One turn takes at most [`DESCRIPTORS`] descriptors; what is left is for the next tick.

use super::registers::*;
use super::E1000;
use crate::device::{Memory, Turn};
use crate::net::offload::{insert, Layers};
use crate::net::MAX_FRAME;
use serde::{Deserialize, Serialize};

/// Descriptors of one turn.
const DESCRIPTORS: u32 = 256;
/// Bytes of one large segment with its headers at most.
const MAX_LARGE: usize = 0x1_0000 + 256;
/// TCTL.
const ENABLED: u32 = 1 << 1;
/// Command bits of a descriptor: end of packet, checksum (legacy) or large segment, report, extended, VLAN tag.
const END: u8 = 0x01;
const LARGE: u8 = 0x04;
const REPORT: u8 = 0x08;
const EXTENDED: u8 = 0x20;
const TAG: u8 = 0x40;
const DONE: u8 = 0x01;
/// POPTS.
const IP_CHECKSUM: u8 = 0x01;
const TCP_CHECKSUM: u8 = 0x02;

/// Start, place and end of a checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    start: u8,
    place: u8,
    end: u16,
}

/// What a context descriptor says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Context {
    ip: Sum,
    transport: Sum,
    segment: u16,
}

/// What the card knows between two descriptors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contexts {
    /// For checksums, for large segments.
    contexts: [Context; 2],
    /// The frame so far.
    frame: Vec<u8>,
    /// Of its first data descriptor: command, options, VLAN tag.
    first: Option<(u8, u8, u16)>,
    /// It has become too long, and is lost.
    spoiled: bool,
}

impl Contexts {
    pub(super) fn is_sound(&self) -> bool {
        self.frame.len() <= MAX_LARGE
    }
}

fn half(bytes: &[u8; 16], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

impl E1000 {
    /// Sends what lies between head and tail.
    pub(super) fn transmit(&mut self, turn: &mut Turn) {
        let (base, count) = self.ring(TDBAL);
        if self.get(TCTL) & ENABLED == 0 || !self.function.is_master() || count == 0 {
            return;
        }
        let (mut reported, mut taken) = (false, false);
        for _ in 0..DESCRIPTORS {
            let (head, tail) = (self.get(TDH), self.get(TDT));
            if head >= count || tail >= count || head == tail {
                break;
            }
            let at = base.wrapping_add(u64::from(head) * 16);
            let mut descriptor = [0; 16];
            if turn.memory.read(at, &mut descriptor).is_err() {
                break;
            }
            self.take(&descriptor, turn.memory);
            taken = true;
            if descriptor[11] & REPORT != 0 {
                let _ = turn.memory.write(at + 12, &[descriptor[12] | DONE]);
                reported = true;
            }
            self.set(TDH, (head + 1) % count);
        }
        let (head, tail) = (self.get(TDH), self.get(TDT));
        if reported {
            self.raise(CAUSE_SENT);
        }
        if head == tail {
            // Told when it becomes so, not while it is so.
            self.raise(if taken { CAUSE_SENT_ALL } else { 0 });
        } else if head < count && tail < count {
            self.state.again = Some(turn.now.saturating_add(1));
        }
    }

    fn take(&mut self, descriptor: &[u8; 16], memory: &dyn Memory) {
        let command = descriptor[11];
        let kind = descriptor[10] >> 4;
        if command & EXTENDED != 0 && kind == 0 {
            let sum = |at: usize| Sum {
                start: descriptor[at],
                place: descriptor[at + 1],
                end: half(descriptor, at + 2),
            };
            let which = usize::from(command & LARGE != 0);
            self.state.contexts.contexts[which] = Context {
                ip: sum(0),
                transport: sum(4),
                segment: half(descriptor, 14),
            };
            return;
        }
        let extended = command & EXTENDED != 0;
        let (length, options) = match extended {
            true => {
                let length =
                    usize::from(half(descriptor, 8)) | usize::from(descriptor[10] & 0x0f) << 16;
                (length, descriptor[13])
            }
            // Where a legacy checksum starts and goes is looked up at the end.
            false => (usize::from(half(descriptor, 8)), 0),
        };
        let mut address = [0; 8];
        address.copy_from_slice(&descriptor[..8]);
        let state = &mut self.state.contexts;
        state.first.get_or_insert((command, options, 0));
        let from = state.frame.len();
        if from + length > MAX_LARGE {
            state.spoiled = true;
        } else {
            state.frame.resize(from + length, 0);
            let read = memory.read(u64::from_le_bytes(address), &mut state.frame[from..]);
            state.spoiled |= read.is_err();
        }
        if command & END == 0 {
            return;
        }
        let mut frame = std::mem::take(&mut state.frame);
        let spoiled = std::mem::take(&mut state.spoiled);
        let (first, options, _) = state.first.take().unwrap_or_default();
        if spoiled || frame.len() < 14 {
            return;
        }
        if !extended && command & LARGE != 0 {
            // Legacy: insert a checksum from CSS at CSO.
            insert(&mut frame, descriptor[13].into(), 0, descriptor[10].into());
        }
        let large = extended && first & LARGE != 0;
        if command & TAG != 0 && self.get(CTRL) & CTRL_VLAN != 0 {
            let kind = (self.get(VET) as u16).to_be_bytes();
            let tag = half(descriptor, 14).to_be_bytes();
            // Offsets of checksums count without the tag: these go first, but for segments, which are cut by their layers.
            if extended && !large {
                self.sums(&mut frame, options);
            }
            frame.splice(12..12, [kind[0], kind[1], tag[0], tag[1]]);
        } else if extended && !large {
            self.sums(&mut frame, options);
        }
        match large {
            true => self.send_large(&frame),
            false if frame.len() <= MAX_FRAME => self.send(&frame),
            false => {}
        }
    }

    fn sums(&self, frame: &mut [u8], options: u8) {
        let context = self.state.contexts.contexts[0];
        let mut one = |sum: Sum| insert(frame, sum.start.into(), sum.end.into(), sum.place.into());
        if options & IP_CHECKSUM != 0 {
            // The field holds 0 then, as drivers are told (3.5.6).
            one(context.ip);
        }
        if options & TCP_CHECKSUM != 0 {
            // The field holds the pseudo header's sum.
            one(context.transport);
        }
    }

    fn send_large(&mut self, frame: &[u8]) {
        let size = usize::from(self.state.contexts.contexts[1].segment);
        let pieces = Layers::of(frame).map(|layers| layers.cut(frame, size));
        for piece in pieces.unwrap_or_default() {
            self.send(&piece);
        }
    }

    fn send(&mut self, frame: &[u8]) {
        self.count(GPTC, 1);
        self.count(TPT, 1);
        self.cable.send(frame);
    }
}
