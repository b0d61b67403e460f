//! Where things are in a sparse VMDK extent (Virtual Disk Format 5.0, "Hosted Sparse Extents"), checked.
//!
//! ```text
//!   0    header "KDMV" ── descriptor (text) ── redundant directory, its tables ── directory, its tables ── grains
//!        with a directory "at the end": .. directory ── footer marker ── the header that counts ── end marker
//! ```
//! Places and sizes are in sectors of 512 bytes, numbers little-endian.

use crate::devices::vbd::blocks::{head, read};
use noxen_control::vmdk::{Data, Descriptor, ALONE, CONVERT, LONGEST};
use noxen_devices::pv::block::SECTOR;
use std::fs::File;
use std::ops::Range;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Grains of a table.
pub const ENTRIES: usize = 512;
/// Grains of a disk: 2 TiB of the usual ones of 64 KiB, which is what numbers of sectors reach.
const MAX_GRAINS: u64 = 1 << 25;
/// Where in the header it says that the file was not closed.
pub const UNCLEAN: u64 = 72;
/// In place of the directory's sector: the header at the end has it.
const AT_END: u64 = u64::MAX;
/// Kind of the marker before that header.
const FOOTER: u32 = 3;
const DEFLATE: u16 = 1;
/// Of [`Header::flags`].
const NEWLINES: u32 = 1;
const REDUNDANT: u32 = 1 << 1;
const ZEROED: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;

#[derive(Debug, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U32,
    flags: U32,
    capacity: U64,
    grain: U64,
    descriptor: U64,
    descriptor_size: U64,
    entries: U32,
    redundant: U64,
    directory: U64,
    overhead: U64,
    unclean: u8,
    newlines: [u8; 4],
    compression: U16,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Marker {
    value: U64,
    size: U32,
    kind: U32,
}

/// Where things are.
#[derive(Debug)]
pub struct Layout {
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of a grain.
    pub grain: u64,
    /// Bytes of the file.
    pub length: u64,
    /// Header and descriptor.
    pub fixed: [Range<u64>; 2],
    /// The digits that tell one content from another.
    pub cid: Range<u64>,
    /// First byte of the directory and of its copy, where there is one.
    pub directories: Vec<u64>,
    /// Grains are compressed.
    pub compressed: bool,
    /// A grain's entry may say that it is zeros.
    pub zeroed: bool,
}

impl Layout {
    /// Reads header and descriptor of a file of `length` bytes.
    pub fn read(file: &File, length: u64, readonly: bool) -> Result<Layout, String> {
        let first = read(file, 0, SECTOR as usize)?;
        if first.starts_with(ALONE) {
            return Err(format!(
                "it only describes a disk whose data are in other files, which are not opened here; {CONVERT}"
            ));
        }
        let mut header: Header = head(&first)?;
        header.check()?;
        let descriptor = sectors(
            header.descriptor.get(),
            header.descriptor_size.get(),
            length,
        )
        .filter(|place| place.start > 0 && place.end - place.start <= LONGEST)
        .ok_or_else(|| {
            format!("it has no descriptor, as one file of several of a disk; {CONVERT}")
        })?;
        let text = read(
            file,
            descriptor.start,
            (descriptor.end - descriptor.start) as usize,
        )?;
        let about = Descriptor::parse(&text)?;
        if let Data::Flat(name) = about.data {
            return Err(format!("its data are in another file, {name:?}; {CONVERT}"));
        }
        if header.directory.get() == AT_END {
            header = footer(file, length)?;
        }
        let compressed = header.flags.get() & COMPRESSED != 0;
        if !readonly {
            header.check_writable(compressed, about.writable)?;
        }
        let layout = Layout {
            size: about.sectors.saturating_mul(SECTOR),
            grain: header.grain.get() * SECTOR,
            length,
            fixed: [0..SECTOR, descriptor.clone()],
            cid: descriptor.start + about.cid.start as u64..descriptor.start + about.cid.end as u64,
            directories: header.directories()?,
            compressed,
            zeroed: header.flags.get() & ZEROED != 0,
        };
        let capacity = header.capacity.get();
        if about.sectors == 0 || about.sectors > capacity || layout.grains() > MAX_GRAINS {
            return Err(format!(
                "a disk of {} sectors in an extent of {capacity}",
                about.sectors
            ));
        }
        Ok(layout)
    }

