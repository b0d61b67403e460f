//! Hyper-V's `vhdx`: fixed and dynamic images, read and written.
//!
//! ```text
//!   open:   header ── log not empty? replayed (log.rs) ── regions, metadata (layout.rs) ── block table
//!   write:  first one: header with new GUIDs; to a block that is not there:
//!             file longer ── on the disk ── table's 4 KiB into the log ── on the disk ── table ── data
//!   end:    all on the disk ── header that says: the log is empty
//! ```
//! By Microsoft's [MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format". A block that the table does not call fully present
//! reads as zeros and, written to, gets a place at the file's end, where the file has none but zeros. Differencing images
//! are refused. The table is in memory; one of more than [`MAX_BLOCKS`] blocks is refused.

mod layout;
mod log;

use crate::devices::vbd::blocks::{read, Blocks};
use crate::domain::calls::lock;
use layout::{Current, Layout, MIB};
use rustix::fs::fdatasync;
use rustix::rand::{getrandom, GetRandomFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

/// Blocks of a disk: 4 TiB of the smallest, 128 TiB of the usual ones.
const MAX_BLOCKS: u64 = 1 << 22;
/// States of a block (2.5.1.1) up to this one have no data.
const UNMAPPED: u64 = 3;
const FULLY_PRESENT: u64 = 6;
/// A block that is not in the file.
const ABSENT: u64 = 0;

/// An open image.
#[derive(Debug)]
pub struct Vhdx {
    file: File,
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Current,
    /// First byte of each block, or [`ABSENT`].
    blocks: Vec<u64>,
    /// Where the next block may be.
    end: u64,
    /// Since the first write.
    log: Option<log::Writer>,
}

impl Vhdx {
    /// Opens `file`.
    pub fn open(file: File, readonly: bool) -> Result<Vhdx, String> {
        Vhdx::read(file, readonly).map_err(|line| format!("cannot be opened as vhdx: {line}"))
    }

    fn read(file: File, readonly: bool) -> Result<Vhdx, String> {
        let mut current = Current::read(&file)?;
        if current.header.log != [0; 16] {
            if readonly {
                return Err(
                    "it was not closed, and its log must be replayed, which takes a disk of mode w"
                        .into(),
                );
            }
            log::replay(&file, &current.header.log, &current.log)?;
            current
                .renew(&file, |header| header.log = [0; 16])
                .map_err(|error| error.to_string())?;
        }
        let layout = Layout::read(&file)?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let blocks = blocks(&file, &layout, &current, length)?;
        let parts = [&current.log, &layout.table, &layout.metadata];
        let end = parts.iter().map(|part| part.end).fold(length, u64::max);
        let state = State {
            current,
            blocks,
            end,
            log: None,
        };
        Ok(Vhdx {
            file,
            layout,
            state: Mutex::new(state),
        })
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// Bytes of its logical and of its physical sectors.
    pub fn sectors(&self) -> (u32, u32) {
        (self.layout.logical, self.layout.physical)
    }

    /// The place of the block with `at`, which is about to be written to.
    fn written(&self, at: u64) -> io::Result<u64> {
        let index = (at / self.layout.block) as usize;
        let mut state = lock(&self.state);
        if state.log.is_none() {
            let guids = [random()?, random()?, random()?];
            state
                .current
                .renew(&self.file, |header| header.begin(guids))?;
            state.log = Some(log::Writer::new(state.current.log.clone()));
        }
        match state.blocks.get(index).copied() {
            None => Err(io::ErrorKind::InvalidInput.into()),
            Some(ABSENT) => self.allocate(&mut state, index),
            Some(base) => Ok(base),
        }
    }

    /// Gives a block a place at the file's end.
    fn allocate(&self, state: &mut State, index: usize) -> io::Result<u64> {
        let base = state.end.next_multiple_of(MIB);
        let end = base + self.layout.block;
        self.file.set_len(end)?;
        // The file's length, and the table as the last entry of the log left it: this entry takes that one's place.
        fdatasync(&self.file)?;
        let entry = index as u64 + index as u64 / self.layout.ratio();
        let at = self.layout.table.start + entry * 8;
        let sector_at = at / log::SECTOR as u64 * log::SECTOR as u64;
        let mut sector = [0; log::SECTOR];
        self.file.read_exact_at(&mut sector, sector_at)?;
        let within = (at - sector_at) as usize;
        sector[within..within + 8].copy_from_slice(&(base | FULLY_PRESENT).to_le_bytes());
        let guid = state.current.header.log;
        if let Some(log) = &mut state.log {
            log.append(&self.file, &guid, sector_at, &sector, end)?;
        }
        self.file.write_all_at(&sector, sector_at)?;
        state.end = end;
        state.blocks[index] = base;
        Ok(base)
    }
}

impl Blocks for Vhdx {
    fn file(&self) -> &File {
        &self.file
    }

    fn block(&self) -> u64 {
        self.layout.block
    }

    fn read_part(&self, at: u64, data: &mut [u8]) -> io::Result<()> {
        let block = self.layout.block;
        let found = lock(&self.state).blocks.get((at / block) as usize).copied();
        match found.ok_or(io::ErrorKind::InvalidInput)? {
            ABSENT => Ok(()),
            base => self.file.read_exact_at(data, base + at % block),
        }
    }

    fn write_part(&self, at: u64, data: &[u8]) -> io::Result<()> {
        let base = self.written(at)?;
        self.file.write_all_at(data, base + at % self.layout.block)
    }
}

impl Drop for Vhdx {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.log.is_none() {
            return;
        }
        // Where this fails, whoever opens the file next replays the log, which changes nothing.
        if fdatasync(&self.file).is_ok() {
            let _ = state
                .current
                .renew(&self.file, |header| header.log = [0; 16]);
        }
    }
}

/// A GUID that nobody else has.
fn random() -> io::Result<[u8; 16]> {
    let mut guid = [0; 16];
    getrandom(&mut guid, GetRandomFlags::empty())?;
    // Version 4 of RFC 4122, in the order of bytes that Microsoft's are stored in; never 0.
    guid[7] = guid[7] & 0x0f | 0x40;
    guid[8] = guid[8] & 0x3f | 0x80;
    Ok(guid)
}

/// The block table, each place checked: inside the file and apart from what describes it.
fn blocks(
    file: &File,
    layout: &Layout,
    current: &Current,
    length: u64,
) -> Result<Vec<u64>, String> {
    let count = layout.size.div_ceil(layout.block);
    let entries = count + (count - 1) / layout.ratio();
    if count > MAX_BLOCKS || entries * 8 > layout.table.end - layout.table.start {
        return Err(format!("a table of {count} blocks"));
    }
    let bytes = read(file, layout.table.start, entries as usize * 8)?;
    let (words, _) = bytes.as_chunks::<8>();
    let others = [&current.log, &layout.table, &layout.metadata];
    let mut blocks = Vec::with_capacity(count as usize);
    for index in 0..count {
        let entry = index + index / layout.ratio();
        let word = words.get(entry as usize).copied();
        let word = word.map_or(0, u64::from_le_bytes);
        let (state, base) = (word & 7, word & !(MIB - 1));
        if state <= UNMAPPED {
            blocks.push(ABSENT);
            continue;
        }
        let end = base.checked_add(layout.block).filter(|end| *end <= length);
        let Some(end) = end.filter(|_| state == FULLY_PRESENT && base >= MIB) else {
            return Err(format!("block {index} in state {state} at {base}"));
        };
        if others
            .iter()
            .any(|other| base < other.end && end > other.start)
        {
            return Err(format!("block {index} over what describes the disk"));
        }
        blocks.push(base);
    }
    Ok(blocks)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
