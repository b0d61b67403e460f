//! A Linux kernel that lies in memory already, started at the end of the BIOS's work (Linux, Documentation/arch/x86/boot.rst).
//!
//! ```text
//!   option ROM (fw_cfg genroms/noxen-linux.rom): boot entry --> protected mode --> stub --> kernel's 32-bit entry
//!
//!   16 MiB: kernel ...  |  ramdisk | boot parameters | command line | GDT, stub | 32 MiB for the BIOS | tables | end of low RAM
//! ```
//! The kernel and what belongs to it lie where SeaBIOS keeps nothing: above 1 MiB, and below what it uses at the end of low RAM.

use crate::{acpi, Machine, Placed, HIGH};

/// The ROM's name in fw_cfg.
pub const ROM: &str = "genroms/noxen-linux.rom";
/// Where the packed kernel is put.
pub const KERNEL: u64 = 16 << 20;
/// Longest command line with its zero, bytes.
pub const CMDLINE: usize = 4096;
/// What SeaBIOS may use at the end of low RAM.
const BIOS_ROOM: u64 = 32 << 20;
const PAGE: u64 = 4096;
/// Boot parameters, command line, GDT and stub with its stack.
const AREA: u64 = 4 * PAGE;
const CODE: u16 = 0x10;
const DATA: u8 = 0x18;

/// Why a kernel cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    /// Too little memory.
    #[error("kernel and ramdisk need {needed} MiB below the PCI hole, the domain has {there}; raise memory or use a smaller ramdisk")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// First address of the ramdisk.
    pub ramdisk: u64,
    /// Boot parameters ("zero page").
    pub parameters: u64,
    /// Command line.
    pub cmdline: u64,
    /// GDT and stub.
    pub stub: u64,
}

impl Layout {
    /// For a kernel that uses `kernel` bytes from [`KERNEL`] on, and a ramdisk of `ramdisk` bytes.
    pub fn plan(machine: &Machine, kernel: u64, ramdisk: u64) -> Result<Layout, DirectError> {
        let needed = [KERNEL, kernel, ramdisk, PAGE, AREA, BIOS_ROOM, acpi::ROOM];
        let needed = needed
            .iter()
            .fold(0u64, |sum, part| sum.saturating_add(*part));
        if needed > machine.low {
            return Err(DirectError::Memory {
                needed: needed.div_ceil(1 << 20),
                there: machine.low >> 20,
            });
        }
        let parameters = machine.low - acpi::ROOM - BIOS_ROOM - AREA;
        Ok(Layout {
            ramdisk: (parameters - ramdisk) & !(PAGE - 1),
            parameters,
            cmdline: parameters + PAGE,
            stub: parameters + 2 * PAGE,
        })
    }

    /// The command line with its zero.
    pub fn cmdline(&self, text: &str) -> Result<Placed, DirectError> {
        if text.len() >= CMDLINE {
            return Err(DirectError::Cmdline(text.len()));
        }
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        Ok(Placed {
            address: self.cmdline,
            bytes,
        })
    }

    /// GDT and 32-bit code that enters the kernel at `entry` with the boot parameters in ESI.
    pub fn stub(&self, entry: u32) -> Placed {
        let mut bytes = Vec::new();
        for descriptor in [0u64, 0, 0x00cf_9a00_0000_ffff, 0x00cf_9200_0000_ffff] {
            bytes.extend(descriptor.to_le_bytes());
        }
        // mov eax, DATA; mov ds, es, ss, fs, gs, ax
        bytes.extend([0xb8, DATA, 0, 0, 0]);
        bytes.extend([0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8]);
        // mov esp, end of the stub's page; mov esi, parameters; xor ebp, ebp; xor edi, edi; xor ebx, ebx
        bytes.push(0xbc);
        bytes.extend(((self.stub + PAGE) as u32).to_le_bytes());
        bytes.push(0xbe);
        bytes.extend((self.parameters as u32).to_le_bytes());
        bytes.extend([0x31, 0xed, 0x31, 0xff, 0x31, 0xdb]);
        // mov eax, entry; jmp eax
        bytes.push(0xb8);
        bytes.extend(entry.to_le_bytes());
        bytes.extend([0xff, 0xe0]);
        Placed {
            address: self.stub,
            bytes,
        }
    }

