//! The pages that the core keeps its state in, and those that a guest shares with back ends.
//!
//! ```text
//!   0xfeff8000  xenstore's ring, the console's          the guest sees them there
//!   HIDDEN      shared_info (until the guest names its place), doorbell, public | counters | grant table | ports
//!               the guest sees nothing of it but the frames of the grant table, where it asks for them
//! ```

use crate::domain::region::{EVTCHN_PORTS, GRANT_FRAMES};
use crate::vstate::memory::GuestMemory;
use noxen_monitor_abi::layout::{MAX_VCPUS, PAGE_SIZE};
use std::sync::Arc;
use vm_memory::mmap::GuestRegionMmap;
use vm_memory::{GuestAddress, GuestMemoryRegion as _};

/// Where Xen's tools put the page of xenstore's ring; the console's is behind it.
pub const STORE: u64 = 0xfeff_8000;
/// The console's ring.
pub const CONSOLE: u64 = STORE + PAGE_SIZE;
/// Bytes that the guest sees at [`STORE`].
pub const RINGS: u64 = 2 * PAGE_SIZE;

/// Above all that a guest can address with what CPUID tells it.
const HIDDEN: u64 = 1 << 51;
/// shared_info before it has a place of its own.
pub const SHARED_INFO: u64 = HIDDEN;
/// What the back ends tell the core of their ports.
pub const DOORBELL: u64 = HIDDEN + PAGE_SIZE;
/// What the core tells of the vCPUs.
pub const PUBLIC: u64 = HIDDEN + 2 * PAGE_SIZE;
/// Counters: a page a vCPU, and one for what comes from outside.
pub const COUNTERS: u64 = HIDDEN + 3 * PAGE_SIZE;
/// The grant table.
pub const GRANTS: u64 = COUNTERS + (MAX_VCPUS as u64 + 1) * PAGE_SIZE;
/// The ports, 32 bytes each.
pub const PORTS: u64 = GRANTS + GRANT_FRAMES as u64 * PAGE_SIZE;
const END: u64 = PORTS + EVTCHN_PORTS as u64 * 32;

/// `ram` with the pages; those that are never touched cost nothing.
pub fn add_to(ram: &GuestMemory) -> Result<GuestMemory, String> {
    let mut memory = ram.clone();
    for (first, length) in [(STORE, RINGS), (HIDDEN, END - HIDDEN)] {
        let region = GuestRegionMmap::from_range(GuestAddress(first), length as usize, None)
            .map_err(|error| format!("pages for Xen: {error}"))?;
        debug_assert_eq!(region.len(), length);
        memory = memory
            .insert_region(Arc::new(region))
            .map_err(|error| format!("pages for Xen: {error}"))?;
    }
    Ok(memory)
}
