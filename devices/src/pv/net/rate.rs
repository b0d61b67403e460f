//! How much a guest may send: `rate=` of a vif, as so many bytes per period.
//!
//! ```text
//!   each period: remaining += bytes (at most one period's worth, or one largest packet, in stock)
//!   a packet: remaining -= size; not enough: wait for the next period
//! ```
//! The stock never exceeds what lets the largest packet pass, so a low rate delays large packets instead of
//! stopping them for ever.

use std::time::Duration;

/// What the largest packet needs, with room for a burst.
const LARGEST: u64 = 131_072;

/// The account of one device.
#[derive(Debug, Clone)]
pub struct Credit {
    bytes: u64,
    period: Duration,
    remaining: u64,
    window: Duration,
}

impl Credit {
    /// `bytes` per `period_us` microseconds, from time `now`. `None` where that limits nothing.
    pub fn new(bytes: u64, period_us: u64, now: Duration) -> Option<Credit> {
        if bytes == 0 || bytes >= u64::from(u32::MAX) || period_us == 0 {
            return None;
        }
        Some(Credit {
            bytes,
            period: Duration::from_micros(period_us),
            remaining: bytes,
            window: now,
        })
    }

    /// Takes `size` bytes, or says when to ask again.
    pub fn take(&mut self, size: u64, now: Duration) -> Result<(), Duration> {
        if size > self.remaining {
            let elapsed = now.saturating_sub(self.window).as_nanos();
            let periods = (elapsed / self.period.as_nanos().max(1)) as u64;
            if periods > 0 {
                let most = self.bytes.max(LARGEST);
                let earned = self.bytes.saturating_mul(periods);
                self.remaining = self.remaining.saturating_add(earned).min(most);
                self.window = now;
            }
        }
        if size > self.remaining {
            return Err(self.window + self.period);
        }
        self.remaining -= size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_held_over_time_and_large_packets_pass_in_the_end() {
        let mut now = Duration::ZERO;
        // 62500 bytes per 50 ms: 10 Mb/s.
        let mut credit = Credit::new(62_500, 50_000, now).unwrap();
        let mut sent = 0u64;
        while now < Duration::from_secs(10) {
            match credit.take(65_000, now) {
                Ok(()) => sent += 65_000,
                Err(at) => {
                    assert!(at > now, "{at:?} {now:?}");
                    now = at;
                }
            }
        }
        let expected = 12_500_000.0;
        let ratio = sent as f64 / expected;
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
    }

    #[test]
    fn rate_that_limits_nothing_is_none() {
        assert!(Credit::new(0, 1, Duration::ZERO).is_none());
        assert!(Credit::new(1, 0, Duration::ZERO).is_none());
        assert!(Credit::new(4_294_967_295, 0, Duration::ZERO).is_none());
    }

    #[test]
    fn idle_time_earns_no_more_than_the_largest_packet() {
        let mut credit = Credit::new(1000, 1000, Duration::ZERO).unwrap();
        let later = Duration::from_secs(3600);
        credit.take(1001, later).unwrap();
        let mut burst = 1001;
        while credit.take(1000, later).is_ok() {
            burst += 1000;
        }
        assert!(burst <= LARGEST, "{burst}");
    }
}
