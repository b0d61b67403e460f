//! A front end and an engine of vectors around a queue.

use super::*;
use noxen_pv_abi::blkif::{BlkifRequest64, BlkifRequestDiscard64, BlkifRequestIndirect64};
use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

/// Pages 0..32 are RAM (page 1 the ring), then one page of grant table.
const RAM_PAGES: u64 = 32;
const RING: u64 = 0x1000;
const TABLE: u64 = RAM_PAGES * 0x1000;
const SECTORS: u64 = 64;
const DISK: Disk = Disk {
    sectors: SECTORS,
    sector_size: 512,
    readonly: false,
    discard: true,
};

struct Front {
    memory: GuestMemoryMmap,
    queue: Queue,
    image: Vec<u8>,
    produced: u32,
    /// Operations that the engine was given, in order.
    log: Vec<JobOp>,
}

impl Front {
    fn new(disk: Disk, persistent: bool) -> Front {
        let size = (RAM_PAGES as usize + 1) * 0x1000;
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)]).unwrap();
        // Grant g gives page g.
        for gref in 8..RAM_PAGES {
            let entry = 1u64 | gref << 32;
            memory
                .write_obj(entry, GuestAddress(TABLE + gref * 8))
                .unwrap();
        }
        let ring = BackRing::new(&memory, vec![GuestAddress(RING)], 112).unwrap();
        let table = GrantTable::new(GuestAddress(TABLE), 1, RAM_PAGES);
        Front {
            queue: Queue::new(ring, Protocol::Bits64, table, disk, persistent),
            memory,
            image: vec![0; (SECTORS * SECTOR) as usize],
            produced: 0,
            log: Vec::new(),
        }
    }

    fn put(&mut self, entry: &[u8]) {
        let at = RING + 64 + u64::from(self.produced % 32) * 112;
        self.memory.write_slice(entry, GuestAddress(at)).unwrap();
        self.produced += 1;
        self.memory
            .write_obj(self.produced, GuestAddress(RING))
            .unwrap();
    }

    fn direct(&mut self, id: u64, op: BlkifOp, sector: u64, segments: &[(u32, u8, u8)]) {
        let mut request = BlkifRequest64 {
            operation: op.0,
            nr_segments: segments.len() as u8,
            id,
            sector_number: sector,
            ..Default::default()
        };
        for (to, (gref, first_sect, last_sect)) in request.seg.iter_mut().zip(segments) {
            *to = BlkifSegment {
                gref: *gref,
                first_sect: *first_sect,
                last_sect: *last_sect,
                ..Default::default()
            };
        }
        self.put(&request.to_bytes());
    }

    /// The engine: does one job to the vector.
    fn perform(&mut self, job: &Job) -> Outcome {
        self.log.push(job.op);
        let mut at = job.offset as usize;
        for piece in &job.pieces {
            let part = &mut self.image[at..at + piece.len as usize];
            match job.op {
                JobOp::Read => self.memory.write_slice(part, piece.at).unwrap(),
                _ => self.memory.read_slice(part, piece.at).unwrap(),
            }
            at += piece.len as usize;
        }
        if let JobOp::Discard(length) = job.op {
            self.image[at..at + length as usize].fill(0);
        }
        Outcome::Done
    }

    /// Runs until nothing is left to do.
    fn run(&mut self) -> Result<(), Broken> {
        let mut jobs = Vec::new();
        while self.queue.service(&self.memory, &mut jobs)? || !jobs.is_empty() {
            for job in std::mem::take(&mut jobs) {
                let outcome = self.perform(&job);
                self.queue
                    .complete(&self.memory, job.token, outcome, &mut jobs)?;
            }
        }
        self.queue.publish(&self.memory)?;
        Ok(())
    }

    /// (id, operation, status) of response `index`.
    fn response(&self, index: u64) -> (u64, u8, i16) {
        let at = RING + 64 + index * 112;
        let read = |offset| GuestAddress(at + offset);
        (
            self.memory.read_obj(read(0)).unwrap(),
            self.memory.read_obj(read(8)).unwrap(),
            self.memory.read_obj(read(10)).unwrap(),
        )
    }

    /// Statuses of the requests 1, 2, ...; responses come in any order.
    fn statuses(&self) -> Vec<i16> {
        let mut all: Vec<_> = (0..u64::from(self.produced))
            .map(|index| self.response(index))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, _, status)| status).collect()
    }

    fn fill(&self, page: u64, byte: u8) {
        self.memory
            .write_slice(&[byte; 4096], GuestAddress(page * 4096))
            .unwrap();
    }

    fn flags(&self, gref: u64) -> u16 {
        self.memory
            .read_obj(GuestAddress(TABLE + gref * 8))
            .unwrap()
    }
}

