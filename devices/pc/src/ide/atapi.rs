//! A CD reader: packet commands (ATA/ATAPI-6, 8.23 PACKET; SFF-8020i 2.6; MMC-2 and MMC-3 for what came later).
//!
//! ```text
//!   PACKET --> 12 bytes --> packet() --> reply (parameters)  --> interrupt reason 3, status
//!                              |-------> ReadCd (medium)     -->   "
//!                              '-------> check: sense key, code, qualifier; ERR
//! ```

use super::drive::{Drive, Task, Work, BLOCK};
use super::identify;
use super::registers::*;
use super::replies;
use crate::medium::Disc;
use serde::{Deserialize, Serialize};

/// Bytes of a packet.
pub(super) const PACKET_BYTES: usize = 12;

/// Sense: key, additional code, qualifier (SFF-8020i, table 140).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sense {
    pub(super) key: u8,
    pub(super) code: u8,
    pub(super) qualifier: u8,
}

const fn sense(key: u8, code: u8, qualifier: u8) -> Sense {
    Sense {
        key,
        code,
        qualifier,
    }
}

const NOT_READY_CLOSED: Sense = sense(2, 0x3a, 1);
const NOT_READY_OPEN: Sense = sense(2, 0x3a, 2);
const UNREADABLE: Sense = sense(3, 0x11, 0);
const UNKNOWN_COMMAND: Sense = sense(5, 0x20, 0);
const OUT_OF_RANGE: Sense = sense(5, 0x21, 0);
const INVALID_FIELD: Sense = sense(5, 0x24, 0);
const LOCKED: Sense = sense(5, 0x53, 2);
const MEDIUM_CHANGED: Sense = sense(6, 0x28, 0);

/// What GET EVENT STATUS NOTIFICATION tells of the medium (MMC-2, table 70).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum News {
    /// Nothing new.
    None,
    /// A medium was put in.
    New,
    /// It was taken out.
    Removed,
}

/// A CD reader's own state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cd {
    pub(super) sense: Sense,
    /// The next command hears that the medium changed.
    attention: bool,
    pub(super) news: News,
    locked: bool,
    pub(super) open: bool,
    /// Bytes of the medium as last seen, and [`Disc::changes`] then.
    seen: Option<u64>,
    changes: u64,
}

impl Cd {
    pub(super) fn new(disc: Disc) -> Cd {
        Cd {
            sense: Sense::default(),
            attention: false,
            news: News::None,
            locked: false,
            open: false,
            seen: disc.bytes,
            changes: disc.changes,
        }
    }

    pub(super) fn unlock(&mut self) {
        self.locked = false;
    }

    pub(super) fn is_sound(&self) -> bool {
        self.sense.key < 16
    }

    /// Finds out whether the medium is another one now.
    pub(super) fn look(&mut self, disc: Disc) {
        if (disc.bytes, disc.changes) == (self.seen, self.changes) {
            return;
        }
        (self.seen, self.changes) = (disc.bytes, disc.changes);
        self.attention = disc.bytes.is_some();
        self.news = if disc.bytes.is_some() {
            News::New
        } else {
            News::Removed
        };
        if disc.bytes.is_some() {
            self.open = false;
        }
    }
}

/// A big-endian number in a packet.
fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

impl Drive {
    pub(super) fn cd_command(&mut self, command: u8) {
        match command {
            0x08 => self.soft_reset(),
            0xa0 => self.begin_packet(),
            0xa1 => self.reply(identify::cd(self)),
            // Disks' commands are refused with the signature, by which drivers tell the two apart (9.12).
            0x20 | 0xec => {
                self.soft_reset();
                self.fail(ABRT);
                self.state.registers.count[0] = 1;
            }
            _ => self.common_command(command),
        }
    }

    fn begin_packet(&mut self) {
        let features = self.state.registers.feature[0];
        if features & 2 != 0 {
            // Overlapped commands are not offered.
            return self.fail(ABRT);
        }
        let mut task = Task::new(Work::Packet, features & 1 != 0);
        task.block = self.state.registers.byte_limit();
        self.state.task = Some(task);
        self.demand(false);
        self.state.registers.count[0] = COMMAND;
    }

    /// CHECK CONDITION.
    fn check(&mut self, sense: Sense) {
        self.state.cd.sense = sense;
        self.fail(sense.key << 4 | ABRT);
    }

    pub(super) fn out_of_range_cd(&mut self) {
        self.check(OUT_OF_RANGE);
    }

    pub(super) fn medium_failed_cd(&mut self) {
        self.check(UNREADABLE);
    }

    /// All of a packet is there.
    pub(super) fn packet(&mut self) {
        let Some(task) = self.state.task.take() else {
            return;
        };
        let mut packet = [0; PACKET_BYTES];
        packet.copy_from_slice(&task.buffer[..PACKET_BYTES]);
        // INQUIRY, REQUEST SENSE, GET CONFIGURATION, GET EVENT STATUS NOTIFICATION do not hear of a change (MMC-2, 6.1.1.2).
        let hears = !matches!(packet[0], 0x12 | 0x03 | 0x46 | 0x4a);
        self.state.cd.look(self.medium.disc());
        if hears && std::mem::take(&mut self.state.cd.attention) {
            return self.check(MEDIUM_CHANGED);
        }
        if packet[0] != 0x03 {
            self.state.cd.sense = Sense::default();
        }
        self.execute(&packet, &task);
    }

