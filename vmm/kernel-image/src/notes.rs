//! The walk over ELF notes, and their meaning.
//!
//! ```text
//! PT_NOTE segments with p_offset != 0 ──no Xen note──► SHT_NOTE sections ──no Xen note──► section "__xen_guest"
//! ```
//! The walk is lenient where real images are crooked: in Debian's grub-i386-xen.bin the segment ends inside the last
//! note's description, so a description may run past its segment as long as it stays inside the file; GNU Mach's notes
//! carry the owner "name", so they are nobody's, and its legacy section speaks for it.
//! Source: Xen public header `elfnote.h`.

use crate::elf::{Elf, PT_NOTE, SHT_NOTE};
use crate::features::Features;
use crate::source::piece;
use crate::{KernelError, PaeMode};

/// Values as the notes state them; `None` where a note is absent. Nothing is checked against the image yet.
#[derive(Debug, Default, Clone)]
pub(crate) struct RawNotes {
    pub entry: Option<u64>,
    pub hypercall_page: Option<Hypercall>,
    pub virt_base: Option<u64>,
    pub paddr_offset: Option<u64>,
    pub xen_version: Option<String>,
    pub guest_os: Option<String>,
    pub guest_version: Option<String>,
    pub loader: Option<String>,
    pub pae: Option<PaeMode>,
    pub features: Features,
    pub bsd_symtab: bool,
    pub hv_start_low: Option<u64>,
    pub l1_mfn_valid: Option<(u64, u64)>,
    pub suspend_cancel: bool,
    pub init_p2m: Option<u64>,
    pub mod_start_pfn: bool,
    pub phys32_entry: Option<u64>,
}

/// The two ways to name the hypercall page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hypercall {
    /// Virtual address (ELF note).
    Address(u64),
    /// Page number counted from VIRT_BASE (legacy section).
    Page(u64),
}

/// Longest string taken from a note; the rest is cut.
const MAX_TEXT: usize = 1024;

/// Bytes of notes walked in one file; Linux has 500.
const MAX_WALKED: u64 = 4 << 20;

/// Note numbers of `elfnote.h`.
mod kind {
    pub const INFO: u32 = 0;
    pub const ENTRY: u32 = 1;
    pub const HYPERCALL_PAGE: u32 = 2;
    pub const VIRT_BASE: u32 = 3;
    pub const PADDR_OFFSET: u32 = 4;
    pub const XEN_VERSION: u32 = 5;
    pub const GUEST_OS: u32 = 6;
    pub const GUEST_VERSION: u32 = 7;
    pub const LOADER: u32 = 8;
    pub const PAE_MODE: u32 = 9;
    pub const FEATURES: u32 = 10;
    pub const BSD_SYMTAB: u32 = 11;
    pub const HV_START_LOW: u32 = 12;
    pub const L1_MFN_VALID: u32 = 13;
    pub const SUSPEND_CANCEL: u32 = 14;
    pub const INIT_P2M: u32 = 15;
    pub const MOD_START_PFN: u32 = 16;
    pub const SUPPORTED_FEATURES: u32 = 17;
    pub const PHYS32_ENTRY: u32 = 18;
}

/// Reads the Xen notes; `None` if neither segments nor sections hold one.
pub(crate) fn read(elf: &Elf<'_>) -> Result<Option<RawNotes>, KernelError> {
    let mut walk = Walk {
        elf,
        budget: MAX_WALKED,
        found: 0,
        notes: RawNotes::default(),
    };
    for segment in elf
        .programs()
        .filter(|p| p.kind == PT_NOTE && p.offset != 0)
    {
        walk.run(segment.offset, segment.filesz)?;
    }
    if walk.found == 0 {
        for section in elf.sections().filter(|s| s.kind == SHT_NOTE) {
            walk.run(section.offset, section.size)?;
        }
    }
    Ok((walk.found > 0).then_some(walk.notes))
}

/// The walk over all runs of notes of a file.
struct Walk<'a> {
    elf: &'a Elf<'a>,
    /// Bytes that may still be walked: headers can name the whole file thousands of times.
    budget: u64,
    /// Xen notes so far.
    found: usize,
    notes: RawNotes,
}

