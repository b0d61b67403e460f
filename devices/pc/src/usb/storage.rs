//! A disk at the USB controller: Bulk-Only Transport 1.0, and of SCSI what drivers of such disks use (SPC-2, SBC-2).
//!
//! ```text
//!   endpoint 0 --control.rs--> requests: descriptors, address, configuration, reset, number of units
//!   endpoint 2 OUT: command (31 bytes) --scsi.rs--> Phase::In, Out, Ending, Failed
//!   endpoint 1 IN: data, then status (13 bytes); NAK while the medium is at work
//!      medium --finished()--> data for the guest, or the next piece may come      a piece is at most 64 KiB
//! ```

use super::control::{Control, Outcome, Reply, Request};
use super::scsi::{self, Sense};
use super::{text_descriptor, LANGUAGES};
use crate::medium::{self, Medium, What};
use serde::{Deserialize, Serialize};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Bytes asked of the medium at a time.
const PIECE: u64 = 64 << 10;
/// Bytes of a packet of the data endpoints.
const PACKET: usize = 64;
const COMMAND: usize = 31;
const VENDOR: [u8; 2] = 0x0627u16.to_le_bytes();
const PRODUCT: [u8; 2] = 0x0002u16.to_le_bytes();

/// Status of a command (6.7): passed, failed, out of step.
const PASSED: u8 = 0;
const FAILED: u8 = 1;
const OUT_OF_STEP: u8 = 2;

/// Where a command is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// The next one may come.
    #[default]
    Idle,
    /// Bytes for the guest; so many more are the medium's, from this one on.
    In { data: Vec<u8>, next: u64, left: u64 },
    /// Bytes from the guest, for the medium from `next` on; so many more are to come.
    Out { data: Vec<u8>, next: u64, left: u64 },
    /// The medium is at the last of it.
    Ending,
    /// Its status may be taken.
    Status,
}

/// What the medium is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Job {
    Read { offset: u64, length: u64 },
    Write { offset: u64, data: Vec<u8> },
    Flush,
}

/// The disk, without its medium, which comes with each call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    address: u8,
    /// Counts once the request that brought it has ended.
    next_address: Option<u8>,
    configuration: u8,
    control: Control,
    /// The endpoints for data refuse: IN, OUT.
    halted: [bool; 2],
    phase: Phase,
    /// The command's.
    tag: u32,
    /// Bytes that the guest still expects to move.
    expected: u32,
    status: u8,
    sense: Sense,
    token: u32,
    job: Option<Job>,
}

fn string(number: u8) -> Option<Vec<u8>> {
    let text = match number {
        0 => return Some(LANGUAGES.into()),
        1 => "Noxen",
        2 => "Noxen USB Disk",
        // Twelve digits at least (Bulk-Only Transport, 4.1.1).
        3 => "000000000001",
        _ => return None,
    };
    Some(text_descriptor(text))
}

fn descriptor(value: u16) -> Option<Vec<u8>> {
    let [number, kind] = value.to_le_bytes();
    match (kind, number) {
        (1, 0) => Some(
            [
                &[18, 1, 0x10, 0x01, 0, 0, 0, 8][..],
                &VENDOR,
                &PRODUCT,
                &[0x00, 0x01, 1, 2, 3, 1],
            ]
            .concat(),
        ),
        (2, 0) => Some(
            [
                // 32 bytes, one interface, 100 mA.
                &[9, 2, 32, 0, 1, 1, 0, 0x80, 50][..],
                // Mass storage, SCSI, bulk only.
                &[9, 4, 0, 0, 2, 8, 6, 0x50, 0],
                &[7, 5, 0x81, 2, PACKET as u8, 0, 0],
                &[7, 5, 0x02, 2, PACKET as u8, 0, 0],
            ]
            .concat(),
        ),
        (3, number) => string(number),
        _ => None,
    }
}

impl Storage {
    /// Its address on the bus.
    pub fn address(&self) -> u8 {
        self.address
    }

    /// Its port was reset. What the medium is at is not waited for any more.
    pub fn reset(&mut self) {
        self.drop_job();
        *self = Storage {
            token: self.token,
            job: self.job.take(),
            ..Storage::default()
        };
    }

