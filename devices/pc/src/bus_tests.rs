use crate::bus::Place;
use crate::device::{Device, Effect, Memory, Outside, Ports, Region, Turn, Width, Window};
use crate::pci::{Bar, BarKind, Function, Identity, Pci, COMMAND_IO, COMMAND_MEMORY};
use crate::state::{self, StateError};
use crate::Bus;
use serde_json::Value;

struct NoMemory;

impl Memory for NoMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Outside> {
        Err(Outside {
            address,
            length: into.len(),
        })
    }
    fn write(&self, address: u64, from: &[u8]) -> Result<(), Outside> {
        Err(Outside {
            address,
            length: from.len(),
        })
    }
}

/// Remembers what was written, with a PCI side on demand.
#[derive(Debug)]
struct Probe {
    written: Vec<(Region, u64, Width, u32)>,
    function: Option<Function>,
    due: Option<u64>,
}

const PORTS: &[Ports] = &[
    Ports {
        first: 0x60,
        count: 1,
    },
    Ports {
        first: 0x64,
        count: 2,
    },
];
const WINDOWS: &[Window] = &[Window {
    first: 0xa_0000,
    length: 0x2_0000,
}];

impl Device for Probe {
    fn name(&self) -> &str {
        "probe"
    }
    fn ports(&self) -> &[Ports] {
        if self.function.is_some() {
            &[]
        } else {
            PORTS
        }
    }
    fn windows(&self) -> &[Window] {
        if self.function.is_some() {
            &[]
        } else {
            WINDOWS
        }
    }
    fn pci(&mut self) -> Option<&mut dyn Pci> {
        self.function.is_some().then_some(self as &mut dyn Pci)
    }
    fn read(&mut self, region: Region, offset: u64, width: Width, _turn: &mut Turn) -> u32 {
        let region = match region {
            Region::Ports(index) => 0x10 + index as u32,
            Region::Window(index) => 0x20 + index as u32,
            Region::Bar(index) => 0x30 + index as u32,
            Region::Rom => 0x40,
            Region::Placed => 0x50,
        };
        0x1000_0000 * width.bytes() as u32 + 0x1_0000 * region + offset as u32
    }
    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        self.written.push((region, offset, width, value));
        turn.effects.push(Effect::Line(1, true));
    }
    fn next(&self) -> Option<u64> {
        self.due
    }
    fn tick(&mut self, turn: &mut Turn) {
        self.due = None;
        turn.effects.push(Effect::Reset);
    }
    fn reset(&mut self, _turn: &mut Turn) {
        self.written.clear();
        if let Some(function) = &mut self.function {
            function.reset();
        }
    }
    fn save(&self) -> Value {
        state::wrap(1, &0)
    }
    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        state::unwrap::<u32>("probe", 1, saved).map(|_| ())
    }
}

impl Pci for Probe {
    fn placed(&self) -> Option<Ports> {
        let base = self.function.as_ref()?.byte(0x40);
        (base != 0).then_some(Ports {
            first: u16::from(base) << 8,
            count: 0x40,
        })
    }
    fn config_written(&mut self, _offset: u8, _bytes: usize, turn: &mut Turn) {
        turn.effects.push(Effect::Remap);
    }
    fn function(&mut self) -> &mut Function {
        self.function
            .get_or_insert_with(|| Function::new(identity(), [None; 6]))
    }
}

fn identity() -> Identity {
    Identity {
        vendor: 0x5853,
        device: 1,
        class: 0xff8000,
        revision: 1,
        subsystem: (0, 0),
        pin: 1,
        multifunction: false,
    }
}

fn plain() -> Box<Probe> {
    Box::new(Probe {
        written: Vec::new(),
        function: None,
        due: None,
    })
}

fn pci() -> Box<Probe> {
    let bars = [
        Some(Bar {
            kind: BarKind::Io,
            size: 0x100,
        }),
        Some(Bar {
            kind: BarKind::Memory,
            size: 0x1000,
        }),
        None,
        None,
        None,
        None,
    ];
    let mut function = Function::new(identity(), bars).with_rom(0x1_0000);
    function.own_byte(0x40, 0, 0xff);
    Box::new(Probe {
        written: Vec::new(),
        function: Some(function),
        due: None,
    })
}

const SLOT: Place = Place {
    slot: 3,
    function: 0,
};

fn config(bus: &mut Bus, offset: u32, value: u32) {
    bus.write_port(
        0xcf8,
        Width::Dword,
        0x8000_0000 | 3 << 11 | offset,
        0,
        &NoMemory,
    );
    bus.write_port(0xcfc, Width::Dword, value, 0, &NoMemory);
}

