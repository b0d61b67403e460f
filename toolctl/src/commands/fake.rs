//! Records for the unit tests of what commands print.

use noxen_xend_api::{DomainInfo, DomainState, DomainVcpus, VcpuInfo};

/// A blocked domain with two vCPUs.
pub(crate) fn domain(name: &str, domid: u32) -> DomainInfo {
    DomainInfo {
        name: name.into(),
        domid: Some(domid),
        uuid: "5e1ad6c1-9a0b-4a2e-8d8f-0c4b5d2f7a11".into(),
        memory_mib: 192,
        maxmem_mib: 256,
        vcpus: 2,
        online_vcpus: 2,
        state: DomainState {
            blocked: true,
            ..DomainState::default()
        },
        cpu_time_ns: 12_249_000_000,
        start_time: 1_231_150_000.5,
        uptime_s: 61,
        restart_count: 0,
        shutdown_reason: None,
        pid: Some(1),
        console_tty: None,
        suspended: false,
        managed: false,
    }
}

/// One vCPU blocked, one offline.
pub(crate) fn vcpus(name: &str, domid: u32) -> DomainVcpus {
    let vcpu = |vcpu, online, affinity| VcpuInfo {
        vcpu,
        online,
        running: false,
        blocked: true,
        cpu: Some(1),
        cpu_time_ns: if vcpu == 0 {
            11_000_000_000
        } else {
            1_249_000_000
        },
        affinity,
    };
    DomainVcpus {
        name: name.into(),
        domid: Some(domid),
        host_cpus: 2,
        vcpus: vec![vcpu(0, true, vec![0, 1]), vcpu(1, false, vec![0])],
    }
}

/// The same with another UUID.
pub(crate) fn domain_with(name: &str, uuid: &str) -> DomainInfo {
    DomainInfo {
        uuid: uuid.into(),
        ..domain(name, 9)
    }
}

/// A disk of domain 3 whose front end has written `nodes`.
pub fn device(text: &str, nodes: &[(&str, &str)]) -> noxen_xend_api::DeviceInfo {
    let disk = noxen_xend_api::Disk::parse(text).unwrap();
    let devid = disk.number().unwrap();
    noxen_xend_api::DeviceInfo {
        devid,
        class: disk.class().into(),
        backend: format!("/local/domain/0/backend/{}/3/{devid}", disk.class()),
        nodes: nodes
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        state: Some("connected".into()),
        reason: None,
        disk: None,
        config: noxen_xend_api::DeviceConfig::Disk(disk),
    }
}
