//! Class host: this one, whose reference is the UUID of domain 0.

use super::failure::Failure;
use super::{attribute, hardware, record, Call, Record};
use crate::{tree, Ask};
use dxr::Value;
use noxen_xend_api::{Request, Response, StateFilter};
use std::collections::BTreeMap;

/// The host's reference.
pub fn uuid(ask: &dyn Ask) -> Result<String, Failure> {
    Ok(tree::info(ask, "0")?.uuid)
}

/// `host.METHOD`.
pub fn method(method: &str, call: &mut Call) -> Result<Value, Failure> {
    let host = uuid(call.ask)?;
    match method {
        "get_all" => {
            call.end()?;
            return Ok(Value::Array(vec![record::text(host)]));
        }
        "get_by_name_label" => {
            let name = call.text(2)?;
            call.end()?;
            let same = matches!(host_record(call, &host)?.get("name_label"), Some(Value::String(known)) if *known == name);
            let found = if same {
                vec![record::text(host)]
            } else {
                Vec::new()
            };
            return Ok(Value::Array(found));
        }
        "get_all_records" => {
            call.end()?;
            let record = Value::Struct(host_record(call, &host)?);
            return Ok(Value::Struct(BTreeMap::from([(host, record)])));
        }
        _ => {}
    }
    let handle = call.text(2)?;
    if handle != host {
        return Err(Failure::HandleInvalid("host", handle));
    }
    match method {
        "send_debug_keys" => {
            let keys = call.text(3)?;
            call.end()?;
            tree::done(call.ask, Request::DebugKeys { keys })?;
            Ok(record::text(""))
        }
        "get_record" => {
            call.end()?;
            host_record(call, &host).map(Value::Struct)
        }
        "get_by_uuid" | "get_uuid" => {
            call.end()?;
            Ok(record::text(host))
        }
        "dmesg" => {
            call.end()?;
            Ok(record::text(tree::text(
                call.ask,
                Request::Dmesg { clear: false },
            )?))
        }
        "dmesg_clear" => {
            call.end()?;
            Ok(record::text(tree::text(
                call.ask,
                Request::Dmesg { clear: true },
            )?))
        }
        "get_log" => {
            call.end()?;
            Ok(record::text(tree::log(call.ask)?))
        }
        _ => {
            call.end()?;
            let record = host_record(call, &host)?;
            attribute(call, method, &record)
        }
    }
}

fn host_record(call: &Call, host: &str) -> Result<Record, Failure> {
    let node = match call.ask.ask(Request::Info)? {
        Response::Node { node } => node,
        other => return Err(tree::unexpected(other).into()),
    };
    let request = Request::List {
        domains: Vec::new(),
        state: StateFilter::All,
    };
    let residents = match call.ask.ask(request)? {
        Response::Domains { domains } => domains,
        other => return Err(tree::unexpected(other).into()),
    };
    let residents = residents
        .into_iter()
        .filter(|info| info.domid.is_some())
        .map(|info| record::text(info.uuid));
    let software = record::of([
        (
            "Xen",
            record::text(format!(
                "{}.{}{}",
                node.xen_major, node.xen_minor, node.xen_extra
            )),
        ),
        ("Xend", record::text(env!("CARGO_PKG_VERSION"))),
        ("machine", record::text(node.machine.as_str())),
        ("release", record::text(node.release.as_str())),
        ("system", record::text("Linux")),
        ("version", record::text(node.version.as_str())),
    ]);
    let capabilities = node.xen_caps.split_whitespace().map(record::text).collect();
    let mut record = record::of([
        ("uuid", record::text(host)),
        ("name_label", record::text(node.host.as_str())),
        ("name_description", record::text("")),
        ("API_version_major", record::number(1)),
        ("API_version_minor", record::number(0)),
        ("API_version_vendor", record::text("Noxen")),
        ("enabled", Value::Boolean(true)),
        ("software_version", Value::Struct(software)),
        ("capabilities", Value::Array(capabilities)),
        ("sched_policy", record::text(node.xen_scheduler.as_str())),
        ("resident_VMs", Value::Array(residents.collect())),
        ("other_config", Value::Struct(BTreeMap::new())),
    ]);
    for (name, value) in hardware::of_host(call, host)? {
        record.insert(name.into(), value);
    }
    Ok(record)
}
