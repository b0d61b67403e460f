//! Class VM and its metrics.

use super::failure::Failure;
use super::vm_config::{self, Parameter};
use super::{attribute, devices, host, objects, record, Call, Record};
use crate::tree;
use dxr::Value;
use noxen_xend_api::change::Change;
use noxen_xend_api::{
    random_uuid, DeviceClass, DomainConfig, DomainInfo, Request, Response, ShutdownKind,
    StateFilter,
};
use std::collections::BTreeMap;

/// `VM.METHOD`.
pub fn method(method: &str, call: &mut Call) -> Result<Value, Failure> {
    match method {
        "get_all" => {
            call.end()?;
            let all = all(call)?.into_iter().map(|info| record::text(info.uuid));
            Ok(Value::Array(all.collect()))
        }
        "get_all_records" => {
            call.end()?;
            let host = host::uuid(call.ask)?;
            let mut records = BTreeMap::new();
            for info in all(call)? {
                // One that goes meanwhile is left out.
                if let Ok(config) = config_of(call, &info) {
                    let record = with_devices(call, &info, record::vm(&info, &config, &host));
                    records.insert(info.uuid, Value::Struct(record));
                }
            }
            Ok(Value::Struct(records))
        }
        "get_by_name_label" => {
            let name = call.text(2)?;
            call.end()?;
            let same = all(call)?.into_iter().filter(|info| info.name == name);
            Ok(Value::Array(
                same.map(|info| record::text(info.uuid)).collect(),
            ))
        }
        "create" => {
            let wanted = call.record(2)?;
            call.end()?;
            keep(call, vm_config::create(&wanted)?)
        }
        "restore" => {
            let file = call.text(3)?;
            let paused = call.flag();
            call.end()?;
            match call.ask.ask(Request::Restore {
                file,
                paused,
                lazy: false,
            })? {
                Response::Domain { domain } => Ok(record::text(domain.uuid)),
                other => Err(tree::unexpected(other).into()),
            }
        }
        _ => {
            let handle = call.text(2)?;
            let info = find(call, &handle)?;
            of_one(method, call, &info)
        }
    }
}

/// Keeps `config` as a halted managed domain; its reference.
fn keep(call: &Call, mut config: DomainConfig) -> Result<Value, Failure> {
    let uuid = match config.uuid.take() {
        Some(uuid) => uuid.to_ascii_lowercase(),
        None => {
            random_uuid().map_err(|error| Failure::Internal(format!("no random UUID: {error}")))?
        }
    };
    config.uuid = Some(uuid.clone());
    let config = Box::new(config);
    tree::done(call.ask, Request::New { config })?;
    Ok(record::text(uuid))
}

fn of_one(method: &str, call: &mut Call, info: &DomainInfo) -> Result<Value, Failure> {
    let domain = info.uuid.clone();
    let change = |change| Request::Change {
        domain: domain.clone(),
        change,
    };
    let request = match method {
        "get_by_uuid" | "get_uuid" => {
            call.end()?;
            return Ok(record::text(domain));
        }
        "get_record" => {
            call.end()?;
            return vm_record(call, info).map(Value::Struct);
        }
        "start" => return start(call, info),
        "resume" => return resume(call, info),
        "migrate" => return migrate(call, info),
        "clone" => {
            let name = call.text(3)?;
            call.end()?;
            return clone(call, info, name);
        }
        "destroy" => {
            // A suspended one goes with its state.
            not_running(info)?;
            call.end()?;
            call.ask.ask(Request::Delete { domain })?;
            return Ok(record::text(""));
        }
        "set_name_label" => {
            let name = call.text(3)?;
            call.end()?;
            call.ask.ask(change(Change::Name { name }))?;
            return Ok(record::text(""));
        }
        "suspend" => Request::Suspend { domain },
        "save" => Request::Save {
            file: call.text(4)?,
            checkpoint: call.flag(),
            how: Default::default(),
            domain,
        },
        "pause" => Request::Pause { domain },
        "unpause" => Request::Unpause { domain },
        "clean_shutdown" => Request::Shutdown {
            domain,
            kind: ShutdownKind::Poweroff,
        },
        "clean_reboot" => Request::Shutdown {
            domain,
            kind: ShutdownKind::Reboot,
        },
        "hard_shutdown" => Request::Destroy { domain },
        "hard_reboot" => Request::Reset { domain },
        "set_VCPUs_number_live" => change(Change::Vcpus {
            count: call.whole(3)?,
        }),
        "set_memory_dynamic_max_live" | "set_memory_dynamic_min_live" => change(Change::Memory {
            mib: call.whole(3)? >> 20,
        }),
        "set_memory_static_max" if info.domid.is_some() => change(Change::MaxMemory {
            mib: call.whole(3)? >> 20,
        }),
        "add_to_VCPUs_params_live" => {
            let (key, value) = (call.text(4)?, call.text(4)?);
            change(live_parameter(&key, &value)?)
        }
        "send_sysrq" => {
            let text = call.text(3)?;
            change(Change::sysrq(&text).ok_or_else(|| {
                Failure::not_supported("sysrq", &text, "one character is expected")
            })?)
        }
        "send_trigger" => {
            let trigger = call.text(4)?;
            let vcpu = call.whole(4)?;
            let vcpu = u32::try_from(vcpu).map_err(|_| {
                Failure::not_supported("vcpu", &vcpu.to_string(), "there is no such virtual CPU")
            })?;
            change(Change::Trigger { trigger, vcpu })
        }
        _ => {
            if let Some(changed) = changed(method, call, info)? {
                let config = Box::new(changed);
                tree::done(call.ask, Request::Configure { config })?;
                return Ok(record::text(""));
            }
            call.end()?;
            let record = vm_record(call, info)?;
            return attribute(call, method, &record);
        }
    };
    running(info)?;
    call.end()?;
    call.ask.ask(request)?;
    Ok(record::text(""))
}

