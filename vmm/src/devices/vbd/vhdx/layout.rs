//! Where things are in a VHDX file (MS-VHDX 2.2 to 2.6), checked.
//!
//! ```text
//!   0        "vhdxfile"
//!   64 KiB   header 1 ─┐ the one of the two that is whole and has the greater sequence number counts: where the log is,
//!   128 KiB  header 2 ─┘ and whether it must be replayed (its GUID is not 0)
//!   192 KiB  region table 1 ─┐ the first one that is whole: where block table (BAT) and metadata are
//!   256 KiB  region table 2 ─┘
//!   1 MiB .. log, BAT, metadata {block size, disk's size, sectors}, blocks; each at a multiple of 1 MiB
//! ```
//! Numbers are little-endian; structures carry a CRC-32C of themselves in their second word.

use crate::devices::vbd::blocks::{head, read};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Unit of all places.
pub const MIB: u64 = 1 << 20;
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER: usize = 4096;
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const TABLE: usize = 64 << 10;
/// Of a region table and of the metadata (2.2.3.1, 2.6.1.1).
const MAX_ENTRIES: usize = 2047;
/// Longest log that is looked at; what makes such files makes logs of 1 MiB.
const MAX_LOG: u32 = 16 << 20;
/// Largest disk (2.6.2.2).
const MAX_SIZE: u64 = 64 << 40;

/// A GUID's bytes in a file, from its usual notation.
const fn guid(first: u32, second: u16, third: u16, rest: [u8; 8]) -> [u8; 16] {
    let (a, b, c) = (
        first.to_le_bytes(),
        second.to_le_bytes(),
        third.to_le_bytes(),
    );
    [
        a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], rest[0], rest[1], rest[2], rest[3],
        rest[4], rest[5], rest[6], rest[7],
    ]
}

const BAT: [u8; 16] = guid(
    0x2dc2_7766,
    0xf623,
    0x4200,
    [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08],
);
const METADATA: [u8; 16] = guid(
    0x8b7c_a206,
    0x4790,
    0x4b9a,
    [0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e],
);
const PARAMETERS: [u8; 16] = guid(
    0xcaa1_6737,
    0xfa36,
    0x4d43,
    [0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b],
);
const SIZE: [u8; 16] = guid(
    0x2fa5_4224,
    0xcd1b,
    0x4876,
    [0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8],
);
const PAGE_83: [u8; 16] = guid(
    0xbeca_12ab,
    0xb2e6,
    0x4523,
    [0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46],
);
const LOGICAL: [u8; 16] = guid(
    0x8141_bf1d,
    0xa96f,
    0x4709,
    [0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f],
);
const PHYSICAL: [u8; 16] = guid(
    0xcda3_48c7,
    0x445d,
    0x4471,
    [0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56],
);

/// A header (2.2.2), as far as it is used; zeros follow.
#[derive(Debug, Clone, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    signature: [u8; 4],
    checksum: U32,
    sequence: U64,
    file_write: [u8; 16],
    data_write: [u8; 16],
    /// Of the log's entries; 0: there is nothing in it.
    pub log: [u8; 16],
    log_version: U16,
    version: U16,
    log_length: U32,
    log_offset: U64,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TableHead {
    signature: [u8; 4],
    checksum: U32,
    count: U32,
    reserved: U32,
}

#[derive(Clone, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Region {
    guid: [u8; 16],
    offset: U64,
    length: U32,
    required: U32,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MetadataHead {
    signature: [u8; 8],
    reserved: [u8; 2],
    count: U16,
    rest: [u8; 20],
}

#[derive(Clone, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Item {
    guid: [u8; 16],
    offset: U32,
    length: U32,
    flags: U32,
    reserved: U32,
}

/// In [`Item::flags`]: whoever does not know the item must leave the file alone.
const REQUIRED: u32 = 4;
/// In the parameters' flags: a differencing disk.
const HAS_PARENT: u32 = 2;

