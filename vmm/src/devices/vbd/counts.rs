//! What a disk has carried since it was attached: all its rings add to it, whoever lists the devices looks.

use noxen_control::DiskCounts;
use noxen_devices::pv::block::{Job, JobOp};
use std::sync::atomic::{AtomicU64, Ordering};

/// Running totals. Each is right by itself; two that are read at once may be of two moments.
#[derive(Debug, Default)]
pub struct Counts {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
}

impl Counts {
    /// Counts jobs that an engine is about to be given.
    pub fn add(&self, jobs: &[Job]) {
        for job in jobs {
            let (jobs, bytes) = match job.op {
                JobOp::Read => (&self.reads, &self.read_bytes),
                JobOp::Write => (&self.writes, &self.written_bytes),
                JobOp::Flush | JobOp::Discard(_) => continue,
            };
            let length: u64 = job.pieces.iter().map(|piece| u64::from(piece.len)).sum();
            jobs.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(length, Ordering::Relaxed);
        }
    }

    /// As they stand.
    pub fn told(&self) -> DiskCounts {
        DiskCounts {
            reads: self.reads.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_devices::pv::block::Piece;
    use vm_memory::GuestAddress;

    #[test]
    fn reads_and_writes_are_counted_with_their_bytes() {
        let job = |op, lengths: &[u32]| Job {
            token: 0,
            op,
            offset: 0,
            pieces: lengths
                .iter()
                .map(|&len| Piece {
                    at: GuestAddress(0),
                    len,
                })
                .collect(),
        };
        let counts = Counts::default();
        counts.add(&[
            job(JobOp::Read, &[4096, 512]),
            job(JobOp::Flush, &[]),
            job(JobOp::Write, &[1024]),
        ]);
        counts.add(&[job(JobOp::Discard(9), &[]), job(JobOp::Read, &[512])]);
        let told = counts.told();
        assert_eq!((told.reads, told.read_bytes), (2, 5120));
        assert_eq!((told.writes, told.written_bytes), (1, 1024));
    }
}
