use super::*;
use crate::stand_in::{StandIn, UUID};
use proptest::prelude::*;

pub(super) fn text(text: &str) -> Value {
    Value::String(text.into())
}

pub(super) struct Client {
    api: XenApi,
    pub(super) ask: StandIn,
    pub(super) session: Value,
}

impl Client {
    pub(super) fn new() -> Client {
        let (api, ask) = (XenApi::default(), StandIn::default());
        let session = api.call(
            &ask,
            &Door::Open,
            "session.login_with_password",
            vec![text("root"), text("")],
        );
        Client {
            session: session.unwrap(),
            api,
            ask,
        }
    }

    pub(super) fn call(&self, name: &str, rest: &[Value]) -> Result<Value, Failure> {
        let mut params = vec![self.session.clone()];
        params.extend_from_slice(rest);
        self.api.call(&self.ask, &Door::Open, name, params)
    }

    fn failure(&self, name: &str, rest: &[Value]) -> Vec<String> {
        self.call(name, rest).unwrap_err().words()
    }
}

#[test]
fn every_answer_has_a_status() {
    let client = Client::new();
    let answer =
        |name: &str, params| match client.api.answer(&client.ask, &Door::Open, name, params) {
            Value::Struct(members) => members["Status"].clone(),
            other => panic!("{other:?}"),
        };
    assert_eq!(
        answer("VM.get_all", vec![client.session.clone()]),
        text("Success")
    );
    assert_eq!(answer("VM.get_all", vec![text("x")]), text("Failure"));
    assert_eq!(answer("", vec![]), text("Failure"));
}

#[test]
fn guarded_door_opens_to_its_users() {
    struct One;
    impl Logins for One {
        fn admits(&self, user: &str, secret: &str) -> bool {
            (user, secret) == ("a", "b")
        }
    }
    let client = Client::new();
    let door = Door::Guarded(std::sync::Arc::new(One));
    let login = |user: &str, secret: &str| {
        let words = vec![text(user), text(secret)];
        let name = "session.login_with_password";
        client.api.call(&client.ask, &door, name, words)
    };
    assert_eq!(login("a", "x"), Err(Failure::Authentication));
    assert_eq!(login("root", ""), Err(Failure::Authentication));
    assert!(login("a", "b").is_ok());
}

#[test]
fn session_ends_with_its_logout() {
    let client = Client::new();
    let Value::String(session) = client.session.clone() else {
        panic!()
    };
    client.call("session.logout", &[]).unwrap();
    assert_eq!(
        client.failure("VM.get_all", &[]),
        ["SESSION_INVALID", &session]
    );
}

#[test]
fn fence_agents_calls_find_and_stop_a_vm() {
    let client = Client::new();
    let found = client
        .call("VM.get_by_name_label", &[text("web1")])
        .unwrap();
    assert_eq!(found, Value::Array(vec![text(UUID)]));
    let Value::Struct(record) = client.call("VM.get_record", &[text(UUID)]).unwrap() else {
        panic!()
    };
    assert_eq!(record["power_state"], text("Running"));
    assert_eq!(record["is_control_domain"], Value::Boolean(false));
    assert_eq!(record["memory_static_max"], text("67108864"));
    client.call("VM.hard_shutdown", &[text(UUID)]).unwrap();
    assert!(
        matches!(&client.ask.asked()[..], [noxen_xend_api::Request::Destroy { domain }] if domain == UUID)
    );
    let words = client.failure(
        "VM.start",
        &[text(UUID), Value::Boolean(false), Value::Boolean(true)],
    );
    assert_eq!(words, ["VM_BAD_POWER_STATE", UUID, "Halted", "Running"]);
}

