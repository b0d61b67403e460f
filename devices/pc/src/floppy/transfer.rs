//! Commands that move data: READ, WRITE, VERIFY, FORMAT TRACK (82077AA, 5.1.1 to 5.1.6), with DMA or byte by byte.
//!
//! ```text
//!   read:   medium (rest of the track) --> buffer --> DMA / FIFO   sector by sector, until terminal count or the last sector
//!   write:  DMA / FIFO --> buffer (rest of the track) --> medium
//!   format: DMA / FIFO --> 4 bytes for each sector --> medium (the whole track)
//! ```
//! A buffer is at most one track: [`MAX_SECTORS`] sectors.

use super::drive::{Shape, SECTOR};
use super::Floppy;
use crate::device::Turn;
use crate::medium::{Answer, Request, What};
use serde::{Deserialize, Serialize};

/// Sectors of a track at most, of any disk.
const MAX_SECTORS: usize = 36;

/// Status register 0: the command did not do what it should; there is no such command; not ready.
pub(super) const ABNORMAL: u8 = 0x40;
pub(super) const INVALID: u8 = 0x80;

/// Why a command ended: status registers 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault(u8, u8);

const NO_MARK: Fault = Fault(0x01, 0);
const PROTECTED: Fault = Fault(0x02, 0);
const NO_DATA: Fault = Fault(0x04, 0);
const WRONG_TRACK: Fault = Fault(0x04, 0x10);
const OVERRUN: Fault = Fault(0x10, 0);
const DATA_ERROR: Fault = Fault(0x20, 0x20);
const END: Fault = Fault(0x80, 0);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    Read,
    Write,
    Verify,
    Format,
}

/// A command under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    work: Work,
    /// Drive and head as the command named them.
    unit: u8,
    pub(super) track: u8,
    head: u8,
    pub(super) sector: u8,
    size: u8,
    /// Last sector of a track.
    last: u8,
    /// Goes on with the other side.
    both_sides: bool,
    /// What formatting leaves behind.
    filler: u8,
    buffer: Vec<u8>,
    at: usize,
    /// The medium is at it.
    waiting: bool,
    /// Terminal count has come.
    over: bool,
}

impl Task {
    /// At the drive and side that `argument` names.
    pub(super) fn at(work: Work, argument: u8) -> Task {
        Task {
            work,
            unit: argument & 7,
            track: 0,
            head: argument >> 2 & 1,
            sector: 1,
            size: 2,
            last: 1,
            both_sides: false,
            filler: 0,
            buffer: Vec::new(),
            at: 0,
            waiting: false,
            over: false,
        }
    }

    pub(super) fn wants_host(&self) -> bool {
        !self.waiting && self.at < self.buffer.len()
    }

    pub(super) fn is_to_host(&self) -> bool {
        matches!(self.work, Work::Read | Work::Verify)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.at <= self.buffer.len()
            && self.buffer.len() <= MAX_SECTORS * SECTOR as usize
            && (self.work == Work::Format || self.buffer.len().is_multiple_of(SECTOR as usize))
            && self.head < 2
            && self.unit < 8
            && self.sector > 0
            && (self.waiting || self.at < self.buffer.len())
    }

    /// The next sector's name, as the result tells it (table 5-6); true: this was the last one.
    fn advance(&mut self) -> bool {
        if self.sector < self.last {
            self.sector += 1;
            return false;
        }
        self.sector = 1;
        if self.both_sides && self.head == 0 {
            self.head = 1;
            self.unit |= 4;
            return false;
        }
        if self.both_sides {
            self.head = 0;
        }
        self.track = self.track.wrapping_add(1);
        true
    }
}

impl Floppy {
    /// READ, WRITE, VERIFY: unit, track, head, sector, size, last sector, gap, length.
    pub(super) fn begin(&mut self, work: Work, command: &[u8], turn: &mut Turn) {
        let mut task = Task::at(work, command[1]);
        (task.track, task.head, task.sector, task.size, task.last) = (
            command[2],
            command[3] & 1,
            command[4],
            command[5],
            command[6],
        );
        task.both_sides = command[0] & 0x80 != 0;
        // Implied seek.
        if self.state.configured[0] & 0x40 != 0 {
            let track = task.track;
            if let Some(drive) = self.drive(task.unit & 3) {
                drive.seek(track);
            }
        }
        self.piece(task, turn);
    }

    /// FORMAT TRACK: unit, size, sectors, gap, filler.
    pub(super) fn begin_format(&mut self, command: &[u8], turn: &mut Turn) {
        let mut task = Task::at(Work::Format, command[1]);
        (task.size, task.last, task.filler) = (command[2], command[3], command[5]);
        task.track = self
            .drive(task.unit & 3)
            .map_or(0, |drive| drive.state.track);
        let rate = self.state.rate;
        let checked = self
            .check(&task, rate)
            .and_then(|shape| match shape.sectors {
                sectors if task.last == sectors => Ok(()),
                _ => Err(NO_DATA),
            });
        if let Err(fault) = checked {
            return self.finish(&task, Some(fault));
        }
        task.buffer = vec![0; 4 * usize::from(task.last)];
        self.state.task = Some(task);
        self.pump(turn);
    }

