//! Commands that change domains: what they ask of xend and how they fail.

mod common;

use common::*;
use noxen_xend_api::{Answer, Change, Request, Response, Sedf, SedfChange, Share};
use std::io::Write;
use std::process::Stdio;

fn asked(args: &[&str]) -> (Ran, Vec<Request>) {
    let root = Root::new();
    let asked = serve(&root, |_| ok());
    let ran = root.run(args);
    let requests = asked.lock().unwrap().clone();
    (ran, requests)
}

#[track_caller]
fn changes(args: &[&str], wanted: Change) {
    let (ran, requests) = asked(args);
    ran.is(0, "", "");
    let domain = args[1].to_owned();
    assert_eq!(
        requests,
        [Request::Change {
            domain,
            change: wanted
        }]
    );
}

#[test]
fn each_command_asks_for_its_change() {
    let pin = |vcpu, cpus: &str| Change::Pin {
        vcpu,
        cpus: cpus.into(),
    };
    changes(&["vcpu-pin", "a", "1", "0-3,^1"], pin(Some(1), "0-3,^1"));
    changes(&["vcpu-pin", "a", "all", "all"], pin(None, "all"));
    changes(&["vcpu-set", "a", "2"], Change::Vcpus { count: 2 });
    changes(&["mem-set", "a", "256"], Change::Memory { mib: 256 });
    changes(&["mem-set", "a", "1G"], Change::Memory { mib: 1024 });
    changes(&["mem-max", "a", "524288k"], Change::MaxMemory { mib: 512 });
    changes(&["rename", "a", "b"], Change::Name { name: "b".into() });
    changes(&["sysrq", "a", "s"], Change::Sysrq { key: 's' });
    let nmi = |vcpu| Change::Trigger {
        trigger: "nmi".into(),
        vcpu,
    };
    changes(&["trigger", "a", "nmi"], nmi(0));
    changes(&["trigger", "a", "nmi", "3"], nmi(3));
}

#[test]
fn memory_in_an_unknown_unit_is_remarked_on_as_xm_did() {
    let (ran, requests) = asked(&["mem-set", "a", "256q"]);
    ran.is(0, "ignoring unknown unit\n", "");
    assert!(matches!(
        requests[0],
        Request::Change {
            change: Change::Memory { mib: 256 },
            ..
        }
    ));
}

#[test]
fn words_that_are_no_numbers_are_invalid_and_usage_follows() {
    for args in [
        &["vcpu-pin", "a", "one", "0"][..],
        &["vcpu-set", "a", "x"],
        &["mem-set", "a", "much"],
        &["sysrq", "a", "ss"],
        &["trigger", "a", "nmi", "x"],
        &["sched-credit", "-d", "a", "-w", "heavy"],
        &["top", "-b", "-i", "x"],
    ] {
        let (ran, requests) = asked(args);
        assert_eq!(ran.err, "Error: Invalid argument.\n", "{args:?}");
        assert!(ran.out.starts_with("Usage: xm "), "{args:?}");
        assert_eq!((ran.status, requests.len()), (Some(1), 0), "{args:?}");
    }
    let (ran, _) = asked(&["trigger", "a"]);
    assert_eq!(
        ran.err,
        "Error: 'xm trigger' requires between 2 and 3 arguments.\n\n"
    );
}

fn shares(request: &Request) -> Answer {
    let share = |name: &str, domid, weight, cap| Share {
        name: name.into(),
        domid,
        weight,
        cap,
        sedf: Sedf::default(),
    };
    match request {
        Request::Shares { domains } if domains.is_empty() => Answer::Ok(Response::Shares {
            domains: vec![
                share("Domain-0", Some(0), 256, 0),
                share("tenant03", Some(3), 512, 50),
            ],
        }),
        Request::Shares { domains } => no_such(&domains[0]),
        _ => ok(),
    }
}

#[test]
fn sched_credit_lists_and_sets() {
    let root = Root::new();
    let asked = serve(&root, shares);
    root.run(&["sched-credit"]).is(
        0,
        "Name                                ID Weight  Cap
Domain-0                             0    256    0
tenant03                             3    512   50
",
        "",
    );
    root.run(&["sched-credit2"]).is(
        0,
        "Name                                ID Weight
Domain-0                             0    256
tenant03                             3    512
",
        "",
    );
    root.run(&["sched-credit", "-d", "nope"])
        .is(3, "", "Error: Domain 'nope' does not exist.\n");
    root.run(&["sched-credit", "--domain=a", "-w512", "--cap=50"])
        .is(0, "", "");
    assert_eq!(
        asked.lock().unwrap().last(),
        Some(&Request::Change {
            domain: "a".into(),
            change: Change::Credit {
                weight: Some(512),
                cap: Some(50)
            }
        })
    );
    let ran = root.run(&["sched-credit", "-w", "512"]);
    assert_eq!(ran.err, "Error: No domain given.\n");
    assert!(ran.out.starts_with("Usage: xm sched-credit "));
}

#[test]
fn sched_sedf_lists_and_sets() {
    let root = Root::new();
    let asked = serve(&root, shares);
    root.run(&["sched-sedf"]).is(
        0,
        "Name                                ID Period(ms) Slice(ms) Lat(ms) Extra Weight
Domain-0                             0     100.0       0.0     0.0      1      0
tenant03                             3     100.0       0.0     0.0      1      0
",
        "",
    );
    root.run(&["sched-sedf", "a", "-p", "20", "--slice=5", "-e0", "-w2"])
        .is(0, "", "");
    assert_eq!(
        asked.lock().unwrap().last(),
        Some(&Request::Change {
            domain: "a".into(),
            change: Change::Sedf(SedfChange {
                period_ms: Some(20.0),
                slice_ms: Some(5.0),
                latency_ms: None,
                extra: Some(false),
                weight: Some(2),
            })
        })
    );
    let ran = root.run(&["sched-sedf", "-p", "20"]);
    assert_eq!(ran.err, "Error: No domain given.\n");
}

