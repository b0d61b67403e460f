//! Domains pinned, resized, renamed while they run.

mod support;

use noxen_xend_api::{Change, Disk, DomainConfig, Fault, Request, Response, VcpuInfo};
use noxen_xenstore::client::Nodes;
use support::Lab;

fn change(lab: &Lab, domain: &str, change: Change) -> Result<(), String> {
    let request = Request::Change {
        domain: domain.into(),
        change,
    };
    match lab.ask(&request) {
        Ok(response) => {
            assert_eq!(response, Response::Ok);
            Ok(())
        }
        Err(fault) => Err(fault.message),
    }
}

fn pin(vcpu: Option<u32>, cpus: &str) -> Change {
    Change::Pin {
        vcpu,
        cpus: cpus.into(),
    }
}

fn vcpus(lab: &Lab, domain: &str) -> Vec<VcpuInfo> {
    let request = Request::VcpuList {
        domains: vec![domain.into()],
    };
    match lab.ask(&request).unwrap() {
        Response::Vcpus { mut domains } => domains.remove(0).vcpus,
        other => panic!("{other:?}"),
    }
}

fn running(lab: &Lab, name: &str, vcpus: i64) -> noxen_xend_api::DomainInfo {
    let mut config = lab.config(name);
    config.vcpus = vcpus;
    config.maxmem = Some(96);
    lab.run(config)
}

#[test]
fn pin_moves_the_threads_and_is_kept_by_a_reset() {
    let lab = Lab::new();
    running(&lab, "a", 2);
    let all: Vec<u32> = vcpus(&lab, "a")[0].affinity.clone();
    change(&lab, "a", pin(Some(1), "0")).unwrap();
    let seen =
        |lab: &Lab| -> Vec<Vec<u32>> { vcpus(lab, "a").into_iter().map(|v| v.affinity).collect() };
    assert_eq!(seen(&lab), [all.clone(), vec![0]]);
    lab.ask(&Request::Reset { domain: "a".into() }).unwrap();
    assert_eq!(seen(&lab), [all.clone(), vec![0]]);
    change(&lab, "a", pin(None, "all")).unwrap();
    assert_eq!(seen(&lab), [all.clone(), all]);
}

#[test]
fn pin_of_what_is_not_there_is_refused() {
    let lab = Lab::new();
    running(&lab, "a", 1);
    let refused = |vcpu, cpus: &str| change(&lab, "a", pin(vcpu, cpus)).unwrap_err();
    assert_eq!(
        refused(Some(1), "0"),
        "Cannot pin vcpu: 1 to cpu: 0 - there is no VCPU 1; the domain has VCPUs 0 to 0"
    );
    let text = refused(None, "0,4095");
    assert!(
        text.starts_with("Cannot pin vcpu: all to cpu: 0,4095 - there is no CPU 4095"),
        "{text}"
    );
    let text = change(&lab, "0", pin(None, "0")).unwrap_err();
    assert!(text.starts_with("Cannot pin the CPUs of privileged domain 0"));
}

#[test]
fn vcpu_set_tells_the_guest_which_are_online() {
    let lab = Lab::new();
    let made = running(&lab, "a", 4);
    let mut store = lab.store();
    let mut words = || -> Vec<String> {
        (0..4)
            .map(|n| {
                let path = format!("/local/domain/1/cpu/{n}/availability");
                store.read(&path).unwrap()
            })
            .collect()
    };
    assert_eq!(words(), ["online"; 4]);
    change(&lab, "a", Change::Vcpus { count: 2 }).unwrap();
    assert_eq!(words(), ["online", "online", "offline", "offline"]);
    let mask = format!("/vm/{}/vcpu_avail", made.uuid);
    assert_eq!(lab.store().read(&mask).unwrap(), "3");
    for (count, wanted) in [
        (0, "Zero or less VCPUs is invalid"),
        (
            5,
            "Cannot set vcpus greater than max vcpus on running domain",
        ),
    ] {
        assert_eq!(
            change(&lab, "a", Change::Vcpus { count }).unwrap_err(),
            wanted
        );
    }
}

#[test]
fn memory_target_and_maximum_are_written_and_bounded() {
    let lab = Lab::new();
    let made = running(&lab, "a", 1);
    let read = |path: &str| lab.store().read(path).unwrap();
    change(&lab, "a", Change::Memory { mib: 32 }).unwrap();
    assert_eq!(read("/local/domain/1/memory/target"), "32768");
    assert_eq!(read(&format!("/vm/{}/memory", made.uuid)), "32");
    change(&lab, "a", Change::Memory { mib: 96 }).unwrap();
    let text = change(&lab, "a", Change::Memory { mib: 97 }).unwrap_err();
    assert_eq!(
        text,
        "Domain 'a' may have at most 96 MiB (its maxmem); raise that by mem-max first"
    );
    let text = change(&lab, "a", Change::MaxMemory { mib: 80 }).unwrap_err();
    assert!(text.starts_with("Domain 'a' is to have 96 MiB"), "{text}");
    change(&lab, "a", Change::Memory { mib: 64 }).unwrap();
    change(&lab, "a", Change::MaxMemory { mib: 80 }).unwrap();
    assert_eq!(read("/local/domain/1/memory/static-max"), "81920");
    assert_eq!(lab.guest("a").unwrap().maxmem_mib, 80);
    let text = change(&lab, "a", Change::MaxMemory { mib: 128 }).unwrap_err();
    assert_eq!(text, "at most 98304 KiB", "the monitor's word");
    assert!(change(&lab, "a", Change::Memory { mib: 0 })
        .unwrap_err()
        .starts_with("Invalid memory size"));
    // Without a maximum of its own, a domain that gave memory back gets it again.
    let config = DomainConfig {
        maxmem: None,
        ..lab.config("b")
    };
    lab.run(config);
    change(&lab, "b", Change::Memory { mib: 32 }).unwrap();
    change(&lab, "b", Change::Memory { mib: 64 }).unwrap();
    assert_eq!(lab.guest("b").unwrap().maxmem_mib, 64);
    assert!(change(&lab, "b", Change::Memory { mib: 65 }).is_err());
}

