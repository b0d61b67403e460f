//! Waits for a save or a move: a bar on a terminal meanwhile, and Ctrl-C gives it up.
//!
//! ```text
//!   main thread     ask(save or migrate) ------------------------------------------> answer
//!   another one     each tick: ask(transfer) --> bar     SIGINT --> ask(cancel); a second one ends this program, not the work
//! ```
//! The Xen-API has neither: there a line says that one waits, and Ctrl-C ends this program.

use super::context::Context;
use super::failure::Failure;
use noxen_xend_api::migrate::Transfer;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, Request, Response};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use signal_hook::consts::SIGINT;
use signal_hook::low_level::{pipe, unregister};
use signal_hook::SigId;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};
/// What is done by then needs no bar.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Characters of the bar.
const WIDTH: usize = 20;
/// How long xend may take to answer the one that watches.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for `request`, which saves or moves `domain`; `text` says so.
pub fn ask(
    context: &mut Context,
    domain: &str,
    text: String,
    request: &Request,
) -> Result<Response, Failure> {
    if context.by_xen_api() {
        return context.saying(Some(text), |context| context.ask(request));
    }
    let watcher = Watcher::start(context.paths.clone(), domain.to_owned(), text)?;
    let answer = context.saying(None, |context| context.ask(request));
    drop(watcher);
    answer
}

/// The other thread; gone once this is dropped.
struct Watcher {
    stop: Option<UnixStream>,
    worker: Option<JoinHandle<()>>,
    signals: [SigId; 2],
}