/// CRC-32C of a structure with its second word taken as 0.
pub fn checksum(bytes: &[u8]) -> u32 {
    let (first, rest) = bytes.split_at(bytes.len().min(4));
    let sum = crc32c::crc32c_append(crc32c::crc32c(first), &[0; 4]);
    crc32c::crc32c_append(sum, rest.get(4..).unwrap_or_default())
}

/// A range that begins and ends at multiples of 1 MiB behind the first.
fn range(what: &str, offset: u64, length: u32) -> Result<Range<u64>, String> {
    let length = u64::from(length);
    let end = offset.checked_add(length);
    let whole = offset.is_multiple_of(MIB) && length.is_multiple_of(MIB) && offset >= MIB;
    match end.filter(|_| whole && length > 0) {
        Some(end) => Ok(offset..end),
        None => Err(format!("{what} of {length} bytes at {offset}")),
    }
}

/// The header that counts, and which of the two it is.
#[derive(Debug)]
pub struct Current {
    /// The header.
    pub header: Header,
    /// Where the log is.
    pub log: Range<u64>,
    index: usize,
}

impl Current {
    /// Finds it.
    pub fn read(file: &File) -> Result<Current, String> {
        if !read(file, 0, 8)?.starts_with(b"vhdxfile") {
            return Err("it does not begin as a vhdx file".into());
        }
        let whole = |at: u64| -> Option<Header> {
            let bytes = read(file, at, HEADER).ok()?;
            let header: Header = head(&bytes).ok()?;
            let good = header.signature == *b"head" && header.checksum.get() == checksum(&bytes);
            (good && header.version.get() == 1).then_some(header)
        };
        let headers = HEADERS.iter().enumerate();
        let found = headers.filter_map(|(index, at)| Some((index, whole(*at)?)));
        let newest = found.max_by_key(|(index, header)| (header.sequence.get(), 2 - index));
        let (index, header) = newest.ok_or("neither of its headers is whole")?;
        let (version, length) = (header.log_version.get(), header.log_length.get());
        if version != 0 || length > MAX_LOG {
            return Err(format!("a log of version {version}, {length} bytes"));
        }
        Ok(Current {
            log: range("a log", header.log_offset.get(), length)?,
            header,
            index,
        })
    }

    /// Puts a changed header in the place of the older one and has it reach the disk.
    ///
    /// # Errors
    /// It was not written; the file is as before.
    pub fn renew(&mut self, file: &File, change: impl FnOnce(&mut Header)) -> std::io::Result<()> {
        let mut header = self.header.clone();
        change(&mut header);
        header.sequence = U64::new(header.sequence.get().wrapping_add(1));
        header.checksum = U32::new(0);
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(HEADER, 0);
        header.checksum = U32::new(checksum(&bytes));
        bytes[4..8].copy_from_slice(header.checksum.as_bytes());
        let index = 1 - self.index;
        file.write_all_at(&bytes, HEADERS[index])?;
        rustix::fs::fdatasync(file)?;
        (self.header, self.index) = (header, index);
        Ok(())
    }
}

impl Header {
    /// Says that file and data are others from now on, and by which GUID the log's entries go.
    pub fn begin(&mut self, guids: [[u8; 16]; 3]) {
        [self.file_write, self.data_write, self.log] = guids;
    }
}

/// What the rest of the file says.
#[derive(Debug)]
pub struct Layout {
    /// The block table.
    pub table: Range<u64>,
    /// The metadata.
    pub metadata: Range<u64>,
    /// Bytes of a block.
    pub block: u64,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of a logical sector.
    pub logical: u32,
    /// Bytes of a physical sector.
    pub physical: u32,
}

