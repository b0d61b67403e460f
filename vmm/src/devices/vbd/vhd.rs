//! Virtual PC's and Xen's `vhd`: fixed and dynamic images, read and written.
//!
//! ```text
//!   fixed:    data ... footer(512)
//!   dynamic:  footer copy, header(1024), block table (BAT) ... blocks {sector bitmap, data} ... footer
//!   write to a block that is not there: bitmap of zeros + data of zeros and the footer behind it, then its
//!   place in the table; sectors of a block whose bit is clear read as zeros
//! ```
//! By Microsoft's "Virtual Hard Disk Image Format Specification" 1.0; numbers are big-endian. The size is the
//! footer's current size, as blktap took it. Differencing images are refused. A table entry is written only
//! after its block is in the file, so a crash loses at most what was not flushed.

use crate::devices::vbd::blocks::Blocks;
use crate::domain::calls::lock;
use noxen_devices::pv::block::SECTOR;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

const FOOTER: usize = 512;
const HEADER: usize = 1024;
/// Of a dynamic image: 2 TiB of blocks of 512 KiB.
const MAX_ENTRIES: u32 = 1 << 22;
/// A block that is not in the file.
const ABSENT: u32 = u32::MAX;
const DYNAMIC: u32 = 3;
const FIXED: u32 = 2;

/// An open image.
#[derive(Debug)]
pub struct Vhd {
    file: File,
    size: u64,
    dynamic: Option<Dynamic>,
}

#[derive(Debug)]
struct Dynamic {
    block: u64,
    /// Bytes of a block's bitmap in the file.
    bitmap: u64,
    table_at: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// First sector of each block's bitmap.
    table: Vec<u32>,
    footer: [u8; FOOTER],
    /// Where the footer is and the next block goes.
    end: u64,
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(field)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(number(bytes, at)) << 32 | u64::from(number(bytes, at + 4))
}

/// One's complement of the sum of all bytes but the sum's own four at `at`.
fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = |part: &[u8]| part.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    !(sum(&bytes[..at]) + sum(&bytes[at + 4..]))
}

fn read<const N: usize>(file: &File, at: u64) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)
        .map_err(|error| format!("cannot be opened as vhd: {N} bytes at {at}: {error}"))?;
    Ok(bytes)
}

fn is_footer(bytes: &[u8; FOOTER]) -> bool {
    bytes.starts_with(b"conectix") && number(bytes, 64) == checksum(bytes, 64)
}

