//! A Summagraphics tablet (MM 1201, later SummaSketch; MM protocol) on the second serial port, which every PC of Xen's has: a pointer that tells places to
//! a guest without USB.
//!
//! ```text
//!   guest --COM2, 0x2f8--> serial.rs --put--> Tablet: commands --> answers, mode
//!   person --touch--> Tablet (once the guest has asked for reports, and while it holds DTR) --take--> serial.rs --> guest
//!   report: 1 . id + + buttons(3) | x, low 7 bits | x, high | y, low | y, high
//! ```
//! Unless it is asked for reports it lies there and takes nothing that a person does. Relative mode, its self-test and text instead
//! of binary reports are not built: a line in the log says so.

use crate::device::{Device, Effect, Pointing, Ports, Region, Touch, Turn, Width};
use crate::serial::{Serial, Wire};
use crate::state::{self, StateError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const VERSION: u64 = 1;
/// COM2, counted from 0.
const PORT: usize = 1;
/// Reports that wait at most; answers, bytes.
const REPORTS: usize = 16;
const ANSWERS: usize = 64;
/// Tenths of an inch in each direction.
const SIZE: u32 = 117;
/// Lines an inch after a reset.
const LINES: u32 = 500;
/// Largest coordinate: 14 bits.
const LARGEST: u32 = 0x3fff;
/// Fractions of a side that a place is kept in.
const SIDE: u32 = 0xffff;
/// Buttons by their Linux codes, in the order of their bits: left, right, middle.
const BUTTONS: [u16; 3] = [0x110, 0x111, 0x112];
/// What it says that it is.
const IDENTITY: &[u8] = b"Noxen MM 1201\r\n";

/// When it reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// While a button is down.
    #[default]
    Switched,
    /// Always.
    Stream,
    /// When a button goes down.
    Point,
    /// When it is asked.
    Request,
}

/// Where the pointer was, in fractions of its sides, and which buttons were down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Spot {
    x: u32,
    y: u32,
    buttons: u8,
}

/// The tablet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tablet {
    mode: Mode,
    /// The guest has chosen a mode.
    asked: bool,
    /// Transmission is held up (XOFF).
    held: bool,
    /// All that comes is sent back.
    echoes: bool,
    /// y counts from the top.
    upper: bool,
    identity: bool,
    /// Largest coordinates.
    most: [u32; 2],
    /// A command without all of its arguments.
    command: Vec<u8>,
    now: Spot,
    waiting: VecDeque<Spot>,
    answers: VecDeque<u8>,
    /// Something that is not built was asked for.
    #[serde(skip)]
    unbuilt: Option<u8>,
}

impl Default for Tablet {
    fn default() -> Tablet {
        Tablet {
            mode: Mode::default(),
            asked: false,
            held: false,
            echoes: false,
            upper: false,
            identity: false,
            most: [LINES * SIZE / 10; 2],
            command: Vec::new(),
            now: Spot::default(),
            waiting: VecDeque::new(),
            answers: VecDeque::new(),
            unbuilt: None,
        }
    }
}

impl Tablet {
    /// A byte from the guest.
    fn put(&mut self, byte: u8) {
        if self.echoes && byte != 0 {
            return self.say(&[byte]);
        }
        self.command.push(byte);
        let length = match self.command[0] {
            b'r' => 5,
            b'G' | b'I' | b'z' => 2,
            _ => 1,
        };
        if self.command.len() == length {
            let command = std::mem::take(&mut self.command);
            self.act(&command);
        }
    }