#[test]
fn vm_is_suspended_while_it_runs_and_resumed_or_destroyed_when_it_does_not() {
    let mut client = Client::new();
    client.call("VM.suspend", &[text(UUID)]).unwrap();
    let (paused, force) = (Value::Boolean(true), Value::Boolean(false));
    let resume = [text(UUID), paused, force];
    let state = |client: &Client, method: &str, words: &[Value]| {
        client.failure(method, words)[2..].join(" ")
    };
    assert_eq!(state(&client, "VM.resume", &resume), "Suspended Running");
    assert_eq!(
        state(&client, "VM.destroy", &[text(UUID)]),
        "Halted Running"
    );
    let asked = client.ask.asked();
    assert!(
        matches!(&asked[..], [noxen_xend_api::Request::Suspend { domain }] if domain == UUID),
        "{asked:?}"
    );
    client.ask.halted = true;
    assert_eq!(state(&client, "VM.resume", &resume), "Suspended Halted");
    client.ask.suspended = true;
    let power = client.call("VM.get_power_state", &[text(UUID)]);
    assert_eq!(power, Ok(text("Suspended")));
    client.call("VM.resume", &resume).unwrap();
    assert_eq!(
        state(&client, "VM.suspend", &[text(UUID)]),
        "Running Suspended"
    );
    assert_eq!(state(&client, "VM.start", &resume), "Halted Suspended");
    client.call("VM.destroy", &[text(UUID)]).unwrap();
    let asked = client.ask.asked();
    assert!(
        matches!(
            &asked[1..],
            [
                noxen_xend_api::Request::Resume { domain, paused: true },
                noxen_xend_api::Request::Delete { domain: deleted },
            ] if domain == UUID && deleted == UUID
        ),
        "{asked:?}"
    );
}

fn record(members: &[(&str, &str)]) -> Value {
    let members = members.iter();
    Value::Struct(
        members
            .map(|(name, value)| ((*name).to_owned(), text(value)))
            .collect(),
    )
}

#[test]
fn vm_is_created_copied_and_changed_while_it_is_halted() {
    let mut client = Client::new();
    let wanted = record(&[
        ("name_label", "db1"),
        ("memory_static_max", "134217728"),
        ("PV_kernel", "/boot/vmlinuz"),
        ("PV_args", "root=/dev/xvda"),
    ]);
    let Value::String(made) = client.call("VM.create", &[wanted]).unwrap() else {
        panic!()
    };
    let busy = client.failure("VM.clone", &[text(UUID), text("copy")]);
    assert_eq!(busy[0], "VM_BAD_POWER_STATE");
    client.ask.halted = true;
    client
        .call("VM.clone", &[text(UUID), text("copy")])
        .unwrap();
    client
        .call("VM.set_PV_args", &[text(UUID), text("quiet")])
        .unwrap();
    client
        .call(
            "VM.add_to_VCPUs_params",
            &[text(UUID), text("cap"), text("50")],
        )
        .unwrap();
    let wrong = client.failure("VM.set_domid", &[text(UUID), text("4")]);
    assert_eq!(wrong[..2], ["VALUE_NOT_SUPPORTED", "domid"]);
    let kept: Vec<noxen_xend_api::DomainConfig> = client
        .ask
        .asked()
        .into_iter()
        .map(|request| match request {
            noxen_xend_api::Request::New { config }
            | noxen_xend_api::Request::Configure { config } => *config,
            other => panic!("{other:?}"),
        })
        .collect();
    let [new, copy, quiet, capped] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    assert_eq!(
        (new.name.as_str(), new.memory, new.uuid.as_deref()),
        ("db1", 128, Some(made.as_str()))
    );
    assert_eq!(
        (copy.name.as_str(), copy.root.as_str(), &copy.vif[0].mac),
        ("copy", "/dev/xvda ro", &None)
    );
    assert!(copy.uuid.as_deref().is_some_and(|uuid| uuid != UUID));
    assert_eq!(
        (
            quiet.root.as_str(),
            quiet.extra.as_str(),
            quiet.uuid.as_deref()
        ),
        ("", "quiet", Some(UUID))
    );
    assert_eq!(capped.cpu_cap, Some(50));
}

