//! The CRC-32 that Linux's build leaves at the end of a bzImage: the only thing that tells a damaged payload from a
//! whole one where its packing has no checksum (lz4, lzma, lzo).
//!
//! ```text
//!   0 ............ PE checksum, certificate table ............ (setup_sects + 1) * 512 + syssize * 16
//!   |<--------------- CRC-32 over all of it, its own last four bytes among them --------------->|
//! ```
//! Signing for Secure Boot fills in the two PE fields after the build, so they count as the zeros that they were.
//! Kernels from 6.15 on have no checksum any more, and their boot protocol does not say so: their version does.
//! Sources: Linux `Documentation/x86/boot.rst`, "The image checksum"; PE/COFF specification, "Optional Header".

use crc32fast::Hasher;
use std::ops::Range;

/// First Linux whose build leaves no checksum.
const WITHOUT: (u32, u32) = (6, 15);
/// What the CRC comes to over bytes that end in their own CRC.
const WHOLE: u32 = 0xffff_ffff;

/// Whether a bzImage has a checksum and it is wrong.
///
/// `file` must be a bzImage of protocol 2.08 or later.
pub fn is_wrong(file: &[u8]) -> bool {
    let (Some(version), Some(bytes)) = (linux_version(file), covered(file)) else {
        return false;
    };
    if version >= WITHOUT {
        return false;
    }
    let mut crc = Hasher::new();
    let mut from = 0;
    for hole in signed_fields(bytes) {
        crc.update(&bytes[from..hole.start]);
        crc.update(&[0; 8][..hole.len()]);
        from = hole.end;
    }
    crc.update(&bytes[from..]);
    crc.finalize() != WHOLE
}

fn u16_at(file: &[u8], at: usize) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
}

fn u32_at(file: &[u8], at: usize) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// The version that the set-up code prints (`kernel_version`): "6.1.0-57-amd64 (...) #1 ...".
fn linux_version(file: &[u8]) -> Option<(u32, u32)> {
    let at = match u16_at(file, 0x20e)? {
        0 => return None,
        at => at + 0x200,
    };
    let text = file.get(at..)?;
    let text = std::str::from_utf8(&text[..text.iter().take(64).position(|b| *b == b' ')?]).ok()?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What the checksum covers; a signature follows it.
fn covered(file: &[u8]) -> Option<&[u8]> {
    let sectors = match file.get(0x1f1)? {
        0 => 4,
        n => usize::from(*n),
    };
    let length = u32_at(file, 0x1f4)?.checked_mul(16)?;
    file.get(..length.checked_add((sectors + 1) * 512)?)
}

/// What signing changes inside `file`, in its order; nothing when it is no PE program.
fn signed_fields(file: &[u8]) -> Vec<Range<usize>> {
    let fields = || {
        let header = u32_at(file, 0x3c)?;
        let optional = header.checked_add(24)?;
        if !file.starts_with(b"MZ") || file.get(header..)?.get(..4)? != b"PE\0\0" {
            return None;
        }
        // Entry 4 of the data directories, which follow fields of 32 or of 64 bits.
        let certificates = optional
            + match u16_at(file, optional)? {
                0x10b => 96,
                0x20b => 112,
                _ => return None,
            }
            + 4 * 8;
        file.get(certificates..certificates + 8)?;
        Some(vec![
            optional + 64..optional + 68,
            certificates..certificates + 8,
        ])
    };
    fields().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage of `version` with its checksum, all of it zeros otherwise.
    fn image(version: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 3 * 512 + 64 * 16];
        file[0x1f1] = 2;
        file[0x1f4] = 64;
        file[0x20e..0x210].copy_from_slice(&0x200u16.to_le_bytes());
        file[0x400..0x400 + version.len()].copy_from_slice(version);
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x40;
        file[0x40..0x44].copy_from_slice(b"PE\0\0");
        file[0x58..0x5a].copy_from_slice(&0x20bu16.to_le_bytes());
        let end = file.len() - 4;
        let crc = !crc32fast::hash(&file[..end]);
        file[end..].copy_from_slice(&crc.to_le_bytes());
        file
    }

    #[test]
    fn whole_image_passes_signed_or_not_and_any_other_change_is_seen() {
        let mut file = image(b"6.1.0-57-amd64 (x) #1");
        assert!(!is_wrong(&file));
        // A signature: both fields, and its own bytes at the end.
        file[0x58 + 64..0x58 + 68].fill(0x77);
        file[0x58 + 144..0x58 + 152].fill(0x88);
        file.extend([0x99; 1000]);
        assert!(!is_wrong(&file));
        for at in [
            0x58 + 63,
            0x58 + 68,
            0x58 + 152,
            0x700,
            3 * 512 + 64 * 16 - 1,
        ] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(is_wrong(&changed), "{at:#x}");
        }
    }

    #[test]
    fn image_without_a_checksum_is_never_wrong() {
        for version in [&b"6.15.0 x"[..], b"7.0-rc1 x", b"nonsense x", b"6", b""] {
            let mut file = image(version);
            file[0x700] ^= 1;
            assert!(!is_wrong(&file), "{version:?}");
        }
        let mut unnamed = image(b"6.1.0 x");
        unnamed[0x20e..0x210].fill(0);
        unnamed[0x700] ^= 1;
        assert!(!is_wrong(&unnamed));
    }

    #[test]
    fn header_of_any_bytes_is_read_without_a_panic() {
        let good = image(b"6.1.0 x");
        for length in 0..good.len() {
            is_wrong(&good[..length]);
        }
        for at in 0..0x250 {
            for value in [0xff, 0x80] {
                let mut wild = good.clone();
                wild[at] = value;
                wild[(at + 1) % 0x250] = value;
                is_wrong(&wild);
            }
        }
    }
}
