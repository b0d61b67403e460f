use super::*;
use noxen_control::message::VcpuStatus;
use noxen_xend_api::DomainConfig;

fn vcpu(online: bool, blocked: bool) -> VcpuStatus {
    VcpuStatus {
        online,
        blocked,
        cpu_ns: 5,
        cpu: Some(0),
    }
}

fn status(vcpus: Vec<VcpuStatus>) -> Status {
    Status {
        domid: 3,
        pid: 1,
        paused: false,
        shutdown: None,
        crash_reason: None,
        vcpus,
        memory_kib: 131_072,
        cpu_ns: 10,
        uptime_s: 1,
        console_tty: "/dev/pts/9".into(),
        store_mfn: 7,
        store_port: 1,
        console_mfn: 8,
        console_port: 2,
        saving: None,
    }
}

fn record() -> Record {
    let config = DomainConfig {
        name: "a".into(),
        kernel: "/k".into(),
        extra: "status=ok no".into(),
        ..DomainConfig::default()
    };
    let mut record = Record::new(3, "boot", "a", "u", config, 1.0);
    record.phase = Phase::Running;
    record
}

fn letters(record: &Record, status: &Status) -> String {
    state_of(record, Some(status), false).letters()
}

#[test]
fn state_follows_the_vcpus_that_are_online() {
    let r = record();
    let (run, sleep, off) = (vcpu(true, false), vcpu(true, true), vcpu(false, false));
    assert_eq!(
        letters(&r, &status(vec![run.clone(), sleep.clone()])),
        "r-----"
    );
    assert_eq!(letters(&r, &status(vec![sleep.clone(), off])), "-b----");
    let mut s = status(vec![sleep]);
    s.paused = true;
    assert_eq!(letters(&r, &s), "--p---");
}

#[test]
fn state_of_a_stopped_domain_is_s_or_c_and_nothing_else() {
    let mut s = status(vec![vcpu(true, false)]);
    s.paused = true;
    for (reason, want) in [
        (ShutdownReason::Poweroff, "---s--"),
        (ShutdownReason::Reboot, "---s--"),
        (ShutdownReason::Crash, "----c-"),
    ] {
        s.shutdown = Some(reason);
        assert_eq!(letters(&record(), &s), want);
    }
    let mut kept = record();
    kept.shutdown_reason = Some("crash".into());
    assert_eq!(state_of(&kept, None, false).letters(), "----c-");
}

#[test]
fn state_of_a_dying_domain_has_d_and_of_a_building_one_p() {
    assert_eq!(state_of(&record(), None, true).letters(), "-----d");
    let runs = status(vec![vcpu(true, false)]);
    assert_eq!(state_of(&record(), Some(&runs), true).letters(), "-----d");
    let mut building = record();
    building.phase = Phase::Building;
    assert_eq!(state_of(&building, None, false).letters(), "--p---");
}

#[test]
fn sxp_has_exactly_one_line_with_the_word_status() {
    // Nobody listens on this socket: the listing must come from the record.
    let mut r = record();
    r.config.extra = "quiet".into();
    let monitor = crate::monitor::Monitor::new("/nonexistent/control.sock".into());
    let text = guest_sxp(&Domain::new(r, monitor)).pretty();
    assert!(text.starts_with("(domain\n    (domid 3)\n"), "{text}");
    assert!(text.contains("\n    (name a)\n"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("status")).collect();
    assert_eq!(lines, ["    (status 2)"]);
}
