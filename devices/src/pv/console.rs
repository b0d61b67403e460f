//! The PV console (public/io/console.h): one page, input ring 1 KiB, output ring 2 KiB.
//!
//! ```text
//!   guest --out ring--> drain() --> output buffer (1 MiB, oldest dropped) --> host end (pty, stdout)
//!   guest <--in ring--- feed()  <-- input buffer (1 KiB)  <-- host end, read only while there is room
//! ```
//! Output is taken as soon as the guest notifies, whether or not anybody reads the host end, so a guest
//! never waits for a reader and nothing of its boot is lost to one who attaches a little later.

use super::ring::{Consumer, Layout, Producer, RingError};
use std::collections::VecDeque;
use vm_memory::{GuestAddress, GuestMemory};

/// Unread output that is kept, bytes.
pub const OUTPUT_LIMIT: usize = 1 << 20;
/// Input that is kept until the guest takes it, bytes.
pub const INPUT_LIMIT: usize = 1024;

/// `in[1024]`, filled by the back end.
const IN: Layout = Layout {
    data: 0,
    size: 1024,
    cons: 0xc00,
    prod: 0xc04,
};
/// `out[2048]`, filled by the guest.
const OUT: Layout = Layout {
    data: 0x400,
    size: 2048,
    cons: 0xc08,
    prod: 0xc0c,
};

/// The behaviour of one console.
#[derive(Debug)]
pub struct Console {
    out_ring: Consumer,
    in_ring: Producer,
    output: VecDeque<u8>,
    input: VecDeque<u8>,
    dropped: u64,
    broken: Option<RingError>,
}

/// What [`Console::service`] asks of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// Notify the guest's port.
    pub notify: bool,
    /// The rings are corrupt since this call: say so once; the console does nothing more.
    pub broken: Option<RingError>,
}

impl Console {
    /// A console on the page at `page`.
    pub fn new<M: GuestMemory>(memory: &M, page: GuestAddress) -> Result<Console, RingError> {
        Ok(Console {
            out_ring: Consumer::new(memory, page, OUT)?,
            in_ring: Producer::new(memory, page, IN)?,
            output: VecDeque::new(),
            input: VecDeque::new(),
            dropped: 0,
            broken: None,
        })
    }

    /// Moves what can be moved between the rings and the buffers; `tap` sees the guest's output.
    pub fn service<M: GuestMemory>(&mut self, memory: &M, tap: &mut impl FnMut(&[u8])) -> Effect {
        if self.broken.is_some() {
            return Effect {
                notify: false,
                broken: None,
            };
        }
        let result = self.drain(memory, tap).and_then(|drained| {
            let fed = self.feed(memory)?;
            Ok(drained || fed)
        });
        match result {
            Ok(notify) => Effect {
                notify,
                broken: None,
            },
            Err(error) => {
                self.broken = Some(error);
                self.input.clear();
                Effect {
                    notify: false,
                    broken: Some(error),
                }
            }
        }
    }

    fn drain<M: GuestMemory>(
        &mut self,
        memory: &M,
        tap: &mut impl FnMut(&[u8]),
    ) -> Result<bool, RingError> {
        let output = &mut self.output;
        // At most a few rings per call: a guest that writes without end must not hold the loop.
        let moved = self
            .out_ring
            .take(memory, 4 * OUT.size as usize, &mut |bytes| {
                tap(bytes);
                output.extend(bytes);
            })?;
        if let Some(surplus) = self
            .output
            .len()
            .checked_sub(OUTPUT_LIMIT)
            .filter(|n| *n > 0)
        {
            self.output.drain(..surplus);
            self.dropped += surplus as u64;
        }
        Ok(moved.notify)
    }

    fn feed<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, RingError> {
        if self.input.is_empty() {
            return Ok(false);
        }
        let moved = self.in_ring.put(memory, self.input.make_contiguous())?;
        self.input.drain(..moved.bytes);
        Ok(moved.notify)
    }

    /// The guest has written more than one [`Self::service`] takes.
    pub fn has_more<M: GuestMemory>(&self, memory: &M) -> bool {
        self.broken.is_none() && self.out_ring.waiting(memory).is_ok_and(|n| n > 0)
    }

    /// Output that nobody has read yet, oldest first.
    pub fn output(&mut self) -> &[u8] {
        self.output.make_contiguous()
    }

    /// There is output for the host end.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// The host end has taken `count` bytes of [`Self::output`].
    pub fn consume_output(&mut self, count: usize) {
        self.output.drain(..count.min(self.output.len()));
        // A megabyte that was needed once is not kept.
        if self.output.is_empty() && self.output.capacity() > 64 << 10 {
            self.output = VecDeque::new();
        }
    }

    /// Bytes of output lost because nobody read them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Input bytes that can be taken from the host end now (0: do not read it).
    pub fn input_room(&self) -> usize {
        if self.broken.is_some() {
            // Swallow what is typed at a dead console, else its pty would fill and block the typist.
            return INPUT_LIMIT;
        }
        INPUT_LIMIT - self.input.len()
    }

    /// Input from the host end; what exceeds [`Self::input_room`] is dropped.
    pub fn push_input(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            let room = self.input_room();
            self.input.extend(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Input that the guest has not taken, oldest first.
    pub fn input(&mut self) -> &[u8] {
        self.input.make_contiguous()
    }

    /// Goes on where another console was: what lay in its buffers.
    pub fn take_up(&mut self, output: &[u8], input: &[u8]) {
        self.output
            .extend(&output[..output.len().min(OUTPUT_LIMIT)]);
        self.push_input(input);
    }

    /// Input waits for room in the ring: service again when the guest notifies.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