    fn act(&mut self, command: &[u8]) {
        match command {
            [0] => {
                *self = Tablet {
                    now: self.now,
                    ..Tablet::default()
                }
            }
            [b'@'] => self.choose(Mode::Stream),
            [b'A'] => self.choose(Mode::Switched),
            [b'B'] => self.choose(Mode::Point),
            [b'D'] => self.choose(Mode::Request),
            [b'P'] if self.waiting.len() < REPORTS => self.waiting.push_back(self.now),
            [b'P'] => {}
            [b'a'] => {
                let answer = self.packet(self.most, 0);
                self.say(&answer);
            }
            [b'b'] => self.upper = true,
            [b'c'] => self.upper = false,
            [b'0' | b'1'] => self.identity = command[0] == b'1',
            [0x11] => self.held = false,
            [0x13] => self.held = true,
            [b'k'] => self.echoes = true,
            [letter @ (b'd'..=b'j' | b'q')] => {
                // Lines an inch; f, i and q are of 10, 20 and 40 lines a millimetre.
                let lines = match letter {
                    b'd' => 100,
                    b'e' => 200,
                    b'f' => 254,
                    b'g' => 400,
                    b'h' => 500,
                    b'i' => 508,
                    b'j' => 1000,
                    _ => 1016,
                };
                self.most = [lines * SIZE / 10; 2];
            }
            [b'r', sides @ ..] if sides.len() == 4 => {
                let side = |at: usize| u32::from(u16::from_le_bytes([sides[at], sides[at + 1]]));
                self.most = [side(0), side(2)].map(|side| side.clamp(1, LARGEST));
            }
            [b'z', b'?'] => self.say(IDENTITY),
            // Binary, absolute, how often, in which steps, at which rate of the line: as it does anyway.
            [b'z', b'b'] | [b'F' | b'Q'..=b'T' | b' '] | [b'G' | b'I', _] => {}
            [other, ..] => self.unbuilt = Some(*other),
            [] => {}
        }
    }

    fn choose(&mut self, mode: Mode) {
        (self.mode, self.asked) = (mode, true);
        self.waiting.clear();
    }

    fn say(&mut self, bytes: &[u8]) {
        let room = ANSWERS.saturating_sub(self.answers.len());
        self.answers.extend(bytes.iter().take(room));
    }

    /// Five bytes of a place or a size.
    fn packet(&self, [x, y]: [u32; 2], buttons: u8) -> [u8; 5] {
        let seven = |value: u32| (value & 0x7f) as u8;
        let head = 0x98 | u8::from(self.identity) << 5 | buttons;
        [head, seven(x), seven(x >> 7), seven(y), seven(y >> 7)]
    }

    /// For the guest, at most so many bytes.
    fn take(&mut self, most: usize) -> Vec<u8> {
        if self.held {
            return Vec::new();
        }
        while self.answers.len() < most {
            let Some(spot) = self.waiting.pop_front() else {
                break;
            };
            let down = [spot.x, if self.upper { spot.y } else { SIDE - spot.y }];
            let place = [0, 1].map(|side| down[side] * self.most[side] / SIDE);
            let packet = self.packet(place, spot.buttons);
            self.answers.extend(packet);
        }
        let count = most.min(self.answers.len());
        self.answers.drain(..count).collect()
    }

    /// A person did something; false if it is not the tablet's.
    fn touch(&mut self, touch: Touch) -> bool {
        let before = self.now;
        match touch {
            Touch::Key { code, pressed } => {
                let Some(bit) = BUTTONS.iter().position(|button| *button == code) else {
                    return false;
                };
                self.now.buttons = self.now.buttons & !(1 << bit) | u8::from(pressed) << bit;
            }
            Touch::Position {
                x,
                y,
                width,
                height,
                ..
            } => {
                (self.now.x, self.now.y) = (fraction(x, width), fraction(y, height));
            }
            Touch::Motion { .. } => return false,
        }
        let now = self.now;
        let tells = match self.mode {
            Mode::Stream => now != before,
            Mode::Switched => now != before && (now.buttons | before.buttons) != 0,
            Mode::Point => now.buttons & !before.buttons != 0,
            Mode::Request => false,
        };
        if tells {
            self.tell(now);
        }
        true
    }

    fn tell(&mut self, spot: Spot) {
        match self.waiting.back_mut() {
            // Only where it is in the end matters.
            Some(last) if last.buttons == spot.buttons => *last = spot,
            _ => self.waiting.push_back(spot),
        }
        if self.waiting.len() > REPORTS {
            self.waiting.pop_front();
        }
    }

    /// No tablet is so.
    fn is_wild(&self) -> bool {
        let wild = |spot: &Spot| spot.x > SIDE || spot.y > SIDE || spot.buttons > 7;
        self.most.iter().any(|side| !(1..=LARGEST).contains(side))
            || self.command.len() > 4
            || self.answers.len() > ANSWERS + 5
            || self.waiting.len() > REPORTS
            || self.waiting.iter().any(wild)
            || wild(&self.now)
    }
}

/// A coordinate among so many, as a fraction of [`SIDE`].
fn fraction(at: i32, count: u32) -> u32 {
    let last = i64::from(count.max(2)) - 1;
    let at = i64::from(at).clamp(0, last);
    (at * i64::from(SIDE) / last) as u32
}

/// The tablet at its end of the line.
#[derive(Debug, Clone, Default)]
struct End(Arc<Mutex<Tablet>>);

