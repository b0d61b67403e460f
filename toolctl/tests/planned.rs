//! Commands whose engine is not there: they check their words as xm did, then say plainly what is missing.

mod common;

use common::*;
use noxen_xend_api::{Answer, Request};

fn a_host(request: &Request) -> Answer {
    match request {
        Request::Domain { domain: name } => match name.as_str() {
            "a" => one(domain("a", 3)),
            "Domain-0" => one(domain0()),
            "dormant" => {
                let mut dormant = domain("dormant", 0);
                dormant.domid = None;
                one(dormant)
            }
            other => no_such(other),
        },
        _ => generic("nothing of this kind is to be asked"),
    }
}

/// What is printed on standard error, and the status.
fn said(root: &Root, line: &str) -> (String, Option<i32>) {
    let words = shlex::split(line).unwrap();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = root.run(&words);
    (ran.err, ran.status)
}

/// xm's own refusals, whatever their words.
const ONLY_XEN_API_OR_FLASK: [&str; 6] = [
    "getenforce",
    "setenforce",
    "event-monitor",
    "network-new",
    "network-del",
    "network-show",
];

/// Each command that the definitions call `today` is one of `names`.
fn every_command_is_among(root: &Root, today: &str, names: &[&str]) {
    let page = root.run(&["gen", "compatibility"]).out;
    let (commands, _) = page.split_once("### Variables").unwrap();
    let mark = format!("` | {today} | ");
    let mut found = 0;
    for row in commands.lines().filter(|row| row.contains(&mark)) {
        let name = row.trim_start_matches("| `").split('`').next().unwrap();
        assert!(
            names.contains(&name) || ONLY_XEN_API_OR_FLASK.contains(&name),
            "{name} has no line in this test"
        );
        found += 1;
    }
    assert!(found > 0);
}

/// Right words: one line that names the command and what to do.
#[test]
fn right_words_are_answered_with_what_is_missing_and_what_to_do() {
    let root = Root::new();
    serve(&root, a_host);
    let file = root.file("here", "x");
    let checked = [
        ("pci-attach a 0:1f.0 6", "pci-attach"),
        ("pci-attach -o msitranslate=1 a 0000:00:1f.0", "pci-attach"),
        ("pci-detach a 0:1f.0", "pci-detach"),
        ("scsi-attach a /dev/sdb 0:0:0:0", "scsi-attach"),
        ("scsi-attach a /dev/sdb host", "scsi-attach"),
        ("scsi-detach a 0:0:0:0", "scsi-detach"),
        ("usb-attach a 0 1 1-1", "usb-attach"),
        ("usb-detach a 0 1", "usb-detach"),
        ("usb-hc-create a 2 8", "usb-hc-create"),
        ("usb-hc-destroy a 0", "usb-hc-destroy"),
        ("usb-add a host:1.2", "usb-add"),
        ("usb-del a host:04b4:0001", "usb-del"),
        ("network2-attach a mac=00:16:3e:00:00:01", "network2-attach"),
        ("network2-detach a 0", "network2-detach"),
        ("vnet-list -l", "vnet-list"),
        (&*format!("vnet-create {file}"), "vnet-create"),
        ("vnet-delete 97", "vnet-delete"),
        ("labels mytest type=res", "labels"),
        ("addlabel A-Bank dom domain1.xm", "addlabel"),
        ("rmlabel res file:/a", "rmlabel"),
        ("getlabel vif-0 a", "getlabel"),
        ("dry-run domain1.xm", "dry-run"),
        ("resources", "resources"),
        ("dumppolicy", "dumppolicy"),
        ("setpolicy ACM mytest", "setpolicy"),
        ("resetpolicy", "resetpolicy"),
        ("getpolicy --dumpxml", "getpolicy"),
        (&*format!("cpupool-create {file} name=x"), "cpupool-create"),
        (&*format!("cpupool-new {file}"), "cpupool-new"),
        ("cpupool-start p", "cpupool-start"),
        ("cpupool-destroy p", "cpupool-destroy"),
        ("cpupool-delete p", "cpupool-delete"),
        ("cpupool-cpu-add p 1", "cpupool-cpu-add"),
        ("cpupool-cpu-remove p 1", "cpupool-cpu-remove"),
        ("cpupool-migrate a p", "cpupool-migrate"),
    ];
    every_command_is_among(&root, "not yet", checked.map(|(_, name)| name).as_slice());
    for (line, name) in checked {
        let (err, status) = said(&root, line);
        let start = format!("Error: 'xm {name}' is not built yet: ");
        assert!(err.starts_with(&start), "{line}: {err}");
        assert_eq!((err.lines().count(), status), (1, Some(1)), "{line}: {err}");
    }
    let checked = [
        "tmem-list -l -a",
        "tmem-freeze a",
        "tmem-thaw -a",
        "tmem-destroy -a",
        "tmem-set a weight=1 cap=2",
        "tmem-shared-auth -a --uuid=x --auth=1",
        "tmem-freeable",
    ];
    let names = checked.map(|line| line.split(' ').next().unwrap());
    every_command_is_among(&root, "not on KVM", &names);
    for line in checked {
        let (err, status) = said(&root, line);
        assert!(err.contains("' is nothing that KVM has: "), "{line}: {err}");
        assert_eq!((err.lines().count(), status), (1, Some(1)), "{line}: {err}");
    }
}

