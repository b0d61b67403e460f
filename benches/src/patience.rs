//! How long a guest may take, by two clocks.
//!
//! ```text
//!   expect ── a tenth of a second of the lab's ──────┬── the text is there ──────────────── Ok
//!                                                    ├── the program has ended ──────────── Err
//!                                                    └── either clock is over its limit ─── Err
//! ```
//! A guest that stands still either sleeps, and then the lab's time runs on by itself, or it spins. Then a second of
//! the lab's time costs many of the real ones, and only the real clock ends the wait soon. The lab's RTC shows
//! that one: QEMU keeps it by its host's time of day whatever clock the guest has.

use anyhow::{bail, Result};
use noxen_integration_tests::console::Console;
use std::path::Path;
use std::time::{Duration, Instant};

/// Linux, Documentation/admin-guide/rtc.rst: whole seconds since 1970.
const RTC: &str = "/sys/class/rtc/rtc0/since_epoch";
/// How often the clocks are looked at, in the lab's time: 50 times in a boot, which costs it nothing that shows.
const STEP: Duration = Duration::from_millis(100);

/// Limits for one wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The lab's time.
    pub lab: Duration,
    /// Real time. A host without an RTC has only the first limit, and its time is real.
    pub real: Duration,
}

impl Patience {
    /// Waits for `text`.
    pub fn expect(self, console: &mut Console, text: &str) -> Result<()> {
        self.expect_by(console, text, STEP, || rtc(RTC.as_ref()))
    }

    fn expect_by(
        self,
        console: &mut Console,
        text: &str,
        step: Duration,
        real: impl Fn() -> Option<Duration>,
    ) -> Result<()> {
        let (start, real_start) = (Instant::now(), real());
        loop {
            let asked = Instant::now();
            let Err(error) = console.expect(text, step) else {
                return Ok(());
            };
            if asked.elapsed() < step {
                // The program has ended; nothing more will come.
                return Err(error);
            }
            let lab = start.elapsed();
            let real = match (real(), real_start) {
                (Some(now), Some(start)) => now.saturating_sub(start),
                _ => lab,
            };
            if lab >= self.lab || real >= self.real {
                bail!(
                    "no {text:?} within {:.0} s of the lab's time, {:.0} s of real time; its last line: {:?}",
                    lab.as_secs_f64(),
                    real.as_secs_f64(),
                    last_line(&console.transcript())
                );
            }
        }
    }
}

/// The time that a real-time clock shows; none where there is no such clock.
fn rtc(path: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?))
}

fn last_line(transcript: &str) -> &str {
    let mut lines = transcript.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_integration_tests::console::command;
    use std::cell::Cell;

    const STEP: Duration = Duration::from_millis(10);

    fn says(script: &str) -> Console {
        Console::spawn(&command("sh", &["-c", script])).unwrap()
    }

    /// A wait with `real` seconds passing at each look at the real clock.
    fn wait(console: &mut Console, lab: Duration, real: u64) -> Result<()> {
        let passed = Cell::new(0);
        let patience = Patience {
            lab,
            real: Duration::from_secs(60),
        };
        patience.expect_by(console, "up", STEP, || {
            passed.set(passed.get() + real);
            Some(Duration::from_secs(passed.get()))
        })
    }

    #[test]
    fn text_that_comes_after_several_looks_is_found() {
        let mut console = says("sleep 0.2; echo up; sleep 60");
        wait(&mut console, Duration::from_secs(20), 0).unwrap();
    }

    #[test]
    fn silence_ends_by_the_real_clock_long_before_the_labs() {
        let mut console = says("echo half way; sleep 60");
        console.expect("half way", Duration::from_secs(20)).unwrap();
        let error = wait(&mut console, Duration::from_secs(3600), 50).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("100 s of real time"), "{text}");
        assert!(text.contains("half way"), "{text}");
    }

    #[test]
    fn silence_ends_by_the_labs_clock_where_the_real_one_stands() {
        let error = wait(&mut says("sleep 60"), Duration::from_millis(50), 0).unwrap_err();
        assert!(error.to_string().contains("within 0 s"), "{error:#}");
    }

    #[test]
    fn program_that_ends_is_not_waited_for() {
        let start = Instant::now();
        let error = wait(&mut says("echo gone"), Duration::from_secs(3600), 0).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error:#}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn absent_clock_is_none_and_a_present_one_is_read() {
        assert_eq!(rtc("/nonexistent/since_epoch".as_ref()), None);
        let file = std::env::temp_dir().join(format!("noxen-rtc-{}", std::process::id()));
        std::fs::write(&file, "1700000000\n").unwrap();
        assert_eq!(rtc(&file), Some(Duration::from_secs(1_700_000_000)));
        std::fs::remove_file(&file).unwrap();
    }
}
