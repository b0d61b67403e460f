//! The checked description of a PV kernel.
//!
//! ```text
//! p_paddr ──(− PADDR_OFFSET)──► offset from pseudo-physical 0 ──(+ VIRT_BASE)──► virtual address
//! ```
//! p_vaddr is never used: Debian's per-CPU segment has p_vaddr 0. The defaults follow libelf: VIRT_BASE 0; PADDR_OFFSET 0
//! with ELF notes and VIRT_BASE with the legacy section; ENTRY is e_entry.

use std::fmt;
use std::ops::Range;

use crate::elf::{Elf, PT_LOAD};
use crate::features::Features;
use crate::notes::{self, Hypercall, RawNotes};
use crate::source::{ElfBytes, Source};
use crate::{legacy, KernelError};

const PAGE: u64 = 4096;
/// The part of the address space that Xen keeps (L4 slots 256..=271).
const XEN_HOLE: Range<u64> = 0xffff_8000_0000_0000..0xffff_8800_0000_0000;
/// The same for a 32-bit guest: the M2P and what lies above.
const XEN_HOLE_32: Range<u64> = 0xf580_0000..1 << 32;
/// Lower and upper end of the non-canonical addresses.
const NON_CANONICAL: Range<u64> = 0x0000_8000_0000_0000..0xffff_8000_0000_0000;
/// Images larger than this cannot be meant: 64 GiB of address space.
const MAX_SPAN: u64 = 64 << 30;

/// ELF class, which decides between the 64-bit and the 32-bit (PAE) ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// i386.
    Elf32,
    /// x86-64.
    Elf64,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Elf32 => "32-bit",
            Class::Elf64 => "64-bit",
        })
    }
}

/// Value of PAE_MODE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaeMode {
    /// Two-level tables only; nothing runs these any more.
    No,
    /// Three-level tables.
    Yes,
    /// Three-level tables with the L3 page anywhere (folded CR3).
    ExtendedCr3,
    /// Either.
    Bimodal,
}

impl PaeMode {
    pub(crate) fn from_text(text: &str) -> Result<Self, KernelError> {
        match text {
            "no" | "" => Ok(PaeMode::No),
            "bimodal" => Ok(PaeMode::Bimodal),
            t if t.starts_with("yes") && t.contains("[extended-cr3]") => Ok(PaeMode::ExtendedCr3),
            t if t.starts_with("yes") => Ok(PaeMode::Yes),
            other => {
                let shown: String = other.chars().take(40).collect();
                Err(KernelError::note(format!(
                    "PAE_MODE is \"{}\"",
                    shown.escape_default()
                )))
            }
        }
    }
}

/// Where the description comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteSource {
    /// ELF notes with owner "Xen".
    ElfNotes,
    /// The string section `__xen_guest`.
    LegacySection,
}

/// One piece of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Destination as bytes from pseudo-physical 0; the virtual address is `virt_base + offset`.
    pub offset: u64,
    /// Source in the ELF bytes; always inside them.
    pub file: Range<usize>,
    /// Bytes in memory, at least `file.len()`; the rest is zero.
    pub memsz: u64,
    /// ELF p_flags: 1 execute, 2 write, 4 read. The builder maps everything writable, as Xen does.
    pub flags: u32,
}

/// A PV kernel whose notes fit its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelImage {
    /// 64- or 32-bit.
    pub class: Class,
    /// Notes or legacy section.
    pub source: NoteSource,
    /// Virtual address of the first instruction; inside the image.
    pub entry: u64,
    /// Virtual address of pseudo-physical 0; page aligned.
    pub virt_base: u64,
    /// What was subtracted from p_paddr.
    pub paddr_offset: u64,
    /// Virtual address of the page to fill with hypercall stubs; page aligned and inside the image. Linux since
    /// CVE-2024-53241 has none.
    pub hypercall_page: Option<u64>,
    /// Virtual address at which to map the p2m list; page aligned, apart from the image. Always `None` for 32 bits.
    pub init_p2m: Option<u64>,
    /// The ramdisk may stay unmapped, mod_start is a pfn.
    pub mod_start_pfn: bool,
    /// FEATURES and SUPPORTED_FEATURES.
    pub features: Features,
    /// GUEST_OS, "" if absent.
    pub guest_os: String,
    /// GUEST_VERSION, "" if absent.
    pub guest_version: String,
    /// LOADER, "" if absent.
    pub loader: String,
    /// PAE_MODE.
    pub pae: Option<PaeMode>,
    /// Wants the ELF symbol table appended (NetBSD).
    pub bsd_symtab: bool,
    /// Lowest address that the kernel leaves to the hypervisor.
    pub hv_start_low: Option<u64>,
    /// First (mask, value) pair of L1_MFN_VALID.
    pub l1_mfn_valid: Option<(u64, u64)>,
    /// Understands a cancelled suspend.
    pub suspend_cancel: bool,
    /// PVH entry (physical), for information.
    pub phys32_entry: Option<u64>,
    /// The loadable segments, sorted by offset, none overlapping another, none empty.
    pub segments: Vec<Segment>,
}