    /// Grains of the disk.
    pub fn grains(&self) -> u64 {
        self.size.div_ceil(self.grain)
    }

    /// Tables of the disk, in each directory.
    pub fn tables(&self) -> usize {
        self.grains().div_ceil(ENTRIES as u64) as usize
    }
}

/// The bytes of `count` sectors from `first` on, where the file has them.
pub fn sectors(first: u64, count: u64, length: u64) -> Option<Range<u64>> {
    let start = first.checked_mul(SECTOR)?;
    let end = first.checked_add(count)?.checked_mul(SECTOR)?;
    (end <= length && count > 0).then_some(start..end)
}

/// The header at the end of a file that was written in one go.
fn footer(file: &File, length: u64) -> Result<Header, String> {
    let missing = || "the footer that has its directory is missing".to_owned();
    let at = length.checked_sub(3 * SECTOR).ok_or_else(missing)?;
    let bytes = read(file, at, 2 * SECTOR as usize)?;
    let marker: Marker = head(&bytes)?;
    if (marker.value.get(), marker.size.get(), marker.kind.get()) != (1, 0, FOOTER) {
        return Err(missing());
    }
    let header: Header = head(&bytes[SECTOR as usize..])?;
    header.check()?;
    Ok(header)
}

impl Header {
    fn check(&self) -> Result<(), String> {
        if &self.magic != b"KDMV" {
            return Err("it does not begin as a vmdk file".into());
        }
        let (version, flags) = (self.version.get(), self.flags.get());
        if !(1..=3).contains(&version) {
            return Err(format!("version {version}"));
        }
        if flags & NEWLINES != 0 && self.newlines != *b"\n \r\n" {
            return Err("it was copied as a text, and is damaged".into());
        }
        let grain = self.grain.get();
        if !grain.is_power_of_two() || !(8..=4096).contains(&grain) {
            return Err(format!("grains of {grain} sectors"));
        }
        let entries = self.entries.get();
        if entries as usize != ENTRIES {
            return Err(format!("tables of {entries} grains"));
        }
        let compression = self.compression.get();
        match flags & (COMPRESSED | MARKERS) {
            0 => Ok(()),
            both if both == COMPRESSED | MARKERS && compression == DEFLATE => Ok(()),
            _ => Err(format!("flags {flags:#x} with compression {compression}")),
        }
    }

    /// That a disk may be written which is kept like this.
    fn check_writable(&self, compressed: bool, extent: bool) -> Result<(), String> {
        if compressed {
            return Err(format!(
                "its grains are compressed (streamOptimized), and can only be read: give the disk mode r, or {CONVERT}"
            ));
        }
        if self.version.get() == 3 {
            return Err(
                "version 3, whose list of changed blocks nobody keeps here: give the disk mode r"
                    .into(),
            );
        }
        match extent {
            true => Ok(()),
            false => Err("its descriptor says RDONLY: give the disk mode r".into()),
        }
    }

    fn directories(&self) -> Result<Vec<u64>, String> {
        let mut places = vec![self.directory.get()];
        if self.flags.get() & REDUNDANT != 0 && self.redundant.get() != 0 {
            places.push(self.redundant.get());
        }
        let bytes = |place: &u64| place.checked_mul(SECTOR).filter(|at| *at > 0);
        let found: Option<Vec<u64>> = places.iter().map(bytes).collect();
        found.ok_or_else(|| format!("directories at sectors {places:?}"))
    }
}