#[test]
fn written_sectors_are_read_back_into_other_pages() {
    let mut front = Front::new(DISK, false);
    front.fill(9, 0xaa);
    front.fill(10, 0xbb);
    front.direct(1, BlkifOp::WRITE, 4, &[(9, 2, 7), (10, 0, 0)]);
    front.run().unwrap();
    assert_eq!(front.response(0), (1, 1, 0));
    front.direct(2, BlkifOp::READ, 9, &[(12, 1, 2)]);
    front.run().unwrap();
    assert_eq!(front.response(1), (2, 0, 0));
    let mut got = [0u8; 4096];
    front
        .memory
        .read_slice(&mut got, GuestAddress(12 * 4096))
        .unwrap();
    assert!(got[..512].iter().all(|b| *b == 0));
    assert!(got[512..1024].iter().all(|b| *b == 0xaa));
    assert!(got[1024..1536].iter().all(|b| *b == 0xbb));
    assert_eq!((front.flags(9), front.flags(12)), (1, 1));
}

#[test]
fn indirect_request_moves_more_than_eleven_pages() {
    let mut front = Front::new(
        Disk {
            sectors: 1 << 10,
            ..DISK
        },
        false,
    );
    front.image = vec![0; 512 << 10];
    for index in 0..16u32 {
        let segment = BlkifSegment {
            gref: 10 + index,
            first_sect: 0,
            last_sect: 7,
            ..Default::default()
        };
        let at = GuestAddress(9 * 4096 + u64::from(index) * 8);
        front.memory.write_slice(&segment.to_bytes(), at).unwrap();
        front.fill(u64::from(10 + index), index as u8 + 1);
    }
    let mut request = BlkifRequestIndirect64 {
        operation: BlkifOp::INDIRECT.0,
        indirect_op: BlkifOp::WRITE.0,
        nr_segments: 16,
        id: 5,
        sector_number: 8,
        ..Default::default()
    };
    request.indirect_grefs[0] = 9;
    front.put(&request.to_bytes());
    front.run().unwrap();
    assert_eq!(front.response(0), (5, BlkifOp::WRITE.0, 0));
    assert_eq!(front.image[4096 * 16], 16);
    assert_eq!(front.image[4096], 1);
    request.nr_segments = 257;
    front.put(&request.to_bytes());
    front.run().unwrap();
    assert_eq!(front.response(1).2, -1);
}

