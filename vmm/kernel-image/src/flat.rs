//! What is entered in 32-bit protected mode without paging, at a physical address: a kernel's PVH entry.
//!
//! ```text
//!   p_paddr ──► guest-physical address        note PHYS32_ENTRY ──► EIP
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
        let segments = segments(&elf, 0)?;
        let is_inside = |at: u64| {
            let mut all = segments.iter();
            all.any(|s| (s.offset..s.offset + s.memsz).contains(&at))
        };
        if !is_inside(entry) {
            return Err(KernelError::note(format!(
                "PHYS32_ENTRY {entry:#x} is in none of the image's segments"
            )));
        }
        let end = segments.last().map_or(0, |s| s.offset + s.memsz);
        match u32::try_from(entry) {
            Ok(entry) if end <= 1 << 32 => Ok(FlatImage {
                class: elf.class,
                entry,
                guest_os: notes.guest_os.unwrap_or_default(),
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
