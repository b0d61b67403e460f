//! `docs/json.md` and what `--json` prints are the same.
//!
//! ```text
//!   ## COMMAND, | `member` | kind |  --> wanted: member -> kind
//!   toolctl COMMAND --json           --> found:  member -> kind      every one of either is in the other
//! ```

mod common;

use common::*;
use noxen_xend_api::migrate::{Ledger, Postcopy, Round};
use noxen_xend_api::{
    Answer, DeviceClass, DeviceConfig, DeviceInfo, Disk, Request, Response, Sedf, Share, Vif,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../docs/json.md");

/// Kinds by member.
type Members = BTreeMap<String, String>;

/// The page: commands and their members.
fn wanted() -> BTreeMap<String, Members> {
    let mut all = BTreeMap::new();
    for part in PAGE.split("\n## ").skip(1) {
        let command = part.lines().next().unwrap().to_owned();
        let mut members = Members::new();
        for row in part.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            for name in cells[1].split(", ") {
                members.insert(name.trim_matches('`').to_owned(), cells[2].to_owned());
            }
        }
        all.insert(command, members);
    }
    all
}

fn flatten(
    value: &Value,
    path: &str,
    objects: &BTreeSet<&str>,
    into: &mut BTreeMap<String, BTreeSet<&'static str>>,
) {
    let kind = match value {
        Value::Array(list) => {
            for each in list {
                flatten(each, &format!("{path}[]"), objects, into);
            }
            return;
        }
        Value::Object(members) if !objects.contains(path) => {
            for (name, each) in members {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(each, &format!("{path}{dot}{name}"), objects, into);
            }
            return;
        }
        Value::Object(_) => "object",
        Value::Null => "null",
        Value::Bool(_) => "truth",
        Value::Number(_) => "number",
        Value::String(_) => "text",
    };
    into.entry(path.to_owned()).or_default().insert(kind);
}

fn a_host(request: &Request) -> Answer {
    match request {
        Request::List { .. } => {
            let mut dormant = domain("dormant", 0);
            dormant.domid = None;
            dormant.pid = None;
            dormant.console_tty = Some("/dev/pts/1".into());
            dormant.shutdown_reason = Some("poweroff".into());
            domains(vec![domain("tenant03", 3), dormant])
        }
        Request::Domain { .. } => one(domain("tenant03", 3)),
        Request::VcpuList { .. } => vcpus(),
        Request::Info => node(),
        Request::Shares { .. } => Answer::Ok(Response::Shares {
            domains: vec![Share {
                name: "tenant03".into(),
                domid: Some(3),
                weight: 256,
                cap: 0,
                sedf: Sedf::default(),
            }],
        }),
        Request::Devices {
            class: DeviceClass::Vif,
            ..
        } => Answer::Ok(Response::Devices {
            devices: vec![DeviceInfo {
                devid: 0,
                class: "vif".into(),
                config: DeviceConfig::Vif(Vif::default()),
                backend: "/local/domain/0/backend/vif/3/0".into(),
                nodes: Default::default(),
                state: None,
                reason: None,
                disk: None,
            }],
        }),
        Request::Devices { .. } => Answer::Ok(Response::Devices {
            devices: vec![DeviceInfo {
                devid: 51713,
                class: "vbd".into(),
                config: DeviceConfig::Disk(Disk::parse("phy:vg0/t3,xvda1,w").unwrap()),
                backend: "/local/domain/0/backend/vbd/3/51713".into(),
                nodes: [("state".to_owned(), "4".to_owned())].into(),
                state: Some("connected".into()),
                reason: None,
                disk: None,
            }],
        }),
        Request::Migrate { .. } => Answer::Ok(Response::Moved {
            ledger: Box::new(Ledger {
                rounds: vec![Round {
                    throttle: 20,
                    bytes: 4096,
                    micros: 5,
                    written: 0,
                }],
                postcopy: Some(Postcopy::default()),
                ..Ledger::default()
            }),
        }),
        _ => generic("nothing of this kind is to be asked"),
    }
}