impl End {
    fn lock(&self) -> MutexGuard<'_, Tablet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire for End {
    fn put(&mut self, byte: u8) {
        self.lock().put(byte);
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        self.lock().take(most)
    }
}

/// The port with the tablet.
#[derive(Debug)]
pub struct Summa {
    serial: Serial,
    tablet: End,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    serial: Value,
    tablet: Tablet,
}

impl Summa {
    /// Switched on.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Summa {
        let tablet = End::default();
        Summa {
            serial: Serial::new(PORT, Box::new(tablet.clone())),
            tablet,
        }
    }

    fn is_used(&self) -> bool {
        self.serial.is_ready() && self.tablet.lock().asked
    }
}

impl Device for Summa {
    fn name(&self) -> &str {
        "summa-tablet"
    }

    fn ports(&self) -> &[Ports] {
        self.serial.ports()
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        self.serial.read(region, offset, width, turn)
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        self.serial.write(region, offset, width, value, turn);
        if let Some(command) = self.tablet.lock().unbuilt.take() {
            turn.effects.push(Effect::Log(format!(
                "summa-tablet: command {command:#04x} is not built, and does nothing"
            )));
        }
    }

    fn attend(&mut self, turn: &mut Turn) {
        self.serial.attend(turn);
    }

    fn pointing(&self) -> Option<Pointing> {
        self.is_used().then_some(Pointing::Absolute)
    }

    fn touch(&mut self, touch: Touch, turn: &mut Turn) -> bool {
        let taken = self.is_used() && self.tablet.lock().touch(touch);
        if taken {
            self.serial.attend(turn);
        }
        taken
    }

    fn came_later(&self) -> bool {
        true
    }

    fn reset(&mut self, turn: &mut Turn) {
        *self.tablet.lock() = Tablet::default();
        self.serial.reset(turn);
    }

