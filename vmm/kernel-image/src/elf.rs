//! Bounded reader of little-endian ELF files of both classes: the two header tables, and names of sections.
//!
//! Every offset is checked against the file before it is used; nothing is allocated by a number from the file.
//! Source: System V ABI, chapter 4 and the x86-64 supplement.

use std::borrow::Cow;

use crate::source::{piece, Source};
use crate::{Class, KernelError};

const EM_386: u16 = 3;
const EM_486: u16 = 6;
const EM_X86_64: u16 = 62;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// Program header types and section types used here.
pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_NOTE: u32 = 4;
pub(crate) const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;

/// The longer of the two ELF headers.
const MAX_HEADER: u64 = 64;
/// Section names are looked for in this much of their table.
const MAX_STRINGS: u64 = 1 << 20;

/// A program header, widened to 64 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub paddr: u64,
    pub filesz: u64,
    pub memsz: u64,
}

/// A section header, widened to 64 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    name: u32,
    pub kind: u32,
    pub offset: u64,
    pub size: u64,
}

/// An ELF file whose header is sane and whose header tables lie inside the file.
pub(crate) struct Elf<'a> {
    pub source: &'a dyn Source,
    pub class: Class,
    pub entry: u64,
    programs: Cow<'a, [u8]>,
    sections: Cow<'a, [u8]>,
    string_section: u16,
}

/// Reads `at` as an unsigned number of `N` bytes; the callers' tables are whole, so `None` means a bug or a lie.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk::<N>()?;
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(field);
    Some(u64::from_le_bytes(wide))
}

impl<'a> Elf<'a> {
    pub(crate) fn parse(source: &'a dyn Source) -> Result<Self, KernelError> {
        let header = piece(source, 0, source.size().min(MAX_HEADER))?.unwrap_or_default();
        let bytes = &*header;
        let short = || KernelError::elf("its header is cut short");
        if !bytes.starts_with(b"\x7fELF") {
            return Err(KernelError::elf(
                "what the payload unpacked to has no ELF header",
            ));
        }
        let class = match bytes.get(4).ok_or_else(short)? {
            1 => Class::Elf32,
            2 => Class::Elf64,
            other => return Err(KernelError::elf(format!("unknown class {other}"))),
        };
        if *bytes.get(5).ok_or_else(short)? != 1 {
            return Err(KernelError::WrongMachine("big-endian".into()));
        }
        let half = |at| number::<2>(bytes, at).map(|v| v as u16).ok_or_else(short);
        let word = |at64: usize, at32: usize| {
            match class {
                Class::Elf64 => number::<8>(bytes, at64),
                Class::Elf32 => number::<4>(bytes, at32),
            }
            .ok_or_else(short)
        };
        match (half(16)?, half(18)?, class) {
            (ET_EXEC | ET_DYN, EM_X86_64, Class::Elf64)
            | (ET_EXEC | ET_DYN, EM_386 | EM_486, Class::Elf32) => {}
            (ET_EXEC | ET_DYN, machine, _) => {
                return Err(KernelError::WrongMachine(format!(
                    "{class} code for machine number {machine}"
                )))
            }
            (kind, ..) => {
                return Err(KernelError::WrongMachine(format!(
                    "of type {kind} (an object or core file?)"
                )))
            }
        }
        let (tail, ph_entry, sh_entry) = match class {
            Class::Elf64 => (54, 56, 64),
            Class::Elf32 => (42, 32, 40),
        };
        // e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
        let table = |what: &str, offset: u64, size: u16, count: u16, wanted: u16| {
            if count == 0 || offset == 0 {
                return Ok(Cow::default());
            }
            if size != wanted {
                return Err(KernelError::elf(format!(
                    "its {what} headers are {size} bytes long, not {wanted}"
                )));
            }
            // At most 65535 * 64 bytes.
            piece(source, offset, u64::from(size) * u64::from(count))?.ok_or_else(|| {
                KernelError::elf(format!(
                    "its {what} headers lie outside the file; the file is cut short"
                ))
            })
        };
        Ok(Self {
            source,
            class,
            entry: word(24, 24)?,
            programs: table(
                "program",
                word(32, 28)?,
                half(tail)?,
                half(tail + 2)?,
                ph_entry,
            )?,
            // Some files lose their section headers; they matter only as a fallback for notes.
            sections: table(
                "section",
                word(40, 32)?,
                half(tail + 4)?,
                half(tail + 6)?,
                sh_entry,
            )
            .unwrap_or_default(),
            string_section: half(tail + 8)?,
        })
    }

    /// All program headers in file order.
    pub(crate) fn programs(&self) -> impl Iterator<Item = Program> + '_ {
        let class = self.class;
        let size = if class == Class::Elf64 { 56 } else { 32 };
        self.programs.chunks_exact(size).filter_map(move |h| {
            Some(match class {
                Class::Elf64 => Program {
                    kind: number::<4>(h, 0)? as u32,
                    flags: number::<4>(h, 4)? as u32,
                    offset: number::<8>(h, 8)?,
                    paddr: number::<8>(h, 24)?,
                    filesz: number::<8>(h, 32)?,
                    memsz: number::<8>(h, 40)?,
                },
                Class::Elf32 => Program {
                    kind: number::<4>(h, 0)? as u32,
                    offset: number::<4>(h, 4)?,
                    paddr: number::<4>(h, 12)?,
                    filesz: number::<4>(h, 16)?,
                    memsz: number::<4>(h, 20)?,
                    flags: number::<4>(h, 24)? as u32,
                },
            })
        })
    }

    /// All section headers in file order.
    pub(crate) fn sections(&self) -> impl Iterator<Item = Section> + '_ {
        let class = self.class;
        let size = if class == Class::Elf64 { 64 } else { 40 };
        self.sections.chunks_exact(size).filter_map(move |h| {
            Some(match class {
                Class::Elf64 => Section {
                    name: number::<4>(h, 0)? as u32,
                    kind: number::<4>(h, 4)? as u32,
                    offset: number::<8>(h, 24)?,
                    size: number::<8>(h, 32)?,
                },
                Class::Elf32 => Section {
                    name: number::<4>(h, 0)? as u32,
                    kind: number::<4>(h, 4)? as u32,
                    offset: number::<4>(h, 16)?,
                    size: number::<4>(h, 20)?,
                },
            })
        })
    }

    /// The first `limit` bytes of the first section of that name.
    pub(crate) fn section_named(
        &self,
        name: &str,
        limit: u64,
    ) -> Result<Option<Cow<'a, [u8]>>, KernelError> {
        let Some(strings) = self.sections().nth(usize::from(self.string_section)) else {
            return Ok(None);
        };
        let strings =
            piece(self.source, strings.offset, strings.size.min(MAX_STRINGS))?.unwrap_or_default();
        let found = self.sections().find(|s| {
            s.kind != SHT_NOBITS
                && strings
                    .get(s.name as usize..)
                    .and_then(|n| n.strip_prefix(name.as_bytes()))
                    .is_some_and(|rest| rest.first() == Some(&0))
        });
        match found {
            Some(section) => piece(self.source, section.offset, section.size.min(limit)),
            None => Ok(None),
        }
    }
}
