//! One viewer, from its first byte to its last.
//!
//! ```text
//!   Version --3.3------------------> (Challenge) --> Init --> Running --feed--> inputs for the guest
//!      `----3.7, 3.8: Security ------'   |wrong                  ^
//!                        |          ^    v                      update: asked, output drained, something changed
//!         VeNCrypt: Revision, Kind, |  Ended
//!                   Handshake ------'
//! ```
//! With TLS only VeNCrypt's kinds with a certificate are offered (0.2; X509None, X509Vnc). Whoever owns the socket shakes hands
//! when [`Session::awaits_tls`], and says so by [`Session::tls_is_up`]; what came in the clear behind the choice is never taken.
//!
//! An update is one message, whatever its size, because viewers wait for the whole of what they asked for. Its rectangles are
//! chosen when it begins; each is encoded when what was before it has gone out, and what else is to be said waits behind it.
//!
//! Bounds: input is at most one message (4 KiB); output at most a rectangle of [`PIXELS`] beyond [`LOW`] bytes, and
//! [`MOST_OUTPUT`] of answers. A viewer that does not read costs nothing more.

use crate::auth::{self, CHALLENGE};
use crate::encode::{self, Encoder, Encoding, MAX_WIDTH};
use crate::keys::{Keyboard, Layout};
use crate::message::{self, Message};
use crate::pixel::{Format, Writer};
use crate::pointer::Pointer;
use crate::surface::{Changes, Size, Surface};
use noxen_control::screen::{Input, Part};
use std::collections::VecDeque;

/// Most pixels of a rectangle.
pub const PIXELS: u32 = 64 << 10;
/// Nothing is encoded while more bytes than that wait.
pub const LOW: usize = 16 << 10;
/// Most rectangles that are looked for, for one update; large ones are sent in pieces.
const RECTANGLES: usize = 2048;
/// Most bytes of answers that wait for a viewer that asks and does not read.
pub const MOST_OUTPUT: usize = 4 << 20;
/// Pieces: tight does better with such that have few colours.
const TIGHT_PIECE: (u32, u32) = (256, 128);
/// See [`TIGHT_PIECE`].
const PIECE: (u32, u32) = (MAX_WIDTH, PIXELS / MAX_WIDTH);

const DESKTOP_SIZE: i32 = -223;
const POINTER_KIND: i32 = -257;
const EXTENDED_KEYS: i32 = -258;
const EXTENDED_SIZE: i32 = -308;
const FENCE: i32 = -312;
const CONTINUOUS: i32 = -313;
const LONG_BUTTONS: i32 = -316;
/// Extensions that we know.
const KNOWN: [i32; 7] = [
    DESKTOP_SIZE,
    POINTER_KIND,
    EXTENDED_KEYS,
    EXTENDED_SIZE,
    FENCE,
    CONTINUOUS,
    LONG_BUTTONS,
];
/// Extensions that say how hard to pack, 0 to 9.
const LEVELS: std::ops::RangeInclusive<i32> = -256..=-247;

/// Security type and revision of VeNCrypt, and its kinds that we serve.
const VENCRYPT: u8 = 19;
const VENCRYPT_REVISION: [u8; 2] = [0, 2];
const X509_NONE: u32 = 260;
const X509_VNC: u32 = 261;

/// Flags of a fence that we can promise: everything is done in order.
const FENCE_FLAGS: u32 = 7;
const FENCE_REQUEST: u32 = 1 << 31;

/// What is the same for all viewers of a screen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Title of their windows.
    pub name: String,
    /// What they have to know; nothing: everybody is let in. Eight bytes of it count.
    pub password: Option<String>,
    /// Where the guest's keyboard has its characters.
    pub layout: &'static Layout,
    /// They are served by TLS, and in no other way.
    pub tls: bool,
}

/// Why a viewer is sent away. What waits in the output is for it nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It does not know the password.
    #[error("wrong password")]
    Password,
    /// It said what nobody says.
    #[error("broken protocol: {0}")]
    Protocol(String),
}

