//! SMBIOS tables (DMTF DSP0134 2.8): whose machine this is, by Xen's names, with the domain's UUID.
//!
//! ```text
//!   0 BIOS   1 system (UUID)   3 enclosure   4 a processor each   16, 17, 19 memory   32 boot   127 end
//! ```

use crate::{checksum, Machine};

const MIB: u64 = 1 << 20;
/// Xen as it is reported.
const VERSION: &str = "4.17";
/// Largest size in MiB that a memory device tells in 16 bits; beyond it, 0x7fff and the extended field.
const MAX_SIZE: u64 = 0x7fff;

/// Structures one after the other.
#[derive(Debug, Default)]
struct Table {
    bytes: Vec<u8>,
    count: u16,
    largest: u16,
}

impl Table {
    /// A structure of `kind` with `body` behind its header, and its strings (numbered from 1).
    fn add(&mut self, kind: u8, handle: u16, body: &[u8], strings: &[&str]) {
        let before = self.bytes.len();
        self.bytes.push(kind);
        self.bytes.push(4 + body.len() as u8);
        self.bytes.extend(handle.to_le_bytes());
        self.bytes.extend(body);
        for string in strings {
            let text = string.bytes().filter(|byte| *byte != 0).take(64);
            let before = self.bytes.len();
            self.bytes.extend(text);
            if self.bytes.len() == before {
                // An empty string would end the list.
                self.bytes.push(b' ');
            }
            self.bytes.push(0);
        }
        if strings.is_empty() {
            self.bytes.push(0);
        }
        self.bytes.push(0);
        self.count += 1;
        self.largest = self.largest.max((self.bytes.len() - before) as u16);
    }
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: Vec<String> = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    [0..4, 4..6, 6..8, 8..10, 10..16]
        .map(|range| hex[range].concat())
        .join("-")
}

/// The entry point, whose address of the tables firmware fills in, and the tables.
pub fn tables(machine: &Machine) -> (Vec<u8>, Vec<u8>) {
    let mut table = Table::default();
    // Vendor, version, segment, date, size, characteristics ("not supported"), none further.
    let bios = [1, 2, 0x00, 0xe8, 3, 0, 8, 0, 0, 0, 0, 0, 0, 0];
    table.add(0, 0, &bios, &["Xen", VERSION, "04/01/2022"]);
    let mut system = vec![1, 2, 3, 4];
    // The first three fields of a UUID are little-endian here (7.2.1).
    let uuid = &machine.uuid;
    system.extend(uuid[..4].iter().rev());
    system.extend(uuid[4..6].iter().rev());
    system.extend(uuid[6..8].iter().rev());
    system.extend(&uuid[8..]);
    // Woken by the power switch.
    system.extend([6, 0, 0]);
    let serial = uuid_text(uuid);
    table.add(1, 0x100, &system, &["Xen", "HVM domU", VERSION, &serial]);
    // Other kind of enclosure; its states are safe.
    table.add(3, 0x300, &[1, 1, 0, 0, 0, 3, 3, 3, 3], &["Xen"]);
    for cpu in 0..machine.vcpus.min(0xff) as u16 {
        processor(&mut table, cpu);
    }
    memory(&mut table, machine);
    table.add(32, 0x2000, &[0; 7], &[]);
    table.add(127, 0x7f00, &[], &[]);
    (anchor(&table), table.bytes)
}

fn processor(table: &mut Table, number: u16) {
    // Socket; central processor of another family; maker.
    let mut body = vec![1, 3, 1, 2];
    body.extend([0; 8]);
    // No version, voltage unknown, no clock; speeds unknown.
    body.extend([0, 0]);
    body.extend([0; 6]);
    // Populated and enabled; other upgrade; no caches told.
    body.extend([0x41, 1]);
    body.extend([0xff; 6]);
    let socket = format!("CPU {}", number + 1);
    table.add(4, 0x400 + number, &body, &[&socket, "Xen"]);
}

