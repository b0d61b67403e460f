//! One frame of a UHCI schedule (Universal Host Controller Interface 1.1, chapter 3).
//!
//! ```text
//!   frame pointer --> descriptor --> descriptor --> queue --> queue --> T
//!                                                     | element: descriptor --> descriptor (depth first, or one a visit)
//! ```
//! A guest writes these lists: every walk ends after [`LINKS`] links, and when queues form a circle in which nothing moves.

use super::control::Outcome;
use super::tree::Tree;
use crate::device::{Memory, Outside};

/// Most links that are followed in a frame.
const LINKS: usize = 256;
/// Bytes on the wire in a frame, as QEMU and the bus have them.
const BYTES: usize = 1280;

/// Link: ends here; leads to a queue; the next descriptor of the queue follows at once.
const TERMINATE: u32 = 1;
const QUEUE: u32 = 2;
const DEPTH: u32 = 4;
const ADDRESS: u32 = !0xf;

/// Descriptor, second word.
const ACTUAL: u32 = 0x7ff;
const TIMEOUT: u32 = 1 << 18;
const NAK: u32 = 1 << 19;
const BABBLE: u32 = 1 << 20;
const STALLED: u32 = 1 << 22;
const ACTIVE: u32 = 1 << 23;
const INTERRUPT: u32 = 1 << 24;
const ISOCHRONOUS: u32 = 1 << 25;
const ERRORS: u32 = 3 << 27;
const ONE_ERROR: u32 = 1 << 27;
const SHORT: u32 = 1 << 29;

/// Kinds of packets.
const PID_IN: u8 = 0x69;
const PID_OUT: u8 = 0xe1;
const PID_SETUP: u8 = 0x2d;

/// What a frame came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// A descriptor that asks for an interrupt has ended.
    pub complete: bool,
    /// One with short packet detection got less than it asked for.
    pub short: bool,
    /// One ended with an error.
    pub error: bool,
    /// One is no descriptor; the controller halts.
    pub nonsense: bool,
    /// Data moved, or an attempt was made that may succeed soon.
    pub moved: bool,
}

/// What became of a descriptor.
enum End {
    /// Done: on to its link.
    Done,
    /// Not now, or not any more: on to the next queue.
    Stays,
}

/// A walk through one frame.
pub struct Walk<'a> {
    memory: &'a dyn Memory,
    devices: &'a mut Tree,
    /// Which ports of the controller are enabled.
    enabled: &'a [bool],
    now: u64,
    seen: Seen,
    bytes: usize,
    links: usize,
}

