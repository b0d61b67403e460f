use super::*;
use noxen_control::device::{VncSpec, VncTls};
use noxen_control::screen::{Input, Part};
use noxen_display::{Size, Surface};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Mutex;

const LIMIT: Duration = Duration::from_secs(30);
const SIZE: Size = Size {
    width: 640,
    height: 800,
};

/// A screen of one colour.
#[derive(Default)]
struct Wall {
    colour: AtomicU32,
    changed: Mutex<Vec<Part>>,
    wake: Mutex<Option<Arc<OwnedFd>>>,
}

impl Wall {
    fn paint(&self, colour: u32) {
        self.colour.store(colour, Ordering::Relaxed);
        self.changed.lock().unwrap().push(SIZE.whole());
        let wake = self.wake.lock().unwrap();
        rustix::io::write(wake.as_ref().unwrap(), &1u64.to_ne_bytes()).unwrap();
    }
}

impl Surface for Wall {
    fn size(&self) -> Size {
        SIZE
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        let colour = self.colour.load(Ordering::Relaxed);
        into.resize(into.len() + (part.width * part.height) as usize, colour);
    }
}

impl Picture for Wall {
    fn take_changes(&self) -> Vec<Part> {
        std::mem::take(&mut *self.changed.lock().unwrap())
    }

    fn tell(&self, wake: Arc<OwnedFd>) {
        *self.wake.lock().unwrap() = Some(wake);
    }
}

struct Hands(Sender<Input>);

impl Touch for Hands {
    fn push(&self, inputs: &[Input], _: Size) {
        for input in inputs {
            let _ = self.0.send(*input);
        }
    }

    fn is_absolute(&self) -> bool {
        true
    }
}

struct Room {
    wall: Arc<Wall>,
    inputs: Receiver<Input>,
    port: u16,
    _server: Server,
}

fn room(password: Option<&str>) -> Room {
    room_by(password, None)
}

fn room_by(password: Option<&str>, tls: Option<VncTls>) -> Room {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let wall = Arc::new(Wall::default());
    let (sender, inputs) = channel();
    let spec = VncSpec {
        title: "wall".into(),
        password: password.map(str::to_owned),
        keymap: None,
        tls,
    };
    let hands = Box::new(Hands(sender));
    let report: Report = Box::new(|_, _| {});
    let server = Server::start(
        "vnc-test".into(),
        listener,
        crate::viewers::house(&spec).unwrap(),
        wall.clone(),
        hands,
        report,
    );
    Room {
        wall,
        inputs,
        port,
        _server: server.unwrap(),
    }
}

impl Room {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// One that is let in without a password.
    fn viewer(&self) -> TcpStream {
        let mut stream = self.connect();
        read(&mut stream, 12);
        // 3.3: the security type is told, not asked for.
        stream.write_all(b"RFB 003.003\n\x01").unwrap();
        assert_eq!(read(&mut stream, 4), [0, 0, 0, 1]);
        read(&mut stream, 24 + 4);
        stream
    }
}

fn read(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Asks for a picture of the upper left corner and takes it; the colour.
fn look(stream: &mut (impl Read + Write), incremental: bool) -> u32 {
    stream
        .write_all(&[3, incremental.into(), 0, 0, 0, 0, 0, 16, 0, 16])
        .unwrap();
    let head = read(stream, 16);
    assert_eq!(head[..4], [0, 0, 0, 1]);
    let pixels = read(stream, 16 * 16 * 4);
    u32::from_le_bytes(pixels[..4].try_into().unwrap())
}

#[test]
fn viewer_sees_changes_and_its_keys_reach_the_guest() {
    let room = room(None);
    let mut viewer = room.viewer();
    assert_eq!(look(&mut viewer, false), 0);
    room.wall.paint(0x123456);
    assert_eq!(look(&mut viewer, true), 0x123456);
    viewer.write_all(&[4, 1, 0, 0, 0, 0, 0, b'a']).unwrap();
    let key = |pressed| Input::Key { code: 30, pressed };
    assert_eq!(room.inputs.recv_timeout(LIMIT), Ok(key(true)));
    // It leaves with the key down.
    drop(viewer);
    assert_eq!(room.inputs.recv_timeout(LIMIT), Ok(key(false)));
}

#[test]
fn picture_larger_than_a_rectangle_comes_whole_without_further_asking() {
    let room = room(None);
    let mut viewer = room.viewer();
    // Continuous updates, which are taken once they are known.
    viewer.write_all(&[2, 0, 0, 1]).unwrap();
    viewer.write_all(&(-313i32).to_be_bytes()).unwrap();
    assert_eq!(read(&mut viewer, 1), [150]);
    viewer
        .write_all(&[150, 1, 0, 0, 0, 0, 2, 0x80, 3, 0x20])
        .unwrap();
    // More pixels than a rectangle has, several times over.
    for colour in 1..4 {
        room.wall.paint(colour);
        let mut pixels = 0;
        while pixels < 640 * 800 {
            let head = read(&mut viewer, 4);
            for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
                let part = read(&mut viewer, 12);
                let side = |at: usize| usize::from(u16::from_be_bytes([part[at], part[at + 1]]));
                read(&mut viewer, side(4) * side(6) * 4);
                pixels += side(4) * side(6);
            }
        }
        assert_eq!(pixels, 640 * 800);
    }
}

#[test]
fn viewer_that_does_not_read_stops_nobody() {
    let room = room(None);
    let mut lazy = room.viewer();
    let mut good = room.viewer();
    // Far more pictures than sockets hold, none of them read.
    for colour in 0..40 {
        lazy.write_all(&[3, 0, 0, 0, 0, 0, 2, 0x80, 3, 0x20])
            .unwrap();
        room.wall.paint(colour);
        assert_eq!(look(&mut good, false), colour);
    }
}

#[test]
fn more_viewers_than_places_are_turned_away() {
    let room = room(None);
    let mut viewers: Vec<_> = (0..MOST).map(|_| room.viewer()).collect();
    let mut bytes = [0; 12];
    assert_eq!(room.connect().read(&mut bytes).unwrap(), 0);
    // A place that is left can be taken.
    viewers.pop();
    viewers[0].write_all(&[0xff, 0xff]).unwrap();
    assert_eq!(viewers[0].read(&mut bytes).unwrap(), 0);
    room.viewer();
}

#[test]
fn guessing_is_refused_after_a_while() {
    let room = room(Some("secret"));
    for guess in 0.. {
        assert!(guess < 10, "guessing goes on");
        let mut stream = room.connect();
        let mut version = [0; 12];
        if stream.read(&mut version).unwrap() == 0 {
            assert_eq!(guess, 5);
            return;
        }
        stream.write_all(b"RFB 003.003\n").unwrap();
        let challenge = read(&mut stream, 20);
        assert_eq!(challenge[..4], [0, 0, 0, 2]);
        stream.write_all(&[guess; 16]).unwrap();
        assert_eq!(read(&mut stream, 4), [0, 0, 0, 1]);
        // Then it is sent away.
        assert_eq!(stream.read(&mut version).unwrap(), 0);
    }
}

#[path = "tls_tests.rs"]
mod tls;
