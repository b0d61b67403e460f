//! ACPI tables (ACPI 6.4, chapter 5) of the PC of devices/pc, at their place in memory.
//!
//! ```text
//!   RSDP (F segment) --> RSDT, XSDT --> FADT --> FACS, DSDT (dsdt.rs)
//!                                   --> MADT, HPET
//!   RSDP --> XSDT --> FADT (hardware-reduced), MADT: a machine without firmware and devices
//! ```

mod dsdt;
mod processors;

use crate::{checksum, Machine, Placed};
use acpi_tables::sdt::Sdt;
use acpi_tables::Aml;

/// Room for all tables at the end of low RAM, bytes.
pub const ROOM: u64 = 64 << 10;
/// Ports of the power management registers, where SeaBIOS puts them (PIIX4: PMBA).
pub const PM_BASE: u16 = 0x600;
/// Port of the sleep control register where there is no power management of a PC; the status register is behind it.
pub const SLEEP_CONTROL: u16 = 0x600;
/// Value of SLP_TYP there for S5.
pub const SLEEP_S5: u8 = 5;
/// The system control interrupt.
pub const SCI: u8 = 9;
/// ISA interrupts that are level-triggered: SCI and those that PCI lines are routed to.
const LEVEL: [u8; 4] = [5, SCI, 10, 11];

const OEM: [u8; 6] = *b"Noxen\0";
const OEM_TABLE: [u8; 8] = *b"HVM\0\0\0\0\0";
const LOCAL_APIC: u32 = 0xfee0_0000;
/// Last address of the hole for PCI; the I/O APIC is behind it.
const HOLE_END: u32 = IO_APIC - 1;
const IO_APIC: u32 = 0xfec0_0000;
/// Registers of the high precision event timer, and the low half of the first (devices/pc, hpet).
const HPET_ADDRESS: u32 = 0xfed0_0000;
const HPET_LENGTH: u32 = 0x400;
const HPET_ID: u32 = 0x8086_2201;
const ACPI_ENABLE: u8 = 0xf1;
const ACPI_DISABLE: u8 = 0xf0;
const APM_CONTROL: u32 = 0xb2;

/// The tables and what points to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// All tables, for [`ROOM`] bytes at the end of low RAM.
    pub tables: Placed,
    /// Root pointer.
    pub rsdp: Vec<u8>,
}

/// Tables one after the other.
struct Pile {
    address: u64,
    bytes: Vec<u8>,
}

impl Pile {
    /// Adds a table, on 64 bytes; returns its address.
    fn add(&mut self, table: &[u8]) -> u64 {
        let at = self.bytes.len().next_multiple_of(64);
        self.bytes.resize(at, 0);
        self.bytes.extend(table);
        self.address + at as u64
    }
}

fn header(signature: &[u8; 4], length: u32, revision: u8) -> Sdt {
    Sdt::new(*signature, length, revision, OEM, OEM_TABLE, 1)
}

/// The tables of `machine` without the devices of a PC (hardware-reduced ACPI): the root pointer at `address`, all else behind it,
/// [`ROOM`] bytes at most.
pub fn reduced(machine: &Machine, address: u64) -> Placed {
    let root = rsdp(0, 0).len();
    let mut pile = Pile {
        address,
        bytes: vec![0; root],
    };
    let dsdt = pile.add(&sealed(&dsdt::reduced(machine)));
    let found = [
        pile.add(&sealed(&reduced_fadt(dsdt))),
        pile.add(&sealed(&local_apics(machine.vcpus))),
    ];
    let mut xsdt = header(b"XSDT", 36, 1);
    for address in &found {
        xsdt.append_slice(&address.to_le_bytes());
    }
    let xsdt = pile.add(&sealed(&xsdt));
    pile.bytes[..root].copy_from_slice(&rsdp(0, xsdt));
    Placed {
        address,
        bytes: pile.bytes,
    }
}

