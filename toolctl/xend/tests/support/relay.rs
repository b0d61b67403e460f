//! Somebody on the wire between two xends, who strikes at a chosen moment of a move.
//!
//! ```text
//!   source xend, its monitor --> [relay: is this the moment?] --> target xend, its monitor
//! ```
//! The moment is a word on its way: what is before it has passed, and it has not. Later connections are left alone.

#![allow(dead_code)] // Each test file uses its part.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex};

/// When, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Connect,
    Ready,
    Header,
    Outline,
    Memory,
    NextRound,
    State,
    End,
    Prepared,
    Go,
    Runs,
}

/// All of them.
pub const MOMENTS: [Moment; 11] = [
    Moment::Connect,
    Moment::Ready,
    Moment::Header,
    Moment::Outline,
    Moment::Memory,
    Moment::NextRound,
    Moment::State,
    Moment::End,
    Moment::Prepared,
    Moment::Go,
    Moment::Runs,
];

impl Moment {
    /// To the target (true) or back, the word, and which of its kind.
    fn word(self) -> (bool, &'static [u8], usize) {
        match self {
            Moment::Connect => (true, b"receive", 1),
            Moment::Ready => (false, b"(ready", 1),
            Moment::Header => (true, b"LinuxGuestRecord", 1),
            Moment::Outline => (true, b"outline", 1),
            Moment::Memory => (true, b"ram", 1),
            Moment::NextRound => (true, b"ram", 2),
            Moment::State => (true, b"\"tsc_khz\"", 1),
            Moment::End => (true, b"\"nodes\"", 1),
            Moment::Prepared => (false, b"(ok prepared", 1),
            Moment::Go => (true, b"go\n", 1),
            Moment::Runs => (false, b"(ok runs", 1),
        }
    }
}

/// What becomes of the connection once the moment was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    On,
    /// Nothing more goes through, and both ends are told.
    Cut,
    /// Nothing more goes through, and nobody is told before one of them lets go.
    Stall,
    /// The next byte is another one.
    Damage,
}

/// The relay; it serves until its test's process ends.
pub struct Relay {
    pub port: u16,
    struck: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
}

impl Relay {
    /// To `port`. At `moment` it waits for [`Relay::go_on`], then does `then`.
    pub fn new(port: u16, moment: Moment, then: Then) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let (strike, struck) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        std::thread::spawn(move || {
            let mut hook = Some((strike, gone));
            for source in listener.incoming() {
                let source = source.unwrap();
                let Ok(target) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let (to_target, word, count) = moment.word();
                let prepared = Arc::new(AtomicBool::new(false));
                let hook = Arc::new(Mutex::new(hook.take()));
                for forth in [true, false] {
                    let (from, to) = match forth {
                        true => (source.try_clone().unwrap(), target.try_clone().unwrap()),
                        false => (target.try_clone().unwrap(), source.try_clone().unwrap()),
                    };
                    let mut pump = Pump {
                        from,
                        to,
                        word: (forth == to_target).then_some((word, count)),
                        late: moment == Moment::Go,
                        forth,
                        prepared: prepared.clone(),
                        then,
                        hook: hook.clone(),
                    };
                    std::thread::spawn(move || pump.run());
                }
            }
        });
        Relay {
            port: own,
            struck,
            go,
        }
    }

    /// Waits for the moment.
    pub fn moment(&self) {
        let limit = std::time::Duration::from_secs(20);
        self.struck.recv_timeout(limit).expect("no such moment");
    }

    /// Has it been?
    pub fn struck(&self) -> bool {
        self.struck.try_recv().is_ok()
    }

    /// Does what it does then.
    pub fn go_on(&self) {
        // A connection that ended meanwhile needs nothing.
        let _ = self.go.send(());
    }
}

type Hook = Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>;

struct Pump {
    from: TcpStream,
    to: TcpStream,
    word: Option<(&'static [u8], usize)>,
    /// The word means something only once the target is prepared.
    late: bool,
    forth: bool,
    prepared: Arc<AtomicBool>,
    then: Then,
    hook: Arc<Mutex<Hook>>,
}

impl Pump {
    fn run(&mut self) {
        let mut held = Vec::new();
        let mut chunk = [0; 1 << 16];
        loop {
            let n = self.from.read(&mut chunk).unwrap_or(0);
            if n == 0 {
                break;
            }
            held.extend_from_slice(&chunk[..n]);
            if !self.forth && held.starts_with(b"(ok prepared") {
                self.prepared.store(true, Ordering::SeqCst);
            }
            if let Some(at) = self.found(&held) {
                let rest = held.split_off(at);
                if self.to.write_all(&held).is_err() {
                    break;
                }
                held = rest;
                self.word = None;
                if !self.strike(&mut held) {
                    break;
                }
            }
            // A word that has begun is waited for.
            let open = self.begun(&held);
            let rest = held.split_off(held.len() - open);
            if self.to.write_all(&held).is_err() {
                break;
            }
            held = rest;
        }
        let _ = self.to.write_all(&held);
        let _ = self.to.shutdown(Shutdown::Both);
        let _ = self.from.shutdown(Shutdown::Both);
    }

    fn armed(&self) -> bool {
        !self.late || self.prepared.load(Ordering::SeqCst)
    }

    /// Where the word is. Those before it in what has passed are counted.
    fn found(&mut self, held: &[u8]) -> Option<usize> {
        let armed = self.armed();
        let (word, count) = self.word.as_mut().filter(|_| armed)?;
        let mut from = 0;
        loop {
            let at = held[from..].windows(word.len()).position(|w| w == *word)?;
            if *count == 1 {
                return Some(from + at);
            }
            *count -= 1;
            from += at + word.len();
        }
    }

    fn begun(&self, held: &[u8]) -> usize {
        let Some((word, _)) = self.word.filter(|_| self.armed()) else {
            return 0;
        };
        let longest = held.len().min(word.len() - 1);
        let ends = |n: &usize| held.ends_with(&word[..*n]);
        (1..=longest).rev().find(ends).unwrap_or(0)
    }

    /// The moment; false when this connection is over.
    fn strike(&self, held: &mut [u8]) -> bool {
        let Some((strike, go)) = self.hook.lock().unwrap().take() else {
            return true;
        };
        let _ = strike.send(());
        let _ = go.recv();
        match self.then {
            Then::On => {}
            Then::Cut => {
                held.fill(0);
                let _ = self.to.shutdown(Shutdown::Both);
                let _ = self.from.shutdown(Shutdown::Both);
                return false;
            }
            Then::Stall => {
                let _ = (&self.from).read_to_end(&mut Vec::new());
                return false;
            }
            Then::Damage => held[0] ^= 1,
        }
        true
    }
}
