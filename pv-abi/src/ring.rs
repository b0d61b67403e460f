//! The shared rings of device protocols (`io/ring.h`).
//!
//! ```text
//! page:  req_prod  req_event  rsp_prod  rsp_event  pad .. 64: entries, the larger of request and response each
//! ```
//!
//! Indices run freely; the entry of index i is at i modulo the number of entries, a power of two.

abi_enums! {}

abi_consts! {
    /// Where the entries start.
    RING_HEADER_SIZE: usize = 64, "offsetof(struct blkif_sring, ring)";
}

abi_structs! {
    /// What precedes the entries, same for all protocols.
    pub struct RingHeader [both] 64
        "struct { RING_IDX req_prod, req_event, rsp_prod, rsp_event; uint8_t pvt_pad[4], pad[44]; }"
    {
        /// Written by the front end.
        0 req_prod: u32,
        /// Written by the back end: notify it when `req_prod` passes this.
        4 req_event: u32,
        /// Written by the back end.
        8 rsp_prod: u32,
        /// Written by the front end: notify it when `rsp_prod` passes this.
        12 rsp_event: u32,
        16 pvt_pad: [u8; 4],
        20 pad: [u8; 44],
    }
}

/// Entries of a ring of `ring_size` bytes with entries of `entry_size` bytes: the largest power of two that
/// fits; 0 if none does.
#[inline]
#[must_use]
pub const fn ring_entries(ring_size: usize, entry_size: usize) -> u32 {
    if entry_size == 0 || ring_size < RING_HEADER_SIZE + entry_size {
        return 0;
    }
    let fit = (ring_size - RING_HEADER_SIZE) / entry_size;
    if fit > u32::MAX as usize {
        return 1 << 31;
    }
    1 << (fit as u32).ilog2()
}

/// Whether the peer asked, by its `event` index, to be notified of a producer's move from `old` to `new`.
#[inline]
#[must_use]
pub const fn must_notify(event: u32, old: u32, new: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_entries_are_the_largest_power_of_two_that_fits() {
        assert_eq!(ring_entries(4096, 112), 32); // blkif, 64-bit
        assert_eq!(ring_entries(4096, 108), 32); // blkif, 32-bit
        assert_eq!(ring_entries(4096, 12), 256); // netif transmit
        assert_eq!(ring_entries(4096, 8), 256); // netif receive
        assert_eq!(ring_entries(65536, 112), 512);
        assert_eq!(ring_entries(64, 1), 0);
        assert_eq!(ring_entries(4096, 0), 0);
        assert_eq!(ring_entries(4096, 5000), 0);
    }

    #[test]
    fn must_notify_only_when_the_event_index_was_passed() {
        assert!(must_notify(1, 0, 1));
        assert!(must_notify(5, 3, 6));
        assert!(!must_notify(7, 3, 6));
        assert!(!must_notify(3, 3, 6));
        assert!(!must_notify(1, 1, 1));
        assert!(must_notify(0, u32::MAX, 1));
    }
}