fn broken(what: impl Into<String>) -> Ended {
    Ended::Protocol(what.into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Version,
    Security,
    Revision,
    Kind,
    Handshake,
    Challenge,
    Init,
    Running,
    Over,
}

/// What the viewer is to be told besides pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// The size.
    Size,
    /// It may not set the size.
    SizeRefused,
    /// Whether the pointer tells places or movements.
    Pointer,
    /// It may send this extension's messages.
    Granted(i32),
}

/// One viewer.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    challenge: [u8; CHALLENGE],
    phase: Phase,
    /// Minor version: 3, 7 or 8.
    minor: u8,
    input: Vec<u8>,
    /// Bytes to come that nobody wants.
    skip: u32,
    /// Encodings to come.
    encodings: u16,
    output: Vec<u8>,
    /// Rectangles of the update that was begun.
    sending: VecDeque<Part>,
    /// Answers that wait for its end.
    later: Vec<u8>,
    writer: Writer,
    /// The format of the next update, if it is another.
    format: Option<Format>,
    encoder: Encoder,
    encoding: Option<Encoding>,
    /// Extensions that the viewer knows, of [`KNOWN`].
    knows: Vec<i32>,
    notices: Vec<Notice>,
    /// The size that the viewer believes.
    told: Size,
    absolute: bool,
    changes: Changes,
    asked: Option<Part>,
    continuous: Option<Part>,
    keyboard: Keyboard,
    pointer: Pointer,
}

impl Session {
    /// A viewer that has just connected to a screen of `size`. `challenge` is chance, of which no viewer may know anything
    /// before.
    pub fn new(settings: &Settings, challenge: [u8; CHALLENGE], size: Size) -> Session {
        Session {
            challenge,
            phase: Phase::Version,
            minor: 3,
            input: Vec::new(),
            skip: 0,
            encodings: 0,
            output: b"RFB 003.008\n".to_vec(),
            sending: VecDeque::new(),
            later: Vec::new(),
            format: None,
            writer: Writer::new(Format::OURS),
            encoder: Encoder::new(),
            encoding: None,
            knows: Vec::new(),
            notices: Vec::new(),
            told: size,
            absolute: true,
            changes: Changes::none(size),
            asked: None,
            continuous: None,
            keyboard: Keyboard::new(settings.layout),
            pointer: Pointer::default(),
            settings: settings.clone(),
        }
    }

    /// It was let in.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// What waits to be sent; whoever has sent some removes it from the front.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// It waits for a picture, and can take one.
    pub fn wants_update(&self) -> bool {
        self.is_running()
            && self.output.len() <= LOW
            && (!self.sending.is_empty() || self.asked.is_some() || self.continuous.is_some())
    }

    /// Where an answer goes: behind the update that was begun.
    fn answers(&mut self) -> &mut Vec<u8> {
        if self.sending.is_empty() {
            &mut self.output
        } else {
            &mut self.later
        }
    }

    fn knows(&self, extension: i32) -> bool {
        self.knows.contains(&extension)
    }

    /// `part` of the screen has changed.
    pub fn changed(&mut self, part: Part) {
        self.changes.add(part);
    }

