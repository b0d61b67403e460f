//! The domain's log: one line per event, written with one call so that lines never mix.
//!
//! ```text
//!   2026-11-23 17:40:12 noxen-vmm[4711] debian(5) info: unpaused
//! ```

use rustix::time::{clock_gettime, ClockId};
use std::fmt::{self, Display};
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something broke.
    Error,
    /// Something is odd.
    Warning,
    /// Life of the domain.
    Info,
}

impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
        })
    }
}

/// A log shared by all threads.
#[derive(Debug)]
pub struct Log {
    sink: Option<File>,
    prefix: String,
    guest: Mutex<RateLimit>,
    firmware: Mutex<RateLimit>,
}

impl Log {
    /// A log of domain `domid` called `name`; without a sink lines are dropped.
    pub fn new(sink: Option<File>, domid: u32, name: &str) -> Log {
        Log {
            sink,
            prefix: format!("noxen-vmm[{}] {name}({domid})", std::process::id()),
            guest: Mutex::new(RateLimit::new(20, Duration::from_secs(10))),
            firmware: Mutex::new(RateLimit::new(500, Duration::from_secs(10))),
        }
    }

    /// Another one of the same domain into the same file, for a thread that begins before the others.
    pub fn another(&self, domid: u32, name: &str) -> std::io::Result<Log> {
        let sink = self.sink.as_ref().map(File::try_clone).transpose()?;
        Ok(Log::new(sink, domid, name))
    }

    /// Writes a line (or several, each with the prefix).
    pub fn line(&self, level: Level, text: impl Display) {
        let Some(mut sink) = self.sink.as_ref() else {
            return;
        };
        let stamp = timestamp(clock_gettime(ClockId::Realtime).tv_sec);
        let mut out = String::new();
        for line in text.to_string().lines() {
            out.push_str(&format!("{stamp} {} {level}: {line}\n", self.prefix));
        }
        // A log that cannot be written must not stop the domain.
        let _ = sink.write_all(out.as_bytes());
    }

    /// Writes a line that a guest can cause: at most 20 in ten seconds, then a count of those dropped.
    pub fn guest_line(&self, level: Level, text: impl Display) {
        self.limited(&self.guest, level, text);
    }

    /// Writes a line of the guest's firmware: at most 500 in ten seconds, then a count of those dropped.
    pub fn firmware_line(&self, text: impl Display) {
        self.limited(
            &self.firmware,
            Level::Info,
            format_args!("firmware: {text}"),
        );
    }

    fn limited(&self, limit: &Mutex<RateLimit>, level: Level, text: impl Display) {
        let verdict = match limit.lock() {
            Ok(mut limit) => limit.ask(Instant::now()),
            Err(_) => return,
        };
        match verdict {
            Verdict::Pass(0) => self.line(level, text),
            Verdict::Pass(dropped) => {
                self.line(Level::Warning, format!("{dropped} lines dropped"));
                self.line(level, text);
            }
            Verdict::Drop => {}
        }
    }
}

/// What a [`RateLimit`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; so many were dropped before.
    Pass(u64),
    /// Drop it.
    Drop,
}

/// So many per period.
#[derive(Debug)]
pub struct RateLimit {
    burst: u32,
    period: Duration,
    started: Option<Instant>,
    used: u32,
    dropped: u64,
}

impl RateLimit {
    /// `burst` per `period`.
    pub fn new(burst: u32, period: Duration) -> RateLimit {
        RateLimit {
            burst,
            period,
            started: None,
            used: 0,
            dropped: 0,
        }
    }

    /// May one more pass at `now`?
    pub fn ask(&mut self, now: Instant) -> Verdict {
        let fresh = self
            .started
            .is_none_or(|started| now.duration_since(started) >= self.period);
        if fresh {
            self.started = Some(now);
            self.used = 0;
        }
        if self.used < self.burst {
            self.used += 1;
            Verdict::Pass(std::mem::take(&mut self.dropped))
        } else {
            self.dropped += 1;
            Verdict::Drop
        }
    }
}

/// `seconds` since 1970 as UTC, "2026-11-23 17:40:12".
pub fn timestamp(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (at.date(), at.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn timestamp_knows_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_455_612, "2026-11-23 17:40:12"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
        ] {
            assert_eq!(timestamp(seconds), expected);
        }
    }

    #[test]
    fn rate_limit_drops_beyond_the_burst_and_tells_later() {
        let mut limit = RateLimit::new(2, Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(limit.ask(start), Verdict::Pass(0));
        assert_eq!(limit.ask(start), Verdict::Pass(0));
        assert_eq!(limit.ask(start), Verdict::Drop);
        assert_eq!(limit.ask(start), Verdict::Drop);
        assert_eq!(limit.ask(start + Duration::from_secs(1)), Verdict::Pass(2));
    }

    #[test]
    fn log_puts_its_prefix_before_every_line() {
        let file = rustix::fs::memfd_create("log", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut reader = File::from(file);
        let log = Log::new(Some(reader.try_clone().unwrap()), 7, "deb");
        log.line(Level::Error, "one\ntwo");
        reader.rewind().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.contains("deb(7) error: ")));
    }
}