#[test]
fn image_is_named_then_used_and_what_nothing_is_behind_says_so() {
    let client = Client::new();
    let place = record(&[("location", "file:/images/new")]);
    let wanted = Value::Struct([("other_config".to_owned(), place)].into());
    let vdi = client.call("VDI.create", &[wanted]).unwrap();
    let Value::String(handle) = &vdi else {
        panic!()
    };
    let disk = record(&[
        ("VM", UUID),
        ("VDI", handle),
        ("device", "xvdb"),
        ("mode", "RO"),
    ]);
    client.call("VBD.create", &[disk]).unwrap();
    client
        .call("VDI.destroy", std::slice::from_ref(&vdi))
        .unwrap();
    let kept = client.failure("VDI.destroy", &[vdi]);
    assert_eq!(kept[0], "VALUE_NOT_SUPPORTED");
    assert!(matches!(
        &client.ask.asked()[..],
        [noxen_xend_api::Request::AttachDevice { device: noxen_xend_api::DeviceConfig::Disk(disk), .. }]
            if disk.uname == "file:/images/new" && !disk.mode.writes()
    ));
    let Ok(Value::Array(hosts)) = client.call("host.get_all", &[]) else {
        panic!()
    };
    for (name, words) in [
        ("network.create", vec![record(&[])]),
        ("host.reboot", hosts),
    ] {
        let failure = client.failure(name, &words);
        assert_eq!(failure[..2], ["NOT_IMPLEMENTED", name]);
    }
    assert_eq!(
        client.call("VM_guest_metrics.get_all", &[]),
        Ok(Value::Array(vec![]))
    );
}

#[test]
fn vm_moves_to_another_host_as_it_is_told() {
    use noxen_xend_api::Request;
    let client = Client::new();
    let options = |pairs: &[(&str, Value)]| {
        Value::Struct(
            pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.clone()))
                .collect(),
        )
    };
    let usual = options(&[
        ("port", Value::Integer(8012)),
        ("node", Value::Integer(-1)),
        ("ssl", Value::Boolean(false)),
    ]);
    let live = Value::Boolean(true);
    let words = [text(UUID), text("other"), live.clone(), usual];
    client.call("VM.migrate", &words).unwrap();
    match client.ask.asked().as_slice() {
        [Request::Migrate { domain, how }] => {
            assert_eq!((domain.as_str(), how.host.as_str()), (UUID, "other"));
            assert_eq!((how.port, how.live, how.ssl), (Some(8012), true, false));
        }
        other => panic!("{other:?}"),
    }
    for (name, value) in [
        ("node", Value::Integer(1)),
        ("port", Value::Integer(70_000)),
        ("speed", text("9")),
    ] {
        let words = [
            text(UUID),
            text("other"),
            live.clone(),
            options(&[(name, value)]),
        ];
        client.failure("VM.migrate", &words);
    }
    client.failure("VM.migrate", &[text(UUID), text(""), live]);
    assert_eq!(client.ask.asked().len(), 1);
}