fn memory(table: &mut Table, machine: &Machine) {
    let bytes = machine.low + machine.high;
    let kib = u32::try_from(bytes >> 10)
        .unwrap_or(u32::MAX)
        .min(0x8000_0000);
    // System board, system memory, multi-bit ECC; no error handle; one device.
    let mut array = vec![1, 3, 6];
    array.extend(kib.to_le_bytes());
    array.extend([0xfe, 0xff, 1, 0]);
    table.add(16, 0x1000, &array, &[]);
    let mib = bytes / MIB;
    let size = mib.min(MAX_SIZE) as u16;
    let mut device = 0x1000u16.to_le_bytes().to_vec();
    device.extend([0xfe, 0xff, 0x40, 0, 0x40, 0]);
    device.extend(size.to_le_bytes());
    // DIMM of RAM; no set; its locator.
    device.extend([9, 0, 1, 0, 7, 0, 0]);
    device.extend([0; 7]);
    let extended = if mib > MAX_SIZE { mib as u32 } else { 0 };
    device.extend(extended.to_le_bytes());
    table.add(17, 0x1100, &device, &["DIMM 0"]);
    for (number, first, length) in [(0, 0, machine.low), (1, crate::HIGH, machine.high)] {
        if length == 0 {
            continue;
        }
        let mut mapped = ((first >> 10) as u32).to_le_bytes().to_vec();
        let last = (first + length - 1) >> 10;
        mapped.extend(u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
        mapped.extend(0x1000u16.to_le_bytes());
        mapped.push(1);
        table.add(19, 0x1300 + number, &mapped, &[]);
    }
}

/// The 32-bit entry point (5.2.1).
fn anchor(table: &Table) -> Vec<u8> {
    let mut anchor = b"_SM_".to_vec();
    anchor.extend([0, 0x1f, 2, 8]);
    anchor.extend(table.largest.to_le_bytes());
    anchor.extend([0; 6]);
    anchor.extend(b"_DMI_");
    anchor.push(0);
    anchor.extend((table.bytes.len() as u16).to_le_bytes());
    anchor.extend([0; 4]);
    anchor.extend(table.count.to_le_bytes());
    anchor.push(0x28);
    anchor[0x15] = checksum(&anchor[0x10..]);
    anchor[4] = checksum(&anchor);
    anchor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;

    /// Walks the structures: kind and bytes of each.
    fn walk(bytes: &[u8]) -> Vec<(u8, &[u8])> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = usize::from(bytes[at + 1]);
            let strings = bytes[at + length..]
                .windows(2)
                .position(|two| two == [0, 0]);
            let end = at + length + strings.unwrap() + 2;
            found.push((bytes[at], &bytes[at..end]));
            at = end;
        }
        found
    }

    #[test]
    fn structures_can_be_walked_and_end_with_the_end() {
        let (anchor, bytes) = tables(&machine());
        let found = walk(&bytes);
        let kinds: Vec<u8> = found.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0, 1, 3, 4, 4, 4, 16, 17, 19, 32, 127]);
        assert_eq!(u16::from_le_bytes([anchor[0x1c], anchor[0x1d]]), 11);
        assert_eq!(anchor.len(), 0x1f);
        assert_eq!(checksum(&anchor), 0);
        assert_eq!(checksum(&anchor[0x10..]), 0);
        let lengths: Vec<u8> = found.iter().map(|(_, bytes)| bytes[1]).collect();
        assert_eq!(lengths[..4], [0x12, 0x1b, 0x0d, 0x20]);
        assert_eq!((lengths[6], lengths[7], lengths[8]), (0x0f, 0x20, 0x0f));
    }

    #[test]
    fn uuid_is_the_domains_in_the_order_of_smbios() {
        let (_, bytes) = tables(&machine());
        let system = walk(&bytes)[1].1;
        assert_eq!(&system[8..24], b"32105476\x38\x39abcdef");
        let serial = uuid_text(&machine().uuid);
        assert_eq!(serial, "30313233-3435-3637-3839-616263646566");
    }

    #[test]
    fn much_memory_is_told_in_the_extended_field() {
        let mut machine = machine();
        machine.high = 64 << 30;
        let (_, bytes) = tables(&machine);
        let found = walk(&bytes);
        let device = found.iter().find(|(kind, _)| *kind == 17).unwrap().1;
        assert_eq!(device[12..14], [0xff, 0x7f]);
        assert_eq!(device[0x1c..0x20], (65536u32 + 256).to_le_bytes());
        assert_eq!(found.iter().filter(|(kind, _)| *kind == 19).count(), 2);
    }
}
