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
use crate::costs::{self, table::Column};
use crate::patience::Patience;
use crate::rates::Rates;
use crate::report;
use anyhow::{bail, Context, Result};
use noxen_integration_tests::console::{command, Console};
use noxen_integration_tests::node::said;
use rustix::io::Errno;
use std::fs::File;
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
    real: Duration::from_secs(120),
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
                let (name, vhost) = match vhost {
                    true => ("qemu-vhost-net", "on"),
                    false => ("qemu-virtio-net", "off"),
                };
                // No boot from the network; the address is as unique as noxen-vmm makes it.
                Box::new(Qemu::q35(&guest)?.with(
                    name,
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

    /// The figures of a guest of this kind with `program` on this host, or with a second guest.
    fn measure(self, initramfs: &Path, program: Option<&Path>) -> Result<Column> {
        let _network = Network::new()?;
        let (serve, address) = match program {
            Some(program) => (command(program, &["serve"]), HOST),
            None => (self.guest(initramfs, 1, "serve")?.command()?, GUESTS[1]),
        };
        let mut peer = Console::spawn(&serve)?;
        PATIENCE.expect(&mut peer, SERVING).context("the peer")?;
        let guest = self.guest(initramfs, 0, &format!("ask run {address}"))?;
        let all = costs::Wanted::default();
        costs::column(guest.name(), guest.as_ref(), 1, &all, true).with_context(|| {
            let transcript = peer.transcript();
            let last = transcript.trim_end().lines().last().unwrap_or_default();
            format!("the peer's last line was {last:?}")
        })
    }
}

/// Puts the rows of two domains below those of the same contender.
fn add_pair(columns: &mut Vec<Column>, mut pair: Column) {
    for cost in &mut pair.costs {
        cost.name.insert_str(0, "pair-");
    }
    match columns.iter_mut().find(|c| c.contender == pair.contender) {
        Some(column) => {
            column.costs.extend(pair.costs);
            column.counts.extend(pair.counts);
        }
        None => columns.push(pair),
    }
}

/// Puts vhost-net into this host's kernel; what is there already stays.
fn load(modules: &str) -> Result<()> {
    for path in modules.split_whitespace() {
        let file = File::open(path).with_context(|| path.to_owned())?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => bail!("module {path} does not load: {error}"),
        }
    }
    Ok(())
}

/// The bench; `initramfs` and `program` are files that xtask made, `vhost` the paths of vhost-net's modules.
pub fn run(initramfs: &Path, program: &Path, vhost: &str) -> Result<()> {
    load(vhost)?;
    let mut rates = Rates {
        bench: "net".to_owned(),
        measures: format!(
            "net: virtual ns of 64 KiB of TCP and of one UDP packet of 64 bytes, Debian generic kernel, 1 vCPU, {MEMORY_MIB} MiB, tap on a bridge"
        ),
        columns: Vec::new(),
    };
    let mut missing = Vec::new();
    // Two guests at once come last: the host's rows need them not.
    for peer in [Some(program), None] {
        for kind in KINDS {
            match kind.measure(initramfs, peer) {
                Ok(column) if peer.is_some() => rates.columns.push(column),
                Ok(column) => add_pair(&mut rates.columns, column),
                // Without ours there is nothing to set the others beside.
                Err(error) if rates.columns.is_empty() => return Err(error),
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
}
