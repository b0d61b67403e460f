//! Kernel files for PV domains: from the bytes of a file to a checked description of what to load where.
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
//! ```
//!
//! Everything here reads bytes that a stranger wrote. There is no `unsafe`, no allocation larger than the declared
//! and bounded size, and each way in which a file can be wrong has one line that says so.
//!
//! Sources: Xen public header `elfnote.h`, Linux `Documentation/x86/boot.rst`, the ELF-64 object file format.
#![forbid(unsafe_code)]

mod container;
mod elf;
mod error;
mod features;
mod image;
mod legacy;
mod notes;
mod unpack;

use std::borrow::Cow;

pub use container::{Container, KernelFile, MAX_UNPACKED};
pub use error::KernelError;
pub use features::{Feature, Features};
pub use image::{Class, KernelImage, NoteSource, PaeMode, Segment};
pub use unpack::Compression;

/// A kernel ready for a domain builder: the checked description and the ELF bytes that it points into.
#[derive(Debug)]
pub struct Kernel<'a> {
    /// What the ELF headers and the Xen notes say.
    pub image: KernelImage,
    /// The unpacked ELF file; borrowed when the file was a plain ELF.
    pub elf: Cow<'a, [u8]>,
    /// How the file was packed.
    pub container: Container,
}

/// Opens, unpacks and parses a kernel file in one step.
///
/// # Errors
/// Any [`KernelError`]; its text is one line and does not name the file, which the caller knows better.
pub fn load(file: &[u8]) -> Result<Kernel<'_>, KernelError> {
    let opened = KernelFile::open(file)?;
    let elf = opened.unpack()?;
    let image = KernelImage::parse(&elf)?;
    Ok(Kernel {
        image,
        elf,
        container: opened.container(),
    })
}