    /// The option ROM (Plug and Play BIOS Specification 1.0A, 3.2): its boot entry goes to the stub.
    pub fn rom(&self) -> Vec<u8> {
        const PNP: usize = 0x20;
        const BOOT: u16 = 0x40;
        const GDTR: u16 = 0x60;
        const NAME: u16 = 0x70;
        let mut rom = vec![0; 512];
        let mut put = |at: usize, bytes: &[u8]| rom[at..at + bytes.len()].copy_from_slice(bytes);
        // One block; the initialisation is a far return.
        put(0, &[0x55, 0xaa, 1, 0xcb]);
        put(0x1a, &(PNP as u16).to_le_bytes());
        put(PNP, b"$PnP\x01\x02");
        put(PNP + 0x10, &NAME.to_le_bytes());
        put(PNP + 0x1a, &BOOT.to_le_bytes());
        put(usize::from(NAME), b"Linux\0");
        // cli; lgdt cs:[GDTR], with a base of 32 bits
        let mut code = vec![0xfa, 0x2e, 0x66, 0x0f, 0x01, 0x16];
        code.extend(GDTR.to_le_bytes());
        // mov eax, cr0; or al, 1; mov cr0, eax; jmp CODE:stub
        code.extend([0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0x66, 0xea]);
        code.extend((self.stub as u32 + 32).to_le_bytes());
        code.extend(CODE.to_le_bytes());
        put(usize::from(BOOT), &code);
        put(usize::from(GDTR), &31u16.to_le_bytes());
        put(usize::from(GDTR) + 2, &(self.stub as u32).to_le_bytes());
        rom[PNP + 9] = crate::checksum(&rom[PNP..PNP + 32]);
        rom[511] = crate::checksum(&rom);
        rom
    }

    /// `bootorder` of fw_cfg: this ROM first.
    pub fn boot_order() -> Vec<u8> {
        format!("/rom@{ROM}\n\0").into_bytes()
    }
}

/// Ranges of the memory map that the kernel is given: first address, bytes, kind of e820.
pub fn map(machine: &Machine) -> Vec<(u64, u64, u32)> {
    const RAM: u32 = 1;
    const RESERVED: u32 = 2;
    let tables = if machine.acpi { acpi::ROOM } else { 0 };
    let mut map = vec![
        (0, 0x9_fc00, RAM),
        (0x9_fc00, 0x400, RESERVED),
        (0xf_0000, 0x1_0000, RESERVED),
        (0x10_0000, machine.low - tables - 0x10_0000, RAM),
        (0xfffc_0000, 0x4_0000, RESERVED),
    ];
    if tables > 0 {
        map.insert(4, (machine.low - tables, tables, RESERVED));
    }
    if machine.high > 0 {
        map.push((HIGH, machine.high, RAM));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;

    #[test]
    fn parts_lie_apart_and_below_what_the_bios_uses() {
        let machine = machine();
        let layout = Layout::plan(&machine, 64 << 20, 12_345_678).unwrap();
        assert!(layout.ramdisk >= KERNEL + (64 << 20));
        assert!(layout.ramdisk + 12_345_678 <= layout.parameters);
        assert_eq!(layout.parameters % PAGE, 0);
        assert!(layout.stub + PAGE + BIOS_ROOM < machine.low);
    }

    #[test]
    fn too_much_is_told_in_mib() {
        let error = Layout::plan(&machine(), 64 << 20, 200 << 20).unwrap_err();
        assert!(error.to_string().contains("313 MiB"), "{error}");
        assert!(Layout::plan(&machine(), u64::MAX, 1).is_err());
        let layout = Layout::plan(&machine(), 1, 0).unwrap();
        assert!(layout.cmdline(&"x".repeat(4096)).is_err());
    }

    #[test]
    fn rom_is_one_block_whose_bytes_add_up_to_zero() {
        let layout = Layout::plan(&machine(), 64 << 20, 0).unwrap();
        let rom = layout.rom();
        assert_eq!(rom.len(), 512);
        assert_eq!(crate::checksum(&rom), 0);
        assert_eq!(crate::checksum(&rom[0x20..0x40]), 0);
        // The jump's target is the code behind the GDT.
        let target = u32::from_le_bytes(rom[0x52..0x56].try_into().unwrap());
        assert_eq!(u64::from(target), layout.stub + 32);
        let stub = layout.stub(0x0100_0000);
        assert_eq!(stub.bytes[32], 0xb8);
        assert!(stub.bytes.len() < 128);
    }

    #[test]
    fn map_has_no_overlaps_and_all_of_ram() {
        let mut machine = machine();
        machine.high = 1 << 30;
        let map = map(&machine);
        for pair in map.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
        }
        assert_eq!(map.last(), Some(&(HIGH, 1 << 30, 1)));
    }
}
