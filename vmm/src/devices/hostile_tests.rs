//! A guest that writes anything into the nodes of its devices, their rings and its grant table, and one device that it uses as it should.
//!
//! ```text
//!   store (real core) ── bus ── vbd, vfb, vkbd, vif (where the host lets us have a tap): nodes, states, rings out of a generator
//!                          └─── a device that counts: connects as if nothing had been
//! ```

use super::tests::{Counting, Seen, DOMID, PATIENCE};
use super::*;
use crate::devices::backend::{Backend, Context};
use crate::devices::list::finish;
use crate::devices::vif::testing::tap_at;
use crate::devices::{registry, Door};
use crate::private_store::{self, Vbd, Vif};
use crate::vstate::irq::{ChannelError, Links};
use noxen_control::device::{DiskImage, Engine, ImageFormat};
use noxen_control::{DeviceClass, DeviceSpec};
use noxen_xenstore::client::{Client, Nodes};
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use std::sync::Mutex;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

/// Frames of the guest that its grants name and its rings are in.
const FRAMES: u64 = 24;
/// Guests, each of which has all devices anew: one that is broken stays so.
const GUESTS: u64 = 8;
/// The same at most, until each device has come to each end.
const MOST_GUESTS: u64 = 64;
/// How often a guest does something.
const ROUNDS: usize = 80;

/// Event channels whose other end the test has.
#[derive(Debug, Default)]
struct Ends(Mutex<Vec<(u32, EventFd)>>);

impl Ends {
    fn send(&self, any: usize) {
        let ends = lock(&self.0);
        if let Some((_, event)) = ends.get(any % ends.len().max(1)) {
            event.write(1).unwrap();
        }
    }
}

impl Links for Ends {
    fn bind(&self, port: u32, event: &EventFd) -> Result<(), ChannelError> {
        lock(&self.0).push((port, event.try_clone().unwrap()));
        Ok(())
    }

    fn unbind(&self, port: u32, _event: &EventFd) {
        lock(&self.0).retain(|(bound, _)| *bound != port);
    }

    fn set_quiet(&self, _port: u32, _quiet: bool) {}

    fn ring(&self, _port: u32) {}
}

/// Marsaglia's xorshift: the same wild guest each time.
struct Wild(u64);

impl Wild {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.next() % all.len()]
    }
}

/// Nodes that some device reads.
const KEYS: [&str; 40] = [
    "ring-ref",
    "ring-ref0",
    "ring-ref1",
    "ring-ref3",
    "ring-page-order",
    "event-channel",
    "protocol",
    "multi-queue-num-queues",
    "queue-0/ring-ref",
    "queue-0/event-channel",
    "queue-1/ring-ref",
    "queue-1/event-channel",
    "queue-0/tx-ring-ref",
    "queue-0/rx-ring-ref",
    "queue-0/event-channel-tx",
    "queue-0/event-channel-rx",
    "queue-1/tx-ring-ref",
    "tx-ring-ref",
    "rx-ring-ref",
    "event-channel-tx",
    "event-channel-rx",
    "request-rx-copy",
    "request-rx-notify",
    "feature-rx-notify",
    "feature-sg",
    "feature-gso-tcpv4",
    "feature-gso-tcpv4-prefix",
    "feature-no-csum-offload",
    "feature-ipv6-csum-offload",
    "feature-multicast-control",
    "request-multicast-control",
    "feature-persistent",
    "feature-update",
    "request-update",
    "page-ref",
    "page-gref",
    "request-abs-pointer",
    "request-multi-touch",
    "backend",
    "online",
];

/// What it writes, besides numbers of grants and ports.
const VALUES: [&str; 16] = [
    "0",
    "1",
    "2",
    "4",
    "",
    "-1",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "0x8",
    " 9",
    "9 ",
    "many",
    "x86_64-abi",
    "x86_32-abi",
    "%s%n\n/../..",
];

const STATES: [&str; 12] = [
    "0", "1", "2", "3", "3", "3", "4", "5", "6", "7", "99", "none",
];

