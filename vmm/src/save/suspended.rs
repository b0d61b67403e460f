//! A guest that suspends itself before it is saved or moved (Xen's own protocol), where that was asked for.
//!
//! ```text
//!   thread: News::Suspend --> control/shutdown = "suspend" --guest takes its devices apart, SHUTDOWN_suspend--> Report::Suspended
//!      --> its vCPU is held in that call --> halt: the call's answer is 0, and the image has no ring, no watch, no device in use
//!      --> it runs on here: the answer is 1      it runs out of the image: 0, and its drivers connect as to new devices
//!   a guest that suspends itself unasked runs on at once, with 1: nobody would wake it
//! ```
//! The answer lies in the monitor's memory, so an image needs no word of its own for it.

use crate::save::job::{Mailbox, News, Progress};
use noxen_saved_image::state::{Nodes, State, Store};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a guest may take (xm's 60 s, and as much again for what KVM under another hypervisor takes longer).
const PATIENCE: Duration = Duration::from_secs(120);
/// How often somebody looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// What the call answers to a guest that runs on where it was.
pub const RUNS_ON: i64 = 1;
/// What it answers to one that came out of an image.
pub const ANEW: i64 = 0;

/// Where the request is written, for domain `domid`.
pub fn node(domid: u32) -> String {
    format!("/local/domain/{domid}/control/shutdown")
}

/// Has the guest suspend itself, and waits until it has.
pub fn wait(mailbox: &Mailbox, progress: &Progress, domid: u32) -> Result<(), String> {
    let (answer, answered) = channel();
    mailbox.send(News::Suspend(answer));
    let until = Instant::now() + PATIENCE;
    loop {
        match answered.recv_timeout(LOOK) {
            Ok(suspended) => return suspended,
            Err(RecvTimeoutError::Disconnected) => return Err("noxen-vmm is ending".into()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Looks whether it was cancelled.
        progress.pass(0).map_err(|error| error.to_string())?;
        if Instant::now() >= until {
            return Err(format!(
                "Timeout waiting for domain {domid} to suspend; its kernel may not know how to: leave --by-guest out"
            ));
        }
    }
}

/// What an image holds of a guest that has suspended itself: it asks for everything again.
pub fn strip(state: &mut State) {
    if let Some(store) = &mut state.store {
        *store = Store::default();
    }
    if let Some(Nodes { nodes }) = &mut state.nodes {
        nodes.retain(|node| node.path != "device" && !node.path.starts_with("device/"));
    }
    for device in &mut state.devices {
        device.disconnect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_saved_image::device::{Vbd, Vif};
    use noxen_saved_image::state::{Bytes, Clock, Console, Domain, Node, Watch};
    use noxen_saved_image::Device;

    #[test]
    fn image_of_a_suspended_guest_has_devices_that_nobody_uses_and_no_watches() {
        let node = |path: &str| Node {
            path: path.into(),
            value: Bytes(b"4".to_vec()),
        };
        let mut state = State {
            domain: Domain {
                domid: 1,
                boot_pages: 1,
                max_pages: 1,
                vcpus: 0,
                bits32: false,
                layout: 0,
                image_size: 0,
                region_size: 0,
                monitor_abi: 0,
                store_mfn: 0,
                console_mfn: 0,
                features: Vec::new(),
            },
            clock: Clock {
                tsc: 0,
                tsc_khz: 1,
                host_ns: 0,
            },
            vcpus: Vec::new(),
            console: Console {
                output: Bytes(b"kept".to_vec()),
                input: Bytes(Vec::new()),
            },
            store: Some(Store {
                watches: vec![Watch {
                    path: Bytes(b"device".to_vec()),
                    token: Bytes(b"1".to_vec()),
                }],
                to_guest: Bytes(vec![1]),
                from_guest: Bytes(vec![2]),
            }),
            nodes: Some(Nodes {
                nodes: ["control/x", "device", "device/vbd/51712/state", "devices/y"]
                    .map(node)
                    .to_vec(),
            }),
            devices: vec![
                Device::Vbd(Vbd {
                    devid: 51712,
                    connected: true,
                }),
                Device::Vif(Vif {
                    devid: 0,
                    connected: true,
                    mac: "00:16:3e:00:00:01".into(),
                    multicast: vec![Bytes(vec![1; 6])],
                }),
            ],
        };
        strip(&mut state);
        assert_eq!(state.store, Some(Store::default()));
        let nodes = state.nodes.unwrap().nodes;
        let left: Vec<&str> = nodes.iter().map(|node| node.path.as_str()).collect();
        assert_eq!(left, ["control/x", "devices/y"]);
        assert!(!state.devices.iter().any(Device::is_connected));
        assert_eq!(state.console.output.0, b"kept");
        let Device::Vif(vif) = &state.devices[1] else {
            panic!()
        };
        assert!(vif.multicast.is_empty());
    }
}
