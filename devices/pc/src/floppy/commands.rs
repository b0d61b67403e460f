//! Commands that move no data (82077AA, 5.0 "Command set").

use super::transfer::{Task, Work, ABNORMAL, INVALID};
use super::{Floppy, MAX_RESULT};
use crate::device::Turn;

/// Seek end (status register 0).
const SEEK_END: u8 = 0x20;
/// Equipment check: no track 0, no drive.
const EQUIPMENT: u8 = 0x10;

/// Bytes of the command that begins with `first`, itself counted.
pub(super) fn length(first: u8) -> usize {
    match first & 0x1f {
        // READ TRACK, WRITE, READ, WRITE DELETED, READ DELETED, VERIFY.
        0x02 | 0x05 | 0x06 | 0x09 | 0x0c | 0x16 => 9,
        // FORMAT TRACK.
        0x0d => 6,
        // CONFIGURE.
        0x13 => 4,
        // SPECIFY, SEEK and RELATIVE SEEK.
        0x03 | 0x0f => 3,
        // SENSE DRIVE STATUS, RECALIBRATE, READ ID, PERPENDICULAR MODE.
        0x04 | 0x07 | 0x0a | 0x12 => 2,
        // SENSE INTERRUPT, DUMPREG, VERSION, LOCK, and what there is not.
        _ => 1,
    }
}

impl Floppy {
    /// A whole command has come.
    pub(super) fn execute(&mut self, command: &[u8], turn: &mut Turn) {
        let first = command[0];
        let argument = command.get(1).copied().unwrap_or(0);
        let unit = argument & 3;
        match first & 0x1f {
            0x02 | 0x06 | 0x0c => self.begin(Work::Read, command, turn),
            0x05 | 0x09 => self.begin(Work::Write, command, turn),
            0x16 => self.begin(Work::Verify, command, turn),
            0x0d => self.begin_format(command, turn),
            0x0a => self.read_id(argument),
            0x03 => self.state.specified = [argument, command[2]],
            0x04 => self.sense_drive(argument),
            0x07 => self.seek(unit, 0, 0),
            0x0f if first & 0x80 == 0 => self.seek(unit, argument & 4, command[2]),
            0x0f => {
                let track = self.drive(unit).map_or(0, |drive| drive.state.track);
                let track = match first & 0x40 {
                    0 => track.saturating_sub(command[2]),
                    _ => track.saturating_add(command[2]),
                };
                self.seek(unit, argument & 4, track);
            }
            0x08 => self.sense_interrupt(),
            0x0e if first == 0x0e => {
                let track = |number: usize| {
                    self.drives[number]
                        .as_ref()
                        .map_or(0, |drive| drive.state.track)
                };
                let state = &self.state;
                let [specified, times] = state.specified;
                let [configured, precompensation] = state.configured;
                let lock = u8::from(state.locked) << 7 | state.perpendicular & 0x7f;
                let dump = [
                    track(0),
                    track(1),
                    0,
                    0,
                    specified,
                    times,
                    0,
                    lock,
                    configured,
                    precompensation,
                ];
                self.answer(&dump);
            }
            // Enhanced controller.
            0x10 if first == 0x10 => self.answer(&[0x90]),
            0x12 => self.state.perpendicular = argument,
            0x13 => self.state.configured = [command[2], command[3]],
            0x14 if first & 0x7f == 0x14 => {
                self.state.locked = first & 0x80 != 0;
                let lock = u8::from(self.state.locked) << 4;
                self.answer(&[lock]);
            }
            _ => self.answer(&[INVALID]),
        }
    }

    /// The result phase begins.
    pub(super) fn answer(&mut self, bytes: &[u8]) {
        self.state.result = bytes[..bytes.len().min(MAX_RESULT)].to_vec();
    }

    fn sense_interrupt(&mut self) {
        if self.state.events.is_empty() {
            return self.answer(&[INVALID]);
        }
        let (status, track) = self.state.events.remove(0);
        self.state.interrupt = false;
        self.answer(&[status, track]);
    }

    /// SEEK and RECALIBRATE: the head is there at once; the interrupt says so.
    fn seek(&mut self, unit: u8, head: u8, track: u8) {
        let status = match self.drive(unit) {
            Some(drive) => {
                drive.seek(track);
                SEEK_END
            }
            None => SEEK_END | EQUIPMENT | ABNORMAL,
        };
        let at = self.drive(unit).map_or(0, |drive| drive.state.track);
        self.state.events = vec![(status | head | unit, at)];
        self.state.interrupt = true;
    }

    /// Status register 3.
    fn sense_drive(&mut self, argument: u8) {
        let mut status = argument & 7 | 0x28;
        if let Some(drive) = self.drive(argument & 3) {
            if drive.state.track == 0 {
                status |= 0x10;
            }
            if !drive.disc().writable {
                status |= 0x40;
            }
        }
        self.answer(&[status]);
    }

    /// READ ID: the first sector that comes by.
    fn read_id(&mut self, argument: u8) {
        let task = Task::at(Work::Verify, argument);
        let rate = self.state.rate;
        let outcome = self.check(&task, rate).map(|_| ());
        let track = self
            .drive(argument & 3)
            .map_or(0, |drive| drive.state.track);
        let mut task = task;
        (task.track, task.sector) = (track, 1);
        self.finish(&task, outcome.err());
    }
}
