//! What devices have carried: network interfaces by the host's own counters of their ends, disks by what their back ends count.

use serde::{Deserialize, Serialize};

/// What a disk has carried since it was attached.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct DiskTraffic {
    /// Requests that read.
    pub reads: u64,
    /// Bytes that they asked for.
    pub read_bytes: u64,
    /// Requests that wrote.
    pub writes: u64,
    /// Bytes that they brought.
    pub written_bytes: u64,
}

/// Bytes, as the guest sees the directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// By the guest.
    pub sent: u64,
    /// By the guest.
    pub received: u64,
}

impl Traffic {
    /// Of interface `devid` of domain `domid`; zeros when the host has none of that name.
    pub fn of(domid: u32, devid: u32) -> Traffic {
        let count = |file: &str| {
            let of = |kind: &str| {
                let path = format!("/sys/class/net/{kind}{domid}.{devid}/statistics/{file}");
                std::fs::read_to_string(path)
            };
            // An emulated card's end is a tap by name, too.
            let text = of("vif").or_else(|_| of("tap")).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        // What the host's end receives the guest has sent.
        Traffic {
            sent: count("rx_bytes"),
            received: count("tx_bytes"),
        }
    }
}
