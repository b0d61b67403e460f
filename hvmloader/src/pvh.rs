//! What a kernel that is entered by its PVH entry finds in memory (Xen docs/misc/pvh.pandoc, `arch-x86/hvm/start_info.h`).
//!
//! ```text
//!   0 .. kernel | start info, memory map, modules, command line | ramdisk .. end of low RAM   ACPI: tables   RINGS: Xen's pages   4 GiB ..
//!        EBX ---^
//! ```
//! The start info lies right behind the kernel: Linux reads it by the first page tables of its own, which reach 1 GiB far.

use crate::{acpi, Machine, Placed, HIGH};
use noxen_pv_abi::memory::E820Type;
use noxen_pv_abi::start_info::{
    HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, HVM_START_MAGIC_VALUE,
};

/// Where Xen's tools put the tables.
pub const ACPI: u64 = 0xfc00_0000;
/// Room for them, bytes.
pub const ACPI_ROOM: u64 = acpi::ROOM;
/// The frames that Xen's tools keep for rings and the like, to the end of the last page below the local APICs.
pub const RINGS: std::ops::Range<u64> = 0xfeff_8000..0xff00_0000;
/// Longest command line with its zero, bytes.
pub const CMDLINE: usize = 4096;
const PAGE: u64 = 4096;
/// Version of the start info: the one with a memory map.
const VERSION: u32 = 1;

/// Why a kernel cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PvhError {
    /// Too little memory.
    #[error("kernel and ramdisk need {needed} MiB below 3.5 GiB, the domain has {there}; raise memory or use a smaller ramdisk")]
    Memory {
        /// MiB needed.
        needed: u64,
        /// MiB there.
        there: u64,
    },
    /// Too long a command line.
    #[error("the kernel's command line has {0} bytes; at most 4095 are possible")]
    Cmdline(usize),
}

/// Where everything goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Start info, and all that it points to but the ramdisk and the tables; its address is for EBX.
    pub info: Placed,
    /// First address of the ramdisk.
    pub ramdisk: u64,
}

/// The start of a kernel that ends at `kernel_end`, with a ramdisk of `ramdisk` bytes (0: none); `rsdp`: the root pointer of the
/// tables, 0 where there are none.
pub fn start(
    machine: &Machine,
    kernel_end: u64,
    ramdisk: u64,
    cmdline: &str,
    rsdp: u64,
) -> Result<Start, PvhError> {
    if cmdline.len() >= CMDLINE {
        return Err(PvhError::Cmdline(cmdline.len()));
    }
    let at = kernel_end.next_multiple_of(PAGE);
    let map = map(machine, rsdp != 0);
    let map_at = at + size_of::<HvmStartInfo>() as u64;
    let modules_at = map_at + (map.len() * size_of::<HvmMemmapTableEntry>()) as u64;
    let cmdline_at = modules_at + size_of::<HvmModlistEntry>() as u64;
    let ramdisk_at = (cmdline_at + cmdline.len() as u64 + 1).next_multiple_of(PAGE);
    let needed = ramdisk_at.saturating_add(ramdisk);
    if needed > machine.low {
        return Err(PvhError::Memory {
            needed: needed.div_ceil(1 << 20),
            there: machine.low >> 20,
        });
    }
    let modules = u32::from(ramdisk > 0);
    let info = HvmStartInfo {
        magic: HVM_START_MAGIC_VALUE,
        version: VERSION,
        flags: 0,
        nr_modules: modules,
        modlist_paddr: if modules > 0 { modules_at } else { 0 },
        cmdline_paddr: cmdline_at,
        rsdp_paddr: rsdp,
        memmap_paddr: map_at,
        memmap_entries: map.len() as u32,
        reserved: 0,
    };
    let module = HvmModlistEntry {
        paddr: ramdisk_at,
        size: ramdisk,
        cmdline_paddr: 0,
        reserved: 0,
    };
    let mut bytes = info.to_bytes().to_vec();
    map.iter().for_each(|entry| bytes.extend(entry.to_bytes()));
    bytes.extend(module.to_bytes());
    bytes.extend(cmdline.as_bytes());
    bytes.push(0);
    Ok(Start {
        info: Placed { address: at, bytes },
        ramdisk: ramdisk_at,
    })
}

/// The memory map, in order of addresses.
pub fn map(machine: &Machine, acpi: bool) -> Vec<HvmMemmapTableEntry> {
    let entry = |addr, size, kind: E820Type| HvmMemmapTableEntry {
        addr,
        size,
        kind: kind.0,
        reserved: 0,
    };
    let mut map = vec![entry(0, machine.low, E820Type::RAM)];
    if acpi {
        map.push(entry(ACPI, ACPI_ROOM, E820Type::ACPI));
    }
    let rings = RINGS.end - RINGS.start;
    map.push(entry(RINGS.start, rings, E820Type::RESERVED));
    if machine.high > 0 {
        map.push(entry(HIGH, machine.high, E820Type::RAM));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;

    fn word(bytes: &[u8], at: u64) -> u64 {
        let at = at as usize;
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn start_info_points_to_map_ramdisk_and_command_line() {
        let mut machine = machine();
        machine.high = 1 << 30;
        let start = start(&machine, 0x3e0_0001, 5000, "console=hvc0", ACPI).unwrap();
        let Placed { address, bytes } = &start.info;
        assert_eq!(*address, 0x3e0_1000);
        assert_eq!(bytes[..8], [0x78, 0xc5, 0x6e, 0x33, 1, 0, 0, 0]);
        assert_eq!(word(bytes, 32), ACPI);
        let (map, modules, line) = (
            word(bytes, 40) - address,
            word(bytes, 16) - address,
            word(bytes, 24) - address,
        );
        let kinds = (0..4).map(|n| word(bytes, map + 24 * n + 16));
        assert_eq!(kinds.collect::<Vec<_>>(), [1, 3, 2, 1]);
        assert_eq!((word(bytes, map), word(bytes, map + 8)), (0, machine.low));
        assert_eq!(word(bytes, map + 72), HIGH);
        assert_eq!(
            (word(bytes, modules), word(bytes, modules + 8)),
            (start.ramdisk, 5000)
        );
        assert_eq!(&bytes[line as usize..], b"console=hvc0\0");
        assert!(start.ramdisk >= address + bytes.len() as u64);
        assert_eq!(start.ramdisk % PAGE, 0);
    }

    #[test]
    fn without_ramdisk_and_tables_nothing_points_there() {
        let start = start(&machine(), 1 << 20, 0, "", 0).unwrap();
        let bytes = &start.info.bytes;
        assert_eq!((word(bytes, 16), word(bytes, 32)), (0, 0));
        assert_eq!(bytes[12..16], [0; 4]);
        assert_eq!(map(&machine(), false).len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_said_in_mib() {
        let low = machine().low;
        let whole = start(&machine(), 1 << 20, low - (2 << 20), "", 0);
        assert!(whole.is_ok());
        for ramdisk in [low - (1 << 20), u64::MAX] {
            let error = start(&machine(), 1 << 20, ramdisk, "", 0).unwrap_err();
            assert!(error.to_string().contains("has 256;"), "{error}");
        }
        let long = "x".repeat(CMDLINE);
        assert_eq!(
            start(&machine(), 1 << 20, 0, &long, 0),
            Err(PvhError::Cmdline(4096))
        );
    }

    #[test]
    fn map_has_no_overlap() {
        let mut machine = machine();
        (machine.low, machine.high) = (crate::HOLE, 1 << 30);
        for pair in map(&machine, true).windows(2) {
            assert!(pair[0].addr + pair[0].size <= pair[1].addr);
        }
    }
}
