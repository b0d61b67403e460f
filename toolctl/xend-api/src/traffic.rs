//! What a network interface has carried: the host's own counters of its end.

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
            let path = format!("/sys/class/net/vif{domid}.{devid}/statistics/{file}");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        // What the host's end receives the guest has sent.
        Traffic {
            sent: count("rx_bytes"),
            received: count("tx_bytes"),
        }
    }
}
