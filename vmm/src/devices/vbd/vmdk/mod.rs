//! VMware's `vmdk` in one file: monolithicSparse, read and written, and streamOptimized, read.
//!
//! ```text
//!   open:    header, descriptor (layout.rs, noxen_control::vmdk) ── directories and tables (tables.rs); to write: copies made even
//!   write:   first one: "not closed" and another CID in the file
//!            grain that is not there: file longer by zeros ── on the disk ── data ── redundant table ── table
//!   end:     file as short as it can be ── on the disk ── "closed"
//! ```
//! By VMware's "Virtual Disk Format 5.0". A place is in a table only when the file has been that long on the disk, so that
//! after a crash a grain is in the file or reads as the zeros that it was; one in a single copy of the tables is put into the
//! other. Disks of several files and such that hold a difference are refused: nothing else is opened here. Of a monolithicFlat
//! disk xend reads the descriptor, and what comes here is its data, a raw image.

mod layout;
mod tables;

use crate::devices::vbd::blocks::Blocks;
use crate::domain::calls::lock;
use flate2::{Decompress, FlushDecompress, Status};
use layout::{Layout, ENTRIES, UNCLEAN};
use noxen_control::vmdk::new_cid;
use noxen_devices::pv::block::SECTOR;
use rustix::fs::fdatasync;
use rustix::rand::{getrandom, GetRandomFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use tables::{Tables, TABLE};

/// By how much a file grows, bytes: each time has it synchronised.
const STEP: u64 = 16 << 20;
/// Before a compressed grain: its first sector (8 bytes), its length (4).
const GRAIN_HEAD: usize = 12;

/// An open image.
#[derive(Debug)]
pub struct Vmdk {
    file: File,
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tables: Tables,
    /// Where the next grain may be.
    end: u64,
    /// Bytes of the file.
    length: u64,
    /// Written to since it was opened.
    begun: bool,
    /// A table could not be written: what is written later might be lost.
    broken: bool,
    /// The compressed grain that was read last.
    unpacked: Option<(u64, Vec<u8>)>,
}

impl Vmdk {
    /// Opens `file`.
    pub fn open(file: File, readonly: bool) -> Result<Vmdk, String> {
        Vmdk::read(file, readonly).map_err(|line| format!("cannot be opened as vmdk: {line}"))
    }

    fn read(file: File, readonly: bool) -> Result<Vmdk, String> {
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let layout = Layout::read(&file, length, readonly)?;
        let all = &layout.directories;
        let tables = match readonly {
            false => Tables::read(&file, &layout, all)?,
            // The copy is for where the first is damaged.
            true => Tables::read(&file, &layout, &all[..1]).or_else(|line| {
                Tables::read(&file, &layout, &all[1..])
                    .ok()
                    .filter(|_| all.len() > 1)
                    .ok_or(line)
            })?,
        };
        let state = State {
            tables,
            end: length,
            length,
            begun: false,
            broken: false,
            unpacked: None,
        };
        let mut vmdk = Vmdk {
            file,
            layout,
            state: Mutex::new(state),
        };
        vmdk.make_even()
            .map_err(|error| format!("its tables cannot be written: {error}"))?;
        Ok(vmdk)
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// Gives all copies of the tables what one of them has.
    fn make_even(&mut self) -> io::Result<()> {
        let mut state = lock(&self.state);
        let uneven = std::mem::take(&mut state.tables.uneven);
        if uneven.is_empty() {
            return Ok(());
        }
        self.begin(&mut state)?;
        for table in uneven {
            for index in table * ENTRIES..(table + 1) * ENTRIES {
                if let Ok(Some(base)) = state.tables.grain(index as u64) {
                    self.enter(&mut state, index, base)?;
                }
            }
        }
        Ok(fdatasync(&self.file)?)
    }

    /// Before the first write: the file is not closed, and is another one than before.
    fn begin(&self, state: &mut State) -> io::Result<()> {
        if state.begun {
            return Ok(());
        }
        let place = &self.layout.cid;
        let mut random = vec![0; (place.end - place.start) as usize];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let digits = new_cid(&random);
        self.file.write_all_at(&[1], UNCLEAN)?;
        self.file.write_all_at(&digits, place.start)?;
        fdatasync(&self.file)?;
        state.begun = true;
        Ok(())
    }

    /// A place of `bytes` zeros at the file's end, which is that long on the disk; and its sector.
    fn reserve(&self, state: &mut State, bytes: u64) -> io::Result<(u64, u32)> {
        let base = state.end.next_multiple_of(self.layout.grain);
        let sector = u32::try_from(base / SECTOR).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = base + bytes;
        if end > state.length {
            let length = end + STEP;
            self.file.set_len(length)?;
            fdatasync(&self.file)?;
            state.length = length;
        }
        // Whatever becomes of it, nothing else is put there: it may no longer be zeros.
        state.end = end;
        Ok((base, sector))
    }

    /// Writes into all tables that grain `index` is at `base`.
    fn enter(&self, state: &mut State, index: usize, base: u64) -> io::Result<()> {
        let sector = u32::try_from(base / SECTOR).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut places = Vec::new();
        for _ in 0..state.tables.missing(index) {
            places.push(self.reserve(state, TABLE)?.1);
        }
        let tables = &mut state.tables;
        let entered = tables
            .add_tables(&self.file, index, &places)
            .and_then(|()| tables.enter(&self.file, index, sector));
        state.broken |= entered.is_err();
        entered
    }

    /// The grain at `at`, which is compressed at `base` of the file, as it was.
    fn unpack(&self, at: u64, base: u64) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let grain = self.layout.grain;
        let mut head = [0; GRAIN_HEAD];
        self.file.read_exact_at(&mut head, base)?;
        let (first, length) = head.split_at(8);
        let first = u64::from_le_bytes(first.try_into().map_err(|_| damaged())?);
        let length = u32::from_le_bytes(length.try_into().map_err(|_| damaged())?);
        // What does not become smaller becomes hardly larger.
        if first != at / grain * grain / SECTOR || u64::from(length) > grain + grain / 8 + SECTOR {
            return Err(damaged());
        }
        let mut packed = vec![0; length as usize];
        self.file
            .read_exact_at(&mut packed, base + GRAIN_HEAD as u64)?;
        let mut data = vec![0; grain as usize];
        let ended = Decompress::new(true).decompress(&packed, &mut data, FlushDecompress::Finish);
        match ended {
            Ok(Status::StreamEnd) => Ok(data),
            _ => Err(damaged()),
        }
    }
}

impl Blocks for Vmdk {
    fn file(&self) -> &File {
        &self.file
    }

    fn block(&self) -> u64 {
        self.layout.grain
    }

    fn read_part(&self, at: u64, data: &mut [u8]) -> io::Result<()> {
        let (index, within) = (at / self.layout.grain, at % self.layout.grain);
        let mut state = lock(&self.state);
        let Some(base) = state.tables.grain(index)? else {
            return Ok(());
        };
        if !self.layout.compressed {
            drop(state);
            return self.file.read_exact_at(data, base + within);
        }
        if state.unpacked.as_ref().is_none_or(|(is, _)| *is != index) {
            state.unpacked = Some((index, self.unpack(at, base)?));
        }
        let grain = state.unpacked.as_ref().map(|(_, grain)| grain.as_slice());
        let part = grain.and_then(|grain| grain.get(within as usize..)?.get(..data.len()));
        data.copy_from_slice(part.ok_or(io::ErrorKind::InvalidInput)?);
        Ok(())
    }

    fn write_part(&self, at: u64, data: &[u8]) -> io::Result<()> {
        let (index, within) = (at / self.layout.grain, at % self.layout.grain);
        let mut state = lock(&self.state);
        if self.layout.compressed || state.broken {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.begin(&mut state)?;
        if let Some(base) = state.tables.grain(index)? {
            drop(state);
            return self.file.write_all_at(data, base + within);
        }
        let (base, _) = self.reserve(&mut state, self.layout.grain)?;
        self.file.write_all_at(data, base + within)?;
        self.enter(&mut state, index as usize, base)
    }
}

impl Drop for Vmdk {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        if !state.begun || state.broken {
            return;
        }
        // Where this fails the file stays "not closed", and whoever opens it next looks at both copies of its tables.
        let shortened = self.file.set_len(state.end.max(self.layout.length));
        if shortened.is_ok() && fdatasync(&self.file).is_ok() {
            let _ = self.file.write_all_at(&[0], UNCLEAN);
            let _ = fdatasync(&self.file);
        }
    }
}

#[cfg(test)]
mod tests;
