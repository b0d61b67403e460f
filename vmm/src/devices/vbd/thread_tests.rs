//! The thread of a ring between a front end played by the test and an engine that waits to be let go.

use super::*;
use crate::devices::port::test::TestPort;
use noxen_devices::pv::block::{Disk, Protocol};
use noxen_devices::pv::grant::GrantTable;
use noxen_devices::pv::sring::BackRing;
use noxen_pv_abi::blkif::{BlkifOp, BlkifRequest64};
use std::os::fd::{AsFd, BorrowedFd};
use vm_memory::{Bytes, GuestAddress};

const RING: u64 = 0x1000;
const TABLE: u64 = 0x2000;
const REQ_PROD: u64 = 0;
const RSP_PROD: u64 = 8;
const RSP_EVENT: u64 = 12;

/// Keeps jobs until its descriptor is written to; from then on they end at once.
#[derive(Debug)]
struct Gate {
    event: Arc<OwnedFd>,
    open: bool,
    held: Vec<Job>,
}

impl Engine for Gate {
    fn begin(&mut self, jobs: &mut Vec<Job>, ended: &mut Vec<(u32, Outcome)>) {
        match self.open {
            true => ended.extend(jobs.drain(..).map(|job| (job.token, Outcome::Done))),
            false => self.held.append(jobs),
        }
    }

    fn finished(&mut self, ended: &mut Vec<(u32, Outcome)>) {
        self.open |= rustix::io::read(&self.event, &mut [0u8; 8]).is_ok();
        if self.open {
            ended.extend(self.held.drain(..).map(|job| (job.token, Outcome::Done)));
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

struct Guest {
    memory: GuestMemory,
    port: TestPort,
    sent: u32,
}

impl Guest {
    /// Sends one flush.
    fn send(&mut self) {
        let request = BlkifRequest64 {
            operation: BlkifOp::FLUSH_DISKCACHE.0,
            id: u64::from(self.sent),
            ..Default::default()
        };
        let at = RING + 64 + u64::from(self.sent % 32) * 112;
        let bytes = request.to_bytes();
        self.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
        self.sent += 1;
        let at = GuestAddress(RING + REQ_PROD);
        self.memory.write_obj(self.sent, at).unwrap();
        self.port.from_guest.write(1).unwrap();
    }

    fn answered(&self) -> u32 {
        self.memory.read_obj(GuestAddress(RING + RSP_PROD)).unwrap()
    }

    /// Waits for an interrupt, asks for the next one; false: none came.
    fn interrupted(&self) -> bool {
        let limit = Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        let fd = vmm_sys_fd(&self.port);
        let came = poll(
            &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
            Some(&limit),
        );
        let _ = self.port.to_guest.read();
        let at = GuestAddress(RING + RSP_EVENT);
        self.memory.write_obj(self.answered() + 1, at).unwrap();
        came == Ok(1)
    }
}

#[allow(unsafe_code)]
fn vmm_sys_fd(port: &TestPort) -> BorrowedFd<'_> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor stays open while `port`, its owner, is borrowed. vmm-sys-util's EventFd has
    // only the raw accessor.
    unsafe { BorrowedFd::borrow_raw(port.to_guest.as_raw_fd()) }
}

/// A thread with two requests that its engine holds until the descriptor is written to.
fn at_work() -> (Guest, QueueThread, Arc<OwnedFd>) {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
    memory
        .write_obj(1u32, GuestAddress(RING + RSP_EVENT))
        .unwrap();
    let ring = BackRing::new(&memory, vec![GuestAddress(RING)], 112).unwrap();
    let grants = GrantTable::new(GuestAddress(TABLE), 1, 4);
    let disk = Disk {
        sectors: 8,
        sector_size: 512,
        readonly: false,
        discard: false,
    };
    let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
    let mut guest = Guest {
        memory: memory.clone(),
        port: TestPort::new(),
        sent: 0,
    };
    guest.send();
    guest.send();
    let thread = QueueThread::start(Work {
        name: "test".into(),
        memory,
        queue: Queue::new(ring, Protocol::Bits64, grants, disk, false),
        channel: guest.port.again(),
        engine: Box::new(Gate {
            event: event.clone(),
            open: false,
            held: Vec::new(),
        }),
        counts: Arc::default(),
        report: Box::new(|why| panic!("{why}")),
        pages: None,
    })
    .unwrap();
    (guest, thread, event)
}

/// The same, told to stop; then the engine lets go.
fn stopped_at_work() -> (Guest, QueueThread) {
    let (guest, thread, event) = at_work();
    rustix::io::write(&thread.stop, &1u64.to_ne_bytes()).unwrap();
    rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
    (guest, thread)
}

#[test]
fn ring_of_a_guest_that_stands_still_is_left_with_all_that_was_taken_answered() {
    let (mut guest, thread, event) = at_work();
    thread.stop_still();
    rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
    drop(thread);
    assert_eq!(guest.answered(), 2);
    // What comes now is for whoever goes on with the ring.
    guest.send();
    let ring = BackRing::new(&guest.memory, vec![GuestAddress(RING)], 112).unwrap();
    assert_eq!(ring.unconsumed(&guest.memory), Ok(1));
}

#[test]
fn what_the_last_answers_set_free_is_answered_too() {
    let (mut guest, thread) = stopped_at_work();
    let played = std::thread::spawn(move || {
        // Linux starts its stopped queue when an answer comes.
        while guest.sent < 6 {
            assert!(
                guest.interrupted(),
                "{} of {}",
                guest.answered(),
                guest.sent
            );
            guest.send();
        }
        while guest.answered() < guest.sent {
            assert!(
                guest.interrupted(),
                "{} of {}",
                guest.answered(),
                guest.sent
            );
        }
        guest
    });
    drop(thread);
    let guest = played.join().unwrap();
    assert_eq!((guest.sent, guest.answered()), (6, 6));
}

#[test]
fn what_comes_after_answers_that_were_given_at_once_is_answered_too() {
    let (mut guest, thread, event) = at_work();
    rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
    while guest.answered() < guest.sent {
        assert!(guest.interrupted(), "{}", guest.answered());
    }
    // Nothing is under way now; the guest has not yet looked at its answers.
    rustix::io::write(&thread.stop, &1u64.to_ne_bytes()).unwrap();
    let played = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        guest.send();
        while guest.answered() < guest.sent {
            assert!(guest.interrupted(), "{}", guest.answered());
        }
        guest.answered()
    });
    drop(thread);
    assert_eq!(played.join().unwrap(), 3);
}

#[test]
fn guest_that_never_ends_is_not_waited_for() {
    let (mut guest, thread) = stopped_at_work();
    let started = Instant::now();
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = over.clone();
    let played = std::thread::spawn(move || {
        while !told.load(std::sync::atomic::Ordering::Relaxed) {
            if guest.sent - guest.answered() < 16 {
                guest.send();
            }
            std::thread::yield_now();
        }
    });
    drop(thread);
    assert!(started.elapsed() < LAST_CALL * 5);
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    played.join().unwrap();
}
