//! Consoles of domains for the page.
//!
//! ```text
//!   GET  /web/console/UUID?from=N ──> `toolctl console UUID` is started unless it runs; its output from octet N on, waited for
//!   POST /web/console/UUID input=TEXT ──> its standard input          op=close ──> it ends
//!                      reader thread: output ──> the last 64 KiB, for whoever asks next
//! ```
//! toolctl takes the same lock as on a terminal, so a console that somebody has is refused here in the same words, and the other way round. It is
//! ended when nobody has asked for 20 s: a page that was closed does not keep it.

use crate::http::form::Form;
use crate::http::Response;
use noxen_xend_api::Fault;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Consoles at once.
const MOST: usize = 16;
/// Output that is kept, octets.
const KEPT: usize = 64 << 10;
/// Longest input of one request, octets.
const INPUT: usize = 4096;
/// Longest wait of one request for output.
const WAIT: Duration = Duration::from_secs(10);
/// A console that nobody has asked for so long ends.
const IDLE: Duration = Duration::from_secs(20);

/// All consoles that are open.
pub struct Consoles {
    program: PathBuf,
    open: Mutex<BTreeMap<String, Arc<Console>>>,
}

struct Console {
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    output: Mutex<Output>,
    changed: Condvar,
}

struct Output {
    /// Octets `start..start + bytes.len()` of all that was printed.
    bytes: Vec<u8>,
    start: u64,
    /// It has ended; what it said on standard error.
    ended: Option<String>,
    asked: Instant,
}

impl Output {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let over = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..over);
        self.start += over as u64;
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The text from octet `from` on and the octet after it; a character that is not whole yet stays behind.
    fn text(&self, from: u64) -> (String, u64) {
        let from = from.clamp(self.start, self.end());
        let skip = usize::try_from(from - self.start).unwrap_or(0);
        let bytes = self.bytes.get(skip..).unwrap_or_default();
        let whole = match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() && self.ended.is_none() => {
                bytes.get(..error.valid_up_to()).unwrap_or_default()
            }
            _ => bytes,
        };
        let text = String::from_utf8_lossy(whole).into_owned();
        (text, from + whole.len() as u64)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn internal(what: &str, error: &io::Error) -> Fault {
    Fault::internal(format!("cannot {what} a console: {error}"))
}

impl Consoles {
    /// None is open; `program` is toolctl.
    pub fn new(program: PathBuf) -> Consoles {
        Consoles {
            program,
            open: Mutex::default(),
        }
    }

