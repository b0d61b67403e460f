//! The guest's network and the wire between the two sides.
//!
//! ```text
//!   guest ── tap ── bridge (HOST) ── ticks, stream        side ── lo, as fast as WIRE ── the other side
//! ```

use crate::contender::LIMIT;
use crate::modules::load;
use anyhow::{bail, Result};
use noxen_integration_tests::console::command;
use noxen_integration_tests::node::said;

/// The bridge.
pub const BRIDGE: &str = "nxbmove";
/// What QEMU's guests use; Noxen makes its own.
pub const TAPS: [&str; 2] = ["nxbmove0", "nxbmove1"];
/// This host's address on the bridge.
pub const HOST: &str = "10.84.0.1";
/// The guest's.
pub const GUEST: &str = "10.84.0.2";
/// Bytes a second that the wire carries.
pub const WIRE: u64 = 24 << 20;

/// Bridge, taps and a loopback of that speed; gone with this value.
pub struct Network;

impl Network {
    /// Makes them; `modules` are the paths of what the kernel needs for the wire, in the order they load.
    pub fn new(modules: &str) -> Result<Network> {
        load(modules)?;
        // Dropped if a later step fails, which takes away what there is.
        let network = Network;
        run(&format!("ip link add {BRIDGE} type bridge forward_delay 0"))?;
        run(&format!("ip addr add {HOST}/24 dev {BRIDGE}"))?;
        run(&format!("ip link set {BRIDGE} up"))?;
        for tap in TAPS {
            run(&format!("ip tuntap add dev {tap} mode tap vnet_hdr"))?;
            run(&format!("ip link set {tap} master {BRIDGE} up"))?;
        }
        // What waits for the wire waits in the queue; nothing is dropped.
        run(&format!(
            "tc qdisc add dev lo root tbf rate {}bit burst 262144 limit 16777216",
            WIRE * 8
        ))?;
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = run("tc qdisc del dev lo root");
        for name in TAPS.iter().chain([&BRIDGE]) {
            let _ = run(&format!("ip link del {name}"));
        }
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
