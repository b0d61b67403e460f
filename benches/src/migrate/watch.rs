//! What is seen of a guest from outside: its ticks, a TCP stream through it, and its answers (benches/guest/moved.c).
//!
//! ```text
//!   guest ── a tick each millisecond, UDP ──> [thread] longest silence by this host's clock, ticks that are missing
//!         <── lines that come back, TCP ────  [thread] longest time for one, whether the connection is lost
//!         <── rate N, pause ────────────────  asked one at a time
//! ```

use anyhow::{bail, Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where the guest is asked.
const ASKED: u16 = 7000;
/// Where its ticks arrive.
const TICKS: u16 = 7001;
/// How long any answer may take.
const LIMIT: Duration = Duration::from_secs(120);
/// How often the thread of the ticks looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// A line of the stream.
const LINE: usize = 1024;

/// What was seen since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Longest silence between two ticks.
    pub silence: Duration,
    /// Ticks that never came.
    pub missing: u64,
    /// Longest time that a line of the stream took there and back.
    pub stream: Duration,
    /// Why the stream is lost, if it is.
    pub lost: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    /// Number of the last tick, and when it came.
    last: Option<(u64, Instant)>,
    /// When each came.
    came: Vec<Instant>,
    /// When the stream's last line left.
    asked: Option<Instant>,
}

impl State {
    fn tick(&mut self, number: u64, now: Instant) {
        if let Some((last, at)) = self.last {
            self.seen.silence = self.seen.silence.max(now.saturating_duration_since(at));
            self.seen.missing += number.saturating_sub(last + 1);
        }
        self.last = Some((number, now));
        self.came.push(now);
    }

    /// Takes what was seen; a silence or an answer that is still due counts as far as it has come.
    fn take(&mut self, now: Instant) -> Seen {
        let seen = std::mem::take(&mut self.seen);
        self.came.clear();
        let so_far =
            |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        Seen {
            silence: seen.silence.max(so_far(self.last.map(|(_, at)| at))),
            stream: seen.stream.max(so_far(self.asked)),
            ..seen
        }
    }
}

/// A guest that is watched, until this value goes.
#[derive(Debug)]
pub struct Watch {
    state: Arc<Mutex<State>>,
    control: BufReader<TcpStream>,
    /// Nobody looks any more.
    over: Arc<AtomicBool>,
    stream: TcpStream,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        // The port of the ticks is free for the next guest then.
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(guest: &str) -> Result<TcpStream> {
    let address = (guest, ASKED);
    let stream = TcpStream::connect(address).with_context(|| format!("{guest} is not reached"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

impl Watch {
    /// Begins to watch the guest at `guest`, whose ticks come to `host`.
    pub fn begin(host: &str, guest: &str) -> Result<Watch> {
        let state = Arc::new(Mutex::new(State::default()));
        let socket = UdpSocket::bind((host, TICKS)).context("the port of the ticks")?;
        socket.set_read_timeout(Some(LOOK))?;
        let control = BufReader::new(connect(guest)?);
        let mut stream = BufReader::new(connect(guest)?);
        let own = stream.get_ref().try_clone()?;
        let over = Arc::new(AtomicBool::new(false));
        let (shared, done) = (state.clone(), over.clone());
        let ticks = std::thread::spawn(move || {
            let mut bytes = [0; 16];
            while !done.load(Ordering::Relaxed) {
                // An error is the end of the wait, or what the kernel tells of an earlier packet.
                let Ok(count) = socket.recv(&mut bytes) else {
                    continue;
                };
                if let (16, Some(number)) = (count, bytes.first_chunk::<8>()) {
                    lock(&shared).tick(u64::from_le_bytes(*number), Instant::now());
                }
            }
        });
        let shared = state.clone();
        let lines = std::thread::spawn(move || {
            let said = format!("{}\n", "x".repeat(LINE - 1));
            loop {
                let asked = Instant::now();
                lock(&shared).asked = Some(asked);
                let mut line = String::new();
                let back = stream
                    .get_mut()
                    .write_all(said.as_bytes())
                    .and_then(|()| stream.read_line(&mut line));
                let mut state = lock(&shared);
                state.asked = None;
                state.seen.stream = state.seen.stream.max(asked.elapsed());
                match back {
                    Ok(_) if line == said => {}
                    Ok(_) => state.seen.lost = Some("another line came back".into()),
                    Err(error) => state.seen.lost = Some(error.to_string()),
                }
                if state.seen.lost.is_some() {
                    return;
                }
                drop(state);
                // A stream, not a load.
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Ok(Watch {
            state,
            control,
            over,
            stream: own,
            threads: vec![ticks, lines],
        })
    }

    /// What was seen since the last look.
    pub fn look(&self) -> Seen {
        lock(&self.state).take(Instant::now())
    }

    /// When the first tick came after `began`, since the last look.
    pub fn first_tick_after(&self, began: Instant) -> Option<Instant> {
        let state = lock(&self.state);
        state.came.iter().find(|at| **at > began).copied()
    }

    /// Has the guest write so many pages a second.
    pub fn rate(&mut self, pages: u64) -> Result<()> {
        match self.ask(&format!("rate {pages}"))?.as_str() {
            "ok" => Ok(()),
            other => bail!("the guest said {other:?}"),
        }
    }

    /// The longest time between two ticks by the guest's own clock, since it was asked last.
    pub fn own_pause(&mut self) -> Result<Duration> {
        let said = self.ask("pause")?;
        let ns = said.parse().with_context(|| format!("it said {said:?}"))?;
        Ok(Duration::from_nanos(ns))
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        let mut said = String::new();
        writeln!(self.control.get_mut(), "{line}")?;
        self.control
            .read_line(&mut said)
            .with_context(|| format!("the guest does not answer {line:?}"))?;
        Ok(said.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_silence_and_missing_ticks_are_seen_even_while_it_lasts() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut state = State::default();
        for (number, ms) in [(7, 0), (8, 1), (11, 41), (12, 42)] {
            state.tick(number, at(ms));
        }
        let seen = state.take(at(43));
        assert_eq!((seen.silence, seen.missing), (Duration::from_millis(40), 2));
        assert_eq!(state.take(at(142)).silence, Duration::from_millis(100));
    }
}
