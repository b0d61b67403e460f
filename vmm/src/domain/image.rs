//! The monitor's image: an ELF64 linked at `layout::IMAGE_VA`, part of this program.

use noxen_monitor_abi::layout::{IMAGE_MAX, IMAGE_VA, PAGE_SIZE};

/// A loadable part, page-aligned in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// First page, as offset from `IMAGE_VA`.
    pub page: u64,
    /// Where the bytes go, as offset from `IMAGE_VA`.
    pub offset: u64,
    /// Bytes from the file.
    pub bytes: &'a [u8],
    /// One past the last page, as offset from `IMAGE_VA`.
    pub end: u64,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
}

/// A parsed image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    /// Entry point of every vCPU (virtual).
    pub entry: u64,
    /// Parts in order, on distinct pages.
    pub parts: Vec<Part<'a>>,
}

/// The image is not what noxen-vmm can load: a fault of the build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the monitor image in this build is unusable: {0}")]
pub struct ImageError(&'static str);

impl<'a> Image<'a> {
    /// Parses `elf`.
    pub fn parse(elf: &'a [u8]) -> Result<Image<'a>, ImageError> {
        const LOAD: u32 = 1;
        if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err(ImageError("it is not a little-endian ELF64"));
        }
        let truncated = ImageError("it is truncated");
        let entry = u64_at(elf, 24).ok_or(truncated.clone())?;
        let table = u64_at(elf, 32).ok_or(truncated.clone())? as usize;
        let size = u16_at(elf, 54).ok_or(truncated.clone())? as usize;
        let count = u16_at(elf, 56).ok_or(truncated.clone())? as usize;
        let mut parts = Vec::new();
        for index in 0..count {
            let header = index
                .checked_mul(size)
                .and_then(|at| elf.get(table.checked_add(at)?..)?.get(..56))
                .ok_or(truncated.clone())?;
            let field = |at| u64_at(header, at).unwrap_or(0);
            let flags = (field(0) >> 32) as u32;
            if field(0) as u32 != LOAD || field(40) == 0 {
                continue;
            }
            parts.push(part(
                elf,
                flags,
                [field(8), field(16), field(32), field(40)],
            )?);
        }
        parts.sort_by_key(|part| part.page);
        if parts.windows(2).any(|pair| pair[0].end > pair[1].page) {
            return Err(ImageError("two of its segments share a page"));
        }
        let inside = |part: &Part<'_>| {
            part.execute && (part.page..part.end).contains(&entry.wrapping_sub(IMAGE_VA))
        };
        if !parts.iter().any(inside) {
            return Err(ImageError("its entry point is not in code"));
        }
        Ok(Image { entry, parts })
    }

    /// Bytes of memory from `IMAGE_VA` to the end of the last page.
    pub fn size(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.end)
    }
}

fn part(
    elf: &[u8],
    flags: u32,
    [file, address, file_size, memory_size]: [u64; 4],
) -> Result<Part<'_>, ImageError> {
    let outside = ImageError("a segment is outside its 2 MiB");
    let offset = address.checked_sub(IMAGE_VA).ok_or(outside.clone())?;
    let end = offset
        .checked_add(memory_size)
        .filter(|end| *end <= IMAGE_MAX)
        .ok_or(outside)?
        .next_multiple_of(PAGE_SIZE);
    let bytes = usize::try_from(file)
        .ok()
        .zip(
            file.checked_add(file_size)
                .and_then(|e| usize::try_from(e).ok()),
        )
        .and_then(|(start, end)| elf.get(start..end))
        .filter(|bytes| bytes.len() as u64 <= memory_size)
        .ok_or(ImageError("a segment is outside the file"))?;
    Ok(Part {
        page: offset & !(PAGE_SIZE - 1),
        offset,
        bytes,
        end,
        write: flags & 2 != 0,
        execute: flags & 1 != 0,
    })
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// Makes an image of one executable and writable segment; for tests with hand-made monitors.
pub fn flat_image(code: &[u8]) -> Vec<u8> {
    let mut elf = vec![0u8; 120];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut set = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    set(24, &IMAGE_VA.to_le_bytes());
    set(32, &64u64.to_le_bytes());
    set(54, &56u16.to_le_bytes());
    set(56, &1u16.to_le_bytes());
    set(64, &1u32.to_le_bytes());
    set(68, &7u32.to_le_bytes());
    set(72, &120u64.to_le_bytes());
    set(80, &IMAGE_VA.to_le_bytes());
    set(96, &(code.len() as u64).to_le_bytes());
    set(104, &(code.len() as u64 + PAGE_SIZE).to_le_bytes());
    elf.extend_from_slice(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_image_parses_to_one_part() {
        let elf = flat_image(b"code");
        let image = Image::parse(&elf).unwrap();
        assert_eq!(image.entry, IMAGE_VA);
        assert_eq!(image.parts.len(), 1);
        assert_eq!(image.parts[0].bytes, b"code");
        assert_eq!(image.size(), 2 * PAGE_SIZE);
    }

    #[test]
    fn truncated_image_is_refused_at_every_length() {
        let elf = flat_image(b"code");
        for length in 0..elf.len() {
            assert!(Image::parse(&elf[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn segment_below_the_link_address_is_refused() {
        let mut elf = flat_image(b"code");
        elf[80..88].copy_from_slice(&0x1000u64.to_le_bytes());
        assert_eq!(
            Image::parse(&elf),
            Err(ImageError("a segment is outside its 2 MiB"))
        );
    }

    #[test]
    fn entry_outside_code_is_refused() {
        let mut elf = flat_image(b"code");
        elf[68] = 6;
        assert!(Image::parse(&elf).is_err());
    }
}
