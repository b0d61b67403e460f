//! The bus with a real store core, a front end played by the test, and a back end that only counts.

use super::*;
use crate::devices::backend::{ConnectError, Frontend, Published, Reporter};
use crate::devices::list::finish;
use crate::domain::calls::Shared;
use crate::domain::pv::Config;
use crate::domain::region::{ram_pieces, Needs, Region};
use crate::log::Log;
use crate::private_store::{self, Vbd};
use crate::vstate::memory::DomainMemory;
use noxen_control::DeviceClass;
use noxen_saved_image::device as state;
use noxen_xenstore::client::{Client, Nodes};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;
use vmm_sys_util::eventfd::EventFd;

pub const DOMID: u32 = 3;
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub struct Seen {
    pub connected: bool,
    reporter: Option<Reporter>,
}

/// Notes whether it is connected.
pub struct Counting(pub Arc<Mutex<Seen>>);

impl Backend for Counting {
    fn features(&self) -> Published {
        vec![("feature-x", "1".into())]
    }

    fn connect(
        &mut self,
        frontend: &mut Frontend<'_>,
        reporter: Reporter,
    ) -> Result<Published, ConnectError> {
        let port = frontend.needed("event-channel")?;
        if port == 0 {
            return Err(ConnectError::refused("port 0"));
        }
        let mut seen = lock(&self.0);
        seen.connected = true;
        seen.reporter = Some(reporter);
        Ok(vec![("sectors", "8".into())])
    }

    fn disconnect(&mut self) {
        lock(&self.0).connected = false;
    }

    fn freeze(&mut self) -> Device {
        let connected = std::mem::take(&mut lock(&self.0).connected);
        Device::Vbd(state::Vbd {
            devid: 51712,
            connected,
        })
    }

    fn take_up(&mut self, _saved: Device) {}

    fn again(&self) -> Result<Vec<OwnedFd>, String> {
        Ok(Vec::new())
    }
}

struct World {
    guest: Client,
    vbd: Vbd,
    id: DeviceId,
    commands: Commands,
    ended: Receiver<()>,
    store: UnixStream,
    seen: Arc<Mutex<Seen>>,
    reports: Receiver<Report>,
}

/// A domain of 4 MiB, and what is reported of it.
pub fn shared() -> (Shared, Receiver<Report>) {
    let needs = Needs {
        max_pages: 1024,
        vcpus: 1,
        image_size: 4096,
        bits32: false,
    };
    let region = Region::plan(needs).unwrap();
    let memory = DomainMemory::new(None, &ram_pieces(1024), region.piece()).unwrap();
    let (sender, reports) = channel();
    let shared = Shared::new(
        Log::new(None, DOMID, "test"),
        memory.map,
        memory.ram_file,
        region,
        1024,
        None,
        sender,
        EventFd::new(0).unwrap(),
    );
    (shared, reports)
}

/// What its store is filled by.
pub fn config() -> Config {
    Config {
        domid: DOMID,
        uuid: [0; 16],
        memory_mib: 64,
        maxmem_mib: 64,
        vcpus: 1,
        kernel_path: String::new(),
        cmdline: String::new(),
        tune: true,
    }
}

fn world() -> World {
    let vbd = Vbd::new(DOMID, 0);
    let streams = private_store::start(DOMID, &config(), std::slice::from_ref(&vbd), &[]).unwrap();
    // The last one is used first.
    let store = streams.tools[1].try_clone().unwrap();
    let (shared, reports) = shared();
    let door = Door::Streams(streams.tools);
    let (commands, ended) = start(shared.hub, door, Arc::default()).unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let id = DeviceId {
        class: DeviceClass::Vbd,
        devid: vbd.devid,
    };
    commands.send(Command::Attach {
        id,
        frontend: vbd.frontend.clone(),
        backend_path: vbd.backend.clone(),
        spec: None,
        backend: Box::new(Counting(seen.clone())),
    });
    let mut guest = Client::from_stream(streams.guest);
    guest.set_timeout(Some(PATIENCE)).unwrap();
    guest.watch(&format!("{}/state", vbd.backend), "b").unwrap();
    World {
        guest,
        vbd,
        id,
        commands,
        ended,
        store,
        seen,
        reports,
    }
}

