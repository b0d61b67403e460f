//! A stand-in for xend: knows Domain-0 and web1, remembers what it was asked to change.

use crate::Ask;
use noxen_xend_api::{
    DeviceClass, DeviceConfig, DeviceInfo, Disk, DomainConfig, DomainInfo, DomainState,
    DomainVcpus, Fault, NodeInfo, Request, Response, VcpuInfo, Vif,
};
use std::sync::Mutex;

/// web1's.
pub(crate) const UUID: &str = "5e1ad6c1-9a0b-4a2e-8d8f-0c4b5d2f7a11";

#[derive(Default)]
pub(crate) struct StandIn {
    asked: Mutex<Vec<Request>>,
    /// web1 is managed and does not run.
    pub halted: bool,
    /// ... with its state on disk.
    pub suspended: bool,
}

impl StandIn {
    /// Requests other than those that only look.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// web1's: a disk and an interface, and what was attached since.
    fn devices(&self, class: DeviceClass) -> Vec<DeviceInfo> {
        let of = |devid: u32, config: DeviceConfig| DeviceInfo {
            devid,
            class: config.backend_class().to_owned(),
            config,
            backend: String::new(),
            nodes: [("state".to_owned(), "4".to_owned())].into(),
            state: None,
            reason: None,
            disk: None,
        };
        let disk = Disk::parse("file:/images/a,xvda,w").unwrap();
        let vif = Vif::parse("mac=00:16:3e:00:00:01,bridge=xenbr0").unwrap();
        let attached = self
            .asked()
            .into_iter()
            .filter_map(|request| match request {
                Request::AttachDevice { device, .. } => Some(match &device {
                    DeviceConfig::Disk(disk) => of(disk.number().unwrap(), device.clone()),
                    _ => of(1, device.clone()),
                }),
                _ => None,
            });
        [
            of(51712, DeviceConfig::Disk(disk)),
            of(0, DeviceConfig::Vif(vif)),
        ]
        .into_iter()
        .chain(attached)
        .filter(|device| device.config.class() == class)
        .collect()
    }

    fn note(&self, request: Request) {
        self.asked.lock().unwrap().push(request);
    }
}

fn info(name: &str, domid: u32) -> DomainInfo {
    DomainInfo {
        name: name.into(),
        domid: Some(domid),
        uuid: match domid {
            0 => "00000000-0000-0000-0000-000000000000".into(),
            _ => UUID.into(),
        },
        memory_mib: 64,
        maxmem_mib: 64,
        vcpus: 1,
        online_vcpus: 1,
        state: DomainState {
            running: true,
            ..DomainState::default()
        },
        cpu_time_ns: 1_500_000_000,
        start_time: 0.0,
        uptime_s: 1,
        restart_count: 0,
        shutdown_reason: None,
        pid: None,
        console_tty: None,
        suspended: false,
        managed: false,
    }
}

fn known(domain: &str) -> Result<(), Fault> {
    match domain {
        "web1" | "3" | "Domain-0" | "0" | UUID => Ok(()),
        other => Err(Fault::invalid_domain(other)),
    }
}

impl Ask for StandIn {
    fn ask(&self, request: Request) -> Result<Response, Fault> {
        let all = || {
            let mut web1 = info("web1", 3);
            if self.halted {
                (web1.domid, web1.state) = (None, DomainState::default());
                web1.suspended = self.suspended;
            }
            vec![info("Domain-0", 0), web1]
        };
        match &request {
            Request::List { .. } => Ok(Response::Domains { domains: all() }),
            Request::Sxp { domains, .. } => {
                for domain in domains {
                    known(domain)?;
                }
                let form = |name: &str, id: u32| {
                    let uuid = info(name, id).uuid;
                    format!(
                        "(domain (domid {id}) (uuid {uuid}) (name {name}) (cpu_time 1.500000000))"
                    )
                };
                let texts = match domains.is_empty() {
                    true => vec![form("Domain-0", 0), form("web1", 3)],
                    false => vec![form("web1", 3)],
                };
                Ok(Response::Texts { texts })
            }
            Request::Domain { domain } => known(domain).map(|()| Response::Domain {
                domain: Box::new(match domain.as_str() {
                    "0" | "Domain-0" => info("Domain-0", 0),
                    _ => info("web1", 3),
                }),
            }),
            Request::Vnc { domain } => known(domain).map(|()| Response::Vnc {
                host: "127.0.0.1".into(),
                port: 5900,
                password: Some("secret".into()),
                tls: false,
            }),
            Request::Devices { domain, class } => {
                known(domain)?;
                Ok(Response::Devices {
                    devices: self.devices(*class),
                })
            }
            Request::AttachDevice { domain, .. } | Request::DetachDevice { domain, .. } => {
                known(domain)?;
                self.note(request);
                Ok(Response::Ok)
            }
            Request::Config { domain } => known(domain).map(|()| Response::Config {
                config: Box::new(DomainConfig {
                    name: "web1".into(),
                    uuid: Some(UUID.into()),
                    kernel: "/boot/vmlinuz".into(),
                    root: "/dev/xvda ro".into(),
                    vif: vec![Vif::parse("mac=00:16:3e:00:00:01,bridge=xenbr0").unwrap()],
                    ..DomainConfig::default()
                }),
            }),
            Request::New { .. } | Request::Configure { .. } | Request::ConfigureDevice { .. } => {
                self.note(request);
                Ok(Response::Ok)
            }
            Request::VcpuList { domains } => Ok(Response::Vcpus {
                domains: vec![DomainVcpus {
                    name: domains.concat(),
                    domid: Some(3),
                    host_cpus: 2,
                    vcpus: vec![VcpuInfo {
                        vcpu: 0,
                        online: true,
                        running: true,
                        blocked: false,
                        cpu: Some(1),
                        cpu_time_ns: 1_500_000_000,
                        affinity: vec![0, 1],
                    }],
                }],
            }),
            Request::Shares { .. } => Ok(Response::Shares {
                domains: Vec::new(),
            }),
            Request::Info => Ok(Response::Node {
                node: Box::<NodeInfo>::default(),
            }),
            Request::Dmesg { .. } => Ok(Response::Text {
                text: "(XEN) hello\n".into(),
            }),
            Request::Create { .. } | Request::Restore { .. } => {
                self.note(request);
                Ok(Response::Domain {
                    domain: Box::new(info("web1", 3)),
                })
            }
            Request::Migrate { domain, .. } => {
                known(domain)?;
                self.note(request);
                Ok(Response::Moved {
                    ledger: Default::default(),
                })
            }
            Request::Pause { domain }
            | Request::Unpause { domain }
            | Request::Destroy { domain }
            | Request::Shutdown { domain, .. }
            | Request::Delete { domain }
            | Request::Save { domain, .. }
            | Request::DumpCore { domain, .. }
            | Request::Suspend { domain }
            | Request::Resume { domain, .. }
            | Request::Change { domain, .. } => {
                known(domain)?;
                self.note(request);
                Ok(Response::Ok)
            }
            other => Err(Fault::internal(format!("the stand-in knows no {other:?}"))),
        }
    }
}
