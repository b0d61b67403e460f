//! A step of a domain's clocks, on vCPUs of a real KVM that never run.

use kvm_ioctls::VcpuFd;
use noxen_vmm::domain::host_tick::{Reading, Ticks};
use noxen_vmm::run::kvm_from;
use noxen_vmm::vstate::clock::{follow, host_tick, meet_host, read};
use noxen_vmm::vstate::msr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How exact a reading is on an emulated host that is busy, ns: where the host takes the processor away in the middle of each of
/// them, the test tries again.
const EXACT: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

/// A reading of both clocks that took no longer than [`EXACT`].
fn reading(fd: &VcpuFd) -> Reading {
    let started = Instant::now();
    loop {
        let (reading, took) = read(fd).unwrap();
        if took <= EXACT {
            return reading;
        }
        assert!(started.elapsed() < LIMIT, "readings take {took} ns");
    }
}

/// How far `later` is from where `earlier` has to be by then, cycles.
fn apart(earlier: Reading, later: Reading, khz: u32) -> i64 {
    later.tsc.wrapping_sub(earlier.tsc_at(later.ns, khz)) as i64
}

#[test]
fn clocks_of_all_vcpus_step_forward_together_to_where_ticks_meet() {
    let node = noxen_control::kvm::open(Path::new("/dev/kvm")).unwrap();
    let vm = kvm_from(node).create_vm().unwrap();
    vm.create_irq_chip().unwrap();
    let vcpus = [0, 1, 2].map(|id| vm.create_vcpu(id).unwrap());
    vcpus.iter().for_each(|fd| msr::set_start(fd).unwrap());
    let khz = vcpus[0].get_tsc_khz().unwrap();
    let exact = (EXACT * u64::from(khz) / 1_000_000) as i64;
    let tick = host_tick();
    let started = Instant::now();
    let (before, cycles) = loop {
        let before = reading(&vcpus[0]);
        // Half a tick beside the host's.
        let due = before.ns - before.ns % tick + tick / 2;
        let ticks = Ticks {
            due: before.tsc_at(due, khz),
            period: tick,
        };
        if let Some(cycles) = meet_host(&vcpus[0], ticks).unwrap() {
            break (before, cycles);
        }
        assert!(started.elapsed() < LIMIT, "no reading is good enough");
    };
    for (id, fd) in (1..).zip(&vcpus[1..]) {
        follow(fd, id, cycles).unwrap();
    }
    let after = reading(&vcpus[0]);
    let moved = apart(before, after, khz);
    assert!((moved - cycles as i64).abs() <= exact, "{moved} {cycles}");
    let half = (tick / 2 * u64::from(khz) / 1_000_000) as i64;
    assert!((moved - half).abs() <= 2 * exact, "{moved} {half}");
    // The others are where the first one is.
    for fd in &vcpus[1..] {
        let other = reading(fd);
        let apart = apart(after, other, khz);
        assert!(apart.abs() <= exact, "{apart}");
    }
}