    /// Whether drive and disk can do `task` at all.
    pub(super) fn check(&mut self, task: &Task, rate: u8) -> Result<Shape, Fault> {
        let writes = matches!(task.work, Work::Write | Work::Format);
        let drive = self.drive(task.unit & 3).ok_or(NO_MARK)?;
        let shape = drive.shape().ok_or(NO_MARK)?;
        if !shape.reads_at(rate) || drive.state.track >= shape.tracks || task.head >= shape.heads {
            return Err(NO_MARK);
        }
        if writes && !drive.disc().writable {
            return Err(PROTECTED);
        }
        if task.size != 2 {
            return Err(NO_DATA);
        }
        Ok(shape)
    }

    /// Begins with what is left of the track and side that `task` is at.
    fn piece(&mut self, mut task: Task, turn: &mut Turn) {
        let rate = self.state.rate;
        let shape = match self.check(&task, rate) {
            Ok(shape) => shape,
            Err(fault) => return self.finish(&task, Some(fault)),
        };
        let at = self
            .drive(task.unit & 3)
            .map_or(0, |drive| drive.state.track);
        if task.track != at {
            return self.finish(&task, Some(WRONG_TRACK));
        }
        let last = task.last.min(shape.sectors);
        if task.sector == 0 || task.sector > last {
            return self.finish(&task, Some(NO_DATA));
        }
        let bytes = usize::from(last - task.sector + 1) * SECTOR as usize;
        task.buffer = vec![0; bytes];
        task.at = 0;
        let offset = shape.offset(task.track, task.head, task.sector);
        match task.work {
            Work::Read | Work::Verify => {
                self.state.task = Some(task);
                self.read_from(offset, bytes, turn);
            }
            Work::Write | Work::Format => {
                self.state.task = Some(task);
                self.pump(turn);
            }
        }
    }

    /// Asks for a piece; what lies beyond a short image reads as zeros.
    fn read_from(&mut self, offset: u64, bytes: usize, turn: &mut Turn) {
        let Some(task) = &mut self.state.task else {
            return;
        };
        let unit = task.unit & 3;
        let size = self.drives[usize::from(unit) & 1]
            .as_ref()
            .map_or(0, |drive| drive.disc().bytes.unwrap_or(0));
        let there = size.saturating_sub(offset).min(bytes as u64) as usize;
        if there == 0 {
            return self.pump(turn);
        }
        task.waiting = true;
        self.ask(
            unit,
            What::Read {
                offset,
                length: there,
            },
        );
    }

    fn ask(&mut self, unit: u8, what: What) {
        self.state.token = self.state.token.wrapping_add(1);
        let token = self.state.token;
        if let Some(drive) = self.drive(unit) {
            drive.medium.begin(Request { token, what });
        }
    }

    /// The medium of drive `unit` has done something.
    pub(super) fn answered(&mut self, unit: u8, answer: Answer, turn: &mut Turn) {
        let Some(task) = &mut self.state.task else {
            return;
        };
        if !task.waiting || answer.token != self.state.token || task.unit & 3 != unit {
            return;
        }
        task.waiting = false;
        let Ok(data) = answer.result else {
            let task = task.clone();
            return self.finish(&task, Some(DATA_ERROR));
        };
        match task.work {
            Work::Read | Work::Verify => {
                let length = data.len().min(task.buffer.len());
                task.buffer[..length].copy_from_slice(&data[..length]);
                self.pump(turn);
            }
            Work::Write | Work::Format => self.written(turn),
        }
    }

    /// Moves data by DMA, unless the host does it.
    fn pump(&mut self, turn: &mut Turn) {
        let Some(task) = &mut self.state.task else {
            return;
        };
        if self.state.specified[1] & 1 != 0 {
            self.state.interrupt = true;
            return;
        }
        let range = task.at..task.buffer.len();
        let wanted = range.len();
        let moved = match task.work {
            Work::Read => self.line.give(&task.buffer[range], turn.memory),
            Work::Verify => self.line.pass(wanted),
            Work::Write | Work::Format => self.line.take(&mut task.buffer[range], turn.memory),
        };
        task.at += moved.bytes;
        task.over |= moved.end;
        if moved.bytes < wanted && !moved.end {
            // Nobody takes or gives the next byte in time.
            let task = task.clone();
            return self.finish(&task, Some(OVERRUN));
        }
        self.moved(turn);
    }

    /// The host reads a byte of data.
    pub(super) fn read_by_hand(&mut self, turn: &mut Turn) -> u8 {
        let by_hand = self.state.specified[1] & 1 != 0;
        let Some(task) = &mut self.state.task else {
            return 0;
        };
        if !by_hand || !task.wants_host() || !task.is_to_host() {
            return 0;
        }
        let byte = task.buffer[task.at];
        task.at += 1;
        if task.at == task.buffer.len() {
            self.state.interrupt = false;
            self.moved(turn);
        }
        byte
    }

