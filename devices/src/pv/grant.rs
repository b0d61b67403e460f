//! Access to what a guest grants: version 1 entries (public/grant_table.h).
//!
//! ```text
//!   guest: entry = {permit_access, domain 0, frame}        gref --ring--> back end
//!   map(gref):    check flags and domid, set reading|writing  -- one compare-exchange --> Grant{page}
//!                 then read the frame, once; frames outside RAM are refused
//!   unmap(Grant): clear reading|writing; the front end looks at them before it takes the page back
//! ```
//! The table is guest memory that every vCPU may change at any time: nothing is read twice, and a flag
//! word that never holds still is refused. A guest that takes a page back early only loses its own data:
//! the frame stays the guest's, and the host's mapping of it stays valid.

use super::written::Written;
use noxen_pv_abi::grant_table::{
    GrantType, GTF_READING, GTF_READONLY, GTF_SUB_PAGE, GTF_TYPE_MASK, GTF_WRITING,
};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use vm_memory::bitmap::{BitmapSlice, MS};
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileMemory, VolatileSlice};

/// Bytes of a page and of the part of the table in one.
pub const PAGE_SIZE: u64 = 4096;
/// Entries in a page of the table.
const ENTRIES_PER_FRAME: u32 = 512;
/// Bytes of an entry.
const ENTRY_SIZE: u64 = 8;
/// Domain that the back ends stand for.
const BACKEND_DOMAIN: u16 = 0;
/// Attempts to change a flag word that changes meanwhile (Xen gives up as well).
const ATTEMPTS: u32 = 4;

/// What a back end does with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only reads it.
    Read,
    /// Writes it too.
    Write,
}

/// Why a reference was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Beyond the table.
    #[error("grant reference {0} is beyond the table")]
    Reference(u32),
    /// No grant of a page to domain 0; the entry's first word is the second value.
    #[error("grant {0} does not give a page to domain 0 (flags and domain {1:#x})")]
    NotGranted(u32, u32),
    /// A page to be written was granted for reading.
    #[error("grant {0} is read-only")]
    ReadOnly(u32),
    /// The flags changed at every look.
    #[error("the flags of grant {0} do not hold still")]
    Unstable(u32),
    /// No RAM of the guest.
    #[error("grant {0} names frame {1:#x}, which is not the guest's RAM")]
    Frame(u32, u32),
    /// The table itself is not in guest memory; a fault of the layout.
    #[error("the grant table is not in guest memory")]
    Table,
}

/// A page in use by a back end; give it back with [`GrantTable::unmap`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a grant that is not unmapped stays marked in the guest's table"]
pub struct Grant {
    gref: u32,
    access: Access,
    page: GuestAddress,
}

impl Grant {
    /// The page, in guest memory.
    pub fn page(&self) -> GuestAddress {
        self.page
    }

    /// Its reference.
    pub fn gref(&self) -> u32 {
        self.gref
    }

    /// What it may be used for.
    pub fn access(&self) -> Access {
        self.access
    }
}

/// A guest's grant table.
#[derive(Debug, Clone, Copy)]
pub struct GrantTable {
    base: GuestAddress,
    entries: u32,
    ram_end: u64,
    /// First frame of the hole in RAM, and the first one behind it.
    hole: (u64, u64),
    written: Option<&'static Written>,
}

impl GrantTable {
    /// The table of `frames` pages at `base`; grants name guest RAM, frames below `ram_end`.
    pub fn new(base: GuestAddress, frames: u32, ram_end: u64) -> GrantTable {
        GrantTable {
            base,
            entries: frames.saturating_mul(ENTRIES_PER_FRAME),
            ram_end,
            hole: (0, 0),
            written: None,
        }
    }

    /// The same table, whose back ends' writing is noted in `written`.
    pub fn noting(self, written: &'static Written) -> GrantTable {
        GrantTable {
            written: Some(written),
            ..self
        }
    }

    /// The same where RAM has a hole: what lies in those frames is not the guest's.
    pub fn without(self, frames: Range<u64>) -> GrantTable {
        GrantTable {
            hole: (frames.start, frames.end),
            ..self
        }
    }

