//! One ring of a disk: from requests to jobs of an engine and back to responses.
//!
//! ```text
//!   service():  request --check range, map grants--> InFlight{steps} --first step--> Job
//!   complete(): job done --next step--> Job     (flush with data: Flush, Write; barrier: Flush, Write, Flush)
//!                        --last step or error--> grants back, response
//! ```
//! A barrier waits until nothing is in flight and lets nothing pass. What is wrong with one request
//! (sectors, grants, operation) is answered with an error; a ring whose indices lie is [`Broken`].

use super::request::{Protocol, Request, MAX_ENTRY};
use super::{MAX_INDIRECT_SEGMENTS, SECTOR};
use crate::pv::grant::{Access, Grant, GrantTable, OpenTable, PAGE_SIZE};
use crate::pv::sring::{BackRing, SringError};
use noxen_pv_abi::blkif::{BlkifOp, BlkifSegment, BlkifStatus, SEGMENTS_PER_INDIRECT_PAGE};
use std::collections::HashMap;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Grants kept mapped per ring for a front end that uses the same pages again (Linux' back end: 1056).
const MAX_PERSISTENT: usize = 1056;

/// What a queue must know of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Size in units of 512 bytes.
    pub sectors: u64,
    /// Bytes that every transfer is a multiple of.
    pub sector_size: u32,
    /// Writes are refused.
    pub readonly: bool,
    /// Sectors can be discarded.
    pub discard: bool,
}

/// Bytes of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where.
    pub at: GuestAddress,
    /// How many.
    pub len: u32,
}

/// What an engine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOp {
    /// Image to memory.
    Read,
    /// Memory to image.
    Write,
    /// What was written before survives a crash of the host afterwards.
    Flush,
    /// So many bytes may be forgotten.
    Discard(u64),
}

/// Work for an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// To be given to [`Queue::complete`].
    pub token: u32,
    /// What.
    pub op: JobOp,
    /// First byte of the image.
    pub offset: u64,
    /// The memory, in order; empty for [`JobOp::Flush`] and [`JobOp::Discard`].
    pub pieces: Vec<Piece>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// Not done.
    Failed,
    /// The image cannot do it.
    Unsupported,
}

/// Why a ring is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its indices lie, or it is not in memory.
    #[error(transparent)]
    Ring(#[from] SringError),
    /// An engine completed what was never begun; a fault of noxen-vmm.
    #[error("job {0} was completed but never begun")]
    Token(u32),
}

/// A page that a request uses.
#[derive(Debug)]
enum Held {
    Once(Grant),
    /// Stays in [`Queue::persistent`].
    Persistent,
}

#[derive(Debug)]
struct InFlight {
    id: u64,
    op: BlkifOp,
    held: Vec<Held>,
    /// Steps after the running one, last first.
    later: Vec<JobOp>,
    offset: u64,
    pieces: Vec<Piece>,
}

/// One ring in use.
#[derive(Debug)]
pub struct Queue {
    ring: BackRing,
    protocol: Protocol,
    grants: GrantTable,
    disk: Disk,
    slots: Vec<Option<InFlight>>,
    free: Vec<u32>,
    running: u32,
    /// A barrier that waits for all before it, or runs.
    barrier: Option<Request>,
    barrier_runs: bool,
    persistent: Option<HashMap<u32, Grant>>,
}

impl Queue {
    /// A queue on `ring`; `persistent`: grants are kept until [`Self::abandon`].
    pub fn new(
        ring: BackRing,
        protocol: Protocol,
        grants: GrantTable,
        disk: Disk,
        persistent: bool,
    ) -> Queue {
        Queue {
            ring,
            protocol,
            grants,
            disk,
            slots: Vec::new(),
            free: Vec::new(),
            running: 0,
            barrier: None,
            barrier_runs: false,
            persistent: persistent.then(HashMap::new),
        }
    }

