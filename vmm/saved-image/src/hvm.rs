//! The parts of an HVM domain's state; its memories are "ram", "bios" and "video".
//!
//! ```text
//!   pc, clock, vcpu (one each), console, nodes, chips, board, device (one for each) -- before the first memory record
//! ```
//! Interrupt controllers, timer and clock are KVM's own structures (linux/kvm.h), which are a stable interface, as bytes. What a device
//! of the PC is it says itself, with a version of its own inside.

use crate::error::ImageError;
use crate::read::{Reader, Record};
use crate::state::{structure, Bytes, Clock, Console, Feature, Parts, State, Unit, Vcpu};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};

/// Most devices of a PC.
pub const MAX_PC_DEVICES: usize = 256;
/// Most disks of a PC, most interrupt lines held up.
pub const MAX_ITEMS: usize = 1024;

/// What the PC is.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Pc {
    /// Domain id that it had.
    pub domid: u32,
    /// Frames of RAM: bytes of the memory "ram", in pages.
    pub pages: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Bytes of the memory "bios".
    pub bios: u64,
    /// Bytes of the memory "video"; 0: no display.
    pub video: u64,
    /// CPU features that the guest may have found: it runs only where all of them are.
    pub features: Vec<Feature>,
    /// Its disks; what is in them is not part of the image.
    pub disks: Vec<Disk>,
}

/// A drive with a medium.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Xen's device number.
    pub devid: u32,
    /// Bytes of its medium.
    pub bytes: u64,
}

/// Interrupt controllers and timer of the board.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Chips {
    /// struct kvm_irqchip of the first 8259.
    pub pic_master: Bytes,
    /// ... of the second.
    pub pic_slave: Bytes,
    /// ... of the I/O APIC.
    pub ioapic: Bytes,
    /// struct kvm_pit_state2.
    pub pit: Bytes,
    /// KVM's clock, ns.
    pub clock_ns: u64,
}

/// What the board keeps besides its devices.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Time since the machine was first started, ns.
    pub now: u64,
    /// CONFIG_ADDRESS of PCI.
    pub config_address: u32,
    /// ISA lines held up: the device's place in the list, line.
    pub isa: Vec<(u32, u8)>,
    /// PCI lines held up: the same.
    pub pci: Vec<(u32, u8)>,
    /// The ISA line of each PCI line.
    pub routes: [Option<u8>; 4],
}

/// A device of the PC; they come in the order of the bus.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PcDevice {
    /// Its name.
    pub name: String,
    /// What it says.
    pub state: serde_json::Value,
}

impl Unit for Pc {
    const NAME: &'static str = "pc";
    const VERSION: u32 = 1;
}

impl Unit for Chips {
    const NAME: &'static str = "chips";
    const VERSION: u32 = 1;
}

impl Unit for Board {
    const NAME: &'static str = "board";
    const VERSION: u32 = 1;
}

impl Unit for PcDevice {
    const NAME: &'static str = "device";
    const VERSION: u32 = 1;
}

/// All parts of an HVM domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HvmState {
    /// What it is.
    pub pc: Pc,
    /// When.
    pub clock: Clock,
    /// By id, each there.
    pub vcpus: Vec<Vcpu>,
    /// What lies between its first serial port and the terminal.
    pub console: Console,
    /// Interrupt controllers and timer.
    pub chips: Chips,
    /// The rest of the board.
    pub board: Board,
    /// Devices in the order of the bus.
    pub devices: Vec<PcDevice>,
}

impl HvmState {
    /// Reads the rest of a stream, to its end: memory goes to `take` as it comes.
    pub fn read_stream<R: Read>(
        reader: &mut Reader<R>,
        pc: Pc,
        mut take: impl FnMut(Record) -> Result<(), ImageError>,
    ) -> Result<HvmState, ImageError> {
        Parts::of_pc(pc).read_stream(reader, &mut take)?.whole_hvm()
    }
}

/// A domain of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Paravirtual.
    Pv(Box<State>),
    /// A PC.
    Hvm(Box<HvmState>),
}

impl Saved {
    /// Reads the parts of either kind; also gives the first memory record, if there is one.
    pub fn read<R: Read>(reader: &mut Reader<R>) -> Result<(Saved, Option<Record>), ImageError> {
        let (parts, rest) = Parts::read(reader)?;
        let saved = match parts.is_hvm() {
            true => Saved::Hvm(Box::new(parts.whole_hvm()?)),
            false => Saved::Pv(Box::new(parts.whole()?)),
        };
        Ok((saved, rest))
    }

    /// Domain id that it had.
    pub fn domid(&self) -> u32 {
        match self {
            Saved::Pv(state) => state.domain.domid,
            Saved::Hvm(state) => state.pc.domid,
        }
    }

    /// MiB that it had at boot.
    pub fn memory_mib(&self) -> u64 {
        match self {
            Saved::Pv(state) => state.domain.boot_pages >> 8,
            Saved::Hvm(state) => state.pc.pages >> 8,
        }
    }

    /// vCPUs.
    pub fn vcpus(&self) -> &[Vcpu] {
        match self {
            Saved::Pv(state) => &state.vcpus,
            Saved::Hvm(state) => &state.vcpus,
        }
    }

    /// When it was saved.
    pub fn clock(&self) -> &Clock {
        match self {
            Saved::Pv(state) => &state.clock,
            Saved::Hvm(state) => &state.clock,
        }
    }

    /// What lies between it and its terminal.
    pub fn console(&self) -> &Console {
        match self {
            Saved::Pv(state) => &state.console,
            Saved::Hvm(state) => &state.console,
        }
    }
}

/// Each number within what there is, each device once.
pub(crate) fn check(state: &HvmState) -> Result<(), ImageError> {
    let board = &state.board;
    let known = |lines: u8| {
        move |(device, line): &(u32, u8)| (*device as usize) < state.devices.len() && *line < lines
    };
    let all = board.isa.iter().all(known(24)) && board.pci.iter().all(known(16));
    if board.isa.len() + board.pci.len() > MAX_ITEMS || !all {
        return Err(structure("an interrupt line is held up by nobody"));
    }
    if state.pc.disks.len() > MAX_ITEMS {
        return Err(structure("it has more disks than a PC can have"));
    }
    let mut seen = BTreeSet::new();
    for device in &state.devices {
        if !seen.insert(device.name.as_str()) {
            let name: String = device.name.escape_debug().take(32).collect();
            return Err(structure(&format!("its device {name} comes twice")));
        }
    }
    Ok(())
}

impl<W: Write> crate::Writer<W> {
    /// Writes all parts of an HVM domain's state, in the order of a file.
    pub fn hvm_state(&mut self, state: &HvmState) -> io::Result<()> {
        self.unit(&state.pc)?;
        self.hvm_state_but_pc(state)
    }

    /// The same without the first part.
    pub fn hvm_state_but_pc(&mut self, state: &HvmState) -> io::Result<()> {
        self.unit(&state.clock)?;
        state.vcpus.iter().try_for_each(|vcpu| self.unit(vcpu))?;
        self.unit(&state.console)?;
        self.unit(&state.chips)?;
        self.unit(&state.board)?;
        state
            .devices
            .iter()
            .try_for_each(|device| self.unit(device))
    }
}
