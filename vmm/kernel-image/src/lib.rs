//! Kernel files for PV and PVH domains: from the bytes of a file to a checked description of what to load where.
//!
//! ```text
//!  file bytes ──► KernelFile::open ──► container (plain ELF, gzip, bzImage) and compression, found by magic numbers
//!                      │
//!                      ▼  KernelFile::unpack / unpack_into       one pass, straight into one buffer of the declared size
//!                 ELF bytes (64- or 32-bit, little endian)
//!                      │
//!                      ▼  KernelImage::parse
//!        notes: PT_NOTE ─► SHT_NOTE ─► legacy `__xen_guest` string      (first that carries a Xen note wins)
//!                      │
//!                      ▼
//!                 KernelImage: entry, bases, features, segments; every address in it has been checked
//!                 FlatImage: the same for the PVH entry, by physical addresses
//! ```
//!
//! Everything here reads bytes that a stranger wrote. There is no `unsafe`, no allocation larger than the declared
//! and bounded size, and each way in which a file can be wrong has one line that says so.
//!
//! Sources: Xen public header `elfnote.h`, Linux `Documentation/x86/boot.rst`, the ELF-64 object file format.
#![forbid(unsafe_code)]

mod checksum;
mod container;
mod elf;
mod error;
mod features;
mod flat;
mod image;
mod legacy;
mod notes;
mod source;
mod unpack;

use std::fs::File;
use std::os::unix::fs::FileExt;

pub use container::{Container, KernelFile, MAX_UNPACKED};
pub use error::KernelError;
pub use features::{Feature, Features};
pub use flat::FlatImage;
pub use image::{Class, KernelImage, NoteSource, PaeMode, Segment};
pub use source::{ElfBytes, Room, Source};
pub use unpack::Compression;

/// A kernel ready for a domain builder: the checked description and the ELF bytes that it points into.
#[derive(Debug)]
pub struct Kernel<'a> {
    /// What the ELF headers and the Xen notes say.
    pub image: KernelImage,
    /// The ELF: unpacked, or where it was if it was plain.
    pub elf: ElfBytes<'a>,
    /// How the file was packed.
    pub container: Container,
}

/// Opens, unpacks and parses a kernel file in one step.
///
/// # Errors
/// Any [`KernelError`]; its text is one line and does not name the file, which the caller knows better.
pub fn load(file: &[u8]) -> Result<Kernel<'_>, KernelError> {
    let opened = KernelFile::open(file)?;
    let elf = ElfBytes::Memory(opened.unpack()?);
    let image = KernelImage::parse_source(&elf)?;
    Ok(Kernel {
        image,
        elf,
        container: opened.container(),
    })
}

/// The same for an open file. A plain ELF stays in its file, and is read where it is needed; a packed kernel is read
/// whole and unpacked. The file's position does not matter.
///
/// # Errors
/// Any [`KernelError`].
pub fn load_file(file: &File) -> Result<Kernel<'_>, KernelError> {
    load_file_into(file, |_| None)
}

/// The same, but a packed kernel is unpacked into what `room` gives for so many bytes (which are exactly as many; at
/// most [`MAX_UNPACKED`]). Without room it goes into a buffer, as with [`load_file`]. After an error the room's
/// content means nothing.
///
/// # Errors
/// Any [`KernelError`].
pub fn load_file_into(
    file: &File,
    room: impl FnOnce(u64) -> Option<Box<dyn Room>>,
) -> Result<Kernel<'_>, KernelError> {
    let (elf, container) = open_elf(file, room)?;
    let image = KernelImage::parse_source(&elf)?;
    Ok(Kernel {
        image,
        elf,
        container,
    })
}

/// A kernel that is entered by its PVH entry, and the ELF bytes that the description points into; a packed one as by
/// [`load_file_into`].
///
/// # Errors
/// Any [`KernelError`].
pub fn load_pvh_file_into(
    file: &File,
    room: impl FnOnce(u64) -> Option<Box<dyn Room>>,
) -> Result<(FlatImage, ElfBytes<'_>), KernelError> {
    let (elf, _) = open_elf(file, room)?;
    Ok((FlatImage::pvh(&elf)?, elf))
}

/// A program that runs before the BIOS of a PC ([`FlatImage::loader`]), and the bytes that the description points into. It is
/// never packed.
///
/// # Errors
/// Any [`KernelError`].
pub fn load_loader_file(file: &File) -> Result<(FlatImage, ElfBytes<'_>), KernelError> {
    let about = file
        .metadata()
        .map_err(|e| KernelError::Read(e.to_string()))?;
    let elf = ElfBytes::File(file, about.len());
    Ok((FlatImage::loader(&elf)?, elf))
}

/// The ELF in a kernel file, unpacked where it is packed, into what `room` gives if it does.
fn open_elf(
    file: &File,
    room: impl FnOnce(u64) -> Option<Box<dyn Room>>,
) -> Result<(ElfBytes<'_>, Container), KernelError> {
    let failed = |e: std::io::Error| KernelError::Read(e.to_string());
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        let found = if about.is_dir() {
            "is a directory"
        } else {
            "is not a regular file"
        };
        return Err(KernelError::NotAKernel {
            found: found.into(),
        });
    }
    let size = about.len();
    let mut magic = [0; 4];
    if size >= 4 {
        file.read_exact_at(&mut magic, 0).map_err(failed)?;
    }
    if magic == container::ELF_MAGIC {
        return Ok((ElfBytes::File(file, size), Container::Elf));
    }
    if size > MAX_UNPACKED {
        return Err(KernelError::FileTooLarge { size });
    }
    let mut packed = vec![0; size as usize];
    file.read_exact_at(&mut packed, 0).map_err(failed)?;
    let opened = KernelFile::open(&packed)?;
    let elf = match place(&opened, room) {
        Some(mut room) => {
            let zeroed = room.is_zeroed();
            opened.fill(room.bytes_mut(), zeroed)?;
            ElfBytes::Room(room)
        }
        None => ElfBytes::Memory(opened.unpack()?.into_owned().into()),
    };
    Ok((elf, opened.container()))
}

/// Room of the right size, if the kernel has to be unpacked.
fn place(
    opened: &KernelFile<'_>,
    room: impl FnOnce(u64) -> Option<Box<dyn Room>>,
) -> Option<Box<dyn Room>> {
    match opened.container() {
        Container::Elf | Container::BzImage(None) => None,
        Container::Packed(_) | Container::BzImage(Some(_)) => {
            let size = opened.unpacked_size();
            room(size).filter(|room| room.bytes().len() as u64 == size)
        }
    }
}
