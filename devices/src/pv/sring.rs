//! The back end's side of a shared request ring (public/io/ring.h).
//!
//! ```text
//!   front end: req_prod ->                       rsp_prod <- :back end
//!              entries[i & (n - 1)]: a request until it is consumed, then room for a response
//!   next_request() ... push_response() ... publish() -> notify?
//!   nothing left: ask_for_more() sets req_event, then looks once more
//! ```
//! A ring lies on one or more granted pages in any order, so an entry may span two. Indices run freely.
//! Our own are kept here; the front end's are read once per step and checked: more requests than entries
//! that hold no response of ours is a lie.

use crate::pv::grant::PAGE_SIZE;
use noxen_pv_abi::ring::{must_notify, ring_entries, RING_HEADER_SIZE};
use std::sync::atomic::{fence, Ordering};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Offsets in the header.
const REQ_PROD: u64 = 0;
const REQ_EVENT: u64 = 4;
const RSP_PROD: u64 = 8;
const RSP_EVENT: u64 = 12;

/// Most pages of a ring that is served.
pub const MAX_RING_PAGES: usize = 16;

/// Why a ring cannot be used (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SringError {
    /// More requests than fit.
    #[error("ring indices are corrupt: request producer {req_prod:#x}, responses {rsp_prod:#x}, {entries} entries")]
    Overflow {
        /// Found.
        req_prod: u32,
        /// Ours.
        rsp_prod: u32,
        /// Entries of the ring.
        entries: u32,
    },
    /// Not a power of two from 1 to [`MAX_RING_PAGES`].
    #[error("a ring of {0} pages cannot be served")]
    Pages(usize),
    /// A page is not in guest memory.
    #[error("a ring page is not in guest memory")]
    Memory,
    /// A response to nothing; a fault of the back end.
    #[error("more responses than requests")]
    Unasked,
}

/// One shared ring.
#[derive(Debug, Clone)]
pub struct BackRing {
    pages: Vec<GuestAddress>,
    entry_size: usize,
    entries: u32,
    req_cons: u32,
    /// Requests up to here are known to be there.
    seen: u32,
    /// Responses written, and how many of them the front end can see.
    rsp_prod: u32,
    published: u32,
}

impl BackRing {
    /// The ring on `pages` (ring order) with entries of `entry_size` bytes; goes on where its responses end.
    pub fn new<M: GuestMemoryBackend>(
        memory: &M,
        pages: Vec<GuestAddress>,
        entry_size: usize,
    ) -> Result<BackRing, SringError> {
        let count = pages.len();
        if count == 0 || count > MAX_RING_PAGES || !count.is_power_of_two() {
            return Err(SringError::Pages(count));
        }
        let entries = ring_entries(count * PAGE_SIZE as usize, entry_size);
        if entries == 0 {
            return Err(SringError::Pages(count));
        }
        let mut ring = BackRing {
            pages,
            entry_size,
            entries,
            req_cons: 0,
            seen: 0,
            rsp_prod: 0,
            published: 0,
        };
        let rsp_prod = ring.load(memory, RSP_PROD)?;
        (ring.req_cons, ring.seen) = (rsp_prod, rsp_prod);
        (ring.rsp_prod, ring.published) = (rsp_prod, rsp_prod);
        ring.unconsumed(memory)?;
        Ok(ring)
    }

    /// Entries.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Requests taken since the ring was new, modulo 2^32.
    pub fn consumed(&self) -> u32 {
        self.req_cons
    }

    fn load<M: GuestMemoryBackend>(&self, memory: &M, offset: u64) -> Result<u32, SringError> {
        memory
            .load(GuestAddress(self.pages[0].0 + offset), Ordering::Acquire)
            .map_err(|_| SringError::Memory)
    }

