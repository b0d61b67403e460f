//! A connection that becomes a WebSocket (RFC 6455) and carries a domain's screen.
//!
//! ```text
//!   browser ──binary messages──> tungstenite ──[look only: LookOnly]──> pending ──> the domain's VNC server
//!           <──binary messages──             <────────── read, 64 KiB at most ─────
//!   one thread, poll: the browser's side is read only when all was written to it and nothing is pending for the screen
//! ```
//! So at most one message of either side is held, however slow the other one is. A browser that neither speaks nor answers pings is
//! let go after [`SILENCE`].

mod look_only;

pub use look_only::LookOnly;

use crate::http::{Request, Response};
use crate::slot::Slot;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// Bytes of the screen in one message.
const READ: usize = 64 << 10;
/// Longest message of a browser.
const MESSAGE: usize = 1 << 20;
/// A browser that says nothing for so long is asked whether it is there.
const ASK: Duration = Duration::from_secs(30);
/// And for so long, is gone.
const SILENCE: Duration = Duration::from_secs(90);

/// A connection's stream, once it is no more HTTP's.
pub trait Duplex: Read + Write {
    /// Reads and writes return at once from now on, and have no deadline.
    fn unblock(&mut self) -> io::Result<()>;
    /// What to wait for.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

/// Does the client ask for a WebSocket?
pub fn is_asked(request: &Request) -> bool {
    let upgrade = request.header("upgrade").unwrap_or_default();
    request.method == "GET" && upgrade.eq_ignore_ascii_case("websocket")
}

/// What is to become of the connection.
#[derive(Debug)]
pub struct Relay {
    accept: String,
    protocol: bool,
    screen: TcpStream,
    filter: Option<LookOnly>,
    _slot: Slot,
}

impl Relay {
    /// The answer to `request`, which asks for a WebSocket; `connect` opens the way to the screen. `may_type`: keys, pointer and
    /// clipboard go through, too.
    pub fn new(
        request: &Request,
        may_type: bool,
        slot: Slot,
        connect: impl FnOnce() -> Result<TcpStream, Response>,
    ) -> Result<Relay, Response> {
        let wrong = |line: &str| Err(Response::text(400, line));
        if request.header("sec-websocket-version") != Some("13") {
            let mut response = Response::text(426, "this server speaks version 13 of WebSocket");
            response
                .headers
                .push(("Sec-WebSocket-Version", "13".into()));
            return Err(response);
        }
        let connection = request.header("connection").unwrap_or_default();
        let mut words = connection.split(',').map(str::trim);
        if !words.any(|word| word.eq_ignore_ascii_case("upgrade")) {
            return wrong("a request for a WebSocket has Connection: Upgrade");
        }
        let Some(key) = request
            .header("sec-websocket-key")
            .filter(|key| key.len() == 24)
        else {
            return wrong("a request for a WebSocket has a key of 16 octets in base64");
        };
        // Only browsers send it, and only pages of this very server may use what the browser is signed in for.
        if let Some(origin) = request.header("origin") {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            if request.header("host") != Some(host) {
                return Err(Response::text(
                    403,
                    "another site's page asks for this screen",
                ));
            }
        }
        let protocols = request.header("sec-websocket-protocol").unwrap_or_default();
        Ok(Relay {
            accept: derive_accept_key(key.as_bytes()),
            protocol: protocols.split(',').any(|name| name.trim() == "binary"),
            screen: connect()?,
            filter: (!may_type).then(LookOnly::default),
            _slot: slot,
        })
    }

    /// Answers, and carries until one side ends. `rest` was read beyond the request.
    pub(crate) fn run(self, mut peer: impl Duplex, rest: Vec<u8>) -> io::Result<()> {
        let protocol = match self.protocol {
            true => "Sec-WebSocket-Protocol: binary\r\n",
            false => "",
        };
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            self.accept
        );
        peer.write_all(head.as_bytes())?;
        peer.flush()?;
        peer.unblock()?;
        self.screen.set_nonblocking(true)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE))
            .max_write_buffer_size(4 * READ.max(MESSAGE));
        let mut link = Link {
            browser: WebSocket::from_partially_read(peer, rest, Role::Server, Some(config)),
            screen: self.screen,
            filter: self.filter,
            pending: Vec::new(),
            unflushed: false,
            unread: true,
            heard: Instant::now(),
            asked: false,
        };
        let end = link.carry();
        let _ = link.browser.close(Some(CloseFrame {
            code: CloseCode::Away,
            reason: end.into(),
        }));
        // It may be gone already, or not read; then it learns nothing.
        let _ = link.browser.flush();
        Ok(())
    }
}

struct Link<P: Duplex> {
    browser: WebSocket<P>,
    screen: TcpStream,
    filter: Option<LookOnly>,
    /// For the screen.
    pending: Vec<u8>,
    /// Something waits for the browser.
    unflushed: bool,
    /// Something of it may have been read off its socket already, where poll does not see it.
    unread: bool,
    heard: Instant,
    asked: bool,
}

