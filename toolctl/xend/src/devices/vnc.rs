//! Where a screen is shown by VNC.
//!
//! ```text
//!   vnclisten, vncdisplay, vncunused (defaults: xend-config.sxp) --bind--> listening socket --> noxen-vmm
//!                                                                    '--> console/vnc-port, console/vnc-listen, console/vnc-tls
//! ```
//! The password goes to noxen-vmm by its control socket only. xend of old put it into the store, where whoever could read
//! that could read it; viewers are told it by `vncviewer --autopass`. So do the certificate and its key (`vnc-tls`).

use super::class::Site;
use crate::hvm;
use crate::node::internal;
use crate::settings::Settings;
use crate::store::StoreOp;
use crate::store_nodes::home;
use crate::{info, warning};
use noxen_control::device::{VncSpec, VncTls, MAX_PEM};
use noxen_xend_api::{DeviceConfig, Fault, Response, Vfb};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Displays that are tried, from the one asked for.
const TRIES: u16 = 1000;
/// Below a domain's directory: its screen is shown by TLS.
const TLS_NODE: &str = "console/vnc-tls";
/// Characters of a password that count (RFC 6143, 7.2.2).
const PASSWORD: usize = 8;

/// The way to a screen.
pub(crate) struct Opened {
    /// What noxen-vmm is told.
    pub spec: VncSpec,
    /// The listening socket.
    pub socket: OwnedFd,
    /// The domain's nodes that say where it is.
    pub nodes: Vec<StoreOp>,
}

/// Opens the way to screen `devid`. A guest with several screens has one set of nodes for them all, as with Xen: the
/// first one's.
pub(crate) fn open(site: Site<'_>, devid: u32, vfb: &Vfb) -> Result<Opened, Fault> {
    let settings = site.node.settings();
    let record = site.domain.record();
    let address = address(vfb, &settings);
    let spec = spec(site, vfb)?;
    let listener = listen(&address, vfb)?;
    let bound = listener.local_addr().map_err(internal)?;
    let console = format!("{}/console", home(record.domid));
    let sealed = spec
        .tls
        .as_ref()
        .map(|_| StoreOp::Write(format!("{}/{TLS_NODE}", home(record.domid)), "1".into()));
    let nodes = [
        StoreOp::Write(format!("{console}/vnc-listen"), address),
        StoreOp::Write(format!("{console}/vnc-port"), bound.port().to_string()),
    ];
    info!(
        "domain {}: screen {devid} is shown by VNC at {bound}",
        record.domid
    );
    Ok(Opened {
        spec,
        socket: listener.into(),
        nodes: nodes
            .into_iter()
            .chain(sealed)
            .filter(|_| devid == 0)
            .collect(),
    })
}

/// How a screen is shown, by the domain's and the host's settings.
pub(crate) fn spec(site: Site<'_>, vfb: &Vfb) -> Result<VncSpec, Fault> {
    let settings = site.node.settings();
    let record = site.domain.record();
    let password = password(vfb, &settings);
    if password
        .as_ref()
        .is_some_and(|password| password.len() > PASSWORD)
    {
        warning!(
            "domain {}: VNC takes the first {PASSWORD} characters of a password only",
            record.domid
        );
    }
    let tls = match settings.bool("vnc-tls") {
        true => Some(tls(&settings).map_err(Fault::generic)?),
        false => None,
    };
    let keymap = vfb.get("keymap").unwrap_or_else(|| settings.text("keymap"));
    Ok(VncSpec {
        title: record.name,
        password,
        keymap: (!keymap.is_empty()).then(|| keymap.to_owned()),
        tls,
    })
}

fn address(vfb: &Vfb, settings: &Settings) -> String {
    vfb.get("vnclisten")
        .unwrap_or_else(|| settings.text("vnc-listen"))
        .to_owned()
}

/// The domain's, else the host's; an empty one is none.
fn password(vfb: &Vfb, settings: &Settings) -> Option<String> {
    let password = vfb
        .get("vncpasswd")
        .unwrap_or_else(|| settings.text("vncpasswd"));
    (!password.is_empty()).then(|| password.to_owned())
}

/// The files of `vnc-x509-cert-dir`, by the names that QEMU gives them.
fn tls(settings: &Settings) -> Result<VncTls, String> {
    let directory = Path::new(settings.text("vnc-x509-cert-dir"));
    let read = |name: &str| {
        let path = directory.join(name);
        let wrong = |why: &dyn std::fmt::Display| {
            format!(
                "vnc-tls takes the file {name} in vnc-x509-cert-dir: cannot use {}: {why}",
                path.display()
            )
        };
        let mut text = String::new();
        let file = File::open(&path).map_err(|error| wrong(&error))?;
        // One byte more than there may be, so that a longer file is not taken for a whole one.
        let read = file.take(MAX_PEM as u64 + 1).read_to_string(&mut text);
        read.map_err(|error| wrong(&error))?;
        match text.len() {
            ..=MAX_PEM => Ok(text),
            _ => Err(wrong(&format_args!("it has more than {MAX_PEM} bytes"))),
        }
    };
    let viewers = settings.bool("vnc-x509-verify");
    Ok(VncTls {
        chain: read("server-cert.pem")?,
        key: read("server-key.pem")?,
        viewers: viewers.then(|| read("ca-cert.pem")).transpose()?,
    })
}

fn listen(address: &str, vfb: &Vfb) -> Result<TcpListener, Fault> {
    let first = vfb.vnc_port().map_err(|e| Fault::generic(e.to_string()))?;
    let (tries, hint) = match vfb.may_take_another_display() {
        true => (TRIES, ""),
        false => (1, "; vncunused=1 takes the next free display"),
    };
    let last = first.saturating_add(tries - 1);
    for port in first..=last {
        match TcpListener::bind((address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && port < last => {}
            Err(error) => {
                return Err(Fault::generic(format!(
                    "VNC cannot listen on {address}, port {port}: {error}{hint}"
                )))
            }
        }
    }
    Err(Fault::internal("no port was tried"))
}

/// Where the viewer of a domain has to go.
pub(crate) fn find(site: Site<'_>, name: &str) -> Result<Response, Fault> {
    let record = site.domain.record();
    let node = format!("{}/console/vnc-port", home(record.domid));
    let port = site.node.store.read(&node).map_err(internal)?;
    let port = port.and_then(|text| text.trim().parse().ok());
    let of_device = |config: &DeviceConfig| match config {
        DeviceConfig::Vfb(vfb) => Some(vfb.clone()),
        _ => None,
    };
    let hvm = record.config.is_hvm();
    let mut screens: Vec<Vfb> = match hvm {
        true => hvm::screen(&record.config)?.into_iter().collect(),
        false => {
            let devices = record.devices.iter();
            devices.filter_map(|d| of_device(&d.config)).collect()
        }
    };
    screens.retain(Vfb::wants_vnc);
    let (Some(port), Some(vfb)) = (port, screens.first()) else {
        let key = if hvm { "vnc=1" } else { "vfb=['vnc=1']" };
        return Err(Fault::generic(format!(
            "Domain '{name}' has no screen that is shown by VNC; {key} in its configuration gives it one"
        )));
    };
    let settings = site.node.settings();
    // The setting may be another one by now.
    let tls = format!("{}/{TLS_NODE}", home(record.domid));
    Ok(Response::Vnc {
        host: address(vfb, &settings),
        port,
        password: password(vfb, &settings),
        tls: site.node.store.read(&tls).map_err(internal)?.is_some(),
    })
}