#[test]
fn ports_and_windows_reach_their_device_with_offsets() {
    let mut bus = Bus::new();
    bus.add(plain(), None);
    assert_eq!(bus.read_port(0x60, Width::Byte, 0, &NoMemory).0, 0);
    assert_eq!(bus.read_port(0x65, Width::Byte, 0, &NoMemory).0, 1);
    let mut bytes = [0; 4];
    bus.read_memory(0xb_8000, &mut bytes, 0, &NoMemory);
    assert_eq!(u32::from_le_bytes(bytes), 0x4020_0000 + 0x1_8000);
    let happened = bus.write_port(0x64, Width::Byte, 0x1fe, 0, &NoMemory);
    assert_eq!(happened, vec![(0, Effect::Line(1, true))]);
}

#[test]
fn access_over_the_end_of_a_region_is_cut_and_nobody_answers_all_ones() {
    let mut bus = Bus::new();
    bus.add(plain(), None);
    // Two bytes answer, the two behind them do not.
    let (value, _) = bus.read_port(0x64, Width::Dword, 0, &NoMemory);
    assert_eq!(value, 0xffff_0100);
    assert_eq!(bus.read_port(0x80, Width::Word, 0, &NoMemory).0, 0xffff);
    assert_eq!(bus.strays(), 1);
    let mut bytes = [0; 8];
    bus.read_memory(u64::MAX - 3, &mut bytes, 0, &NoMemory);
    assert_eq!(bytes, [0xff; 8]);
}

#[test]
fn pci_regions_follow_the_command_register_and_their_bars() {
    let mut bus = Bus::new();
    bus.add(pci(), Some(SLOT));
    config(&mut bus, 0x10, 0xffff_ffff);
    assert_eq!(
        bus.read_port(0xcfc, Width::Dword, 0, &NoMemory).0,
        0xffff_ff01
    );
    config(&mut bus, 0x10, 0xc000);
    config(&mut bus, 0x14, 0xf000_0000);
    assert_eq!(bus.read_port(0xc004, Width::Byte, 0, &NoMemory).0, 0xff);
    config(&mut bus, 0x04, u32::from(COMMAND_IO | COMMAND_MEMORY));
    assert_eq!(
        bus.read_port(0xc004, Width::Dword, 0, &NoMemory).0,
        0x4030_0004
    );
    let mut bytes = [0; 4];
    bus.read_memory(0xf000_0ffc, &mut bytes, 0, &NoMemory);
    assert_eq!(u32::from_le_bytes(bytes), 0x4031_0ffc);
    bus.reset(0, &NoMemory);
    assert_eq!(bus.read_port(0xc004, Width::Byte, 0, &NoMemory).0, 0xff);
}

#[test]
fn rom_and_placed_ports_answer_where_the_guest_put_them() {
    let mut bus = Bus::new();
    bus.add(pci(), Some(SLOT));
    config(&mut bus, 0x30, 0xf100_0001);
    config(&mut bus, 0x04, u32::from(COMMAND_IO | COMMAND_MEMORY));
    let mut bytes = [0; 4];
    bus.read_memory(0xf100_fff0, &mut bytes, 0, &NoMemory);
    assert_eq!(u32::from_le_bytes(bytes), 0x4040_fff0);
    assert_eq!(
        bus.read_port(0xb008, Width::Dword, 0, &NoMemory).0,
        u32::MAX
    );
    config(&mut bus, 0x40, 0xb0);
    assert_eq!(
        bus.read_port(0xb008, Width::Dword, 0, &NoMemory).0,
        0x4050_0008
    );
    config(&mut bus, 0x30, 0xf100_0000);
    bus.read_memory(0xf100_fff0, &mut bytes, 0, &NoMemory);
    assert_eq!(bytes, [0xff; 4]);
}

#[test]
fn config_space_without_a_device_reads_ones_and_bytes_come_from_their_lanes() {
    let mut bus = Bus::new();
    bus.add(pci(), Some(SLOT));
    bus.write_port(0xcf8, Width::Dword, 0x8000_0000 | 4 << 11, 0, &NoMemory);
    assert_eq!(
        bus.read_port(0xcfc, Width::Dword, 0, &NoMemory).0,
        0xffff_ffff
    );
    bus.write_port(0xcf8, Width::Dword, 0x8000_0000 | 3 << 11, 0, &NoMemory);
    assert_eq!(
        bus.read_port(0xcfc, Width::Dword, 0, &NoMemory).0,
        0x0001_5853
    );
    assert_eq!(bus.read_port(0xcfe, Width::Word, 0, &NoMemory).0, 1);
    assert_eq!(bus.read_port(0xcfd, Width::Byte, 0, &NoMemory).0, 0x58);
}