/// Why it ended, for the browser: no more than the 123 octets that a close frame holds.
type End = &'static str;

const GONE: End = "the browser is gone";
const NO_SCREEN: End = "the screen is gone";
const BROKEN: End = "what the viewer sent cannot be passed on";

/// Nothing to be had now, as a value.
fn passing(error: io::Error, end: End) -> Result<(), End> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
        _ => Err(end),
    }
}

impl<P: Duplex> Link<P> {
    /// Until one side ends; which one, and how.
    fn carry(&mut self) -> End {
        loop {
            let turn = self.wait().and_then(|(browser, screen)| {
                self.flush()?;
                if browser {
                    self.read_browser()?;
                }
                self.write_screen()?;
                match screen {
                    true => self.read_screen(),
                    false => Ok(()),
                }
            });
            if let Err(end) = turn {
                return end;
            }
        }
    }

    /// Waits for either side; which of them has something to be read.
    fn wait(&mut self) -> Result<(bool, bool), End> {
        let silent = self.heard.elapsed();
        if silent >= SILENCE {
            return Err(GONE);
        }
        if silent >= ASK && !self.asked && !self.unflushed {
            self.asked = true;
            self.send(Message::Ping(Vec::new().into()))?;
        }
        let flags = |input: bool, output: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, input);
            flags.set(PollFlags::OUT, output);
            flags
        };
        let idle = self.pending.is_empty();
        let descriptor = self.browser.get_ref().descriptor();
        let mut both = [
            // A TLS stream reads nothing while it has something to write.
            PollFd::from_borrowed_fd(descriptor, flags(idle && !self.unflushed, self.unflushed)),
            PollFd::from_borrowed_fd(self.screen.as_fd(), flags(!self.unflushed, !idle)),
        ];
        let limit = match (self.asked, self.unread && idle && !self.unflushed) {
            (_, true) => Duration::ZERO,
            (true, _) => SILENCE.saturating_sub(silent),
            // Rounded up, so that it is asked when it is time, not again and again just before.
            (false, _) => ASK.saturating_sub(silent) + Duration::from_millis(1),
        };
        let limit = Timespec::try_from(limit).map_err(|_| GONE)?;
        match poll(&mut both, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(GONE),
        }
        let [browser, screen] = both.map(|one| one.revents());
        // A side that hung up shows it when it is read, or written to.
        let ended = PollFlags::HUP | PollFlags::ERR;
        Ok((
            idle && !self.unflushed && (self.unread || browser.intersects(PollFlags::IN | ended)),
            !self.unflushed && screen.intersects(PollFlags::IN | ended),
        ))
    }

    fn send(&mut self, message: Message) -> Result<(), End> {
        self.unflushed = true;
        match self.browser.write(message) {
            Ok(()) => self.flush(),
            Err(Error::Io(error)) => passing(error, GONE),
            Err(_) => Err(GONE),
        }
    }

    fn flush(&mut self) -> Result<(), End> {
        match self.browser.flush() {
            Ok(()) => {
                self.unflushed = false;
                Ok(())
            }
            Err(Error::Io(error)) => {
                self.unflushed = true;
                passing(error, GONE)
            }
            Err(_) => Err(GONE),
        }
    }

    /// Takes messages until there is one for the screen, or none.
    fn read_browser(&mut self) -> Result<(), End> {
        self.unread = true;
        while self.pending.is_empty() {
            let message = match self.browser.read() {
                Ok(message) => message,
                Err(Error::Io(error)) => {
                    self.unread = false;
                    return passing(error, GONE);
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err(GONE),
                Err(_) => return Err(BROKEN),
            };
            (self.heard, self.asked) = (Instant::now(), false);
            match (message, &mut self.filter) {
                (Message::Binary(bytes), None) => self.pending.extend_from_slice(&bytes),
                (Message::Binary(bytes), Some(filter)) => {
                    filter.feed(&bytes, &mut self.pending).map_err(|_| BROKEN)?
                }
                (Message::Ping(_) | Message::Pong(_), _) => self.flush()?,
                (Message::Close(_), _) => return Err(GONE),
                _ => return Err(BROKEN),
            }
        }
        Ok(())
    }

    fn write_screen(&mut self) -> Result<(), End> {
        while !self.pending.is_empty() {
            match self.screen.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) => return passing(error, NO_SCREEN),
            }
        }
        Ok(())
    }

    fn read_screen(&mut self) -> Result<(), End> {
        let mut bytes = vec![0; READ];
        match self.screen.read(&mut bytes) {
            Ok(0) => Err(NO_SCREEN),
            Ok(count) => {
                bytes.truncate(count);
                self.send(Message::Binary(bytes.into()))
            }
            Err(error) => passing(error, NO_SCREEN),
        }
    }
}

#[cfg(test)]
mod tests;
