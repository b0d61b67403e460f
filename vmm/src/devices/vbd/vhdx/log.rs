//! The log of a VHDX file (MS-VHDX 2.3): changes of metadata that must not be lost half-way.
//!
//! ```text
//!   a ring of entries at multiples of 4 KiB:  [header, descriptors, to 4 KiB][data sector, 4 KiB]*
//!     descriptor "desc": 4 KiB for a place of the file: 8 bytes here, 4084 in a data sector, 4 bytes here
//!                "zero": so many zeros for a place
//!   replay: the entry with the greatest number whose tail, and all between, are whole: from tail to it, each change made
//!   ours:   one entry of one "desc", its own tail; what earlier ones said is on the disk before it is written
//! ```
//! A change that is made twice does no harm, so an entry is forgotten only with the whole log.

use super::layout::{checksum, MIB};
use crate::devices::vbd::blocks::{head, read};
use rustix::fs::{fallocate, fdatasync, FallocateFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Unit of the log and of what it changes.
pub const SECTOR: usize = 4096;
/// Bytes of an entry's header and of a descriptor.
const HEAD: usize = 64;
const DESCRIPTOR: usize = 32;
/// Of one file: the largest disk and what describes it.
const MAX_FILE: u64 = 65 << 40;
/// Bytes summed up in the search for entries, as a multiple of the log: whole ones lie beside each other.
const EFFORT: usize = 8;

#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    signature: [u8; 4],
    checksum: U32,
    length: U32,
    tail: U32,
    sequence: U64,
    descriptors: U32,
    reserved: U32,
    guid: [u8; 16],
    /// The file had at least this length when the entry was written.
    flushed: U64,
    /// All that belongs to the file ends before.
    last: U64,
}

#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    signature: [u8; 4],
    trailing: [u8; 4],
    /// The first bytes of the data; of zeros their number.
    leading: [u8; 8],
    offset: U64,
    sequence: U64,
}

/// One change of the file.
#[derive(Debug)]
enum Change {
    Data(u64, Box<[u8; SECTOR]>),
    Zero(Range<u64>),
}

/// Makes the changes in the log at `place` whose entries go by `guid`; the caller empties it afterwards.
///
/// # Errors
/// The log is damaged, or the file is shorter than its log says. Nothing was changed then, unless the file cannot be written.
pub fn replay(file: &File, guid: &[u8; 16], place: &Range<u64>) -> Result<(), String> {
    let log = read(file, place.start, (place.end - place.start) as usize)?;
    let entries = entries(&log, guid)?;
    let Some(sequence) = active(&log, &entries) else {
        // Nothing was logged yet when it ended.
        return Ok(());
    };
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let Some(newest) = sequence.last().and_then(|at| entries.get(at)) else {
        return Ok(());
    };
    let last = newest.last.get();
    if length < newest.flushed.get() || last > MAX_FILE {
        return Err(format!(
            "its log is of a file of {} bytes",
            newest.flushed.get()
        ));
    }
    let end = length.max(last);
    // All of it is looked at before anything is changed.
    for at in &sequence {
        changes(&log, *at, place, end)?;
    }
    let failed = |error: io::Error| format!("its log cannot be replayed: {error}");
    file.set_len(end).map_err(failed)?;
    for at in &sequence {
        for change in changes(&log, *at, place, end)? {
            change.make(file).map_err(failed)?;
        }
    }
    fdatasync(file).map_err(|errno| failed(errno.into()))
}

/// `length` bytes of the ring from `at` on.
fn taken(log: &[u8], at: usize, length: usize) -> Vec<u8> {
    let first = length.min(log.len() - at);
    let mut bytes = log[at..at + first].to_vec();
    bytes.extend_from_slice(&log[..length - first]);
    bytes
}

/// The whole entries, by their places.
fn entries(log: &[u8], guid: &[u8; 16]) -> Result<BTreeMap<usize, Entry>, String> {
    let mut entries = BTreeMap::new();
    let mut effort = log.len() * EFFORT;
    for at in (0..log.len()).step_by(SECTOR) {
        let entry: Entry = head(&log[at..])?;
        let (length, tail) = (entry.length.get() as usize, entry.tail.get() as usize);
        let fits = |bytes: usize| bytes.is_multiple_of(SECTOR) && bytes <= log.len();
        let plausible =
            entry.signature == *b"loge" && entry.guid == *guid && entry.sequence.get() > 0;
        if !plausible || !fits(length) || length == 0 || !fits(tail) || tail == log.len() {
            continue;
        }
        effort = effort.checked_sub(length).ok_or("its log is damaged")?;
        if checksum(&taken(log, at, length)) == entry.checksum.get() {
            entries.insert(at, entry);
        }
    }
    Ok(entries)
}

/// The entries to be replayed, in order.
fn active(log: &[u8], entries: &BTreeMap<usize, Entry>) -> Option<Vec<usize>> {
    let mut newest: Vec<(&usize, &Entry)> = entries.iter().collect();
    newest.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.sequence.get()));
    newest.into_iter().find_map(|(end, entry)| {
        let mut at = entry.tail.get() as usize;
        let mut sequence = Vec::new();
        loop {
            let here = entries.get(&at)?;
            sequence.push(at);
            if at == *end {
                return Some(sequence);
            }
            let next = (at + here.length.get() as usize) % log.len();
            let follows = entries.get(&next).is_some_and(|next| {
                here.sequence.get().checked_add(1) == Some(next.sequence.get())
            });
            if !follows {
                return None;
            }
            at = next;
        }
    })
}

