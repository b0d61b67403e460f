//! Grain directories and tables of a VMDK, in memory and in the file.
//!
//! ```text
//!   directory ── u32: sector of a table ── 512 x u32: sector of a grain; 0 none, 1 zeros (where the header says so)
//!   copy of the directory ── tables of its own ── the same grains
//! ```
//! A place in one copy only is that of a writer which was killed between the two: the other copy gets it as well.

use super::layout::{sectors, Layout, ENTRIES};
use crate::devices::vbd::blocks::read;
use noxen_devices::pv::block::SECTOR;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// A grain or a table that is not in the file.
pub const ABSENT: u32 = 0;
/// A grain of zeros that is not in the file either.
const ZEROS: u32 = 1;
/// Bytes of a table.
pub const TABLE: u64 = ENTRIES as u64 * 4;

/// One directory.
#[derive(Debug)]
struct Directory {
    at: u64,
    /// First sector of each table.
    tables: Vec<u32>,
}

/// All directories, and the grains that they tell of.
#[derive(Debug)]
pub struct Tables {
    directories: Vec<Directory>,
    /// First sector of each grain of the disk, or [`ABSENT`].
    grains: Vec<u32>,
    /// Tables that are not the same in all copies.
    pub uneven: Vec<usize>,
}

impl Tables {
    /// The tables as the directories at `places` have them: for a disk that is written all of them.
    pub fn read(file: &File, layout: &Layout, places: &[u64]) -> Result<Tables, String> {
        let mut directories = Vec::new();
        let mut taken = layout.fixed.to_vec();
        for at in places {
            directories.push(Directory::read(file, layout, *at, &mut taken)?);
        }
        taken.sort_by_key(|place| place.start);
        if let Some([one, other]) = taken
            .array_windows()
            .find(|[one, other]| one.end > other.start)
        {
            return Err(format!("tables at {one:?} and {other:?}, over each other"));
        }
        let mut tables = Tables {
            directories,
            grains: vec![ABSENT; layout.grains() as usize],
            uneven: Vec::new(),
        };
        for index in 0..layout.tables() {
            tables.take(file, layout, index, &taken)?;
        }
        Ok(tables)
    }

    /// Takes in table `index` of all directories.
    fn take(
        &mut self,
        file: &File,
        layout: &Layout,
        index: usize,
        taken: &[Range<u64>],
    ) -> Result<(), String> {
        let first = index * ENTRIES;
        let mut seen: Option<Vec<u32>> = None;
        for directory in &self.directories {
            let words = directory.table(file, index)?;
            let entries = words.unwrap_or_else(|| vec![ABSENT; ENTRIES]);
            let Some(before) = &mut seen else {
                seen = Some(entries);
                continue;
            };
            if *before == entries {
                continue;
            }
            self.uneven.push(index);
            for (at, (one, other)) in before.iter_mut().zip(&entries).enumerate() {
                match (*one, *other) {
                    (one, other) if one == other => {}
                    (_, ABSENT) => {}
                    (ABSENT, found) => *one = found,
                    (one, other) => {
                        let grain = first + at;
                        return Err(format!(
                            "grain {grain} is at sector {one} and, by the redundant table, at {other}"
                        ));
                    }
                }
            }
        }
        let places = self.grains.iter_mut().skip(first);
        for (at, (place, entry)) in places.zip(seen.unwrap_or_default()).enumerate() {
            *place = match entry {
                ABSENT => ABSENT,
                ZEROS if layout.zeroed => ABSENT,
                entry if is_free(layout, entry, taken) => entry,
                entry => {
                    let grain = first + at;
                    return Err(format!(
                        "grain {grain} at sector {entry}, beyond the end or over what describes the disk"
                    ));
                }
            };
        }
        Ok(())
    }

