//! xend's log, in the shape that xend always wrote (xm-reference: "Logs").
//!
//! ```text
//!   info!("..") -> [YYYY-MM-DD HH:MM:SS PID] LEVEL (module:line) message
//!   xend.log -> at 1 MiB -> xend.log.1 -> .. -> xend.log.5
//! ```
//! Before [`init`] lines go to standard error, so that nothing is lost while the daemon comes up.

use crate::clock;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const ROTATE_AT: u64 = 1 << 20;
const KEEP: u32 = 5;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// Something is not as wanted.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        }
    }
}

struct Sink {
    path: PathBuf,
    file: File,
    size: u64,
    echo: bool,
}

/// Lines that matter less are not written: a [`Level`] as a number.
static LEAST: AtomicU8 = AtomicU8::new(0);

/// Sets what matters enough, by xend's word for it (`DEBUG INFO WARNING ERROR CRITICAL`).
pub fn set_least(word: &str) {
    let least = match word.to_ascii_uppercase().as_str() {
        "INFO" => Level::Info as u8,
        "WARNING" => Level::Warning as u8,
        "ERROR" => Level::Error as u8,
        // Nothing that xend says is worse than an error.
        "CRITICAL" => Level::Error as u8 + 1,
        _ => Level::Debug as u8,
    };
    LEAST.store(least, Ordering::Relaxed);
}

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

fn sink() -> MutexGuard<'static, Option<Sink>> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens `path` for append, rotating it as it grows; `echo` writes each line to standard error as well.
/// Calling it again opens the file anew (`xend reload`).
pub fn init(path: &Path, echo: bool) -> io::Result<()> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    *sink() = Some(Sink {
        path: path.to_owned(),
        file,
        size,
        echo,
    });
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// Writes one line; use the macros. Control characters are escaped, so a guest's text cannot forge lines.
pub fn write(level: Level, module: &str, line: u32, message: fmt::Arguments<'_>) {
    if (level as u8) < LEAST.load(Ordering::Relaxed) {
        return;
    }
    let module = module.rsplit("::").next().unwrap_or(module);
    let message = one_line(&message.to_string());
    let text = format!(
        "[{} {}] {} ({module}:{line}) {message}\n",
        clock::stamp(clock::now()),
        std::process::id(),
        level.word()
    );
    let mut guard = sink();
    match guard.as_mut() {
        Some(sink) => sink.put(&text),
        None => {
            // Nobody is left to tell when standard error fails too.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

fn one_line(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for c in message.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

impl Sink {
    fn put(&mut self, text: &str) {
        if self.size > 0 && self.size + text.len() as u64 > ROTATE_AT {
            self.rotate();
        }
        if self.file.write_all(text.as_bytes()).is_ok() {
            self.size += text.len() as u64;
        }
        if self.echo {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    fn rotate(&mut self) {
        let numbered = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..KEEP).rev() {
            // The older ones need not exist.
            let _ = std::fs::rename(numbered(n), numbered(n + 1));
        }
        let _ = std::fs::rename(&self.path, numbered(1));
        if let Ok(file) = open(&self.path) {
            self.size = file.metadata().map_or(0, |m| m.len());
            self.file = file;
        }
    }
}

/// Logs at level DEBUG.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Debug, module_path!(), line!(), format_args!($($arg)*)) };
}

/// Logs at level INFO.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Info, module_path!(), line!(), format_args!($($arg)*)) };
}

/// Logs at level WARNING.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Warning, module_path!(), line!(), format_args!($($arg)*)) };
}

/// Logs at level ERROR.
#[macro_export]
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::write($crate::log::Level::Error, module_path!(), line!(), format_args!($($arg)*)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sink_rotates_at_its_limit_and_keeps_five() {
        let dir = crate::testing::TempDir::new("log");
        let path = dir.path().join("xend.log");
        let file = open(&path).unwrap();
        let mut sink = Sink {
            path: path.clone(),
            file,
            size: 0,
            echo: false,
        };
        let line = "x".repeat(1023) + "\n";
        for _ in 0..8 * 1024 {
            sink.put(&line);
        }
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "xend.log",
                "xend.log.1",
                "xend.log.2",
                "xend.log.3",
                "xend.log.4",
                "xend.log.5"
            ]
        );
        for name in names {
            let size = std::fs::metadata(dir.path().join(name)).unwrap().len();
            assert_eq!(size, ROTATE_AT);
        }
    }

    #[test]
    fn message_with_line_breaks_stays_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
    }
}
