//! noxen-vmm on a real KVM, with hand-made monitors of a few instructions and a kernel that is never
//! entered. Needs a CPU with VT-x or AMD-V: run the binary through `cargo xtask lab`.

mod clocks;
mod drives;
mod guest;
mod kernel;
mod process;

use guest::Program;
use noxen_control::ShutdownReason;
use noxen_vmm::domain::calls::lock;
use noxen_vmm::domain::image::flat_image;
use noxen_vmm::domain::pv::{self, Config, Domain, Files, STORE_PORT};
use noxen_vmm::log::Log;
use noxen_vmm::run::kvm_from;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

const LIMIT: Duration = Duration::from_secs(30);

fn config(vcpus: u32) -> Config {
    Config {
        domid: 1,
        uuid: [0; 16],
        memory_mib: 32,
        maxmem_mib: 32,
        vcpus,
        kernel_path: "tiny".into(),
        cmdline: String::new(),
        tune: false,
    }
}

/// A paused domain whose monitor is `program`; its log goes to the returned file.
fn domain(program: Program, vcpus: u32) -> (Domain, File) {
    let log = kernel::file_of(b"");
    let monitor = flat_image(program.code());
    let node = noxen_control::kvm::open(Path::new("/dev/kvm")).unwrap();
    noxen_control::kvm::check(&node, noxen_control::kvm::HostCpu::read()).unwrap();
    let files = Files {
        kvm: &kvm_from(node),
        kernel: kernel::file_of(&kernel::tiny()),
        unpacked: None,
        ramdisk: None,
        ram: None,
        monitor: &monitor,
    };
    let sink = Log::new(Some(log.try_clone().unwrap()), 1, "test");
    let domain = pv::build(&config(vcpus), files, sink, None).unwrap();
    (domain, log)
}

/// Waits until `event` is readable; false when the limit is up.
#[allow(unsafe_code)]
fn wait(event: &EventFd) -> bool {
    // SAFETY: the descriptor is open while `event` is borrowed.
    let fd = unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) };
    let limit = Timespec {
        tv_sec: LIMIT.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&limit)).unwrap() == 1
}

/// Lets the domain run until it is over.
fn run_to_end(domain: &mut Domain) -> ShutdownReason {
    domain.machine.unpause().unwrap();
    let started = Instant::now();
    loop {
        domain.machine.take_reports();
        if let Some(reason) = domain.machine.over() {
            return reason;
        }
        assert!(started.elapsed() < LIMIT, "the domain is not over");
        wait(&domain.machine.shared().clone().wake);
    }
}

fn text_of(mut log: File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut text).unwrap();
    text
}

/// The count that the `Count` program keeps in its counter page, and calls served.
fn progress(domain: &Domain) -> (u64, u64) {
    let groups = domain.machine.counters();
    let get = |group: &str, kind: &str| *groups.get(group).and_then(|g| g.get(kind)).unwrap_or(&0);
    (get("hypercall", "set_trap_table"), get("exit", "io-out"))
}

#[test]
fn monitor_that_prints_and_powers_off_is_heard() {
    let (mut domain, _log) = domain(Program::Hello, 1);
    assert!(domain.machine.status().paused);
    assert_eq!(run_to_end(&mut domain), ShutdownReason::Poweroff);
    assert_eq!(lock(&domain.machine.shared().messages).text(), "hi\n");
    let status = domain.machine.status();
    assert_eq!(status.shutdown, Some(ShutdownReason::Poweroff));
    assert!(domain.machine.unpause().is_err());
}

#[test]
fn paused_domain_stands_still_and_goes_on() {
    let (mut domain, _log) = domain(Program::Count, 2);
    domain.machine.unpause().unwrap();
    let mut last = 0;
    for round in 0..1000 {
        domain.machine.pause();
        // Reading all counters takes longer than a cycle: a look at every fiftieth.
        if round % 50 == 49 {
            let (count, calls) = progress(&domain);
            assert_eq!(
                progress(&domain),
                (count, calls),
                "round {round}: it moves while paused"
            );
            // Each vCPU counts, then calls: it may stand between the two.
            assert!(
                count.abs_diff(calls) <= 2,
                "round {round}: {count} counts, {calls} calls"
            );
            assert!(count >= last);
            last = count;
        }
        domain.machine.unpause().unwrap();
    }
    assert!(last > 0, "it never moved");
    domain.machine.pause();
    assert!(domain.machine.status().paused);
}

#[test]
fn registers_are_read_of_a_running_domain_which_runs_on() {
    let (mut domain, _log) = domain(Program::Count, 2);
    domain.machine.unpause().unwrap();
    let text = domain.machine.registers();
    assert!(text.contains("vcpu 0 ring 0: rip ffff8700000000"), "{text}");
    assert!(text.contains("vcpu 1 ring 0: rip ffff8700000000"), "{text}");
    let (before, _) = progress(&domain);
    let started = Instant::now();
    while progress(&domain).0 == before {
        assert!(started.elapsed() < LIMIT, "it stands still");
        std::thread::yield_now();
    }
}

#[test]
fn notification_arrives_and_doorbell_is_seen() {
    let (mut domain, _log) = domain(Program::Echo, 1);
    domain.machine.unpause().unwrap();
    assert!(wait(domain.store.event()), "no notification");
    assert_eq!(domain.store.port(), STORE_PORT);
    domain.store.acknowledge();
    domain.store.kick();
    assert_eq!(run_to_end(&mut domain), ShutdownReason::Reboot);
}

#[test]
fn every_vcpu_starts_with_its_own_id_and_stack() {
    let (mut domain, _log) = domain(Program::Online, 8);
    domain.machine.unpause().unwrap();
    let mut seen = Vec::new();
    let started = Instant::now();
    while seen.len() < 8 {
        assert!(started.elapsed() < LIMIT, "only {seen:?} came up");
        for event in domain.machine.take_reports() {
            let noxen_control::Event::VcpuOnline { vcpu, online: true } = event else {
                panic!("{event:?}");
            };
            seen.push(vcpu);
        }
        if seen.len() < 8 {
            wait(&domain.machine.shared().clone().wake);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn triple_fault_is_a_crash_with_a_record() {
    let (mut domain, log) = domain(Program::Undefined, 1);
    assert_eq!(run_to_end(&mut domain), ShutdownReason::Crash);
    let status = domain.machine.status();
    assert_eq!(status.crash_reason.as_deref(), Some("triple fault"));
    let text = text_of(log);
    assert!(text.contains("crashed: triple fault"), "{text}");
    assert!(text.contains("rip "), "{text}");
}

#[test]
fn panic_of_the_monitor_is_logged_with_registers_and_stack() {
    let (mut domain, log) = domain(Program::Panic, 1);
    assert_eq!(run_to_end(&mut domain), ShutdownReason::Crash);
    let text = text_of(log);
    assert!(
        text.contains("crashed: the monitor is broken: oh"),
        "{text}"
    );
    assert!(text.contains("rip ffff8700000000"), "{text}");
    assert!(text.contains("code: "), "{text}");
}

#[test]
fn stray_port_is_a_crash_that_names_it() {
    let (mut domain, _log) = domain(Program::StrayPort, 1);
    assert_eq!(run_to_end(&mut domain), ShutdownReason::Crash);
    let reason = domain.machine.status().crash_reason.unwrap();
    assert!(reason.contains("0x80"), "{reason}");
}
