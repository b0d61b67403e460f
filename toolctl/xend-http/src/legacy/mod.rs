//! The XML-RPC interface that xm itself used until Xen-API (`/RPC2` on `/var/run/xend/xmlrpc.sock`).
//!
//! ```text
//!   <methodCall> ──> METHODS: name, what to do with the arguments ──Request──> xend
//!   <methodResponse> <── Value                                     <──Response──
//!   <fault>          <── Fault: 1 internal, 2 refused, 3 no such domain (its text is the domain)
//! ```
//! S-expressions travel as nested arrays. Results that are plain text travel escaped as Python's `repr` escapes them,
//! without the quotes; clients undo that.

mod args;
mod domain;
mod node;
mod value;

use crate::http::{Request as HttpRequest, Response as HttpResponse};
use crate::{rpc, Ask};
use args::Args;
use dxr::Value;
use noxen_xend_api::Fault;

/// One method.
struct Method {
    name: &'static str,
    run: fn(&dyn Ask, &mut Args) -> Result<Value, Fault>,
}

/// Methods of `xend` that are known and not built.
const PLANNED: &[&str] = &[
    "xend.domain.create_from_dict",
    "xend.domain.configure",
    "xend.domain.cpu_sedf_get",
    "xend.domain.cpu_sedf_set",
    "xend.domain.shadow_control",
    "xend.domain.shadow_mem_get",
    "xend.domain.shadow_mem_set",
    "xend.domain.ioport_range_enable",
    "xend.domain.ioport_range_disable",
    "xend.domain.device_create",
    "xend.domain.device_configure",
    "xend.domain.destroyDevice",
    "xend.domain.getDeviceSxprs",
    "xend.domain.getBlockDeviceClass",
    "xend.node.pciinfo",
    "xend.security.set_resource_label",
    "xend.security.get_resource_label",
    "xend.security.list_labels",
    "xend.security.get_labeled_resources",
    "xend.security.set_policy",
    "xend.security.reset_policy",
    "xend.security.get_policy",
    "xend.security.get_xstype",
    "xend.security.activate_policy",
    "xend.security.rm_bootpolicy",
    "xend.security.get_domain_label",
    "xend.security.set_domain_label",
];

/// Most calls in one `system.multicall`.
const MOST_CALLS: usize = 256;

fn methods() -> impl Iterator<Item = &'static Method> {
    domain::METHODS.iter().chain(node::METHODS)
}

/// Answers a POST; the path does not matter, as it did not to xend.
pub fn handle(ask: &dyn Ask, request: &HttpRequest) -> HttpResponse {
    rpc::handle(request, |name, params| {
        answer(ask, name, params).map_err(|fault| wire_fault(&fault))
    })
}

/// Faults of code 3 carry the bare name of the domain, which clients put into their own words.
fn wire_fault(fault: &Fault) -> dxr::Fault {
    let text = match fault.code {
        Fault::INVALID_DOMAIN => fault
            .message
            .strip_prefix("Domain '")
            .and_then(|rest| rest.strip_suffix("' does not exist."))
            .unwrap_or(&fault.message),
        _ => &fault.message,
    };
    dxr::Fault::new(fault.code, text.to_owned())
}

fn answer(ask: &dyn Ask, name: &str, params: Vec<Value>) -> Result<Value, Fault> {
    match name {
        "system.listMethods" => {
            let system = ["listMethods", "methodHelp", "methodSignature", "multicall"];
            let mut names: Vec<String> = methods().map(|method| method.name.to_owned()).collect();
            names.extend(system.map(|name| format!("system.{name}")));
            names.sort();
            Ok(Value::Array(names.into_iter().map(Value::String).collect()))
        }
        "system.methodSignature" => Ok(Value::String("signatures not supported".into())),
        "system.methodHelp" => Ok(Value::String(String::new())),
        "system.multicall" => multicall(ask, params),
        _ => one(ask, name, params),
    }
}

fn one(ask: &dyn Ask, name: &str, params: Vec<Value>) -> Result<Value, Fault> {
    if let Some(method) = methods().find(|method| method.name == name) {
        let mut args = Args::new(name, params);
        return (method.run)(ask, &mut args);
    }
    if PLANNED.contains(&name) {
        return Err(Fault::generic(format!("{name} is not built yet")));
    }
    Err(Fault::internal(format!(
        "method \"{name}\" is not supported"
    )))
}

fn multicall(ask: &dyn Ask, params: Vec<Value>) -> Result<Value, Fault> {
    let calls = dxr::multicall::from_multicall_params(params)
        .map_err(|error| Fault::generic(format!("system.multicall: {error}")))?;
    if calls.len() > MOST_CALLS {
        return Err(Fault::generic(format!(
            "system.multicall: {} calls at once; at most {MOST_CALLS} are done",
            calls.len()
        )));
    }
    let results = calls
        .into_iter()
        .map(|call| match call {
            // One within another would multiply without a bound.
            Ok((name, _)) if name == "system.multicall" => Err(dxr::Fault::new(
                Fault::GENERIC,
                "Recursive system.multicall forbidden".into(),
            )),
            Ok((name, params)) => answer(ask, &name, params).map_err(|fault| wire_fault(&fault)),
            Err(error) => Err(dxr::Fault::new(Fault::GENERIC, error.to_string())),
        })
        .collect();
    Ok(dxr::multicall::into_multicall_response(results))
}

#[cfg(test)]
mod tests;