#[test]
fn flush_and_barrier_order_the_engine() {
    let mut front = Front::new(DISK, false);
    front.direct(1, BlkifOp::FLUSH_DISKCACHE, 0, &[]);
    front.direct(2, BlkifOp::FLUSH_DISKCACHE, 0, &[(9, 0, 0)]);
    front.run().unwrap();
    assert_eq!(front.log, [JobOp::Flush, JobOp::Flush, JobOp::Write]);
    front.log.clear();
    front.direct(3, BlkifOp::WRITE, 0, &[(9, 0, 0)]);
    front.direct(4, BlkifOp::WRITE_BARRIER, 1, &[(9, 0, 0)]);
    front.direct(5, BlkifOp::WRITE, 2, &[(9, 0, 0)]);
    let mut jobs = Vec::new();
    // Only what is before the barrier begins; then only the barrier.
    front.queue.service(&front.memory, &mut jobs).unwrap();
    assert_eq!(jobs.len(), 1);
    let first = jobs.pop().unwrap();
    front.perform(&first);
    front
        .queue
        .complete(&front.memory, first.token, Outcome::Done, &mut jobs)
        .unwrap();
    front.queue.service(&front.memory, &mut jobs).unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].op, JobOp::Flush);
    for job in std::mem::take(&mut jobs) {
        front.perform(&job);
        let memory = front.memory.clone();
        front
            .queue
            .complete(&memory, job.token, Outcome::Done, &mut jobs)
            .unwrap();
    }
    while let Some(job) = jobs.pop() {
        front.perform(&job);
        front
            .queue
            .complete(&front.memory, job.token, Outcome::Done, &mut jobs)
            .unwrap();
    }
    front.run().unwrap();
    let expected = [
        JobOp::Write,
        JobOp::Flush,
        JobOp::Write,
        JobOp::Flush,
        JobOp::Write,
    ];
    assert_eq!(front.log, expected);
    assert_eq!(front.response(4).0, 5);
}

