//! A drive: its registers, its one command under way, and the medium behind it.
//!
//! ```text
//!            command                 answer of the medium                      the host took or gave a block
//!   idle ------------> BSY (Task) -----------------------> DRQ (PIO) / DMA ---------------------------------> BSY ...
//!     ^                                                                                                        |
//!     '---------------- finish (status, interrupt) <--------- nothing left <-----------------------------------'
//! ```
//! A transfer is cut into pieces of at most [`PIECE`] bytes; each call does one piece.

use super::atapi::Cd;
use super::dma::Master;
use super::registers::*;
use crate::device::Memory;
use crate::medium::{Answer, Medium, Request, What};
use serde::{Deserialize, Serialize};

/// Bytes of a disk's sector.
pub(super) const SECTOR: u64 = 512;
/// Bytes of a CD's block.
pub(super) const BLOCK: u64 = 2048;
/// Bytes asked of the medium at a time.
pub(super) const PIECE: usize = 64 << 10;
/// Sectors of READ/WRITE MULTIPLE at most.
pub(super) const MAX_MULTIPLE: u8 = 16;

/// What a drive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A hard disk.
    Disk,
    /// A CD or DVD reader.
    Cd,
}

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// Sectors of a disk to the host.
    Read,
    /// Sectors from the host.
    Write,
    /// All that was written becomes durable.
    Flush,
    /// Bytes of the drive's own to the host.
    Reply,
    /// A packet's twelve bytes from the host.
    Packet,
    /// Blocks of a CD to the host.
    ReadCd,
}

/// A command under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) work: Work,
    /// The bus master moves the data.
    pub(super) dma: bool,
    /// Next sector or block, and how many from there.
    pub(super) next: u64,
    pub(super) left: u32,
    /// How many of these the medium is at.
    pub(super) asked: u32,
    /// The medium is at it.
    pub(super) waiting: bool,
    /// Bytes between two interrupts.
    pub(super) block: usize,
    /// Data; `at` to `end` is what the host is to take or give now.
    pub(super) buffer: Vec<u8>,
    pub(super) at: usize,
    pub(super) end: usize,
}

impl Task {
    pub(super) fn new(work: Work, dma: bool) -> Task {
        Task {
            work,
            dma,
            next: 0,
            left: 0,
            asked: 0,
            waiting: false,
            block: SECTOR as usize,
            buffer: Vec::new(),
            at: 0,
            end: 0,
        }
    }

    fn unit(&self) -> u64 {
        match self.work {
            Work::ReadCd => BLOCK,
            _ => SECTOR,
        }
    }

    fn is_to_host(&self) -> bool {
        matches!(self.work, Work::Read | Work::Reply | Work::ReadCd)
    }

    /// Whether it can be a saved one.
    fn is_sound(&self) -> bool {
        self.at <= self.end
            && self.end <= self.buffer.len()
            && self.buffer.len() <= PIECE
            && (2..=0x1_0000).contains(&self.block)
            && self.block.is_multiple_of(2)
            && self.left <= 1 << 24
            && self.asked <= self.left
            && u64::from(self.asked) * self.unit() <= PIECE as u64
    }
}

/// All of a drive that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) registers: Registers,
    /// Wants the host's attention.
    pub(super) interrupt: bool,
    /// Sectors of READ MULTIPLE; 0: not set.
    pub(super) multiple: u8,
    /// How the host counts (INITIALIZE DEVICE PARAMETERS).
    pub(super) heads: u8,
    pub(super) sectors: u8,
    /// Multiword DMA mode, or none.
    pub(super) dma_mode: Option<u8>,
    /// Writes are done before they are durable.
    pub(super) write_cache: bool,
    pub(super) task: Option<Task>,
    pub(super) token: u32,
    pub(super) cd: Cd,
}

/// A drive.
#[derive(Debug)]
pub struct Drive {
    pub(super) kind: Kind,
    pub(super) serial: String,
    pub(super) medium: Box<dyn Medium>,
    pub(super) state: State,
}

impl Drive {
    /// A drive whose serial number the guest sees: up to 20 characters of ASCII.
    pub fn new(kind: Kind, serial: &str, medium: Box<dyn Medium>) -> Drive {
        let mut drive = Drive {
            kind,
            serial: serial.into(),
            state: State {
                registers: Registers::default(),
                interrupt: false,
                multiple: 0,
                heads: 16,
                sectors: 63,
                dma_mode: Some(2),
                write_cache: true,
                task: None,
                token: 0,
                cd: Cd::new(medium.disc()),
            },
            medium,
        };
        drive.state.registers.signature(kind == Kind::Cd);
        drive
    }

    /// Whether it answers: a hard disk whose medium is gone does not.
    pub(super) fn is_there(&self) -> bool {
        self.kind == Kind::Cd || self.medium.disc().bytes.is_some()
    }

