//! What is still to be sent on one connection.
//!
//! ```text
//!   reply ------------------------------> ready bytes -> socket
//!   event --- little pending? ----------> ready bytes
//!         \-- much pending? --> waiting events, each kept once --> ready bytes
//!                               over the limit: refused              later
//! ```
//!
//! A reader that is slow, or a guest that is paused for a week, so costs a
//! bounded amount of memory; what it is told later is still true, because a
//! watch event says only "look again".

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::sync::Arc;

use noxen_xenstore::wire::{append_message, Header, Op, HEADER_LEN};

/// From this many pending bytes on, events wait and are kept once each.
const EVENTS_WAIT_FROM: usize = 16 * 1024;
/// From this many pending bytes on, no more requests are taken.
pub const PAUSE_FROM: usize = 64 * 1024;
/// An emptied buffer keeps no more memory than this.
const KEEP: usize = 4 * 1024;

/// What a connection has not been sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Whole messages.
    pub replies: Vec<Vec<u8>>,
    /// Payloads.
    pub events: Vec<Vec<u8>>,
}

/// Bytes and events to be sent.
#[derive(Debug, Default)]
pub struct Output {
    ready: Vec<u8>,
    sent: usize,
    waiting: VecDeque<Arc<[u8]>>,
    known: HashSet<Arc<[u8]>>,
    waiting_bytes: usize,
}

impl Output {
    /// Bytes that the socket has not taken, waiting events included.
    pub fn pending(&self) -> usize {
        self.ready.len() - self.sent + self.waiting_bytes
    }

    /// Adds a reply.
    pub fn reply(&mut self, kind: u32, req_id: u32, tx_id: u32, payload: &[&[u8]]) {
        append_message(&mut self.ready, kind, req_id, tx_id, payload);
    }

    /// Adds a watch event; false if it found no room under `limit`.
    pub fn event(&mut self, payload: &[&[u8]], limit: usize) -> bool {
        if self.pending() < EVENTS_WAIT_FROM.min(limit) && self.waiting.is_empty() {
            append_message(&mut self.ready, Op::WatchEvent as u32, 0, 0, payload);
            return true;
        }
        let event: Arc<[u8]> = payload.concat().into();
        if self.known.contains(&event) {
            return true;
        }
        if self.pending() + event.len() > limit {
            return false;
        }
        self.waiting_bytes += event.len();
        self.known.insert(event.clone());
        self.waiting.push_back(event);
        true
    }

    fn fill(&mut self) {
        while self.ready.len() - self.sent < EVENTS_WAIT_FROM {
            let Some(event) = self.waiting.pop_front() else {
                return;
            };
            self.known.remove(&event);
            self.waiting_bytes -= event.len();
            append_message(&mut self.ready, Op::WatchEvent as u32, 0, 0, &[&event]);
        }
    }

    /// Drops messages that are out whole. One that is out in part stays: if
    /// the daemon dies now, the other side will have it anew.
    fn forget_sent(&mut self) {
        let mut whole = 0;
        while let Some(header) = self.ready[whole..].first_chunk().map(Header::decode) {
            let end = whole + HEADER_LEN + header.len as usize;
            if end > self.sent {
                break;
            }
            whole = end;
        }
        self.ready.drain(..whole);
        self.sent -= whole;
    }

    /// Every message that is not out whole yet: replies as they are to be
    /// sent, and the payloads of events.
    pub fn unsent(&mut self) -> Unsent {
        self.forget_sent();
        let mut unsent = Unsent::default();
        let mut rest = &self.ready[..];
        while let Some(header) = rest.first_chunk().map(Header::decode) {
            let (message, after) = rest.split_at(HEADER_LEN + header.len as usize);
            if header.kind == Op::WatchEvent as u32 {
                unsent.events.push(message[HEADER_LEN..].to_vec());
            } else {
                unsent.replies.push(message.to_vec());
            }
            rest = after;
        }
        unsent
            .events
            .extend(self.waiting.iter().map(|e| e.to_vec()));
        unsent
    }

    /// What is to be sent as it stands: whole messages, how many bytes of
    /// them are out, and the payloads of waiting events.
    pub fn parts(&mut self) -> (Vec<u8>, usize, Vec<Vec<u8>>) {
        self.forget_sent();
        let events = self.waiting.iter().map(|e| e.to_vec()).collect();
        (self.ready.clone(), self.sent, events)
    }