#[test]
fn tick_comes_when_it_is_due_and_not_before() {
    let mut bus = Bus::new();
    let mut device = plain();
    device.due = Some(100);
    bus.add(device, None);
    assert_eq!(bus.next(), Some(100));
    assert!(bus.tick(99, &NoMemory).is_empty());
    assert_eq!(bus.tick(100, &NoMemory), vec![(0, Effect::Reset)]);
    assert_eq!(bus.next(), None);
}

#[test]
fn saved_bus_goes_on_where_it_stood_and_other_devices_are_named() {
    use crate::chipset::{HostBridge, IsaBridge};
    let board = |devices: &[&str]| {
        let mut bus = Bus::new();
        for (slot, name) in (0..).zip(devices) {
            let device: Box<dyn Device> = match *name {
                "host" => Box::new(HostBridge::new()),
                "tablet" => Box::new(crate::summa::Summa::new()),
                _ => Box::new(IsaBridge::new()),
            };
            bus.add(device, Some(Place { slot, function: 0 }));
        }
        bus
    };
    let ram = crate::conformance::Ram::new();
    let mut bus = board(&["host", "isa"]);
    bus.write_port(0xcf8, Width::Dword, 0x8000_0000, 0, &ram);
    let (address, saved) = bus.save();
    let mut other = board(&["host", "isa"]);
    other.restore(address, &saved).unwrap();
    // The next access goes to the register that was chosen before.
    let read = |bus: &mut Bus| bus.read_port(0xcfc, Width::Dword, 0, &ram).0;
    assert_eq!(read(&mut other), read(&mut bus));
    assert_ne!(read(&mut other), u32::MAX);
    for (devices, words) in [
        (
            &["host"][..],
            "isa-bridge: saved state that cannot be: this machine has no such device",
        ),
        (&["isa", "host"][..], "another order"),
    ] {
        let error = board(devices).restore(address, &saved).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let (_, fewer) = board(&["host"]).save();
    let error = board(&["host", "isa"]).restore(0, &fewer).unwrap_err();
    assert!(error.to_string().contains("isa-bridge"), "{error}");
    // What came later than the image is as after power-on.
    let mut later = board(&["host", "isa", "tablet"]);
    later.restore(address, &saved).unwrap();
    assert_eq!(later.save().1[2], board(&["tablet"]).save().1[0]);
    let (address, all) = later.save();
    later.restore(address, &all).unwrap();
    assert!(board(&["host", "isa"]).restore(address, &all).is_err());
}

#[test]
fn places_go_to_who_is_asked_for_them_before_who_takes_all() {
    use crate::device::{Pointing, Touch};
    let mut bus = Bus::new();
    bus.add(Box::new(crate::i8042::I8042::new()), None);
    let tablet = bus.add(Box::new(crate::summa::Summa::new()), None);
    let ram = crate::conformance::Ram::new();
    let there = Touch::Position {
        x: 9,
        y: 9,
        wheel: 0,
        width: 10,
        height: 10,
    };
    assert_ne!(bus.pointing(), Some(Pointing::Absolute));
    bus.touch(there, 0, &ram);
    for (port, value) in [(0x2fc, 0x0b), (0x2f8, u32::from(b'@'))] {
        bus.write_port(port, Width::Byte, value, 0, &ram);
    }
    assert_eq!(bus.pointing(), Some(Pointing::Absolute));
    let (taken, happened) = bus.touch(there, 0, &ram);
    assert!(taken && happened.iter().all(|(device, _)| *device == tablet));
    assert_eq!(bus.read_port(0x2f8, Width::Byte, 0, &ram).0, 0x98);
}

#[test]
fn device_that_is_unplugged_is_found_nowhere() {
    let mut bus = Bus::new();
    let (plain, card) = (bus.add(plain(), None), bus.add(pci(), Some(SLOT)));
    config(&mut bus, 0x10, 0xc000);
    config(&mut bus, 0x04, u32::from(COMMAND_IO));
    assert_eq!(
        bus.read_port(0xc004, Width::Dword, 0, &NoMemory).0,
        0x4030_0004
    );
    bus.unplug(card);
    assert_eq!(bus.at(SLOT), None);
    assert_eq!(bus.read_port(0xc004, Width::Byte, 0, &NoMemory).0, 0xff);
    config(&mut bus, 0x10, 0);
    assert_eq!(bus.read_port(0xcfc, Width::Dword, 0, &NoMemory).0, u32::MAX);
    let strays = bus.strays();
    bus.unplug(plain);
    bus.unplug(99);
    assert_eq!(bus.read_port(0x60, Width::Byte, 0, &NoMemory).0, 0xff);
    assert_eq!(bus.strays(), strays + 1);
}
