//! A line on the terminal while something takes long. Nothing is printed in the first second, nor where standard error is no
//! terminal, and nothing remains.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Shows what is going on until it is dropped.
pub struct Progress {
    worker: Option<(Sender<()>, JoinHandle<()>)>,
}

const QUIET_TIME: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);

impl Progress {
    /// Begins to say `text`; None for nothing at all.
    pub fn start(text: Option<String>) -> Progress {
        let Some(text) = text.filter(|_| io::stderr().is_terminal()) else {
            return Progress { worker: None };
        };
        let (stop, stopped) = mpsc::channel();
        let worker = std::thread::spawn(move || {
            let begin = Instant::now();
            let mut shown = false;
            let mut wait = QUIET_TIME;
            for mark in ['|', '/', '-', '\\'].into_iter().cycle() {
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                wait = TICK;
                shown = true;
                let _ = write!(
                    io::stderr(),
                    "\r{text} {mark} {} s\x1b[K",
                    begin.elapsed().as_secs()
                );
            }
            if shown {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        });
        Progress {
            worker: Some((stop, worker)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, worker)) = self.worker.take() {
            drop(stop);
            let _ = worker.join();
        }
    }
}
