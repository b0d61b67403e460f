//! A disk's ring of a hostile front end: guest memory is wholly of the stranger's making.
//!
//! ```text
//!   page 0, 1 ring   2 grant table (v1)   3.. data, also for indirect segments
//! ```

use noxen_devices::pv::block::{Disk, JobOp, Outcome, Protocol, Queue, SECTOR};
use noxen_devices::pv::grant::GrantTable;
use noxen_devices::pv::sring::BackRing;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const PAGE: usize = 4096;
const PAGES: usize = 16;
const DISK: Disk = Disk {
    sectors: 1 << 12,
    sector_size: 512,
    readonly: false,
    discard: true,
};

/// Runs a ring to where it stands still: every job lies on the disk and in RAM, none is lost.
pub fn ring(data: &[u8]) {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), PAGES * PAGE)]).unwrap();
    let length = data.len().min(PAGES * PAGE);
    memory
        .write_slice(&data[..length], GuestAddress(0))
        .unwrap();
    let protocol = [Protocol::Bits64, Protocol::Bits32][data.len() % 2];
    let pages = vec![GuestAddress(0), GuestAddress(PAGE as u64)];
    let Ok(ring) = BackRing::new(&memory, pages, protocol.entry_size()) else {
        return;
    };
    let entries = ring.entries();
    let table = GrantTable::new(GuestAddress(2 * PAGE as u64), 1, PAGES as u64);
    let persistent = data.len().is_multiple_of(3);
    let mut queue = Queue::new(ring, protocol, table, DISK, persistent);
    let mut jobs = Vec::new();
    for turn in 0..8 {
        if queue.service(&memory, &mut jobs).is_err() {
            break;
        }
        while let Some(job) = jobs.pop() {
            let mut length = 0;
            for piece in &job.pieces {
                assert!(piece.at.0 + u64::from(piece.len) <= (PAGES * PAGE) as u64);
                length += u64::from(piece.len);
            }
            if let JobOp::Discard(bytes) = job.op {
                length = bytes;
            }
            assert!(job.offset + length <= DISK.sectors * SECTOR);
            let outcome = [Outcome::Done, Outcome::Failed][turn % 2];
            if queue
                .complete(&memory, job.token, outcome, &mut jobs)
                .is_err()
            {
                return;
            }
        }
        assert!(queue.running() <= entries);
        if queue.publish(&memory).is_err() {
            break;
        }
    }
    queue.abandon(&memory);
}

/// A good ring: a write of two pages, a flush, a barrier, an indirect read, a discard.
#[allow(dead_code)] // libFuzzer's programs begin with nothing.
pub fn seed() -> Vec<u8> {
    let mut memory = vec![0u8; PAGES * PAGE];
    let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &5u32.to_le_bytes());
    let entry = |index: usize| 64 + index * 112;
    let segment = |gref: u8| [gref, 0, 0, 0, 0, 7, 0, 0];
    put(entry(0), &[1, 2]);
    put(entry(0) + 24, &segment(9));
    put(entry(0) + 32, &segment(10));
    put(entry(1), &[3, 0]);
    put(entry(2), &[2, 1]);
    put(entry(2) + 24, &segment(9));
    put(entry(3), &[6, 0, 2, 0]);
    put(entry(3) + 28, &[11]);
    put(entry(4), &[5, 0]);
    put(entry(4) + 24, &[8]);
    for gref in 8..16u32 {
        let at = 2 * PAGE + gref as usize * 8;
        put(at, &1u32.to_le_bytes());
        put(at + 4, &(gref - 5).to_le_bytes());
    }
    // Reference 11 is page 6.
    put(6 * PAGE, &segment(12));
    put(6 * PAGE + 8, &segment(13));
    memory
}
