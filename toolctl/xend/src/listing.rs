//! What is told of domains: rows of `list` and `vcpu-list`, and the S-expression of `list -l`.
//!
//! ```text
//!   record (configured) + status (now) -> DomainInfo -> row
//!                                      -> DomainVcpus -> rows
//!                                      -> Sxp -> text with exactly one line that has the word status
//! ```

use crate::devices;
use crate::domain::Domain;
use crate::host::MemoryAccount;
use crate::node::Node;
use crate::registry::{Phase, Record};
use crate::store_nodes::{DOMAIN_0_NAME, DOMAIN_0_UUID};
use crate::{clock, host, managed, pinning, validate};
use noxen_control::{ShutdownReason, Status};
use noxen_xend_api::{cmdline, DomainConfig, DomainInfo, DomainState, DomainVcpus, VcpuInfo};
use noxen_xm_config::sxp::Node as Sxp;
use std::time::Duration;

/// State letters out of what is known.
pub fn state_of(record: &Record, status: Option<&Status>, dying: bool) -> DomainState {
    let mut state = DomainState {
        dying,
        ..DomainState::default()
    };
    let stopped = status.and_then(|s| s.shutdown);
    let kept = record.shutdown_reason.as_deref();
    if stopped == Some(ShutdownReason::Crash) || kept == Some("crash") {
        state.crashed = true;
    } else if stopped.is_some() || kept.is_some() {
        state.shutdown = true;
    } else if record.phase == Phase::Building || status.is_some_and(|s| s.paused) {
        state.paused = true;
    } else if let Some(status) = status.filter(|_| !dying) {
        // (Of a dying domain Xen says only that; Ganeti takes no other letter beside d.)
        let mut online = status.vcpus.iter().filter(|v| v.online).peekable();
        if online.peek().is_some() {
            state.blocked = online.all(|v| v.blocked);
            state.running = !state.blocked;
        }
    }
    state
}

/// A guest as `list` shows it.
pub fn guest(domain: &Domain) -> DomainInfo {
    let record = domain.record();
    let (status, _) = domain.status();
    let vcpus = record.config.vcpus.max(0) as u32;
    let s = status.as_ref();
    DomainInfo {
        state: state_of(&record, s, domain.is_dying()),
        domid: Some(record.domid),
        memory_mib: s
            .filter(|s| s.memory_kib > 0)
            .map_or(record.config.memory.max(0).unsigned_abs(), |s| {
                s.memory_kib / 1024
            }),
        maxmem_mib: record.config.maxmem_mib().max(0).unsigned_abs(),
        vcpus,
        online_vcpus: s.map_or(vcpus, |s| {
            s.vcpus.iter().filter(|v| v.online).count() as u32
        }),
        cpu_time_ns: s.map_or(0, |s| s.cpu_ns),
        start_time: record.start_time,
        uptime_s: (clock::now() - record.start_time).max(0.0) as u64,
        restart_count: record.restart_count,
        shutdown_reason: record.shutdown_reason,
        pid: record.pid,
        console_tty: s.map(|s| s.console_tty.clone()).filter(|t| !t.is_empty()),
        suspended: false,
        managed: false,
        name: record.name,
        uuid: record.uuid,
    }
}

/// A managed domain that does not run, as `list` shows it.
pub fn dormant(config: &DomainConfig, suspended: bool) -> DomainInfo {
    let vcpus = config.vcpus.max(0) as u32;
    DomainInfo {
        name: config.name.clone(),
        domid: None,
        uuid: config.uuid.clone().unwrap_or_default(),
        memory_mib: config.memory.max(0).unsigned_abs(),
        maxmem_mib: config.maxmem_mib().max(0).unsigned_abs(),
        vcpus,
        online_vcpus: vcpus,
        state: DomainState::default(),
        cpu_time_ns: 0,
        start_time: 0.0,
        uptime_s: 0,
        restart_count: 0,
        shutdown_reason: None,
        pid: None,
        console_tty: None,
        suspended,
        managed: true,
    }
}

