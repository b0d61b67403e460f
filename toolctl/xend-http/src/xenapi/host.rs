//! Class host: this one, whose reference is the UUID of domain 0.

use super::failure::Failure;
use super::{hardware, record, told, Call, Record};
use crate::{tree, Ask};
use dxr::Value;
use noxen_xend_api::{Request, Response, StateFilter};
use std::collections::BTreeMap;

/// The host's reference.
pub fn uuid(ask: &dyn Ask) -> Result<String, Failure> {
    Ok(tree::info(ask, "0")?.uuid)
}

/// Of the class, and those of other classes that do more than look.
const METHODS: &[&str] = &[
    "session.login_with_password",
    "session.logout",
    "session.get_this_host",
    "session.get_this_user",
    "host.get_all",
    "host.get_record",
    "host.dmesg",
    "host.dmesg_clear",
    "host.get_log",
    "host.send_debug_keys",
    "host.list_methods",
    "VM.get_all",
    "VM.get_all_records",
    "VM.get_record",
    "VM.get_by_name_label",
    "VM.create",
    "VM.clone",
    "VM.destroy",
    "VM.start",
    "VM.pause",
    "VM.unpause",
    "VM.clean_shutdown",
    "VM.clean_reboot",
    "VM.hard_shutdown",
    "VM.hard_reboot",
    "VM.suspend",
    "VM.resume",
    "VM.save",
    "VM.restore",
    "VM.migrate",
    "VM.send_sysrq",
    "VM.send_trigger",
    "VM.set_VCPUs_number_live",
    "VM.set_memory_dynamic_max_live",
    "VM.set_memory_dynamic_min_live",
    "VM.add_to_VCPUs_params_live",
    "VBD.create",
    "VBD.destroy",
    "VBD.media_change",
    "VIF.create",
    "VIF.destroy",
    "VDI.create",
    "VDI.destroy",
    "console.create",
    "task.get_all",
    "task.destroy",
    "XSPolicy.get_xstype",
    "XSPolicy.get_xspolicy",
    "XSPolicy.get_labeled_resources",
    "XSPolicy.get_resource_label",
    "cpu_pool.get_all",
    "cpu_pool.get_record",
    "event.register",
    "event.unregister",
    "event.next",
];

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
        "list_methods" => {
            call.end()?;
            Ok(Value::Array(METHODS.iter().copied().map(record::text).collect()))
        }
        "shutdown" | "reboot" | "enable" | "disable" => Err(Failure::NotImplemented(
            call.name.to_owned(),
            "the host is ruled with its own tools, such as systemctl; domains start on it as long as it runs",
        )),
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
        _ => told(call, method, &host_record(call, &host)?),
    }
}

/// The name of the host's scheduler, as xm knows it.
pub fn scheduler(call: &Call) -> Result<String, Failure> {
    match call.ask.ask(Request::Info)? {
        Response::Node { node } => Ok(node.xen_scheduler),
        other => Err(tree::unexpected(other).into()),
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
    let rows: BTreeMap<&str, String> = node.rows().into_iter().collect();
    let told = |names: &[&str]| {
        let all = names.iter();
        all.map(|name| {
            (
                (*name).to_owned(),
                record::text(rows.get(name).map_or("", String::as_str)),
            )
        })
        .collect::<Record>()
    };
    let mut software = told(&[
        "host",
        "xen_major",
        "xen_minor",
        "xen_extra",
        "xen_caps",
        "xen_scheduler",
        "xen_pagesize",
        "platform_params",
        "xen_changeset",
        "cc_compiler",
        "cc_compile_by",
        "cc_compile_domain",
        "cc_compile_date",
        "xend_config_format",
    ]);
    let processors = told(&[
        "nr_cpus",
        "nr_nodes",
        "cores_per_socket",
        "threads_per_core",
        "cpu_mhz",
        "hw_caps",
        "virt_caps",
        "node_to_cpu",
        "node_to_memory",
    ]);
    software.extend(record::of([
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
    ]));
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
        ("cpu_configuration", Value::Struct(processors)),
        (
            "supported_bootloaders",
            Value::Array(vec![record::text("pygrub")]),
        ),
        ("logging", Value::Struct(BTreeMap::new())),
        ("PPCIs", Value::Array(Vec::new())),
        ("PSCSIs", Value::Array(Vec::new())),
        ("other_config", Value::Struct(BTreeMap::new())),
    ]);
    for (name, value) in hardware::of_host(call, host)? {
        record.insert(name.into(), value);
    }
    Ok(record)
}