#[test]
fn new_start_and_delete_ask_for_themselves() {
    let root = Root::new();
    let asked = serve(&root, |request| match request {
        Request::Start { .. } => one(domain("m", 4)),
        _ => ok(),
    });
    let file = root.file("m.cfg", "kernel='/boot/k'\nmemory=64\n");
    let using = format!("Using config file \"{file}\".\n");
    root.run(&["new", &file]).is(0, &using, "");
    root.run(&["start", "m"]).is(0, "", "");
    root.run(&["start", "-p", "m"]).is(0, "", "");
    root.run(&["delete", "m"]).is(0, "", "");
    let uuid = domain("m", 4).uuid;
    let requests = asked.lock().unwrap().clone();
    assert!(matches!(&requests[0], Request::New { config } if config.name == "m.cfg"));
    let start = Request::Start { domain: "m".into() };
    let wait = Request::WaitForDevices {
        domain: uuid.clone(),
    };
    assert_eq!(
        requests[1..],
        [
            start.clone(),
            wait.clone(),
            Request::Unpause { domain: uuid },
            start,
            wait,
            Request::Delete { domain: "m".into() }
        ]
    );
    let ran = root.run(&["start"]);
    assert_eq!(ran.err, "Error: Expects 1 argument\n");
}

#[test]
fn listings_of_devices_that_nobody_has_are_empty_once_the_words_are_right() {
    let root = Root::new();
    serve(&root, |request| match request {
        Request::Domain { domain: name } if name == "a" => one(domain("a", 1)),
        Request::Domain { domain: name } => no_such(name),
        _ => generic("not this"),
    });
    for command in ["vtpm-list", "pci-list", "scsi-list", "usb-list"] {
        root.run(&[command, "a"]).is(0, "", "");
        root.run(&[command, "b"])
            .is(3, "", "Error: Domain 'b' does not exist.\n");
        let ran = root.run(&[command]);
        assert!(
            ran.out.starts_with("No domain parameter given\nUsage: xm "),
            "{}",
            ran.out
        );
        assert_eq!(ran.status, Some(1));
    }
    root.run(&["pci-list-assignable-devices"]).is(0, "", "");
    root.run(&["event-monitor"]).is(
        1,
        "",
        "Error: Event monitoring not supported unless using Xen-API.\n",
    );
    let ran = root.run(&["serve"]);
    assert!(
        ran.err.starts_with("Error: xend serves no XML-RPC on "),
        "{}",
        ran.err
    );
}

#[test]
fn cpu_pool_is_one_with_all_cpus_and_domains() {
    let root = Root::new();
    serve(&root, |request| match request {
        Request::Info => node(),
        Request::List { .. } => domains(vec![domain0(), domain("a", 1)]),
        _ => generic("not this"),
    });
    root.run(&["cpupool-list"]).is(
        0,
        "Name               CPUs   Sched     Active   Domain count
Pool-0               4    credit       y          2
",
        "",
    );
    root.run(&["cpupool-list", "-c", "Pool-0"]).is(
        0,
        "Name             CPU list\nPool-0           0,1,2,3\n",
        "",
    );
    let ran = root.run(&["cpupool-list", "other"]);
    assert_eq!(
        ran.err,
        "Error: Pool 'other' does not exist; there is Pool-0\n"
    );
}

#[test]
fn shell_runs_lines_and_goes_on_after_failures() {
    let root = Root::new();
    let asked = serve(&root, |request| match request {
        Request::Pause { .. } => generic("no"),
        _ => ok(),
    });
    let mut child = root
        .toolctl()
        .arg("shell")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = "pause a\n\nxm unpause 'a b'\nfrobnicate x\nhelp domid\n";
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(0));
    assert!(
        ran.out
            .starts_with("The Xen Master. Type \"help\" for a list of functions.\nxm> "),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("*** Unknown command: frobnicate\n"));
    assert!(ran.out.contains("Usage: xm domid <DomainName>"));
    assert!(ran.out.ends_with("xm> \n"), "{}", ran.out);
    assert_eq!(ran.err, "Error: no\n");
    assert_eq!(
        asked.lock().unwrap().last(),
        Some(&Request::Unpause {
            domain: "a b".into()
        })
    );
}

#[test]
fn top_in_batch_prints_a_table_each_time() {
    let root = Root::new();
    serve(&root, |request| match request {
        Request::Info => node(),
        Request::List { .. } => domains(vec![domain0(), domain("tenant03", 3)]),
        Request::Devices { .. } => Answer::Ok(Response::Devices { devices: vec![] }),
        _ => generic("not this"),
    });
    let ran = root.run(&["top", "-b", "-i2", "-d0.1"]);
    assert_eq!(ran.status, Some(0), "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 6, "{}", ran.out);
    assert!(lines[0].starts_with("      NAME  STATE   CPU(sec) CPU(%) "));
    assert!(lines[1].starts_with("  Domain-0 -----r "), "{}", lines[1]);
    assert!(lines[5].starts_with("  tenant03 "), "{}", lines[5]);
    let ran = root.run(&["top"]);
    assert!(ran.err.contains("needs a terminal"), "{}", ran.err);
}
