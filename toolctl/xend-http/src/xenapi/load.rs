//! How busy each processor of the host is: `host_cpu.utilisation`.
//!
//! ```text
//!   /proc/stat: cpuN user nice system idle iowait irq ..   now, minus what it was a second ago or more ──> share of 1
//! ```
//! The first one who asks gets the mean since the host was started, since nothing was looked at before.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Over less than that the kernel's ticks say nothing.
const SHORTEST: Duration = Duration::from_secs(1);

/// Ticks of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

type Sample = BTreeMap<u32, Ticks>;

/// What was looked at last.
#[derive(Default)]
pub struct Load(Mutex<Option<Kept>>);

struct Kept {
    /// What is measured against.
    before: Sample,
    /// What will be, once it is old enough.
    next: Sample,
    at: Instant,
}

impl Load {
    /// The share of 1 that each processor was busy.
    pub fn shares(&self) -> BTreeMap<u32, f64> {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        self.look(sample(&text), Instant::now())
    }

    fn look(&self, now: Sample, at: Instant) -> BTreeMap<u32, f64> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_with(|| Kept {
            before: Sample::new(),
            next: now.clone(),
            at,
        });
        if at.saturating_duration_since(kept.at) >= SHORTEST {
            kept.before = std::mem::replace(&mut kept.next, now.clone());
            kept.at = at;
        }
        now.iter()
            .map(|(number, ticks)| {
                let before = kept.before.get(number).copied().unwrap_or_default();
                let all = ticks.all.saturating_sub(before.all);
                let busy = ticks.busy.saturating_sub(before.busy).min(all);
                (
                    *number,
                    if all == 0 {
                        0.0
                    } else {
                        busy as f64 / all as f64
                    },
                )
            })
            .collect()
    }
}

/// Out of the text of `/proc/stat` (proc(5)); guests' time is in that of users already.
fn sample(text: &str) -> Sample {
    const IDLE: [usize; 2] = [3, 4];
    let lines = text.lines().filter_map(|line| line.strip_prefix("cpu"));
    lines
        .filter_map(|line| {
            let (number, ticks) = line.split_once(' ')?;
            let ticks: Vec<u64> = ticks
                .split_whitespace()
                .take(8)
                .map_while(|word| word.parse().ok())
                .collect();
            let idle = IDLE.iter().filter_map(|&at| ticks.get(at)).sum::<u64>();
            let all: u64 = ticks.iter().sum();
            let busy = all.saturating_sub(idle);
            Some((number.parse().ok()?, Ticks { busy, all }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(busy: u64, idle: u64) -> Sample {
        let line = format!("cpu  1 2 3 4\ncpu0 {busy} 0 0 {idle} 0 0 0 0 99 0\nintr 5\n");
        sample(&line)
    }

    #[test]
    fn share_is_that_since_a_second_ago_or_more() {
        let load = Load::default();
        let at = Instant::now();
        let after = |millis| at + Duration::from_millis(millis);
        assert_eq!(load.look(stat(25, 75), at)[&0], 0.25);
        // 100 busy ticks more; still against the start.
        assert_eq!(load.look(stat(125, 75), after(500))[&0], 0.625);
        // From the first look on.
        assert_eq!(load.look(stat(125, 175), after(1500))[&0], 0.5);
        // What was looked at 1.5 s after the start is not old enough yet.
        assert_eq!(load.look(stat(125, 275), after(2000))[&0], 100.0 / 300.0);
        assert_eq!(load.look(stat(225, 275), after(2600))[&0], 0.5);
        assert_eq!(load.look(Sample::new(), after(9000)), BTreeMap::new());
    }
}
