//! A one-way byte ring inside a shared page (public/io/console.h, public/io/xs_wire.h).
//!
//! ```text
//!   page:  ... data[size] ... cons u32 ... prod u32 ...     size is a power of two
//!   indices run freely modulo 2^32; prod - cons bytes are in the ring; more than size: corrupt
//! ```
//! The peer's index is read once per step and checked. Our own index is kept here, not read back from
//! the page: what the guest does to it cannot move us.
//!
//! When to notify: a peer that waits for *data* is told of each batch; a peer that waits for *room*
//! saw the ring full, so it is told only when the ring was full against an index that it may still
//! have seen. That keeps interrupts (exits) away from a console that never fills its ring.

use std::sync::atomic::{fence, Ordering};
use vm_memory::{Bytes, GuestAddress, GuestMemory};

/// Where the parts of a ring are, as byte offsets in its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// First byte of the data.
    pub data: u64,
    /// Bytes of data, a power of two.
    pub size: u32,
    /// The consumer's index.
    pub cons: u64,
    /// The producer's index.
    pub prod: u64,
}

/// Why a ring cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The indices say that more is in the ring than it holds.
    #[error("ring indices are corrupt: producer {prod:#x}, consumer {cons:#x}, size {size:#x}")]
    Corrupt {
        /// Producer index found.
        prod: u32,
        /// Consumer index found.
        cons: u32,
        /// Size of the ring.
        size: u32,
    },
    /// The page is not in guest memory.
    #[error("ring page {0:#x} is not in guest memory")]
    Page(u64),
}

/// What one step moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes.
    pub bytes: usize,
    /// The peer is to be notified.
    pub notify: bool,
}

/// Our end of a ring that the guest fills.
#[derive(Debug)]
pub struct Consumer {
    page: GuestAddress,
    layout: Layout,
    cons: u32,
}

/// Our end of a ring that the guest empties.
#[derive(Debug)]
pub struct Producer {
    page: GuestAddress,
    layout: Layout,
    prod: u32,
}

fn index<M: GuestMemory>(memory: &M, page: GuestAddress, offset: u64) -> Result<u32, RingError> {
    memory
        .load(GuestAddress(page.0 + offset), Ordering::Acquire)
        .map_err(|_| RingError::Page(page.0))
}

fn publish<M: GuestMemory>(
    memory: &M,
    page: GuestAddress,
    offset: u64,
    value: u32,
) -> Result<(), RingError> {
    memory
        .store(value, GuestAddress(page.0 + offset), Ordering::Release)
        .map_err(|_| RingError::Page(page.0))?;
    // The peer's index is read next; without the fence both sides could miss the other's step.
    fence(Ordering::SeqCst);
    Ok(())
}

/// The (at most two) runs of `count` bytes from free-running index `at`: (offset in data, length).
fn runs(layout: Layout, at: u32, count: u32) -> [(u64, usize); 2] {
    let start = at & (layout.size - 1);
    let first = count.min(layout.size - start);
    [
        (layout.data + u64::from(start), first as usize),
        (layout.data, (count - first) as usize),
    ]
}

impl Consumer {
    /// A consumer that starts at the index that the page holds now.
    pub fn new<M: GuestMemory>(
        memory: &M,
        page: GuestAddress,
        layout: Layout,
    ) -> Result<Consumer, RingError> {
        let cons = index(memory, page, layout.cons)?;
        Ok(Consumer { page, layout, cons })
    }

    /// Bytes waiting.
    pub fn waiting<M: GuestMemory>(&self, memory: &M) -> Result<u32, RingError> {
        let prod = index(memory, self.page, self.layout.prod)?;
        let waiting = prod.wrapping_sub(self.cons);
        if waiting > self.layout.size {
            return Err(RingError::Corrupt {
                prod,
                cons: self.cons,
                size: self.layout.size,
            });
        }
        Ok(waiting)
    }

    /// Takes up to `limit` bytes and hands them to `sink` (in at most two calls per batch).
    pub fn take<M: GuestMemory>(
        &mut self,
        memory: &M,
        limit: usize,
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<Moved, RingError> {
        let mut moved = Moved::default();
        let mut buffer = [0u8; 1024];
        loop {
            let waiting = self.waiting(memory)?;
            let room = u32::try_from(limit - moved.bytes).unwrap_or(u32::MAX);
            let count = waiting.min(room).min(buffer.len() as u32);
            if count == 0 {
                return Ok(moved);
            }
            let mut filled = 0;
            for (offset, length) in runs(self.layout, self.cons, count) {
                memory
                    .read_slice(
                        &mut buffer[filled..filled + length],
                        GuestAddress(self.page.0 + offset),
                    )
                    .map_err(|_| RingError::Page(self.page.0))?;
                filled += length;
            }
            let before = self.cons;
            self.cons = self.cons.wrapping_add(count);
            publish(memory, self.page, self.layout.cons, self.cons)?;
            // The producer may have filled the ring against the index before this step and wait.
            let prod = index(memory, self.page, self.layout.prod)?;
            moved.notify |= prod.wrapping_sub(before) >= self.layout.size;
            sink(&buffer[..filled]);
            moved.bytes += filled;
        }
    }
}

impl Producer {
    /// A producer that starts at the index that the page holds now.
    pub fn new<M: GuestMemory>(
        memory: &M,
        page: GuestAddress,
        layout: Layout,
    ) -> Result<Producer, RingError> {
        let prod = index(memory, page, layout.prod)?;
        Ok(Producer { page, layout, prod })
    }

    /// Bytes that fit now.
    pub fn room<M: GuestMemory>(&self, memory: &M) -> Result<u32, RingError> {
        let cons = index(memory, self.page, self.layout.cons)?;
        let used = self.prod.wrapping_sub(cons);
        if used > self.layout.size {
            return Err(RingError::Corrupt {
                prod: self.prod,
                cons,
                size: self.layout.size,
            });
        }
        Ok(self.layout.size - used)
    }

    /// Puts as much of `bytes` as fits; the peer is notified of any batch.
    pub fn put<M: GuestMemory>(&mut self, memory: &M, bytes: &[u8]) -> Result<Moved, RingError> {
        let room = self.room(memory)?;
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(room);
        if count == 0 {
            return Ok(Moved::default());
        }
        let mut written = 0;
        for (offset, length) in runs(self.layout, self.prod, count) {
            memory
                .write_slice(
                    &bytes[written..written + length],
                    GuestAddress(self.page.0 + offset),
                )
                .map_err(|_| RingError::Page(self.page.0))?;
            written += length;
        }
        self.prod = self.prod.wrapping_add(count);
        publish(memory, self.page, self.layout.prod, self.prod)?;
        Ok(Moved {
            bytes: written,
            notify: true,
        })
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