    fn store<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        offset: u64,
        value: u32,
    ) -> Result<(), SringError> {
        memory
            .store(
                value,
                GuestAddress(self.pages[0].0 + offset),
                Ordering::Release,
            )
            .map_err(|_| SringError::Memory)
    }

    /// Requests that wait.
    pub fn unconsumed<M: GuestMemoryBackend>(&self, memory: &M) -> Result<u32, SringError> {
        let req_prod = self.load(memory, REQ_PROD)?;
        if req_prod.wrapping_sub(self.rsp_prod) > self.entries
            || req_prod.wrapping_sub(self.req_cons) > self.entries
        {
            return Err(SringError::Overflow {
                req_prod,
                rsp_prod: self.rsp_prod,
                entries: self.entries,
            });
        }
        Ok(req_prod.wrapping_sub(self.req_cons))
    }

    /// Copies the next request into the front of `request` (all of an entry, once); false: none waits.
    pub fn next_request<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        request: &mut [u8],
    ) -> Result<bool, SringError> {
        if self.seen == self.req_cons {
            // Our responses only make the distance shorter, so that this look holds for all requests that it sees.
            self.seen = self.req_cons.wrapping_add(self.unconsumed(memory)?);
        }
        if self.seen == self.req_cons {
            return Ok(false);
        }
        let length = request.len().min(self.entry_size);
        let mut done = 0;
        for (at, part) in self.runs(self.req_cons, length) {
            let entry = memory.get_slice(at, part).map_err(|_| SringError::Memory)?;
            done += entry.copy_to(&mut request[done..done + part]);
        }
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(true)
    }

    /// Asks to be notified of the next request; true: one has come already, look again.
    pub fn ask_for_more<M: GuestMemoryBackend>(&self, memory: &M) -> Result<bool, SringError> {
        self.ask_for(memory, 1)
    }

    /// Asks to be notified once `count` requests (at least one) wait; true: they have come already.
    pub fn ask_for<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        count: u32,
    ) -> Result<bool, SringError> {
        self.store(memory, REQ_EVENT, self.req_cons.wrapping_add(count))?;
        // Either the front end sees the index just written, or its request is seen here.
        fence(Ordering::SeqCst);
        Ok(self.unconsumed(memory)? >= count)
    }

    /// Writes a response; the front end sees it after [`Self::publish`].
    pub fn push_response<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        response: &[u8],
    ) -> Result<(), SringError> {
        if self.rsp_prod == self.req_cons {
            return Err(SringError::Unasked);
        }
        let length = response.len().min(self.entry_size);
        let mut done = 0;
        for (at, part) in self.runs(self.rsp_prod, length) {
            let entry = memory.get_slice(at, part).map_err(|_| SringError::Memory)?;
            entry.copy_from(&response[done..done + part]);
            done += part;
        }
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
        Ok(())
    }

    /// Shows the responses to the front end; true: it wants to be notified.
    pub fn publish<M: GuestMemoryBackend>(&mut self, memory: &M) -> Result<bool, SringError> {
        let before = self.published;
        if before == self.rsp_prod {
            return Ok(false);
        }
        self.store(memory, RSP_PROD, self.rsp_prod)?;
        self.published = self.rsp_prod;
        // Either the front end sees the responses, or its wish to be notified is seen here.
        fence(Ordering::SeqCst);
        let event = self.load(memory, RSP_EVENT)?;
        Ok(must_notify(event, before, self.rsp_prod))
    }

    /// Where the first `length` bytes of entry `index` are: one piece, or two across a page's end.
    fn runs(&self, index: u32, length: usize) -> impl Iterator<Item = (GuestAddress, usize)> {
        let start = RING_HEADER_SIZE + (index & (self.entries - 1)) as usize * self.entry_size;
        let page = start / PAGE_SIZE as usize;
        let offset = start % PAGE_SIZE as usize;
        let first = length.min(PAGE_SIZE as usize - offset);
        let here = GuestAddress(self.pages[page].0 + offset as u64);
        // Entries lie inside the ring, so one that spans has a next page.
        let next = self.pages.get(page + 1).copied().unwrap_or(self.pages[0]);
        [(here, first), (next, length - first)]
            .into_iter()
            .filter(|(_, part)| *part > 0)
    }
}

#[cfg(test)]
#[path = "sring_tests.rs"]
mod tests;
