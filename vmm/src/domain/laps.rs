//! How long the parts of a domain's start took; one line of its log.
//!
//! ```text
//!   info: built in 123.4 ms: memory 0.2, kernel 31.0, guest 80.5, ...
//! ```

use std::fmt;
use std::time::{Duration, Instant};

/// Times of parts that follow one another.
#[derive(Debug)]
pub struct Laps {
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Laps {
    /// The first part begins.
    pub fn start(now: Instant) -> Laps {
        Laps {
            last: now,
            laps: Vec::new(),
        }
    }

    /// A part is over, the next one begins.
    pub fn lap(&mut self, what: &'static str, now: Instant) {
        self.laps
            .push((what, now.saturating_duration_since(self.last)));
        self.last = now;
    }
}

impl fmt::Display for Laps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let all: Duration = self.laps.iter().map(|(_, time)| *time).sum();
        write!(f, "{:.1} ms", ms(all))?;
        for (index, (what, time)) in self.laps.iter().enumerate() {
            let separator = if index == 0 { ':' } else { ',' };
            write!(f, "{separator} {what} {:.1}", ms(*time))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_are_listed_in_order_with_their_sum() {
        let start = Instant::now();
        let mut laps = Laps::start(start);
        laps.lap("memory", start + Duration::from_micros(1200));
        laps.lap("kernel", start + Duration::from_micros(33_400));
        assert_eq!(laps.to_string(), "33.4 ms: memory 1.2, kernel 32.2");
        assert_eq!(Laps::start(start).to_string(), "0.0 ms");
    }
}
