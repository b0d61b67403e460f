//! A sample as JSON, in one line: `top --json`.

use super::sample::{Row, Sample};
use super::table;
use serde_json::{json, Value};

/// `now`; `before` is what the load of a CPU is measured against.
pub(super) fn of(now: &Sample, before: Option<&Sample>) -> Value {
    let domains = now.rows.iter().map(|row| domain(row, now, before));
    json!({
        "host": {
            "nr_cpus": now.node.nr_cpus,
            "cpu_mhz": now.node.cpu_mhz,
            "total_memory_mib": now.node.total_memory,
            "free_memory_mib": now.node.free_memory,
        },
        "domains": domains.collect::<Vec<Value>>(),
    })
}

fn domain(row: &Row, now: &Sample, before: Option<&Sample>) -> Value {
    let info = &row.info;
    let vcpus = row.vcpus.iter().flat_map(|domain| &domain.vcpus);
    json!({
        "name": info.name,
        "domid": info.domid,
        "uuid": info.uuid,
        "state": info.state.letters(),
        "cpu_time_s": info.cpu_time_s(),
        "cpu_percent": before.map(|before| table::busy(row, now, Some(before))),
        "memory_mib": info.memory_mib,
        "maxmem_mib": info.maxmem_mib,
        "vcpus": vcpus.map(|vcpu| json!({
            "vcpu": vcpu.vcpu,
            "online": vcpu.online,
            "cpu_time_s": vcpu.cpu_time_ns as f64 / 1e9,
        })).collect::<Vec<Value>>(),
        "networks": row.networks.iter().map(|network| json!({
            "devid": network.devid,
            "sent_bytes": network.sent,
            "received_bytes": network.received,
        })).collect::<Vec<Value>>(),
        "disks": row.disks.iter().map(|disk| json!({
            "devid": disk.devid,
            "traffic": disk.carried,
        })).collect::<Vec<Value>>(),
    })
}
