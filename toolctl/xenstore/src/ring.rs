//! The guest's xenstore ring page: moving bytes between it and a stream.
//!
//! ```text
//!   guest --req ring--> take_requests() --> stream to the daemon
//!   guest <--rsp ring-- put_responses() <-- stream from the daemon
//!
//!   page:  0 req[1024] | 1024 rsp[1024] | 2048 req_cons req_prod
//!          rsp_cons rsp_prod | 2064 server_features connection error
//! ```
//!
//! Indices run freely and count modulo 2^32; a slot is the index modulo 1024.
//! The guest may change any byte at any time, so every index is loaded once,
//! checked (`prod - cons` is at most 1024) and only then used. On nonsense the
//! page's `error` field says so and nothing more is moved: the guest harms
//! itself alone. Source: `struct xenstore_domain_interface` in
//! `xen/io/xs_wire.h`; Linux's `xb_write`/`xb_read` are the other end.

use thiserror::Error;

/// `XENSTORE_RING_SIZE`: bytes in each direction's ring.
pub const RING_SIZE: u32 = 1024;
/// Offset of the requests, written by the guest.
pub const REQ: usize = 0;
/// Offset of the responses, read by the guest.
pub const RSP: usize = 1024;
/// Offset of our index into the requests.
pub const REQ_CONS: usize = 2048;
/// Offset of the guest's index into the requests.
pub const REQ_PROD: usize = 2052;
/// Offset of the guest's index into the responses.
pub const RSP_CONS: usize = 2056;
/// Offset of our index into the responses.
pub const RSP_PROD: usize = 2060;
/// Offset of the features that we offer.
pub const SERVER_FEATURES: usize = 2064;
/// Offset of the connection state.
pub const CONNECTION: usize = 2068;
/// Offset of the error that stopped the ring.
pub const ERROR: usize = 2072;

/// `XENSTORE_SERVER_FEATURE_ERROR`: the `error` field is used.
pub const FEATURE_ERROR: u32 = 2;
/// `XENSTORE_ERROR_COMM`: the far side is gone.
pub const ERROR_COMM: u32 = 1;
/// `XENSTORE_ERROR_RINGIDX`: an index made no sense.
pub const ERROR_RINGIDX: u32 = 2;
/// `XENSTORE_ERROR_PROTO`: a message broke the protocol.
pub const ERROR_PROTO: u32 = 3;

/// The ring page in guest memory. Offsets are within the page and always in
/// range; accesses must be safe against a guest that writes at the same time.
pub trait RingMemory {
    /// Loads an aligned word; later reads must not move before it (acquire).
    fn load(&self, offset: usize) -> u32;
    /// Stores an aligned word; earlier accesses must not move behind it
    /// (release).
    fn store(&mut self, offset: usize, value: u32);
    /// Copies out of the page.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Copies into the page.
    fn write(&mut self, offset: usize, from: &[u8]);
}

/// The guest has put nonsense into its ring's indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("xenstore ring corrupt: producer {producer:#x} and consumer {consumer:#x} are more than {RING_SIZE} bytes apart")]
pub struct RingCorrupt {
    /// The producer's index as loaded.
    pub producer: u32,
    /// The consumer's index as loaded.
    pub consumer: u32,
}

/// What a call moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that went through.
    pub bytes: usize,
    /// Whether the guest must be sent an event.
    pub notify: bool,
}

impl Moved {
    fn of(bytes: usize) -> Moved {
        Moved {
            bytes,
            notify: bytes > 0,
        }
    }
}

/// Bytes between two indices, refusing what cannot be.
fn distance(mem: &mut impl RingMemory, producer: u32, consumer: u32) -> Result<u32, RingCorrupt> {
    let used = producer.wrapping_sub(consumer);
    if used > RING_SIZE {
        mem.store(ERROR, ERROR_RINGIDX);
        return Err(RingCorrupt { producer, consumer });
    }
    Ok(used)
}

/// The one or two stretches of a ring from index `at` on: (slot, length).
fn stretches(at: u32, len: usize) -> [(usize, usize); 2] {
    let slot = (at % RING_SIZE) as usize;
    let first = len.min(RING_SIZE as usize - slot);
    [(slot, first), (0, len - first)]
}

/// Makes a fresh page ready: says that errors will be reported.
pub fn initialise(mem: &mut impl RingMemory) {
    mem.store(SERVER_FEATURES, mem.load(SERVER_FEATURES) | FEATURE_ERROR);
    mem.store(ERROR, 0);
    mem.store(CONNECTION, 0);
}

/// How many bytes of requests the guest has waiting.
pub fn requests_waiting(mem: &mut impl RingMemory) -> Result<usize, RingCorrupt> {
    let (producer, consumer) = (mem.load(REQ_PROD), mem.load(REQ_CONS));
    Ok(distance(mem, producer, consumer)? as usize)
}

/// Moves request bytes from the ring into `out`, as many as fit.
pub fn take_requests(mem: &mut impl RingMemory, out: &mut [u8]) -> Result<Moved, RingCorrupt> {
    let (producer, consumer) = (mem.load(REQ_PROD), mem.load(REQ_CONS));
    let len = out.len().min(distance(mem, producer, consumer)? as usize);
    let mut done = 0;
    for (slot, n) in stretches(consumer, len) {
        mem.read(REQ + slot, &mut out[done..done + n]);
        done += n;
    }
    if len > 0 {
        // Only now may the guest overwrite what was read.
        mem.store(REQ_CONS, consumer.wrapping_add(len as u32));
    }
    Ok(Moved::of(len))
}

/// Moves response bytes from `from` into the ring, as many as there is room
/// for.
pub fn put_responses(mem: &mut impl RingMemory, from: &[u8]) -> Result<Moved, RingCorrupt> {
    let (producer, consumer) = (mem.load(RSP_PROD), mem.load(RSP_CONS));
    let used = distance(mem, producer, consumer)?;
    let len = from.len().min((RING_SIZE - used) as usize);
    let mut done = 0;
    for (slot, n) in stretches(producer, len) {
        mem.write(RSP + slot, &from[done..done + n]);
        done += n;
    }
    if len > 0 {
        // Only now may the guest read what was written.
        mem.store(RSP_PROD, producer.wrapping_add(len as u32));
    }
    Ok(Moved::of(len))
}

/// Tells the guest why its ring is served no more.
pub fn report_error(mem: &mut impl RingMemory, error: u32) {
    mem.store(ERROR, error);
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
