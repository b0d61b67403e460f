//! Classes host_cpu, host_metrics, network, PIF, SR, PBD: parts of this host, as its kernel tells of them.

use super::devices;
use super::failure::Failure;
use super::load::Carried;
use super::objects::{add, reference, references, Objects};
use super::{host, record, vm, Call, Record};
use crate::tree;
use dxr::Value;
use noxen_xend_api::{DeviceClass, DeviceConfig, Request, Response};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

const NET: &str = "/sys/class/net";
/// Interfaces of the host that are looked at, at most.
const MOST_INTERFACES: usize = 4096;

fn empty() -> Value {
    Value::Struct(BTreeMap::new())
}

/// The reference of the one processor numbered `number`.
fn cpu_reference(host: &str, number: &str) -> String {
    reference(&["host_cpu", host, number])
}

pub fn cpus(call: &Call) -> Result<Objects, Failure> {
    let host = host::uuid(call.ask)?;
    Ok(cpus_of(
        &fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
        &call.load.shares(),
        &host,
    ))
}

/// Out of the text of `/proc/cpuinfo`: a block of `name : value` lines for each processor.
fn cpus_of(text: &str, busy: &BTreeMap<u32, f64>, host: &str) -> Objects {
    let mut all = Objects::new();
    for block in text.split("\n\n") {
        let fields: BTreeMap<&str, &str> = block
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let get = |name: &str| fields.get(name).copied().unwrap_or("");
        let number = get("processor");
        if number.is_empty() {
            continue;
        }
        let share = number
            .parse()
            .ok()
            .and_then(|number: u32| busy.get(&number));
        let speed = get("cpu MHz").split('.').next().unwrap_or_default();
        add(
            &mut all,
            cpu_reference(host, number),
            [
                ("host", record::text(host)),
                ("number", record::text(number)),
                ("vendor", record::text(get("vendor_id"))),
                ("speed", record::text(speed)),
                ("modelname", record::text(get("model name"))),
                ("stepping", record::text(get("stepping"))),
                ("flags", record::text(get("flags"))),
                ("features", record::text(get("flags"))),
                ("utilisation", Value::Double(share.copied().unwrap_or(0.0))),
            ],
        );
    }
    all
}

/// The reference of the host's metrics.
pub fn metrics_reference(host: &str) -> String {
    reference(&["host_metrics", host])
}

pub fn metrics(call: &Call) -> Result<Objects, Failure> {
    let host = host::uuid(call.ask)?;
    let node = match call.ask.ask(Request::Info)? {
        Response::Node { node } => node,
        other => return Err(tree::unexpected(other).into()),
    };
    let mut all = Objects::new();
    add(
        &mut all,
        metrics_reference(&host),
        [
            ("memory_total", record::number(node.total_memory << 20)),
            ("memory_free", record::number(node.free_memory << 20)),
            ("last_updated", record::time(SystemTime::now())),
        ],
    );
    Ok(all)
}

/// The reference of the network of a bridge.
pub fn network_reference(bridge: &str) -> String {
    reference(&["network", bridge])
}

