//! Floppy controller and DMA controller together, for the conformance suite.

use super::{Floppy, CHANNEL};
use crate::conformance::{Step, Subject};
use crate::device::{Device, Ports, Region, Turn, Width};
use crate::isa_dma::IsaDma;
use crate::medium::Shelf;
use crate::state::StateError;
use serde_json::{json, Value};

/// The floppy's regions first, then the DMA controller's.
#[derive(Debug)]
pub struct Both {
    floppy: Floppy,
    dma: IsaDma,
    ports: Vec<Ports>,
}

/// Where the DMA controller's regions begin in [`Both`].
const DMA: usize = 2;

/// Disks that outlive the drives.
#[derive(Debug)]
pub struct Disks {
    /// Drive A.
    pub disk: Shelf,
}

impl Disks {
    /// A 1.44 MB disk with a pattern.
    pub fn new() -> Disks {
        Disks {
            disk: Shelf::new(
                (0..1440 * 1024)
                    .map(|at| (at / 512 + at % 512) as u8)
                    .collect(),
            ),
        }
    }
}

impl Device for Both {
    fn name(&self) -> &str {
        "floppy"
    }
    fn ports(&self) -> &[Ports] {
        &self.ports
    }
    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        match region {
            Region::Ports(at) if at >= DMA => {
                self.dma.read(Region::Ports(at - DMA), offset, width, turn)
            }
            _ => self.floppy.read(region, offset, width, turn),
        }
    }
    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        match region {
            Region::Ports(at) if at >= DMA => {
                self.dma
                    .write(Region::Ports(at - DMA), offset, width, value, turn);
            }
            _ => self.floppy.write(region, offset, width, value, turn),
        }
    }
    fn attend(&mut self, turn: &mut Turn) {
        self.floppy.attend(turn);
    }
    fn reset(&mut self, turn: &mut Turn) {
        self.dma.reset(turn);
        self.floppy.reset(turn);
    }
    fn save(&self) -> Value {
        json!({ "version": 1, "floppy": self.floppy.save(), "dma": self.dma.save() })
    }
    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        self.dma.restore(&saved["dma"])?;
        self.floppy.restore(&saved["floppy"])
    }
}

/// The guest writes command bytes.
pub fn command(bytes: &[u8]) -> Vec<Step> {
    let write = |byte: &u8| Step::Write(Region::Ports(0), 5, Width::Byte, u32::from(*byte));
    bytes.iter().map(write).collect()
}

/// The guest sets DMA channel 2 up: mode, address, bytes.
pub fn channel(mode: u8, address: u32, bytes: u16) -> Vec<Step> {
    let [low, high, page, _] = address.to_le_bytes();
    let [few, many] = (bytes - 1).to_le_bytes();
    [
        (0, 12, 0),
        (0, 4, low),
        (0, 4, high),
        (2, 1, page),
        (0, 5, few),
        (0, 5, many),
        (0, 11, mode | 2),
        (1, 20, 0),
        (0, 10, 2),
    ]
    .map(|(region, offset, value)| {
        Step::Write(
            Region::Ports(DMA + region),
            offset,
            Width::Byte,
            value.into(),
        )
    })
    .to_vec()
}

/// Motor on, out of reset, 500 kbit/s, the change line cleared.
pub fn start() -> Vec<Step> {
    let mut steps = vec![
        Step::Write(Region::Ports(0), 2, Width::Byte, 0x10),
        Step::Write(Region::Ports(0), 2, Width::Byte, 0x1c),
        Step::Write(Region::Ports(1), 0, Width::Byte, 0),
    ];
    for _ in 0..4 {
        steps.extend(command(&[8]));
        steps.extend(results(2));
    }
    steps.extend(command(&[7, 0]));
    steps.extend(command(&[8]));
    steps.extend(results(2));
    steps
}

/// The guest takes result bytes.
pub fn results(count: usize) -> Vec<Step> {
    vec![Step::Read(Region::Ports(0), 5, Width::Byte); count]
}

impl Subject for Disks {
    type Device = Both;

    fn make(&self) -> Both {
        let dma = IsaDma::new();
        let floppy = Floppy::new([Some(self.disk.slot()), None], dma.line(CHANNEL));
        let ports = [floppy.ports(), dma.ports()].concat();
        Both { floppy, dma, ports }
    }

    fn happen(&self, device: &mut Both, choice: u8, turn: &mut Turn) {
        match choice {
            0 => self.disk.change(None),
            1 => self.disk.change(Some(vec![5; 720 * 1024])),
            2 | 3 => self.disk.change(Some(vec![6; 1440 * 1024])),
            4 => self.disk.fail(true),
            5..=9 => self.disk.fail(false),
            _ => {}
        }
        device.attend(turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let transfer = |mode, bytes, command_bytes: &[u8]| {
            let mut steps = channel(mode, 0x1_8000, bytes);
            steps.extend(command(command_bytes));
            steps.extend([Step::Happen(20), Step::Happen(20)]);
            steps.extend(results(7));
            steps
        };
        let names: Vec<u8> = (1..=18).flat_map(|sector| [0, 0, sector, 2]).collect();
        let mut by_hand = command(&[3, 0xaf, 3]);
        by_hand.extend(command(&[0x46, 0, 0, 0, 18, 2, 18, 0x1b, 0xff]));
        by_hand.push(Step::Happen(20));
        by_hand.extend(results(512 + 7));
        by_hand.extend(command(&[3, 0xaf, 2]));
        vec![
            start(),
            transfer(0x44, 1024, &[0xe6, 0, 0, 0, 17, 2, 18, 0x1b, 0xff]),
            transfer(0x44, 2048, &[0xe6, 0, 0, 0, 17, 2, 18, 0x1b, 0xff]),
            transfer(0x48, 1024, &[0xc5, 0, 0, 0, 3, 2, 18, 0x1b, 0xff]),
            [
                vec![Step::Memory(0x1_8000, names)],
                transfer(0x48, 72, &[0x4d, 0, 2, 18, 0x54, 0xf6]),
            ]
            .concat(),
            by_hand,
            [command(&[0x0f, 0, 10]), command(&[8]), results(2)].concat(),
            [command(&[0x4a, 0]), results(7)].concat(),
            [command(&[0x0e]), results(10)].concat(),
            [command(&[0x13, 0, 0x57, 0]), command(&[0x94]), results(1)].concat(),
            [command(&[4, 0]), results(1)].concat(),
        ]
    }
}