impl Layout {
    /// Reads region table and metadata, when the log is empty.
    pub fn read(file: &File) -> Result<Layout, String> {
        let [table, metadata] = regions(file)?;
        let bytes = read(file, metadata.start, TABLE)?;
        let about: MetadataHead = head(&bytes)?;
        let count = usize::from(about.count.get());
        if about.signature != *b"metadata" || count > MAX_ENTRIES {
            return Err("its metadata are damaged".into());
        }
        let [mut parameters, mut size, mut logical, mut physical] = [None, None, None, None];
        for entry in 0..count {
            let item: Item = head(&bytes[32 + entry * 32..])?;
            let place = match item.guid {
                PARAMETERS => &mut parameters,
                SIZE => &mut size,
                LOGICAL => &mut logical,
                PHYSICAL => &mut physical,
                PAGE_83 => continue,
                _ if item.flags.get() & REQUIRED == 0 => continue,
                unknown => {
                    return Err(format!("metadata {unknown:02x?}, which must be understood"))
                }
            };
            *place = Some(value(file, &metadata, &item)?);
        }
        let missing = || "metadata are missing".to_owned();
        let parameters = parameters.ok_or_else(missing)?;
        let layout = Layout {
            table,
            metadata,
            block: parameters & 0xffff_ffff,
            size: size.ok_or_else(missing)?,
            logical: logical.ok_or_else(missing)? as u32,
            physical: physical.ok_or_else(missing)? as u32,
        };
        if (parameters >> 32) as u32 & HAS_PARENT != 0 {
            return Err("a differencing disk, whose parent nobody opens here".into());
        }
        layout.check()?;
        Ok(layout)
    }

    fn check(&self) -> Result<(), String> {
        let Layout { block, size, .. } = self;
        if !block.is_power_of_two() || !(MIB..=256 * MIB).contains(block) {
            return Err(format!("blocks of {block} bytes"));
        }
        let sectors = [self.logical, self.physical];
        if sectors.iter().any(|bytes| ![512, 4096].contains(bytes)) {
            return Err(format!("sectors of {sectors:?} bytes"));
        }
        if *size == 0 || *size > MAX_SIZE || !size.is_multiple_of(u64::from(self.logical)) {
            return Err(format!("a disk of {size} bytes"));
        }
        Ok(())
    }

    /// Blocks between two entries of the table that are not a block's, but of a bitmap (2.5).
    pub fn ratio(&self) -> u64 {
        (u64::from(self.logical) << 23) / self.block
    }
}

/// Where block table and metadata are.
fn regions(file: &File) -> Result<[Range<u64>; 2], String> {
    let whole = |at: &u64| -> Option<(Vec<u8>, usize)> {
        let bytes = read(file, *at, TABLE).ok()?;
        let about: TableHead = head(&bytes).ok()?;
        let count = about.count.get() as usize;
        let good = about.signature == *b"regi" && about.checksum.get() == checksum(&bytes);
        (good && count <= MAX_ENTRIES).then_some((bytes, count))
    };
    let (bytes, count) = REGION_TABLES
        .iter()
        .find_map(whole)
        .ok_or("neither of its region tables is whole")?;
    let (mut table, mut metadata) = (None, None);
    for entry in 0..count {
        let region: Region = head(&bytes[16 + entry * 32..])?;
        let place = match region.guid {
            BAT => &mut table,
            METADATA => &mut metadata,
            _ if region.required.get() & 1 == 0 => continue,
            unknown => return Err(format!("a region {unknown:02x?}, which must be understood")),
        };
        *place = Some(range("a region", region.offset.get(), region.length.get())?);
    }
    match (table, metadata) {
        (Some(table), Some(metadata)) => Ok([table, metadata]),
        _ => Err("it has no block table or no metadata".into()),
    }
}

/// A known item's first 4 or 8 bytes.
fn value(file: &File, metadata: &Range<u64>, item: &Item) -> Result<u64, String> {
    let (offset, length) = (u64::from(item.offset.get()), item.length.get());
    let inside =
        offset >= TABLE as u64 && metadata.start + offset + u64::from(length) <= metadata.end;
    if !inside || ![4, 8].contains(&length) {
        return Err(format!("metadata of {length} bytes at {offset}"));
    }
    let mut bytes = read(file, metadata.start + offset, length as usize)?;
    bytes.resize(8, 0);
    Ok(head::<U64>(&bytes)?.get())
}
