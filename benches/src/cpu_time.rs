//! CPU time of a process's threads: with one CPU and virtual time, where a wait went.
//!
//! ```text
//!   /proc/PID/task/TID/{comm,schedstat}     schedstat: ns on a CPU, ns in the queue, slices
//! ```

use std::collections::BTreeMap;
use std::path::Path;

/// Nanoseconds on a CPU so far, by the threads' names; empty when the process has gone.
pub fn threads(pid: u32) -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    let tasks = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    for task in tasks.into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).ok();
        let time = read("schedstat").and_then(|text| on_cpu(&text));
        if let (Some(name), Some(time)) = (read("comm"), time) {
            *times.entry(name.trim().to_owned()).or_insert(0) += time;
        }
    }
    times
}

fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_starts_with_time_on_the_cpu() {
        assert_eq!(on_cpu("81234567 1200 31\n"), Some(81_234_567));
        assert_eq!(on_cpu(""), None);
    }

    #[test]
    fn own_threads_have_names_and_times() {
        let times = threads(std::process::id());
        assert!(times.values().sum::<u64>() > 0, "{times:?}");
    }
}
