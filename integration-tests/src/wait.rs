//! Waiting on a condition, with a limit.

use std::time::{Duration, Instant};

/// Tries `attempt` until it gives a value, at most for `limit`; None when the limit has passed.
///
/// For conditions that nothing announces (a file that appears, a count that falls); the pause
/// between attempts is short and is no part of the condition.
pub fn try_until<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same for tests: fails the test, naming `what` it waited for.
///
/// # Panics
/// When the limit has passed.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, attempt: impl FnMut() -> Option<T>) -> T {
    match try_until(limit, attempt) {
        Some(value) => value,
        None => panic!("waited {} s in vain for {what}", limit.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_met_later_is_returned() {
        let mut left = 3;
        let got = try_until(Duration::from_secs(5), || {
            left -= 1;
            (left == 0).then_some("there")
        });
        assert_eq!(got, Some("there"));
    }

    #[test]
    fn condition_never_met_ends_at_the_limit() {
        assert_eq!(try_until(Duration::from_millis(30), || None::<()>), None);
    }
}
