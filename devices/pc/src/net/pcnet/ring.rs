//! The block by which the card is initialised, and the rings of descriptors (Am79C970A data sheet, "Initialization block", "Receive descriptors", "Transmit descriptors").
//!
//! ```text
//!   style 0: 8 bytes    address (16), status (8) and address (8), length, answer
//!   style 2: 16 bytes   address, status (16) and length (16), answer, nothing          style 3: answer and address change places
//! ```
//! A length is given as its two's complement in 12 bits. Whoever OWN names has the descriptor.

use super::registers::*;
use super::{Pcnet, FRAMES, MAX_FRAME};
use crate::device::{Memory, Outside, Turn};
use crate::net::{hash_le, lose, pad, to, To};

/// Rings by their number.
pub const RECEIVE: usize = 0;
pub const SEND: usize = 1;

/// Status of a descriptor: the card has it; an error; begins, ends a frame.
const OWN_BY_CARD: u16 = 1 << 15;
const FAULT: u16 = 1 << 14;
const BEGINS: u16 = 1 << 9;
const ENDS: u16 = 1 << 8;
/// Of one to send: append the checksum whatever the mode says.
const ADD_CHECK: u16 = 1 << 13;
/// Of a received one: there was no next buffer; to this card, a group, all.
const NO_BUFFER: u16 = 1 << 10;
const TO_OWN: u16 = 1 << 6;
const TO_GROUP: u16 = 1 << 5;
const TO_ALL: u16 = 1 << 4;
/// In the answer to one to send: no next buffer, and so cut short.
const CUT: u32 = 3 << 30;
/// Descriptors of one frame at most.
const PIECES: u32 = 64;
/// When a card without a free buffer looks again, ns.
const AGAIN: u64 = 1_000_000;

/// A descriptor.
#[derive(Debug, Clone, Copy)]
struct Descriptor {
    /// Where it is.
    place: u64,
    buffer: u64,
    status: u16,
    /// Bytes of the buffer.
    length: usize,
}

/// Bytes of a length in two's complement.
fn length(bits: u16) -> usize {
    usize::from((0x1000 - (bits & 0xfff)) & 0xfff)
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn dword(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) | u32::from(word(bytes, at + 2)) << 16
}

impl Pcnet {
    fn is_wide(&self) -> bool {
        self.state.bcr[SOFTWARE] & WIDE != 0
    }

    fn is_turned(&self) -> bool {
        self.state.bcr[SOFTWARE] & 0xff == 3
    }

    /// Bits 24 to 31 of addresses that have only 24.
    fn upper(&self) -> u64 {
        u64::from(self.state.csr[2] & 0xff00) << 16
    }

    /// Reads the block at CSR1 and CSR2.
    pub fn initialise(&mut self, turn: &mut Turn) {
        let at = self.state.pair(1);
        let mut bytes = [0; 28];
        let wide = self.is_wide();
        let length = if wide { 28 } else { 24 };
        if turn.memory.read(at, &mut bytes[..length]).is_err() {
            return self.fail();
        }
        let (address, filter, rings, lengths) = match wide {
            true => {
                let lengths = [bytes[2] >> 4, bytes[3] >> 4];
                let rings = [dword(&bytes, 20), dword(&bytes, 24)];
                (4, 12, rings, lengths.map(|bits| bits.min(9)))
            }
            false => {
                let rings = [dword(&bytes, 16), dword(&bytes, 20)];
                let lengths = rings.map(|ring| (ring >> 29) as u8);
                let upper = self.upper() as u32;
                (2, 8, rings.map(|ring| ring & 0xff_ffff | upper), lengths)
            }
        };
        let state = &mut self.state;
        state.csr[MODE] = word(&bytes, 0);
        for index in 0..3 {
            state.csr[OWN + index] = word(&bytes, address + 2 * index);
        }
        for index in 0..4 {
            state.csr[FILTER + index] = word(&bytes, filter + 2 * index);
        }
        for ring in [RECEIVE, SEND] {
            state.set_pair(BASE[ring], rings[ring]);
            state.csr[LENGTH[ring]] = 0u16.wrapping_sub(1 << lengths[ring]);
        }
        state.at = [0; 2];
        state.csr[0] = state.csr[0] & !STOP | INIT | INITIALISED;
    }

    /// What it needs is no memory: it sends and receives no more until it is started anew.
    fn fail(&mut self) {
        self.state.csr[0] &= !(SENDS | RECEIVES);
        self.state.csr[0] |= MEMORY;
    }

