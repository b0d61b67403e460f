//! Runs a script on a device and holds it to its limits.

use super::script::{self, Place, Step};
use super::Subject;
use crate::device::{Device, Effect, Memory, Outside, Turn};
use crate::pci::{COMMAND_IO, COMMAND_MASTER, COMMAND_MEMORY};
use std::cell::{Cell, RefCell};

/// Bytes of RAM.
const RAM: usize = 256 << 10;
/// Memory accesses of one step, and their bytes, at most. A guest waits in its access as long as they take.
const MAX_ACCESSES: u64 = 1 << 17;
const MAX_BYTES: u64 = 64 << 20;
/// Effects of one step at most.
const MAX_EFFECTS: usize = 4096;

/// One turn of a device at time 0 with fresh memory: its value, and what it wants done.
#[cfg(test)]
pub fn turn<T>(act: impl FnOnce(&mut Turn) -> T) -> (T, Vec<Effect>) {
    let memory = Ram::new();
    let mut effects = Vec::new();
    let value = act(&mut Turn {
        now: 0,
        memory: &memory,
        effects: &mut effects,
    });
    (value, effects)
}

/// Guest memory that counts.
#[derive(Debug)]
pub struct Ram {
    bytes: RefCell<Vec<u8>>,
    accesses: Cell<u64>,
    moved: Cell<u64>,
}

impl Ram {
    /// All zero.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Ram {
        Ram {
            bytes: RefCell::new(vec![0; RAM]),
            accesses: Cell::new(0),
            moved: Cell::new(0),
        }
    }

    /// A copy.
    pub fn copy(&self) -> Ram {
        let ram = Ram::new();
        ram.bytes.borrow_mut().copy_from_slice(&self.bytes.borrow());
        ram
    }

    /// Writes as far as there is RAM.
    pub fn put(&self, address: u64, from: &[u8]) {
        let _ = self.write(address, from);
    }

    /// Bytes there; zeros where there is no RAM.
    pub fn get(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let _ = self.read(address, &mut bytes);
        bytes
    }

    /// All bytes are the same.
    pub fn equals(&self, other: &Ram) -> bool {
        *self.bytes.borrow() == *other.bytes.borrow()
    }

    fn begin(&self) {
        self.accesses.set(0);
        self.moved.set(0);
    }

    fn range(&self, address: u64, length: usize) -> Result<std::ops::Range<usize>, Outside> {
        self.accesses.set(self.accesses.get() + 1);
        self.moved.set(self.moved.get() + length as u64);
        assert!(
            self.accesses.get() <= MAX_ACCESSES && self.moved.get() <= MAX_BYTES,
            "one step moves {} bytes in {} accesses",
            self.moved.get(),
            self.accesses.get()
        );
        let first = usize::try_from(address).ok().filter(|first| *first <= RAM);
        first
            .filter(|first| RAM - first >= length)
            .map(|first| first..first + length)
            .ok_or(Outside { address, length })
    }
}

impl Memory for Ram {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Outside> {
        let range = self.range(address, into.len())?;
        into.copy_from_slice(&self.bytes.borrow()[range]);
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), Outside> {
        let range = self.range(address, from.len())?;
        self.bytes.borrow_mut()[range].copy_from_slice(from);
        Ok(())
    }
}

/// What a step showed: the value read and what the device wanted done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Of a read; 0 of others.
    pub value: u32,
    /// In order.
    pub effects: Vec<Effect>,
}

/// A device under test.
#[derive(Debug)]
pub struct Run<'a, S: Subject> {
    subject: &'a S,
    device: S::Device,
    /// Guest memory.
    pub ram: Ram,
    now: u64,
}

impl<'a, S: Subject> Run<'a, S> {
    /// A device that is switched on; its PCI side, if any, answers and masters the bus.
    pub fn new(subject: &'a S, device: S::Device, ram: Ram) -> Run<'a, S> {
        let mut run = Run {
            subject,
            device,
            ram,
            now: 0,
        };
        let command = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER;
        run.step(&Step::Config(4, 2, command.into()));
        run.step(&Step::Config(0x30, 4, 0xfe00_0001));
        run
    }

    /// The same surroundings, another device that takes over at the same time.
    pub fn taken_over(&self, device: S::Device) -> Run<'a, S> {
        Run {
            subject: self.subject,
            device,
            ram: self.ram.copy(),
            now: self.now,
        }
    }

    /// The device.
    pub fn device(&mut self) -> &mut S::Device {
        &mut self.device
    }

    /// All that a guest reaches.
    pub fn places(&mut self) -> Vec<Place> {
        script::places(&mut self.device)
    }

    /// Reads a script for this device.
    pub fn script(&mut self, bytes: &[u8]) -> Vec<Step> {
        script::read(bytes, &self.places(), &self.subject.moves())
    }

    /// Does all of `steps`.
    pub fn go(&mut self, steps: &[Step]) -> Vec<Seen> {
        steps.iter().map(|step| self.step(step)).collect()
    }

    /// Does one step, and gives the device its tick if it wants one by now.
    pub fn step(&mut self, step: &Step) -> Seen {
        self.ram.begin();
        let mut effects = Vec::new();
        let mut turn = Turn {
            now: self.now,
            memory: &self.ram,
            effects: &mut effects,
        };
        let device = &mut self.device;
        let mut value = 0;
        match step {
            Step::Read(region, offset, width) => {
                value = device.read(*region, *offset, *width, &mut turn) & width.mask();
            }
            Step::Write(region, offset, width, value) => {
                device.write(*region, *offset, *width, *value, &mut turn);
            }
            Step::Config(offset, bytes, value) => {
                if let Some(pci) = device.pci() {
                    let offset = offset & !(*bytes as u8 - 1);
                    pci.function().write(offset, *bytes, *value);
                    pci.config_written(offset, *bytes, &mut turn);
                }
            }
            Step::Pass(time) => self.now = self.now.saturating_add(*time),
            Step::Memory(address, bytes) => self.ram.put(*address, bytes),
            Step::Happen(choice) => self.subject.happen(device, *choice, &mut turn),
            Step::Reset => device.reset(&mut turn),
        }
        if device.next().is_some_and(|at| at <= self.now) {
            let mut turn = Turn {
                now: self.now,
                memory: &self.ram,
                effects: &mut effects,
            };
            device.tick(&mut turn);
            let next = device.next();
            assert!(
                next.is_none_or(|at| at > self.now),
                "after its tick at {} it wants another one at {next:?}: a device catches up in one tick",
                self.now
            );
        }
        assert!(
            effects.len() <= MAX_EFFECTS,
            "{} effects of one step",
            effects.len()
        );
        Seen { value, effects }
    }
}
