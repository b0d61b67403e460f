//! Where a screen is shown by VNC.
//!
//! ```text
//!   vnclisten, vncdisplay, vncunused (defaults: xend-config.sxp) --bind--> listening socket --> noxen-vmm
//!                                                                    '--> console/vnc-port, console/vnc-listen
//! ```
//! The password goes to noxen-vmm by its control socket only. xend of old put it into the store, where whoever could read
//! that could read it; viewers are told it by `vncviewer --autopass`.

use super::class::Site;
use crate::hvm;
use crate::node::internal;
use crate::settings::Settings;
use crate::store::StoreOp;
use crate::store_nodes::home;
use crate::{info, warning};
use noxen_control::device::VncSpec;
use noxen_xend_api::{DeviceConfig, Fault, Response, Vfb};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

/// Displays that are tried, from the one asked for.
const TRIES: u16 = 1000;
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
    let (address, password) = (address(vfb, &settings), password(vfb, &settings));
    if password
        .as_ref()
        .is_some_and(|password| password.len() > PASSWORD)
    {
        warning!(
            "domain {}: VNC takes the first {PASSWORD} characters of a password only",
            record.domid
        );
    }
    let listener = listen(&address, vfb)?;
    let bound = listener.local_addr().map_err(internal)?;
    let console = format!("{}/console", home(record.domid));
    let nodes = [
        StoreOp::Write(format!("{console}/vnc-listen"), address),
        StoreOp::Write(format!("{console}/vnc-port"), bound.port().to_string()),
    ];
    info!(
        "domain {}: screen {devid} is shown by VNC at {bound}",
        record.domid
    );
    let keymap = vfb.get("keymap").unwrap_or_else(|| settings.text("keymap"));
    let spec = VncSpec {
        title: record.name,
        password,
        keymap: (!keymap.is_empty()).then(|| keymap.to_owned()),
    };
    Ok(Opened {
        spec,
        socket: listener.into(),
        nodes: nodes.into_iter().filter(|_| devid == 0).collect(),
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
    Ok(Response::Vnc {
        host: address(vfb, &settings),
        port,
        password: password(vfb, &settings),
    })
}