    /// Sectors or blocks of the medium.
    pub(super) fn capacity(&self) -> u64 {
        let unit = if self.kind == Kind::Cd { BLOCK } else { SECTOR };
        self.medium.disc().bytes.unwrap_or(0) / unit
    }

    /// Power-on, or the machine's reset.
    pub(super) fn power_on(&mut self) {
        let state = &mut self.state;
        state.multiple = 0;
        (state.heads, state.sectors) = (16, 63);
        state.dma_mode = Some(2);
        state.write_cache = true;
        state.cd.unlock();
        self.soft_reset();
    }

    /// SRST, DEVICE RESET, EXECUTE DEVICE DIAGNOSTIC: the command under way is forgotten.
    pub(super) fn soft_reset(&mut self) {
        self.state.task = None;
        self.state.interrupt = false;
        self.state.registers.signature(self.kind == Kind::Cd);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.state.registers.status & (BSY | DRQ) != 0
    }

    /// The command is over.
    pub(super) fn finish(&mut self, interrupt: bool) {
        let packet = self.kind == Kind::Cd;
        self.state.task = None;
        let registers = &mut self.state.registers;
        registers.status = DRDY | DSC;
        registers.error = 0;
        if packet {
            registers.count[0] = COMMAND | TO_HOST;
        }
        self.state.interrupt |= interrupt;
    }

    /// The command is over, not well.
    pub(super) fn fail(&mut self, error: u8) {
        self.finish(true);
        let registers = &mut self.state.registers;
        registers.error = error;
        registers.status |= ERR;
    }

    fn ask(&mut self, what: What) {
        self.state.token = self.state.token.wrapping_add(1);
        if let Some(task) = &mut self.state.task {
            task.waiting = true;
        }
        self.state.registers.status = BSY;
        let token = self.state.token;
        self.medium.begin(Request { token, what });
    }

    /// Has the medium do the next piece of the task.
    pub(super) fn ask_next(&mut self) {
        let capacity = self.capacity();
        let Some(task) = &mut self.state.task else {
            return;
        };
        let unit = task.unit();
        let what = match task.work {
            Work::Read | Work::ReadCd => {
                task.asked = task.left.min((PIECE as u64 / unit) as u32);
                task.buffer.clear();
                (task.at, task.end) = (0, 0);
                What::Read {
                    offset: task.next.saturating_mul(unit),
                    length: task.asked as usize * unit as usize,
                }
            }
            Work::Write => {
                task.asked = (task.buffer.len() as u64 / unit).min(task.left.into()) as u32;
                What::Write {
                    offset: task.next.saturating_mul(unit),
                    data: task.buffer.clone(),
                }
            }
            Work::Flush => What::Flush,
            Work::Reply | Work::Packet => return,
        };
        if task.next.saturating_add(task.asked.into()) > capacity && task.asked > 0 {
            return self.out_of_range();
        }
        self.ask(what);
    }

    fn out_of_range(&mut self) {
        match self.kind {
            Kind::Disk => self.fail(IDNF),
            Kind::Cd => self.out_of_range_cd(),
        }
    }

    /// Looks at the medium: has it an answer, is it another one? At most one answer is taken.
    pub(super) fn attend(&mut self) {
        if let Some(answer) = self.medium.finished() {
            self.answered(answer);
        }
        self.state.cd.look(self.medium.disc());
    }

    fn answered(&mut self, answer: Answer) {
        let Some(task) = &mut self.state.task else {
            return;
        };
        if !task.waiting || answer.token != self.state.token {
            return;
        }
        task.waiting = false;
        let length = task.asked as usize * task.unit() as usize;
        let Ok(data) = answer.result else {
            return self.medium_failed();
        };
        task.next += u64::from(task.asked);
        task.left -= task.asked;
        task.asked = 0;
        match task.work {
            Work::Read | Work::ReadCd if data.len() == length => {
                task.buffer = data;
                self.offer();
            }
            Work::Read | Work::ReadCd => self.medium_failed(),
            Work::Write if task.left > 0 => self.demand(true),
            Work::Write if !self.state.write_cache => {
                self.state.task = Some(Task::new(Work::Flush, false));
                self.ask_next();
            }
            _ => self.finish(true),
        }
    }

    fn medium_failed(&mut self) {
        match (self.kind, self.state.task.as_ref().map(|task| task.work)) {
            (Kind::Cd, _) => self.medium_failed_cd(),
            (Kind::Disk, Some(Work::Read)) => self.fail(UNC),
            (Kind::Disk, _) => {
                self.fail(ABRT);
                self.state.registers.status |= DF;
            }
        }
    }

