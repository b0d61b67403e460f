//! Domains made, listed, paused, refused and destroyed.

mod support;

use noxen_xend_api::{Cpus, Fault, Request, Response, ShutdownKind, StateFilter};
use noxen_xenstore::client::Nodes;
use support::{eventually, is_alive, Lab};

#[test]
fn domain_created_is_paused_listed_and_gone_once_destroyed() {
    let lab = Lab::new();
    let empty = lab.traces();
    assert!(empty.is_empty(), "{empty:?}");
    let mut config = lab.config("tenant");
    config.vcpus = 2;
    let made = lab.create(config).unwrap();
    assert_eq!(
        (made.domid, made.memory_mib, made.online_vcpus),
        (Some(1), 64, 2)
    );
    assert_eq!(lab.letters("tenant"), "--p---");
    let pid = made.pid.unwrap();
    assert!(is_alive(pid));

    lab.ask(&Request::Unpause {
        domain: "tenant".into(),
    })
    .unwrap();
    assert_eq!(lab.letters("tenant"), "-b----");
    lab.ask(&Request::Pause {
        domain: made.uuid.clone(),
    })
    .unwrap();
    assert_eq!(lab.letters("tenant"), "--p---");

    lab.destroy("1");
    assert!(lab.guests().is_empty());
    assert!(!is_alive(pid));
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
    let fault = lab
        .ask(&Request::Pause {
            domain: "tenant".into(),
        })
        .unwrap_err();
    assert_eq!(fault, Fault::invalid_domain("tenant"));
}

#[test]
fn domain_has_the_store_nodes_that_tools_read() {
    let lab = Lab::new();
    let made = lab.create(lab.config("tenant")).unwrap();
    let mut store = lab.store();
    let mut read = |path: &str| store.read(path).unwrap();
    assert_eq!(read("/local/domain/1/name"), "tenant");
    assert_eq!(read("/local/domain/1/vm"), format!("/vm/{}", made.uuid));
    assert_eq!(read("/local/domain/1/console/tty"), "/dev/pts/99");
    assert_eq!(read("/local/domain/1/console/ring-ref"), "12");
    assert_eq!(read("/local/domain/1/store/port"), "1");
    assert_eq!(read("/local/domain/1/memory/target"), "65536");
    assert_eq!(read(&format!("/vm/{}/on_crash", made.uuid)), "restart");
    assert_eq!(read("/local/domain/0/name"), "Domain-0");
    assert!(store.is_introduced(1).unwrap());
    let perms = |store: &mut noxen_xenstore::client::Client, path: &str| {
        let mut wire = Vec::new();
        store.perms(path).unwrap().append_wire(&mut wire);
        String::from_utf8(wire).unwrap().replace('\0', " ")
    };
    assert_eq!(perms(&mut store, "/local/domain/1"), "n0 r1 ");
    assert_eq!(perms(&mut store, "/local/domain/1/console/tty"), "n0 r1 ");
    assert_eq!(perms(&mut store, "/local/domain/1/control"), "n1 ");
    assert_eq!(perms(&mut store, "/local/domain/1/device"), "n1 ");
}

#[test]
fn domain_0_is_listed_among_the_guests_by_name() {
    let lab = Lab::new();
    lab.create(lab.config("Alpha")).unwrap();
    lab.create(lab.config("zeta")).unwrap();
    let all = Request::List {
        domains: vec![],
        state: StateFilter::All,
    };
    let Response::Domains { domains } = lab.ask(&all).unwrap() else {
        panic!()
    };
    let names: Vec<&str> = domains.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["Alpha", "Domain-0", "zeta"]);
    let zero = &domains[1];
    assert_eq!(
        (zero.domid, zero.state.letters().as_str()),
        (Some(0), "r-----")
    );
    let paused = Request::List {
        domains: vec![],
        state: StateFilter::Paused,
    };
    let Response::Domains { domains } = lab.ask(&paused).unwrap() else {
        panic!()
    };
    assert_eq!(domains.len(), 2);
    let fault = lab
        .ask(&Request::Destroy { domain: "0".into() })
        .unwrap_err();
    assert_eq!(fault.message, "Cannot destroy privileged domain 0");
}

