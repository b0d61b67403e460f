//! What is counted, over what it was counted in: `host_cpu.utilisation`, `io_read_kbs`, `io_write_kbs`.
//!
//! ```text
//!   /proc/stat: cpuN user nice system idle iowait irq ..   busy ticks over all ticks ──> share of 1
//!   bytes of a disk or an interface                        bytes over microseconds   ──> KiB a second
//!       each: now, minus what it was a second ago or more
//! ```
//! The first one who asks gets the mean since the beginning, of the host or of the domain, since nothing was looked at before.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Over less than that counters say nothing.
const SHORTEST: Duration = Duration::from_secs(1);

/// A count, and what it is to be divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub counted: u64,
    pub over: u64,
}

type Sample<K> = BTreeMap<K, Count>;

/// What was looked at last.
pub struct Since<K>(Mutex<Option<Kept<K>>>);

struct Kept<K> {
    /// What is measured against.
    before: Sample<K>,
    /// What will be, once it is old enough.
    next: Sample<K>,
    at: Instant,
}

impl<K> Default for Since<K> {
    fn default() -> Since<K> {
        Since(Mutex::new(None))
    }
}

impl<K: Ord + Clone> Since<K> {
    /// What was counted since then, divided by what it was counted in; of what was not there then, since its beginning.
    fn look(&self, now: &Sample<K>, at: Instant) -> BTreeMap<K, f64> {
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
        let ratio = |key: &K, count: &Count| {
            let before = kept.before.get(key).copied().unwrap_or_default();
            let over = count.over.saturating_sub(before.over);
            let counted = count.counted.saturating_sub(before.counted);
            if over == 0 {
                0.0
            } else {
                counted as f64 / over as f64
            }
        };
        now.iter()
            .map(|(key, count)| (key.clone(), ratio(key, count)))
            .collect()
    }
}

/// A device by its reference and its domain's id, which is another one after a restart; read or written.
type Way = (String, u32, bool);

/// Bytes that went through a device.
pub struct Carried {
    /// Its reference.
    pub reference: String,
    /// Whose it is: a restarted domain's counters begin again.
    pub domid: u32,
    pub read: u64,
    pub written: u64,
    /// Since when they are counted.
    pub since: Duration,
}

/// KiB a second, read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub read: f64,
    pub written: f64,
}

/// Everything of which shares or rates are told.
#[derive(Default)]
pub struct Load {
    processors: Since<u32>,
    pub disks: Flow,
    pub interfaces: Flow,
    pub cards: Flow,
}

/// Devices of one kind.
#[derive(Default)]
pub struct Flow(Since<Way>);

impl Load {
    /// The share of 1 that each processor was busy.
    pub fn shares(&self) -> BTreeMap<u32, f64> {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        self.processors.look(&sample(&text), Instant::now())
    }
}

impl Flow {
    /// By reference; `all` are all of this kind, so that those that are gone are forgotten.
    pub fn rates(&self, all: &[Carried]) -> BTreeMap<String, Rates> {
        self.rates_at(all, Instant::now())
    }

    fn rates_at(&self, all: &[Carried], at: Instant) -> BTreeMap<String, Rates> {
        let now: Sample<Way> = all
            .iter()
            .flat_map(|it| {
                let over = u64::try_from(it.since.as_micros()).unwrap_or(u64::MAX);
                [(false, it.read), (true, it.written)].map(|(written, counted)| {
                    let way = (it.reference.clone(), it.domid, written);
                    (way, Count { counted, over })
                })
            })
            .collect();
        let mut rates: BTreeMap<String, Rates> = BTreeMap::new();
        for ((reference, _, written), ratio) in self.0.look(&now, at) {
            let kib_per_second = ratio * 1e6 / 1024.0;
            let of = rates.entry(reference).or_default();
            match written {
                true => of.written = kib_per_second,
                false => of.read = kib_per_second,
            }
        }
        rates
    }
}

/// Out of the text of `/proc/stat` (proc(5)); guests' time is in that of users already.
fn sample(text: &str) -> Sample<u32> {
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
            let over: u64 = ticks.iter().sum();
            let counted = over.saturating_sub(idle);
            Some((number.parse().ok()?, Count { counted, over }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(busy: u64, idle: u64) -> Sample<u32> {
        let line = format!("cpu  1 2 3 4\ncpu0 {busy} 0 0 {idle} 0 0 0 0 99 0\nintr 5\n");
        sample(&line)
    }

    #[test]
    fn share_is_that_since_a_second_ago_or_more() {
        let load = Since::default();
        let at = Instant::now();
        let after = |millis| at + Duration::from_millis(millis);
        assert_eq!(load.look(&stat(25, 75), at)[&0], 0.25);
        // 100 busy ticks more; still against the start.
        assert_eq!(load.look(&stat(125, 75), after(500))[&0], 0.625);
        // From the first look on.
        assert_eq!(load.look(&stat(125, 175), after(1500))[&0], 0.5);
        // What was looked at 1.5 s after the start is not old enough yet.
        assert_eq!(load.look(&stat(125, 275), after(2000))[&0], 100.0 / 300.0);
        assert_eq!(load.look(&stat(225, 275), after(2600))[&0], 0.5);
        assert_eq!(load.look(&Sample::new(), after(9000)), BTreeMap::new());
    }

    #[test]
    fn rate_is_that_since_a_second_ago_and_begins_again_with_the_domain() {
        let flow = Flow::default();
        let at = Instant::now();
        let look = |domid, kib: [u64; 2], seconds: u64, after| {
            let all = [Carried {
                reference: "a".into(),
                domid,
                read: kib[0] << 10,
                written: kib[1] << 10,
                since: Duration::from_secs(seconds),
            }];
            let rates = flow.rates_at(&all, at + Duration::from_secs(after))["a"];
            [rates.read, rates.written]
        };
        // The mean of its ten seconds, then what came in two.
        assert_eq!(look(3, [100, 0], 10, 0), [10.0, 0.0]);
        assert_eq!(look(3, [104, 12], 12, 2), [2.0, 6.0]);
        assert_eq!(look(3, [104, 12], 14, 4), [0.0, 0.0]);
        // Restarted: counters from nothing, in its one second.
        assert_eq!(look(4, [7, 5], 1, 6), [7.0, 5.0]);
        // One of which no time is known has none, and what is gone is forgotten.
        assert_eq!(look(5, [9, 9], 0, 8), [0.0, 0.0]);
        assert!(flow.rates_at(&[], at + Duration::from_secs(20)).is_empty());
    }
}