    /// Requests begun and not answered.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Requests taken since the ring was new, modulo 2^32.
    pub fn taken(&self) -> u32 {
        self.ring.consumed()
    }

    /// Takes requests, at most a ring full; true: there may be more.
    pub fn service<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        jobs: &mut Vec<Job>,
    ) -> Result<bool, Broken> {
        for _ in 0..self.ring.entries() {
            if self.barrier_runs {
                return Ok(false);
            }
            if let Some(request) = self.barrier.take() {
                if self.running > 0 {
                    self.barrier = Some(request);
                    return Ok(false);
                }
                self.start(memory, request, jobs)?;
                continue;
            }
            let mut entry = [0; MAX_ENTRY];
            if !self.ring.next_request(memory, &mut entry)? {
                if !self.ring.ask_for_more(memory)? {
                    return Ok(false);
                }
                continue;
            }
            let request = self.protocol.parse(&entry);
            match &request {
                Request::Direct {
                    op: BlkifOp::WRITE_BARRIER,
                    ..
                } => self.barrier = Some(request),
                _ => self.start(memory, request, jobs)?,
            }
        }
        Ok(true)
    }

    /// Goes on with a barrier that was taken and waits, and takes nothing new: what is running and what follows from it
    /// ends, and all that was taken is answered then.
    pub fn settle<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Broken> {
        if self.running == 0 {
            if let Some(request) = self.barrier.take() {
                self.start(memory, request, jobs)?;
            }
        }
        Ok(())
    }

    /// Is anything that was taken not answered?
    pub fn is_open(&self) -> bool {
        self.running > 0 || self.barrier.is_some()
    }

    /// Takes the end of a job. The queue may be able to go on: call [`Self::service`] afterwards.
    pub fn complete<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        token: u32,
        outcome: Outcome,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Broken> {
        let slot = self.slots.get_mut(token as usize).and_then(Option::as_mut);
        let Some(work) = slot else {
            return Err(Broken::Token(token));
        };
        if outcome == Outcome::Done {
            if let Some(op) = work.later.pop() {
                jobs.push(step(token, op, work));
                return Ok(());
            }
        }
        let Some(work) = self.slots[token as usize].take() else {
            return Err(Broken::Token(token));
        };
        self.free.push(token);
        self.running -= 1;
        if work.op == BlkifOp::WRITE_BARRIER {
            self.barrier_runs = false;
        }
        self.release(memory, work.held);
        let status = match outcome {
            Outcome::Done => BlkifStatus::OKAY,
            Outcome::Failed => BlkifStatus::ERROR,
            Outcome::Unsupported => BlkifStatus::EOPNOTSUPP,
        };
        self.respond(memory, work.id, work.op, status)
    }

    /// Shows the responses; true: the front end is to be notified.
    pub fn publish<M: GuestMemoryBackend>(&mut self, memory: &M) -> Result<bool, Broken> {
        Ok(self.ring.publish(memory)?)
    }

    /// Gives all grants back; whatever is in flight is never answered, so let it end first.
    pub fn abandon<M: GuestMemoryBackend>(&mut self, memory: &M) {
        let works: Vec<InFlight> = self.slots.drain(..).flatten().collect();
        for work in works {
            self.release(memory, work.held);
        }
        for (_, grant) in self.persistent.take().into_iter().flatten() {
            self.grants.unmap(memory, grant);
        }
        self.free.clear();
        self.running = 0;
    }

    fn release<M: GuestMemoryBackend>(&self, memory: &M, held: Vec<Held>) {
        if held.is_empty() {
            return;
        }
        // It was there when they were mapped.
        let Ok(table) = self.grants.open(memory) else {
            return;
        };
        for page in held {
            if let Held::Once(grant) = page {
                table.unmap(grant);
            }
        }
    }

    fn respond<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        id: u64,
        op: BlkifOp,
        status: BlkifStatus,
    ) -> Result<(), Broken> {
        let response = self.protocol.response(id, op, status);
        Ok(self.ring.push_response(memory, &response)?)
    }

    fn start<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        request: Request,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Broken> {
        let mut held = Vec::new();
        let (id, answer_op, planned) = match request {
            Request::Invalid { id, op, status } => (id, op, Err(status)),
            Request::Direct {
                id,
                op,
                sector,
                segments,
            } => {
                let plan = self.transfer(memory, op, sector, &segments, &mut held);
                (id, op, plan)
            }
            Request::Indirect {
                id,
                op,
                sector,
                count,
                pages,
            } => {
                let plan = match self.indirect(memory, count, &pages) {
                    Ok(segments) => self.transfer(memory, op, sector, &segments, &mut held),
                    Err(status) => Err(status),
                };
                // A front end expects what it asked for inside, not the envelope.
                (id, op, plan)
            }
            Request::Discard {
                id,
                sector,
                count,
                secure,
            } => {
                let plan = self.plan_discard(sector, count, secure);
                (id, BlkifOp::DISCARD, plan)
            }
        };
        let plan = match planned {
            Ok(plan) => plan,
            Err(status) => {
                self.release(memory, held);
                return self.respond(memory, id, answer_op, status);
            }
        };
        let mut work = InFlight {
            id,
            op: answer_op,
            held,
            later: plan.steps,
            offset: plan.offset,
            pieces: plan.pieces,
        };
        let Some(first) = work.later.pop() else {
            return self.respond(memory, id, answer_op, BlkifStatus::OKAY);
        };
        self.barrier_runs = answer_op == BlkifOp::WRITE_BARRIER;
        let token = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        jobs.push(step(token, first, &mut work));
        self.slots[token as usize] = Some(work);
        self.running += 1;
        Ok(())
    }

    /// Checks and maps a transfer.
    fn transfer<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        op: BlkifOp,
        sector: u64,
        segments: &[BlkifSegment],
        held: &mut Vec<Held>,
    ) -> Result<Plan, BlkifStatus> {
        let writes = op != BlkifOp::READ;
        let has_data = !segments.is_empty();
        if writes && has_data && self.disk.readonly {
            return Err(BlkifStatus::ERROR);
        }
        if !has_data && matches!(op, BlkifOp::READ | BlkifOp::WRITE) {
            return Err(BlkifStatus::ERROR);
        }
        let access = if writes { Access::Read } else { Access::Write };
        let table = self.grants.open(memory).map_err(|_| BlkifStatus::ERROR)?;
        held.reserve(segments.len());
        let mut pieces: Vec<Piece> = Vec::with_capacity(segments.len());
        let mut length = 0;
        for segment in segments {
            let (first, last) = (u64::from(segment.first_sect), u64::from(segment.last_sect));
            if first > last || last >= PAGE_SIZE / SECTOR {
                return Err(BlkifStatus::ERROR);
            }
            let bytes = (last - first + 1) * SECTOR;
            let page = page(&table, &mut self.persistent, segment.gref, access, held)?;
            let at = GuestAddress(page.0 + first * SECTOR);
            length += bytes;
            match pieces.last_mut() {
                // Pages that follow each other in memory are one piece.
                Some(before) if before.at.0 + u64::from(before.len) == at.0 => {
                    before.len += bytes as u32;
                }
                _ => pieces.push(Piece {
                    at,
                    len: bytes as u32,
                }),
            }
        }
        let offset = if has_data {
            self.range(sector, length / SECTOR)?
        } else {
            0
        };
        // Last first.
        let steps = match (op, has_data) {
            (BlkifOp::READ, _) => vec![JobOp::Read],
            (BlkifOp::WRITE, _) => vec![JobOp::Write],
            (BlkifOp::WRITE_BARRIER, true) => vec![JobOp::Flush, JobOp::Write, JobOp::Flush],
            (_, true) => vec![JobOp::Write, JobOp::Flush],
            (_, false) => vec![JobOp::Flush],
        };
        Ok(Plan {
            steps,
            offset,
            pieces,
        })
    }

    fn plan_discard(&self, sector: u64, count: u64, secure: bool) -> Result<Plan, BlkifStatus> {
        if secure || !self.disk.discard {
            return Err(BlkifStatus::EOPNOTSUPP);
        }
        if self.disk.readonly {
            return Err(BlkifStatus::ERROR);
        }
        let offset = self.range(sector, count)?;
        let steps = match count {
            0 => Vec::new(),
            _ => vec![JobOp::Discard(count * SECTOR)],
        };
        Ok(Plan {
            steps,
            offset,
            pieces: Vec::new(),
        })
    }

    /// First byte of a range that lies on the disk and on its sectors' boundaries.
    fn range(&self, sector: u64, count: u64) -> Result<u64, BlkifStatus> {
        let end = sector.checked_add(count).ok_or(BlkifStatus::ERROR)?;
        let unit = (u64::from(self.disk.sector_size) / SECTOR).max(1);
        if end > self.disk.sectors || !sector.is_multiple_of(unit) || !count.is_multiple_of(unit) {
            return Err(BlkifStatus::ERROR);
        }
        Ok(sector * SECTOR)
    }

    /// Reads an indirect request's segments, once.
    fn indirect<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        count: u16,
        pages: &[u32; 8],
    ) -> Result<Vec<BlkifSegment>, BlkifStatus> {
        if count == 0 || count > MAX_INDIRECT_SEGMENTS {
            return Err(BlkifStatus::ERROR);
        }
        let table = self.grants.open(memory).map_err(|_| BlkifStatus::ERROR)?;
        let mut segments = Vec::with_capacity(usize::from(count));
        let mut left = usize::from(count);
        for gref in pages {
            if left == 0 {
                break;
            }
            let here = left.min(SEGMENTS_PER_INDIRECT_PAGE);
            let mut bytes = vec![0; here * BlkifSegment::SIZE];
            let mut held = Vec::new();
            let kept = &mut self.persistent;
            let read = page(&table, kept, *gref, Access::Read, &mut held).and_then(|page| {
                memory
                    .read_slice(&mut bytes, page)
                    .map_err(|_| BlkifStatus::ERROR)
            });
            self.release(memory, held);
            read?;
            let (parts, _) = bytes.as_chunks::<{ BlkifSegment::SIZE }>();
            segments.extend(parts.iter().map(BlkifSegment::from_bytes));
            left -= here;
        }
        Ok(segments)
    }
}

