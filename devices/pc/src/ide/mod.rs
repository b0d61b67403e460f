//! The IDE controller of the PIIX3 (82371SB data sheet, function 1: 8086:7010), two channels of two drives each.
//!
//! ```text
//!   0x1f0..0x1f7, 0x3f6 --> channel 0 --> the selected drive (drive.rs) --> medium
//!   0x170..0x177, 0x376 --> channel 1       ata.rs: disks   atapi.rs, replies.rs: CDs   identify.rs
//!   BAR 4: 16 ports     --> bus masters (dma.rs): guest memory <--> drive's buffer
//!   a drive's interrupt --> ISA line 14 or 15, and the bus master's status
//! ```

mod ata;
mod atapi;
mod channel;
mod dma;
mod drive;
mod identify;
mod registers;
mod replies;
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod subject;
#[cfg(test)]
mod tests;

pub use drive::{Drive, Kind};

use crate::device::{Device, Ports, Region, Turn, Width};
use crate::pci::{Bar, BarKind, Function, Identity, Pci, SavedConfig};
use crate::state::{self, StateError};
use channel::Channel;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VERSION: u64 = 1;
const PORTS: &[Ports] = &[
    Ports {
        first: 0x1f0,
        count: 8,
    },
    Ports {
        first: 0x3f6,
        count: 1,
    },
    Ports {
        first: 0x170,
        count: 8,
    },
    Ports {
        first: 0x376,
        count: 1,
    },
];
/// Bus master registers of one channel.
const MASTER_PORTS: u64 = 8;

/// The controller.
#[derive(Debug)]
pub struct Ide {
    function: Function,
    channels: [Channel; 2],
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    config: SavedConfig,
    channels: [channel::Saved; 2],
}

impl Ide {
    /// With these drives: hda, hdb on the first channel, hdc, hdd on the second.
    pub fn new(drives: [Option<Drive>; 4]) -> Ide {
        let identity = Identity {
            vendor: 0x8086,
            device: 0x7010,
            class: 0x01_0180,
            revision: 0,
            subsystem: (0, 0),
            pin: 0,
            multifunction: false,
        };
        let mut bars = [None; 6];
        bars[4] = Some(Bar {
            kind: BarKind::Io,
            size: 16,
        });
        let mut function = Function::new(identity, bars);
        // IDETIM and SIDETIM: decode enables and timings are kept for who reads them.
        for offset in 0x40..=0x44 {
            function.own_byte(offset, 0, 0xff);
        }
        let [a, b, c, d] = drives;
        Ide {
            function,
            channels: [Channel::new(14, [a, b]), Channel::new(15, [c, d])],
        }
    }

    /// Which channel and which of its register files: task file, control, bus master.
    fn split(region: Region, offset: u64) -> Option<(usize, Block, u64)> {
        match region {
            Region::Ports(index @ 0..=3) => {
                let block = if index % 2 == 0 {
                    Block::Task
                } else {
                    Block::Control
                };
                Some((index / 2, block, offset))
            }
            Region::Bar(4) => Some((
                (offset / MASTER_PORTS) as usize & 1,
                Block::Master,
                offset % MASTER_PORTS,
            )),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Task,
    Control,
    Master,
}

/// Bytes that an access touches; the data register alone is wider than one.
fn bytes(offset: u64, width: Width) -> impl DoubleEndedIterator<Item = (u32, u64)> {
    (0..width.bytes() as u32).map(move |index| (8 * index, offset + u64::from(index)))
}

impl Device for Ide {
    fn name(&self) -> &str {
        "ide"
    }

    fn ports(&self) -> &[Ports] {
        PORTS
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        let Some((number, block, offset)) = Ide::split(region, offset) else {
            return width.mask();
        };
        let channel = &mut self.channels[number];
        let value = match (block, offset, width) {
            (Block::Task, 0, Width::Dword) => {
                let low = u32::from(channel.data_in());
                u32::from(channel.data_in()) << 16 | low
            }
            (Block::Task, 0, _) => channel.data_in().into(),
            _ => bytes(offset, width).fold(0, |value, (shift, at)| {
                let byte = match block {
                    Block::Task => channel.read(at),
                    Block::Control => channel.alternate_status(),
                    Block::Master => channel.master.read(at % MASTER_PORTS),
                };
                value | u32::from(byte) << shift
            }),
        };
        self.settle(number, turn);
        value
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        let Some((number, block, offset)) = Ide::split(region, offset) else {
            return;
        };
        let channel = &mut self.channels[number];
        match (block, offset, width) {
            (Block::Task, 0, Width::Dword) => {
                channel.data_out(value as u16);
                channel.data_out((value >> 16) as u16);
            }
            (Block::Task, 0, _) => channel.data_out(value as u16),
            _ => {
                for (shift, at) in bytes(offset, width) {
                    let byte = (value >> shift) as u8;
                    match block {
                        Block::Task => channel.write(at, byte),
                        Block::Control => channel.control(byte),
                        Block::Master => channel.master.write(at % MASTER_PORTS, byte),
                    }
                }
            }
        }
        self.settle(number, turn);
    }

    fn attend(&mut self, turn: &mut Turn) {
        for number in 0..2 {
            self.channels[number].attend();
            self.settle(number, turn);
        }
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        for offset in 0x40..=0x44 {
            self.function.set_byte(offset, 0);
        }
        for channel in &mut self.channels {
            channel.power_on();
        }
        for number in 0..2 {
            self.settle(number, turn);
        }
    }

    fn save(&self) -> Value {
        let [first, second] = &self.channels;
        state::wrap(
            VERSION,
            &Saved {
                config: self.function.save(),
                channels: [first.save(), second.save()],
            },
        )
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, saved): (u64, Saved) = state::unwrap("ide", VERSION, saved)?;
        self.function.restore(&saved.config, "ide")?;
        for (channel, saved) in self.channels.iter_mut().zip(saved.channels) {
            channel
                .restore(saved)
                .map_err(|why| StateError::wrong("ide", why))?;
        }
        Ok(())
    }
}

impl Ide {
    /// Moves data if the bus master may, and brings the line up to date.
    fn settle(&mut self, number: usize, turn: &mut Turn) {
        let master = self.function.is_master();
        self.channels[number].settle(master, turn);
    }
}

impl Pci for Ide {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }

    fn config_written(&mut self, offset: u8, _bytes: usize, turn: &mut Turn) {
        // Bus mastering may have been switched on.
        if offset < 8 {
            self.settle(0, turn);
            self.settle(1, turn);
        }
    }
}
