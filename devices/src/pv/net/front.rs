//! Nodes of the store: what the back end offers, and what a front end made of it.
//!
//! ```text
//!   one queue     tx-ring-ref, rx-ring-ref, event-channel | event-channel-tx + event-channel-rx
//!   N queues      multi-queue-num-queues = N; the same below queue-0 .. queue-(N-1)
//! ```

use crate::pv::xenbus::shown;

/// Queues that we offer at most.
pub const MAX_QUEUES: u32 = 8;

/// What the front end takes from us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Packets in several slots.
    pub sg: bool,
    /// TCP segments over IPv4 put together.
    pub gso_v4: bool,
    /// The same over IPv6.
    pub gso_v6: bool,
    /// Checksums over IPv4 left blank.
    pub csum_v4: bool,
    /// The same over IPv6.
    pub csum_v6: bool,
    /// Only multicast that is on its list.
    pub multicast: bool,
}

/// Event channels of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// One for both rings.
    One(u32),
    /// One each.
    Split {
        /// Of the transmit ring.
        tx: u32,
        /// Of the receive ring.
        rx: u32,
    },
}

/// Rings and ports of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueNodes {
    /// `tx-ring-ref`
    pub tx_ring: u32,
    /// `rx-ring-ref`
    pub rx_ring: u32,
    /// Event channels.
    pub ports: Ports,
}

/// All that a front end wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// What it takes.
    pub features: Features,
    /// Its queues, at least one.
    pub queues: Vec<QueueNodes>,
}

/// What the back end writes before it waits for a front end, for `queues` queues.
pub fn offered(queues: u32) -> Vec<(&'static str, String)> {
    let mut nodes: Vec<_> = [
        ("feature-sg", "1"),
        ("feature-gso-tcpv4", "1"),
        ("feature-gso-tcpv6", "1"),
        ("feature-ipv6-csum-offload", "1"),
        ("feature-rx-copy", "1"),
        ("feature-rx-flip", "0"),
        ("feature-multicast-control", "1"),
        ("feature-split-event-channels", "1"),
    ]
    .into_iter()
    .map(|(name, value)| (name, value.to_owned()))
    .collect();
    nodes.push(("multi-queue-max-queues", queues.to_string()));
    nodes
}