    /// Data is there for the host.
    pub(super) fn offer(&mut self) {
        let packet = self.kind == Kind::Cd;
        let Some(task) = &mut self.state.task else {
            return;
        };
        let dma = task.dma;
        let limit = if dma { PIECE } else { task.block };
        task.end = task.at.saturating_add(limit).min(task.buffer.len());
        let bytes = task.end - task.at;
        let registers = &mut self.state.registers;
        registers.status = DRDY | DSC | DRQ;
        if packet && task.work != Work::Packet {
            registers.count[0] = TO_HOST;
            if !dma {
                registers.set_byte_count(bytes);
            }
        }
        self.state.interrupt |= !dma;
    }

    /// Data is wanted of the host.
    pub(super) fn demand(&mut self, interrupt: bool) {
        let Some(task) = &mut self.state.task else {
            return;
        };
        let left = u64::from(task.left) * SECTOR;
        let most = if task.dma { PIECE } else { task.block };
        let bytes = match task.work {
            Work::Packet => super::atapi::PACKET_BYTES,
            _ => left.min(most as u64) as usize,
        };
        task.buffer = vec![0; bytes];
        (task.at, task.end) = (0, bytes);
        let dma = task.dma;
        self.state.registers.status = DRDY | DSC | DRQ;
        self.state.interrupt |= interrupt && !dma;
    }

    /// A block has been moved: what comes next?
    fn block_over(&mut self) {
        let Some(task) = &self.state.task else {
            return;
        };
        match task.work {
            Work::Packet => self.packet(),
            Work::Write => self.ask_next(),
            _ if task.at < task.buffer.len() => self.offer(),
            _ if task.left > 0 => self.ask_next(),
            // A disk's last block is over when the host has it; a packet command tells so.
            _ => {
                let tells = task.dma || self.kind == Kind::Cd;
                self.finish(tells);
            }
        }
    }

    /// The host reads a word of data.
    pub(super) fn data_in(&mut self) -> u16 {
        let drq = self.state.registers.status & DRQ != 0;
        let Some(task) = &mut self.state.task else {
            return 0xffff;
        };
        if !drq || task.dma || !task.is_to_host() {
            return 0xffff;
        }
        let byte = |at: usize| task.buffer.get(at).copied().unwrap_or(0);
        let word = u16::from_le_bytes([byte(task.at), byte(task.at + 1)]);
        // The last byte of an odd number comes with a pad.
        task.at = (task.at + 2).min(task.end);
        if task.at == task.end {
            self.block_over();
        }
        word
    }

    /// The host writes a word of data.
    pub(super) fn data_out(&mut self, word: u16) {
        let drq = self.state.registers.status & DRQ != 0;
        let Some(task) = &mut self.state.task else {
            return;
        };
        if !drq || task.is_to_host() || (task.dma && task.work != Work::Packet) {
            return;
        }
        for byte in word.to_le_bytes() {
            if task.at < task.end {
                task.buffer[task.at] = byte;
                task.at += 1;
            }
        }
        if task.at == task.end {
            self.block_over();
        }
    }

    /// Moves what can be moved by the bus master.
    pub(super) fn pump(&mut self, master: &mut Master, memory: &dyn Memory) {
        let drq = self.state.registers.status & DRQ != 0;
        let Some(task) = &mut self.state.task else {
            return;
        };
        let to_host = task.is_to_host();
        if !drq || !task.dma || task.work == Work::Packet || !master.is_ready(to_host) {
            return;
        }
        let range = task.at..task.end;
        task.at += match to_host {
            true => master.give(&task.buffer[range], memory),
            false => master.take(&mut task.buffer[range], memory),
        };
        if task.at == task.end {
            self.block_over();
        }
    }

    /// A restored drive: the request that its medium was at is made again.
    pub(super) fn resume(&mut self, state: State) -> Result<(), &'static str> {
        let sound = state.task.as_ref().is_none_or(Task::is_sound)
            && state.heads.wrapping_sub(1) < 16
            && state.sectors.wrapping_sub(1) < 63
            && state.multiple <= MAX_MULTIPLE
            && state.dma_mode.is_none_or(|mode| mode < 3)
            && state.cd.is_sound();
        if !sound {
            return Err("a drive whose numbers do not fit together");
        }
        self.state = state;
        let Some(task) = &self.state.task else {
            return Ok(());
        };
        if task.work == Work::Packet && task.buffer.len() != super::atapi::PACKET_BYTES {
            return Err("a packet of another length than 12");
        }
        if task.waiting {
            let unit = task.unit();
            let offset = task.next.saturating_mul(unit);
            let what = match task.work {
                Work::Read | Work::ReadCd => What::Read {
                    offset,
                    length: task.asked as usize * unit as usize,
                },
                Work::Write => What::Write {
                    offset,
                    data: task.buffer.clone(),
                },
                Work::Flush => What::Flush,
                Work::Reply | Work::Packet => return Err("a drive that waits for nothing"),
            };
            let token = self.state.token;
            self.medium.begin(Request { token, what });
        }
        Ok(())
    }
}