    /// Finds the table in `memory`, once for many references.
    pub fn open<'a, M: GuestMemoryBackend>(
        &self,
        memory: &'a M,
    ) -> Result<OpenTable<'a, MS<'a, M>>, GrantError> {
        let length = u64::from(self.entries) * ENTRY_SIZE;
        let words = memory.get_slice(self.base, length as usize);
        Ok(OpenTable {
            table: *self,
            words: words.map_err(|_| GrantError::Table)?,
        })
    }

    /// Takes the page of `gref` into use.
    pub fn map<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        gref: u32,
        access: Access,
    ) -> Result<Grant, GrantError> {
        self.open(memory)?.map(gref, access)
    }

    /// Gives the page back.
    pub fn unmap<M: GuestMemoryBackend>(&self, memory: &M, grant: Grant) {
        // The table was there when the grant was mapped, and guest memory never shrinks.
        if let Ok(table) = self.open(memory) {
            table.unmap(grant);
        }
    }

    fn is_ram(&self, frame: u64) -> bool {
        let (start, end) = self.hole;
        frame < self.ram_end && !(start..end).contains(&frame)
    }
}

/// A grant table whose place in this process is known.
#[derive(Debug)]
pub struct OpenTable<'a, B> {
    table: GrantTable,
    words: VolatileSlice<'a, B>,
}

impl<B: BitmapSlice> OpenTable<'_, B> {
    /// An entry's word: 0 has flags and domain, 4 the frame.
    fn word(&self, gref: u32, offset: u64) -> Result<&AtomicU32, GrantError> {
        let at = u64::from(gref) * ENTRY_SIZE + offset;
        let word = self.words.get_atomic_ref(at as usize);
        word.map_err(|_| GrantError::Table)
    }

    /// Takes the page of `gref` into use. That it is RAM is known by its number: a page that is not in this process is
    /// an error where it is first looked at.
    pub fn map(&self, gref: u32, access: Access) -> Result<Grant, GrantError> {
        if gref >= self.table.entries {
            return Err(GrantError::Reference(gref));
        }
        mark(self.word(gref, 0)?, gref, access)?;
        let frame = self.word(gref, 4)?.load(Ordering::Acquire);
        let page = GuestAddress(u64::from(frame) * PAGE_SIZE);
        let grant = Grant { gref, access, page };
        if self.table.is_ram(u64::from(frame)) {
            return Ok(grant);
        }
        self.unmap(grant);
        Err(GrantError::Frame(gref, frame))
    }

    /// Gives the page back.
    pub fn unmap(&self, grant: Grant) {
        if let (Some(written), Access::Write) = (self.table.written, grant.access) {
            written.mark(grant.page.0 / PAGE_SIZE);
        }
        if let Ok(flags) = self.word(grant.gref, 0) {
            flags.fetch_and(!u32::from(marks(grant.access)), Ordering::SeqCst);
        }
    }
}

fn marks(access: Access) -> u16 {
    match access {
        Access::Read => GTF_READING,
        Access::Write => GTF_READING | GTF_WRITING,
    }
}

/// Sets the marks of `access` in an entry that permits it.
fn mark(word: &AtomicU32, gref: u32, access: Access) -> Result<(), GrantError> {
    let mut seen = word.load(Ordering::Acquire);
    for _ in 0..ATTEMPTS {
        let (flags, domid) = (seen as u16, (seen >> 16) as u16);
        let kind = GrantType(flags & GTF_TYPE_MASK);
        let whole_page = flags & GTF_SUB_PAGE == 0;
        if kind != GrantType::PERMIT_ACCESS || domid != BACKEND_DOMAIN || !whole_page {
            return Err(GrantError::NotGranted(gref, seen));
        }
        if access == Access::Write && flags & GTF_READONLY != 0 {
            return Err(GrantError::ReadOnly(gref));
        }
        let marked = seen | u32::from(marks(access));
        match word.compare_exchange(seen, marked, Ordering::SeqCst, Ordering::Acquire) {
            Ok(_) => return Ok(()),
            Err(now) => seen = now,
        }
    }
    Err(GrantError::Unstable(gref))
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
