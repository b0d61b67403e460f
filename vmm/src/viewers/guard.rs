//! Who guesses passwords waits: after [`FREE`] failures from an address, it is not let in for a while, longer each time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong passwords that cost nothing.
const FREE: u32 = 5;
/// What the next one costs; each doubles it, up to [`MOST`].
const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(600);
/// Addresses kept in mind; the oldest is forgotten.
const ADDRESSES: usize = 64;

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    failures: u32,
    until: Instant,
}

/// The addresses that failed.
#[derive(Debug, Default)]
pub struct Guard(Vec<Entry>);

impl Guard {
    /// Whether `address` may try.
    pub fn admits(&self, address: IpAddr, now: Instant) -> bool {
        let entry = self.0.iter().find(|entry| entry.address == address);
        entry.is_none_or(|entry| entry.until <= now)
    }

    /// `address` gave a wrong password.
    pub fn failed(&mut self, address: IpAddr, now: Instant) {
        let at = self.0.iter().position(|entry| entry.address == address);
        let mut entry = match at {
            Some(at) => self.0.remove(at),
            None => Entry {
                address,
                failures: 0,
                until: now,
            },
        };
        entry.failures = entry.failures.saturating_add(1);
        if let Some(over) = entry.failures.checked_sub(FREE) {
            entry.until = now + FIRST.saturating_mul(1 << over.min(16)).min(MOST);
        }
        if self.0.len() == ADDRESSES {
            self.0.remove(0);
        }
        self.0.push(entry);
    }

    /// `address` gave the right one.
    pub fn passed(&mut self, address: IpAddr) {
        self.0.retain(|entry| entry.address != address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn guessing_gets_slower_and_others_do_not_suffer() {
        let mut guard = Guard::default();
        let now = Instant::now();
        for _ in 1..FREE {
            guard.failed(address(1), now);
            assert!(guard.admits(address(1), now));
        }
        guard.failed(address(1), now);
        assert!(!guard.admits(address(1), now));
        assert!(guard.admits(address(2), now));
        assert!(guard.admits(address(1), now + FIRST));
        guard.failed(address(1), now);
        assert!(!guard.admits(address(1), now + FIRST));
        assert!(guard.admits(address(1), now + 2 * FIRST));
        for _ in 0..100 {
            guard.failed(address(1), now);
        }
        assert!(guard.admits(address(1), now + MOST));
        guard.passed(address(1));
        assert!(guard.admits(address(1), now));
    }

    #[test]
    fn memory_of_failures_is_bounded() {
        let mut guard = Guard::default();
        for last in 0..=255 {
            guard.failed(address(last), Instant::now());
        }
        assert_eq!(guard.0.len(), ADDRESSES);
    }
}
