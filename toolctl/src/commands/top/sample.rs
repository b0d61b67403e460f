//! What is known of host and domains at one moment.

use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use noxen_xend_api::{
    DeviceClass, DeviceInfo, DiskTraffic, DomainInfo, DomainVcpus, NodeInfo, Request, Response,
    StateFilter, Traffic,
};
use std::time::Instant;

/// Traffic of one network interface, bytes, as the guest sees the directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub devid: u32,
    pub sent: u64,
    pub received: u64,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub devid: u32,
    /// Nothing when its monitor does not answer.
    pub carried: Option<DiskTraffic>,
}

/// One domain.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub info: DomainInfo,
    pub networks: Vec<Network>,
    pub disks: Vec<Disk>,
    pub vcpus: Option<DomainVcpus>,
}

/// One moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub at: Instant,
    pub node: NodeInfo,
    pub rows: Vec<Row>,
}

impl Sample {
    /// Asks xend for everything.
    pub(super) fn take(context: &mut Context, with_vcpus: bool) -> Result<Sample, Failure> {
        let node = match context.ask(&Request::Info)? {
            Response::Node { node } => *node,
            other => return Err(unexpected(other)),
        };
        let at = Instant::now();
        let mut domains = context.domains(&[], StateFilter::All)?;
        domains.retain(|domain| domain.domid.is_some());
        let mut vcpus = Vec::new();
        if with_vcpus {
            let request = Request::VcpuList { domains: vec![] };
            vcpus = match context.ask(&request)? {
                Response::Vcpus { domains } => domains,
                other => return Err(unexpected(other)),
            };
        }
        let mut rows = Vec::new();
        for info in domains {
            let networks = devices(context, &info, DeviceClass::Vif)
                .into_iter()
                .map(|device| network(info.domid.unwrap_or(0), device.devid))
                .collect();
            rows.push(Row {
                networks,
                disks: devices(context, &info, DeviceClass::Vbd)
                    .into_iter()
                    .map(|device| Disk {
                        devid: device.devid,
                        carried: device.disk,
                    })
                    .collect(),
                vcpus: vcpus.iter().find(|v| v.domid == info.domid).cloned(),
                info,
            });
        }
        Ok(Sample { at, node, rows })
    }
}

/// A domain's devices. One that ends just now has none.
fn devices(context: &mut Context, info: &DomainInfo, class: DeviceClass) -> Vec<DeviceInfo> {
    if info.domid == Some(0) {
        return Vec::new();
    }
    let request = Request::Devices {
        domain: info.uuid.clone(),
        class,
    };
    match context.ask(&request) {
        Ok(Response::Devices { devices }) => devices,
        _ => Vec::new(),
    }
}

fn network(domid: u32, devid: u32) -> Network {
    let Traffic { sent, received } = Traffic::of(domid, devid);
    Network {
        devid,
        sent,
        received,
    }
}
