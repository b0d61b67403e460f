//! The guest's time: it passes while the domain runs.

use std::time::Instant;

/// A clock that can be stopped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// Time that passed before it was last stopped, ns.
    before: u64,
    running_since: Option<Instant>,
}

impl Clock {
    /// ns of guest time at `at`.
    pub fn now(&self, at: Instant) -> u64 {
        let since = self.running_since.map_or(0, |since| {
            u64::try_from(at.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX)
        });
        self.before.saturating_add(since)
    }

    /// A clock that stands still at `ns`.
    pub fn standing_at(ns: u64) -> Clock {
        Clock {
            before: ns,
            running_since: None,
        }
    }

    /// Whether time passes.
    pub fn runs(&self) -> bool {
        self.running_since.is_some()
    }

    /// Time passes from `at` on.
    pub fn start(&mut self, at: Instant) {
        self.running_since.get_or_insert(at);
    }

    /// Time stands still from `at` on.
    pub fn stop(&mut self, at: Instant) {
        self.before = self.now(at);
        self.running_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_passes_only_while_it_runs() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = Clock::default();
        assert_eq!(clock.now(at(5)), 0);
        clock.start(at(10));
        clock.start(at(12));
        assert_eq!(clock.now(at(15)), 5_000_000);
        clock.stop(at(20));
        assert_eq!(clock.now(at(100)), 10_000_000);
        clock.start(at(200));
        assert_eq!(clock.now(at(201)), 11_000_000);
    }
}
