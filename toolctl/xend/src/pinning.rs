//! Which host CPUs the vCPUs may use: as configured, as applied, as it is.
//!
//! ```text
//!   cpus=, cpu= --configured--> a set or none per vCPU
//!     the same for all -> the whole process is started so     differing -> each thread "vcpuN" is set
//!   /proc/PID/task, sched_getaffinity --actual--> what vcpu-list shows
//! ```

use crate::cpuset::{self, CpuSetError};
use noxen_xend_api::{Cpus, DomainConfig};
use rustix::process::Pid;
use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// How long the threads of a monitor may take to say which vCPU each runs.
const NAMED: Duration = Duration::from_secs(5);

/// For each vCPU the host CPUs that it may use; none means any.
pub type Pinning = Vec<Option<Vec<u32>>>;

/// Why a configuration's pinning is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinningError {
    /// One of its sets is none.
    #[error("Invalid Configuration: cpus = '{text}': {error}")]
    Set {
        /// As written.
        text: String,
        /// What is wrong.
        error: CpuSetError,
    },
    /// More sets than vCPUs.
    #[error("vcpus and the item number of cpus are not same")]
    Count,
}

/// What `config` asks for, with `vcpus` entries.
pub fn configured(
    config: &DomainConfig,
    vcpus: u32,
    host_cpus: u32,
) -> Result<Pinning, PinningError> {
    let parse = |text: &str| match text.trim() {
        "" => Ok(None),
        set => cpuset::parse(set, host_cpus)
            .map(Some)
            .map_err(|error| PinningError::Set {
                text: text.to_owned(),
                error,
            }),
    };
    let mut pinning = vec![None; vcpus as usize];
    match (&config.cpus, config.cpu) {
        (Cpus::All(text), _) => pinning.fill(parse(text)?),
        (Cpus::PerVcpu(texts), _) => {
            if texts.len() > pinning.len() {
                return Err(PinningError::Count);
            }
            for (place, text) in pinning.iter_mut().zip(texts) {
                *place = parse(text)?;
            }
        }
        // `cpu` is where vCPU 0 runs; -1 was xm's word for anywhere.
        (Cpus::Any, Some(cpu)) if cpu >= 0 => pinning[0] = parse(&cpu.to_string())?,
        (Cpus::Any, _) => {}
    }
    Ok(pinning)
}

/// The set of the whole process, when all vCPUs have the same one.
pub fn common(pinning: &Pinning) -> Option<&[u32]> {
    let first = pinning.first()?.as_deref()?;
    let same = pinning.iter().all(|set| set.as_deref() == Some(first));
    same.then_some(first)
}

/// Sets the threads of monitor `pid`; those without a set are left alone. A thread names itself, which may be a
/// moment after the monitor said that it is ready.
pub fn apply(pid: u32, pinning: &Pinning) -> io::Result<()> {
    if pinning.iter().all(Option::is_none) || common(pinning).is_some() {
        return Ok(());
    }
    let deadline = Instant::now() + NAMED;
    let threads = loop {
        let threads = vcpu_threads(pid)?;
        if threads.len() >= pinning.len() {
            break threads;
        }
        if Instant::now() > deadline {
            let found = format!(
                "the monitor has {} threads for {} vCPUs",
                threads.len(),
                pinning.len()
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, found));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    for (vcpu, thread) in threads {
        if let Some(Some(set)) = pinning.get(vcpu) {
            sched_setaffinity(Some(thread), &cpu_set(set))?;
        }
    }
    Ok(())
}

/// Sets the threads of some vCPUs of monitor `pid`.
pub fn set(pid: u32, vcpus: std::ops::Range<u32>, cpus: &[u32]) -> io::Result<()> {
    let threads = vcpu_threads(pid)?;
    let of = |vcpu: u32| threads.iter().find(|(n, _)| *n == vcpu as usize);
    for vcpu in vcpus {
        let (_, thread) = of(vcpu).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("VCPU {vcpu} has no thread"),
            )
        })?;
        sched_setaffinity(Some(*thread), &cpu_set(cpus))?;
    }
    Ok(())
}

/// Host CPUs that vCPU `vcpu` of monitor `pid` may use at the moment, of the first `host_cpus`.
pub fn actual(threads: &[(usize, Pid)], vcpu: usize, host_cpus: u32) -> Option<Vec<u32>> {
    let (_, thread) = threads.iter().find(|(n, _)| *n == vcpu)?;
    let set = sched_getaffinity(Some(*thread)).ok()?;
    Some(
        (0..host_cpus)
            .filter(|&cpu| set.is_set(cpu as usize))
            .collect(),
    )
}

/// The threads of monitor `pid` that run vCPUs, by their names.
pub fn vcpu_threads(pid: u32) -> io::Result<Vec<(usize, Pid)>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    let thread = |name: String| {
        let comm = fs::read_to_string(format!("/proc/{pid}/task/{name}/comm")).ok()?;
        let vcpu = comm.trim().strip_prefix("vcpu")?.parse().ok()?;
        Some((vcpu, Pid::from_raw(name.parse().ok()?)?))
    };
    Ok(entries
        .filter_map(|entry| thread(entry.ok()?.file_name().into_string().ok()?))
        .collect())
}

/// As the kernel takes it.
pub fn cpu_set(cpus: &[u32]) -> CpuSet {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| (cpu as usize) < CpuSet::MAX_CPU) {
        set.set(cpu as usize);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinning(cpus: Cpus, cpu: Option<i64>) -> Result<Pinning, String> {
        let config = DomainConfig {
            cpus,
            cpu,
            ..DomainConfig::default()
        };
        configured(&config, 2, 8).map_err(|e| e.to_string())
    }

    #[test]
    fn configured_follows_cpus_then_cpu() {
        assert_eq!(pinning(Cpus::Any, None).unwrap(), [None, None]);
        assert_eq!(pinning(Cpus::Any, Some(-1)).unwrap(), [None, None]);
        assert_eq!(pinning(Cpus::Any, Some(3)).unwrap(), [Some(vec![3]), None]);
        let both = vec![Some(vec![0, 1]); 2];
        assert_eq!(pinning(Cpus::All("0-1".into()), Some(3)).unwrap(), both);
        assert_eq!(pinning(Cpus::All(" ".into()), None).unwrap(), [None, None]);
        let list = Cpus::PerVcpu(vec!["1".into(), "0,2".into()]);
        assert_eq!(
            pinning(list, None).unwrap(),
            [Some(vec![1]), Some(vec![0, 2])]
        );
    }

    #[test]
    fn configured_wrong_sets_are_named() {
        let long = Cpus::PerVcpu(vec!["0".into(); 3]);
        assert_eq!(
            pinning(long, None).unwrap_err(),
            "vcpus and the item number of cpus are not same"
        );
        assert_eq!(
            pinning(Cpus::All("9".into()), None).unwrap_err(),
            "Invalid Configuration: cpus = '9': there is no CPU 9; the host has CPUs 0 to 7"
        );
    }

    #[test]
    fn common_is_the_set_that_all_share() {
        assert_eq!(common(&vec![Some(vec![1]); 3]), Some(&[1][..]));
        assert_eq!(common(&vec![Some(vec![1]), Some(vec![2])]), None);
        assert_eq!(common(&vec![Some(vec![1]), None]), None);
        assert_eq!(common(&vec![None, None]), None);
    }
}