    fn save(&self) -> Value {
        let saved = Saved {
            serial: self.serial.save(),
            tablet: self.tablet.lock().clone(),
        };
        state::wrap(VERSION, &saved)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, saved): (_, Saved) = state::unwrap(self.name(), VERSION, saved)?;
        if saved.tablet.is_wild() {
            return Err(StateError::wrong(self.name(), "a tablet that cannot be so"));
        }
        self.serial.restore(&saved.serial)?;
        *self.tablet.lock() = saved.tablet;
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub mod subject {
    //! The tablet for the conformance suite: somebody who points, a driver that asks.

    use super::*;
    use crate::conformance::{Step, Subject};

    /// Somebody at a tablet.
    #[derive(Debug, Clone, Copy)]
    pub struct Somebody;

    /// The guest sends bytes.
    pub fn send(bytes: &[u8]) -> Vec<Step> {
        let out = |byte: &u8| Step::Write(Region::Ports(0), 0, Width::Byte, u32::from(*byte));
        bytes.iter().map(out).collect()
    }

    /// DTR, RTS and OUT 2; an interrupt for data.
    pub fn open() -> Vec<Step> {
        let set = |at, value| Step::Write(Region::Ports(0), at, Width::Byte, value);
        vec![set(4, 0x0b), set(1, 1)]
    }

    impl Subject for Somebody {
        type Device = Summa;

        fn make(&self) -> Summa {
            Summa::new()
        }

        fn happen(&self, device: &mut Summa, choice: u8, turn: &mut Turn) {
            let touch = match choice % 2 {
                0 => Touch::Key {
                    code: 0x110 + u16::from(choice / 4 % 4),
                    pressed: choice & 0x40 != 0,
                },
                _ => Touch::Position {
                    x: i32::from(choice) * 3,
                    y: i32::from(choice),
                    wheel: 0,
                    width: 640,
                    height: u32::from(choice / 2),
                },
            };
            device.touch(touch, turn);
        }

        fn moves(&self) -> Vec<Vec<Step>> {
            let mut used = open();
            used.extend(send(b"\0Bz?aF@b"));
            used.extend([Step::Happen(0x81), Step::Happen(0x40)]);
            vec![
                used,
                open(),
                send(b"hr\x10\x20\x30\x40A"),
                send(b"\x13P\x11k..\0D"),
                vec![Step::Read(Region::Ports(0), 0, Width::Byte); 8],
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::subject::{open, send, Somebody};
    use super::*;
    use crate::conformance::{Ram, Run, Step, Subject};

    fn opened() -> Run<'static, Somebody> {
        let mut run = Run::new(&Somebody, Somebody.make(), Ram::new());
        run.go(&open());
        run
    }

    /// All that the guest can read now.
    fn read(run: &mut Run<'_, Somebody>) -> Vec<u8> {
        let port = |at| Step::Read(Region::Ports(0), at, Width::Byte);
        let mut all = Vec::new();
        while run.go(&[port(5)])[0].value & 1 != 0 {
            all.push(run.go(&[port(0)])[0].value as u8);
        }
        all
    }

    fn touch(run: &mut Run<'_, Somebody>, touch: Touch) -> (bool, Vec<Effect>) {
        let ram = Ram::new();
        let mut effects = Vec::new();
        let mut turn = Turn {
            now: 0,
            memory: &ram,
            effects: &mut effects,
        };
        let taken = run.device().touch(touch, &mut turn);
        (taken, effects)
    }

    fn point(x: i32, y: i32) -> Touch {
        Touch::Position {
            x,
            y,
            wheel: 0,
            width: 640,
            height: 480,
        }
    }

    const LEFT: Touch = Touch::Key {
        code: 0x110,
        pressed: true,
    };

    #[test]
    fn driver_finds_it_and_is_told_its_size() {
        let mut run = opened();
        // As GPM does.
        run.go(&send(b"\0Bz?"));
        assert_eq!(read(&mut run), IDENTITY);
        run.go(&send(b"a"));
        // 5850 lines.
        assert_eq!(read(&mut run), [0x98, 0x5a, 0x2d, 0x5a, 0x2d]);
        run.go(&send(b"1ja"));
        assert_eq!(read(&mut run), [0xb8, 0x34, 0x5b, 0x34, 0x5b]);
        run.go(&send(b"r\x80\x02\xff\xffa"));
        assert_eq!(read(&mut run), [0xb8, 0, 5, 0x7f, 0x7f]);
        let effects = run.go(&send(b"t")).remove(0).effects;
        let unbuilt =
            |effect: &Effect| matches!(effect, Effect::Log(line) if line.contains("0x74"));
        assert!(effects.iter().any(unbuilt));
        run.go(&send(b"kx\0"));
        assert_eq!(read(&mut run), b"x");
    }

    #[test]
    fn places_are_told_once_the_guest_asks_and_as_long_as_it_listens() {
        let mut run = opened();
        assert_eq!(touch(&mut run, point(639, 0)), (false, Vec::new()));
        assert_eq!(run.device().pointing(), None);
        run.go(&send(b"F@b"));
        assert_eq!(run.device().pointing(), Some(Pointing::Absolute));
        let (taken, effects) = touch(&mut run, point(639, 0));
        assert_eq!(
            (taken, effects.first()),
            (true, Some(&Effect::Line(3, true)))
        );
        assert_eq!(read(&mut run), [0x98, 0x5a, 0x2d, 0, 0]);
        touch(&mut run, LEFT);
        assert_eq!(read(&mut run), [0x99, 0x5a, 0x2d, 0, 0]);
        // From the bottom.
        run.go(&send(b"c"));
        touch(&mut run, point(0, 0));
        assert_eq!(read(&mut run), [0x99, 0, 0, 0x5a, 0x2d]);
        // Keys and movements are others'.
        let key = Touch::Key {
            code: 30,
            pressed: true,
        };
        assert!(!touch(&mut run, key).0);
        run.go(&[Step::Write(Region::Ports(0), 4, Width::Byte, 0)]);
        assert!(!touch(&mut run, point(5, 5)).0);
        assert_eq!(run.device().pointing(), None);
    }

    #[test]
    fn modes_say_when_it_reports_and_a_held_line_keeps_the_last_places() {
        let mut run = opened();
        run.go(&send(b"A"));
        touch(&mut run, point(1, 1));
        assert!(read(&mut run).is_empty());
        touch(&mut run, LEFT);
        assert_eq!(read(&mut run).len(), 5);
        run.go(&send(b"D"));
        touch(&mut run, point(9, 9));
        assert!(read(&mut run).is_empty());
        run.go(&send(b"P"));
        assert_eq!(read(&mut run).len(), 5);
        run.go(&send(b"@\x13"));
        for at in 0..100 {
            touch(&mut run, point(at, at));
        }
        assert!(read(&mut run).is_empty());
        run.go(&send(b"\x11"));
        // 99 of 639 of 5850 lines, from the left.
        let report = read(&mut run);
        assert_eq!((report.len(), &report[..3]), (5, &[0x99, 10, 7][..]));
    }
}