#[test]
fn domain_refused_leaves_nothing_behind() {
    let lab = Lab::new();
    let refuse = |change: &dyn Fn(&mut noxen_xend_api::DomainConfig)| {
        let mut config = lab.config("bad");
        change(&mut config);
        let text = lab.refusal(config);
        assert!(lab.traces().is_empty(), "{text}: {:?}", lab.traces());
        assert!(lab.guests().is_empty());
        text
    };
    assert_eq!(
        refuse(&|c| c.kernel = "/nonexistent/vmlinuz".into()),
        "Kernel image does not exist: /nonexistent/vmlinuz"
    );
    assert_eq!(
        refuse(&|c| c.ramdisk = "/nonexistent/initrd".into()),
        "Kernel ramdisk does not exist: /nonexistent/initrd"
    );
    assert!(refuse(&|c| c.memory = 8 << 20).contains("Not enough memory"));
    assert!(refuse(&|c| c.memory = 3).contains("at least 4 MiB"));
    assert!(refuse(&|c| c.vcpus = 33000).contains("1 to 32"));
    assert!(refuse(&|c| c.name = "Domain-0".into()).contains("already exists with ID '0'"));
    let failing = lab.kernel("bad", "error: not a kernel: no ELF header");
    assert_eq!(
        refuse(&|c| c.kernel.clone_from(&failing)),
        "not a kernel: no ELF header"
    );
    let dying = lab.kernel("dying", "die");
    assert!(refuse(&|c| c.kernel.clone_from(&dying)).contains("ended before the domain was built"));
}