/// Fixed ACPI description table, revision 5: hardware-reduced, without VGA, 8042 and RTC.
fn reduced_fadt(dsdt: u64) -> Sdt {
    let mut fadt = header(b"FACP", 268, 5);
    fadt.write_u32(40, dsdt as u32);
    // VGA and CMOS RTC are not there, nor are legacy devices and an 8042.
    fadt.write_u16(109, 1 << 2 | 1 << 5);
    // WBINVD, C1 on all processors, no power and no sleep button, hardware-reduced.
    fadt.write_u32(112, 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 20);
    fadt.write_u64(140, dsdt);
    generic(&mut fadt, 244, 8, SLEEP_CONTROL);
    generic(&mut fadt, 256, 8, SLEEP_CONTROL + 1);
    fadt
}

/// Multiple APIC description table of processors alone.
fn local_apics(vcpus: u32) -> Sdt {
    let mut madt = header(b"APIC", 36, 3);
    madt.append_slice(&LOCAL_APIC.to_le_bytes());
    madt.append_slice(&0u32.to_le_bytes());
    for cpu in 0..vcpus.min(0xfe) as u8 {
        madt.append_slice(&[0, 8, cpu, cpu, 1, 0, 0, 0]);
    }
    madt
}

/// The tables of `machine`.
pub fn tables(machine: &Machine) -> Tables {
    let mut pile = Pile {
        address: machine.low - ROOM,
        bytes: Vec::new(),
    };
    let facs = pile.add(&facs());
    let dsdt = pile.add(&sealed(&dsdt::dsdt(machine)));
    let mut found = vec![pile.add(&sealed(&fadt(facs, dsdt)))];
    if machine.apic {
        found.push(pile.add(&sealed(&madt(machine))));
    }
    if machine.hpet {
        found.push(pile.add(&sealed(&hpet())));
    }
    let mut rsdt = header(b"RSDT", 36, 1);
    let mut xsdt = header(b"XSDT", 36, 1);
    for address in &found {
        rsdt.append_slice(&(*address as u32).to_le_bytes());
        xsdt.append_slice(&address.to_le_bytes());
    }
    let (rsdt, xsdt) = (pile.add(&sealed(&rsdt)), pile.add(&sealed(&xsdt)));
    Tables {
        rsdp: rsdp(rsdt, xsdt),
        tables: Placed {
            address: pile.address,
            bytes: pile.bytes,
        },
    }
}

fn sealed(table: &Sdt) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes[9] = 0;
    bytes[9] = checksum(&bytes);
    bytes
}

fn rsdp(rsdt: u64, xsdt: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0".to_vec();
    bytes.extend(OEM);
    bytes.push(2);
    bytes.extend((rsdt as u32).to_le_bytes());
    bytes.extend(36u32.to_le_bytes());
    bytes.extend(xsdt.to_le_bytes());
    bytes.extend([0; 4]);
    bytes[8] = checksum(&bytes[..20]);
    bytes[32] = checksum(&bytes);
    bytes
}

fn facs() -> Vec<u8> {
    let mut bytes = b"FACS".to_vec();
    bytes.extend(64u32.to_le_bytes());
    bytes.resize(64, 0);
    bytes
}

/// Fixed ACPI description table, revision 3 (table 5.9).
fn fadt(facs: u64, dsdt: u64) -> Sdt {
    let mut fadt = header(b"FACP", 244, 3);
    fadt.write_u32(36, facs as u32);
    fadt.write_u32(40, dsdt as u32);
    fadt.write_u16(46, SCI.into());
    fadt.write_u32(48, APM_CONTROL);
    fadt.write_u8(52, ACPI_ENABLE);
    fadt.write_u8(53, ACPI_DISABLE);
    // PM1a event, PM1a control, timer, GPE0: port, length, and as generic addresses.
    for (old, new, length_at, offset, length) in [
        (56, 148, 88, 0, 4u8),
        (64, 172, 89, 4, 2),
        (76, 208, 91, 8, 4),
        (80, 220, 92, 12, 4),
    ] {
        let port = PM_BASE + offset;
        fadt.write_u32(old, port.into());
        fadt.write_u8(length_at, length);
        generic(&mut fadt, new, length * 8, port);
    }
    // No C2, no C3.
    fadt.write_u16(96, 0xffff);
    fadt.write_u16(98, 0xffff);
    // RTC: day alarm none, month alarm none, century at 0x32.
    fadt.write_u8(108, 0x32);
    // Legacy devices, an 8042.
    fadt.write_u16(109, 3);
    // WBINVD, C1 on all processors, reset register; power and sleep buttons are those of PM1.
    fadt.write_u32(112, 1 | 1 << 2 | 1 << 10);
    generic(&mut fadt, 116, 8, 0xcf9);
    fadt.write_u8(128, 6);
    fadt.write_u64(132, facs);
    fadt.write_u64(140, dsdt);
    fadt
}