impl KernelImage {
    /// Reads headers and notes of an unpacked ELF kernel and checks every address in them.
    ///
    /// # Errors
    /// Any [`KernelError`] but those of unpacking, and those of [`KernelImage::require_pv`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KernelError> {
        Self::parse_source(&ElfBytes::Memory(bytes.into()))
    }

    /// The same for an ELF that need not be in memory.
    ///
    /// # Errors
    /// As [`KernelImage::parse`], and `Read` where the source fails.
    pub fn parse_source(source: &dyn Source) -> Result<Self, KernelError> {
        let elf = Elf::parse(source)?;
        let (source, notes) = match notes::read(&elf)? {
            Some(notes) => (NoteSource::ElfNotes, notes),
            None => match elf.section_named("__xen_guest", legacy::MAX_SECTION as u64)? {
                Some(section) => (NoteSource::LegacySection, legacy::read(&section)?),
                None => return Err(KernelError::NoXenNotes),
            },
        };
        check_kind(source, &notes)?;

        let virt_base = notes.virt_base.unwrap_or(0);
        if notes.paddr_offset.is_some() && notes.virt_base.is_none() {
            return Err(KernelError::note("PADDR_OFFSET without VIRT_BASE"));
        }
        let paddr_offset = notes.paddr_offset.unwrap_or(match source {
            NoteSource::ElfNotes => 0,
            NoteSource::LegacySection => virt_base,
        });
        let segments = segments(&elf, paddr_offset)?;
        let (first, last) = match (segments.first(), segments.last()) {
            (Some(f), Some(l)) => (f.offset, l.offset + l.memsz),
            _ => return Err(KernelError::elf("it has nothing to load")),
        };

        let space = Space::new(elf.class, virt_base, first, last)?;
        let image = Self {
            class: elf.class,
            source,
            entry: space.entry(notes.entry.unwrap_or(elf.entry))?,
            virt_base,
            paddr_offset,
            hypercall_page: notes
                .hypercall_page
                .map(|h| space.hypercall_page(h))
                .transpose()?,
            init_p2m: notes
                .init_p2m
                .filter(|_| elf.class == Class::Elf64)
                .map(|va| space.init_p2m(va))
                .transpose()?,
            mod_start_pfn: notes.mod_start_pfn,
            features: notes.features,
            guest_os: notes.guest_os.unwrap_or_default(),
            guest_version: notes.guest_version.unwrap_or_default(),
            loader: notes.loader.unwrap_or_default(),
            pae: notes.pae,
            bsd_symtab: notes.bsd_symtab,
            hv_start_low: notes.hv_start_low,
            l1_mfn_valid: notes.l1_mfn_valid,
            suspend_cancel: notes.suspend_cancel,
            phys32_entry: notes.phys32_entry,
            segments,
        };
        image.features.refuse_for_pv()?;
        Ok(image)
    }

    /// Offset of the first loaded byte from pseudo-physical 0.
    pub fn start_offset(&self) -> u64 {
        self.segments.first().map_or(0, |s| s.offset)
    }

    /// One past the last loaded byte, as offset from pseudo-physical 0.
    pub fn end_offset(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.offset + s.memsz)
    }

    /// Accepts the image for a PV domain: any 64-bit one, and a 32-bit one with PAE that leaves the hypervisor its room.
    ///
    /// # Errors
    /// `NoPae`, which names the guest; `HvStart`.
    pub fn require_pv(&self) -> Result<(), KernelError> {
        if self.class == Class::Elf64 {
            return Ok(());
        }
        match self.pae {
            Some(PaeMode::Yes | PaeMode::ExtendedCr3 | PaeMode::Bimodal) => {}
            Some(PaeMode::No) | None => return Err(KernelError::NoPae(self.guest().into())),
        }
        match self.hv_start_low {
            Some(start) if start > XEN_HOLE_32.start => Err(KernelError::HvStart {
                start,
                needed: XEN_HOLE_32.start,
            }),
            _ => Ok(()),
        }
    }

    fn guest(&self) -> &str {
        if self.guest_os.is_empty() {
            "no name"
        } else {
            &self.guest_os
        }
    }
}

