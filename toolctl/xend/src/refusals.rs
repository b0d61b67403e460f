//! Logins that were refused, in the log: not more often than somebody could read them.

use crate::warning;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines.
const QUIET: Duration = Duration::from_secs(10);

/// When the log last said so, and how many were refused since.
#[derive(Default)]
pub struct Refusals(Mutex<Option<(Instant, u64)>>);

impl Refusals {
    /// A login of `user` was refused, for the reason `why` if there is one to tell.
    pub fn note(&self, user: &str, why: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let more = match &mut *last {
            Some((at, count)) if at.elapsed() < QUIET => {
                *count += 1;
                return;
            }
            Some((_, count)) => *count,
            None => 0,
        };
        *last = Some((Instant::now(), 0));
        let [user, why] = [(user, 64), (why, 200)].map(|(text, most)| {
            let plain = |c: char| if c.is_control() { ' ' } else { c };
            text.chars().take(most).map(plain).collect::<String>()
        });
        let why = if why.is_empty() {
            why
        } else {
            format!(": {why}")
        };
        warning!(
            "Xen-API: a login of '{user}' was refused ({more} more since the last such line){why}"
        );
    }
}