fn disk() -> (DeviceSpec, Vec<std::os::fd::OwnedFd>, [String; 2]) {
    let nodes = Vbd::new(DOMID, 1);
    let file = memfd_create("disk", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, 1 << 20).unwrap();
    let spec = DeviceSpec::Vbd {
        devid: nodes.devid,
        frontend: nodes.frontend.clone(),
        backend: nodes.backend.clone(),
        image: DiskImage {
            path: "disk".into(),
            format: ImageFormat::Raw,
            direct: false,
            engine: Engine::Auto,
            export: String::new(),
        },
        readonly: false,
        cdrom: false,
        sector_size: None,
        physical_sector_size: None,
        persistent: true,
    };
    (spec, vec![file], [nodes.frontend, nodes.backend])
}

/// What a front end that means well writes; grants and frames are those that [`wild_guest`] has made.
fn good(class: DeviceClass) -> &'static [(&'static str, &'static str)] {
    match class {
        DeviceClass::Vbd => &[("ring-ref", "8"), ("event-channel", "9")],
        DeviceClass::Vif => &[
            ("tx-ring-ref", "10"),
            ("rx-ring-ref", "11"),
            ("event-channel", "12"),
            ("request-rx-copy", "1"),
        ],
        DeviceClass::Vfb => &[("page-ref", "13"), ("event-channel", "14")],
        _ => &[("page-ref", "18"), ("event-channel", "15")],
    }
}

#[test]
fn guest_that_writes_anything_into_nodes_and_rings_closes_no_other_device() {
    let mut met = Met::new();
    // That they all came far, and too far: what a guest gets to hangs on how its writes and our looks at them fall together.
    let wanted = [DeviceClass::Vbd, DeviceClass::Vfb, DeviceClass::Vkbd]
        .map(|class| [DeviceState::Connected, DeviceState::Broken].map(|state| (class, state)));
    let rare = |met: &Met| {
        let times = |what: &_| met.iter().filter(|is| *is == what).count();
        let mut all = wanted.iter().flatten();
        all.find(|what| times(what) < 2).copied()
    };
    for guest in 1..=MOST_GUESTS {
        wild_guest(Wild(guest.wrapping_mul(0x9e37_79b9_7f4a_7c15)), &mut met);
        if guest >= GUESTS && rare(&met).is_none() {
            return;
        }
    }
    panic!("{:?} is rare among {}", rare(&met), met.len());
}

/// What was reported of which device.
type Met = Vec<(DeviceClass, DeviceState)>;

