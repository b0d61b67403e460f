//! The controller for the conformance suite: two disks, a CD reader, and what drivers do with them.

use super::{Drive, Ide, Kind};
use crate::conformance::{Step, Subject};
use crate::device::{Device, Region, Turn, Width};
use crate::medium::Shelf;

/// Media that outlive the controller.
#[derive(Debug)]
pub struct Shelves {
    /// hda.
    pub disk: Shelf,
    /// hdc.
    pub cd: Shelf,
}

/// Sectors of the disk.
pub const DISK_SECTORS: usize = 2048;
/// Where a move puts its descriptors, and the memory that they name.
pub const TABLE: u64 = 0x1000;
/// See [`TABLE`].
pub const DATA: u64 = 0x4000;

impl Shelves {
    /// Filled with a pattern.
    pub fn new() -> Shelves {
        let pattern =
            |bytes: usize, step: usize| (0..bytes).map(|at| (at / step + at) as u8).collect();
        Shelves {
            disk: Shelf::new(pattern(DISK_SECTORS * 512, 512)),
            cd: Shelf::new(pattern(64 * 2048, 2048)),
        }
    }
}

/// The guest writes a byte to a channel's task file.
pub fn out(channel: usize, offset: u64, value: u8) -> Step {
    Step::Write(
        Region::Ports(channel * 2),
        offset,
        Width::Byte,
        value.into(),
    )
}

/// The guest writes a bus master register.
pub fn master(channel: usize, offset: u64, width: Width, value: u32) -> Step {
    Step::Write(Region::Bar(4), channel as u64 * 8 + offset, width, value)
}

/// The guest moves `words` of data.
fn words(channel: usize, count: usize, read: bool) -> Vec<Step> {
    let region = Region::Ports(channel * 2);
    (0..count)
        .map(|index| match read {
            true => Step::Read(region, 0, Width::Word),
            false => Step::Write(region, 0, Width::Word, index as u32 & 0xffff),
        })
        .collect()
}

/// Sets a command up.
pub fn command(channel: usize, slave: bool, lba: u32, count: u8, command: u8) -> Vec<Step> {
    let [low, mid, high, top] = lba.to_le_bytes();
    let device = 0xe0 | u8::from(slave) << 4 | top & 0x0f;
    let values = [
        (6, device),
        (2, count),
        (3, low),
        (4, mid),
        (5, high),
        (7, command),
    ];
    values
        .map(|(offset, value)| out(channel, offset, value))
        .to_vec()
}

/// A descriptor table of `pieces` (address, bytes), the last one marked.
pub fn table(pieces: &[(u32, u16)]) -> Step {
    let mut bytes = Vec::new();
    for (index, (address, length)) in pieces.iter().enumerate() {
        bytes.extend(address.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        let last = index + 1 == pieces.len();
        bytes.extend([0, if last { 0x80 } else { 0 }]);
    }
    Step::Memory(TABLE, bytes)
}

/// Sends a packet.
pub fn packet(features: u8, limit: u16, packet: [u8; 12]) -> Vec<Step> {
    let [low, high] = limit.to_le_bytes();
    let mut steps: Vec<Step> = [(6, 0xa0), (1, features), (4, low), (5, high), (7, 0xa0)]
        .map(|(offset, value)| out(1, offset, value))
        .to_vec();
    steps.extend(packet.chunks(2).map(|pair| {
        let word = u16::from_le_bytes([pair[0], pair[1]]);
        Step::Write(Region::Ports(2), 0, Width::Word, word.into())
    }));
    steps
}

impl Subject for Shelves {
    type Device = Ide;

    fn make(&self) -> Ide {
        Ide::new([
            Some(Drive::new(Kind::Disk, "NX0", self.disk.slot())),
            Some(Drive::new(Kind::Disk, "NX1", self.disk.slot())),
            Some(Drive::new(Kind::Cd, "NX2", self.cd.slot())),
            None,
        ])
    }

    fn happen(&self, device: &mut Ide, choice: u8, turn: &mut Turn) {
        match choice {
            0 => self.cd.change(None),
            1 => self.cd.change(Some(vec![7; 32 * 2048])),
            2 => self.disk.fail(true),
            3..=6 => self.disk.fail(false),
            _ => {}
        }
        device.attend(turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let attend = [
            Step::Happen(9),
            Step::Read(Region::Ports(0), 7, Width::Byte),
        ];
        let dma = |slave, code, direction: u32| {
            let mut steps = vec![
                table(&[(DATA as u32, 0x200), (DATA as u32 + 0x300, 0x600)]),
                master(0, 4, Width::Dword, TABLE as u32),
            ];
            steps.extend(command(0, slave, 5, 4, code));
            steps.push(master(0, 0, Width::Byte, direction | 1));
            steps.extend(attend.clone());
            steps.push(master(0, 0, Width::Byte, 0));
            steps
        };
        let read = |code, count: u8| {
            let mut steps = command(0, false, 3, count, code);
            steps.extend(attend.clone());
            steps.extend(words(0, 256 * usize::from(count), true));
            steps.extend(attend.clone());
            steps
        };
        let write = |code, count: u8| {
            let mut steps = command(0, false, 9, count, code);
            steps.extend(words(0, 256 * usize::from(count), false));
            steps.extend(attend.clone());
            steps
        };
        let mut moves = vec![
            read(0x20, 2),
            read(0x24, 1),
            write(0x30, 1),
            command(0, false, 0, 4, 0xc6),
            read(0xc4, 6),
            write(0xc5, 4),
            dma(false, 0xc8, 8),
            dma(true, 0x25, 8),
            dma(false, 0xca, 0),
            command(0, false, 0, 0, 0xe7),
            command(0, true, 0, 0, 0xec),
            command(1, false, 0, 0, 0xa1),
        ];
        let packets: [[u8; 12]; 10] = [
            [0; 12],
            [0x03, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0],
            [0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0],
            [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [0x43, 2, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0],
            [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0],
            [0x46, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
            [0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64, 0, 0, 0],
            [0x1b, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            [0x28, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 0],
        ];
        for bytes in packets {
            let mut steps = packet(0, 0x0800, bytes);
            steps.push(Step::Happen(9));
            steps.extend(words(1, 1024, true));
            steps.push(Step::Happen(9));
            moves.push(steps);
        }
        let mut steps = vec![
            table(&[(DATA as u32, 0x1800)]),
            master(1, 4, Width::Dword, TABLE as u32),
            master(1, 0, Width::Byte, 9),
        ];
        steps.extend(packet(1, 0, packets[9]));
        steps.push(Step::Happen(9));
        moves.push(steps);
        moves
    }
}