/// Takes a page into use for a request; `persistent` are those that are kept, if any.
fn page<B: BitmapSlice>(
    table: &OpenTable<'_, B>,
    persistent: &mut Option<HashMap<u32, Grant>>,
    gref: u32,
    access: Access,
    held: &mut Vec<Held>,
) -> Result<GuestAddress, BlkifStatus> {
    if let Some(kept) = persistent {
        if let Some(grant) = kept.get(&gref) {
            held.push(Held::Persistent);
            return Ok(grant.page());
        }
        if kept.len() < MAX_PERSISTENT {
            // A page that is kept may be used either way later.
            if let Ok(grant) = table.map(gref, Access::Write) {
                let page = grant.page();
                kept.insert(gref, grant);
                held.push(Held::Persistent);
                return Ok(page);
            }
        }
    }
    let grant = table.map(gref, access).map_err(|_| BlkifStatus::ERROR)?;
    let page = grant.page();
    held.push(Held::Once(grant));
    Ok(page)
}

/// A checked request.
struct Plan {
    /// Last first.
    steps: Vec<JobOp>,
    offset: u64,
    pieces: Vec<Piece>,
}

fn step(token: u32, op: JobOp, work: &mut InFlight) -> Job {
    let moves = matches!(op, JobOp::Read | JobOp::Write);
    Job {
        token,
        op,
        offset: work.offset,
        // Each request moves its data once.
        pieces: match moves {
            true => std::mem::take(&mut work.pieces),
            false => Vec::new(),
        },
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
