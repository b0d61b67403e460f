//! What a loader that runs before the BIOS, such as Xen's own hvmloader, finds in memory (public headers `arch-x86/hvm/start_info.h`,
//! `hvm/hvm_info_table.h`; Xen's domain builder).
//!
//! ```text
//!   HVM_INFO: the machine in short | loader .. its end | BIOS image, start info        RESERVE: its tables    RINGS: Xen's pages
//!                                     EBX ------------------------^  \--module "firmware"--> the BIOS image
//! ```
//! It makes hypercalls for the rest: the memory map, shared_info, xenstore. It sets PCI up, writes tables into the reserve, copies the
//! BIOS below 1 MiB and enters that in real mode.

use crate::pvh::{map, RINGS};
use crate::{checksum, Machine, Placed, HIGH};
use noxen_pv_abi::memory::{E820Entry, E820Type};
use noxen_pv_abi::start_info::{
    HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, HVM_START_MAGIC_VALUE,
};

/// Memory beside RAM that the loader asks for bit by bit, from 0xfc000000 (a page for ACPI) and 0xfc100000 on.
pub const RESERVE: std::ops::Range<u64> = 0xfc00_0000..0xfc40_0000;
/// Xen's local APICs have the numbers 0, 2, 4, ...; the loader starts them by those and writes them into its tables.
pub const APIC_STEP: u32 = 2;
/// `HVM_INFO_PADDR`.
const HVM_INFO: u64 = 0x9_f800;
/// `struct hvm_info_table`: fixed part, and a bit for each of 128 processors.
const HVM_INFO_SIZE: usize = 32;
const ONLINE: usize = 16;
/// Where Xen's loader lies, and what it uses below.
const LEAST: u64 = 1 << 20;
const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Start info with a memory map.
const VERSION: u32 = 1;
/// The name by which the loader looks for the BIOS.
const FIRMWARE: &[u8] = b"firmware\0";

/// Why a loader cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    /// It lies where the loader's own work and the BIOS are.
    #[error("it is loaded at {0:#x}, and below 1 MiB is what it works with; it is no loader that runs before a BIOS")]
    Low(u64),
    /// Too little memory.
    #[error(
        "it and the BIOS need {needed} MiB below 3.5 GiB, the domain has {there}; raise memory"
    )]
    Memory {
        /// MiB needed.
        needed: u64,
        /// MiB there.
        there: u64,
    },
}

/// What it starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Everything, in no order.
    pub placed: Vec<Placed>,
    /// Address of the start info, for EBX.
    pub info: u32,
}

/// The start of a loader in `image` (first address and end), which finds `bios` as a module.
pub fn start(
    machine: &Machine,
    image: std::ops::Range<u64>,
    bios: &[u8],
) -> Result<Start, LoaderError> {
    if image.start < LEAST {
        return Err(LoaderError::Low(image.start));
    }
    let bios_at = image.end.next_multiple_of(MIB);
    let at = (bios_at + bios.len() as u64).next_multiple_of(PAGE);
    let memory = map(machine, false);
    let map_at = at + size_of::<HvmStartInfo>() as u64;
    let modules_at = map_at + (memory.len() * size_of::<HvmMemmapTableEntry>()) as u64;
    let name_at = modules_at + size_of::<HvmModlistEntry>() as u64;
    let end = name_at + FIRMWARE.len() as u64;
    if end > machine.low {
        return Err(LoaderError::Memory {
            needed: end.div_ceil(MIB),
            there: machine.low / MIB,
        });
    }
    let info = HvmStartInfo {
        magic: HVM_START_MAGIC_VALUE,
        version: VERSION,
        flags: 0,
        nr_modules: 1,
        modlist_paddr: modules_at,
        cmdline_paddr: 0,
        rsdp_paddr: 0,
        memmap_paddr: map_at,
        memmap_entries: memory.len() as u32,
        reserved: 0,
    };
    let module = HvmModlistEntry {
        paddr: bios_at,
        size: bios.len() as u64,
        cmdline_paddr: name_at,
        reserved: 0,
    };
    let mut bytes = info.to_bytes().to_vec();
    memory
        .iter()
        .for_each(|entry| bytes.extend(entry.to_bytes()));
    bytes.extend(module.to_bytes());
    bytes.extend(FIRMWARE);
    Ok(Start {
        placed: vec![
            hvm_info(machine),
            Placed {
                address: bios_at,
                bytes: bios.to_vec(),
            },
            Placed { address: at, bytes },
        ],
        // Below the end of low RAM.
        info: at as u32,
    })
}