/// What a running domain's `VCPUs_params` are changed by.
fn live_parameter(key: &str, value: &str) -> Result<Change, Failure> {
    let number = || {
        let wrong = |_| Failure::not_supported(key, value, "a whole number is expected");
        value.parse::<i64>().map(Some).map_err(wrong)
    };
    Ok(match vm_config::parameter(key) {
        Some(Parameter::Weight) => Change::Credit {
            weight: number()?,
            cap: None,
        },
        Some(Parameter::Cap) => Change::Credit {
            weight: None,
            cap: number()?,
        },
        Some(Parameter::Cpus(vcpu)) => Change::Pin {
            vcpu: Some(vcpu),
            cpus: value.to_owned(),
        },
        None => {
            return Err(Failure::not_supported(
                "VCPUs_params",
                key,
                "it is weight, cap or cpumapN",
            ))
        }
    })
}

/// The configuration that a setter makes of a halted domain's; None for methods that are no setters.
fn changed(
    method: &str,
    call: &mut Call,
    info: &DomainInfo,
) -> Result<Option<DomainConfig>, Failure> {
    let setter = ["set_", "add_to_", "remove_from_"]
        .into_iter()
        .find_map(|prefix| Some((prefix, method.strip_prefix(prefix)?)));
    let Some((prefix, name)) = setter else {
        return Ok(None);
    };
    halted(info)?;
    let mut config = config_of(call, info)?;
    match prefix {
        "set_" => {
            let value = call.any(3)?;
            call.end()?;
            vm_config::set(&mut config, name, &value)?;
        }
        "add_to_" => {
            let (key, value) = (call.text(4)?, call.text(4)?);
            call.end()?;
            vm_config::add(&mut config, name, &key, &value)?;
        }
        _ => {
            let key = call.text(3)?;
            call.end()?;
            vm_config::remove(&mut config, name, &key);
        }
    }
    Ok(Some(config))
}

/// A halted copy under another name, with addresses of its own. Its disks are the same images: who starts both must let them share.
fn clone(call: &Call, info: &DomainInfo, name: String) -> Result<Value, Failure> {
    halted(info)?;
    let mut config = config_of(call, info)?;
    config.name = name;
    config.uuid = None;
    for vif in &mut config.vif {
        (vif.mac, vif.vifname) = (None, None);
    }
    keep(call, config)
}

/// What a domain is built from; domain 0 is built from nothing.
fn config_of(call: &Call, info: &DomainInfo) -> Result<DomainConfig, Failure> {
    if info.domid == Some(0) {
        return Ok(DomainConfig::default());
    }
    let domain = info.uuid.clone();
    match call.ask.ask(Request::Config { domain })? {
        Response::Config { config } => Ok(*config),
        other => Err(tree::unexpected(other).into()),
    }
}

/// What is done to a VM needs one that runs; xend would say the same in other words.
fn running(info: &DomainInfo) -> Result<(), Failure> {
    match record::power_state(info) {
        found @ ("Halted" | "Suspended") => bad_state(info, "Running", found),
        _ => Ok(()),
    }
}

/// ... or one that does not run.
fn not_running(info: &DomainInfo) -> Result<(), Failure> {
    match info.domid {
        None => Ok(()),
        Some(_) => bad_state(info, "Halted", record::power_state(info)),
    }
}

/// ... or one that does not run and has no state.
fn halted(info: &DomainInfo) -> Result<(), Failure> {
    match (info.domid, info.suspended) {
        (None, false) => Ok(()),
        _ => bad_state(info, "Halted", record::power_state(info)),
    }
}

fn bad_state(info: &DomainInfo, needed: &'static str, found: &str) -> Result<(), Failure> {
    let handle = info.uuid.clone();
    Err(Failure::BadPowerState(handle, needed, found.to_owned()))
}

/// `VM.start(vm, paused, force)`.
fn start(call: &mut Call, info: &DomainInfo) -> Result<Value, Failure> {
    let paused = call.flag();
    call.flag();
    call.end()?;
    halted(info)?;
    tree::start(call.ask, info.uuid.clone(), paused)?;
    Ok(record::text(""))
}