/// Tells PV from PVH-only, and checks ABI and loader.
fn check_kind(source: NoteSource, notes: &RawNotes) -> Result<(), KernelError> {
    // A kernel built for PVH alone keeps XEN_VERSION but loses ENTRY and VIRT_BASE.
    if notes.phys32_entry.is_some() && notes.entry.is_none() {
        return Err(KernelError::PvhOnly);
    }
    match notes.xen_version.as_deref() {
        Some("xen-3.0") => {}
        Some(other) => return Err(KernelError::WrongAbi(other.escape_default().to_string())),
        None if source == NoteSource::ElfNotes => return Err(KernelError::WrongAbi(String::new())),
        None => return Err(KernelError::NoXenNotes),
    }
    let linux = notes.guest_os.as_deref() == Some("linux");
    match notes.loader.as_deref() {
        Some(l) if l.starts_with("generic") => Ok(()),
        None if linux || source == NoteSource::LegacySection => Ok(()),
        Some(_) if linux => Ok(()),
        other => Err(KernelError::WrongLoader(
            other.unwrap_or_default().escape_default().to_string(),
        )),
    }
}

/// The loadable segments, sorted and checked against the file and each other.
pub(crate) fn segments(elf: &Elf<'_>, paddr_offset: u64) -> Result<Vec<Segment>, KernelError> {
    let mut segments = Vec::new();
    for p in elf.programs().filter(|p| p.kind == PT_LOAD && p.memsz > 0) {
        if p.filesz > p.memsz {
            return Err(KernelError::elf(format!(
                "a segment has {} bytes in the file but only {} in memory",
                p.filesz, p.memsz
            )));
        }
        let offset = p.paddr.checked_sub(paddr_offset).ok_or_else(|| {
            KernelError::note(format!(
                "PADDR_OFFSET {paddr_offset:#x} lies above the segment at physical {:#x}",
                p.paddr
            ))
        })?;
        if offset.checked_add(p.memsz).is_none() {
            return Err(KernelError::elf(format!(
                "the segment at physical {:#x} wraps around",
                p.paddr
            )));
        }
        let outside = || {
            KernelError::elf(format!(
                "the segment at file offset {:#x} ends beyond the file ({} bytes); the file is cut short",
                p.offset,
                elf.source.size()
            ))
        };
        let start = usize::try_from(p.offset).map_err(|_| outside())?;
        let end = start
            .checked_add(usize::try_from(p.filesz).map_err(|_| outside())?)
            .ok_or_else(outside)?;
        if end as u64 > elf.source.size() {
            return Err(outside());
        }
        segments.push(Segment {
            offset,
            file: start..end,
            memsz: p.memsz,
            flags: p.flags,
        });
    }
    segments.sort_by_key(|s: &Segment| s.offset);
    for pair in segments.windows(2) {
        if pair[0].offset + pair[0].memsz > pair[1].offset {
            return Err(KernelError::elf(format!(
                "the segments at {:#x} and {:#x} overlap",
                pair[0].offset, pair[1].offset
            )));
        }
    }
    Ok(segments)
}

/// The virtual extent of the image, against which the notes' addresses are held.
struct Space {
    virt_base: u64,
    start: u64,
    end: u64,
}

impl Space {
    fn new(class: Class, virt_base: u64, first: u64, last: u64) -> Result<Self, KernelError> {
        if !virt_base.is_multiple_of(PAGE) {
            return Err(KernelError::note(format!(
                "VIRT_BASE {virt_base:#x} is not page aligned"
            )));
        }
        let place =
            || format!("VIRT_BASE {virt_base:#x} with an image at offsets {first:#x}..{last:#x}");
        let wraps = || KernelError::note(format!("{} wraps around", place()));
        let start = virt_base.checked_add(first).ok_or_else(wraps)?;
        let end = virt_base.checked_add(last).ok_or_else(wraps)?;
        if last > MAX_SPAN {
            return Err(KernelError::note(format!(
                "{} is larger than any kernel",
                place()
            )));
        }
        match class {
            Class::Elf32 if end > 1 << 32 => {
                return Err(KernelError::note(format!(
                    "{} leaves the 32-bit address space",
                    place()
                )))
            }
            Class::Elf32 if meets(virt_base, end, &XEN_HOLE_32) => {
                return Err(KernelError::note(format!(
                    "{} lies in the hypervisor's address space",
                    place()
                )))
            }
            // From VIRT_BASE on everything gets mapped, so all of it must be usable.
            Class::Elf64 if meets(virt_base, end, &NON_CANONICAL) => {
                return Err(KernelError::note(format!("{} is not canonical", place())))
            }
            Class::Elf64 if meets(virt_base, end, &XEN_HOLE) => {
                return Err(KernelError::note(format!(
                    "{} lies in the hypervisor's address space",
                    place()
                )))
            }
            _ => {}
        }
        Ok(Self {
            virt_base,
            start,
            end,
        })
    }

