//! A queue's thread between a real tap and a front end played by the test.

use super::*;
use crate::devices::port::test::TestPort;
use noxen_control::tap;
use noxen_devices::pv::grant::GrantTable;
use noxen_devices::pv::net::front::Features;
use noxen_devices::pv::net::rate::Credit;
use std::process::Command;
use std::thread::JoinHandle;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EFD_NONBLOCK;

const TX: u64 = 0x1000;
const RX: u64 = 0x2000;
const REQ_PROD: u64 = 0;
const REQ_EVENT: u64 = 4;
const RSP_PROD: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(20);

/// The front end, and the thread that serves it.
struct World {
    memory: Memory,
    guest: TestPort,
    stop: Arc<EventFd>,
    thread: JoinHandle<Result<(), NetError>>,
    sent: u32,
    offered: u32,
}

/// A tap `name` with the host's address 198.51.100.`host`/30; `None` where this process may not make one.
fn world(name: &str, host: u8, credit: Option<Credit>) -> Option<World> {
    let fds = match tap::create(name, 1) {
        Ok(fds) => fds,
        // Not root, or no tun driver: the lab's tests cover this then.
        Err(error) => {
            use std::io::ErrorKind::{NotFound, PermissionDenied};
            assert!(matches!(error.kind(), PermissionDenied | NotFound));
            return None;
        }
    };
    let ip = |words: &[&str]| assert!(Command::new("ip").args(words).status().unwrap().success());
    ip(&["addr", "add", &format!("198.51.100.{host}/30"), "dev", name]);
    ip(&["link", "set", name, "up"]);
    let memory = Memory::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
    // References 0..16: page n for domain 0.
    for gref in 0..16u32 {
        let at = GuestAddress(u64::from(gref) * 8);
        memory.write_obj(1u32, at).unwrap();
        memory.write_obj(gref, GuestAddress(at.0 + 4)).unwrap();
    }
    for ring in [TX, RX] {
        for event in [4, 12] {
            memory.write_obj(1u32, GuestAddress(ring + event)).unwrap();
        }
    }
    let stop = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let guest = TestPort::new();
    let port = guest.again();
    let grants = GrantTable::new(GuestAddress(0), 1, 16);
    let mut queue = Queue {
        transmit: Transmit::new(&memory, GuestAddress(TX)).unwrap(),
        receive: Receive::new(&memory, GuestAddress(RX)).unwrap(),
        memory: memory.clone(),
        tap: TapQueue::new(Arc::new(fds.into_iter().next().unwrap())),
        tx_channel: port,
        rx_channel: None,
        shared: Arc::new(Shared::new(grants, Features::default(), credit)),
    };
    let stopped = stop.clone();
    let started = Instant::now();
    Some(World {
        memory,
        guest,
        stop,
        thread: std::thread::spawn(move || queue.run(&stopped, started)),
        sent: 0,
        offered: 0,
    })
}

impl World {
    fn word(&self, at: u64) -> u32 {
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    #[track_caller]
    fn wait(&self, what: &str, done: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "no {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends a frame from page 3.
    fn send(&mut self, frame: &[u8]) {
        self.memory
            .write_slice(frame, GuestAddress(0x3000))
            .unwrap();
        let mut slot = [0u8; 12];
        slot[0] = 3;
        slot[10..].copy_from_slice(&(frame.len() as u16).to_le_bytes());
        let at = TX + 64 + u64::from(self.sent) * 12;
        self.memory.write_slice(&slot, GuestAddress(at)).unwrap();
        self.sent += 1;
        self.memory
            .write_obj(self.sent, GuestAddress(TX + REQ_PROD))
            .unwrap();
        self.guest.from_guest.write(1).unwrap();
    }

    /// Offers page 4 + n to receive into.
    fn offer(&mut self) {
        let at = RX + 64 + u64::from(self.offered) * 8;
        let request = u64::from(self.offered) | u64::from(4 + self.offered % 8) << 32;
        self.memory.write_obj(request, GuestAddress(at)).unwrap();
        self.offered += 1;
        self.memory
            .write_obj(self.offered, GuestAddress(RX + REQ_PROD))
            .unwrap();
        self.guest.from_guest.write(1).unwrap();
    }

    fn end(self) {
        self.stop.write(1).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

/// Who has 198.51.100.`host`?
fn arp(host: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([2, 0, 0, 0, 0, 9, 198, 51, 100, host + 1]);
    frame.extend([0, 0, 0, 0, 0, 0, 198, 51, 100, host]);
    frame
}

#[test]
fn queue_waits_for_room_delivers_the_answer_and_stops() {
    let name = format!("nw{}", std::process::id());
    let Some(mut world) = world(&name, 5, None) else {
        return;
    };
    world.send(&arp(5));
    world.wait("answer to the request slot", |w| w.word(TX + RSP_PROD) == 1);
    // A frame has come, and there is no page for it: the thread has asked for one, and sleeps.
    world.wait("wish for room", |w| w.word(RX + REQ_EVENT) == 1);
    assert_eq!(world.word(RX + RSP_PROD), 0);
    let mut got = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no ARP reply");
        world.offer();
        world.wait("frame", |w| w.word(RX + RSP_PROD) > got);
        let page = GuestAddress(0x4000 + u64::from(got % 8) * 0x1000);
        let mut frame = [0u8; 42];
        world.memory.read_slice(&mut frame, page).unwrap();
        got += 1;
        // The host says other things, too, when an interface comes up.
        if frame[12..14] == [8, 6] && frame[21] == 2 {
            assert_eq!(frame[..6], [2, 0, 0, 0, 0, 9]);
            assert_eq!(frame[28..32], [198, 51, 100, 5]);
            break;
        }
        // A new question, should this have been the host's last word.
        world.send(&arp(5));
    }
    assert!(world.guest.to_guest.read().unwrap() > 0);
    world.end();
}

#[test]
fn queue_goes_on_by_itself_when_credit_comes() {
    let name = format!("nc{}", std::process::id());
    // One request in 300 ms.
    let credit = Credit::new(42, 300_000, Duration::ZERO);
    let Some(mut world) = world(&name, 9, credit) else {
        return;
    };
    // The first idle periods fill the account; the requests after that wait.
    let begin = Instant::now();
    for _ in 0..3 {
        world.send(&arp(9));
    }
    world.wait("last answer", |w| w.word(TX + RSP_PROD) == 3);
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "{:?}",
        begin.elapsed()
    );
    world.end();
}

#[test]
fn queue_ends_with_the_reason_when_the_front_end_lies() {
    let name = format!("nl{}", std::process::id());
    let Some(world) = world(&name, 13, None) else {
        return;
    };
    world
        .memory
        .write_obj(1000u32, GuestAddress(TX + REQ_PROD))
        .unwrap();
    world.guest.from_guest.write(1).unwrap();
    let error = world.thread.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("corrupt"), "{error}");
}