/// A generic address of I/O ports (table 5.1).
fn generic(table: &mut Sdt, at: usize, bits: u8, port: u16) {
    table.write_bytes(at, &[1, bits, 0, 0]);
    table.write_u64(at + 4, port.into());
}

/// Multiple APIC description table (table 5.19).
fn madt(machine: &Machine) -> Sdt {
    let mut madt = header(b"APIC", 36, 3);
    madt.append_slice(&LOCAL_APIC.to_le_bytes());
    // There are 8259s, too.
    madt.append_slice(&1u32.to_le_bytes());
    for cpu in 0..machine.vcpus.min(0xfe) {
        madt.append_slice(&local_apic(cpu as u8, machine.has(cpu)));
    }
    madt.append_slice(&[1, 12, 0, 0]);
    madt.append_slice(&IO_APIC.to_le_bytes());
    madt.append_slice(&0u32.to_le_bytes());
    // The PIT's interrupt is pin 2; those of PCI and the SCI are high and level-triggered.
    let mut also = |irq: u8, pin: u32, flags: u16| {
        madt.append_slice(&[2, 10, 0, irq]);
        madt.append_slice(&pin.to_le_bytes());
        madt.append_slice(&flags.to_le_bytes());
    };
    also(0, 2, 0);
    for irq in LEVEL {
        also(irq, irq.into(), 0xd);
    }
    // NMI is LINT1 of all.
    madt.append_slice(&[4, 6, 0xff, 0, 0, 1]);
    madt
}

/// A processor's local APIC (table 5.21): enabled, or one that may come.
fn local_apic(cpu: u8, enabled: bool) -> [u8; 8] {
    [0, 8, cpu, cpu, if enabled { 1 } else { 2 }, 0, 0, 0]
}