    /// A SETUP packet.
    pub fn setup(&mut self, bytes: [u8; 8]) -> Outcome {
        let request = Request::of(bytes);
        self.next_address = None;
        let reply = self.request(request);
        self.control.setup(request, reply);
        Outcome::Done(Vec::new())
    }

    fn request(&mut self, request: Request) -> Reply {
        let [low, _] = request.value.to_le_bytes();
        let endpoint = match request.index {
            0x81 => Some(0),
            0x02 => Some(1),
            _ => None,
        };
        match (request.kind, request.request) {
            (0x80 | 0x81, 0) => Reply::Answer(vec![0, 0]),
            (0x82, 0) => {
                let halted = endpoint.is_some_and(|endpoint| self.halted[endpoint]);
                Reply::Answer(vec![halted.into(), 0])
            }
            // CLEAR_FEATURE and SET_FEATURE: halt.
            (0x02, 1 | 3) if request.value == 0 => {
                if let Some(endpoint) = endpoint {
                    self.halted[endpoint] = request.request == 3;
                }
                Reply::Done
            }
            (0x00, 5) if request.value < 128 => {
                self.next_address = Some(low);
                Reply::Done
            }
            (0x80, 6) => descriptor(request.value).map_or(Reply::Refused, Reply::Answer),
            (0x80, 8) => Reply::Answer(vec![self.configuration]),
            (0x00, 9) if request.value < 2 => {
                self.configuration = low;
                self.begin_anew();
                Reply::Done
            }
            (0x81, 10) => Reply::Answer(vec![0]),
            (0x01, 11) if request.value == 0 => Reply::Done,
            // Bulk-Only Transport: reset, the last unit.
            (0x21, 0xff) => {
                self.begin_anew();
                Reply::Done
            }
            (0xa1, 0xfe) => Reply::Answer(vec![0]),
            _ => Reply::Refused,
        }
    }

    fn begin_anew(&mut self) {
        self.halted = [false; 2];
        self.phase = Phase::Idle;
        self.drop_job();
    }

    /// Nobody waits for the medium any more. What it writes it writes to the end, before the next command.
    fn drop_job(&mut self) {
        if let Some(Job::Read { .. }) = self.job {
            self.job = None;
            self.token = self.token.wrapping_add(1);
        }
    }

    /// The guest wants up to `room` bytes of endpoint `endpoint`.
    pub fn input(&mut self, endpoint: u8, room: usize, medium: &mut dyn Medium) -> Outcome {
        match endpoint {
            0 => {
                let (outcome, ended) = self.control.input(room);
                if let Some(address) = self.next_address.take_if(|_| ended) {
                    self.address = address;
                }
                outcome
            }
            1 if self.configuration != 0 && !self.halted[0] => self.give(room, medium),
            _ => Outcome::Stall,
        }
    }

    fn give(&mut self, room: usize, medium: &mut dyn Medium) -> Outcome {
        self.look(medium);
        if self.halted[0] {
            return Outcome::Stall;
        }
        match &mut self.phase {
            Phase::Idle => Outcome::Stall,
            Phase::In { data, left, .. } => {
                if data.is_empty() && *left != 0 {
                    return Outcome::Nak;
                }
                let count = data.len().min(PACKET).min(room);
                let count = count.min(self.expected as usize);
                let part: Vec<u8> = data.drain(..count).collect();
                self.expected -= count as u32;
                let over = data.is_empty() && *left == 0 || self.expected == 0;
                self.ask_more(medium);
                if over {
                    self.drop_job();
                    self.phase = Phase::Status;
                    // Less than the guest expects, and no short packet says so.
                    self.halted[0] = self.expected != 0 && part.len() == PACKET;
                }
                Outcome::Done(part)
            }
            Phase::Out { .. } | Phase::Ending => Outcome::Nak,
            Phase::Status => {
                let residue = self.expected.to_le_bytes();
                let tag = self.tag.to_le_bytes();
                self.phase = Phase::Idle;
                Outcome::Done([b"USBS", &tag[..], &residue, &[self.status]].concat())
            }
        }
    }

