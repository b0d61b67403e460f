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

use noxen_xenstore::wire::{append_message, Op};

/// From this many pending bytes on, events wait and are kept once each.
const EVENTS_WAIT_FROM: usize = 16 * 1024;
/// From this many pending bytes on, no more requests are taken.
pub const PAUSE_FROM: usize = 64 * 1024;
/// An emptied buffer keeps no more memory than this.
const KEEP: usize = 4 * 1024;

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
                    self.ready.drain(..self.sent);
                    self.sent = 0;
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