    fn entry(&self, va: u64) -> Result<u64, KernelError> {
        if (self.start..self.end).contains(&va) {
            Ok(va)
        } else {
            Err(self.outside("ENTRY", va))
        }
    }

    fn hypercall_page(&self, stated: Hypercall) -> Result<u64, KernelError> {
        let va = match stated {
            Hypercall::Address(va) => Some(va),
            Hypercall::Page(number) => number
                .checked_mul(PAGE)
                .and_then(|o| self.virt_base.checked_add(o)),
        }
        .ok_or_else(|| KernelError::note("HYPERCALL_PAGE is beyond the address space"))?;
        if !va.is_multiple_of(PAGE) {
            return Err(KernelError::note(format!(
                "HYPERCALL_PAGE {va:#x} is not page aligned"
            )));
        }
        if va < self.start || va.checked_add(PAGE).is_none_or(|end| end > self.end) {
            return Err(self.outside("HYPERCALL_PAGE", va));
        }
        Ok(va)
    }

    fn init_p2m(&self, va: u64) -> Result<u64, KernelError> {
        if !va.is_multiple_of(PAGE) {
            return Err(KernelError::note(format!(
                "INIT_P2M {va:#x} is not page aligned"
            )));
        }
        if NON_CANONICAL.contains(&va) || XEN_HOLE.contains(&va) {
            return Err(KernelError::note(format!(
                "INIT_P2M {va:#x} is not an address that a guest may use"
            )));
        }
        if va >= self.virt_base {
            return Err(KernelError::note(format!(
                "INIT_P2M {va:#x} is not below VIRT_BASE {:#x}",
                self.virt_base
            )));
        }
        Ok(va)
    }

    fn outside(&self, what: &str, va: u64) -> KernelError {
        KernelError::note(format!(
            "{what} {va:#x} is outside the image at {:#x}..{:#x}",
            self.start, self.end
        ))
    }
}

/// Whether start..end has a byte in `range`.
fn meets(start: u64, end: u64, range: &Range<u64>) -> bool {
    start < range.end && end > range.start
}

impl fmt::Display for KernelImage {
    /// Some lines for a person, one fact each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = |v: Option<u64>| v.map_or_else(|| "none".into(), |v| format!("{v:#x}"));
        writeln!(
            f,
            "guest           {} {} ({})",
            self.guest(),
            self.guest_version,
            self.class
        )?;
        let source = match self.source {
            NoteSource::ElfNotes => "ELF notes",
            NoteSource::LegacySection => "__xen_guest section",
        };
        writeln!(f, "described by    {source}, loader {:?}", self.loader)?;
        writeln!(f, "entry           {:#x}", self.entry)?;
        writeln!(
            f,
            "virt base       {:#x}, physical offset {:#x}",
            self.virt_base, self.paddr_offset
        )?;
        writeln!(f, "hypercall page  {}", optional(self.hypercall_page))?;
        writeln!(f, "init p2m        {}", optional(self.init_p2m))?;
        writeln!(f, "features        {}", self.features)?;
        writeln!(
            f,
            "flags           mod_start_pfn={} suspend_cancel={} bsd_symtab={} pae={:?} pvh entry={}",
            self.mod_start_pfn,
            self.suspend_cancel,
            self.bsd_symtab,
            self.pae,
            optional(self.phys32_entry)
        )?;
        for s in &self.segments {
            writeln!(
                f,
                "segment         {:#x}..{:#x} from file {:#x}..{:#x}",
                s.offset,
                s.offset + s.memsz,
                s.file.start,
                s.file.end
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0xffff_ffff_0000_0000;

    #[test]
    fn image_spans_64_gib_and_not_a_byte_more() {
        assert!(Space::new(Class::Elf64, PAGE, 0, MAX_SPAN).is_ok());
        let error = Space::new(Class::Elf64, PAGE, 0, MAX_SPAN + 1)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("larger than any kernel"),
            "{error}"
        );
        // Whatever its offset, and without a wrap.
        assert!(Space::new(Class::Elf64, BASE, 0, 2 << 32).is_err());
    }
}