    /// The same again in another daemon.
    pub fn from_parts(ready: Vec<u8>, sent: usize, events: Vec<Vec<u8>>) -> Output {
        let mut output = Output {
            ready,
            sent,
            ..Output::default()
        };
        for event in events {
            let event: Arc<[u8]> = event.into();
            output.waiting_bytes += event.len();
            output.known.insert(event.clone());
            output.waiting.push_back(event);
        }
        output
    }

    /// Adds a whole reply as it was kept.
    pub fn reply_again(&mut self, message: &[u8]) {
        self.ready.extend_from_slice(message);
    }

    /// Writes what the socket takes. True when all is out.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        loop {
            self.fill();
            if self.sent == self.ready.len() {
                self.sent = 0;
                self.ready.clear();
                if self.ready.capacity() > KEEP {
                    self.ready = Vec::new();
                }
                return Ok(true);
            }
            match socket.write(&self.ready[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.forget_sent();
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then no more.
    struct Slow {
        room: usize,
        got: Vec<u8>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= n;
            self.got.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn paths(bytes: &[u8]) -> Vec<String> {
        let mut d = noxen_xenstore::wire::Decoder::new();
        d.feed(bytes);
        let mut all = Vec::new();
        while let Some((_, p)) = d.next_message().unwrap() {
            all.push(String::from_utf8_lossy(p).into_owned());
        }
        all
    }

    #[test]
    fn events_for_a_blocked_reader_are_kept_once_each() {
        let mut out = Output::default();
        for i in 0..100_000 {
            let name = format!("/path/{}", i % 500);
            assert!(out.event(&[name.as_bytes(), b"\0t\0"], 256 * 1024));
        }
        assert!(out.pending() < 64 * 1024, "{} bytes pending", out.pending());
        let mut reader = Slow {
            room: usize::MAX,
            got: Vec::new(),
        };
        assert!(out.flush(&mut reader).unwrap());
        let seen: HashSet<_> = paths(&reader.got).into_iter().collect();
        assert_eq!(seen.len(), 500);
    }

    #[test]
    fn events_beyond_the_limit_are_refused() {
        let mut out = Output::default();
        let taken = (0..100_000)
            .filter(|i| out.event(&[format!("/p/{i}").as_bytes(), b"\0t\0"], 32 * 1024))
            .count();
        assert!(taken > 100 && taken < 10_000, "{taken} taken");
        assert!(out.pending() <= 32 * 1024);
    }

    #[test]
    fn unsent_keeps_the_message_that_is_out_in_part() {
        let mut out = Output::default();
        for i in 0..5 {
            out.reply(2, i, 0, &[b"0123456789"]);
            out.event(&[format!("/e{i}").as_bytes(), b"\0t\0"], 1 << 20);
        }
        // Out: reply 0, event 0, and the first bytes of reply 1.
        let mut reader = Slow {
            room: 26 + 22 + 7,
            got: Vec::new(),
        };
        assert!(!out.flush(&mut reader).unwrap());
        let unsent = out.unsent();
        assert_eq!(unsent.replies.len(), 4);
        assert_eq!(unsent.events.len(), 4);
        let id = |m: &Vec<u8>| Header::decode(m.first_chunk().unwrap()).req_id;
        assert_eq!(
            unsent.replies.iter().map(id).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        // And what is still to be sent goes on where it stopped.
        reader.room = usize::MAX;
        assert!(out.flush(&mut reader).unwrap());
        assert_eq!(reader.got.len(), 5 * (26 + 22));
    }

    #[test]
    fn flush_in_small_pieces_sends_every_byte_in_order() {
        let mut out = Output::default();
        for i in 0..3000 {
            out.event(&[format!("/p/{i}").as_bytes(), b"\0t\0"], 1 << 20);
        }
        let mut reader = Slow {
            room: 0,
            got: Vec::new(),
        };
        let mut turns = 0;
        while !out.flush(&mut reader).unwrap() {
            reader.room = 777;
            turns += 1;
        }
        assert!(turns > 10);
        let want: Vec<_> = (0..3000).map(|i| format!("/p/{i}\0t\0")).collect();
        assert_eq!(paths(&reader.got), want);
    }
}
