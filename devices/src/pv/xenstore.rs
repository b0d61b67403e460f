//! The domain's end of the xenstore ring (public/io/xs_wire.h): a pump between the ring page and a
//! stream connection to xenstored.
//!
//! ```text
//!   guest --req ring--> to_store (4 KiB) --write--> connection --> xenstored
//!   guest <--rsp ring-- to_guest (4 KiB) <--read--- connection <-- xenstored
//! ```
//! Both ways are bounded: a ring is read only as far as the buffer has room, the connection likewise,
//! so a store or a guest that does not read stops the other side and nobody else. Messages are not
//! parsed here: xenstored does that with the domain's rights and quota, and closes on nonsense.

use super::ring::{Consumer, Layout, Producer, RingError};
use std::collections::VecDeque;
use vm_memory::{GuestAddress, GuestMemory};

/// Bytes kept each way: the longest message (16 + 4096 bytes) fits.
pub const BUFFER: usize = 8192;

/// `req[1024]`, filled by the guest.
const REQ: Layout = Layout {
    data: 0,
    size: 1024,
    cons: 0x800,
    prod: 0x804,
};
/// `rsp[1024]`, filled by the store.
const RSP: Layout = Layout {
    data: 0x400,
    size: 1024,
    cons: 0x808,
    prod: 0x80c,
};

/// One domain's pump.
#[derive(Debug)]
pub struct Pump {
    requests: Consumer,
    responses: Producer,
    to_store: VecDeque<u8>,
    to_guest: VecDeque<u8>,
    broken: Option<RingError>,
}

/// What [`Pump::service`] asks of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// Notify the guest's port.
    pub notify: bool,
    /// The rings are corrupt since this call: say so once, close the connection.
    pub broken: Option<RingError>,
}

impl Pump {
    /// A pump on the page at `page`.
    pub fn new<M: GuestMemory>(memory: &M, page: GuestAddress) -> Result<Pump, RingError> {
        Ok(Pump {
            requests: Consumer::new(memory, page, REQ)?,
            responses: Producer::new(memory, page, RSP)?,
            to_store: VecDeque::new(),
            to_guest: VecDeque::new(),
            broken: None,
        })
    }

    /// Moves what can be moved between the rings and the buffers.
    pub fn service<M: GuestMemory>(&mut self, memory: &M) -> Effect {
        let mut effect = Effect {
            notify: false,
            broken: None,
        };
        if self.broken.is_some() {
            return effect;
        }
        match self.step(memory) {
            Ok(notify) => effect.notify = notify,
            Err(error) => {
                self.broken = Some(error);
                self.to_store.clear();
                self.to_guest.clear();
                effect.broken = Some(error);
            }
        }
        effect
    }

    fn step<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, RingError> {
        let room = BUFFER - self.to_store.len();
        let to_store = &mut self.to_store;
        let taken = self
            .requests
            .take(memory, room, &mut |bytes| to_store.extend(bytes))?;
        let mut notify = taken.notify;
        if !self.to_guest.is_empty() {
            let put = self
                .responses
                .put(memory, self.to_guest.make_contiguous())?;
            self.to_guest.drain(..put.bytes);
            notify |= put.notify;
        }
        Ok(notify)
    }

    /// Bytes for the store.
    pub fn for_store(&mut self) -> &[u8] {
        self.to_store.make_contiguous()
    }

    /// There are bytes for the store.
    pub fn has_for_store(&self) -> bool {
        !self.to_store.is_empty()
    }

    /// The store has taken `count` bytes.
    pub fn consume_for_store(&mut self, count: usize) {
        self.to_store.drain(..count.min(self.to_store.len()));
    }

    /// Bytes for the guest that its ring has no room for.
    pub fn for_guest(&mut self) -> &[u8] {
        self.to_guest.make_contiguous()
    }

    /// Bytes that may be read from the store now (0: do not read).
    pub fn store_room(&self) -> usize {
        match self.broken {
            Some(_) => 0,
            None => BUFFER - self.to_guest.len(),
        }
    }

    /// Bytes from the store; what exceeds [`Self::store_room`] is dropped.
    pub fn push_from_store(&mut self, bytes: &[u8]) {
        let room = self.store_room();
        self.to_guest.extend(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vm_memory::{Bytes, GuestMemoryMmap};

    const PAGE: GuestAddress = GuestAddress(0x1000);

    fn memory() -> GuestMemoryMmap<()> {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x3000)]).unwrap()
    }

    fn set(memory: &GuestMemoryMmap<()>, offset: u64, value: u32) {
        memory
            .write_obj(value, GuestAddress(PAGE.0 + offset))
            .unwrap();
    }

    #[test]
    fn store_that_does_not_read_stops_the_ring_at_the_buffer_size() {
        let memory = memory();
        let mut pump = Pump::new(&memory, PAGE).unwrap();
        let mut prod = 0;
        for _ in 0..20 {
            set(&memory, REQ.prod, prod);
            pump.service(&memory);
            let cons: u32 = memory.read_obj(GuestAddress(PAGE.0 + REQ.cons)).unwrap();
            prod = cons + REQ.size;
        }
        assert_eq!(pump.for_store().len(), BUFFER);
        pump.consume_for_store(BUFFER);
        assert!(pump.service(&memory).notify);
        assert_eq!(pump.for_store().len(), REQ.size as usize);
    }

    #[test]
    fn answer_longer_than_the_ring_goes_in_parts() {
        let memory = memory();
        let mut pump = Pump::new(&memory, PAGE).unwrap();
        pump.push_from_store(&[7; 3000]);
        assert!(pump.service(&memory).notify);
        assert_eq!(pump.store_room(), BUFFER - 3000 + 1024);
        set(&memory, RSP.cons, 1024);
        assert!(pump.service(&memory).notify);
        assert_eq!(pump.store_room(), BUFFER - 3000 + 2048);
    }

    proptest! {
        #[test]
        fn any_indices_break_the_pump_or_move_bounded_bytes(indices: [u32; 4], later: [u32; 4]) {
            let memory = memory();
            for (i, value) in indices.iter().enumerate() {
                set(&memory, 0x800 + 4 * i as u64, *value);
            }
            let mut pump = Pump::new(&memory, PAGE).unwrap();
            for (i, value) in later.iter().enumerate() {
                set(&memory, 0x800 + 4 * i as u64, *value);
            }
            pump.push_from_store(b"xyz");
            let effect = pump.service(&memory);
            prop_assert!(pump.for_store().len() <= BUFFER);
            if effect.broken.is_some() {
                prop_assert_eq!(pump.store_room(), 0);
            }
        }
    }
}
