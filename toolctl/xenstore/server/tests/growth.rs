//! A thousand connected domains make nobody's requests dearer.
//!
//! ```text
//!   crowded: 1,000 domains with 50 nodes and 10 watches each   \  the same requests in turn, on one processor:
//!   empty:   nobody                                            /   both meet the same host
//! ```
//! What is compared is the daemons' processor time by the kernel's count; what else the host does only ever adds to it, so that the least
//! of each counts. Many requests are under way at once: so little of it are system calls, which cost the same whatever the store holds.

mod daemon;

use std::io::Write;
use std::os::unix::net::UnixStream;

use daemon::crowd::{self, message, next};
use daemon::{Daemon, PATIENCE};
use noxen_xenstore::wire::{append_message, Decoder, Op};
use rustix::process::Pid;
use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};

/// What a request may take beside the same one of an empty store.
const RATIO: f64 = 1.2;
/// Work that grows does so in every try.
const TRIES: usize = 5;
const SAMPLES: usize = 15;

/// Requests at once, and how many replies and events come back.
type Batch = (&'static str, fn(u32) -> Vec<u8>, usize);

const BATCHES: [Batch; 5] = [
    (
        "reads",
        |_| message(Op::Read, "/bench/w1\0").repeat(256),
        256,
    ),
    (
        "directories",
        |_| message(Op::Directory, "/bench\0").repeat(128),
        128,
    ),
    (
        "writes",
        |_| (0..256).flat_map(|i| write(0, i)).collect(),
        256,
    ),
    (
        "writes that are watched",
        |_| message(Op::Write, "/watched\0value").repeat(128),
        256,
    ),
    ("transactions", transactions, 16 * 12),
];

fn write(tx: u32, i: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload = format!("/bench/w{}\0value {i}", i % 10);
    append_message(&mut bytes, Op::Write as u32, 1, tx, &[payload.as_bytes()]);
    bytes
}

/// Sixteen of ten writes; a connection's transactions are numbered from 1, so that nobody has to wait for a number.
fn transactions(first: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for tx in first..first + 16 {
        append_message(&mut bytes, Op::TransactionStart as u32, 1, 0, &[b"\0"]);
        (0..10).for_each(|i| bytes.extend(write(tx, i)));
        append_message(&mut bytes, Op::TransactionEnd as u32, 1, tx, &[b"T\0"]);
    }
    bytes
}

/// A store with a client that has a watch.
struct Store {
    daemon: Daemon,
    client: UnixStream,
    decoder: Decoder,
    transactions: u32,
}

impl Store {
    fn new() -> Store {
        let daemon = Daemon::start();
        let client = daemon.client().into_stream().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut store = Store {
            daemon,
            client,
            decoder: Decoder::new(),
            transactions: 0,
        };
        store.ask(&message(Op::Watch, "/watched\0token\0"), 2);
        store.ask(&(0..10).flat_map(|i| write(0, i)).collect::<Vec<_>>(), 10);
        store
    }

    fn ask(&mut self, requests: &[u8], answers: usize) {
        self.client.write_all(requests).unwrap();
        for _ in 0..answers {
            let answer = next(&mut self.client, &mut self.decoder).unwrap();
            assert!(!answer.starts_with('E'), "{answer}");
        }
    }

    /// Processor time of the daemon so far, ns.
    fn work(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.daemon.pid()));
        let first = text.unwrap().split(' ').next().unwrap().parse();
        first.unwrap()
    }

    fn sample(&mut self, (_, requests, answers): Batch) -> u64 {
        let first = self.transactions + 1;
        if answers == 16 * 12 {
            self.transactions += 16;
        }
        let before = self.work();
        self.ask(&requests(first), answers);
        self.work() - before
    }
}

/// Client and daemons on one processor: a waking that crosses processors costs more than the request.
fn share_a_processor(stores: [&Store; 2]) {
    let all = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).unwrap();
    for store in stores {
        sched_setaffinity(Pid::from_raw(store.daemon.pid() as i32), &one).unwrap();
    }
}

#[test]
fn thousand_domains_make_no_request_dearer_by_a_fifth() {
    let mut empty = Store::new();
    let mut crowded = Store::new();
    let _domains = crowd::thousand(&crowded.daemon);
    share_a_processor([&empty, &crowded]);
    for batch in BATCHES {
        let mut ratios = Vec::new();
        let met = (0..TRIES).any(|_| {
            let mut least = [u64::MAX; 2];
            for _ in 0..SAMPLES {
                for (store, least) in [&mut empty, &mut crowded].into_iter().zip(&mut least) {
                    *least = store.sample(batch).min(*least);
                }
            }
            let ratio = least[1] as f64 / least[0] as f64;
            ratios.push(ratio);
            ratio <= RATIO
        });
        println!("{}: {ratios:.2?} times an empty store's", batch.0);
        assert!(met, "{}: {ratios:.2?} times an empty store's", batch.0);
    }
}