/// What the entry at `at` changes; all of it outside the log, behind the headers and before `end`.
fn changes(log: &[u8], at: usize, place: &Range<u64>, end: u64) -> Result<Vec<Change>, String> {
    let damaged = || format!("its log's entry at {at} is damaged");
    let entry: Entry = head(&log[at..])?;
    let bytes = taken(log, at, entry.length.get() as usize);
    let count = entry.descriptors.get() as usize;
    let described = count.checked_mul(DESCRIPTOR).map(|length| length + HEAD);
    let described = described.filter(|length| *length <= bytes.len());
    let (heads, data) = bytes.split_at(described.ok_or_else(damaged)?.next_multiple_of(SECTOR));
    let (mut data, _) = data.as_chunks::<SECTOR>();
    let mut changes = Vec::with_capacity(count);
    for index in 0..count {
        let descriptor: Descriptor = head(&heads[HEAD + index * DESCRIPTOR..])?;
        let offset = descriptor.offset.get();
        let mut length = SECTOR as u64;
        let change = match &descriptor.signature {
            b"zero" => {
                length = u64::from_le_bytes(descriptor.leading);
                Change::Zero(offset..offset.checked_add(length).ok_or_else(damaged)?)
            }
            b"desc" => {
                let (sector, rest) = data.split_first().ok_or_else(damaged)?;
                data = rest;
                let mut content = Box::new(*sector);
                content[..8].copy_from_slice(&descriptor.leading);
                content[SECTOR - 4..].copy_from_slice(&descriptor.trailing);
                let number = entry.sequence.get().to_le_bytes();
                let torn = sector[4..8] != number[4..] || sector[SECTOR - 4..] != number[..4];
                if torn || !sector.starts_with(b"data") {
                    return Err(damaged());
                }
                Change::Data(offset, content)
            }
            _ => return Err(damaged()),
        };
        let until = offset.checked_add(length).ok_or_else(damaged)?;
        let whole = offset.is_multiple_of(SECTOR as u64) && length.is_multiple_of(SECTOR as u64);
        let apart = until <= place.start || offset >= place.end;
        let own = descriptor.sequence.get() == entry.sequence.get();
        if !whole || !apart || !own || offset < MIB || until > end {
            return Err(damaged());
        }
        changes.push(change);
    }
    Ok(changes)
}

impl Change {
    fn make(self, file: &File) -> io::Result<()> {
        match self {
            Change::Data(offset, content) => file.write_all_at(&content[..], offset),
            Change::Zero(range) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let length = range.end - range.start;
                if length == 0 || fallocate(file, flags, range.start, length).is_ok() {
                    return Ok(());
                }
                let zeros = vec![0; MIB as usize];
                let mut at = range.start;
                while at < range.end {
                    let part = (range.end - at).min(MIB);
                    file.write_all_at(&zeros[..part as usize], at)?;
                    at += part;
                }
                Ok(())
            }
        }
    }
}

/// Where the next entry goes.
#[derive(Debug)]
pub struct Writer {
    place: Range<u64>,
    at: u64,
    sequence: u64,
}

impl Writer {
    /// For an empty log.
    pub fn new(place: Range<u64>) -> Writer {
        Writer {
            place,
            at: 0,
            sequence: 1,
        }
    }

    /// Logs `content` for `offset`, a multiple of 4 KiB, and has it reach the disk. What was logged before must be on the
    /// disk already, and so must the file's `length`.
    pub fn append(
        &mut self,
        file: &File,
        guid: &[u8; 16],
        offset: u64,
        content: &[u8; SECTOR],
        length: u64,
    ) -> io::Result<()> {
        let mut bytes = vec![0; 2 * SECTOR];
        let number = self.sequence.to_le_bytes();
        let mut entry = Entry {
            signature: *b"loge",
            checksum: U32::new(0),
            length: U32::new(bytes.len() as u32),
            tail: U32::new(self.at as u32),
            sequence: U64::new(self.sequence),
            descriptors: U32::new(1),
            reserved: U32::new(0),
            guid: *guid,
            flushed: U64::new(length),
            last: U64::new(length),
        };
        let mut descriptor = Descriptor {
            signature: *b"desc",
            trailing: [0; 4],
            leading: [0; 8],
            offset: U64::new(offset),
            sequence: U64::new(self.sequence),
        };
        descriptor.leading.copy_from_slice(&content[..8]);
        descriptor.trailing.copy_from_slice(&content[SECTOR - 4..]);
        bytes[SECTOR..].copy_from_slice(content);
        bytes[SECTOR..SECTOR + 4].copy_from_slice(b"data");
        bytes[SECTOR + 4..SECTOR + 8].copy_from_slice(&number[4..]);
        bytes[2 * SECTOR - 4..].copy_from_slice(&number[..4]);
        bytes[..HEAD].copy_from_slice(entry.as_bytes());
        bytes[HEAD..HEAD + DESCRIPTOR].copy_from_slice(descriptor.as_bytes());
        entry.checksum = U32::new(checksum(&bytes));
        bytes[..HEAD].copy_from_slice(entry.as_bytes());
        // A log is a multiple of 1 MiB, so that an entry of two sectors never goes over its end.
        file.write_all_at(&bytes, self.place.start + self.at)?;
        fdatasync(file)?;
        self.at = (self.at + bytes.len() as u64) % (self.place.end - self.place.start);
        self.sequence += 1;
        Ok(())
    }
}