/// `struct hvm_info_table`.
fn hvm_info(machine: &Machine) -> Placed {
    let mut bytes = b"HVM INFO".to_vec();
    let frames = |bytes: u64| ((bytes / PAGE) as u32).to_le_bytes();
    bytes.extend(((HVM_INFO_SIZE + ONLINE) as u32).to_le_bytes());
    // Checksum; apic_mode; padding.
    bytes.extend([0, u8::from(machine.apic), 0, 0]);
    bytes.extend(machine.vcpus.to_le_bytes());
    bytes.extend(frames(machine.low));
    bytes.extend(frames(RINGS.start));
    bytes.extend(match machine.high {
        0 => [0; 4],
        high => frames(HIGH + high),
    });
    let all = 1u128
        .checked_shl(machine.vcpus)
        .unwrap_or(0)
        .wrapping_sub(1);
    bytes.extend((u128::from(machine.present) & all).to_le_bytes());
    bytes[12] = checksum(&bytes);
    Placed {
        address: HVM_INFO,
        bytes,
    }
}

/// The memory map that the loader is told by hypercall: RAM from 1 MiB on, as Xen's tools tell it.
pub fn e820(machine: &Machine) -> Vec<E820Entry> {
    let ram = |addr, size| E820Entry {
        addr,
        size,
        kind: E820Type::RAM.0,
    };
    let mut map = vec![ram(LEAST, machine.low.saturating_sub(LEAST))];
    if machine.high > 0 {
        map.push(ram(HIGH, machine.high));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;

    fn number<const N: usize>(bytes: &[u8], at: u64) -> u64 {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&bytes[at as usize..][..N]);
        u64::from_le_bytes(wide)
    }

    #[test]
    fn module_of_the_start_info_is_the_bios_by_its_name() {
        let bios = vec![7; 256 << 10];
        let start = start(&machine(), 0x10_0000..0x13_3f40, &bios).unwrap();
        let [_, image, info] = &start.placed[..] else {
            panic!("{start:?}");
        };
        assert_eq!((image.address, &image.bytes), (0x20_0000, &bios));
        assert_eq!(u64::from(start.info), info.address);
        assert_eq!(info.bytes[..8], [0x78, 0xc5, 0x6e, 0x33, 1, 0, 0, 0]);
        assert_eq!(number::<4>(&info.bytes, 12), 1);
        let module = number::<8>(&info.bytes, 16) - info.address;
        assert_eq!(number::<8>(&info.bytes, module), image.address);
        assert_eq!(number::<8>(&info.bytes, module + 8), bios.len() as u64);
        let name = number::<8>(&info.bytes, module + 16) - info.address;
        assert_eq!(&info.bytes[name as usize..], b"firmware\0");
    }

    #[test]
    fn table_has_the_fields_of_xens_header_and_its_sum_is_zero() {
        let mut machine = machine();
        machine.high = 1 << 30;
        let table = hvm_info(&machine);
        assert_eq!((table.address, table.bytes.len()), (0x9f800, 48));
        let sum = table.bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
        assert_eq!(sum, 0);
        let word = |at| number::<4>(&table.bytes, at);
        assert_eq!((word(8), word(16)), (48, 3));
        assert_eq!(table.bytes[13], 1);
        assert_eq!((word(20), word(24)), (0x1_0000, 0xf_eff8));
        assert_eq!((word(28), table.bytes[32]), (0x14_0000, 0b101));
    }

    #[test]
    fn loader_that_is_low_or_does_not_fit_is_refused() {
        let bios = [0; 16];
        assert_eq!(
            start(&machine(), 0x8000..0x20_0000, &bios),
            Err(LoaderError::Low(0x8000))
        );
        let error = start(&machine(), 0x10_0000..256 << 20, &bios).unwrap_err();
        assert!(error.to_string().contains("has 256;"), "{error}");
    }

    #[test]
    fn map_by_hypercall_is_ram_beside_what_the_loader_takes_for_itself() {
        let mut machine = machine();
        machine.high = 1 << 30;
        let map = e820(&machine);
        assert_eq!((map[0].addr, map[0].size), (1 << 20, 255 << 20));
        assert_eq!((map[1].addr, map[1].size), (HIGH, 1 << 30));
        machine.low = crate::HOLE;
        assert!(e820(&machine)[0].addr + e820(&machine)[0].size <= RESERVE.start);
    }
}