    /// Places of the pointer mean something to the guest; otherwise movements do.
    pub fn set_absolute(&mut self, absolute: bool) {
        if self.absolute != absolute {
            self.absolute = absolute;
            if self.knows(POINTER_KIND) {
                self.notice(Notice::Pointer);
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// Lets go of what the viewer holds: it is gone.
    pub fn release_all(&mut self, inputs: &mut Vec<Input>) {
        self.keyboard.release_all(inputs);
        self.pointer.release_all(inputs);
    }

    /// Takes what the viewer sent; what it did is appended to `inputs`.
    pub fn feed(&mut self, bytes: &[u8], inputs: &mut Vec<Input>) -> Result<(), Ended> {
        self.input.extend_from_slice(bytes);
        let mut used = 0;
        let result = loop {
            match self.step(used, inputs) {
                Ok(0) => break Ok(()),
                Ok(count) => used += count,
                Err(ended) => break Err(ended),
            }
        };
        self.input.drain(..used);
        if result.is_err() {
            self.phase = Phase::Over;
        }
        result
    }

    /// Takes one thing from the input, which starts at `at`; how many bytes it was, 0 while it is not whole.
    fn step(&mut self, at: usize, inputs: &mut Vec<Input>) -> Result<usize, Ended> {
        if self.output.len() + self.later.len() > MOST_OUTPUT {
            return Err(broken("more questions than answers are read"));
        }
        let rest = &self.input[at..];
        if self.skip > 0 {
            let count = rest.len().min(self.skip as usize);
            self.skip -= count as u32;
            return Ok(count);
        }
        if self.encodings > 0 {
            let Some(number) = rest.first_chunk() else {
                return Ok(0);
            };
            let number = i32::from_be_bytes(*number);
            self.encodings -= 1;
            self.take_encoding(number);
            return Ok(4);
        }
        match self.phase {
            Phase::Version => {
                let Some(version) = rest.first_chunk::<12>().copied() else {
                    return Ok(0);
                };
                self.take_version(&version)?;
                Ok(12)
            }
            Phase::Security => {
                let Some(chosen) = rest.first().copied() else {
                    return Ok(0);
                };
                if chosen != self.security() {
                    return Err(broken(format!(
                        "security type {chosen}, which was not offered"
                    )));
                }
                self.begin_security();
                Ok(1)
            }
            Phase::Revision => {
                let Some(revision) = rest.first_chunk::<2>().copied() else {
                    return Ok(0);
                };
                self.take_revision(revision)?;
                Ok(2)
            }
            Phase::Kind => {
                let Some(kind) = rest.first_chunk().copied() else {
                    return Ok(0);
                };
                self.take_kind(u32::from_be_bytes(kind))?;
                Ok(4)
            }
            // It has to wait for the answer to its choice before it begins with TLS.
            Phase::Handshake if rest.is_empty() => Ok(0),
            Phase::Handshake => Err(broken("bytes in the clear where TLS was agreed upon")),
            Phase::Challenge => {
                let Some(given) = rest.first_chunk::<CHALLENGE>().copied() else {
                    return Ok(0);
                };
                self.take_answer(&given)?;
                Ok(CHALLENGE)
            }
            Phase::Init => {
                // Whether others may look on, too: they may.
                if rest.is_empty() {
                    return Ok(0);
                }
                self.welcome();
                Ok(1)
            }
            Phase::Running => {
                let long = self.knows(LONG_BUTTONS);
                match message::parse(rest, long).map_err(broken)? {
                    Some((message, length)) => {
                        self.take(message, inputs)?;
                        Ok(length)
                    }
                    None => Ok(0),
                }
            }
            Phase::Over => Ok(rest.len()),
        }
    }

    /// 1: none, 2: by password, 19: VeNCrypt.
    fn security(&self) -> u8 {
        match &self.settings {
            Settings { tls: true, .. } => VENCRYPT,
            Settings {
                password: Some(_), ..
            } => 2,
            Settings { password: None, .. } => 1,
        }
    }

    /// What VeNCrypt calls TLS with a certificate: and nothing, or the password, inside it.
    fn kind(&self) -> u32 {
        match &self.settings.password {
            Some(_) => X509_VNC,
            None => X509_NONE,
        }
    }

    fn take_revision(&mut self, revision: [u8; 2]) -> Result<(), Ended> {
        if revision != VENCRYPT_REVISION {
            self.output.push(1);
            let [major, minor] = revision;
            return Err(broken(format!("VeNCrypt {major}.{minor}; 0.2 is served")));
        }
        self.output.extend_from_slice(&[0, 1]);
        self.output.extend_from_slice(&self.kind().to_be_bytes());
        self.phase = Phase::Kind;
        Ok(())
    }

    fn take_kind(&mut self, kind: u32) -> Result<(), Ended> {
        if kind != self.kind() {
            self.output.push(0);
            return Err(broken(format!(
                "VeNCrypt's kind {kind}, which was not offered"
            )));
        }
        self.output.push(1);
        self.phase = Phase::Handshake;
        Ok(())
    }

    /// The viewer's next bytes, and all that is sent to it once the output that waits is sent, are TLS's.
    pub fn awaits_tls(&self) -> bool {
        self.phase == Phase::Handshake
    }

    /// TLS is up: what is fed, and what is in the output, is inside it from now on.
    pub fn tls_is_up(&mut self) {
        if self.phase == Phase::Handshake {
            self.authenticate();
        }
    }

    fn take_version(&mut self, version: &[u8; 12]) -> Result<(), Ended> {
        let number = |range: std::ops::Range<usize>| {
            let text = std::str::from_utf8(&version[range]).ok()?;
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse::<u16>().ok())?
        };
        let good = version.starts_with(b"RFB ") && version[7] == b'.' && version[11] == b'\n';
        let (Some(major), Some(minor), true) = (number(4..7), number(8..11), good) else {
            return Err(broken("it does not begin with RFB's version"));
        };
        self.minor = match (major, minor) {
            (..3, _) => {
                return Err(broken(format!(
                    "version {major}.{minor}; 3.3 to 3.8 are served"
                )))
            }
            (3, 7) => 7,
            (3, ..7) => 3,
            _ => 8,
        };
        if self.minor == 3 && self.settings.tls {
            let reason = b"this screen is shown by TLS only, which takes RFB 3.7";
            self.output.extend_from_slice(&[0; 4]);
            self.output
                .extend_from_slice(&(reason.len() as u32).to_be_bytes());
            self.output.extend_from_slice(reason);
            return Err(broken("RFB 3.3 has no way to agree upon TLS"));
        }
        if self.minor == 3 {
            self.output.extend_from_slice(&[0, 0, 0, self.security()]);
            self.begin_security();
        } else {
            self.output.extend_from_slice(&[1, self.security()]);
            self.phase = Phase::Security;
        }
        Ok(())
    }

    fn begin_security(&mut self) {
        if self.settings.tls {
            self.output.extend_from_slice(&VENCRYPT_REVISION);
            self.phase = Phase::Revision;
        } else {
            self.authenticate();
        }
    }

    fn authenticate(&mut self) {
        if self.settings.password.is_some() {
            self.output.extend_from_slice(&self.challenge);
            self.phase = Phase::Challenge;
            return;
        }
        // RFB 3.7 says nothing behind type 1, but does behind VeNCrypt.
        if self.minor == 8 || self.settings.tls {
            self.output.extend_from_slice(&[0; 4]);
        }
        self.phase = Phase::Init;
    }

    fn take_answer(&mut self, given: &[u8; CHALLENGE]) -> Result<(), Ended> {
        let password = self.settings.password.as_deref().unwrap_or_default();
        if auth::is_right(password, &self.challenge, given) {
            self.output.extend_from_slice(&[0; 4]);
            self.phase = Phase::Init;
            return Ok(());
        }
        self.output.extend_from_slice(&[0, 0, 0, 1]);
        if self.minor == 8 {
            let reason = b"Authentication failed";
            self.output
                .extend_from_slice(&(reason.len() as u32).to_be_bytes());
            self.output.extend_from_slice(reason);
        }
        Err(Ended::Password)
    }

    fn welcome(&mut self) {
        let name = self.settings.name.as_bytes();
        for side in [self.told.width, self.told.height] {
            self.output.extend_from_slice(&side.to_be_bytes());
        }
        self.output.extend_from_slice(&Format::OURS.bytes());
        self.output
            .extend_from_slice(&(name.len() as u32).to_be_bytes());
        self.output.extend_from_slice(name);
        self.phase = Phase::Running;
    }

    fn take_encoding(&mut self, number: i32) {
        if let Some(encoding) = Encoding::of(number) {
            self.encoding.get_or_insert(encoding);
        }
        if LEVELS.contains(&number) {
            self.encoder.set_level((number - LEVELS.start()) as u8);
        }
        if !KNOWN.contains(&number) || self.knows(number) {
            return;
        }
        self.knows.push(number);
        match number {
            EXTENDED_SIZE => self.notice(Notice::Size),
            POINTER_KIND => self.notice(Notice::Pointer),
            EXTENDED_KEYS | LONG_BUTTONS => self.notice(Notice::Granted(number)),
            // That one may be used is told by using it (fence), or by ending what has not begun.
            FENCE => fence(FENCE_REQUEST, &[], self.answers()),
            CONTINUOUS => self.answers().push(150),
            _ => {}
        }
    }

    fn take(&mut self, message: Message, inputs: &mut Vec<Input>) -> Result<(), Ended> {
        match message {
            Message::Format(bytes) => {
                let format = Format::parse(&bytes).map_err(broken)?;
                if let Some(palette) = format.palette() {
                    let out = self.answers();
                    out.extend_from_slice(&[1, 0, 0, 0]);
                    out.extend_from_slice(&(palette.len() as u16).to_be_bytes());
                    let values = palette.into_iter().flatten();
                    out.extend(values.flat_map(u16::to_be_bytes));
                }
                self.format = Some(format);
            }
            Message::Encodings(count) => {
                self.encodings = count;
                self.encoding = None;
            }
            Message::Request { incremental, part } => {
                if !incremental {
                    self.changes.add(part);
                    if self.knows(EXTENDED_SIZE) {
                        self.notice(Notice::Size);
                    }
                }
                self.asked = Some(self.asked.map_or(part, |before| around(before, part)));
            }
            Message::Key { pressed, keysym } => self.keyboard.keysym(keysym, pressed, inputs),
            Message::Scancode {
                pressed,
                keysym,
                scancode: 0,
            } => self.keyboard.keysym(keysym, pressed, inputs),
            Message::Scancode {
                pressed, scancode, ..
            } => self.keyboard.scancode(scancode, pressed, inputs),
            Message::Pointer { buttons, x, y } => {
                let relative = !self.absolute && self.knows(POINTER_KIND);
                let (x, y) = if relative {
                    (x, y)
                } else {
                    (x.min(self.told.width - 1), y.min(self.told.height - 1))
                };
                self.pointer.event(buttons, x, y, relative, inputs);
            }
            Message::Continuous { on, part } => {
                if !self.knows(CONTINUOUS) {
                    return Err(broken("continuous updates, which it does not know"));
                }
                if !on {
                    self.answers().push(150);
                }
                self.continuous = on.then_some(part);
            }
            Message::Fence { flags, payload } => {
                // Ours come back without this bit, and mean nothing to us.
                if flags & FENCE_REQUEST != 0 {
                    fence(flags & FENCE_FLAGS, &payload, self.answers());
                }
            }
            Message::SetSize => self.notice(Notice::SizeRefused),
            Message::Skip(count) => self.skip = count,
        }
        Ok(())
    }

    /// Goes on with the update that was begun, or begins the next if the viewer wants one and there is something to tell.
    /// True if something was added to the output; there may be more to tell then, which the next call finds out.
    pub fn update(&mut self, surface: &dyn Surface) -> bool {
        if !self.wants_update() || (self.sending.is_empty() && !self.begin_update(surface.size())) {
            return false;
        }
        let encoding = self.encoding.unwrap_or(Encoding::Raw);
        let mut pixels = Vec::new();
        while self.output.len() <= LOW {
            let Some(part) = self.sending.pop_front() else {
                break;
            };
            pixels.clear();
            surface.read(part, &mut pixels);
            pixels.resize((part.width * part.height) as usize, 0);
            self.writer.convert(&mut pixels);
            self.encoder
                .rectangle(encoding, part, &pixels, &self.writer, &mut self.output);
        }
        if self.sending.is_empty() {
            self.output.append(&mut self.later);
        }
        true
    }

    /// Chooses the rectangles of the next update and writes its head; false if there is nothing to tell.
    fn begin_update(&mut self, size: Size) -> bool {
        let mut within = match (self.asked, self.continuous) {
            (Some(asked), Some(continuous)) => around(asked, continuous),
            (Some(part), None) | (None, Some(part)) => part,
            (None, None) => return false,
        };
        if size != self.told && (self.knows(EXTENDED_SIZE) || self.knows(DESKTOP_SIZE)) {
            self.told = size;
            self.changes = Changes::none(size);
            self.changes.add(size.whole());
            self.notice(Notice::Size);
            // It asked for a part of what was.
            within = size.whole();
        }
        // What a viewer believes in that knows no other size may be larger than the screen is; nothing is there to be seen.
        let visible = size.common(self.told);
        let piece = match self.encoding {
            Some(Encoding::Tight) => TIGHT_PIECE,
            _ => PIECE,
        };
        let parts = self.changes.take(within, u32::MAX, RECTANGLES);
        self.sending = parts
            .into_iter()
            .filter_map(|part| clip(part, visible))
            .flat_map(|part| pieces(part, piece))
            .collect();
        if self.sending.is_empty() && self.notices.is_empty() {
            return false;
        }
        let notices = std::mem::take(&mut self.notices);
        self.asked = None;
        if let Some(format) = self.format.take() {
            self.writer = Writer::new(format);
        }
        let count = (self.sending.len() + notices.len()) as u16;
        self.output.extend_from_slice(&[0, 0]);
        self.output.extend_from_slice(&count.to_be_bytes());
        for notice in notices {
            self.tell(notice);
        }
        true
    }

    /// A rectangle that is no pixels.
    fn tell(&mut self, notice: Notice) {
        let Size { width, height } = self.told;
        let (x, y) = match notice {
            // x: the server's doing, 0, or the viewer's, 1; y: prohibited.
            Notice::SizeRefused => (1, 1),
            Notice::Pointer => (self.absolute.into(), 0),
            Notice::Size | Notice::Granted(_) => (0, 0),
        };
        let size = Part {
            x,
            y,
            width: width.into(),
            height: height.into(),
        };
        let out = &mut self.output;
        match notice {
            Notice::Pointer => encode::head(size, POINTER_KIND, out),
            Notice::Granted(extension) => encode::head(
                Part {
                    width: 0,
                    height: 0,
                    ..size
                },
                extension,
                out,
            ),
            Notice::Size | Notice::SizeRefused if self.knows.contains(&EXTENDED_SIZE) => {
                encode::head(size, EXTENDED_SIZE, out);
                // One screen: number, place, size, flags.
                out.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(&width.to_be_bytes());
                out.extend_from_slice(&height.to_be_bytes());
                out.extend_from_slice(&[0; 4]);
            }
            Notice::Size | Notice::SizeRefused => encode::head(size, DESKTOP_SIZE, out),
        }
    }
}

fn fence(flags: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[248, 0, 0, 0]);
    out.extend_from_slice(&flags.to_be_bytes());
    out.push(payload.len() as u8);
    out.extend_from_slice(payload);
}

/// The smallest part that has both. Sides come from 16 bits, so nothing overflows.
fn around(one: Part, two: Part) -> Part {
    let (x, y) = (one.x.min(two.x), one.y.min(two.y));
    Part {
        x,
        y,
        width: (one.x + one.width).max(two.x + two.width) - x,
        height: (one.y + one.height).max(two.y + two.height) - y,
    }
}

fn clip(part: Part, size: Size) -> Option<Part> {
    let width = part.width.min(u32::from(size.width).saturating_sub(part.x));
    let height = part
        .height
        .min(u32::from(size.height).saturating_sub(part.y));
    (width > 0 && height > 0).then_some(Part {
        width,
        height,
        ..part
    })
}

/// `part` in pieces of at most that width and height.
fn pieces(part: Part, (width, height): (u32, u32)) -> Vec<Part> {
    let step = |length: u32, most: u32| (0..length.div_ceil(most)).map(move |index| index * most);
    let mut pieces = Vec::new();
    for y in step(part.height, height) {
        for x in step(part.width, width) {
            pieces.push(Part {
                x: part.x + x,
                y: part.y + y,
                width: width.min(part.width - x),
                height: height.min(part.height - y),
            });
        }
    }
    pieces
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
