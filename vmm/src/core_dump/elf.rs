//! The bytes of a core file: an ELF file of sections, without program headers, as Xen's `xm dump-core` wrote it and `crash` reads
//! it (Xen's docs/misc/dump-core-format.txt; numbers: public/elfnote.h).
//!
//! ```text
//!   ELF header | section headers | .shstrtab | .note.Xen | .xen_prstatus | .xen_shared_info | .xen_p2m or .xen_pfn | .xen_pages
//!   .note.Xen: NONE, HEADER, XEN_VERSION, FORMAT_VERSION         page n of .xen_pages is that of entry n of the table before it
//! ```

use noxen_saved_image::PAGE;
use std::io::{self, Write};

/// `e_machine` of a 32-bit guest's core.
pub const EM_386: u16 = 3;
/// `e_machine` of a 64-bit guest's core.
pub const EM_X86_64: u16 = 62;

const ELF_HEADER: u64 = 64;
const SECTION_HEADER: u64 = 64;
const ET_CORE: u16 = 4;
const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;
/// XC_CORE_MAGIC, XC_CORE_MAGIC_HVM.
const MAGIC_PV: u64 = 0xf00f_ebed;
const MAGIC_HVM: u64 = 0xf00f_ebee;
/// XEN_ELFNOTE_DUMPCORE_*.
const NOTE_NONE: u32 = 0x200_0000;
const NOTE_HEADER: u32 = 0x200_0001;
const NOTE_XEN_VERSION: u32 = 0x200_0002;
const NOTE_FORMAT_VERSION: u32 = 0x200_0003;
/// Major 0, minor 1.
const FORMAT_VERSION: u64 = 1;
/// Bytes of the texts of XEN_VERSION: extraversion, the compiler's four, capabilities, changeset.
const VERSION_TEXTS: usize = 16 + (64 + 16 + 32 + 32) + 1024 + 64;

/// Frames in a row, which lie in a row in `.xen_pages` too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// The first, as the guest numbers its memory.
    pub pfn: u64,
    /// The first, as its page tables name it.
    pub gmfn: u64,
    /// How many.
    pub count: u64,
}

/// What a core file says besides the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// [`EM_X86_64`] or [`EM_386`].
    pub machine: u16,
    /// The guest's frames are its own numbers: no table of machine frames.
    pub hvm: bool,
    /// Xen's version that the guest saw, major << 16 | minor.
    pub xen_version: u32,
    /// Where the hypervisor's part of the address space begins.
    pub virt_start: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// A vcpu_guest_context for each.
    pub contexts: Vec<u8>,
    /// The page shared with the hypervisor.
    pub shared_info: Vec<u8>,
    /// All memory, in the order of the pages.
    pub frames: Vec<Frames>,
}

struct Section {
    name: &'static str,
    kind: u32,
    align: u64,
    entry: u64,
    size: u64,
}

impl Head {
    fn pages(&self) -> u64 {
        self.frames.iter().map(|run| run.count).sum()
    }

