//! The legacy string section `__xen_guest` (and the INFO note, which has the same syntax): comma-separated `KEY=VALUE`
//! pairs from before there were Xen ELF notes. Differences to the notes: HYPERCALL_PAGE is a page *number* counted from
//! VIRT_BASE, and the default of the physical offset is VIRT_BASE, not 0.

use crate::notes::{printable, Hypercall, RawNotes};
use crate::{KernelError, PaeMode};

/// Longest legacy string that is looked at.
pub(crate) const MAX_SECTION: usize = 8192;

/// Reads the contents of the section up to its NUL.
pub(crate) fn read(section: &[u8]) -> Result<RawNotes, KernelError> {
    let mut notes = RawNotes::default();
    parse(
        &printable(&section[..section.len().min(MAX_SECTION)]),
        &mut notes,
    )?;
    Ok(notes)
}

/// Adds the pairs of `text` to `notes`. Unknown keys are skipped, as libelf does.
pub(crate) fn parse(text: &str, notes: &mut RawNotes) -> Result<(), KernelError> {
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.trim();
        match key.trim() {
            "LOADER" => notes.loader = Some(value.into()),
            "GUEST_OS" => notes.guest_os = Some(value.into()),
            "GUEST_VERSION" | "GUEST_VER" => notes.guest_version = Some(value.into()),
            "XEN_VER" => notes.xen_version = Some(value.into()),
            "PAE" => notes.pae = Some(PaeMode::from_text(value)?),
            "BSD_SYMTAB" => notes.bsd_symtab = value.is_empty() || value == "yes",
            "VIRT_BASE" => notes.virt_base = Some(number(key, value)?),
            "VIRT_ENTRY" => notes.entry = Some(number(key, value)?),
            "ELF_PADDR_OFFSET" => notes.paddr_offset = Some(number(key, value)?),
            "HYPERCALL_PAGE" => notes.hypercall_page = Some(Hypercall::Page(number(key, value)?)),
            "FEATURES" => notes.features.add_names(value)?,
            _ => {}
        }
    }
    Ok(())
}

/// Numbers as strtoull with base 0 reads them: 0x hexadecimal, leading 0 octal, else decimal.
fn number(key: &str, text: &str) -> Result<u64, KernelError> {
    let parsed = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(text, 8)
    } else {
        text.parse()
    };
    parsed.map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        KernelError::note(format!(
            "{} in __xen_guest is \"{}\", not a number",
            key.trim(),
            shown.escape_default()
        ))
    })
}