#[test]
fn domain_without_a_kvm_that_works_is_refused() {
    let lab = Lab::with_kvm(std::path::Path::new("/nonexistent/kvm"));
    let text = lab.refusal(lab.config("tenant"));
    assert!(text.starts_with("no /nonexistent/kvm: "), "{text}");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
    let lab = Lab::with_kvm(std::path::Path::new("/dev/zero"));
    let text = lab.refusal(lab.config("tenant"));
    assert!(text.starts_with("KVM API version is -1"), "{text}");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn domain_of_a_name_in_use_is_refused_with_its_id() {
    let lab = Lab::new();
    let made = lab.create(lab.config("tenant")).unwrap();
    assert_eq!(
        lab.refusal(lab.config("tenant")),
        "Domain 'tenant' already exists with ID '1'"
    );
    let mut other = lab.config("other");
    other.uuid = Some(made.uuid.to_uppercase());
    assert_eq!(
        lab.refusal(other),
        "Domain 'tenant' already exists with ID '1'"
    );
    assert_eq!(lab.guests().len(), 1);
}

#[test]
fn domain_whose_monitor_dies_is_removed_and_released() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    let mut store = lab.store();
    store.watch("@releaseDomain", "r").unwrap();
    store.next_event(None).unwrap();
    support::kill(made.pid.unwrap());
    let event = store
        .next_event(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    assert_eq!(event.unwrap().path, "@releaseDomain");
    eventually("the domain is gone", || {
        lab.traces().is_empty().then_some(())
    });
    assert!(
        lab.log().contains("domain tenant (id=1) died"),
        "{}",
        lab.log()
    );
}

#[test]
fn monitor_that_dies_takes_no_other_domain_with_it() {
    let lab = Lab::new();
    let neighbour = lab.run(lab.config("neighbour"));
    let made = lab.run(lab.config("tenant"));
    support::kill(made.pid.unwrap());
    eventually("one domain is left", || {
        (lab.guests().len() == 1).then_some(())
    });
    assert_eq!(lab.guests()[0].pid, neighbour.pid);
    let mut store = lab.store();
    assert!(store.is_introduced(1).unwrap());
    eventually("the other is released", || {
        (!store.is_introduced(2).unwrap()).then_some(())
    });
}

#[test]
fn listing_in_full_and_vcpus_and_host_are_told() {
    let lab = Lab::new();
    let mut config = lab.config("tenant");
    (config.vcpus, config.extra) = (2, "quiet".into());
    lab.run(config);
    let sxp = Request::Sxp {
        domains: vec!["tenant".into()],
        state: StateFilter::All,
    };
    let Response::Texts { texts } = lab.ask(&sxp).unwrap() else {
        panic!()
    };
    assert!(
        texts[0].starts_with("(domain\n    (domid 1)\n"),
        "{}",
        texts[0]
    );
    assert!(
        texts[0].contains("\n    (status 2)\n    (state -b----)\n"),
        "{}",
        texts[0]
    );
    assert_eq!(texts[0].matches("status").count(), 1, "{}", texts[0]);
    let vcpus = Request::VcpuList {
        domains: vec!["tenant".into()],
    };
    let Response::Vcpus { domains } = lab.ask(&vcpus).unwrap() else {
        panic!()
    };
    let letters: Vec<String> = domains[0].vcpus.iter().map(|v| v.letters()).collect();
    assert_eq!(letters, ["-b-", "-b-"]);
    let Response::Node { node } = lab.ask(&Request::Info).unwrap() else {
        panic!()
    };
    assert_eq!(
        (node.xen_major, node.xen_minor, node.xend_config_format),
        (4, 17, 4)
    );
    let Response::Text { text } = lab.ask(&Request::Dmesg { clear: true }).unwrap() else {
        panic!()
    };
    assert_eq!(text, "(d1) hello from tenant\n");
    let Response::Text { text } = lab.ask(&Request::Dmesg { clear: false }).unwrap() else {
        panic!()
    };
    assert_eq!(text, "");
    let console = Request::Console {
        domain: "tenant".into(),
    };
    let Response::Console { domid, tty } = lab.ask(&console).unwrap() else {
        panic!()
    };
    assert_eq!((domid, tty.as_str()), (1, "/dev/pts/99"));
}

#[test]
fn shutdown_of_a_paused_domain_waits_until_it_runs() {
    let lab = Lab::new();
    lab.create(lab.config("tenant")).unwrap();
    let shutdown = Request::Shutdown {
        domain: "tenant".into(),
        kind: ShutdownKind::Poweroff,
    };
    lab.ask(&shutdown).unwrap();
    assert_eq!(lab.letters("tenant"), "--p---");
    lab.ask(&Request::Unpause {
        domain: "tenant".into(),
    })
    .unwrap();
    eventually("the domain is gone", || {
        lab.guests().is_empty().then_some(())
    });
    eventually("nothing is left", || lab.traces().is_empty().then_some(()));
}

#[test]
fn destroy_of_a_domain_being_created_ends_its_creation() {
    let lab = Lab::new();
    let mut config = lab.config("slow");
    let never = lab.root().join("never");
    config.kernel = lab.kernel("slow", &format!("wait {}", never.display()));
    std::thread::scope(|scope| {
        let creation = scope.spawn(|| lab.refusal(config));
        let pid = eventually("its monitor runs", || lab.guest("slow")?.pid);
        lab.destroy("slow");
        assert!(!is_alive(pid));
        let text = creation.join().unwrap();
        assert_eq!(
            text,
            "Domain 'slow' was destroyed while it was being created"
        );
    });
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

fn affinities(lab: &Lab, name: &str) -> Vec<Vec<u32>> {
    let vcpus = Request::VcpuList {
        domains: vec![name.into()],
    };
    let Response::Vcpus { domains } = lab.ask(&vcpus).unwrap() else {
        panic!()
    };
    let vcpus = domains.into_iter().flat_map(|d| d.vcpus);
    vcpus.map(|v| v.affinity).collect()
}

#[test]
fn cpus_pin_the_vcpus_as_configured() {
    let lab = Lab::new();
    let host: Vec<u32> = (0..noxen_xend::host::cpus()).collect();
    let last = *host.last().unwrap();
    let make = |name: &str, cpus: Cpus| {
        let mut config = lab.config(name);
        (config.vcpus, config.cpus) = (2, cpus);
        lab.create(config).unwrap();
        affinities(&lab, name)
    };
    assert_eq!(make("any", Cpus::Any), [host.clone(), host.clone()]);
    assert_eq!(make("all", Cpus::All(last.to_string())), [[last], [last]]);
    let each = Cpus::PerVcpu(vec![last.to_string(), "0".into()]);
    assert_eq!(make("each", each), [[last], [0]]);
    let first = Cpus::PerVcpu(vec!["0".into()]);
    assert_eq!(make("first", first), [vec![0], host]);
}

#[test]
fn kernel_is_left_as_its_file_has_it_only_when_asked() {
    let lab = Lab::new();
    let untouched = |name: &str, kernel_tuning: bool| {
        let mut config = lab.config(name);
        config.kernel_tuning = kernel_tuning;
        lab.create(config).unwrap();
        let log = lab.root().join(format!("var/log/xen/domains/{name}.log"));
        let text = std::fs::read_to_string(log).unwrap();
        text.contains("kernel as its file has it")
    };
    assert!(untouched("plain", false));
    assert!(!untouched("tuned", true));
}

/// Unpacked kernels that are kept, once there are as many.
fn kept(lab: &Lab, count: usize) {
    let directory = lab.paths().kernel_cache_dir();
    eventually("the unpacked kernels are kept", || {
        let found = std::fs::read_dir(&directory).map_or(0, Iterator::count);
        (found == count).then_some(())
    });
}

/// Creates domain `name` of `kernel`; returns what its monitor says that it was built of.
fn built_of(lab: &Lab, name: &str, kernel: &str) -> String {
    let mut config = lab.config(name);
    config.kernel = kernel.into();
    lab.create(config).unwrap();
    let log = lab.root().join(format!("var/log/xen/domains/{name}.log"));
    let text = std::fs::read_to_string(log).unwrap();
    let line = text.lines().last().unwrap();
    line.split_once(" built of ").unwrap().1.to_owned()
}

/// A kernel file whose last change is so old that it may be cached.
fn settled_kernel(lab: &Lab, text: &str) -> String {
    let path = lab.kernel("packed", text);
    let changed = || std::fs::metadata(&path).unwrap().modified().unwrap();
    eventually("the file system's clock goes on", || {
        let age = std::time::SystemTime::now()
            .duration_since(changed())
            .ok()?;
        (age > std::time::Duration::from_millis(50)).then_some(())
    });
    path
}

#[test]
fn packed_kernel_is_unpacked_for_the_first_domain_only() {
    let lab = Lab::new();
    let kernel = settled_kernel(&lab, "packed ok");
    assert_eq!(built_of(&lab, "first", &kernel), "packed ok");
    kept(&lab, 1);
    assert_eq!(built_of(&lab, "second", &kernel), "\x7fELF ok");
    let kernel = settled_kernel(&lab, "packed anew");
    assert_eq!(built_of(&lab, "third", &kernel), "packed anew");
    kept(&lab, 2);
    assert_eq!(built_of(&lab, "plain", &lab.kernel("plain", "ok")), "ok");
    kept(&lab, 2);
}

#[test]
fn kept_kernel_is_not_blamed_for_a_device_that_cannot_be() {
    let lab = Lab::new();
    let kernel = settled_kernel(&lab, "packed ok");
    built_of(&lab, "first", &kernel);
    kept(&lab, 1);
    let mut config = lab.config("second");
    config.kernel = kernel;
    config
        .disk
        .extend(noxen_xend_api::Disk::parse("file:/nonexistent,xvda,w"));
    assert!(lab.refusal(config).contains("/nonexistent does not exist"));
    assert!(!lab.log().contains("made no domain"), "it was built once");
}

#[test]
fn kept_kernel_that_makes_no_domain_is_unpacked_again() {
    let lab = Lab::new();
    // What is unpacked of this one is refused.
    let kernel = settled_kernel(&lab, "packed error: damaged");
    assert_eq!(built_of(&lab, "first", &kernel), "packed error: damaged");
    kept(&lab, 1);
    assert_eq!(built_of(&lab, "second", &kernel), "packed error: damaged");
    assert!(lab
        .log()
        .contains("the unpacked kernel of domain second made no domain"));
    lab.destroy("first");
    lab.destroy("second");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}
