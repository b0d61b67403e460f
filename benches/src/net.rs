//! Net: streams and the smallest packets of a guest's interface, noxen's PV one beside QEMU's virtio-net.
//!
//! ```text
//!   guest: bin/net ── front end ── back end ── tap ──┐
//!                                                    ├── bridge ── the same program, on this host
//!   second guest: bin/net ── ... ────────── tap ─────┘
//!   noxen-vmm: xen-netfront      qemu: virtio-net-pci, its main loop or (vhost) a thread of the kernel
//! ```
//! Rows by themselves are against the host, `pair-` ones against the second domain of the same kind. The same kernel,
//! initramfs and program for all; bridge and taps are made anew each time. Raw samples are kept.

use crate::contender::{Contender, Guest, NoxenVmm, Qemu, LIMIT};
use crate::costs::{
    self,
    table::{take_in, Column},
    Wanted,
};
use crate::modules::load;
use crate::patience::Patience;
use crate::rates::Rates;
use crate::report;
use anyhow::{bail, Context, Result};
use noxen_integration_tests::console::{command, Console};
use noxen_integration_tests::node::said;
use std::path::Path;
use std::time::Duration;

const MEMORY_MIB: u32 = 192;
const BRIDGE: &str = "noxenbench";
const TAPS: [&str; 2] = ["noxenbench0", "noxenbench1"];
const HOST: &str = "10.80.0.1";
/// Of the guest that measures, and of the second one.
const GUESTS: [&str; 2] = ["10.80.0.2", "10.80.0.3"];
/// What the program says when it can be asked.
const SERVING: &str = "NET-SERVING";
/// For the boot of the second guest.
const PATIENCE: Patience = Patience {
    lab: Duration::from_secs(40),
    real: Duration::from_secs(600),
};

/// A bridge with an address of this host and two taps, gone with this value.
struct Network;

impl Network {
    fn new() -> Result<Network> {
        // Dropped if a later step fails, which takes away what there is.
        let network = Network;
        ip(&format!("link add {BRIDGE} type bridge forward_delay 0"))?;
        ip(&format!("addr add {HOST}/24 dev {BRIDGE}"))?;
        ip(&format!("link set {BRIDGE} up"))?;
        for tap in TAPS {
            ip(&format!("tuntap add dev {tap} mode tap vnet_hdr"))?;
            ip(&format!("link set {tap} master {BRIDGE} up"))?;
        }
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in TAPS.iter().chain([&BRIDGE]) {
            let _ = ip(&format!("link del {name}"));
        }
    }
}

fn ip(words: &str) -> Result<()> {
    let words: Vec<&str> = words.split(' ').collect();
    let said = said(&mut command("ip", &words), LIMIT)?;
    if said.status != 0 {
        bail!("ip {}: {}", words.join(" "), said.stderr.trim());
    }
    Ok(())
}

/// A kind of interface.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Xen,
    Virtio { vhost: bool },
}

const KINDS: [Kind; 3] = [
    Kind::Xen,
    Kind::Virtio { vhost: false },
    Kind::Virtio { vhost: true },
];

impl Kind {
    /// Guest `index` on its tap, running the program with `words`.
    fn guest(self, initramfs: &Path, index: usize, words: &str) -> Result<Box<dyn Contender>> {
        let guest = Guest {
            memory: MEMORY_MIB,
            vcpus: 1,
            initramfs: initramfs.to_owned(),
            cmdline: format!(
                "quiet noxen.quietinit noxen.cmd=io-start net {} {words}",
                GUESTS[index]
            ),
        };
        let (tap, domid) = (TAPS[index], index + 1);
        Ok(match self {
            Kind::Xen => Box::new(NoxenVmm::new(&guest)?.with(&[
                "--domid".to_owned(),
                domid.to_string(),
                "--tap".to_owned(),
                tap.to_owned(),
            ])),
            Kind::Virtio { vhost } => {
                let vhost = if vhost { "on" } else { "off" };
                // No boot from the network; the address is as unique as noxen-vmm makes it.
                Box::new(Qemu::q35(&guest)?.with(
                    self.name(),
                    &[
                        "-netdev".to_owned(),
                        format!("tap,id=net,ifname={tap},script=no,downscript=no,vhost={vhost}"),
                        "-device".to_owned(),
                        format!(
                            "virtio-net-pci,netdev=net,romfile=,mac=00:16:3e:00:{domid:02x}:00"
                        ),
                    ],
                ))
            }
        })
    }