    /// The descriptor `ahead` of the next one of a ring.
    fn descriptor(
        &self,
        ring: usize,
        ahead: u32,
        memory: &dyn Memory,
    ) -> Result<Descriptor, Outside> {
        let entries = self.state.entries(ring).max(1);
        let index = u64::from((self.state.at[ring] + ahead) % entries);
        let base = self.state.pair(BASE[ring]);
        let mut bytes = [0; 16];
        if !self.is_wide() {
            let place = base + index * 8;
            memory.read(place, &mut bytes[..8])?;
            let high = u64::from(bytes[2]) << 16 | self.upper();
            return Ok(Descriptor {
                place,
                buffer: u64::from(word(&bytes, 0)) | high,
                status: word(&bytes, 2) & 0xff00,
                length: length(word(&bytes, 4)),
            });
        }
        let place = base + index * 16;
        memory.read(place, &mut bytes)?;
        let buffer = if self.is_turned() { 8 } else { 0 };
        Ok(Descriptor {
            place,
            buffer: dword(&bytes, buffer).into(),
            status: word(&bytes, 6),
            length: length(word(&bytes, 4)),
        })
    }

    /// Gives a descriptor back: its answer first, then its status.
    fn give_back(
        &self,
        descriptor: &Descriptor,
        status: u16,
        answer: u32,
        memory: &dyn Memory,
    ) -> Result<(), Outside> {
        let place = descriptor.place;
        if !self.is_wide() {
            let [low, high] = [answer as u16, (answer >> 16) as u16];
            // The errors of what was sent are in the upper half there, a length in the lower one.
            memory.write(place + 6, &(low | high).to_le_bytes())?;
            return memory.write(place + 3, &[(status >> 8) as u8]);
        }
        let at = if self.is_turned() { 0 } else { 8 };
        memory.write(place + at, &answer.to_le_bytes())?;
        memory.write(place + 6, &status.to_le_bytes())
    }

    fn advance(&mut self, ring: usize, by: u32) {
        let entries = self.state.entries(ring).max(1);
        self.state.at[ring] = (self.state.at[ring] + by) % entries;
    }