/// All devices of one guest, and what it does to them.
fn wild_guest(mut wild: Wild, met: &mut Met) {
    let witness = Vbd::new(DOMID, 0);
    let (spec, fds, of_disk) = disk();
    // Their nodes are where those of two more disks would be: a path tells the bus nothing.
    let [screen, keyboard] = [2, 3].map(|index| Vbd::new(DOMID, index));
    let vif = Vif::new(DOMID, 0);
    let tap = tap_at("nxwild0", 2, "10.99.0.1");
    let disks = [
        witness.clone(),
        Vbd::new(DOMID, 1),
        screen.clone(),
        keyboard.clone(),
    ];
    let streams = private_store::start(
        DOMID,
        &super::tests::config(),
        &disks,
        std::slice::from_ref(&vif),
    )
    .unwrap();
    let (shared, reports) = super::tests::shared();
    let ends = Arc::new(Ends::default());
    let context = Context::of_pv(&shared, ends.clone());
    let (commands, ended) = start(
        shared.hub.clone(),
        Door::Streams(streams.tools),
        Arc::default(),
    )
    .unwrap();

    let mut fronts = Vec::new();
    let mut attach = |class, devid, [frontend, backend_path]: [String; 2], backend| {
        let id = DeviceId { class, devid };
        fronts.push((class, frontend.clone()));
        commands.send(Command::Attach {
            id,
            frontend,
            backend_path,
            spec: None,
            backend,
        });
    };
    let make = |spec: &DeviceSpec, fds| {
        registry::make(spec, fds, &context, false, |_| {
            unreachable!("nobody shows it")
        })
        .unwrap()
        .backend
    };
    attach(DeviceClass::Vbd, spec.id().devid, of_disk, make(&spec, fds));
    let class = DeviceClass::Vfb;
    let id = DeviceId { class, devid: 0 };
    let backend: Box<dyn Backend> = Box::new(crate::devices::vfb::make(id, 1, &context).unwrap());
    attach(class, 0, [screen.frontend, screen.backend], backend);
    let class = DeviceClass::Vkbd;
    let id = DeviceId { class, devid: 0 };
    let backend = Box::new(crate::devices::vkbd::make(id, (640, 480), &context));
    attach(class, 0, [keyboard.frontend, keyboard.backend], backend);
    if let Some(fds) = tap {
        let class = DeviceClass::Vif;
        let id = DeviceId { class, devid: 0 };
        let made = crate::devices::vif::make(id, &vif.mac, None, fds, &context, false).unwrap();
        attach(class, 0, [vif.frontend, vif.backend], Box::new(made));
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    commands.send(Command::Attach {
        id: DeviceId {
            class: DeviceClass::Vbd,
            devid: witness.devid,
        },
        frontend: witness.frontend.clone(),
        backend_path: witness.backend.clone(),
        spec: None,
        backend: Box::new(Counting(seen.clone())),
    });

    let mut guest = Client::from_stream(streams.guest);
    guest.set_timeout(Some(PATIENCE)).unwrap();
    // Grants 8 to 31: a few frames of the guest's, permitted, for domain 0.
    for gref in 8..32u64 {
        let entry = [1u32, 1 + (gref % FRAMES) as u32].map(u32::to_le_bytes);
        let at = GuestAddress(shared.region.grants + gref * 8);
        shared.memory.write_slice(&entry.concat(), at).unwrap();
    }
    // Frame 13: a screen of 64 x 48 pixels of 32 bits, whose list of frames is frame 14 (io/fbif.h).
    let put = |at: u64, value: u32| {
        let at = GuestAddress(at);
        shared.memory.write_slice(&value.to_le_bytes(), at).unwrap();
    };
    for (at, value) in [
        (16, 64),
        (20, 48),
        (24, 256),
        (28, 48 * 256),
        (32, 32),
        (40, 14),
    ] {
        put(13 * 4096 + at, value);
    }
    for page in 0..3 {
        put(14 * 4096 + u64::from(page) * 8, 15 + page);
    }
    for (class, front) in &fronts {
        if wild.next().is_multiple_of(2) {
            for (key, value) in good(*class) {
                guest.write(&format!("{front}/{key}"), value).unwrap();
            }
            guest.write(&format!("{front}/state"), "3").unwrap();
        }
    }
    for _ in 0..ROUNDS {
        let (_, front) = wild.one_of(&fronts).clone();
        for _ in 0..wild.next() % 6 {
            let key = *wild.one_of(&KEYS);
            let value = match wild.next() % 3 {
                0 => (*wild.one_of(&VALUES)).to_owned(),
                _ => (8 + wild.next() % 26).to_string(),
            };
            // Some of them are not its to write.
            let _ = guest.write(&format!("{front}/{key}"), &value);
        }
        match wild.next() % 16 {
            0 => {
                let key = *wild.one_of(&KEYS);
                let _ = guest.rm(&format!("{front}/{key}"));
            }
            1 => {
                let long = "9".repeat(wild.next() % 3000);
                let _ = guest.write(&format!("{front}/event-channel"), &long);
            }
            2..6 => {
                // Indices that are ahead, and a request of anything.
                let at = (1 + wild.next() as u64 % FRAMES) * 4096 + wild.next() as u64 % 1024;
                let word = (wild.next() as u32 % 40).to_le_bytes();
                shared.memory.write_slice(&word, GuestAddress(at)).unwrap();
                ends.send(wild.next());
            }
            6 => {
                let gref = 8 + wild.next() as u64 % 24;
                let at = GuestAddress(shared.region.grants + gref * 8);
                let entry = wild.next().to_le_bytes();
                shared.memory.write_slice(&entry, at).unwrap();
            }
            _ => {}
        }
        let state = *wild.one_of(&STATES);
        let _ = guest.write(&format!("{front}/state"), state);
    }
    let nodes = witness.frontend;
    guest.write(&format!("{nodes}/event-channel"), "5").unwrap();
    guest.write(&format!("{nodes}/state"), "3").unwrap();
    let state = format!("{}/state", witness.backend);
    let deadline = Instant::now() + PATIENCE;
    guest.watch(&state, "witness").unwrap();
    while guest.read(&state).unwrap() != "4" {
        assert!(Instant::now() < deadline, "it did not connect");
        guest.next_event(Some(PATIENCE)).unwrap();
    }
    assert!(lock(&seen).connected);
    assert!(finish(&commands, &ended, PATIENCE));
    while let Ok(report) = reports.try_recv() {
        if let Report::Device(status) = report {
            met.push((status.id.class, status.state));
        }
    }
}