    /// Writes all that comes before the pages. Returns where those begin in the file, and where it ends.
    pub fn write(&self, out: &mut impl Write) -> io::Result<(u64, u64)> {
        let notes = self.notes();
        let (table, entry) = match self.hvm {
            true => (".xen_pfn", 8),
            false => (".xen_p2m", 16),
        };
        let section = |name, kind, align, entry, size| Section {
            name,
            kind,
            align,
            entry,
            size,
        };
        let contexts = self.contexts.len() as u64;
        let mut sections = vec![
            section("", 0, 0, 0, 0),
            section(".shstrtab", SHT_STRTAB, 1, 0, 0),
            section(".note.Xen", SHT_NOTE, 4, 0, notes.len() as u64),
            section(
                ".xen_prstatus",
                SHT_PROGBITS,
                8,
                contexts / u64::from(self.vcpus.max(1)),
                contexts,
            ),
            section(
                ".xen_shared_info",
                SHT_PROGBITS,
                8,
                self.shared_info.len() as u64,
                self.shared_info.len() as u64,
            ),
            section(table, SHT_PROGBITS, 8, entry, self.pages() * entry),
            section(".xen_pages", SHT_PROGBITS, PAGE, PAGE, self.pages() * PAGE),
        ];
        let mut names = Vec::new();
        let name_at: Vec<u32> = sections
            .iter()
            .map(|section| {
                let at = names.len() as u32;
                names.extend_from_slice(section.name.as_bytes());
                names.push(0);
                at
            })
            .collect();
        sections[1].size = names.len() as u64;

        let mut at = ELF_HEADER + SECTION_HEADER * sections.len() as u64;
        let mut places = Vec::new();
        for section in &sections {
            at = at.next_multiple_of(section.align.max(1));
            places.push(at);
            at += section.size;
        }
        let end = at;

        let mut out = Counted { out, at: 0 };
        self.elf_header(&mut out, sections.len() as u16)?;
        for ((section, name), place) in sections.iter().zip(name_at).zip(&places) {
            let offset = if section.kind == 0 { 0 } else { *place };
            out.words(&[u64::from(name) | u64::from(section.kind) << 32, 0, 0])?;
            out.words(&[offset, section.size, 0, section.align, section.entry])?;
        }
        for (bytes, place) in [&names, &notes, &self.contexts, &self.shared_info]
            .into_iter()
            .zip(&places[1..])
        {
            out.pad_to(*place)?;
            out.write_all(bytes)?;
        }
        out.pad_to(places[5])?;
        for run in &self.frames {
            for index in 0..run.count {
                match self.hvm {
                    true => out.words(&[run.pfn + index])?,
                    false => out.words(&[run.pfn + index, run.gmfn + index])?,
                }
            }
        }
        out.pad_to(places[6])?;
        Ok((places[6], end))
    }

    fn elf_header(&self, out: &mut impl Write, sections: u16) -> io::Result<()> {
        // 64 bits, little-endian, version 1, System V.
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(16, 0);
        header.extend(ET_CORE.to_le_bytes());
        header.extend(self.machine.to_le_bytes());
        header.extend(1u32.to_le_bytes());
        for word in [0, 0, ELF_HEADER] {
            header.extend(word.to_le_bytes());
        }
        header.extend(0u32.to_le_bytes());
        // Sizes and counts: header, program headers, section headers; the names are in section 1.
        for half in [ELF_HEADER as u16, 0, 0, SECTION_HEADER as u16, sections, 1] {
            header.extend(half.to_le_bytes());
        }
        out.write_all(&header)
    }

    fn notes(&self) -> Vec<u8> {
        let words =
            |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
        let magic = if self.hvm { MAGIC_HVM } else { MAGIC_PV };
        let (major, minor) = (self.xen_version >> 16, self.xen_version & 0xffff);
        let mut version = words(&[u64::from(major), u64::from(minor)]);
        // Noxen is not that Xen: its extraversion and the rest stay empty.
        version.resize(version.len() + VERSION_TEXTS, 0);
        version.extend(words(&[self.virt_start, PAGE]));
        let header = words(&[magic, u64::from(self.vcpus), self.pages(), PAGE]);
        let mut notes = Vec::new();
        for (kind, description) in [
            (NOTE_NONE, Vec::new()),
            (NOTE_HEADER, header),
            (NOTE_XEN_VERSION, version),
            (NOTE_FORMAT_VERSION, words(&[FORMAT_VERSION])),
        ] {
            for word in [4, description.len() as u32, kind] {
                notes.extend(word.to_le_bytes());
            }
            notes.extend(b"Xen\0");
            notes.extend(description);
        }
        notes
    }
}

/// Knows how far it is.
struct Counted<'a, W> {
    out: &'a mut W,
    at: u64,
}

impl<W: Write> Counted<'_, W> {
    fn pad_to(&mut self, place: u64) -> io::Result<()> {
        let missing = place.saturating_sub(self.at) as usize;
        self.write_all(&vec![0; missing])
    }

    fn words(&mut self, words: &[u64]) -> io::Result<()> {
        words
            .iter()
            .try_for_each(|word| self.write_all(&word.to_le_bytes()))
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