#[test]
fn every_listing_prints_the_members_of_the_page_and_no_others() {
    let root = Root::new();
    serve(&root, a_host);
    for (command, members) in wanted() {
        // It is printed in the Xen-API mode only, where toolctl/xend/tests/xen_api_mode.rs looks at it.
        if command == "network-show" {
            continue;
        }
        let objects = members.iter().filter(|(_, kind)| *kind == "object");
        let objects = objects.map(|(name, _)| name.as_str()).collect();
        let mut words = vec![command.as_str(), "--json"];
        match command.as_str() {
            "block-list" | "vtpm-list" => words.push("tenant03"),
            "top" => words.extend(["--iterations", "1"]),
            "migrate" => words.extend(["tenant03", "other"]),
            _ => {}
        }
        let ran = root.run(&words);
        assert_eq!(ran.status, Some(0), "{command}: {ran:?}");
        let value: Value = serde_json::from_str(&ran.out).unwrap();
        let mut found = BTreeMap::new();
        flatten(&value, "", &objects, &mut found);
        for (name, kinds) in &found {
            let kind = members
                .get(name)
                .unwrap_or_else(|| panic!("{command} prints {name}, which docs/json.md has not"));
            for found in kinds {
                let fits = kind.trim_end_matches('?') == *found
                    || (*found == "null" && kind.ends_with('?'));
                assert!(
                    fits,
                    "{command}: {name} is {found}, and {kind} in docs/json.md"
                );
            }
        }
        let found: BTreeSet<&String> = found.keys().collect();
        let missing: Vec<&String> = members
            .keys()
            .filter(|name| !found.contains(name))
            .collect();
        assert!(
            missing.is_empty(),
            "{command} does not print {missing:?} of docs/json.md"
        );
    }
}

/// Commands that work and list nothing: they change something, print one thing or a text, or run until they are left.
const NO_LISTINGS: &[&str] = &[
    "console",
    "vncviewer",
    "create",
    "new",
    "delete",
    "destroy",
    "domid",
    "domname",
    "domstate",
    "dump-core",
    "mem-max",
    "mem-set",
    "pause",
    "reboot",
    "rename",
    "reset",
    "restore",
    "resume",
    "save",
    "shutdown",
    "start",
    "suspend",
    "sysrq",
    "trigger",
    "unpause",
    "upgrade",
    "vcpu-pin",
    "vcpu-set",
    "debug-keys",
    "dmesg",
    "log",
    "serve",
    "block-attach",
    "block-detach",
    "block-configure",
    "network-attach",
    "network-detach",
    "network-new",
    "network-del",
    "shell",
    "event-monitor",
];

#[test]
fn every_listing_has_the_option_and_its_members_on_the_page() {
    let root = Root::new();
    serve(&root, a_host);
    let page = root.run(&["gen", "compatibility"]).out;
    let (commands, _) = page.split_once("| Old name |").unwrap();
    let mut listings = 0;
    for row in commands.lines().filter(|row| row.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (name, works) = (cells[1].trim_matches('`'), cells[2].starts_with("works"));
        let help = root.run(&["help", name]).out;
        let has = help.contains("--json");
        if !works || NO_LISTINGS.contains(&name) {
            // `create` and `new` have it for --dryrun.
            assert!(
                !has || matches!(name, "create" | "new"),
                "{name} is a listing"
            );
            continue;
        }
        assert!(has, "{name} lists something and has no --json");
        listings += 1;
        if PAGE.contains(&format!("\n## {name}\n")) {
            continue;
        }
        // Those that print what another one's heading describes are named there.
        assert!(
            PAGE.contains(&format!("`{name}")),
            "{name} is not in docs/json.md"
        );
        let domain = !help.lines().next().unwrap().ends_with(name);
        let words = [name, "--json", "tenant03"];
        let ran = root.run(&words[..if domain { 3 } else { 2 }]);
        assert_eq!(ran.status, Some(0), "{name}: {ran:?}");
        serde_json::from_str::<Value>(&ran.out).unwrap();
    }
    assert!(listings >= 20, "{listings}");
}