    /// The host writes a byte of data.
    pub(super) fn write_by_hand(&mut self, value: u8, turn: &mut Turn) {
        let by_hand = self.state.specified[1] & 1 != 0;
        let Some(task) = &mut self.state.task else {
            return;
        };
        if !by_hand || !task.wants_host() || task.is_to_host() {
            return;
        }
        task.buffer[task.at] = value;
        task.at += 1;
        if task.at == task.buffer.len() {
            self.state.interrupt = false;
            self.moved(turn);
        }
    }

    /// The buffer is used up, or terminal count has come.
    fn moved(&mut self, turn: &mut Turn) {
        let Some(task) = self.state.task.take() else {
            return;
        };
        match task.work {
            Work::Read | Work::Verify => self.next_piece(task, turn),
            Work::Write => self.write_out(task),
            Work::Format => self.format(task),
        }
    }

    /// Counts the sectors that were moved and goes on with the other side, or ends.
    fn next_piece(&mut self, mut task: Task, turn: &mut Turn) {
        let sectors = task.at.div_ceil(SECTOR as usize);
        let mut last = false;
        for _ in 0..sectors {
            last = task.advance();
        }
        match (task.over, last) {
            (true, _) => self.finish(&task, None),
            (false, true) => self.finish(&task, Some(END)),
            (false, false) => self.piece(task, turn),
        }
    }

    fn write_out(&mut self, mut task: Task) {
        // Of a sector that was begun the rest is zeros.
        let bytes = task.at.div_ceil(SECTOR as usize) * SECTOR as usize;
        task.buffer.truncate(bytes);
        let (unit, data) = (task.unit & 3, task.buffer.clone());
        let Some(shape) = self.drive(unit).and_then(|drive| drive.shape()) else {
            return self.finish(&task, Some(NO_MARK));
        };
        let offset = shape.offset(task.track, task.head, task.sector);
        self.write_at(task, offset, data);
    }

    fn write_at(&mut self, mut task: Task, offset: u64, data: Vec<u8>) {
        let unit = task.unit & 3;
        let size = self
            .drive(unit)
            .map_or(0, |drive| drive.disc().bytes.unwrap_or(0));
        if data.is_empty() || offset + data.len() as u64 > size {
            return self.finish(&task, Some(DATA_ERROR));
        }
        task.waiting = true;
        self.state.task = Some(task);
        self.ask(unit, What::Write { offset, data });
    }

    fn written(&mut self, turn: &mut Turn) {
        let Some(task) = self.state.task.take() else {
            return;
        };
        match task.work {
            Work::Format => self.finish(&task, None),
            _ => self.next_piece(task, turn),
        }
    }

    /// The list of sectors has come: all of the track, each once, is what an image can keep.
    fn format(&mut self, task: Task) {
        let count = usize::from(task.last);
        let mut seen = [false; MAX_SECTORS];
        for name in task.buffer.chunks_exact(4) {
            let at = usize::from(name[2]).wrapping_sub(1);
            if at < count && name[0] == task.track && name[3] == 2 {
                seen[at] = true;
            }
        }
        let whole = seen.iter().filter(|seen| **seen).count() == count;
        let shape = self.drive(task.unit & 3).and_then(|drive| drive.shape());
        match shape.filter(|_| whole) {
            Some(shape) => {
                let offset = shape.offset(task.track, task.head, 1);
                let data = vec![task.filler; count * SECTOR as usize];
                self.write_at(task, offset, data);
            }
            None => self.finish(&task, Some(NO_DATA)),
        }
    }

    /// The result phase of a command with data: status 0 to 2, the sector's name.
    pub(super) fn finish(&mut self, task: &Task, fault: Option<Fault>) {
        self.state.task = None;
        let Fault(one, two) = fault.unwrap_or(Fault(0, 0));
        let status = task.unit | if fault.is_some() { ABNORMAL } else { 0 };
        self.answer(&[
            status,
            one,
            two,
            task.track,
            task.head,
            task.sector,
            task.size,
        ]);
        self.state.interrupt = true;
    }

    /// After a restore: what the medium was at is asked again.
    pub(super) fn resume(&mut self) {
        let Some(task) = self.state.task.clone().filter(|task| task.waiting) else {
            return;
        };
        let (unit, token) = (task.unit & 3, self.state.token);
        let Some(drive) = self.drive(unit) else {
            self.state.task = None;
            return;
        };
        let (Some(shape), size) = (drive.shape(), drive.disc().bytes.unwrap_or(0)) else {
            return;
        };
        let offset = match task.work {
            Work::Format => shape.offset(task.track, task.head, 1),
            _ => shape.offset(task.track, task.head, task.sector),
        };
        let what = match task.work {
            Work::Read | Work::Verify => What::Read {
                offset,
                length: size.saturating_sub(offset).min(task.buffer.len() as u64) as usize,
            },
            Work::Write => What::Write {
                offset,
                data: task.buffer.clone(),
            },
            Work::Format => What::Write {
                offset,
                data: vec![task.filler; usize::from(task.last) * SECTOR as usize],
            },
        };
        drive.medium.begin(Request { token, what });
    }
}