impl Walk<'_> {
    /// Walks one run of notes.
    fn run(&mut self, offset: u64, size: u64) -> Result<(), KernelError> {
        // A run that starts inside the file is read as far as the file goes, and a little past its own end.
        let left = self.elf.source.size().saturating_sub(offset);
        let end = size.min(left);
        self.budget = self.budget.checked_sub(end.max(1)).ok_or_else(|| {
            KernelError::elf(format!(
                "its notes are longer than {} MiB",
                MAX_WALKED >> 20
            ))
        })?;
        let Some(bytes) = piece(self.elf.source, offset, left.min(end + MAX_TEXT as u64))? else {
            return Ok(());
        };
        let end = end as usize;
        let mut at = 0_usize;
        while let Some(header) = bytes[..end].get(at..).and_then(|r| r.first_chunk::<12>()) {
            let word = |i: usize| {
                u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]])
            };
            let (name_size, text_size, kind) = (word(0) as usize, word(4) as usize, word(8));
            let name_at = at + 12;
            let padded = |n: usize| n.checked_add(3).map(|n| n & !3);
            let Some(text_at) = padded(name_size).and_then(|n| name_at.checked_add(n)) else {
                break;
            };
            let Some(next) = padded(text_size).and_then(|n| text_at.checked_add(n)) else {
                break;
            };
            let Some(rest) = bytes.get(text_at..) else {
                break;
            };
            if bytes.get(name_at..name_at + name_size) == Some(b"Xen\0") {
                self.found += 1;
                self.notes.take(kind, &rest[..text_size.min(rest.len())])?;
            }
            at = next;
        }
        Ok(())
    }
}

impl RawNotes {
    /// Takes one note's description.
    fn take(&mut self, kind: u32, text: &[u8]) -> Result<(), KernelError> {
        match kind {
            kind::INFO => crate::legacy::parse(&string(text), self)?,
            kind::ENTRY => self.entry = Some(numeric("ENTRY", text)?),
            kind::HYPERCALL_PAGE => {
                self.hypercall_page = Some(Hypercall::Address(numeric("HYPERCALL_PAGE", text)?))
            }
            kind::VIRT_BASE => self.virt_base = Some(numeric("VIRT_BASE", text)?),
            kind::PADDR_OFFSET => self.paddr_offset = Some(numeric("PADDR_OFFSET", text)?),
            kind::XEN_VERSION => self.xen_version = Some(string(text)),
            kind::GUEST_OS => self.guest_os = Some(string(text)),
            kind::GUEST_VERSION => self.guest_version = Some(string(text)),
            kind::LOADER => self.loader = Some(string(text)),
            kind::PAE_MODE => self.pae = Some(PaeMode::from_text(&string(text))?),
            kind::FEATURES => self.features.add_names(&string(text))?,
            kind::BSD_SYMTAB => self.bsd_symtab = string(text) == "yes",
            kind::HV_START_LOW => self.hv_start_low = Some(numeric("HV_START_LOW", text)?),
            kind::L1_MFN_VALID => self.l1_mfn_valid = mask_and_value(text),
            kind::SUSPEND_CANCEL => self.suspend_cancel = numeric("SUSPEND_CANCEL", text)? != 0,
            kind::INIT_P2M => self.init_p2m = Some(numeric("INIT_P2M", text)?),
            kind::MOD_START_PFN => self.mod_start_pfn = numeric("MOD_START_PFN", text)? != 0,
            kind::SUPPORTED_FEATURES => {
                self.features.supported |= numeric("SUPPORTED_FEATURES", text)?
            }
            kind::PHYS32_ENTRY => self.phys32_entry = Some(numeric("PHYS32_ENTRY", text)?),
            // Notes from the future say nothing that an older builder must know.
            _ => {}
        }
        Ok(())
    }
}

/// A number of 1, 2, 4 or 8 bytes, zero-extended.
fn numeric(name: &str, text: &[u8]) -> Result<u64, KernelError> {
    if !matches!(text.len(), 1 | 2 | 4 | 8) {
        return Err(KernelError::note(format!(
            "{name} is {} bytes long, a number has 4 or 8",
            text.len()
        )));
    }
    let mut wide = [0; 8];
    wide[..text.len()].copy_from_slice(text);
    Ok(u64::from_le_bytes(wide))
}

/// The text of a note, at most [`MAX_TEXT`] bytes of it.
fn string(text: &[u8]) -> String {
    printable(&text[..text.len().min(MAX_TEXT)])
}

/// The text up to its NUL, unprintable bytes replaced: it ends up in messages and on terminals.
pub(crate) fn printable(text: &[u8]) -> String {
    text.iter()
        .take_while(|b| **b != 0)
        .map(|&b| {
            if (0x20..0x7f).contains(&b) {
                char::from(b)
            } else {
                '?'
            }
        })
        .collect()
}

/// The first (mask, value) pair of L1_MFN_VALID, each of 4 or 8 bytes.
fn mask_and_value(text: &[u8]) -> Option<(u64, u64)> {
    let half = match text.len() {
        n if n >= 16 => 8,
        n if n >= 8 => 4,
        _ => return None,
    };
    Some((
        numeric("", &text[..half]).ok()?,
        numeric("", &text[half..2 * half]).ok()?,
    ))
}