impl Watcher {
    fn start(paths: Paths, domain: String, text: String) -> io::Result<Watcher> {
        let (interrupt, interrupted) = UnixStream::pair()?;
        let (stop, stopped) = UnixStream::pair()?;
        let twice = Arc::new(AtomicBool::new(false));
        let signals = [
            signal_hook::flag::register_conditional_default(SIGINT, twice.clone())?,
            pipe::register(SIGINT, interrupt)?,
        ];
        let worker = std::thread::Builder::new()
            .name("transfer".into())
            .spawn(move || {
                let mut bar = Bar::new(text);
                let mut client = None;
                while let Some(signalled) = wait(&stopped, &interrupted) {
                    if signalled {
                        twice.store(true, Ordering::Relaxed);
                        let cancel = Request::Cancel {
                            domain: domain.clone(),
                        };
                        let said = with(&mut client, &paths, &cancel);
                        bar.note(said.err().as_deref().unwrap_or("cancelling"));
                    } else if bar.is_wanted() {
                        let look = Request::Transfer {
                            domain: domain.clone(),
                        };
                        if let Ok(Response::Transfer { transfer: Some(t) }) =
                            with(&mut client, &paths, &look)
                        {
                            bar.show(&t);
                        }
                    }
                }
                bar.clear();
            })?;
        Ok(Watcher {
            stop: Some(stop),
            worker: Some(worker),
            signals,
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        for signal in self.signals {
            unregister(signal);
        }
        self.stop = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Waits for a tick (false) or a signal (true); None: the work is over.
fn wait(stopped: &UnixStream, mut interrupted: &UnixStream) -> Option<bool> {
    let mut fds = [
        PollFd::new(stopped, PollFlags::IN),
        PollFd::new(interrupted, PollFlags::IN),
    ];
    match poll(&mut fds, Some(&TICK)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(_) => return None,
    }
    if !fds[0].revents().is_empty() {
        return None;
    }
    let signalled = !fds[1].revents().is_empty();
    // A connection whose other end is gone (when the signal is let go of) is at its end soon.
    Some(signalled && interrupted.read(&mut [0; 16]).is_ok_and(|n| n > 0))
}

/// Asks by a connection of its own, which is made when it is wanted first.
fn with(client: &mut Option<Client>, paths: &Paths, request: &Request) -> Result<Response, String> {
    let mut connected = match client.take() {
        Some(client) => client,
        None => Client::connect(paths).map_err(|e| e.to_string())?,
    };
    let _ = connected.set_timeout(Some(PATIENCE));
    let answer = connected.ask(request);
    *client = Some(connected);
    answer.map_err(|e| e.to_string())
}

/// The line on standard error, where that is a terminal.
struct Bar {
    text: String,
    terminal: bool,
    begun: Instant,
    shown: bool,
    noted: bool,
    last: Option<(Instant, u64)>,
    rate: f64,
}

impl Bar {
    fn new(text: String) -> Bar {
        Bar {
            text,
            terminal: io::stderr().is_terminal(),
            begun: Instant::now(),
            shown: false,
            noted: false,
            last: None,
            rate: 0.0,
        }
    }

    fn is_wanted(&self) -> bool {
        self.terminal && !self.noted && self.begun.elapsed() >= QUIET_TIME
    }

    fn show(&mut self, transfer: &Transfer) {
        let now = Instant::now();
        if let Some((before, passed)) = self.last {
            let seconds = now.duration_since(before).as_secs_f64().max(0.001);
            let rate = transfer.passed.saturating_sub(passed) as f64 / seconds;
            self.rate = match self.rate > 0.0 {
                true => self.rate * 0.7 + rate * 0.3,
                false => rate,
            };
        }
        self.last = Some((now, transfer.passed));
        self.shown = true;
        let line = line(&self.text, transfer, self.rate);
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Says `text` instead, from now on.
    fn note(&mut self, text: &str) {
        self.clear();
        self.noted = true;
        if self.terminal {
            self.shown = true;
            let _ = write!(io::stderr(), "\r{}: {text}\x1b[K", self.text);
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `TEXT [####    ] 40 % of 256 MiB, round 2, 12.5 MiB/s, dirty 3.0 MiB/s, 8 s left`
fn line(text: &str, transfer: &Transfer, rate: f64) -> String {
    let mib = |bytes: f64| format!("{:.1} MiB/s", bytes / f64::from(1 << 20));
    let total = transfer.total.max(1);
    let done = transfer.done.min(total);
    let full = (done as u128 * WIDTH as u128 / u128::from(total)) as usize;
    let percent = u128::from(done) * 100 / u128::from(total);
    let mut line = format!(
        "{text} [{}{}] {percent} % of {} MiB",
        "#".repeat(full),
        " ".repeat(WIDTH - full),
        transfer.total >> 20
    );
    if transfer.rounds > 0 {
        line += &format!(", round {}", transfer.rounds + 1);
    }
    if rate > 0.0 {
        line += &format!(", {}", mib(rate));
    }
    if transfer.rounds > 0 {
        line += &format!(", dirty {}", mib(transfer.dirty_rate as f64));
    }
    if transfer.throttle > 0 && !transfer.still {
        line += &format!(", held back {} %", transfer.throttle);
    }
    match transfer.still && transfer.rounds > 0 {
        true if transfer.follows => line += ", what it lacks over there",
        true => line += ", stopped",
        false if rate > 0.0 => {
            line += &format!(", {:.0} s left", (total - done) as f64 / rate);
        }
        false => {}
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_names_what_is_known() {
        let first = Transfer {
            done: 64 << 20,
            total: 256 << 20,
            passed: 64 << 20,
            ..Transfer::default()
        };
        assert_eq!(
            line("x", &first, 0.0),
            "x [#####               ] 25 % of 256 MiB"
        );
        let second = Transfer {
            rounds: 1,
            dirty_rate: 3 << 20,
            ..first
        };
        assert_eq!(
            line("x", &second, f64::from(12 << 20)),
            "x [#####               ] 25 % of 256 MiB, round 2, 12.0 MiB/s, dirty 3.0 MiB/s, 16 s left"
        );
        let slowed = Transfer {
            throttle: 20,
            ..second
        };
        assert!(line("x", &slowed, 0.0).ends_with("dirty 3.0 MiB/s, held back 20 %"));
        let none = Transfer {
            throttle: 20,
            rounds: 3,
            still: true,
            done: 5,
            ..Transfer::default()
        };
        assert!(line("x", &none, 0.0).ends_with("stopped"));
        let follows = Transfer {
            follows: true,
            ..none
        };
        assert!(line("x", &follows, 0.0).ends_with("what it lacks over there"));
    }
}
