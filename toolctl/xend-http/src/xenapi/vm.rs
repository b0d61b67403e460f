//! Class VM and its metrics.

use super::failure::Failure;
use super::{attribute, devices, host, objects, record, Call, Record};
use crate::tree;
use dxr::Value;
use noxen_xend_api::change::Change;
use noxen_xend_api::{DeviceClass, DomainInfo, Request, Response, ShutdownKind, StateFilter};
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
            let forms = tree::domains(call.ask, Vec::new(), StateFilter::All)?;
            let mut records = BTreeMap::new();
            for info in all(call)? {
                // One that comes or goes meanwhile is left out.
                let form = forms
                    .iter()
                    .find(|form| form.get("uuid") == Some(&info.uuid));
                if let Some(form) = form {
                    let record = with_devices(call, &info, record::vm(&info, form, &host));
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
        _ => {
            let handle = call.text(2)?;
            let info = find(call, &handle)?;
            of_one(method, call, &info)
        }
    }
}

fn of_one(method: &str, call: &mut Call, info: &DomainInfo) -> Result<Value, Failure> {
    let domain = info.uuid.clone();
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
        "destroy" => {
            halted(info)?;
            call.end()?;
            call.ask.ask(Request::Delete { domain })?;
            return Ok(record::text(""));
        }
        "suspend" => Request::Suspend { domain },
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
        "set_name_label" => Request::Change {
            domain,
            change: Change::Name {
                name: call.text(3)?,
            },
        },
        "set_VCPUs_number_live" => Request::Change {
            domain,
            change: Change::Vcpus {
                count: call.whole(3)?,
            },
        },
        "set_memory_dynamic_max_live" | "set_memory_dynamic_min_live" => Request::Change {
            domain,
            change: Change::Memory {
                mib: call.whole(3)? >> 20,
            },
        },
        "send_sysrq" => {
            let text = call.text(3)?;
            let change = Change::sysrq(&text).ok_or_else(|| {
                Failure::not_supported("sysrq", &text, "one character is expected")
            })?;
            Request::Change { domain, change }
        }
        _ => {
            call.end()?;
            let record = vm_record(call, info)?;
            return attribute(call, method, &record);
        }
    };
    running(method, info)?;
    call.end()?;
    call.ask.ask(request)?;
    Ok(record::text(""))
}

/// What is done to a VM needs one that runs; xend would say the same in other words.
fn running(method: &str, info: &DomainInfo) -> Result<(), Failure> {
    match record::power_state(info) {
        "Halted" if method != "set_name_label" => Err(Failure::BadPowerState(
            info.uuid.clone(),
            "Running",
            "Halted".into(),
        )),
        _ => Ok(()),
    }
}

/// What is done to a VM that is not there: a suspended one counts as halted.
fn halted(info: &DomainInfo) -> Result<(), Failure> {
    match info.domid {
        None => Ok(()),
        Some(_) => {
            let found = record::power_state(info).to_owned();
            Err(Failure::BadPowerState(info.uuid.clone(), "Halted", found))
        }
    }
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
    halted(info)?;
    let domain = info.uuid.clone();
    call.ask.ask(Request::Resume { domain, paused })?;
    Ok(record::text(""))
}

/// `VM_metrics.METHOD`; a VM's metrics have its reference.
pub fn metrics_method(method: &str, call: &mut Call) -> Result<Value, Failure> {
    if method == "get_all" {
        call.end()?;
        let all = all(call)?.into_iter().map(|info| record::text(info.uuid));
        return Ok(Value::Array(all.collect()));
    }
    let handle = call.text(2)?;
    call.end()?;
    let info = find(call, &handle).map_err(|_| Failure::HandleInvalid("VM_metrics", handle))?;
    let record = record::metrics(&info);
    match method {
        "get_record" => Ok(Value::Struct(record)),
        "get_by_uuid" => Ok(record::text(info.uuid)),
        _ => attribute(call, method, &record),
    }
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
    let form = tree::domain(call.ask, &info.uuid)?;
    let host = host::uuid(call.ask)?;
    Ok(with_devices(call, info, record::vm(info, &form, &host)))
}

/// The record of a VM with references to what it has.
fn with_devices(call: &Call, info: &DomainInfo, mut record: Record) -> Record {
    let consoles = devices::console_of(info);
    record.insert("consoles".into(), objects::references(&consoles));
    for (list, class) in [("VBDs", DeviceClass::Vbd), ("VIFs", DeviceClass::Vif)] {
        record.insert(list.into(), devices::references_of(call, info, class));
    }
    record
}