#[test]
fn metrics_tell_of_each_virtual_cpu() {
    let client = Client::new();
    let get = |name: &str| match client.call(&format!("VM_metrics.get_{name}"), &[text(UUID)]) {
        Ok(Value::Struct(members)) => members["0"].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(get("VCPUs_CPU"), text("1"));
    assert_eq!(get("VCPUs_utilisation"), Value::Double(1.5));
    assert_eq!(
        get("VCPUs_flags"),
        Value::Array(vec![text("running"), text("online")])
    );
}

#[test]
fn all_records_are_those_of_each_vm() {
    let client = Client::new();
    let Value::Struct(records) = client.call("VM.get_all_records", &[]).unwrap() else {
        panic!()
    };
    assert_eq!(records.len(), 2);
    let one = client.call("VM.get_record", &[text(UUID)]).unwrap();
    assert_eq!(records[UUID], one);
}

#[test]
fn parameters_too_many_are_counted_against_those_wanted() {
    let client = Client::new();
    let words = client.failure("VM.pause", &[text(UUID), text("now")]);
    let wanted = ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.pause", "2", "3"];
    assert_eq!(words, wanted);
}

#[test]
fn getters_give_attributes_of_the_record() {
    let client = Client::new();
    assert_eq!(
        client.call("VM.get_name_label", &[text(UUID)]).unwrap(),
        text("web1")
    );
    assert_eq!(
        client
            .call("VM_metrics.get_memory_actual", &[text(UUID)])
            .unwrap(),
        text("67108864")
    );
    let Value::Array(hosts) = client.call("host.get_all", &[]).unwrap() else {
        panic!()
    };
    let major = client.call("host.get_API_version_major", &hosts).unwrap();
    assert_eq!(major, text("1"));
}

#[test]
fn failures_have_their_codes() {
    let client = Client::new();
    assert_eq!(
        client.failure("VM.get_record", &[text("nobody")]),
        ["HANDLE_INVALID", "VM", "nobody"]
    );
    assert_eq!(
        client.failure("VM.fly", &[text(UUID)]),
        ["MESSAGE_METHOD_UNKNOWN", "VM.fly"]
    );
    for name in ["Policy.get_all", "SR.fly", "PIF.create", "nothing"] {
        let words = client.failure(name, &[text(UUID)]);
        assert!(
            matches!(
                words[0].as_str(),
                "MESSAGE_METHOD_UNKNOWN" | "HANDLE_INVALID"
            ),
            "{words:?}"
        );
    }
    // What the interface has and nothing is behind says why, also where an attribute would be set.
    let hosts = client.call("host.get_all", &[]).unwrap();
    let host = [list(hosts)[0].clone(), text("a"), text("b")];
    for (name, words, why) in [
        ("DPCI.create", &host[..1], "no such device is passed on"),
        ("cpu_pool.create", &host[..1], "one pool, Pool-0"),
        ("XSPolicy.set_xspolicy", &host[..1], "no access control"),
        ("host.add_to_other_config", &host, "tells what is there"),
        ("host.set_name_label", &host[..2], "tells what is there"),
    ] {
        let failure = client.failure(name, words);
        assert!(
            failure[0] == "NOT_IMPLEMENTED" && failure[1] == name,
            "{failure:?}"
        );
        assert!(failure[2].contains(why), "{failure:?}");
    }
    assert_eq!(
        client.failure("host.set_fire", &host[..1])[0],
        "MESSAGE_METHOD_UNKNOWN"
    );
    assert_eq!(
        client.failure("VBD.get_record", &[text("x")]),
        ["HANDLE_INVALID", "VBD", "x"]
    );
    let words = client.failure("VM.get_by_name_label", &[]);
    assert_eq!(
        words,
        [
            "MESSAGE_PARAMETER_COUNT_MISMATCH",
            "VM.get_by_name_label",
            "2",
            "1"
        ]
    );
    assert_eq!(
        client.failure("VM.set_VCPUs_number_live", &[text(UUID), text("two")])[0],
        "VALUE_NOT_SUPPORTED"
    );
    assert!(client.ask.asked().is_empty());
}

#[test]
fn sessions_are_bounded_and_the_silent_go_first() {
    let client = Client::new();
    for _ in 0..300 {
        client
            .api
            .call(
                &client.ask,
                &Door::Open,
                "session.login_with_password",
                vec![text("a"), text("b")],
            )
            .unwrap();
    }
    assert_eq!(client.failure("VM.get_all", &[])[0], "SESSION_INVALID");
}

/// The members of a list of references.
fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        other => panic!("{other:?}"),
    }
}