    /// First byte of grain `index`; `None`: it is not in the file. An error: the disk has no such grain.
    pub fn grain(&self, index: u64) -> io::Result<Option<u64>> {
        let found = self.grains.get(index as usize).copied();
        match found.ok_or(io::ErrorKind::InvalidInput)? {
            ABSENT => Ok(None),
            sector => Ok(Some(u64::from(sector) * SECTOR)),
        }
    }

    /// How many copies have no table for grain `index` yet.
    pub fn missing(&self, index: usize) -> usize {
        let tables = self.directories.iter().map(|directory| &directory.tables);
        tables
            .filter(|tables| tables.get(index / ENTRIES) == Some(&ABSENT))
            .count()
    }

    /// Makes tables of zeros, which are at `places` of the file already, known to the directories that have none for grain `index`.
    pub fn add_tables(&mut self, file: &File, index: usize, places: &[u32]) -> io::Result<()> {
        let table = index / ENTRIES;
        let mut places = places.iter();
        for directory in self.directories.iter_mut().rev() {
            let Some(entry) = directory.tables.get_mut(table).filter(|at| **at == ABSENT) else {
                continue;
            };
            let place = *places.next().ok_or(io::ErrorKind::InvalidInput)?;
            file.write_all_at(&place.to_le_bytes(), directory.at + table as u64 * 4)?;
            *entry = place;
        }
        Ok(())
    }

    /// Says in all copies, the redundant one first, that grain `index` is at `sector`; each has a table for it.
    pub fn enter(&mut self, file: &File, index: usize, sector: u32) -> io::Result<()> {
        for directory in self.directories.iter().rev() {
            let at = directory.entry(index).ok_or(io::ErrorKind::InvalidInput)?;
            file.write_all_at(&sector.to_le_bytes(), at)?;
        }
        if let Some(grain) = self.grains.get_mut(index) {
            *grain = sector;
        }
        Ok(())
    }
}

impl Directory {
    /// The directory at `at`; where it and its tables are comes to `taken`.
    fn read(
        file: &File,
        layout: &Layout,
        at: u64,
        taken: &mut Vec<Range<u64>>,
    ) -> Result<Directory, String> {
        let bytes = layout.tables() * 4;
        let end = at.checked_add(bytes as u64);
        let place = end.filter(|end| *end <= layout.length).map(|end| at..end);
        let place = place.ok_or_else(|| format!("a directory at {at}, beyond its end"))?;
        taken.push(place);
        let tables = words(&read(file, at, bytes)?);
        for sector in tables.iter().filter(|sector| **sector != ABSENT) {
            let place = sectors(u64::from(*sector), TABLE / SECTOR, layout.length);
            taken.push(place.ok_or_else(|| format!("a table at sector {sector}, beyond its end"))?);
        }
        Ok(Directory { at, tables })
    }

    /// Entries of table `index`, if there is one.
    fn table(&self, file: &File, index: usize) -> Result<Option<Vec<u32>>, String> {
        match self.tables.get(index) {
            None | Some(&ABSENT) => Ok(None),
            Some(sector) => Ok(Some(words(&read(
                file,
                u64::from(*sector) * SECTOR,
                TABLE as usize,
            )?))),
        }
    }

    /// Where the file has the entry of grain `index`.
    fn entry(&self, index: usize) -> Option<u64> {
        let table = self.tables.get(index / ENTRIES);
        let table = *table.filter(|sector| **sector != ABSENT)?;
        Some(u64::from(table) * SECTOR + (index % ENTRIES) as u64 * 4)
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Whether the file has a grain at `sector`, apart from the places in `taken`, which are sorted and apart from each other.
fn is_free(layout: &Layout, sector: u32, taken: &[Range<u64>]) -> bool {
    // Compressed ones end where they end.
    let count = if layout.compressed {
        1
    } else {
        layout.grain / SECTOR
    };
    let Some(place) = sectors(u64::from(sector), count, layout.length) else {
        return false;
    };
    let behind = taken.partition_point(|other| other.end <= place.start);
    taken
        .get(behind)
        .is_none_or(|other| other.start >= place.end)
}
