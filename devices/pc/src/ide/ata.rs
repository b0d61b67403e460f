//! Commands of a hard disk (ATA/ATAPI-6, chapter 8).

use super::drive::{Drive, Kind, Task, Work, MAX_MULTIPLE, SECTOR};
use super::identify;
use super::registers::*;

/// How a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// A sector at a time.
    Single,
    /// As many as SET MULTIPLE said.
    Multiple,
    /// By the bus master.
    Dma,
}

impl Drive {
    /// The host wrote the command register.
    pub(super) fn command(&mut self, command: u8) {
        // DEVICE RESET and EXECUTE DEVICE DIAGNOSTIC are taken at any time.
        if self.is_busy() && command != 0x08 {
            return;
        }
        self.state.interrupt = false;
        self.state.registers.error = 0;
        match self.kind {
            Kind::Disk => self.disk_command(command),
            Kind::Cd => self.cd_command(command),
        }
    }

    fn disk_command(&mut self, command: u8) {
        match command {
            // READ SECTORS, VERIFY, MULTIPLE, DMA; with and without 48 bits.
            0x20 | 0x21 => self.transfer(Work::Read, How::Single, false),
            0x24 => self.transfer(Work::Read, How::Single, true),
            0xc4 => self.transfer(Work::Read, How::Multiple, false),
            0x29 => self.transfer(Work::Read, How::Multiple, true),
            0xc8 | 0xc9 => self.transfer(Work::Read, How::Dma, false),
            0x25 => self.transfer(Work::Read, How::Dma, true),
            0x30 | 0x31 => self.transfer(Work::Write, How::Single, false),
            0x34 => self.transfer(Work::Write, How::Single, true),
            0xc5 => self.transfer(Work::Write, How::Multiple, false),
            0x39 => self.transfer(Work::Write, How::Multiple, true),
            0xca | 0xcb => self.transfer(Work::Write, How::Dma, false),
            0x35 => self.transfer(Work::Write, How::Dma, true),
            0x40 | 0x41 => self.verify(false),
            0x42 => self.verify(true),
            // RECALIBRATE, SEEK: there are no heads to move.
            0x10..=0x1f => self.finish(true),
            0x70 => match self.place(false) {
                Some(_) => self.finish(true),
                None => self.fail(IDNF),
            },
            0x91 => self.set_geometry(),
            0xc6 => self.set_multiple(),
            0xe7 | 0xea => {
                self.state.task = Some(Task::new(Work::Flush, false));
                self.ask_next();
            }
            0xec => self.reply(identify::disk(self)),
            _ => self.common_command(command),
        }
    }

    /// Commands of disks and CDs alike.
    pub(super) fn common_command(&mut self, command: u8) {
        match command {
            // STANDBY, IDLE (with and without a timer), SLEEP: it is always ready.
            0xe0..=0xe3 | 0xe6 => self.finish(true),
            // CHECK POWER MODE: active.
            0xe5 => {
                self.finish(true);
                self.state.registers.count[0] = 0xff;
            }
            0xef => self.set_features(),
            _ => self.fail(ABRT),
        }
    }

    /// First sector and number of sectors, if all are on the disk.
    fn place(&self, extended: bool) -> Option<(u64, u32)> {
        let registers = &self.state.registers;
        let first = registers.lba(extended, self.state.heads, self.state.sectors)?;
        let count = registers.sectors(extended);
        let end = first.checked_add(count.into())?;
        (end <= self.capacity()).then_some((first, count))
    }

    fn transfer(&mut self, work: Work, how: How, extended: bool) {
        let block = match how {
            How::Single | How::Dma => 1,
            // Not set up.
            How::Multiple if self.state.multiple == 0 => return self.fail(ABRT),
            How::Multiple => self.state.multiple,
        };
        if work == Work::Write && !self.medium.disc().writable {
            return self.fail(ABRT);
        }
        let Some((first, count)) = self.place(extended) else {
            return self.fail(IDNF);
        };
        let mut task = Task::new(work, how == How::Dma);
        (task.next, task.left) = (first, count);
        task.block = usize::from(block) * SECTOR as usize;
        self.state.task = Some(task);
        match work {
            Work::Write => self.demand(false),
            _ => self.ask_next(),
        }
    }

    fn verify(&mut self, extended: bool) {
        match self.place(extended) {
            Some(_) => self.finish(true),
            None => self.fail(IDNF),
        }
    }

    /// INITIALIZE DEVICE PARAMETERS (ATA-5, 8.16): heads and sectors that cylinders are counted in.
    fn set_geometry(&mut self) {
        let sectors = self.state.registers.count[0];
        if !(1..=63).contains(&sectors) {
            return self.fail(ABRT);
        }
        self.state.sectors = sectors;
        self.state.heads = (self.state.registers.device & 0x0f) + 1;
        self.finish(true);
    }

    fn set_multiple(&mut self) {
        let sectors = self.state.registers.count[0];
        if sectors != 0 && (!sectors.is_power_of_two() || sectors > MAX_MULTIPLE) {
            self.state.multiple = 0;
            return self.fail(ABRT);
        }
        self.state.multiple = sectors;
        self.finish(true);
    }

    /// SET FEATURES (8.46).
    fn set_features(&mut self) {
        let value = self.state.registers.count[0];
        match self.state.registers.feature[0] {
            // Transfer mode: PIO (default, flow control 0 to 4), multiword DMA 0 to 2.
            0x03 => match (value >> 3, value & 7) {
                (0, 0..=1) | (1, 0..=4) => {}
                (4, mode @ 0..=2) => self.state.dma_mode = Some(mode),
                _ => return self.fail(ABRT),
            },
            0x02 if self.kind == Kind::Disk => self.state.write_cache = true,
            // The cache is emptied before it is switched off.
            0x82 if self.kind == Kind::Disk => {
                self.state.write_cache = false;
                self.state.task = Some(Task::new(Work::Flush, false));
                return self.ask_next();
            }
            // Read look-ahead, reverting to defaults at a soft reset: taken, of no effect.
            0x55 | 0xaa | 0x66 | 0xcc => {}
            _ => return self.fail(ABRT),
        }
        self.finish(true);
    }

    /// Sends bytes of the drive's own, in one block.
    pub(super) fn reply(&mut self, bytes: Vec<u8>) {
        let mut task = Task::new(Work::Reply, false);
        task.buffer = bytes;
        self.state.task = Some(task);
        self.offer();
    }
}