/// Its vCPUs, as they are configured.
pub fn dormant_vcpus(config: &DomainConfig) -> DomainVcpus {
    let host_cpus = host::cpus();
    let vcpus = config.vcpus.clamp(0, validate::MAX_VCPUS) as u32;
    let pinning = pinning::configured(config, vcpus, host_cpus)
        .unwrap_or_else(|_| vec![None; vcpus as usize]);
    DomainVcpus {
        name: config.name.clone(),
        domid: None,
        host_cpus,
        vcpus: (0..)
            .zip(pinning)
            .map(|(vcpu, set)| VcpuInfo {
                vcpu,
                online: false,
                running: false,
                blocked: false,
                cpu: None,
                cpu_time_ns: 0,
                affinity: set.unwrap_or_else(|| (0..host_cpus).collect()),
            })
            .collect(),
    }
}

/// It as `list -l` shows it.
pub fn dormant_sxp(config: &DomainConfig) -> Sxp {
    let text = managed::expression(config).unwrap_or_default();
    let parsed = noxen_xm_config::sxp::parse(&text, &noxen_xm_config::Limits::default());
    let mut node = parsed.unwrap_or_else(|_| list("domain", [pair("name", &config.name)]));
    // Halted.
    node.push(pair("status", 0));
    node
}

/// The host as `list` shows it.
pub fn domain_0(node: &Node) -> DomainInfo {
    let memory = MemoryAccount::of(&node.domains(), Duration::ZERO).domain_0_mib();
    let cpus = host::cpus();
    let uptime = host::uptime_s();
    DomainInfo {
        name: DOMAIN_0_NAME.into(),
        domid: Some(0),
        uuid: DOMAIN_0_UUID.into(),
        memory_mib: memory,
        maxmem_mib: host::total_memory_mib(),
        vcpus: cpus,
        online_vcpus: cpus,
        state: DomainState {
            running: true,
            ..DomainState::default()
        },
        cpu_time_ns: host::cpu_times_ns().iter().sum(),
        start_time: clock::now() - uptime as f64,
        uptime_s: uptime,
        restart_count: 0,
        shutdown_reason: None,
        pid: None,
        console_tty: None,
        suspended: false,
        managed: false,
    }
}

/// A guest's vCPUs.
pub fn guest_vcpus(domain: &Domain) -> DomainVcpus {
    let record = domain.record();
    let (status, _) = domain.status();
    let host_cpus = host::cpus();
    let threads = record
        .pid
        .and_then(|pid| pinning::vcpu_threads(pid).ok())
        .unwrap_or_default();
    let paused = status
        .as_ref()
        .is_none_or(|s| s.paused || s.shutdown.is_some());
    let vcpus = status.map_or_else(Vec::new, |s| s.vcpus);
    DomainVcpus {
        name: record.name,
        domid: Some(record.domid),
        host_cpus,
        vcpus: vcpus
            .into_iter()
            .zip(0..)
            .map(|(v, vcpu)| VcpuInfo {
                vcpu,
                online: v.online,
                running: v.online && !v.blocked && !paused,
                blocked: v.blocked,
                cpu: v.cpu,
                cpu_time_ns: v.cpu_ns,
                affinity: pinning::actual(&threads, vcpu as usize, host_cpus)
                    .unwrap_or_else(|| (0..host_cpus).collect()),
            })
            .collect(),
    }
}

/// The host's CPUs as domain 0's vCPUs.
pub fn domain_0_vcpus() -> DomainVcpus {
    let host_cpus = host::cpus();
    DomainVcpus {
        name: DOMAIN_0_NAME.into(),
        domid: Some(0),
        host_cpus,
        vcpus: host::cpu_times_ns()
            .into_iter()
            .zip(0..)
            .map(|(cpu_time_ns, cpu)| VcpuInfo {
                vcpu: cpu,
                online: true,
                running: true,
                blocked: false,
                cpu: Some(cpu),
                cpu_time_ns,
                affinity: vec![cpu],
            })
            .collect(),
    }
}

/// `(KEY VALUE)`.
fn pair(key: &str, value: impl ToString) -> Sxp {
    Sxp::pair(key, value.to_string())
}

