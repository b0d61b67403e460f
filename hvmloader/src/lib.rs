//! The firmware side of an HVM domain: everything that lies in memory or behind fw_cfg before the first instruction.
//!
//! ```text
//!   0 ..... low RAM .... tables (64 KiB below the end of low RAM)        3.5 GiB .. hole .. 4 GiB ..... high RAM
//!           0xc0000 / 0xe0000: copy of the BIOS up to 1 MiB              4 GiB - size: the BIOS itself
//!
//!   Machine --acpi.rs--> tables     --smbios.rs--> tables     --e820.rs--> map
//!        \-----------------------files.rs: what SeaBIOS reads through fw_cfg     direct.rs: a Linux kernel without a boot loader
//!        \-- pvh.rs: a kernel without firmware        loader.rs: Xen's own hvmloader, or one like it, before the BIOS
//! ```
//! Nothing here knows KVM or a file: numbers in, bytes out.

pub mod acpi;
pub mod bios;
pub mod direct;
pub mod e820;
pub mod files;
pub mod loader;
pub mod pvh;
pub mod smbios;

/// First address above low RAM at most; the hole for PCI begins there.
pub const HOLE: u64 = 0xe000_0000;
/// Where high RAM begins.
pub const HIGH: u64 = 1 << 32;

/// What firmware and operating system are to know of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// RAM below the hole, bytes.
    pub low: u64,
    /// RAM from 4 GiB on, bytes.
    pub high: u64,
    /// Virtual CPUs that there can be; APIC ids are 0 and up.
    pub vcpus: u32,
    /// Which of them are there from the start, a bit for each.
    pub present: u64,
    /// It can sleep (ACPI S3).
    pub sleeps: bool,
    /// ACPI tables are there.
    pub acpi: bool,
    /// They tell of the I/O APIC and the CPUs' APICs.
    pub apic: bool,
    /// They tell of a high precision event timer.
    pub hpet: bool,
    /// The domain's UUID.
    pub uuid: [u8; 16],
    /// The domain's name.
    pub name: String,
}

/// Bytes with the address that they are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub bytes: Vec<u8>,
}

impl Machine {
    /// Whether that virtual CPU is there from the start.
    pub fn has(&self, vcpu: u32) -> bool {
        self.present.checked_shr(vcpu).unwrap_or(0) & 1 == 1
    }

    /// How many virtual CPUs are there from the start.
    pub fn count(&self) -> u32 {
        (0..self.vcpus).filter(|vcpu| self.has(*vcpu)).count() as u32
    }
}

/// Such that all of `bytes` with it add up to 0.
fn checksum(bytes: &[u8]) -> u8 {
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    0u8.wrapping_sub(sum)
}

#[cfg(test)]
fn machine() -> Machine {
    Machine {
        low: 256 << 20,
        high: 0,
        vcpus: 3,
        present: 0b101,
        sleeps: true,
        acpi: true,
        apic: true,
        hpet: false,
        uuid: *b"0123456789abcdef",
        name: "guest".into(),
    }
}