/// `VM.resume(vm, paused, force)`.
fn resume(call: &mut Call, info: &DomainInfo) -> Result<Value, Failure> {
    let paused = call.flag();
    call.flag();
    call.end()?;
    if !info.suspended {
        return bad_state(info, "Suspended", record::power_state(info)).map(|()| record::text(""));
    }
    let domain = info.uuid.clone();
    call.ask.ask(Request::Resume { domain, paused })?;
    Ok(record::text(""))
}

/// `VM.migrate(vm, destination, live, {port, node, ssl, change_home_server})`.
fn migrate(call: &mut Call, info: &DomainInfo) -> Result<Value, Failure> {
    let host = call.text(5)?;
    let live = call.flag();
    let options = match call.params.len() {
        0 => Record::new(),
        _ => call.record(5)?,
    };
    call.end()?;
    running(info)?;
    let (mut port, mut ssl) = (None, false);
    for (name, value) in &options {
        let number = match value {
            Value::Integer(number) => Some(i64::from(*number)),
            Value::Boolean(flag) => Some((*flag).into()),
            Value::String(text) if text.is_empty() => Some(0),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let refuse = |why| Failure::not_supported("other_config", name, why);
        let number = number.ok_or_else(|| refuse("a whole number is expected"))?;
        match (name.as_str(), number) {
            ("port", _) => port = Some(number),
            ("ssl", _) => ssl = number != 0,
            // None of them is asked for.
            ("node", ..=-1) | ("change_home_server" | "resource", 0) => {}
            _ => return Err(refuse("nothing here takes it")),
        }
    }
    tree::migrate(call.ask, info.uuid.clone(), &host, live, port, ssl)?;
    Ok(record::text(""))
}

/// `VM_metrics.METHOD`; a VM's metrics have its reference.
pub fn metrics_method(method: &str, call: &mut Call) -> Result<Value, Failure> {
    match method {
        "get_all" => {
            call.end()?;
            let all = all(call)?.into_iter().map(|info| record::text(info.uuid));
            return Ok(Value::Array(all.collect()));
        }
        "get_all_records" => {
            call.end()?;
            let mut records = BTreeMap::new();
            for info in all(call)? {
                // One that goes meanwhile is left out.
                if let Ok(record) = metrics_record(call, &info) {
                    records.insert(info.uuid, Value::Struct(record));
                }
            }
            return Ok(Value::Struct(records));
        }
        _ => {}
    }
    let handle = call.text(2)?;
    call.end()?;
    let info = find(call, &handle).map_err(|_| Failure::HandleInvalid("VM_metrics", handle))?;
    match method {
        "get_by_uuid" => Ok(record::text(info.uuid)),
        "get_record" => metrics_record(call, &info).map(Value::Struct),
        _ => attribute(call, method, &metrics_record(call, &info)?),
    }
}

fn metrics_record(call: &Call, info: &DomainInfo) -> Result<Record, Failure> {
    let domains = vec![info.uuid.clone()];
    let vcpus = match call.ask.ask(Request::VcpuList {
        domains: domains.clone(),
    })? {
        Response::Vcpus { domains } => domains,
        other => return Err(tree::unexpected(other).into()),
    };
    let shares = match call.ask.ask(Request::Shares { domains })? {
        Response::Shares { domains } => domains,
        other => return Err(tree::unexpected(other).into()),
    };
    let gone = || Failure::HandleInvalid("VM_metrics", info.uuid.clone());
    let vcpus = vcpus.first().ok_or_else(gone)?;
    Ok(record::metrics(info, vcpus, shares.first()))
}

/// All domains.
pub fn all(call: &Call) -> Result<Vec<DomainInfo>, Failure> {
    let request = Request::List {
        domains: Vec::new(),
        state: StateFilter::All,
    };
    match call.ask.ask(request)? {
        Response::Domains { domains } => Ok(domains),
        other => Err(tree::unexpected(other).into()),
    }
}

/// By reference only: a name or an id that looks like one is none.
pub fn find(call: &Call, handle: &str) -> Result<DomainInfo, Failure> {
    all(call)?
        .into_iter()
        .find(|info| info.uuid == handle)
        .ok_or_else(|| Failure::HandleInvalid("VM", handle.to_owned()))
}

fn vm_record(call: &Call, info: &DomainInfo) -> Result<Record, Failure> {
    let config = config_of(call, info)?;
    let host = host::uuid(call.ask)?;
    Ok(with_devices(call, info, record::vm(info, &config, &host)))
}

/// The record of a VM with references to what it has.
fn with_devices(call: &Call, info: &DomainInfo, mut record: Record) -> Record {
    let consoles = devices::consoles_of(call, info);
    record.insert("consoles".into(), objects::references(consoles.keys()));
    for (list, class) in [("VBDs", DeviceClass::Vbd), ("VIFs", DeviceClass::Vif)] {
        record.insert(list.into(), devices::references_of(call, info, class));
    }
    record
}