    /// Sends what the guest has left in the ring.
    pub fn send(&mut self, turn: &mut Turn) {
        let mut frame = std::mem::take(&mut self.frame);
        for _ in 0..FRAMES {
            let on = self.state.csr[0] & SENDS != 0 && self.state.csr[5] & SUSPEND == 0;
            if !on || !self.function.is_master() {
                break;
            }
            match self.send_one(&mut frame, turn) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Outside { .. }) => {
                    self.fail();
                    break;
                }
            }
        }
        self.frame = frame;
    }

    /// One frame; false: there is none.
    fn send_one(&mut self, frame: &mut Vec<u8>, turn: &mut Turn) -> Result<bool, Outside> {
        frame.clear();
        let mut pieces = Vec::new();
        loop {
            let piece = self.descriptor(SEND, pieces.len() as u32, turn.memory)?;
            if piece.status & OWN_BY_CARD == 0 {
                break;
            }
            let begins = piece.status & BEGINS != 0;
            if pieces.is_empty() && !begins {
                // The rest of something that is over.
                self.give_back(&piece, piece.status & !OWN_BY_CARD, 0, turn.memory)?;
                self.advance(SEND, 1);
                return Ok(true);
            }
            // What is longer than any frame is not sent, and not read either.
            if frame.len() <= MAX_FRAME + 4 {
                let at = frame.len();
                frame.resize(at + piece.length, 0);
                turn.memory.read(piece.buffer, &mut frame[at..])?;
            }
            pieces.push(piece);
            if piece.status & ENDS != 0
                || pieces.len() as u32 == PIECES.min(self.state.entries(SEND).max(1))
            {
                break;
            }
        }
        let Some((last, others)) = pieces.split_last() else {
            return Ok(false);
        };
        for piece in others {
            self.give_back(piece, piece.status & !OWN_BY_CARD, 0, turn.memory)?;
        }
        let is_whole = last.status & ENDS != 0;
        let (status, answer) = match is_whole {
            true => (last.status & !(OWN_BY_CARD | FAULT), 0),
            false => (last.status & !OWN_BY_CARD | FAULT, CUT),
        };
        self.give_back(last, status, answer, turn.memory)?;
        let first = pieces[0].status;
        self.advance(SEND, pieces.len() as u32);
        if !is_whole && self.state.csr[3] & GOES_ON == 0 {
            self.state.csr[0] &= !SENDS;
        }
        self.state.csr[4] |= SEND_BEGAN;
        if !is_whole || self.state.csr[5] & QUIET == 0 {
            self.state.csr[0] |= SENT;
        }
        if is_whole {
            self.put_on_cable(frame, first, turn);
        }
        Ok(true)
    }

    fn put_on_cable(&mut self, frame: &mut Vec<u8>, first: u16, turn: &mut Turn) {
        let mode = self.state.csr[MODE];
        if mode & NO_CHECK != 0 && first & ADD_CHECK == 0 {
            // It has its checksum already, which cables here do without.
            frame.truncate(frame.len().saturating_sub(4));
        }
        if self.state.csr[4] & PADS != 0 {
            pad(frame);
        }
        if frame.len() > MAX_FRAME {
            self.state.csr[0] |= TOO_LONG;
        } else if frame.len() < 14 {
            // Nobody would know whom it is for.
        } else if mode & LOOP != 0 {
            self.hear(frame, turn);
        } else {
            self.cable.send(frame);
        }
    }

    /// Whether, and why, it takes a frame: the bits of its status.
    fn accepts(&self, frame: &[u8]) -> Option<u16> {
        let mode = self.state.csr[MODE];
        let own = self.state.csr[OWN..OWN + 3].iter();
        let is_own = || {
            own.flat_map(|word| word.to_le_bytes())
                .eq(frame[..6].iter().copied())
        };
        let why = match to(frame) {
            To::All if mode & NO_BROADCAST == 0 => Some(TO_ALL),
            To::One if mode & NOT_OWN == 0 && is_own() => Some(TO_OWN),
            To::Many => {
                let bit = usize::from((hash_le(&frame[..6]) >> 26) as u8);
                let takes = self.state.csr[FILTER + bit / 16] >> (bit % 16) & 1 != 0;
                takes.then_some(TO_GROUP)
            }
            _ => None,
        };
        why.or_else(|| (mode & ALL != 0).then_some(0))
    }

    /// Takes frames from the cable while there are buffers for them.
    pub fn receive(&mut self, turn: &mut Turn) {
        self.state.hungry = None;
        let on = self.state.csr[0] & RECEIVES != 0 && self.function.is_master();
        // One that hears itself hears nobody else.
        if !on || self.state.csr[MODE] & LOOP != 0 {
            return lose(self.cable.as_mut());
        }
        if self.state.csr[5] & SUSPEND != 0 {
            return;
        }
        let mut frame = std::mem::take(&mut self.frame);
        for _ in 0..FRAMES {
            match self.descriptor(RECEIVE, 0, turn.memory) {
                Ok(next) if next.status & OWN_BY_CARD != 0 => {}
                Ok(_) => {
                    // A guest gives buffers back without a word; the chip looks at times, and so does this.
                    self.state.hungry = Some(turn.now.saturating_add(AGAIN));
                    break;
                }
                Err(Outside { .. }) => {
                    self.fail();
                    break;
                }
            }
            if !self.cable.receive(&mut frame) {
                break;
            }
            self.hear(&mut frame, turn);
        }
        self.frame = frame;
    }

    fn hear(&mut self, frame: &mut Vec<u8>, turn: &mut Turn) {
        if self.state.csr[0] & RECEIVES == 0 || !(14..=MAX_FRAME).contains(&frame.len()) {
            return;
        }
        let Some(why) = self.accepts(frame) else {
            return;
        };
        pad(frame);
        let check = crc32fast::hash(frame);
        frame.extend(check.to_le_bytes());
        if self.store(frame, why, turn).is_err() {
            self.fail();
        }
    }

    /// Puts a frame with its checksum into the next buffers.
    fn store(&mut self, frame: &[u8], why: u16, turn: &mut Turn) -> Result<(), Outside> {
        let mut rest = frame;
        let mut status = BEGINS;
        for _ in 0..PIECES.min(self.state.entries(RECEIVE).max(1)) {
            let piece = self.descriptor(RECEIVE, 0, turn.memory)?;
            if piece.status & OWN_BY_CARD == 0 {
                // Only a frame that hears itself comes without a look before.
                return Ok(());
            }
            let (now, later) = rest.split_at(rest.len().min(piece.length));
            turn.memory.write(piece.buffer, now)?;
            rest = later;
            let answer = match rest.is_empty() {
                true => {
                    status |= ENDS | why;
                    frame.len() as u32
                }
                false => {
                    let next = self.descriptor(RECEIVE, 1, turn.memory)?;
                    let ends = next.status & OWN_BY_CARD == 0 || self.state.entries(RECEIVE) < 2;
                    status |= if ends { FAULT | NO_BUFFER } else { 0 };
                    0
                }
            };
            self.give_back(&piece, status, answer, turn.memory)?;
            self.advance(RECEIVE, 1);
            if rest.is_empty() || status & FAULT != 0 {
                break;
            }
            status = 0;
        }
        self.state.csr[0] |= RECEIVED;
        Ok(())
    }
}
