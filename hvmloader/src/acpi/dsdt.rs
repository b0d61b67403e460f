//! The DSDT: what ACPI calls the devices of this PC, its PCI interrupts, how it is switched off.

use super::processors::{only_named, processors};
use super::{header, HOLE_END, HPET_ADDRESS, HPET_LENGTH, SLEEP_S5};
use crate::{Machine, HOLE};
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, Interrupt, Memory32Fixed, Name, Package,
    PackageBuilder, Path, ResourceTemplate, Scope, IO,
};
use acpi_tables::sdt::Sdt;
use acpi_tables::{aml, Aml};

/// ISA interrupts of PCI lines A to D, as SeaBIOS routes them.
const LINES: [u32; 4] = [10, 10, 11, 11];
/// Slots of bus 0.
const SLOTS: u32 = 32;

/// The table.
pub fn dsdt(machine: &Machine) -> Sdt {
    let mut table = header(b"DSDT", 36, 2);
    let mut code = Vec::new();
    // S5: SLP_TYP 0 (PIIX4).
    let zero = aml::ZERO;
    let off = Package::new(vec![&zero, &zero, &zero, &zero]);
    Name::new("_S5_".into(), &off).to_aml_bytes(&mut code);
    if machine.sleeps {
        // S3: SLP_TYP 1.
        let one = aml::ONE;
        let asleep = Package::new(vec![&one, &one, &zero, &zero]);
        Name::new("_S3_".into(), &asleep).to_aml_bytes(&mut code);
    }
    code.extend(processors(machine));
    pci(machine, &mut code);
    if machine.hpet {
        let hid = EISAName::new("PNP0103");
        let hid = Name::new("_HID".into(), &hid);
        let registers = Memory32Fixed::new(false, HPET_ADDRESS, HPET_LENGTH);
        let resources = ResourceTemplate::new(vec![&registers]);
        let resources = Name::new("_CRS".into(), &resources);
        let device = Device::new("HPET".into(), vec![&hid, &resources]);
        Scope::new("_SB_".into(), vec![&device]).to_aml_bytes(&mut code);
    }
    table.append_slice(&code);
    table
}

/// The table of a machine without the devices of a PC.
pub fn reduced(machine: &Machine) -> Sdt {
    let mut table = header(b"DSDT", 36, 2);
    let mut code = Vec::new();
    let off = Package::new(vec![&SLEEP_S5, &aml::ZERO]);
    Name::new("_S5_".into(), &off).to_aml_bytes(&mut code);
    code.extend(only_named(machine));
    table.append_slice(&code);
    table
}

fn pci(machine: &Machine, code: &mut Vec<u8>) {
    let first = machine.low.clamp(0x8000_0000, HOLE) as u32;
    let bus = AddressSpace::new_bus_number(0x0u16, 0xffu16);
    let config = IO::new(0xcf8, 0xcf8, 1, 8);
    let ports_below = AddressSpace::new_io(0x0u16, 0xcf7u16, None);
    let ports_above = AddressSpace::new_io(0xd00u16, 0xffffu16, None);
    let vga = AddressSpace::new_memory(
        AddressSpaceCacheable::Cacheable,
        true,
        0xa_0000u32,
        0xb_ffffu32,
        None,
    );
    let hole = AddressSpace::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        first,
        HOLE_END,
        None,
    );
    let resources =
        ResourceTemplate::new(vec![&bus, &config, &ports_below, &ports_above, &vga, &hole]);
    let hid = EISAName::new("PNP0A03");
    let hid = Name::new("_HID".into(), &hid);
    let address = Name::new("_ADR".into(), &aml::ZERO);
    let number = Name::new("_UID".into(), &aml::ZERO);
    let resources = Name::new("_CRS".into(), &resources);
    let routing = routing();
    let routing = Name::new("_PRT".into(), &routing);
    let isa = Raw(isa());
    let bridge = Device::new(
        "PCI0".into(),
        vec![&hid, &address, &number, &resources, &routing, &isa],
    );
    Scope::new("_SB_".into(), vec![&bridge]).to_aml_bytes(code);
}

/// AML that is there already.
pub struct Raw(pub Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}

/// `_PRT`: pin P of slot S is line (P + S - 1) mod 4.
fn routing() -> PackageBuilder {
    let mut all = PackageBuilder::new();
    for slot in 0..SLOTS {
        for pin in 0..4 {
            let address = slot << 16 | 0xffff;
            let line = LINES[((pin + slot + 3) % 4) as usize];
            let pin = pin as u8;
            all.add_element(&Package::new(vec![&address, &pin, &aml::ZERO, &line]));
        }
    }
    all
}

/// The ISA bridge and what has its place behind it for ever.
fn isa() -> Vec<u8> {
    let address = Name::new("_ADR".into(), &0x0001_0000u32);
    let clock = isa_device("RTC_", "PNP0B00", &[(0x70, 2)], Some(8));
    let keyboard = isa_device("KBD_", "PNP0303", &[(0x60, 1), (0x64, 1)], Some(1));
    let mouse = isa_device("MOU_", "PNP0F13", &[], Some(12));
    let serial = isa_device("COM1", "PNP0501", &[(0x3f8, 8)], Some(4));
    let floppy = isa_device("FDC0", "PNP0700", &[(0x3f2, 4), (0x3f7, 1)], Some(6));
    let bridge = Device::new(
        "ISA_".into(),
        vec![&address, &clock, &keyboard, &mouse, &serial, &floppy],
    );
    let mut code = Vec::new();
    bridge.to_aml_bytes(&mut code);
    code
}

fn isa_device(name: &str, id: &str, ports: &[(u16, u8)], irq: Option<u32>) -> Raw {
    let hid = EISAName::new(id);
    let hid = Name::new("_HID".into(), &hid);
    let ports: Vec<IO> = ports
        .iter()
        .map(|(first, count)| IO::new(*first, *first, 1, *count))
        .collect();
    let irq = irq.map(|irq| Interrupt::new(true, true, false, false, irq));
    let mut list: Vec<&dyn Aml> = ports.iter().map(|port| port as &dyn Aml).collect();
    list.extend(irq.iter().map(|irq| irq as &dyn Aml));
    let resources = ResourceTemplate::new(list);
    let resources = Name::new("_CRS".into(), &resources);
    let mut code = Vec::new();
    Device::new(Path::new(name), vec![&hid, &resources]).to_aml_bytes(&mut code);
    Raw(code)
}