#[test]
fn configuration_is_judged_without_a_domain() {
    let lab = Lab::new();
    let judge = |change: &dyn Fn(&mut DomainConfig)| {
        let mut config = Box::new(lab.config("a"));
        change(&mut config);
        lab.ask(&Request::Check { config })
            .map_err(|fault| fault.message)
    };
    assert_eq!(judge(&|_| {}), Ok(Response::Ok));
    let image = lab.image("a.img", "x");
    let disk = |path: &str| vec![Disk::parse(&format!("file:{path},xvda,w")).unwrap()];
    assert_eq!(judge(&|c| c.disk = disk(&image)), Ok(Response::Ok));
    type Edit = fn(&mut DomainConfig);
    let wrong: [(Edit, &str); 4] = [
        (|c| c.vcpus = 0, "vcpus = 0"),
        (
            |c| c.kernel = "/nonexistent/k".into(),
            "Kernel image does not exist: /nonexistent/k",
        ),
        (
            |c| c.on_reboot = "restrat".into(),
            "on_reboot = 'restrat'; use destroy",
        ),
        (
            |c| c.disk = vec![Disk::parse("phy:/nonexistent/d,xvda,w").unwrap()],
            "Disk image does not exist: /nonexistent/d",
        ),
    ];
    for (edit, words) in wrong {
        let text = judge(&edit).unwrap_err();
        assert!(text.contains(words), "{text}");
    }
    assert!(lab.guests().is_empty() && lab.traces().is_empty());
}

#[test]
fn renamed_domain_is_found_by_its_new_name_also_by_the_next_xend() {
    let lab = Lab::new();
    running(&lab, "old", 1);
    running(&lab, "other", 1);
    let to = |name: &str| Change::Name { name: name.into() };
    assert_eq!(
        change(&lab, "old", to("other")).unwrap_err(),
        "VM name 'other' already exists as domain 2"
    );
    let text = change(&lab, "old", to("a b")).unwrap_err();
    assert!(text.starts_with("Invalid VM Name 'a b'"), "{text}");
    std::fs::write(
        lab.paths().domain_log_dir().join("new.log"),
        "an earlier one's",
    )
    .unwrap();
    change(&lab, "old", to("new")).unwrap();
    assert!(lab.domain_log("new").starts_with("domain 1 built of "));
    assert_eq!(lab.domain_log("old"), "", "the log has moved");
    let aside = lab.paths().domain_log_dir().join("new.log.1");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "an earlier one's");
    assert_eq!(
        lab.ask(&Request::Domain {
            domain: "old".into()
        }),
        Err(Fault::invalid_domain("old"))
    );
    assert_eq!(lab.store().read("/local/domain/1/name").unwrap(), "new");
    lab.stop();
    lab.start();
    assert_eq!(lab.guest("new").unwrap().domid, Some(1));
}

#[test]
fn sysrq_reaches_the_store_and_triggers_answer_for_themselves() {
    let lab = Lab::new();
    running(&lab, "a", 1);
    change(&lab, "a", Change::Sysrq { key: 'h' }).unwrap();
    let path = "/local/domain/1/control/sysrq";
    assert_eq!(lab.store().read(path).unwrap(), "h");
    let trigger = |name: &str| Change::Trigger {
        trigger: name.into(),
        vcpu: 0,
    };
    assert_eq!(
        change(&lab, "a", trigger("nmi")).unwrap_err(),
        "no NMI for vCPU 0"
    );
    assert_eq!(
        change(&lab, "a", trigger("bell")).unwrap_err(),
        "Invalid trigger: bell"
    );
    assert!(change(&lab, "a", trigger("reset"))
        .unwrap_err()
        .contains("xm reset"));
}

#[test]
fn shares_are_listed_with_defaults_and_bounded() {
    let lab = Lab::new();
    running(&lab, "a", 2);
    let request = Request::Shares { domains: vec![] };
    match lab.ask(&request).unwrap() {
        Response::Shares { domains } => {
            let seen: Vec<_> = domains
                .iter()
                .map(|s| (s.name.as_str(), s.domid, s.weight, s.cap))
                .collect();
            assert_eq!(
                seen,
                [("Domain-0", Some(0), 256, 0), ("a", Some(1), 256, 0)]
            );
        }
        other => panic!("{other:?}"),
    }
    let credit = |weight, cap| change(&lab, "a", Change::Credit { weight, cap });
    assert_eq!(
        credit(Some(65536), None).unwrap_err(),
        "weight is out of range"
    );
    assert_eq!(credit(None, Some(201)).unwrap_err(), "cap is out of range");
}

#[test]
fn debug_keys_print_into_dmesg() {
    let lab = Lab::new();
    running(&lab, "a", 1);
    lab.ask(&Request::DebugKeys { keys: "hq".into() }).unwrap();
    let text = match lab.ask(&Request::Dmesg { clear: false }).unwrap() {
        Response::Text { text } => text,
        other => panic!("{other:?}"),
    };
    for wanted in [
        "(XEN) 'h' pressed",
        "key 'q' => dump domain",
        "(XEN) General information for domain 1:",
        "(XEN)     name=a ",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
    let fault = lab
        .ask(&Request::DebugKeys { keys: "hZ".into() })
        .unwrap_err();
    assert!(fault.message.starts_with("Debug key 'Z' does nothing here"));
}