    /// The guest brings bytes to endpoint `endpoint`.
    pub fn output(&mut self, endpoint: u8, bytes: &[u8], medium: &mut dyn Medium) -> Outcome {
        match endpoint {
            // No request brings data that matters.
            0 => self.control.output(bytes).0,
            2 if self.configuration != 0 && !self.halted[1] => self.take(bytes, medium),
            _ => Outcome::Stall,
        }
    }

    fn take(&mut self, bytes: &[u8], medium: &mut dyn Medium) -> Outcome {
        self.look(medium);
        if self.halted[1] {
            return Outcome::Stall;
        }
        match &mut self.phase {
            Phase::Idle | Phase::Status if self.job.is_some() => Outcome::Nak,
            Phase::Idle | Phase::Status => {
                self.command(bytes, medium);
                Outcome::Done(Vec::new())
            }
            Phase::Out { data, left, .. } => {
                if self.job.is_some() {
                    return Outcome::Nak;
                }
                let count = bytes.len().min(*left as usize);
                data.extend_from_slice(&bytes[..count]);
                *left -= count as u64;
                self.expected = self.expected.saturating_sub(bytes.len() as u32);
                self.bring(medium);
                Outcome::Done(Vec::new())
            }
            Phase::In { .. } | Phase::Ending => Outcome::Stall,
        }
    }

    /// A command block (Bulk-Only Transport, 5.1).
    fn command(&mut self, bytes: &[u8], medium: &mut dyn Medium) {
        let good = bytes.len() == COMMAND && bytes.starts_with(b"USBC") && bytes[13] == 0;
        let length = bytes.get(14).copied().unwrap_or(0);
        if !good || !(1..=16).contains(&length) {
            // Until the guest resets it.
            self.halted = [true; 2];
            return;
        }
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        self.tag = u32::from_le_bytes(word(4));
        self.expected = u32::from_le_bytes(word(8));
        self.status = PASSED;
        let wants_data = bytes[12] & 0x80 != 0;
        let mut block = [0; 16];
        block.copy_from_slice(&bytes[15..31]);
        let sectors = medium.disc().bytes.unwrap_or(0) / SECTOR;
        let wanted = scsi::command(&block, sectors, medium.disc().writable, &mut self.sense);
        let expects = self.expected != 0;
        match wanted {
            Ok(scsi::Wanted::Nothing) => self.end(PASSED),
            Ok(scsi::Wanted::Flush) => {
                self.phase = Phase::Ending;
                self.ask(Job::Flush, medium);
            }
            Ok(scsi::Wanted::Answer(data)) if wants_data || !expects => {
                self.begin_in(data, 0, 0, medium);
            }
            Ok(scsi::Wanted::Read { offset, length }) if wants_data || !expects => {
                self.begin_in(Vec::new(), offset, length, medium);
            }
            Ok(scsi::Wanted::Write { offset, length }) if !wants_data && expects => {
                let left = length.min(self.expected.into());
                self.phase = Phase::Out {
                    data: Vec::new(),
                    next: offset,
                    left,
                };
            }
            Ok(scsi::Wanted::Write { length: 0, .. }) => self.end(PASSED),
            // Data in the wrong direction.
            Ok(_) => self.end(OUT_OF_STEP),
            Err(sense) => {
                self.sense = sense;
                self.end(FAILED);
            }
        }
    }

    fn begin_in(&mut self, data: Vec<u8>, next: u64, left: u64, medium: &mut dyn Medium) {
        if self.expected == 0 && (left != 0 || !data.is_empty()) {
            return self.end(OUT_OF_STEP);
        }
        if left == 0 && data.is_empty() {
            return self.end(PASSED);
        }
        self.phase = Phase::In { data, next, left };
        self.ask_more(medium);
    }

    /// The command is over; data that the guest expects to move is refused.
    fn end(&mut self, status: u8) {
        self.status = status;
        self.drop_job();
        self.phase = Phase::Status;
        if self.expected != 0 {
            self.halted = [true; 2];
        }
    }