#[test]
fn request_beyond_the_disk_or_its_pages_is_an_error_and_touches_nothing() {
    let mut front = Front::new(DISK, false);
    type Bad = (u64, &'static [(u32, u8, u8)]);
    let bad: [Bad; 7] = [
        (SECTORS, &[(9, 0, 0)]),
        (SECTORS - 1, &[(9, 0, 1)]),
        (u64::MAX, &[(9, 0, 0)]),
        (0, &[(9, 3, 2)]),
        (0, &[(9, 0, 8)]),
        (0, &[(9, 0, 0), (5, 0, 0)]),
        (0, &[]),
    ];
    for (index, (sector, segments)) in bad.into_iter().enumerate() {
        front.direct(index as u64, BlkifOp::WRITE, sector, segments);
        front.run().unwrap();
        assert_eq!(front.response(index as u64), (index as u64, 1, -1));
    }
    assert!(front.log.is_empty());
    assert_eq!(front.flags(9), 1);
    assert_eq!(front.queue.running(), 0);
}

#[test]
fn read_only_disk_refuses_writes_and_discards() {
    let disk = Disk {
        readonly: true,
        ..DISK
    };
    let mut front = Front::new(disk, false);
    front.direct(1, BlkifOp::WRITE, 0, &[(9, 0, 0)]);
    front.direct(2, BlkifOp::WRITE_BARRIER, 0, &[(9, 0, 0)]);
    front.put(&discard(3, 0, 8, 0));
    front.direct(4, BlkifOp::READ, 0, &[(9, 0, 0)]);
    front.run().unwrap();
    let statuses = front.statuses();
    assert_eq!(statuses, [-1, -1, -1, 0]);
    assert_eq!(front.log, [JobOp::Read]);
}

fn discard(id: u64, sector: u64, count: u64, flag: u8) -> [u8; 32] {
    BlkifRequestDiscard64 {
        operation: BlkifOp::DISCARD.0,
        flag,
        id,
        sector_number: sector,
        nr_sectors: count,
        ..Default::default()
    }
    .to_bytes()
}

#[test]
fn discard_is_done_in_range_and_never_securely() {
    let mut front = Front::new(DISK, false);
    front.image.fill(7);
    front.put(&discard(1, 8, 8, 0));
    front.put(&discard(2, 8, 8, 1));
    front.put(&discard(3, 60, 5, 0));
    front.put(&discard(4, 60, 0, 0));
    front.run().unwrap();
    let statuses = front.statuses();
    assert_eq!(statuses, [0, -2, -1, 0]);
    assert_eq!(front.image[4096], 0);
    assert_eq!(front.image[8192], 7);
}

#[test]
fn large_sectors_want_aligned_requests() {
    let disk = Disk {
        sector_size: 4096,
        ..DISK
    };
    let mut front = Front::new(disk, false);
    front.direct(1, BlkifOp::READ, 8, &[(9, 0, 7)]);
    front.direct(2, BlkifOp::READ, 4, &[(9, 0, 7)]);
    front.direct(3, BlkifOp::READ, 8, &[(9, 0, 3)]);
    front.run().unwrap();
    let statuses = front.statuses();
    assert_eq!(statuses, [0, -1, -1]);
}

#[test]
fn persistent_grant_stays_marked_until_the_ring_is_given_up() {
    let mut front = Front::new(DISK, true);
    for id in 0..3 {
        front.direct(id, BlkifOp::WRITE, 0, &[(9, 0, 0)]);
        front.run().unwrap();
    }
    assert_ne!(front.flags(9), 1);
    front.queue.abandon(&front.memory);
    assert_eq!(front.flags(9), 1);
}

#[test]
fn failed_job_is_answered_as_an_error_and_ends_its_request() {
    let mut front = Front::new(DISK, false);
    front.direct(1, BlkifOp::FLUSH_DISKCACHE, 0, &[(9, 0, 0)]);
    let mut jobs = Vec::new();
    front.queue.service(&front.memory, &mut jobs).unwrap();
    let job = jobs.pop().unwrap();
    front
        .queue
        .complete(&front.memory, job.token, Outcome::Failed, &mut jobs)
        .unwrap();
    assert!(jobs.is_empty());
    assert_eq!(front.response(0).2, -1);
    let unknown = front
        .queue
        .complete(&front.memory, job.token, Outcome::Done, &mut jobs);
    assert_eq!(unknown, Err(Broken::Token(job.token)));
}

proptest! {
    /// Wild entries, indices and grants: jobs stay inside the disk and RAM, every request taken is
    /// answered, and in the end no grant is marked.
    #[test]
    fn wild_ring_yields_only_jobs_within_disk_and_ram(
        entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 112), 1..60),
        plausible in proptest::collection::vec((0u8..8, 0u8..13, 0u64..70, 0u32..40, any::<u16>()), 60),
        lie in prop_oneof![4 => Just(None), 1 => any::<u32>().prop_map(Some)],
        persistent in any::<bool>(),
    ) {
        let mut front = Front::new(DISK, persistent);
        let mut jobs = Vec::new();
        for (index, mut entry) in entries.into_iter().enumerate() {
            let (op, count, sector, gref, sects) = plausible[index];
            entry[0] = op;
            entry[1] = count;
            entry[16..24].copy_from_slice(&sector.to_le_bytes());
            for segment in 0..11 {
                let at = 24 + segment * 8;
                entry[at..at + 4].copy_from_slice(&gref.wrapping_add(segment as u32).to_le_bytes());
                entry[at + 4] = (sects & 7) as u8;
                entry[at + 5] = (sects >> 8 & 7) as u8;
            }
            front.put(&entry);
            if let (Some(lie), 20) = (lie, index) {
                front.memory.write_obj(lie, GuestAddress(RING)).unwrap();
            }
            if front.queue.service(&front.memory, &mut jobs).is_err() {
                break;
            }
            while let Some(job) = jobs.pop() {
                for piece in &job.pieces {
                    prop_assert!(piece.at.0 + u64::from(piece.len) <= RAM_PAGES * 4096);
                }
                let length: u64 = job.pieces.iter().map(|piece| u64::from(piece.len)).sum();
                prop_assert!(job.offset + length <= SECTORS * SECTOR);
                if let JobOp::Discard(length) = job.op {
                    prop_assert!(job.offset + length <= SECTORS * SECTOR);
                }
                front.queue.complete(&front.memory, job.token, Outcome::Done, &mut jobs).unwrap();
            }
            let _ = front.queue.publish(&front.memory);
        }
        front.queue.abandon(&front.memory);
        prop_assert_eq!(front.queue.running(), 0);
        // Data written by read requests may have changed the pages, never the table.
        for gref in 8..RAM_PAGES {
            prop_assert_eq!(front.flags(gref), 1);
        }
    }
}
