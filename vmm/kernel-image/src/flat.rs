//! What is entered in 32-bit protected mode without paging, at a physical address: a kernel's PVH entry, and a program that runs
//! before the BIOS of a PC, as Xen's hvmloader does.
//!
//! ```text
//!   p_paddr ──► guest-physical address        PVH: note PHYS32_ENTRY ──► EIP        loader: e_entry ──► EIP
//! ```
//! Source: Xen docs/misc/pvh.pandoc, public header `elfnote.h`.

use crate::elf::Elf;
use crate::image::{segments, Segment};
use crate::notes;
use crate::source::Source;
use crate::{Class, KernelError};

/// An image whose segments lie below 4 GiB and whose entry is in one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlatImage {
    /// 64- or 32-bit.
    pub class: Class,
    /// Physical address of the first instruction.
    pub entry: u32,
    /// GUEST_OS, "" if absent.
    pub guest_os: String,
    /// The loadable segments by physical address: sorted, none overlapping another, none empty.
    pub segments: Vec<Segment>,
}

impl FlatImage {
    /// A kernel with a PVH entry.
    ///
    /// # Errors
    /// `NoPvhEntry`; any [`KernelError`] of an unpacked ELF.
    pub fn pvh(source: &dyn Source) -> Result<FlatImage, KernelError> {
        let elf = Elf::parse(source)?;
        let notes = notes::read(&elf)?.unwrap_or_default();
        let entry = notes.phys32_entry.ok_or(KernelError::NoPvhEntry)?;
        FlatImage::entered(&elf, entry, "PHYS32_ENTRY", notes.guest_os)
    }

    /// A 32-bit program that is entered where its header says; its notes mean nothing.
    ///
    /// # Errors
    /// Any [`KernelError`] of an unpacked ELF; `Elf` for one of 64 bits.
    pub fn loader(source: &dyn Source) -> Result<FlatImage, KernelError> {
        let elf = Elf::parse(source)?;
        if elf.class != Class::Elf32 {
            return Err(KernelError::elf(
                "it is a 64-bit program, and what runs before a BIOS has 32 bits",
            ));
        }
        FlatImage::entered(&elf, elf.entry, "its entry", None)
    }

    fn entered(
        elf: &Elf<'_>,
        entry: u64,
        name: &str,
        guest_os: Option<String>,
    ) -> Result<FlatImage, KernelError> {
        let segments = segments(elf, 0)?;
        let is_inside = |at: u64| {
            let mut all = segments.iter();
            all.any(|s| (s.offset..s.offset + s.memsz).contains(&at))
        };
        if !is_inside(entry) {
            return Err(KernelError::note(format!(
                "{name} {entry:#x} is in none of the image's segments"
            )));
        }
        let end = segments.last().map_or(0, |s| s.offset + s.memsz);
        match u32::try_from(entry) {
            Ok(entry) if end <= 1 << 32 => Ok(FlatImage {
                class: elf.class,
                entry,
                guest_os: guest_os.unwrap_or_default(),
                segments,
            }),
            _ => Err(KernelError::elf(format!(
                "it ends at physical {end:#x}, and an image that is entered without paging ends below 4 GiB"
            ))),
        }
    }

    /// Physical address of the first loaded byte.
    pub fn start(&self) -> u64 {
        self.segments.first().map_or(0, |s| s.offset)
    }

    /// One past the last.
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.offset + s.memsz)
    }
}