fn struct_of(value: Value) -> Record {
    match value {
        Value::Struct(record) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn devices_lead_to_each_other_by_reference() {
    let client = Client::new();
    let get =
        |method: &str, handle: &Value| client.call(method, std::slice::from_ref(handle)).unwrap();
    let vbds = list(get("VM.get_VBDs", &text(UUID)));
    assert_eq!(vbds, list(client.call("VBD.get_all", &[]).unwrap()));
    let vbd = struct_of(get("VBD.get_record", &vbds[0]));
    assert_eq!(
        (&vbd["VM"], &vbd["mode"], &vbd["device"]),
        (&text(UUID), &text("RW"), &text("xvda"))
    );
    let vdi = struct_of(get("VDI.get_record", &vbd["VDI"]));
    assert_eq!(vdi["name_label"], text("file:/images/a"));
    assert_eq!(list(vdi["VBDs"].clone()), vbds);
    assert_eq!(list(get("SR.get_VDIs", &vdi["SR"])), [vbd["VDI"].clone()]);
    let vifs = list(get("VM.get_VIFs", &text(UUID)));
    let vif = struct_of(get("VIF.get_record", &vifs[0]));
    assert_eq!(vif["MAC"], text("00:16:3e:00:00:01"));
    let network = struct_of(get("network.get_record", &vif["network"]));
    assert_eq!(network["name_label"], text("xenbr0"));
    assert_eq!(list(network["VIFs"].clone()), vifs);
    assert_eq!(
        client
            .call("network.get_by_name_label", &[text("xenbr0")])
            .unwrap(),
        Value::Array(vec![vif["network"].clone()])
    );
    let consoles = list(get("VM.get_consoles", &text(UUID)));
    assert_eq!(get("console.get_protocol", &consoles[0]), text("vt100"));
    assert_eq!(
        get("VIF_metrics.get_io_total_read_kbs", &vif["metrics"]),
        text("0")
    );
}

#[test]
fn parts_of_the_host_are_those_of_its_record() {
    let client = Client::new();
    let host = list(client.call("host.get_all", &[]).unwrap());
    let record = struct_of(client.call("host.get_record", &host).unwrap());
    let cpus = list(record["host_CPUs"].clone());
    assert_eq!(cpus, list(client.call("host_cpu.get_all", &[]).unwrap()));
    assert!(!cpus.is_empty());
    client.call("host_cpu.get_number", &cpus[..1]).unwrap();
    let metrics = [record["metrics"].clone()];
    assert_eq!(
        client
            .call("host_metrics.get_memory_total", &metrics)
            .unwrap(),
        text("0")
    );
    assert_eq!(list(client.call("VTPM.get_all", &[]).unwrap()), []);
    let pbd = list(record["PBDs"].clone());
    let sr = client.call("PBD.get_SR", &pbd).unwrap();
    assert_eq!(
        client.call("SR.get_name_label", &[sr]).unwrap(),
        text("Local")
    );
}

#[test]
fn one_pool_has_all_processors_and_nothing_has_a_label() {
    let client = Client::new();
    let pools = list(client.call("cpu_pool.get_all", &[]).unwrap());
    let [pool] = pools.as_slice() else {
        panic!("{pools:?}")
    };
    let record = struct_of(client.call("cpu_pool.get_record", &pools).unwrap());
    assert_eq!(record["name_label"], text("Pool-0"));
    let cpus = list(client.call("host_cpu.get_all", &[]).unwrap());
    assert_eq!(record["ncpu"], text(&cpus.len().to_string()));
    assert_eq!(list(record["host_CPUs"].clone()), cpus);
    assert!(list(record["started_VMs"].clone()).contains(&text(UUID)));
    let named = client.call("cpu_pool.get_by_name_label", &[text("Pool-0")]);
    assert_eq!(list(named.unwrap()).as_slice(), std::slice::from_ref(pool));

    assert_eq!(client.call("XSPolicy.get_xstype", &[]), Ok(text("0")));
    let policy = struct_of(client.call("XSPolicy.get_xspolicy", &[]).unwrap());
    assert_eq!(
        (&policy["xs_ref"], &policy["type"]),
        (&text(""), &text("0"))
    );
    let label = client.call("XSPolicy.get_resource_label", &[text("phy:a")]);
    assert_eq!(label, Ok(text("")));
    let labels = client.call("XSPolicy.get_labeled_resources", &[]).unwrap();
    assert!(struct_of(labels).is_empty());
}

#[test]
fn devices_are_made_and_destroyed_by_their_records() {
    use noxen_xend_api::{DeviceConfig, Request};
    let client = Client::new();
    let vbds = list(client.call("VBD.get_all", &[]).unwrap());
    let vdi = client.call("VBD.get_VDI", &vbds).unwrap();
    let wanted = |pairs: &[(&str, Value)]| {
        Value::Struct(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    };
    let disk = wanted(&[
        ("VM", text(UUID)),
        ("VDI", vdi),
        ("device", text("xvdb")),
        ("mode", text("RO")),
    ]);
    let made = client.call("VBD.create", &[disk]).unwrap();
    assert_eq!(
        client
            .call("VBD.get_device", std::slice::from_ref(&made))
            .unwrap(),
        text("xvdb")
    );
    client.call("VBD.destroy", &[made]).unwrap();
    let networks = list(client.call("network.get_all", &[]).unwrap());
    let xenbr0 = list(
        client
            .call("network.get_by_name_label", &[text("xenbr0")])
            .unwrap(),
    );
    assert!(networks.contains(&xenbr0[0]));
    let vif = wanted(&[
        ("VM", text(UUID)),
        ("network", xenbr0[0].clone()),
        ("MAC", text("00:16:3e:00:00:02")),
    ]);
    client.call("VIF.create", &[vif]).unwrap();
    match client.ask.asked().as_slice() {
        [Request::AttachDevice {
            device: DeviceConfig::Disk(disk),
            ..
        }, Request::DetachDevice { device, .. }, Request::AttachDevice {
            device: DeviceConfig::Vif(vif),
            ..
        }] => {
            assert_eq!(
                (disk.text().as_str(), device.as_str()),
                ("file:/images/a,xvdb,r", "51728")
            );
            assert_eq!(vif.bridge.as_deref(), Some("xenbr0"));
        }
        other => panic!("{other:?}"),
    }
    for (record, code) in [
        (wanted(&[("VM", text("x"))]), "HANDLE_INVALID"),
        (
            wanted(&[("VM", text(UUID)), ("VDI", text("x"))]),
            "HANDLE_INVALID",
        ),
        (text("no record"), "VALUE_NOT_SUPPORTED"),
    ] {
        assert_eq!(client.failure("VBD.create", &[record])[0], code);
    }
    let bad = wanted(&[("VM", text(UUID)), ("MAC", text("zz"))]);
    assert_eq!(
        client.failure("VIF.create", &[bad])[0],
        "VALUE_NOT_SUPPORTED"
    );
}

#[test]
fn asynchronous_call_is_a_task_that_has_ended() {
    let client = Client::new();
    let task = client.call("Async.VM.pause", &[text(UUID)]).unwrap();
    let record = struct_of(
        client
            .call("task.get_record", std::slice::from_ref(&task))
            .unwrap(),
    );
    assert_eq!(
        (&record["status"], &record["name_label"]),
        (&text("success"), &text("VM.pause"))
    );
    let failed = client.call("Async.VM.pause", &[text("x")]).unwrap();
    let record = struct_of(client.call("task.get_record", &[failed]).unwrap());
    assert_eq!(record["status"], text("failure"));
    assert_eq!(
        list(record["error_info"].clone())[0],
        text("HANDLE_INVALID")
    );
    assert_eq!(list(client.call("task.get_all", &[]).unwrap()).len(), 2);
    assert_eq!(
        client.failure("task.cancel", std::slice::from_ref(&task))[0],
        "VALUE_NOT_SUPPORTED"
    );
    client
        .call("task.destroy", std::slice::from_ref(&task))
        .unwrap();
    assert_eq!(
        client.failure("task.get_status", &[task])[0],
        "HANDLE_INVALID"
    );
    // Another session sees none of them.
    let other = client
        .api
        .call(
            &client.ask,
            &Door::Open,
            "session.login_with_password",
            vec![text("b"), text("")],
        )
        .unwrap();
    let seen = client
        .api
        .call(&client.ask, &Door::Open, "task.get_all", vec![other])
        .unwrap();
    assert_eq!(list(seen), []);
    assert_eq!(
        client
            .api
            .call(
                &client.ask,
                &Door::Open,
                "Async.VM.get_all",
                vec![text("x")]
            )
            .unwrap_err()
            .words()[0],
        "SESSION_INVALID"
    );
}

#[test]
fn events_are_for_sessions_that_registered() {
    let client = Client::new();
    assert_eq!(
        client.failure("event.next", &[])[0],
        "SESSION_NOT_REGISTERED"
    );
    let all = Value::Array(vec![text("*")]);
    client
        .call("event.register", std::slice::from_ref(&all))
        .unwrap();
    client.call("event.unregister", &[all]).unwrap();
    assert_eq!(
        client.failure("event.next", &[])[0],
        "SESSION_NOT_REGISTERED"
    );
    assert_eq!(
        client.failure("event.fly", &[])[0],
        "MESSAGE_METHOD_UNKNOWN"
    );
}

proptest! {
    #[test]
    fn any_method_is_answered(class in "(VM|host|session|VM_metrics|task|VBD|VIF|network|PIF|console)", name in "[a-z_]{0,20}", arg in ".{0,20}") {
        let client = Client::new();
        let _ = client.call(&format!("Async.{class}.{name}"), &[text(&arg)]);
        let _ = client.call(&format!("{class}.{name}"), &[text(&arg)]);
    }
}