/// `(KEY MEMBER..)`.
fn list(key: &str, members: impl IntoIterator<Item = Sxp>) -> Sxp {
    Sxp::list(key, members.into_iter().collect())
}

/// A guest as `list -l` shows it.
pub fn guest_sxp(domain: &Domain) -> Sxp {
    let info = guest(domain);
    let record = domain.record();
    let c = &record.config;
    let status = domain.last_status();
    let pinning = pinning::configured(c, info.vcpus, host::cpus())
        .unwrap_or_else(|_| vec![None; info.vcpus as usize]);
    let cpus = pinning.into_iter().map(|set| {
        let cpus = set.unwrap_or_default().into_iter();
        Sxp::List(cpus.map(|cpu| Sxp::atom(cpu.to_string())).collect())
    });
    let image = list(
        "linux",
        [
            Some(pair("kernel", &c.kernel)),
            (!c.ramdisk.is_empty()).then(|| pair("ramdisk", &c.ramdisk)),
            Some(pair("args", cmdline::compose(c).unwrap_or_default())),
        ]
        .into_iter()
        .flatten(),
    );
    let mut items = vec![
        pair("domid", record.domid),
        pair("on_crash", &c.on_crash),
        pair("uuid", &info.uuid),
        pair("bootloader_args", &c.bootargs),
        pair("vcpus", info.vcpus),
        pair("name", &info.name),
        pair("on_poweroff", &c.on_poweroff),
        pair("on_reboot", &c.on_reboot),
        list("cpus", [Sxp::List(cpus.collect())]),
        pair("bootloader", &c.bootloader),
        pair("maxmem", info.maxmem_mib),
        pair("memory", info.memory_mib),
        pair("shadow_memory", 0),
        pair("cpu_weight", c.cpu_weight.unwrap_or(256)),
        pair("cpu_cap", c.cpu_cap.unwrap_or(0)),
        pair("features", &c.features),
        pair("on_xend_start", &c.on_xend_start),
        pair("on_xend_stop", &c.on_xend_stop),
    ];
    items.extend(times(&info));
    items.push(list("image", [image]));
    items.extend(states(&info));
    if let Some(status) = status {
        items.push(pair("store_mfn", status.store_mfn));
        items.push(pair("console_mfn", status.console_mfn));
        items.extend(record.devices.iter().map(devices::sxp));
        items.push(list(
            "device",
            [list(
                "console",
                [
                    pair("protocol", "vt100"),
                    pair("location", status.console_port),
                    pair("tty", &status.console_tty),
                ],
            )],
        ));
    }
    list("domain", items)
}

/// The host as `list -l` shows it.
pub fn domain_0_sxp(node: &Node) -> Sxp {
    let info = domain_0(node);
    let mut items = vec![
        pair("domid", 0),
        pair("on_crash", "restart"),
        pair("uuid", &info.uuid),
        pair("bootloader_args", ""),
        pair("vcpus", info.vcpus),
        pair("name", &info.name),
        pair("on_poweroff", "destroy"),
        pair("on_reboot", "restart"),
        pair("bootloader", ""),
        pair("maxmem", info.maxmem_mib),
        pair("memory", info.memory_mib),
        pair("shadow_memory", 0),
        pair("cpu_weight", 256),
        pair("cpu_cap", 0),
        pair("features", ""),
        pair("on_xend_start", "ignore"),
        pair("on_xend_stop", "ignore"),
    ];
    items.extend(times(&info));
    items.push(list("image", [list("linux", [])]));
    items.extend(states(&info));
    list("domain", items)
}

fn times(info: &DomainInfo) -> [Sxp; 3] {
    [
        pair("start_time", format!("{:.6}", info.start_time)),
        pair("cpu_time", format!("{:.9}", info.cpu_time_s())),
        pair("online_vcpus", info.online_vcpus),
    ]
}

fn states(info: &DomainInfo) -> [Sxp; 2] {
    [
        pair("status", info.state.status()),
        pair("state", info.state.letters()),
    ]
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