    /// Asks for what comes next while the guest takes what there is.
    fn ask_more(&mut self, medium: &mut dyn Medium) {
        if let Phase::In { data, next, left } = &self.phase {
            if self.job.is_none() && *left != 0 && data.len() < PACKET {
                let job = Job::Read {
                    offset: *next,
                    length: (*left).min(PIECE),
                };
                self.ask(job, medium);
            }
        }
    }

    /// Hands the medium a whole piece, or the last one.
    fn bring(&mut self, medium: &mut dyn Medium) {
        let Phase::Out { data, next, left } = &mut self.phase else {
            return;
        };
        if *left != 0 && (data.len() as u64) < PIECE {
            return;
        }
        // Sectors are written whole.
        let whole = data.len() as u64 / SECTOR * SECTOR;
        data.truncate(whole as usize);
        let (data, offset) = (std::mem::take(data), *next);
        *next += whole;
        if *left == 0 {
            self.phase = Phase::Ending;
        }
        self.ask(Job::Write { offset, data }, medium);
    }

    fn ask(&mut self, job: Job, medium: &mut dyn Medium) {
        self.token = self.token.wrapping_add(1);
        self.job = Some(job);
        self.ask_again(medium);
    }

    /// What it was at when it was saved is asked of the medium that it has now.
    pub fn ask_again(&mut self, medium: &mut dyn Medium) {
        let Some(job) = &self.job else { return };
        let what = match job {
            Job::Read { offset, length } => What::Read {
                offset: *offset,
                length: *length as usize,
            },
            Job::Write { offset, data } => What::Write {
                offset: *offset,
                data: data.clone(),
            },
            Job::Flush => What::Flush,
        };
        medium.begin(medium::Request {
            token: self.token,
            what,
        });
    }

    /// Takes what the medium has done.
    pub fn look(&mut self, medium: &mut dyn Medium) {
        while let Some(answer) = medium.finished() {
            if answer.token != self.token {
                continue;
            }
            let Some(job) = self.job.take() else { continue };
            if matches!(self.phase, Phase::Idle | Phase::Status) {
                continue;
            }
            let Ok(bytes) = answer.result else {
                self.sense = match job {
                    Job::Read { .. } => scsi::UNREADABLE,
                    _ => scsi::UNWRITABLE,
                };
                self.end(FAILED);
                continue;
            };
            match (&mut self.phase, job) {
                (Phase::In { data, next, left }, Job::Read { length, .. })
                    if bytes.len() as u64 == length =>
                {
                    data.extend(bytes);
                    *next += length;
                    *left -= length;
                }
                (Phase::Ending, _) => {
                    let short = self.expected != 0;
                    self.phase = Phase::Status;
                    self.halted[1] = short;
                }
                _ => {}
            }
        }
    }

    /// No disk of `bytes` has such.
    pub fn is_wild(&self, bytes: u64) -> bool {
        let addresses = [Some(self.address), self.next_address];
        let most = PIECE as usize + PACKET;
        let within = |next: u64, left: u64| next.checked_add(left).is_some_and(|end| end <= bytes);
        let phase = match &self.phase {
            Phase::In { data, next, left } => {
                data.len() <= most
                    && within(*next, *left)
                    && (*left == 0 || self.job.is_some() || !data.is_empty())
            }
            Phase::Out { data, next, left } => {
                let kept = data.len() as u64;
                data.len() <= most
                    && kept
                        .checked_add(*left)
                        .is_some_and(|sum| within(*next, sum))
            }
            Phase::Ending => self.job.is_some(),
            Phase::Idle | Phase::Status => true,
        };
        let job = match (&self.job, &self.phase) {
            (Some(Job::Read { offset, length }), Phase::In { next, left, .. }) => {
                offset == next && length <= left && *length <= PIECE
            }
            (Some(Job::Read { .. }), _) | (Some(_), Phase::In { .. }) => false,
            (Some(Job::Write { offset, data }), _) => {
                data.len() <= most && within(*offset, data.len() as u64)
            }
            (Some(Job::Flush) | None, _) => true,
        };
        addresses.iter().flatten().any(|address| *address > 127)
            || self.configuration > 1
            || self.control.is_wild()
            || !phase
            || !job
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
