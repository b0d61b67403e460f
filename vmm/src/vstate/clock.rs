//! A vCPU's clock beside the host's, and a step of it. The vCPU stands still.

use super::msr::{self, MsrError, IA32_TSC, IA32_TSC_DEADLINE};
use super::saved::set_tsc;
use crate::domain::host_tick::{step, Reading, Ticks};
use kvm_ioctls::VcpuFd;
use rustix::time::{clock_getres, clock_gettime, ClockId, Timespec};

/// Readings of which the best is taken: an interrupt of the host in between spoils one.
const READINGS: usize = 8;
/// Attempts at a step; each ends where the setting took as long as was expected.
const ATTEMPTS: usize = 4;
/// How far a step may be off, ns.
const CLOSE: u64 = 800;
/// How long the best reading may take, ns; with a longer one nothing can be aimed at.
const SLOWEST: u64 = 50_000;

fn ns(time: Timespec) -> u64 {
    // Both parts of this clock are positive.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CLOCK_MONOTONIC, ns.
pub fn monotonic() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// Period of the host's ticks, ns: its coarse clock moves with them.
pub fn host_tick() -> u64 {
    ns(clock_getres(ClockId::MonotonicCoarse))
}

/// The TSC of `fd` and the host's clock at one moment, and how long the reading took, ns.
pub fn read(fd: &VcpuFd) -> Result<(Reading, u64), MsrError> {
    let mut best: Option<(Reading, u64)> = None;
    for _ in 0..READINGS {
        let before = monotonic();
        let tsc = msr::get(fd, IA32_TSC)?;
        let took = monotonic() - before;
        if best.is_none_or(|(_, least)| took < least) {
            let ns = before + took / 2;
            best = Some((Reading { tsc, ns }, took));
        }
    }
    // The loop ran.
    Ok(best.unwrap_or_default())
}

/// Sets the clock of the first vCPU forward so that its ticks come with the host's; returns by how many cycles, if it did.
pub fn meet_host(fd: &VcpuFd, ticks: Ticks) -> Result<Option<u64>, MsrError> {
    let khz = fd.get_tsc_khz().unwrap_or(0);
    let (old, took) = read(fd)?;
    let Some(step) = step(ticks, host_tick(), old, khz).filter(|_| khz > 0 && took <= SLOWEST)
    else {
        return Ok(None);
    };
    // From the call until KVM compares the value with its own clock: about half of what a reading takes.
    let mut lead = took / 2;
    let mut off = 0;
    for _ in 0..ATTEMPTS {
        let wanted = old.tsc_at(monotonic() + lead + step, khz);
        set_tsc(fd, 0, wanted)?;
        let (new, _) = read(fd)?;
        // Positive where the clock stands behind what is wanted.
        let behind = i128::from(old.tsc_at(new.ns + step, khz)) - i128::from(new.tsc);
        off = behind * 1_000_000 / i128::from(khz);
        if off.unsigned_abs() <= u128::from(CLOSE) {
            break;
        }
        lead = u64::try_from(i128::from(lead) + off).unwrap_or(0);
    }
    rearm(fd)?;
    let moved = i128::from(step) - off;
    let cycles = moved * i128::from(khz) / 1_000_000;
    Ok(u64::try_from(cycles).ok())
}

/// Sets the clock of another vCPU forward by about as many cycles; KVM then takes it for in step with the first one.
pub fn follow(fd: &VcpuFd, id: u32, cycles: u64) -> Result<(), MsrError> {
    let tsc = msr::get(fd, IA32_TSC)?;
    set_tsc(fd, id, tsc.wrapping_add(cycles))?;
    rearm(fd)
}

/// KVM computes when a deadline is due when it is armed.
fn rearm(fd: &VcpuFd) -> Result<(), MsrError> {
    match msr::get(fd, IA32_TSC_DEADLINE)? {
        0 => Ok(()),
        deadline => msr::set(fd, IA32_TSC_DEADLINE, deadline),
    }
}