impl World {
    /// Waits until the back end's state is `state`.
    fn backend_is(&mut self, state: u32) {
        let path = format!("{}/state", self.vbd.backend);
        let deadline = Instant::now() + PATIENCE;
        while self.guest.read(&path).unwrap() != state.to_string() {
            assert!(Instant::now() < deadline, "state {state} did not come");
            self.guest.next_event(Some(PATIENCE)).unwrap();
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let path = format!("{}/{key}", self.vbd.frontend);
        self.guest.write(&path, value).unwrap();
    }

    fn reported(&self) -> (DeviceState, Option<String>) {
        match self.reports.recv_timeout(PATIENCE).unwrap() {
            Report::Device(status) => (status.state, status.reason),
            other => panic!("{other:?}"),
        }
    }

    fn connect(&mut self) {
        self.backend_is(2);
        self.set("event-channel", "5");
        self.set("state", "3");
        self.backend_is(4);
        assert_eq!(self.reported().0, DeviceState::Connected);
    }

    fn end(self) {
        assert!(finish(&self.commands, &self.ended, PATIENCE));
    }
}

#[test]
fn device_connects_closes_and_connects_again() {
    let mut world = world();
    world.backend_is(2);
    let feature = format!("{}/feature-x", world.vbd.backend);
    assert_eq!(world.guest.read(&feature).unwrap(), "1");
    world.connect();
    assert!(lock(&world.seen).connected);
    let sectors = format!("{}/sectors", world.vbd.backend);
    assert_eq!(world.guest.read(&sectors).unwrap(), "8");
    world.set("state", "5");
    world.backend_is(5);
    assert!(!lock(&world.seen).connected);
    assert_eq!(world.reported().0, DeviceState::Waiting);
    world.set("state", "6");
    world.backend_is(6);
    world.set("state", "1");
    world.connect();
    world.end();
}

#[test]
fn rings_are_let_go_while_the_guest_stands_still_and_taken_again_without_a_word_to_it() {
    let mut world = world();
    world.connect();
    let stale = lock(&world.seen).reporter.take().unwrap();
    let freeze = |world: &World| {
        let (answer, answered) = channel();
        world.commands.send(Command::Freeze(answer));
        answered.recv_timeout(PATIENCE).unwrap()
    };
    let states = freeze(&world);
    assert_eq!((states.len(), states[0].is_connected()), (1, true));
    assert!(!lock(&world.seen).connected);
    let (answer, answered) = channel();
    world.commands.send(Command::Thaw(answer));
    answered.recv_timeout(PATIENCE).unwrap();
    assert!(lock(&world.seen).connected);
    // Of the rings before: says nothing of these.
    stale.broken("old news");
    assert_eq!(
        world
            .guest
            .read(&format!("{}/state", world.vbd.backend))
            .unwrap(),
        "4"
    );
    // One that nobody uses stays so.
    world.set("state", "6");
    world.backend_is(6);
    assert!(!freeze(&world)[0].is_connected());
    let (answer, answered) = channel();
    world.commands.send(Command::Thaw(answer));
    answered.recv_timeout(PATIENCE).unwrap();
    assert!(!lock(&world.seen).connected);
    world.end();
}

#[test]
fn nodes_of_the_guest_are_read_for_whoever_asks() {
    let mut world = world();
    world.set("a/b", "c");
    let (answer, answered) = channel();
    let home = format!("/local/domain/{DOMID}");
    let directories = vec!["device".to_owned(), "none".to_owned()];
    world.commands.send(Command::Nodes {
        home: home.clone(),
        directories,
        answer,
    });
    let nodes = answered.recv_timeout(PATIENCE).unwrap().unwrap();
    let path = world
        .vbd
        .frontend
        .strip_prefix(&format!("{home}/"))
        .unwrap();
    assert!(
        nodes.contains(&(format!("{path}/a/b"), "c".into())),
        "{nodes:?}"
    );
    assert_eq!(nodes[0].0, "device");
    world.end();
}

#[test]
fn detach_asks_the_front_end_and_tells_when_it_is_done() {
    let mut world = world();
    world.connect();
    let id = world.id;
    world.commands.send(Command::Detach { id, force: false });
    world.backend_is(5);
    assert_eq!(world.reported().0, DeviceState::Closing);
    assert!(lock(&world.seen).connected);
    world.set("state", "6");
    world.backend_is(6);
    assert_eq!(world.reported().0, DeviceState::Closed);
    assert!(!lock(&world.seen).connected);
    world.end();
}

#[test]
fn front_end_with_wild_nodes_breaks_its_device_with_a_reason() {
    let mut world = world();
    world.backend_is(2);
    world.set("event-channel", "many");
    world.set("state", "3");
    world.backend_is(5);
    let (state, reason) = world.reported();
    assert_eq!(state, DeviceState::Broken);
    assert!(reason.unwrap().contains("event-channel"));
    world.end();
}

#[test]
fn report_of_rings_that_are_gone_breaks_nothing() {
    let mut world = world();
    world.connect();
    let reporter = lock(&world.seen).reporter.take().unwrap();
    world.set("state", "6");
    world.backend_is(6);
    assert_eq!(world.reported().0, DeviceState::Waiting);
    world.set("state", "1");
    world.connect();
    reporter.broken("old news");
    lock(&world.seen).reporter.take().unwrap().broken("lies");
    world.backend_is(5);
    assert_eq!(world.reported().1.as_deref(), Some("lies"));
    world.end();
}

#[test]
fn store_that_comes_back_finds_devices_in_use_and_is_told_what_it_missed() {
    let mut world = world();
    world.connect();
    world.store.shutdown(Shutdown::Both).unwrap();
    // Whether this is written before the loss is noticed or after: it is written.
    let reporter = lock(&world.seen).reporter.take().unwrap();
    reporter.broken("lies");
    world.backend_is(5);
    assert_eq!(world.reported().0, DeviceState::Broken);
    world.set("state", "6");
    world.backend_is(6);
    world.end();
}

#[test]
fn change_of_a_front_end_while_the_store_is_away_is_seen_afterwards() {
    let mut world = world();
    world.connect();
    world.store.shutdown(Shutdown::Both).unwrap();
    assert!(lock(&world.seen).connected);
    world.set("state", "6");
    world.backend_is(6);
    assert!(!lock(&world.seen).connected);
    world.reported();
    world.set("state", "1");
    world.connect();
    world.end();
}

#[test]
fn device_that_does_not_finish_is_not_waited_for_beyond_the_limit() {
    let mut world = world();
    world.connect();
    let seen = world.seen.clone();
    // What the back end needs for its disconnecting is taken: an image that hangs.
    let held = lock(&seen);
    let limit = Duration::from_millis(100);
    assert!(!finish(&world.commands, &world.ended, limit));
    assert!(held.connected);
    drop(held);
    assert!(finish(&world.commands, &world.ended, PATIENCE));
    assert!(!lock(&seen).connected);
}

#[test]
fn bus_that_has_ended_has_let_go_of_its_devices() {
    let mut world = world();
    world.connect();
    let seen = world.seen.clone();
    world.end();
    // A device that is let go of closes its image; the process may end now.
    assert_eq!(Arc::strong_count(&seen), 1);
}
