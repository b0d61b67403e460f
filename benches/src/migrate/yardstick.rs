//! How much slower the lab is than the machine below it: the same small works, timed on both.
//!
//! ```text
//!   xtask ── noxen-benches yardstick ── here, natively ──> ns of each
//!         └─ lab ── noxen-benches migrate ─ the same ────> ns of each, of the lab's time ──> factor = lab / here
//! ```

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// What each took, nanoseconds: the best of some times.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Yardstick {
    /// Arithmetic without memory.
    pub arithmetic: u64,
    /// Copies of pages.
    pub copy: u64,
    /// Pages through a socket and back: system calls, and copies by the kernel.
    pub socket: u64,
}

const TIMES: usize = 3;
const PAGE: usize = 4096;

impl Yardstick {
    /// Measures here.
    pub fn measure() -> Result<Yardstick> {
        let (mut ours, mut theirs) = UnixStream::pair().context("a socket pair")?;
        let mut page = vec![1; PAGE];
        let from = vec![7u8; PAGE << 8];
        let mut to = vec![0u8; PAGE << 8];
        let arithmetic = best(|| {
            let mut x = 88_172_645_463_325_252u64;
            for _ in 0..2_000_000 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
            }
            black_box(x);
            Ok(())
        })?;
        let copy = best(|| {
            for _ in 0..8 {
                to.copy_from_slice(black_box(&from));
                black_box(&mut to);
            }
            Ok(())
        })?;
        let socket = best(|| {
            for _ in 0..500 {
                ours.write_all(&page)?;
                theirs.read_exact(&mut page)?;
            }
            Ok(())
        })?;
        Ok(Yardstick {
            arithmetic,
            copy,
            socket,
        })
    }

    /// How many times as long as `here` each took: arithmetic, copy, socket.
    pub fn factors(&self, here: &Yardstick) -> [f64; 3] {
        let factor = |lab: u64, here: u64| lab as f64 / here.max(1) as f64;
        [
            factor(self.arithmetic, here.arithmetic),
            factor(self.copy, here.copy),
            factor(self.socket, here.socket),
        ]
    }
}

fn best(mut work: impl FnMut() -> Result<()>) -> Result<u64> {
    let mut least = u64::MAX;
    for _ in 0..TIMES {
        let begun = Instant::now();
        work()?;
        least = least.min(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_the_labs_times_in_those_of_the_machine_below() {
        let here = Yardstick {
            arithmetic: 100,
            copy: 10,
            socket: 1000,
        };
        let lab = Yardstick {
            arithmetic: 200,
            copy: 100,
            socket: 7000,
        };
        assert_eq!(lab.factors(&here), [2.0, 10.0, 7.0]);
    }
}