/// Names of the host's interfaces.
fn interfaces() -> Vec<String> {
    let entries = fs::read_dir(NET).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .take(MOST_INTERFACES)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn has(name: &str, what: &str) -> bool {
    Path::new(NET).join(name).join(what).exists()
}

/// One line of an interface's directory.
fn told(name: &str, what: &str) -> String {
    let path = Path::new(NET).join(name).join(what);
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Bridges of the host, and those that domains ask for.
fn bridges(call: &Call) -> Result<BTreeSet<String>, Failure> {
    let mut all: BTreeSet<String> = interfaces()
        .into_iter()
        .filter(|name| has(name, "bridge"))
        .collect();
    for it in devices::owned(call, DeviceClass::Vif)? {
        if let DeviceConfig::Vif(vif) = &it.device.config {
            all.extend(vif.bridge.clone());
        }
    }
    Ok(all)
}

/// The bridge of the network of that reference.
pub fn bridge(call: &Call, handle: &str) -> Result<String, Failure> {
    bridges(call)?
        .into_iter()
        .find(|bridge| network_reference(bridge) == handle)
        .ok_or_else(|| Failure::HandleInvalid("network", handle.to_owned()))
}

pub fn networks(call: &Call) -> Result<Objects, Failure> {
    let vifs = devices::owned(call, DeviceClass::Vif)?;
    let mut all = Objects::new();
    for bridge in bridges(call)? {
        let on_it = vifs.iter().filter(|it| match &it.device.config {
            DeviceConfig::Vif(vif) => vif.bridge.as_ref() == Some(&bridge),
            _ => false,
        });
        let pifs: Vec<String> = physical()
            .into_iter()
            .filter(|name| master(name).as_ref() == Some(&bridge))
            .map(|name| pif_reference(&name))
            .collect();
        add(
            &mut all,
            network_reference(&bridge),
            [
                ("name_label", record::text(&bridge)),
                ("name_description", record::text("")),
                ("VIFs", references(on_it.map(|it| &it.reference))),
                ("PIFs", references(&pifs)),
                ("managed", Value::Boolean(false)),
                // Nobody hands addresses out there but who the host's administrator lets.
                ("default_gateway", record::text("")),
                ("default_netmask", record::text("")),
                ("other_config", empty()),
            ],
        );
    }
    Ok(all)
}

/// Interfaces with hardware behind them.
fn physical() -> Vec<String> {
    let mut all = interfaces();
    all.retain(|name| has(name, "device"));
    all
}

/// The bridge that an interface is in.
fn master(name: &str) -> Option<String> {
    let link = fs::read_link(Path::new(NET).join(name).join("master")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

fn pif_reference(name: &str) -> String {
    reference(&["PIF", name])
}

/// References of all physical interfaces.
pub fn pif_references() -> Vec<String> {
    physical().iter().map(|name| pif_reference(name)).collect()
}

pub fn pifs(call: &Call) -> Result<Objects, Failure> {
    let host = host::uuid(call.ask)?;
    let mut all = Objects::new();
    for name in physical() {
        let network = master(&name).map_or_else(String::new, |bridge| network_reference(&bridge));
        let reference = pif_reference(&name);
        add(
            &mut all,
            reference.clone(),
            [
                ("host", record::text(&host)),
                ("device", record::text(&name)),
                ("network", record::text(network)),
                ("MAC", record::text(told(&name, "address"))),
                ("MTU", record::text(told(&name, "mtu"))),
                ("VLAN", record::number(-1)),
                ("metrics", record::text(reference)),
            ],
        );
    }
    Ok(all)
}

pub fn pif_metrics(call: &Call) -> Result<Objects, Failure> {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split_whitespace().next().unwrap_or_default();
    let since = Duration::try_from_secs_f64(seconds.parse().unwrap_or(0.0)).unwrap_or_default();
    let all = physical().into_iter().map(|name| {
        let bytes = |what: &str| told(&name, what).parse().unwrap_or(0);
        Carried {
            reference: pif_reference(&name),
            domid: 0,
            read: bytes("statistics/rx_bytes"),
            written: bytes("statistics/tx_bytes"),
            since,
        }
    });
    let all: Vec<Carried> = all.collect();
    Ok(devices::metrics(&call.load.cards, &all))
}

/// The one pool of processors, which all of them and all domains that run are in.
pub fn pools(call: &Call) -> Result<Objects, Failure> {
    let host = host::uuid(call.ask)?;
    let cpus = cpus(call)?;
    let domains = vm::all(call)?;
    let running = domains.iter().filter(|info| info.domid.is_some());
    let mut all = Objects::new();
    add(
        &mut all,
        reference(&["cpu_pool", &host]),
        [
            ("name_label", record::text("Pool-0")),
            ("name_description", record::text("All CPUs of the host")),
            ("resident_on", record::text(&host)),
            ("auto_power_on", Value::Boolean(true)),
            ("activated", Value::Boolean(true)),
            ("started_VMs", references(running.map(|info| &info.uuid))),
            ("ncpu", record::number(cpus.len())),
            ("sched_policy", record::text(host::scheduler(call)?)),
            ("proposed_CPUs", references([])),
            ("host_CPUs", references(cpus.keys())),
            ("other_config", empty()),
        ],
    );
    Ok(all)
}

/// The reference of the one repository: the host's own file systems and volumes.
pub fn repository() -> String {
    reference(&["SR", "local"])
}

fn attachment() -> String {
    reference(&["PBD", "local"])
}

pub fn repositories(call: &Call) -> Result<Objects, Failure> {
    let vdis = devices::vdis(call)?;
    let size = |vdi: &Record| match vdi.get("virtual_size") {
        Some(Value::String(bytes)) => bytes.parse().unwrap_or(0u64),
        _ => 0,
    };
    let allocated: u64 = vdis.values().map(size).fold(0, u64::saturating_add);
    let mut all = Objects::new();
    add(
        &mut all,
        repository(),
        [
            ("name_label", record::text("Local")),
            (
                "name_description",
                record::text("Files and volumes of the host"),
            ),
            ("VDIs", references(vdis.keys())),
            ("PBDs", references(&[attachment()])),
            ("virtual_allocation", record::number(allocated)),
            ("physical_utilisation", record::number(allocated)),
            // Whatever the host has; there is no limit of its own.
            ("physical_size", record::number(i64::MAX)),
            ("type", record::text("local")),
            ("content_type", record::text("")),
        ],
    );
    Ok(all)
}

pub fn attachments(call: &Call) -> Result<Objects, Failure> {
    let mut all = Objects::new();
    add(
        &mut all,
        attachment(),
        [
            ("host", record::text(host::uuid(call.ask)?)),
            ("SR", record::text(repository())),
            ("device_config", empty()),
            ("currently_attached", Value::Boolean(true)),
        ],
    );
    Ok(all)
}

/// What the host's record says of its parts.
pub fn of_host(call: &Call, host: &str) -> Result<[(&'static str, Value); 4], Failure> {
    Ok([
        ("host_CPUs", references(cpus(call)?.keys())),
        ("PIFs", references(&pif_references())),
        ("PBDs", references(&[attachment()])),
        ("metrics", record::text(metrics_reference(host))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_from_their_blocks() {
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: EPYC\nstepping\t: 2\ncpu MHz\t\t: 2445.404\n\
                    flags\t\t: fpu vme\n\nprocessor\t: 1\ncpu MHz\t\t: 2000\n\nHardware\t: x\n";
        let all = cpus_of(text, &BTreeMap::from([(0, 0.25)]), "h");
        assert_eq!(all.len(), 2);
        let first = &all[&cpu_reference("h", "0")];
        assert_eq!(first["speed"], record::text("2445"));
        assert_eq!(first["vendor"], record::text("AuthenticAMD"));
        assert_eq!(first["utilisation"], Value::Double(0.25));
        assert_eq!(first["flags"], record::text("fpu vme"));
        assert!(cpus_of("", &BTreeMap::new(), "h").is_empty());
    }
}
