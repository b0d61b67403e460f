use super::*;
use noxen_xenstore::session::Attach;
use noxen_xenstore::wire::{append_message, Header, Op, HEADER_LEN};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use vm_memory::Bytes;

const PAGE: GuestAddress = GuestAddress(0x1000);
const REQ_PROD: u64 = 0x804;
const RSP_PROD: u64 = 0x80c;

fn message(kind: Op, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_message(&mut bytes, kind as u32, id, 0, &[payload]);
    bytes
}

struct Bench {
    memory: GuestMemory,
    store: Store,
    log: Log,
    asked: u32,
}

impl Bench {
    /// A ring, a store, and the daemon's end of its connection.
    fn new(door: Option<PathBuf>) -> (Bench, UnixStream) {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x3000)]).unwrap();
        let (stream, daemon) = UnixStream::pair().unwrap();
        daemon
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let connection = Connection {
            stream,
            domid: 7,
            door,
        };
        let store = Store::new(&memory, PAGE, connection).unwrap();
        let bench = Bench {
            memory,
            store,
            log: Log::new(None, 7, "test"),
            asked: 0,
        };
        (bench, daemon)
    }

    /// The guest puts `bytes` into the request ring and notifies.
    fn ask(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let at = PAGE.0 + u64::from(self.asked % 1024);
            self.memory.write_obj(*byte, GuestAddress(at)).unwrap();
            self.asked += 1;
        }
        let at = GuestAddress(PAGE.0 + REQ_PROD);
        self.memory.write_obj(self.asked, at).unwrap();
        self.store.service(&self.memory, &self.log);
    }

    /// What the response ring holds from its start.
    fn answered(&self) -> Vec<u8> {
        let at = GuestAddress(PAGE.0 + RSP_PROD);
        let count: u32 = self.memory.read_obj(at).unwrap();
        let mut bytes = vec![0; count as usize];
        self.memory
            .read_slice(&mut bytes, GuestAddress(PAGE.0 + 0x400))
            .unwrap();
        bytes
    }
}

fn receive(stream: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[allow(unsafe_code)]
fn wait(event: &EventFd) {
    // SAFETY: the descriptor is open while `event` is borrowed.
    let fd = unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) };
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "nothing came");
}

#[test]
fn request_goes_to_the_daemon_and_the_reply_into_the_ring() {
    let (mut bench, mut daemon) = Bench::new(None);
    let request = message(Op::Read, 1, b"domid\0");
    bench.ask(&request);
    assert_eq!(receive(&mut daemon, request.len()), request);
    let reply = message(Op::Read, 1, b"7");
    daemon.write_all(&reply).unwrap();
    assert!(bench.store.readable(&bench.memory, &bench.log));
    assert_eq!(bench.answered(), reply);
}

#[test]
fn half_a_reply_is_not_shown_to_the_guest() {
    let (mut bench, mut daemon) = Bench::new(None);
    bench.ask(&message(Op::Read, 1, b"domid\0"));
    let reply = message(Op::Read, 1, b"7");
    daemon.write_all(&reply[..10]).unwrap();
    assert!(!bench.store.readable(&bench.memory, &bench.log));
    assert!(bench.answered().is_empty());
    daemon.write_all(&reply[10..]).unwrap();
    bench.store.readable(&bench.memory, &bench.log);
    assert_eq!(bench.answered(), reply);
}

#[test]
fn daemon_that_restarts_gets_the_open_request_again() {
    let name = format!("noxen-store-test-{}", std::process::id());
    let door = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&door);
    let (mut bench, daemon) = Bench::new(Some(door.clone()));
    let request = message(Op::Read, 1, b"domid\0");
    bench.ask(&request);
    drop(daemon);
    bench.store.readable(&bench.memory, &bench.log);
    assert!(bench.store.stream().is_none());
    // A request made while nobody listens waits too.
    let second = message(Op::Read, 2, b"name\0");
    bench.ask(&second);

    let listener = UnixListener::bind(&door).unwrap();
    let (mut daemon, _) = listener.accept().unwrap();
    let header = receive(&mut daemon, HEADER_LEN);
    let header = Header::decode(header.as_slice().try_into().unwrap());
    let attach = Attach::parse(&receive(&mut daemon, header.len as usize)).unwrap();
    assert_eq!((attach.domid, attach.replies_seen), (7, Some(0)));
    daemon
        .write_all(&message(Op::Control, 0, b"OK\x000\0"))
        .unwrap();
    wait(bench.store.arrival());
    bench.store.arrived(&bench.memory, &bench.log);
    let both = [request, second].concat();
    assert_eq!(receive(&mut daemon, both.len()), both);
    std::fs::remove_file(&door).unwrap();
}

#[test]
fn nonsense_from_the_guest_ends_its_store_only() {
    let (mut bench, mut daemon) = Bench::new(None);
    bench.ask(&[0xff; 64]);
    assert!(bench.store.stream().is_none());
    assert_eq!(daemon.read(&mut [0; 16]).unwrap(), 0);
    bench.ask(&message(Op::Read, 1, b"domid\0"));
    assert!(!bench.store.wants_write());
}

#[test]
fn replies_that_nobody_takes_stop_the_daemon_not_memory() {
    let (mut bench, mut daemon) = Bench::new(None);
    bench.ask(&message(Op::Watch, 1, b"x\0t\0"));
    let event = message(Op::WatchEvent, 0, &[b'p'; 500]);
    daemon.set_nonblocking(true).unwrap();
    let mut sent = 0;
    // The daemon writes until its socket is full; the guest never reads.
    while let Ok(count) = daemon.write(&event[sent % event.len()..]) {
        sent += count;
        bench.store.readable(&bench.memory, &bench.log);
        assert!(bench.store.to_guest.len() <= 4096 + 4112);
    }
    assert!(sent > 16 << 10);
    assert!(!bench.store.wants_read());
}