impl<'a> Walk<'a> {
    /// The frame at `now`.
    pub fn new(
        memory: &'a dyn Memory,
        devices: &'a mut Tree,
        enabled: &'a [bool],
        now: u64,
    ) -> Walk<'a> {
        Walk {
            memory,
            devices,
            enabled,
            now,
            seen: Seen::default(),
            bytes: 0,
            links: 0,
        }
    }

    /// Walks through the list whose pointer lies at `at`.
    pub fn run(mut self, at: u64) -> Result<Seen, Outside> {
        let mut link = self.word(at)?;
        let mut visited = Vec::new();
        while link & TERMINATE == 0 && self.goes_on() {
            let address = u64::from(link & ADDRESS);
            if link & QUEUE == 0 {
                self.descriptor(address)?;
                link = self.word(address)?;
                continue;
            }
            if visited.contains(&address) {
                // A circle, as drivers make for more bandwidth: once more as long as something moves.
                if !std::mem::take(&mut self.seen.moved) {
                    break;
                }
                visited.clear();
            }
            visited.push(address);
            let before = self.seen.moved;
            self.seen.moved = false;
            self.queue(address)?;
            self.seen.moved |= before;
            link = self.word(address)?;
        }
        self.seen.moved |= self.bytes != 0;
        Ok(self.seen)
    }

    fn goes_on(&mut self) -> bool {
        self.links += 1;
        self.links <= LINKS && self.bytes < BYTES && !self.seen.nonsense
    }

    fn word(&self, at: u64) -> Result<u32, Outside> {
        let mut bytes = [0; 4];
        self.memory.read(at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn put(&self, at: u64, word: u32) -> Result<(), Outside> {
        self.memory.write(at, &word.to_le_bytes())
    }

    /// The descriptors of the queue at `queue`, as far as they end.
    fn queue(&mut self, queue: u64) -> Result<(), Outside> {
        let element = queue + 4;
        let mut link = self.word(element)?;
        while link & TERMINATE == 0 && link & QUEUE == 0 {
            let address = u64::from(link & ADDRESS);
            match self.descriptor(address)? {
                End::Stays => return Ok(()),
                End::Done => {
                    link = self.word(address)?;
                    self.put(element, link)?;
                }
            }
            if link & DEPTH == 0 || !self.goes_on() {
                break;
            }
        }
        Ok(())
    }

    fn descriptor(&mut self, at: u64) -> Result<End, Outside> {
        let [control, token, buffer] =
            [self.word(at + 4)?, self.word(at + 8)?, self.word(at + 12)?];
        if control & ACTIVE == 0 {
            return Ok(End::Stays);
        }
        let room = (token >> 21).wrapping_add(1) as usize & 0x7ff;
        let (device, endpoint) = ((token >> 8 & 0x7f) as u8, (token >> 15 & 0xf) as u8);
        let pid = token as u8;
        if room > 1280 || !matches!(pid, PID_IN | PID_OUT | PID_SETUP) {
            self.seen.nonsense = true;
            return Ok(End::Stays);
        }
        let mut data = vec![0; room];
        if pid != PID_IN {
            self.memory.read(buffer.into(), &mut data)?;
        }
        let outcome = self.packet(device, pid, endpoint, &data);
        let mut control = control & !(TIMEOUT | NAK | BABBLE | STALLED);
        let last = control & INTERRUPT != 0;
        match outcome {
            Outcome::Done(bytes) if pid == PID_IN && bytes.len() > room => {
                control |= BABBLE | STALLED;
                self.fail(at, control, last)
            }
            Outcome::Done(bytes) => {
                let moved = match pid {
                    PID_IN => bytes.len(),
                    _ => room,
                };
                if pid == PID_IN {
                    self.memory.write(buffer.into(), &bytes)?;
                }
                self.bytes += moved.max(8);
                self.seen.moved = true;
                control = control & !(ACTIVE | ACTUAL) | (moved as u32).wrapping_sub(1) & ACTUAL;
                self.put(at + 4, control)?;
                self.seen.complete |= last;
                let short = pid == PID_IN && moved < room && control & SHORT != 0;
                self.seen.short |= short;
                Ok(if short { End::Stays } else { End::Done })
            }
            Outcome::Nak if control & ISOCHRONOUS == 0 => {
                self.put(at + 4, control | NAK)?;
                Ok(End::Stays)
            }
            Outcome::Stall => self.fail(at, control | STALLED, last),
            // Nobody answers: tried again as often as the guest allows.
            Outcome::Silence | Outcome::Nak => {
                control |= TIMEOUT;
                match control & ERRORS {
                    0 | ONE_ERROR => self.fail(at, control & !ERRORS | STALLED, last),
                    _ => {
                        self.put(at + 4, control - ONE_ERROR)?;
                        self.seen.moved = true;
                        Ok(End::Stays)
                    }
                }
            }
        }
    }

    fn fail(&mut self, at: u64, control: u32, last: bool) -> Result<End, Outside> {
        self.put(at + 4, control & !(ACTIVE | ACTUAL) | ACTUAL)?;
        self.seen.error = true;
        self.seen.complete |= last;
        Ok(End::Stays)
    }

    fn packet(&mut self, address: u8, pid: u8, endpoint: u8, data: &[u8]) -> Outcome {
        let now = self.now;
        self.devices
            .packet(self.enabled, address, |device| match pid {
                PID_IN => device.input(endpoint, data.len(), now),
                PID_OUT => device.output(endpoint, data),
                _ => match (endpoint, data.try_into()) {
                    (0, Ok(bytes)) => device.setup(bytes),
                    _ => Outcome::Stall,
                },
            })
    }
}