    /// Whether there is a medium; else the command has been answered.
    fn is_ready(&mut self) -> bool {
        if self.medium.disc().bytes.is_some() {
            return true;
        }
        self.check(if self.state.cd.open {
            NOT_READY_OPEN
        } else {
            NOT_READY_CLOSED
        });
        false
    }

    fn execute(&mut self, packet: &[u8; PACKET_BYTES], task: &Task) {
        let length16 = number(&packet[7..9]) as usize;
        match packet[0] {
            // TEST UNIT READY, SEEK.
            0x00 | 0x2b if self.is_ready() => self.finish(true),
            0x00 | 0x2b => {}
            0x03 => {
                let bytes = replies::sense(self.state.cd.sense);
                self.state.cd.sense = Sense::default();
                self.send(bytes, packet[4].into(), task);
            }
            0x12 if packet[1] & 1 != 0 || packet[2] != 0 => self.check(INVALID_FIELD),
            0x12 => self.send(replies::inquiry(), packet[4].into(), task),
            0x1b => self.start_stop(packet[4]),
            0x1e => {
                self.state.cd.locked = packet[4] & 1 != 0;
                self.medium.keep(self.state.cd.locked);
                self.finish(true);
            }
            0x25 if self.is_ready() => {
                self.send(replies::capacity(self.capacity()), 8, task);
            }
            0x28 => self.read(number(&packet[2..6]), number(&packet[7..9]), task),
            0xa8 => self.read(number(&packet[2..6]), number(&packet[6..10]), task),
            0xbe => self.read_cd(packet, task),
            0x43 if self.is_ready() => match replies::toc(packet, self.capacity()) {
                Some(bytes) => self.send(bytes, length16, task),
                None => self.check(INVALID_FIELD),
            },
            0x46 => self.send(
                replies::configuration(packet, self.capacity()),
                length16,
                task,
            ),
            0x4a => {
                // Only polling, MMC-2 6.1.4.
                if packet[1] & 1 == 0 {
                    return self.check(INVALID_FIELD);
                }
                let present = self.medium.disc().bytes.is_some();
                let bytes =
                    replies::event(packet[4], self.state.cd.news, present, self.state.cd.open);
                if packet[4] & 0x10 != 0 {
                    self.state.cd.news = News::None;
                }
                self.send(bytes, length16, task);
            }
            0x51 if self.is_ready() => self.send(replies::disc_information(), length16, task),
            0x5a => match replies::mode(packet, self.state.cd.locked) {
                Some(bytes) => self.send(bytes, length16, task),
                None => self.check(INVALID_FIELD),
            },
            // SET CD SPEED: as fast as it goes, always.
            0xbb => self.finish(true),
            0xbd => {
                let limit = number(&packet[8..10]) as usize;
                self.send(replies::mechanism(self.state.cd.open), limit, task);
            }
            // Answered by is_ready above.
            0x25 | 0x43 | 0x51 => {}
            _ => self.check(UNKNOWN_COMMAND),
        }
    }

    /// Sends a reply, cut to what the host has room for.
    fn send(&mut self, mut bytes: Vec<u8>, limit: usize, task: &Task) {
        bytes.truncate(limit);
        if bytes.is_empty() {
            return self.finish(true);
        }
        let mut reply = Task::new(Work::Reply, task.dma);
        reply.block = task.block;
        reply.buffer = bytes;
        self.state.task = Some(reply);
        self.offer();
    }

    fn read(&mut self, first: u32, count: u32, task: &Task) {
        if !self.is_ready() {
            return;
        }
        let end = u64::from(first) + u64::from(count);
        if end > self.capacity() || count > 1 << 24 {
            return self.check(OUT_OF_RANGE);
        }
        if count == 0 {
            return self.finish(true);
        }
        let mut read = Task::new(Work::ReadCd, task.dma);
        (read.next, read.left) = (first.into(), count);
        // Whole blocks where the host takes that many bytes.
        let whole = task.block / BLOCK as usize * BLOCK as usize;
        read.block = if whole == 0 { task.block } else { whole };
        self.state.task = Some(read);
        self.ask_next();
    }

    /// READ CD (MMC-2, 6.1.15): the user data of mode 1 sectors only.
    fn read_cd(&mut self, packet: &[u8; PACKET_BYTES], task: &Task) {
        let sector_type = packet[1] >> 2 & 7;
        match packet[9] & 0xf8 {
            0 => self.finish(true),
            0x10 if matches!(sector_type, 0 | 2 | 4) && packet[10] & 7 == 0 => {
                self.read(number(&packet[2..6]), number(&packet[6..9]), task);
            }
            _ => self.check(INVALID_FIELD),
        }
    }

    /// START STOP UNIT: bit 1 moves the tray, bit 0 in or out.
    fn start_stop(&mut self, how: u8) {
        if how & 2 == 0 {
            return self.finish(true);
        }
        let open = how & 1 == 0;
        if open && self.state.cd.locked {
            return self.check(LOCKED);
        }
        if open != self.state.cd.open {
            self.medium.tray(open);
            self.state.cd.look(self.medium.disc());
            self.state.cd.open = open;
        }
        self.finish(true);
    }
}
