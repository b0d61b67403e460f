//! The memory map (ACPI 6.4, chapter 15), as SeaBIOS takes it through fw_cfg.

use crate::{acpi, Machine, HIGH};

/// What a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Memory.
    Ram = 1,
    /// Not to be used.
    Reserved = 2,
}

/// A range of guest-physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// Bytes.
    pub length: u64,
    /// What.
    pub kind: Kind,
}

/// The ranges of `machine`, in order. What lies below 1 MiB firmware adds by itself.
pub fn map(machine: &Machine) -> Vec<Range> {
    let tables = match machine.acpi {
        true => acpi::ROOM,
        false => 0,
    };
    let range = |first, length, kind| Range {
        first,
        length,
        kind,
    };
    let mut map = vec![range(0, machine.low - tables, Kind::Ram)];
    if tables > 0 {
        map.push(range(machine.low - tables, tables, Kind::Reserved));
    }
    if machine.high > 0 {
        map.push(range(HIGH, machine.high, Kind::Ram));
    }
    map
}

/// The ranges as SeaBIOS reads them: address, length, kind.
pub fn bytes(map: &[Range]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for range in map {
        bytes.extend(range.first.to_le_bytes());
        bytes.extend(range.length.to_le_bytes());
        bytes.extend((range.kind as u32).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;

    #[test]
    fn tables_are_cut_out_of_low_ram_and_nothing_overlaps() {
        let mut machine = machine();
        machine.high = 1 << 30;
        let map = map(&machine);
        assert_eq!(map.len(), 3);
        for pair in map.windows(2) {
            assert!(pair[0].first + pair[0].length <= pair[1].first);
        }
        assert_eq!(map[1].first + map[1].length, machine.low);
        assert_eq!(bytes(&map).len(), 60);
        machine.acpi = false;
        assert_eq!(super::map(&machine)[0].length, machine.low);
    }
}
