//! Scripts: what happens to a device, read from bytes so that chance and fuzzers can write them.

use crate::device::{Device, Region, Width};

/// Bytes of a script that make one step.
pub const STEP_BYTES: usize = 8;
/// Steps of a script at most, those of the device's moves not counted.
pub const MAX_STEPS: usize = 4096;

/// A region and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Region.
    pub region: Region,
    /// Bytes.
    pub length: u64,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The guest reads.
    Read(Region, u64, Width),
    /// The guest writes.
    Write(Region, u64, Width, u32),
    /// The guest writes configuration space; bytes, value.
    Config(u8, usize, u32),
    /// Time passes, ns.
    Pass(u64),
    /// The guest writes its memory.
    Memory(u64, Vec<u8>),
    /// Something outside, see [`super::Subject::happen`].
    Happen(u8),
    /// The machine is reset.
    Reset,
}

/// All that a guest reaches of `device` as it is configured now.
pub fn places(device: &mut dyn Device) -> Vec<Place> {
    let mut places = Vec::new();
    for (index, ports) in device.ports().iter().enumerate() {
        places.push(Place {
            region: Region::Ports(index),
            length: ports.count.into(),
        });
    }
    for (index, window) in device.windows().iter().enumerate() {
        places.push(Place {
            region: Region::Window(index),
            length: window.length,
        });
    }
    if let Some(pci) = device.pci() {
        if let Some(ports) = pci.placed() {
            places.push(Place {
                region: Region::Placed,
                length: ports.count.into(),
            });
        }
        if let Some((_, size)) = pci.function().rom() {
            places.push(Place {
                region: Region::Rom,
                length: size.into(),
            });
        }
        for (index, bar) in pci.function().bars().iter().enumerate() {
            if let Some(bar) = bar {
                places.push(Place {
                    region: Region::Bar(index),
                    length: bar.size.into(),
                });
            }
        }
    }
    places
}

/// Reads a script. An access never crosses the end of its region, as the bus promises.
pub fn read(bytes: &[u8], places: &[Place], moves: &[Vec<Step>]) -> Vec<Step> {
    let mut steps = Vec::new();
    for step in bytes.chunks_exact(STEP_BYTES).take(MAX_STEPS) {
        let [kind, which, low, high, a, b, c, d] = *step else {
            continue;
        };
        let value = u32::from_le_bytes([a, b, c, d]);
        let raw = u16::from_le_bytes([low, high]);
        match kind % 16 {
            0..=3 => steps.extend(
                access(kind, which, raw, places)
                    .map(|(at, offset, width)| Step::Read(at, offset, width)),
            ),
            4..=9 => {
                steps.extend(access(kind, which, raw, places).map(|(at, offset, width)| {
                    Step::Write(at, offset, width, value & width.mask())
                }))
            }
            10 => steps.push(Step::Pass(u64::from(value) >> (which % 32))),
            11 => steps.push(Step::Memory(raw.into(), [a, b, c, d].to_vec())),
            12 => steps.push(Step::Happen(which)),
            13 => steps.push(Step::Config(low, [1, 2, 4][usize::from(which % 3)], value)),
            // Now and then a whole move, or what is left of it behind some step.
            14 if !moves.is_empty() => {
                let chosen = &moves[usize::from(which) % moves.len()];
                let from = usize::from(low) % (chosen.len() + 1);
                let from = if high & 1 == 0 { 0 } else { from };
                steps.extend_from_slice(&chosen[from..]);
            }
            _ if kind == 0xff => steps.push(Step::Reset),
            _ => steps.push(Step::Pass(u64::from(which) * 1000)),
        }
    }
    steps
}

fn access(kind: u8, which: u8, raw: u16, places: &[Place]) -> Option<(Region, u64, Width)> {
    let place = places.get(usize::from(which) % places.len().max(1))?;
    let width = [Width::Byte, Width::Byte, Width::Word, Width::Dword][usize::from(kind >> 4) % 4];
    let width = if place.length < width.bytes() as u64 {
        Width::Byte
    } else {
        width
    };
    // Far offsets of a large region, too; mostly the near ones.
    let raw = u64::from(raw) << [0, 0, 0, 8][usize::from(kind >> 6)];
    let last = place.length - width.bytes() as u64;
    Some((place.region, raw % (last + 1), width))
}
