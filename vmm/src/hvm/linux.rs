//! `kernel=` of an HVM domain: a bzImage is put into memory, and firmware starts it instead of a disk.
//!
//! ```text
//!   bzImage, ramdisk, command line --> memory, boot parameters        option ROM, boot order --> fw_cfg
//! ```

use crate::hvm::pvh::copy;
use crate::vstate::memory::GuestMemory;
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::loader::{bzimage::BzImage, KernelLoader};
use noxen_hvmloader::direct::{self, DirectError, Layout};
use noxen_hvmloader::{Machine, Placed};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use vm_memory::{Bytes, GuestAddress, ReadVolatile};

/// Boot loader without a number of its own (boot.rst, type_of_loader).
const OTHER_LOADER: u8 = 0xff;
/// The setup header in the file.
const HEADER: u64 = 0x1f1;
/// Least boot protocol: 2.10 tells how much memory the kernel unpacks into.
const LEAST_PROTOCOL: u16 = 0x20a;

/// What is started.
#[derive(Debug)]
pub struct Linux {
    /// bzImage.
    pub kernel: File,
    /// Its path, for messages.
    pub path: String,
    /// Ramdisk.
    pub ramdisk: Option<File>,
    /// Command line.
    pub cmdline: String,
}

/// Why it cannot be.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum LinuxError {
    #[error("kernel {path}: {source}")]
    Kernel {
        path: String,
        source: linux_loader::loader::Error,
    },
    #[error("kernel {path} speaks boot protocol {found:#x}; at least {LEAST_PROTOCOL:#x} (Linux 2.6.31) is needed")]
    Protocol { path: String, found: u16 },
    #[error("kernel {path} cannot be read: {source}")]
    Read { path: String, source: io::Error },
    #[error("ramdisk: {0}")]
    Ramdisk(io::Error),
    #[error(transparent)]
    Direct(#[from] DirectError),
    #[error("the kernel's boot parameters are not in guest memory; this is a fault of noxen-vmm")]
    Outside,
}

/// Puts it into memory; returns the files that firmware is given.
pub fn load(
    mut linux: Linux,
    machine: &Machine,
    memory: &GuestMemory,
) -> Result<Vec<(String, Vec<u8>)>, LinuxError> {
    let header = peek(&linux)?;
    let ramdisk = match &linux.ramdisk {
        Some(file) => file.metadata().map_err(LinuxError::Ramdisk)?.len(),
        None => 0,
    };
    // It unpacks itself where it lies, or at the place that it prefers.
    let unpacked = u64::from(header.init_size);
    let preferred = { header.pref_address }.max(direct::KERNEL) - direct::KERNEL;
    let layout = Layout::plan(machine, preferred.saturating_add(unpacked), ramdisk)?;
    let loaded = BzImage::load(
        memory,
        Some(GuestAddress(direct::KERNEL)),
        &mut linux.kernel,
        None,
    )
    .map_err(|source| LinuxError::Kernel {
        path: linux.path.clone(),
        source,
    })?;
    if let Some(file) = &mut linux.ramdisk {
        copy(memory, layout.ramdisk, file, ramdisk).map_err(LinuxError::Ramdisk)?;
    }
    for placed in [
        layout.cmdline(&linux.cmdline)?,
        layout.stub(direct::KERNEL as u32),
    ] {
        write(memory, &placed)?;
    }
    let header = loaded.setup_header.ok_or(LinuxError::Outside)?;
    let parameters = parameters(header, &layout, machine, ramdisk);
    let at = GuestAddress(layout.parameters);
    LinuxBootConfigurator::write_bootparams(&BootParams::new(&parameters, at), memory)
        .map_err(|_| LinuxError::Outside)?;
    Ok(vec![
        (direct::ROM.to_owned(), layout.rom()),
        ("bootorder".to_owned(), Layout::boot_order()),
    ])
}

/// The setup header, before anything is loaded.
fn peek(linux: &Linux) -> Result<setup_header, LinuxError> {
    let mut bytes = [0; size_of::<setup_header>()];
    linux
        .kernel
        .read_exact_at(&mut bytes, HEADER)
        .map_err(|source| LinuxError::Read {
            path: linux.path.clone(),
            source,
        })?;
    let mut header = setup_header::default();
    // All of its bytes were read, and any bits are a valid header.
    let _ = bytes
        .as_slice()
        .read_volatile(&mut vm_memory::ByteValued::as_bytes(&mut header));
    let found = { header.version };
    if { header.header } == 0x5372_6448 && found < LEAST_PROTOCOL {
        return Err(LinuxError::Protocol {
            path: linux.path.clone(),
            found,
        });
    }
    Ok(header)
}

fn parameters(
    mut header: setup_header,
    layout: &Layout,
    machine: &Machine,
    ramdisk: u64,
) -> boot_params {
    header.type_of_loader = OTHER_LOADER;
    header.cmd_line_ptr = layout.cmdline as u32;
    header.ramdisk_image = if ramdisk > 0 {
        layout.ramdisk as u32
    } else {
        0
    };
    header.ramdisk_size = ramdisk as u32;
    let mut parameters = boot_params {
        hdr: header,
        ..Default::default()
    };
    let map = direct::map(machine);
    for (entry, (addr, size, kind)) in parameters.e820_table.iter_mut().zip(&map) {
        *entry = boot_e820_entry {
            addr: *addr,
            size: *size,
            r#type: *kind,
        };
    }
    parameters.e820_entries = map.len() as u8;
    parameters
}

fn write(memory: &GuestMemory, placed: &Placed) -> Result<(), LinuxError> {
    memory
        .write_slice(&placed.bytes, GuestAddress(placed.address))
        .map_err(|_| LinuxError::Outside)
}