/// High precision event timer description table (IA-PC HPET 1.0a, 3.2.4).
fn hpet() -> Sdt {
    let mut hpet = header(b"HPET", 56, 1);
    hpet.write_u32(36, HPET_ID);
    // In memory, 64 bits; the first one; at least 128 ticks ahead; what else is on its page is not told.
    hpet.write_bytes(40, &[0, 64, 0, 0]);
    hpet.write_u64(44, HPET_ADDRESS.into());
    hpet.write_u8(52, 0);
    hpet.write_u16(53, 128);
    hpet.write_u8(55, 0);
    hpet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;

    fn at(tables: &Placed, address: u64) -> &[u8] {
        let offset = (address - tables.address) as usize;
        let length = u32::from_le_bytes(tables.bytes[offset + 4..offset + 8].try_into().unwrap());
        &tables.bytes[offset..offset + length as usize]
    }

    fn word(bytes: &[u8], offset: usize) -> u64 {
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
    }

    #[test]
    fn root_leads_to_every_table_and_all_sums_are_zero() {
        let tables = tables(&machine());
        assert_eq!(checksum(&tables.rsdp[..20]), 0);
        assert_eq!(checksum(&tables.rsdp), 0);
        assert!(tables.tables.bytes.len() as u64 <= ROOM);
        let xsdt = at(&tables.tables, word(&tables.rsdp, 24));
        assert_eq!(&xsdt[..4], b"XSDT");
        let fadt = at(&tables.tables, word(xsdt, 36));
        let madt = at(&tables.tables, word(xsdt, 44));
        let dsdt = at(&tables.tables, word(fadt, 140));
        for (table, name) in [
            (xsdt, b"XSDT"),
            (fadt, b"FACP"),
            (madt, b"APIC"),
            (dsdt, b"DSDT"),
        ] {
            assert_eq!(&table[..4], name);
            assert_eq!(checksum(table), 0, "{name:?}");
        }
        let facs = at(&tables.tables, word(fadt, 132));
        assert_eq!((&facs[..4], facs.len()), (&b"FACS"[..], 64));
        assert_eq!(word(fadt, 132) % 64, 0);
    }

    #[test]
    fn hpet_is_told_of_where_there_is_one() {
        let mut machine = machine();
        let plain = tables(&machine).tables.bytes;
        assert!(!plain.windows(4).any(|four| four == b"HPET"));
        machine.hpet = true;
        let tables = tables(&machine);
        let xsdt = at(&tables.tables, word(&tables.rsdp, 24));
        let table = at(&tables.tables, word(xsdt, 52));
        assert_eq!((&table[..4], table.len()), (&b"HPET"[..], 56));
        assert_eq!(checksum(table), 0);
        assert_eq!(word(table, 44), 0xfed0_0000);
        // The DSDT's device has the same place.
        let place = [&[0x86, 9, 0, 0][..], &HPET_ADDRESS.to_le_bytes()].concat();
        let found = |bytes: &[u8]| bytes.windows(8).any(|part| part == place);
        assert!(found(&tables.tables.bytes) && !found(&plain));
    }

    #[test]
    fn reduced_tables_have_processors_and_sleep_registers_and_no_pc() {
        let all = reduced(&machine(), 0xfc00_0000);
        assert!(all.bytes.len() as u64 <= ROOM);
        assert_eq!(checksum(&all.bytes[..20]), 0);
        assert_eq!(checksum(&all.bytes[..36]), 0);
        let xsdt = at(&all, word(&all.bytes, 24));
        let (fadt, madt) = (at(&all, word(xsdt, 36)), at(&all, word(xsdt, 44)));
        let dsdt = at(&all, word(fadt, 140));
        for (table, name, length) in [
            (xsdt, b"XSDT", 52),
            (fadt, b"FACP", 268),
            (madt, b"APIC", 44 + 3 * 8),
            (dsdt, b"DSDT", dsdt.len()),
        ] {
            assert_eq!((&table[..4], table.len()), (&name[..], length));
            assert_eq!(checksum(table), 0, "{name:?}");
        }
        // Hardware-reduced, and where to switch it off.
        assert_eq!(fadt[114] & 1 << 4, 1 << 4);
        assert_eq!((fadt[244], word(fadt, 248)), (1, SLEEP_CONTROL.into()));
        let has = |name: &[u8; 4]| dsdt.windows(4).any(|four| four == name);
        assert!(has(b"_S5_") && has(b"C002") && !has(b"PCI0") && !has(b"C003"));
    }

    #[test]
    fn madt_has_each_cpu_and_can_be_left_out() {
        let mut machine = machine();
        let bytes = sealed(&madt(&machine));
        // The second one is not there yet.
        let cpus = [
            local_apic(0, true),
            local_apic(1, false),
            local_apic(2, true),
        ];
        assert_eq!(bytes[44..68], cpus.concat());
        let mut kinds = Vec::new();
        let mut at = 44;
        while at < bytes.len() {
            kinds.push(bytes[at]);
            at += usize::from(bytes[at + 1]);
        }
        assert_eq!(at, bytes.len());
        assert_eq!(kinds, [0, 0, 0, 1, 2, 2, 2, 2, 2, 4]);
        machine.apic = false;
        let tables = tables(&machine);
        assert!(!tables.tables.bytes.windows(4).any(|four| four == b"APIC"));
    }
}
