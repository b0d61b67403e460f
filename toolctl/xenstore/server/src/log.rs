//! The log: one line each, with a time, to a file or to standard error.
//!
//! Lines that a client can cause go through [`Log::limited`], which lets a few
//! pass per interval and then says how many it held back.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use noxen_xenstore::DomId;
use time::OffsetDateTime;

use crate::options::Options;

const INTERVAL: Duration = Duration::from_secs(10);
const PER_INTERVAL: u32 = 10;
/// Domains and subjects that are kept apart.
const NOTED_MAX: usize = 16 * 1024;

/// Where lines go.
#[derive(Debug)]
pub struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    interval_start: Instant,
    in_interval: u32,
    /// By domain and subject: when a line was last written, and how many were
    /// held back since.
    noted: HashMap<(DomId, &'static str), (Instant, u32)>,
}

impl Log {
    /// Opens the log file that the options name.
    pub fn open(options: &Options) -> anyhow::Result<Log> {
        let file = options.log_file.as_deref().map(append_to).transpose()?;
        Ok(Log {
            path: options.log_file.clone(),
            file,
            interval_start: Instant::now(),
            in_interval: 0,
            noted: HashMap::new(),
        })
    }

    /// Opens the file again, after it was rotated.
    pub fn reopen(&mut self) {
        if let Some(Ok(file)) = self.path.as_deref().map(append_to) {
            self.file = Some(file);
        }
    }

    /// Goes on in another file.
    pub fn move_to(&mut self, path: &Path) -> anyhow::Result<()> {
        self.file = Some(append_to(path)?);
        self.path = Some(path.to_owned());
        Ok(())
    }

    /// Writes a line about a domain, once per interval and subject: so none
    /// hides what another one does.
    pub fn about(&mut self, domid: DomId, subject: &'static str, now: Instant, text: &str) {
        if self.noted.len() >= NOTED_MAX {
            self.noted
                .retain(|_, (at, _)| now.duration_since(*at) < INTERVAL);
        }
        let key = (domid, subject);
        let full = self.noted.len() >= NOTED_MAX;
        let held = match self.noted.get_mut(&key) {
            Some((at, held)) if now.duration_since(*at) < INTERVAL => {
                *held = held.saturating_add(1);
                return;
            }
            Some((_, held)) => *held,
            None if full => return,
            None => 0,
        };
        self.noted.insert(key, (now, 0));
        match held {
            0 => self.line(text),
            _ => self.line(&format!("{text} (and {held} times before)")),
        }
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) {
        let line = format!("{} {text}\n", timestamp(SystemTime::now()));
        // A full disk must not stop the store.
        let _ = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }

    /// Writes a line that a client caused, unless there were too many lately.
    pub fn limited(&mut self, text: &str) {
        if self.interval_start.elapsed() >= INTERVAL {
            if self.in_interval > PER_INTERVAL {
                let held = self.in_interval - PER_INTERVAL;
                self.line(&format!("held back {held} lines like the ones before"));
            }
            self.interval_start = Instant::now();
            self.in_interval = 0;
        }
        self.in_interval = self.in_interval.saturating_add(1);
        if self.in_interval <= PER_INTERVAL {
            self.line(text);
        }
    }
}

fn append_to(path: &Path) -> anyhow::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let file = File::options().append(true).create(true).open(path);
    file.with_context(|| format!("cannot open the log file {}", path.display()))
}

/// `2026-11-23 17:34:02` in UTC.
fn timestamp(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let at = OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap_or(0))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (at.date(), at.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_known_moments_read_as_dates() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00:00"),
            (951_826_620, "2000-02-29 12:17:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_795_455_242, "2026-11-23 17:34:02"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), want);
        }
    }

    #[test]
    fn limited_flood_is_held_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = append_to(&path).unwrap();
        let mut log = Log {
            path: None,
            file: Some(file),
            interval_start: Instant::now(),
            in_interval: 0,
            noted: HashMap::new(),
        };
        for i in 0..1000 {
            log.limited(&format!("line {i}"));
        }
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(lines, PER_INTERVAL as usize);
    }

    #[test]
    fn about_each_domain_and_subject_has_a_line_per_interval() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log {
            path: None,
            file: Some(append_to(&path).unwrap()),
            interval_start: Instant::now(),
            in_interval: 0,
            noted: HashMap::new(),
        };
        let now = Instant::now();
        for _ in 0..1000 {
            log.about(5, "nodes", now, "five");
            log.about(6, "nodes", now, "six");
        }
        log.about(5, "watches", now, "other");
        log.about(5, "nodes", now + INTERVAL, "again");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(|l| &l[20..]).collect();
        assert_eq!(
            lines,
            ["five", "six", "other", "again (and 999 times before)"]
        );
    }
}
