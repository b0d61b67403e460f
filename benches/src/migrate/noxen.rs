//! Noxen's own: a domain that goes to and fro between the xends of two hosts.

use super::contender::{Moved, Mover, Step};
use super::network::{BRIDGE, SIDES};
use super::MAC;
use crate::contender::{Guest, LIMIT};
use anyhow::{Context, Result};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_xend_api::migrate::Ledger;
use std::path::Path;
use std::time::{Duration, Instant};

/// Name of the domain.
pub const NAME: &str = "bench";
/// Port on which each takes domains in.
const PORT: u16 = 8841;

/// What kind of domain it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Paravirtual.
    Pv,
    /// A PC with a card e1000 and a screen on VNC.
    Hvm,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pv => "noxen",
            Kind::Hvm => "noxen-hvm",
        }
    }
}

/// Both.
pub struct Noxen {
    nodes: [Node; 2],
    /// Which has the domain.
    at: usize,
}

impl Noxen {
    /// Starts the guest on one of them; its console says when it is ready.
    pub fn start(kind: Kind, guest: &Guest, ready: &str) -> Result<Noxen> {
        let [one, other] = SIDES.map(|side| Node::host(side.netns, side.address, PORT));
        let nodes = [one?, other?];
        let mut domain = Domain::debian(NAME, Flavour::Generic)?
            .memory(guest.memory)
            .vcpus(guest.vcpus);
        let mut vif = format!("bridge={BRIDGE}, mac={MAC}");
        if kind == Kind::Hvm {
            domain = domain
                .line("builder = 'hvm'")
                .line("loader = '/usr/lib/xen/boot/hvmloader'")
                .line("serial = 'pty'")
                .line("vnc = 1")
                .line("vncunused = 0")
                .line("vncdisplay = 1");
            domain.extra = "console=ttyS0".into();
            vif.push_str(", type=ioemu, model=e1000");
        }
        domain = domain.line(&format!("vif = ['{vif}']"));
        domain.ramdisk = Some(guest.initramfs.clone());
        domain.extra.push(' ');
        domain.extra.push_str(&guest.cmdline);
        let mut console = nodes[0].create_on_console(&domain)?;
        console.expect(ready, LIMIT)?;
        Ok(Noxen { nodes, at: 0 })
    }

    /// Number of the side that it is on.
    pub fn side(&self) -> usize {
        self.at
    }

    /// The domains of both sides that have its name.
    pub fn copies(&self) -> usize {
        let names = self.nodes.iter().flat_map(Node::domains);
        names.filter(|name| name == NAME).count()
    }

    /// The processes of both sides that are monitors of domains.
    pub fn monitors(&self) -> usize {
        let of = |node: &Node| node.processes_of("noxen-vmm").len();
        self.nodes.iter().map(of).sum()
    }

    fn here(&self) -> &Node {
        &self.nodes[self.at]
    }
}

impl Mover for Noxen {
    fn move_live(&mut self, downtime_ms: u32) -> Result<Moved> {
        let there = SIDES[1 - self.at].address;
        let (port, downtime) = (PORT.to_string(), downtime_ms.to_string());
        let words = [
            "migrate",
            "--live",
            NAME,
            there,
            "-p",
            &port,
            "--downtime",
            &downtime,
            "--json",
        ];
        let begun = Instant::now();
        let said = self.here().try_toolctl(&words, LIMIT)?;
        let total = begun.elapsed();
        if said.status != 0 {
            anyhow::bail!("toolctl migrate: {}", said.stderr.trim());
        }
        self.at = 1 - self.at;
        let mut value: serde_json::Value =
            serde_json::from_str(&said.stdout).context("toolctl migrate")?;
        if let Some(fields) = value.as_object_mut() {
            // A sum of others, for people.
            fields.remove("downtime_us");
        }
        let ledger: Ledger = serde_json::from_value(value).context("toolctl migrate")?;
        let mut from_us = 0;
        let steps = ledger.rounds.iter().map(|round| {
            let step = Step {
                from_us,
                micros: round.micros,
                bytes: round.bytes,
                written: round.written,
            };
            from_us += round.micros;
            step
        });
        Ok(Moved {
            total,
            own_downtime: Duration::from_micros(ledger.downtime_us()),
            bytes: ledger.bytes,
            parts: vec![
                ("stop".into(), ledger.stop_us),
                ("last".into(), ledger.last_us),
                ("state".into(), ledger.state_us),
                ("start".into(), ledger.start_us),
            ],
            steps: steps.collect(),
        })
    }
}

/// What saving and restoring took.
#[derive(Debug)]
pub struct Saved {
    /// `save -c`, the whole command.
    pub save: Duration,
    /// `restore`, the whole command, and when it began.
    pub restore: Duration,
    /// When `restore` began.
    pub began: Instant,
}

impl Noxen {
    /// Saves the domain into `file`, ends it, and restores it with these switches.
    pub fn save_and_restore(&mut self, file: &Path, switches: &[&str]) -> Result<Saved> {
        let node = self.here();
        let path = file.display().to_string();
        let begun = Instant::now();
        node.try_toolctl(&["save", NAME, &path], LIMIT)?.ok();
        let save = begun.elapsed();
        let words = [&["restore"], switches, &[path.as_str()]].concat();
        let began = Instant::now();
        node.try_toolctl(&words, LIMIT)?.ok();
        Ok(Saved {
            save,
            restore: began.elapsed(),
            began,
        })
    }
}
