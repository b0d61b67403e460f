//! How many conflicts a domain may cause before it is held back.
//!
//! ```text
//!   conflict: due = max(due, now) + EACH
//!   due lies further ahead than BURST * EACH?  its requests wait until it does not
//! ```
//!
//! So a domain may make [`BURST`] transactions of others fail at once and one
//! per [`EACH`] in the long run. In the pauses, the others' commits succeed.

use std::time::{Duration, Instant};

/// Conflicts that may be caused at once.
pub const BURST: u32 = 10;
/// What one conflict costs.
pub const EACH: Duration = Duration::from_millis(200);

/// One domain's account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credit {
    due: Option<Instant>,
}

impl Credit {
    /// Takes a conflict into account.
    pub fn charge(&mut self, now: Instant) {
        let due = self.due.map_or(now, |due| due.max(now));
        self.due = Some(due + EACH);
    }

    /// Until when the domain has to wait, if it has to.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        let until = self.due?.checked_sub(EACH * BURST)?;
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_holds_back_after_the_burst_and_comes_back_with_time() {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut credit = Credit::default();
        for _ in 0..BURST {
            credit.charge(start);
            assert_eq!(credit.held_until(start), None);
        }
        credit.charge(start);
        assert_eq!(credit.held_until(start), Some(start + EACH));
        assert_eq!(credit.held_until(start + EACH), None);
        credit.charge(start + EACH);
        assert_eq!(credit.held_until(start + EACH), Some(start + 2 * EACH));
        let later = start + EACH * (2 * BURST);
        credit.charge(later);
        assert_eq!(credit.held_until(later), None);
    }
}
