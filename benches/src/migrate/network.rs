//! Two hosts in one: what each of the two sides has for itself, the wire between them, and the network that guests are on.
//!
//! ```text
//!   this host:     bridge (HOST) ── veth ──┬── veth ── bridge nxbmove ── tap ── guest      side 0, 10.85.0.1 ─┐ veth,
//!                      │                   └─────── the same, side 1, 10.85.0.2 ──────────────────────────────┘ as fast as WIRE
//!                      └── ticks and stream of the guest, wherever it is
//! ```
//! A side is a network namespace: its own loopback, ports, bridge and taps. Where a guest is, the bridges have to learn,
//! as switches between two machines.

use crate::contender::LIMIT;
use crate::modules::load;
use anyhow::{bail, Result};
use noxen_integration_tests::console::command;
use noxen_integration_tests::node::said;
use std::process::Command;

/// The bridge, here and on each side.
pub const BRIDGE: &str = "nxbmove";
/// What QEMU's guests use on each side; Noxen makes its own.
pub const TAP: &str = "nxbtap";
/// This host's address on the bridge.
pub const HOST: &str = "10.84.0.1";
/// The guest's.
pub const GUEST: &str = "10.84.0.2";
/// Bytes a second that the wire carries.
pub const WIRE: u64 = 24 << 20;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its network namespace.
    pub netns: &'static str,
    /// Its address on the wire.
    pub address: &'static str,
}

/// Both.
pub const SIDES: [Side; 2] = [
    Side {
        netns: "nxhost0",
        address: "10.85.0.1",
    },
    Side {
        netns: "nxhost1",
        address: "10.85.0.2",
    },
];

impl Side {
    /// That command, to be run there.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", self.netns]);
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }
}

/// Both sides with all that connects them; gone with this value.
pub struct Network;

impl Network {
    /// Makes them; `modules` are the paths of what the kernel needs for them, in the order they load. `wire` is how many bytes a
    /// second the wire carries; none is as many as it can.
    pub fn new(modules: &str, wire: Option<u64>) -> Result<Network> {
        load(modules)?;
        // Dropped if a later step fails, which takes away what there is.
        let network = Network;
        run(&format!("ip link add {BRIDGE} type bridge forward_delay 0"))?;
        run(&format!("ip addr add {HOST}/24 dev {BRIDGE}"))?;
        run(&format!("ip link set {BRIDGE} up"))?;
        for side in SIDES {
            run(&format!("ip netns add {}", side.netns))?;
        }
        let [one, other] = SIDES.map(|side| side.netns);
        run(&format!(
            "ip link add wire netns {one} type veth peer name wire netns {other}"
        ))?;
        for (number, side) in SIDES.iter().enumerate() {
            let netns = side.netns;
            let there = |words: String| run(&format!("ip -n {netns} {words}"));
            there("link set lo up".into())?;
            there(format!("addr add {}/24 dev wire", side.address))?;
            there("link set wire up".into())?;
            there(format!("link add {BRIDGE} type bridge forward_delay 0"))?;
            run(&format!(
                "ip link add nxbmove{number} type veth peer name lan netns {netns}"
            ))?;
            run(&format!("ip link set nxbmove{number} master {BRIDGE} up"))?;
            there(format!("link set lan master {BRIDGE} up"))?;
            there(format!("link set {BRIDGE} up"))?;
            there(format!("tuntap add dev {TAP} mode tap vnet_hdr"))?;
            there(format!("link set {TAP} master {BRIDGE} up"))?;
            if let Some(wire) = wire {
                // What waits for the wire waits in the queue; nothing is dropped.
                run(&format!(
                    "tc -n {netns} qdisc add dev wire root tbf rate {}bit burst 262144 limit 16777216",
                    wire * 8
                ))?;
            }
        }
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Each takes along what is in it, and the other ends of its cables.
        for side in SIDES {
            let _ = run(&format!("ip netns del {}", side.netns));
        }
        let _ = run(&format!("ip link del {BRIDGE}"));
    }
}

fn run(words: &str) -> Result<()> {
    let list: Vec<&str> = words.split(' ').collect();
    let said = said(&mut command(list[0], &list[1..]), LIMIT)?;
    if said.status != 0 {
        bail!("{words}: {}", said.stderr.trim());
    }
    Ok(())
}
