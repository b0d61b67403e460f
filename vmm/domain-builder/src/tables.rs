//! Boot page tables.
//!
//! A [`TableSet`] maps one run of virtual addresses. Its tables lie level by level: L3 tables, L2 tables, L1 tables, each
//! level in address order; the L4 is shared by all sets of a domain and is not counted here. A 32-bit domain has one set,
//! whose one L3 is its root.
//!
//! ```text
//! L4[slot] ─► L3 tables ─► L2 tables ─► L1 tables ─► frames        entry n of level k+1 points to table n of level k
//! ```

use std::ops::Range;

use noxen_monitor_abi::layout::PAGE_SIZE;

/// Page-table entry bits (Intel SDM volume 3, 4.5).
pub(crate) mod bits {
    pub const PRESENT: u64 = 1;
    pub const WRITE: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
}

/// Flags of an entry that points to a table.
pub(crate) const UPPER: u64 =
    bits::PRESENT | bits::WRITE | bits::USER | bits::ACCESSED | bits::DIRTY;

const ENTRIES: u64 = 512;
/// Address bits below the index of level 1, 2, 3 and 4.
const SHIFT: [u32; 4] = [12, 21, 30, 39];

/// Tables for one run of addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableSet {
    first: u64,
    last: u64,
}

impl TableSet {
    /// Tables for `bytes` (more than 0) from `va`.
    pub(crate) fn new(va: u64, bytes: u64) -> Self {
        Self {
            first: va,
            last: va + (bytes - 1),
        }
    }

    /// Number of tables of a level (1 to 3).
    fn tables(&self, level: usize) -> u64 {
        (self.last >> SHIFT[level]) - (self.first >> SHIFT[level]) + 1
    }

    /// Number of tables of levels 3, 2 and 1 together.
    pub(crate) fn pages(&self) -> u64 {
        (1..=3).map(|level| self.tables(level)).sum()
    }

    /// First table of a level when the set starts at frame `at`.
    fn level_start(&self, level: usize, at: u64) -> u64 {
        at + (level + 1..=3).map(|upper| self.tables(upper)).sum::<u64>()
    }

    /// L4 slots and the frames of the L3 tables that belong there.
    pub(crate) fn l4_entries(&self, at: u64) -> impl Iterator<Item = (usize, u64)> {
        let first = self.first >> SHIFT[3];
        (0..self.tables(3)).map(move |n| (((first + n) % ENTRIES) as usize, at + n))
    }

    /// All tables with their frames, when the set starts at frame `at`. `leaf(n)` gives the entry for the n-th page,
    /// `upper(frame)` the entry that points to a table.
    pub(crate) fn build<'a>(
        &'a self,
        at: u64,
        leaf: impl Fn(u64) -> u64 + 'a,
        upper: impl Fn(u64) -> u64 + 'a,
    ) -> impl Iterator<Item = (u64, [u64; ENTRIES as usize])> + 'a {
        let entry = move |level: usize, n: u64| match level {
            1 => leaf(n),
            _ => upper(self.level_start(level - 1, at) + n),
        };
        (1..=3)
            .rev()
            .flat_map(move |level| self.tables_of(level, at))
            .map(move |(level, frame, index, entries)| {
                let mut table = [0; ENTRIES as usize];
                for slot in entries {
                    // Entry number counted from the first address of the set.
                    let n = (index * ENTRIES + slot) - (self.first >> SHIFT[level - 1]);
                    table[slot as usize] = entry(level, n);
                }
                (frame, table)
            })
    }

    /// The tables of one level: level, frame, table number in the address space, slots in use.
    fn tables_of(
        &self,
        level: usize,
        at: u64,
    ) -> impl Iterator<Item = (usize, u64, u64, Range<u64>)> {
        let (first, last) = (
            self.first >> SHIFT[level - 1],
            self.last >> SHIFT[level - 1],
        );
        let start = self.level_start(level, at);
        (first / ENTRIES..=last / ENTRIES).map(move |index| {
            let low = first.max(index * ENTRIES) - index * ENTRIES;
            let high = last.min(index * ENTRIES + ENTRIES - 1) - index * ENTRIES;
            (level, start + index - first / ENTRIES, index, low..high + 1)
        })
    }
}

/// Bytes of a table.
pub(crate) fn bytes(table: &[u64; ENTRIES as usize]) -> [u8; PAGE_SIZE as usize] {
    let mut page = [0; PAGE_SIZE as usize];
    for (to, entry) in page.chunks_exact_mut(8).zip(table) {
        to.copy_from_slice(&entry.to_le_bytes());
    }
    page
}
