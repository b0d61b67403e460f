//! Network back end: the netif protocol (public/io/netif.h) apart from threads and descriptors.
//!
//! ```text
//!   guest ── tx ring ──> transmit.rs ── frame.rs: checksum, segmentation ──> Host::send     (a tap queue)
//!   guest <── rx ring ── receive.rs  <── frame.rs ────────────────────────── Host::receive
//!
//!   front.rs    nodes of the store: what we offer, what the front end chose, rings and ports per queue
//!   rate.rs     bytes per period that the guest may send       multicast.rs   what it wants to hear
//! ```
//! Frames cross the [`Host`] with a virtio-net header in front, so checksums and segmentation are left to
//! whoever ends up with the packet: a packet from guest to guest, or to a host program, is never
//! summed or cut at all.
//!
//! A request is copied once and then believed or refused. What breaks the protocol (indices, page
//! bounds, grants, slots without end) is a [`NetError`]: the caller disconnects the device. What is merely
//! not a good packet is answered with an error and counted.

pub mod frame;
pub mod front;
pub mod multicast;
pub mod rate;
pub mod receive;
pub mod transmit;

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;

use crate::pv::grant::{GrantError, GrantTable};
use crate::pv::sring::SringError;
use front::Features;
use multicast::Filter;
use rate::Credit;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use vm_memory::{GuestMemoryMmap, VolatileSlice};

/// Bytes of an Ethernet header; no frame is shorter.
pub const ETH_HEADER: usize = 14;
/// Longest frame: 64 KiB of IP packet behind an Ethernet header with a VLAN tag.
pub const MAX_FRAME: usize = 0xffff + ETH_HEADER + 4;

/// Why a device cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The ring's indices.
    #[error(transparent)]
    Ring(#[from] SringError),
    /// A page that was not granted as the protocol wants.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A packet whose last slots are missing.
    #[error("a packet ends in the middle: its last slot says that more follow")]
    Truncated,
    /// More slots than anybody needs.
    #[error("a packet of more than {0} slots")]
    TooManySlots(usize),
    /// An extra that does not exist or was not offered.
    #[error("extra info of type {0}, which was not offered")]
    Extra(u8),
    /// Segmentation that does not exist or was not offered.
    #[error("segmentation of type {kind} with segments of {size} bytes, which was not offered")]
    Gso {
        /// `gso.type`
        kind: u8,
        /// `gso.size`
        size: u16,
    },
    /// Data across a page's end.
    #[error("a slot at offset {offset} with {size} bytes crosses its page's end")]
    Page {
        /// Offset.
        offset: u16,
        /// Bytes.
        size: u16,
    },
    /// The host's side is gone.
    #[error("the host's interface failed: {0}")]
    Host(io::Error),
}

/// The host's side of one queue.
pub trait Host {
    /// Sends one frame: `head` (virtio-net header and the first bytes), then `rest`, in guest memory.
    ///
    /// # Errors
    /// The frame was not taken; it is lost, as on any network.
    fn send(&mut self, head: &[u8], rest: &[VolatileSlice<'_>]) -> io::Result<()>;

    /// Reads the next frame, virtio-net header first, into `buffer`; its length, or `None`: none waits.
    ///
    /// # Errors
    /// There will be no more frames.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>>;
}

/// What the queues of one device share.
#[derive(Debug)]
pub struct Shared {
    /// The guest's grants.
    pub grants: GrantTable,
    /// What was agreed on.
    pub features: Features,
    /// What the guest wants to hear.
    pub filter: Mutex<Filter>,
    /// What the guest may send; `None`: as much as it likes.
    pub credit: Option<Mutex<Credit>>,
    /// What has passed.
    pub counters: Counters,
}

impl Shared {
    /// For a device whose front end chose `features`.
    pub fn new(grants: GrantTable, features: Features, credit: Option<Credit>) -> Shared {
        Shared {
            grants,
            features,
            filter: Mutex::new(Filter::default()),
            credit: credit.map(Mutex::new),
            counters: Counters::default(),
        }
    }
}

/// Memory of the guest.
pub type Memory = GuestMemoryMmap<()>;

/// What has passed since the device connected. Directions are the guest's.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames sent.
    pub tx_packets: AtomicU64,
    /// Their bytes.
    pub tx_bytes: AtomicU64,
    /// Frames that could not be sent.
    pub tx_dropped: AtomicU64,
    /// Frames received.
    pub rx_packets: AtomicU64,
    /// Their bytes.
    pub rx_bytes: AtomicU64,
    /// Frames that the guest could not or would not take.
    pub rx_dropped: AtomicU64,
}

impl Counters {
    fn sent(&self, bytes: usize) {
        self.tx_packets.fetch_add(1, Ordering::Relaxed);
        self.tx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn received(&self, bytes: usize) {
        self.rx_packets.fetch_add(1, Ordering::Relaxed);
        self.rx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Packets in both directions: 0 until something has passed.
    pub fn packets(&self) -> u64 {
        self.tx_packets.load(Ordering::Relaxed) + self.rx_packets.load(Ordering::Relaxed)
    }
}

/// What a call of `service` asks of the loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effect {
    /// Notify the guest's port.
    pub notify: bool,
    /// There is more to do: call again soon.
    pub again: bool,
    /// Call again at this time (on the caller's clock), without waiting for an event.
    pub at: Option<std::time::Duration>,
    /// Packets taken from the guest.
    pub packets: u32,
    /// The guest has no room: wait for its event, not for frames.
    pub stalled: bool,
}