impl Vhd {
    /// Opens `file`.
    pub fn open(file: File) -> Result<Vhd, String> {
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let at = length.saturating_sub(FOOTER as u64) / SECTOR * SECTOR;
        // A crash between a new block and the footer behind it leaves the copy at the start.
        let mut footer: [u8; FOOTER] = read(&file, at)?;
        let mut end = at;
        if !is_footer(&footer) {
            footer = read(&file, 0)?;
            end = length.next_multiple_of(SECTOR);
        }
        if !is_footer(&footer) {
            return Err("cannot be opened as vhd: it has no footer".into());
        }
        let size = long(&footer, 48);
        let dynamic = match number(&footer, 60) {
            FIXED if size <= at => None,
            FIXED => {
                return Err(format!(
                    "cannot be opened as vhd: {size} bytes in a file of {length}"
                ))
            }
            DYNAMIC => Some(Dynamic::open(&file, footer, size, end)?),
            kind => {
                return Err(format!(
                    "cannot be opened as vhd: disk type {kind} is not served; fixed and dynamic are"
                ))
            }
        };
        Ok(Vhd {
            file,
            size,
            dynamic,
        })
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Blocks for Vhd {
    fn file(&self) -> &File {
        &self.file
    }

    fn block(&self) -> u64 {
        // A fixed image is one block without an end.
        self.dynamic
            .as_ref()
            .map_or(u64::MAX, |dynamic| dynamic.block)
    }

    fn read_part(&self, at: u64, data: &mut [u8]) -> io::Result<()> {
        match &self.dynamic {
            None => self.file.read_exact_at(data, at),
            Some(dynamic) => dynamic.read(&self.file, at, data),
        }
    }

    fn write_part(&self, at: u64, data: &[u8]) -> io::Result<()> {
        match &self.dynamic {
            None => self.file.write_all_at(data, at),
            Some(dynamic) => dynamic.write(&self.file, at, data),
        }
    }
}

impl Dynamic {
    fn open(file: &File, footer: [u8; FOOTER], size: u64, end: u64) -> Result<Dynamic, String> {
        let bad = |what: &str| format!("cannot be opened as vhd: {what}");
        let header: [u8; HEADER] = read(file, long(&footer, 16))?;
        if !header.starts_with(b"cxsparse") || number(&header, 36) != checksum(&header, 36) {
            return Err(bad("its header is damaged"));
        }
        let (entries, block) = (number(&header, 28), u64::from(number(&header, 32)));
        if !block.is_power_of_two() || !(4096..=1 << 28).contains(&block) {
            return Err(bad(&format!("blocks of {block} bytes")));
        }
        if entries > MAX_ENTRIES || u64::from(entries) < size.div_ceil(block) {
            return Err(bad(&format!("a table of {entries} blocks")));
        }
        let table_at = long(&header, 16);
        let mut bytes = vec![0; entries as usize * 4];
        file.read_exact_at(&mut bytes, table_at)
            .map_err(|error| bad(&format!("its table: {error}")))?;
        let bitmap = (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
        let table: Vec<u32> = (0..entries as usize)
            .map(|index| number(&bytes, index * 4))
            .collect();
        let wild = |entry: &&u32| **entry != ABSENT && u64::from(**entry) * SECTOR + bitmap > end;
        if let Some(entry) = table.iter().find(wild) {
            return Err(bad(&format!("a block at sector {entry}, beyond its end")));
        }
        Ok(Dynamic {
            block,
            bitmap,
            table_at,
            state: Mutex::new(State { table, footer, end }),
        })
    }

    /// Block, first sector in it, sectors.
    fn place(&self, at: u64, length: usize) -> (usize, u64, u64) {
        let within = at % self.block;
        let sectors = length as u64 / SECTOR;
        ((at / self.block) as usize, within / SECTOR, sectors)
    }

    fn read(&self, file: &File, at: u64, data: &mut [u8]) -> io::Result<()> {
        let (index, first, sectors) = self.place(at, data.len());
        let entry = lock(&self.state).table.get(index).copied();
        let Some(entry) = entry.filter(|entry| *entry != ABSENT) else {
            return Ok(());
        };
        let base = u64::from(entry) * SECTOR;
        let bits = self.bits(file, base)?;
        // Runs of sectors that are there.
        let mut sector = first;
        while sector < first + sectors {
            let start = sector;
            let there = bit(&bits, start);
            while sector < first + sectors && bit(&bits, sector) == there {
                sector += 1;
            }
            if there {
                let part =
                    ((start - first) * SECTOR) as usize..((sector - first) * SECTOR) as usize;
                file.read_exact_at(&mut data[part], base + self.bitmap + start * SECTOR)?;
            }
        }
        Ok(())
    }

    fn write(&self, file: &File, at: u64, data: &[u8]) -> io::Result<()> {
        let (index, first, sectors) = self.place(at, data.len());
        let mut state = lock(&self.state);
        let entry = state.table.get(index).copied();
        let base = match entry.ok_or(io::ErrorKind::InvalidInput)? {
            ABSENT => self.allocate(file, &mut state, index)?,
            entry => u64::from(entry) * SECTOR,
        };
        let mut bits = self.bits(file, base)?;
        file.write_all_at(data, base + self.bitmap + first * SECTOR)?;
        if (first..first + sectors).all(|sector| bit(&bits, sector)) {
            return Ok(());
        }
        for sector in first..first + sectors {
            bits[(sector / 8) as usize] |= 0x80 >> (sector % 8);
        }
        file.write_all_at(&bits, base)
    }

    fn bits(&self, file: &File, base: u64) -> io::Result<Vec<u8>> {
        let mut bits = vec![0; self.bitmap as usize];
        file.read_exact_at(&mut bits, base)?;
        Ok(bits)
    }

    /// Appends a block without any sector; returns where it is.
    fn allocate(&self, file: &File, state: &mut State, index: usize) -> io::Result<u64> {
        let base = state.end;
        let entry = u32::try_from(base / SECTOR)
            .ok()
            .filter(|entry| *entry != ABSENT)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        let end = base + self.bitmap + self.block;
        // The old footer becomes the bitmap; behind it the file has nothing, so the data are zeros.
        file.write_all_at(&state.footer, end)?;
        file.write_all_at(&vec![0; self.bitmap as usize], base)?;
        file.write_all_at(&entry.to_be_bytes(), self.table_at + index as u64 * 4)?;
        state.end = end;
        state.table[index] = entry;
        Ok(base)
    }
}

fn bit(bits: &[u8], sector: u64) -> bool {
    bits.get((sector / 8) as usize)
        .is_some_and(|byte| byte << (sector % 8) & 0x80 != 0)
}

#[cfg(test)]
#[path = "vhd_tests.rs"]
mod tests;