/// Wrong words: xm's own sentence, before anything about what is not built.
#[test]
fn wrong_words_are_answered_as_xm_answered_them() {
    let root = Root::new();
    serve(&root, a_host);
    for (line, error, status) in [
        ("save a", "Wrong number of parameters", 1),
        (
            "save a /nonexistent/state",
            "xm save: Unable to create file /nonexistent/state: No such file or directory",
            1,
        ),
        ("save nobody x", "Domain 'nobody' does not exist.", 3),
        (
            "save Domain-0 x",
            "Cannot save privileged domain Domain-0",
            1,
        ),
        ("save dormant x", "Domain is not running", 1),
        ("save -z a x", "option -z not recognized", 1),
        (
            "restore /nonexistent",
            "xm restore: Unable to read file /nonexistent: No such file or directory",
            1,
        ),
        ("restore", "'xm restore' requires 1 argument.", 1),
        ("migrate a", "Invalid number of arguments", 1),
        ("migrate -p x a b", "Invalid argument.", 1),
        (
            "migrate Domain-0 b",
            "Cannot migrate privileged domain Domain-0",
            1,
        ),
        (
            "dump-core -C -R a",
            "You may not specify more than one '-CR' option",
            1,
        ),
        ("dump-core", "Expects 1 or 2 argument(s)", 1),
        ("dump-core a /", "Cannot dump core in a directory: /", 1),
        (
            "dump-core Domain-0",
            "Cannot dump core for privileged domain Domain-0",
            1,
        ),
        (
            "suspend Domain-0",
            "Cannot suspend privileged domain Domain-0",
            1,
        ),
        ("suspend dormant", "Domain is not running", 1),
        ("resume a", "Cannot resume domain that is not suspended.", 1),
        ("resume", "Wrong number of parameters", 1),
        (
            "vncviewer",
            "No domain given (or several parameters specified)",
            1,
        ),
        (
            "pci-attach -o x a 0:1f.0",
            "Invalid pci attach option: x",
            1,
        ),
        ("pci-attach a 0:1f.9", "Invalid argument: 0:1f.9", 1),
        ("pci-attach a 0:1f.0 zz", "Invalid argument: 0:1f.0 zz", 1),
        ("scsi-attach a /dev/sdb sdb", "Invalid argument: sdb", 1),
        ("usb-attach a x 1 1-1", "Invalid argument.", 1),
        ("usb-add a 1.2", "Invalid argument: 1.2", 1),
        ("network2-attach a mac", "Invalid argument: mac", 1),
        ("labels type=x", "Unknown label type 'x'", 1),
        ("labels type=res type=dom", "type is definied twice", 1),
        ("labels a b", "policy is defined twice", 1),
        ("labels a=b", "Unrecognised option: a=b", 1),
        ("addlabel A", "Need at least 3 arguments.", 1),
        (
            "addlabel A x y",
            "Need to specify either \"dom\", \"mgt\" or \"res\" as object to add label to.",
            1,
        ),
        ("getlabel dom", "Requires 2 arguments", 1),
        ("rmlabel x y", "Unrecognised type argument: x", 1),
        ("setpolicy ACM", "Needs either 2 or 3 arguments", 1),
        ("setpolicy XYZ p", "Unsupported policytype 'XYZ'.", 1),
        ("cpupool-create", "No config file given", 1),
        (
            "cpupool-create /nonexistent",
            "Unable to open config file: /nonexistent: No such file or directory",
            1,
        ),
        ("cpupool-cpu-add p x", "Invalid argument.", 1),
        (
            "cpupool-migrate nobody p",
            "Domain 'nobody' does not exist.",
            3,
        ),
        (
            "tmem-list",
            "You must specify -a or --all or a domain id.",
            1,
        ),
        ("tmem-set -a weight=x", "Invalid argument.", 1),
    ] {
        let (err, got) = said(&root, line);
        let first = err.lines().next().unwrap_or_default();
        assert_eq!(first, format!("Error: {error}"), "{line}");
        assert_eq!(got, Some(status), "{line}");
        assert!(!err.contains("not built"), "{line}: {err}");
    }
    root.run(&["vnet-create", "/nonexistent"])
        .is(1, "File not found: /nonexistent\n", "");
}
