//! What the page shows, as JSON: counters as they stand; the script makes rates of them.

use super::screen;
use crate::http::Response;
use crate::{tree, Ask};
use noxen_xend_api::{
    DeviceClass, DeviceInfo, DomainInfo, Fault, Request, Response as Told, StateFilter, Traffic,
};
use serde_json::{json, Value};

/// The whole; `may_change` says whether buttons would do anything, `xterm` whether consoles can be terminals.
pub(super) fn of(ask: &dyn Ask, may_change: bool, xterm: bool) -> Result<Response, Fault> {
    let node = match ask.ask(Request::Info)? {
        Told::Node { node } => node,
        other => return Err(tree::unexpected(other)),
    };
    let domains = match ask.ask(Request::List {
        domains: Vec::new(),
        state: StateFilter::All,
    })? {
        Told::Domains { domains } => domains,
        other => return Err(tree::unexpected(other)),
    };
    let state = json!({
        "may_change": may_change,
        "xterm": xterm,
        "host": {
            "name": node.host,
            "release": node.release,
            "cpus": node.nr_cpus,
            "total_memory_mib": node.total_memory,
            "free_memory_mib": node.free_memory,
        },
        "domains": domains.iter().map(|info| domain(ask, info)).collect::<Vec<Value>>(),
    });
    Ok(Response::new(200, "application/json", state.to_string()))
}

fn domain(ask: &dyn Ask, info: &DomainInfo) -> Value {
    let guest = info.domid.filter(|&id| id != 0);
    let networks = guest.map_or_else(Vec::new, |domid| {
        devices(ask, info, DeviceClass::Vif)
            .into_iter()
            .map(|device| (device.devid, Traffic::of(domid, device.devid)))
            .collect()
    });
    let disks = guest.map_or_else(Vec::new, |_| devices(ask, info, DeviceClass::Vbd));
    json!({
        "name": info.name,
        "uuid": info.uuid,
        "domid": info.domid,
        "state": info.domid.map(|_| info.state.letters()),
        "vcpus": info.online_vcpus,
        "memory_mib": info.memory_mib,
        "maxmem_mib": info.maxmem_mib,
        "cpu_time_s": info.cpu_time_s(),
        "uptime_s": info.uptime_s,
        "suspended": info.suspended,
        "managed": info.managed,
        "screen": guest.is_some() && screen::is_there(ask, &info.uuid),
        "disks": disks.iter().map(|device| {
            let carried = device.disk.unwrap_or_default();
            json!({"devid": device.devid, "read": carried.read_bytes, "written": carried.written_bytes})
        }).collect::<Vec<Value>>(),
        "networks": networks.iter().map(|(devid, traffic)| json!({
            "devid": devid, "sent": traffic.sent, "received": traffic.received,
        })).collect::<Vec<Value>>(),
    })
}

/// A domain's devices. One that ends just now has none.
fn devices(ask: &dyn Ask, info: &DomainInfo, class: DeviceClass) -> Vec<DeviceInfo> {
    let domain = info.uuid.clone();
    match ask.ask(Request::Devices { domain, class }) {
        Ok(Told::Devices { devices }) => devices,
        _ => Vec::new(),
    }
}
