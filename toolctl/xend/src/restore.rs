//! A record made again for a monitor that runs without one: the registry was lost, the domain shall not be.
//!
//! ```text
//!   monitor's status (id, process, memory, vCPUs), its devices + store (/local/domain/N/vm, /vm/UUID/..) -> Record
//! ```

use crate::devices::relearn;
use crate::monitor::Monitor;
use crate::node::Node;
use crate::process::Process;
use crate::registry::{Phase, Record};
use crate::{clock, error, info, store_nodes};
use noxen_xend_api::{DeviceClass, DeviceConfig, DomainConfig};

/// The record of domain `domid`, saved; none when no monitor of that id runs.
pub fn record_of(node: &Node, domid: u32) -> Option<Record> {
    let monitor = Monitor::new(node.options.paths.control_socket(domid));
    let status = monitor
        .status()
        .ok()
        .filter(|status| status.domid == domid)?;
    let read = |path: String| node.store.read(&path).ok().flatten();
    let home = store_nodes::home(domid);
    let vm = read(format!("{home}/vm")).unwrap_or_default();
    let of_vm = |key: &str| read(format!("{vm}/{key}"));
    let uuid = of_vm("uuid").or_else(|| crate::create::random_uuid().ok())?;
    let name = read(format!("{home}/name")).unwrap_or_else(|| format!("Domain-{uuid}"));
    let mut config = DomainConfig {
        name: name.clone(),
        uuid: Some(uuid.clone()),
        kernel: of_vm("image/kernel").unwrap_or_default(),
        ramdisk: of_vm("image/ramdisk").unwrap_or_default(),
        extra: of_vm("image/cmdline").unwrap_or_default(),
        memory: i64::try_from(status.memory_kib / 1024).unwrap_or(0),
        maxmem: of_vm("maxmem").and_then(|v| v.parse().ok()),
        vcpus: status.vcpus.len() as i64,
        ..DomainConfig::default()
    };
    for (key, value) in [
        ("on_poweroff", &mut config.on_poweroff),
        ("on_reboot", &mut config.on_reboot),
        ("on_crash", &mut config.on_crash),
    ] {
        if let Some(found) = of_vm(key) {
            *value = found;
        }
    }
    let devices = relearn::devices(node, &monitor, domid);
    for device in &devices {
        match &device.config {
            DeviceConfig::Disk(disk) => config.disk.push(disk.clone()),
            DeviceConfig::Vif(vif) => config.vif.push(vif.clone()),
            DeviceConfig::Vfb(vfb) => config.vfb.push(vfb.text()),
            // Comes with its screen.
            DeviceConfig::Vkbd => {}
        }
    }
    let started = clock::now() - status.uptime_s as f64;
    let mut record = Record::new(
        domid,
        node.registry.boot_id(),
        &name,
        &uuid,
        config,
        started,
    );
    record.phase = Phase::Running;
    let vifs = devices.iter().filter(|d| d.class() == DeviceClass::Vif);
    record.next_vif = vifs.map(|d| d.devid + 1).max().unwrap_or(0);
    record.devices = devices;
    record.pid = Some(status.pid);
    record.pid_start = Process::start_of(status.pid).ok();
    record.restart_count = of_vm("xend/restart_count")
        .and_then(|v| v.parse().ok())
        .unwrap_or(0);
    info!("domain {name} (id={domid}) runs without a record; made one out of the store");
    if let Err(e) = node.registry.save(&record) {
        error!("domain {domid}: {e}");
    }
    Some(record)
}