    /// Output of the console of `domain` from octet `from` on.
    pub fn read(&self, domain: &str, form: &Form) -> Result<Response, Fault> {
        let from = form.get("from").and_then(|text| text.parse().ok());
        let console = self.console(domain)?;
        let deadline = Instant::now() + WAIT;
        let mut output = lock(&console.output);
        let (text, next, ended) = loop {
            output.asked = Instant::now();
            let (text, next) = output.text(from.unwrap_or(0));
            let left = deadline.saturating_duration_since(Instant::now());
            if !text.is_empty() || output.ended.is_some() || left.is_zero() {
                break (text, next, output.ended.clone());
            }
            let waited = console.changed.wait_timeout(output, left);
            output = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(output);
        if ended.is_some() {
            self.forget(domain, &console);
        }
        let answer = json!({"text": text, "next": next, "ended": ended});
        Ok(Response::new(200, "application/json", answer.to_string()))
    }

    /// Types `input`, or ends it.
    pub fn write(&self, domain: &str, form: &Form) -> Result<(), Fault> {
        let found = lock(&self.open).get(domain).cloned();
        let Some(console) = found else {
            return Err(Fault::generic("this console is not open"));
        };
        if form.get("op") == Some("close") {
            // It may have ended by itself.
            let _ = lock(&console.child).kill();
            return Ok(());
        }
        let input = form.get("input").unwrap_or_default().as_bytes();
        if input.len() > INPUT {
            return Err(Fault::generic(format!(
                "{} octets are too many at once; {INPUT} are read",
                input.len()
            )));
        }
        let mut stdin = lock(&console.input);
        stdin
            .write_all(input)
            .and_then(|()| stdin.flush())
            .map_err(|e| internal("write to", &e))
    }

    fn forget(&self, domain: &str, console: &Arc<Console>) {
        let mut open = lock(&self.open);
        if open
            .get(domain)
            .is_some_and(|known| Arc::ptr_eq(known, console))
        {
            open.remove(domain);
        }
    }

    /// The open one, or a new one.
    fn console(&self, domain: &str) -> Result<Arc<Console>, Fault> {
        let mut open = lock(&self.open);
        // Those that ended while nobody looked.
        open.retain(|known, console| known == domain || lock(&console.output).ended.is_none());
        if let Some(console) = open.get(domain) {
            return Ok(console.clone());
        }
        if open.len() >= MOST {
            return Err(Fault::generic(format!(
                "{MOST} consoles are open already; close one first"
            )));
        }
        let mut child = Command::new(&self.program)
            .args(["console", "--", domain])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| internal("start", &e))?;
        let (Some(input), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::internal("a console was started without its pipes"));
        };
        let console = Arc::new(Console {
            child: Mutex::new(child),
            input: Mutex::new(input),
            output: Mutex::new(Output {
                bytes: Vec::new(),
                start: 0,
                ended: None,
                asked: Instant::now(),
            }),
            changed: Condvar::new(),
        });
        let thread = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(work).map_err(|e| {
                let _ = lock(&console.child).kill();
                internal("follow", &e)
            })
        };
        let (follower, watcher) = (console.clone(), console.clone());
        thread("console", Box::new(move || follower.follow(stdout)))?;
        thread("console-idle", Box::new(move || watcher.watch()))?;
        open.insert(domain.to_owned(), console.clone());
        Ok(console)
    }
}

impl Console {
    /// Keeps what it prints until it ends.
    fn follow(&self, mut stdout: ChildStdout) {
        let mut buffer = [0u8; 4096];
        loop {
            match stdout.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => lock(&self.output).add(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            self.changed.notify_all();
        }
        let mut child = lock(&self.child);
        let mut said = String::new();
        if let Some(stderr) = child.stderr.take() {
            // One line; what cannot be read of it is not missed.
            let _ = stderr.take(4096).read_to_string(&mut said);
        }
        let _ = child.wait();
        drop(child);
        lock(&self.output).ended = Some(said.trim().to_owned());
        self.changed.notify_all();
    }

    /// Ends it once nobody has asked for long.
    fn watch(&self) {
        let mut output = lock(&self.output);
        while output.ended.is_none() {
            let left = IDLE.saturating_sub(output.asked.elapsed());
            if left.is_zero() {
                drop(output);
                let _ = lock(&self.child).kill();
                return;
            }
            let waited = self.changed.wait_timeout(output, left);
            output = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output {
        Output {
            bytes: Vec::new(),
            start: 0,
            ended: None,
            asked: Instant::now(),
        }
    }

    #[test]
    fn output_is_kept_up_to_its_bound_and_told_from_any_octet() {
        let mut output = output();
        output.add(b"hello");
        assert_eq!(output.text(0), ("hello".into(), 5));
        assert_eq!(output.text(3), ("lo".into(), 5));
        assert_eq!(output.text(99), (String::new(), 5));
        output.add(&vec![b'x'; KEPT]);
        assert_eq!((output.start, output.bytes.len()), (5, KEPT));
        assert_eq!(output.text(0).1, 5 + KEPT as u64);
    }

    #[test]
    fn character_that_is_cut_waits_for_its_rest() {
        let mut output = output();
        output.add(b"a\xc3");
        assert_eq!(output.text(0), ("a".into(), 1));
        output.add(b"\xa4");
        assert_eq!(output.text(1), ("\u{e4}".into(), 3));
        output.add(b"\xff!");
        assert_eq!(output.text(3), ("\u{fffd}!".into(), 5));
    }
}