impl Front {
    /// Reads a front end's nodes through `get` (a path below its directory; `None`: no such node).
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub fn read(
        max_queues: u32,
        get: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<Front, String> {
        let mut flag = |name: &str| -> Result<bool, String> {
            match get(name).as_deref() {
                None | Some("0") => Ok(false),
                Some("1") => Ok(true),
                Some(other) => Err(format!("{name} is '{}', not 0 or 1", shown(other))),
            }
        };
        if !flag("request-rx-copy")? {
            return Err("request-rx-copy is not 1, and pages are not flipped here".to_owned());
        }
        let features = Features {
            sg: flag("feature-sg")?,
            gso_v4: flag("feature-gso-tcpv4")?,
            gso_v6: flag("feature-gso-tcpv6")?,
            csum_v4: !flag("feature-no-csum-offload")?,
            csum_v6: flag("feature-ipv6-csum-offload")?,
            multicast: flag("request-multicast-control")?,
        };
        let count = optional(get, "multi-queue-num-queues")?.unwrap_or(1);
        if count == 0 || count > max_queues.min(MAX_QUEUES) {
            return Err(format!(
                "multi-queue-num-queues is {count}; 1 to {max_queues} were offered"
            ));
        }
        let queues = (0..count)
            .map(|queue| {
                let prefix = match count {
                    1 => String::new(),
                    _ => format!("queue-{queue}/"),
                };
                queue_nodes(&prefix, get)
            })
            .collect::<Result<_, _>>()?;
        Ok(Front { features, queues })
    }
}

fn queue_nodes(
    prefix: &str,
    get: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<QueueNodes, String> {
    let mut number = |name: &str| {
        let name = format!("{prefix}{name}");
        optional(get, &name)?.ok_or_else(|| format!("{name} is missing"))
    };
    let (tx_ring, rx_ring) = (number("tx-ring-ref")?, number("rx-ring-ref")?);
    let ports = match optional(get, &format!("{prefix}event-channel"))? {
        Some(port) => Ports::One(port),
        None => {
            let mut number = |name: &str| {
                let name = format!("{prefix}{name}");
                optional(get, &name)?
                    .ok_or_else(|| format!("neither {prefix}event-channel nor {name} is there"))
            };
            Ports::Split {
                tx: number("event-channel-tx")?,
                rx: number("event-channel-rx")?,
            }
        }
    };
    Ok(QueueNodes {
        tx_ring,
        rx_ring,
        ports,
    })
}

fn optional(
    get: &mut dyn FnMut(&str) -> Option<String>,
    name: &str,
) -> Result<Option<u32>, String> {
    match get(name) {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{name} is '{}', not a number", shown(&text))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn read(nodes: &[(&str, &str)]) -> Result<Front, String> {
        let nodes: HashMap<&str, &str> = nodes.iter().copied().collect();
        Front::read(4, &mut |name| nodes.get(name).map(|v| (*v).to_owned()))
    }

    #[test]
    fn front_end_of_linux_is_read_with_all_that_it_wrote() {
        let front = read(&[
            ("multi-queue-num-queues", "2"),
            ("queue-0/tx-ring-ref", "8"),
            ("queue-0/rx-ring-ref", "9"),
            ("queue-0/event-channel-tx", "5"),
            ("queue-0/event-channel-rx", "6"),
            ("queue-1/tx-ring-ref", "10"),
            ("queue-1/rx-ring-ref", "11"),
            ("queue-1/event-channel", "7"),
            ("request-rx-copy", "1"),
            ("feature-rx-notify", "1"),
            ("feature-sg", "1"),
            ("feature-gso-tcpv4", "1"),
            ("feature-gso-tcpv6", "1"),
            ("feature-ipv6-csum-offload", "1"),
        ])
        .unwrap();
        let all = Features {
            sg: true,
            gso_v4: true,
            gso_v6: true,
            csum_v4: true,
            csum_v6: true,
            multicast: false,
        };
        assert_eq!(front.features, all);
        assert_eq!(front.queues[0].ports, Ports::Split { tx: 5, rx: 6 });
        assert_eq!(front.queues[1].ports, Ports::One(7));
        assert_eq!((front.queues[1].tx_ring, front.queues[1].rx_ring), (10, 11));
    }

    #[test]
    fn front_end_without_features_gets_none() {
        let front = read(&[
            ("tx-ring-ref", "8"),
            ("rx-ring-ref", "9"),
            ("event-channel", "5"),
            ("request-rx-copy", "1"),
            ("feature-no-csum-offload", "1"),
        ])
        .unwrap();
        assert_eq!(front.features, Features::default());
        assert_eq!(front.queues.len(), 1);
    }

    #[test]
    fn front_end_with_wrong_nodes_is_refused_with_the_reason() {
        let good = [
            ("tx-ring-ref", "8"),
            ("rx-ring-ref", "9"),
            ("event-channel", "5"),
            ("request-rx-copy", "1"),
        ];
        let with = |name: &'static str, value: &'static str| {
            let mut nodes = good.to_vec();
            nodes.retain(|(n, _)| *n != name);
            if !value.is_empty() {
                nodes.push((name, value));
            }
            read(&nodes).unwrap_err()
        };
        assert!(with("request-rx-copy", "").contains("request-rx-copy is not 1"));
        assert!(with("tx-ring-ref", "").contains("tx-ring-ref is missing"));
        assert!(with("rx-ring-ref", "-1").contains("'-1', not a number"));
        assert!(with("event-channel", "").contains("event-channel-tx is there"));
        assert!(with("feature-sg", "yes\n").contains("'yes\\n', not 0 or 1"));
        for count in ["0", "5", "4294967295", "99999999999"] {
            assert!(with("multi-queue-num-queues", count).contains(count));
        }
    }
}