    /// As it is chosen.
    fn name(self) -> &'static str {
        match self {
            Kind::Xen => "noxen-vmm",
            Kind::Virtio { vhost: false } => "qemu-virtio-net",
            Kind::Virtio { vhost: true } => "qemu-vhost-net",
        }
    }

    /// The figures of a guest of this kind with `program` on this host, or with a second guest.
    fn measure(self, initramfs: &Path, program: Option<&Path>, rows: &[String]) -> Result<Column> {
        let _network = Network::new()?;
        let (serve, address) = match program {
            Some(program) => (command(program, &["serve"]), HOST),
            None => (self.guest(initramfs, 1, "serve")?.command()?, GUESTS[1]),
        };
        let mut peer = Console::spawn(&serve)?;
        PATIENCE.expect(&mut peer, SERVING).context("the peer")?;
        let words = format!("ask run {address} {}", rows.join(" "));
        let guest = self.guest(initramfs, 0, &words)?;
        let wanted = Wanted {
            rows: rows.to_vec(),
            ..Wanted::default()
        };
        costs::column(guest.name(), guest.as_ref(), 1, &wanted, true).with_context(|| {
            let transcript = peer.transcript();
            let last = transcript.trim_end().lines().last().unwrap_or_default();
            format!("the peer's last line was {last:?}")
        })
    }
}

/// Begins the names of the rows of two domains.
const PAIR: &str = "pair-";

/// The chosen rows of one kind, as the guest's program names them; `None`: none of that kind is wanted.
fn rows(wanted: &Wanted, pair: bool) -> Option<Vec<String>> {
    let of_kind = wanted
        .rows
        .iter()
        .filter(|row| row.starts_with(PAIR) == pair);
    let rows: Vec<String> = of_kind
        .map(|row| row.strip_prefix(PAIR).unwrap_or(row).to_owned())
        .collect();
    (wanted.rows.is_empty() || !rows.is_empty()).then_some(rows)
}

/// Puts the rows of two domains below those of the same contender.
fn add_pair(columns: &mut Vec<Column>, mut pair: Column) {
    for cost in &mut pair.costs {
        cost.name.insert_str(0, PAIR);
    }
    take_in(columns, pair);
}

/// The bench; `initramfs` and `program` are files that xtask made, `vhost` the paths of vhost-net's modules.
pub fn run(initramfs: &Path, program: &Path, vhost: &str, wanted: &Wanted) -> Result<()> {
    load(vhost)?;
    let measures = format!(
        "net: virtual ns of 64 KiB of TCP and of one UDP packet of 64 bytes, Debian generic kernel, 1 vCPU, {MEMORY_MIB} MiB, tap on a bridge"
    );
    let mut rates = Rates::new("net", measures, wanted)?;
    let mut missing = Vec::new();
    // Two guests at once come last: the host's rows need them not.
    for peer in [Some(program), None] {
        let Some(rows) = rows(wanted, peer.is_none()) else {
            continue;
        };
        for kind in KINDS
            .into_iter()
            .filter(|kind| wanted.has_guest(kind.name()))
        {
            match kind.measure(initramfs, peer, &rows) {
                Ok(column) if peer.is_some() => take_in(&mut rates.columns, column),
                Ok(column) => add_pair(&mut rates.columns, column),
                Err(error) => missing.push(format!("{kind:?}: {error:#}")),
            }
            // A guest that hangs does not take the others' figures along.
            report::write_json(&rates.bench, &rates)?;
        }
    }
    rates.write_and_show()?;
    if !missing.is_empty() {
        bail!("not all guests got through: {}", missing.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::lines::Cost;

    fn column(contender: &str, ns: u64) -> Column {
        let cost = Cost {
            name: "tcp-out".to_owned(),
            operations: 10,
            batches_ns: vec![ns],
        };
        Column::new(contender, 1, vec![cost], Vec::new())
    }

    #[test]
    fn rows_of_two_domains_stand_below_their_contenders_own() {
        let mut columns = vec![column("noxen-vmm", 50), column("qemu", 60)];
        add_pair(&mut columns, column("qemu", 90));
        add_pair(&mut columns, column("other", 20));
        assert_eq!(columns.len(), 3);
        assert_eq!(columns[0].median("pair-tcp-out"), None);
        assert_eq!(columns[1].median("tcp-out"), Some(6.0));
        assert_eq!(columns[1].median("pair-tcp-out"), Some(9.0));
        assert_eq!(columns[2].median("pair-tcp-out"), Some(2.0));
    }

    #[test]
    fn rows_are_told_apart_by_their_prefix() {
        let wanted = |rows: &[&str]| Wanted {
            rows: rows.iter().map(|row| (*row).to_owned()).collect(),
            ..Wanted::default()
        };
        assert_eq!(rows(&wanted(&[]), true), Some(Vec::new()));
        let both = wanted(&["tcp-out", "pair-udp-turn"]);
        assert_eq!(rows(&both, false), Some(vec!["tcp-out".to_owned()]));
        assert_eq!(rows(&both, true), Some(vec!["udp-turn".to_owned()]));
        assert_eq!(rows(&wanted(&["tcp-out"]), true), None);
    }
}
