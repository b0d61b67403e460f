//! `cargo xtask bench [NAME]`: benches in the lab, in deterministic time.
//!
//! ```text
//!   bench NAME ── assets, binaries ── lab --icount ── noxen-benches NAME ── out/NAME.json ── target/bench/NAME.json
//!                       └── costs: real Xen's guests first, in a machine of their own ──> costs-xen.log
//!   bench store ─ peers, binaries ──── here ───────── noxen-benches store ─────────────────── target/bench/store.json
//! ```
//! Benches without a guest run on the host itself.

use crate::choice::{Choice, Offer};
use crate::costs;
use crate::lab::{self, Spec};
use crate::{assets, suite};
use anyhow::{bail, Context, Result};
use noxen_integration_tests::assets::{self as files, Flavour};
use noxen_integration_tests::layout;
use std::path::Path;
use std::time::Duration;

/// Benches that exist.
const BUILT: [&str; 7] = ["boot", "costs", "block", "net", "store", "list", "migrate"];
/// Those of them that run on the host.
const ON_HOST: [&str; 2] = ["store", "list"];
/// Names that are promised and not there yet.
const PLANNED: [&str; 2] = ["hvm", "vnc"];

/// What can be chosen in the bench `boot`: the contenders of benches/src/boot.rs.
const BOOT: Offer = Offer {
    bench: "boot",
    guests: &["noxen", "noxen-vmm", "qemu-q35-pvh", "qemu-microvm"],
    rows: false,
    soak: None,
};
/// The same of `block` and `net`; their rows are in benches/guest/io.c and net.c, those of two domains begin with `pair-`.
const BLOCK: Offer = Offer {
    bench: "block",
    guests: &["noxen-vmm", "qemu-virtio-blk"],
    rows: true,
    soak: None,
};
const NET: Offer = Offer {
    bench: "net",
    guests: &["noxen-vmm", "qemu-virtio-net", "qemu-vhost-net"],
    rows: true,
    soak: None,
};
/// The same of `migrate`; its rows are in benches/src/migrate/mod.rs.
const MIGRATE: Offer = Offer {
    bench: "migrate",
    guests: &["noxen", "noxen-hvm", "qemu-q35"],
    rows: true,
    soak: Some(1000),
};
/// The benches that can be measured in pieces.
const OFFERS: [&Offer; 5] = [&costs::OFFER, &BOOT, &BLOCK, &NET, &MIGRATE];
/// What a move needs of the lab's kernel: the wire between the two hosts.
const WIRE: [&str; 2] = ["sch_tbf", "veth"];
/// Real time for a soak: a thousand moves of each kind on a busy machine.
const SOAK_LIMIT: Duration = Duration::from_secs(12 * 3600);
/// Real time for a bench in the lab.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// The same for `boot`, whose guests have limits of their own: it ends a lab that stands still as a whole.
const BOOT_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The command: one bench, or all that exist.
pub fn command(args: &[String]) -> Result<u8> {
    let (args, choice) = match args {
        [name, rest @ ..] => match OFFERS.iter().find(|offer| offer.bench == name) {
            Some(offer) => (&args[..1], Choice::parse(offer, rest)?),
            None => (args, Choice::default()),
        },
        [] => (args, Choice::default()),
    };
    let names: Vec<&str> = match args {
        [] => BUILT.to_vec(),
        [name] if BUILT.contains(&name.as_str()) => vec![name.as_str()],
        [name] if PLANNED.contains(&name.as_str()) => {
            bail!("bench {name} is not there yet; there is {BUILT:?}")
        }
        other => bail!("bench takes one of {BUILT:?}, not {other:?}"),
    };
    if names.iter().any(|name| !ON_HOST.contains(name)) {
        assets::ensure_all()?;
    }
    if names.contains(&"store") {
        assets::ensure_xen_stores()?;
    }
    suite::build_binaries()?;
    let results = layout::repo_root().join("target/bench");
    std::fs::create_dir_all(&results)?;
    for name in names {
        let program = layout::bin_dir()
            .join("noxen-benches")
            .display()
            .to_string();
        if ON_HOST.contains(&name) {
            let status = std::process::Command::new(&program)
                .arg(name)
                .env("NOXEN_BIN", layout::bin_dir())
                .env("NOXEN_LAB_OUT", &results)
                .status()
                .with_context(|| format!("{program} does not run"))?;
            if !status.success() {
                return Ok(status.code().map_or(1, |code| code as u8));
            }
            continue;
        }
        let mut argv = vec![program.clone(), name.to_owned()];
        match name {
            "boot" => {
                let guests: Vec<&str> = choice.guests(&BOOT).collect();
                argv.extend([guests.join(" "), choice.earlier(&BOOT, &results)]);
            }
            "costs" => argv.extend(costs::prepare(&choice, &results)?),
            "block" => {
                argv.push(prepare_io(&results)?);
                argv.extend(choice.words(&BLOCK, &results));
            }
            "net" => {
                argv.extend(prepare_net(&results)?);
                argv.extend(choice.words(&NET, &results));
            }
            "migrate" => match choice.soak {
                Some(count) => {
                    argv = vec![program.clone(), "migrate-soak".to_owned()];
                    let guests: Vec<&str> = choice.guests(&MIGRATE).collect();
                    let (initramfs, wire) = (prepare_io(&results)?, modules(&WIRE)?);
                    argv.extend([initramfs, wire, count.to_string(), guests.join(" ")]);
                }
                None => {
                    argv.extend(prepare_migrate(&program, &results)?);
                    argv.extend(choice.words(&MIGRATE, &results));
                }
            },
            _ => {}
        }
        let mut spec = Spec::new(argv);
        // One vCPU: QEMU counts instructions on a single thread, and two would wait for each other's turns.
        spec.vcpus = 1;
        spec.icount = true;
        if name == MIGRATE.bench {
            // A file, its copy and a guest at a time.
            spec.mem_mib = 6144;
        }
        spec.timeout = match name {
            "boot" => BOOT_LIMIT,
            _ => LIMIT,
        };
        if choice.soak.is_some() {
            // That it goes well is all that counts, and a thread for each vCPU is sooner done.
            (spec.vcpus, spec.icount, spec.timeout) = (2, false, SOAK_LIMIT);
        }
        spec.env.push((
            "NOXEN_BIN".to_owned(),
            layout::bin_dir().display().to_string(),
        ));
        spec.keep_out = Some(results.clone());
        let status = lab::run(&spec)?;
        if status == lab::TIMED_OUT && name == BOOT.bench {
            eprintln!(
                "xtask: the samples of bench boot up to there are in {}; `--guests` adds those of others",
                results.join("boot.json").display()
            );
        }
        if status != 0 {
            return Ok(status);
        }
        let json = results.join(format!("{name}.json"));
        std::fs::metadata(&json)
            .with_context(|| format!("the bench left no {}", json.display()))?;
        eprintln!("xtask: samples in {}", json.display());
    }
    Ok(0)
}

/// The arguments of bench `net`: initramfs, the program on the host's side, vhost-net's modules in the order they load.
fn prepare_net(results: &Path) -> Result<[String; 3]> {
    let initramfs = prepare_io(results)?;
    Ok([
        initramfs,
        files::net()?.display().to_string(),
        modules(&["vhost_net"])?,
    ])
}

/// The paths of modules and of what they depend on, in the order they load.
fn modules(names: &[&str]) -> Result<String> {
    let dir = files::modules(Flavour::Generic)?;
    let order = assets::kernel::load_order(&dir, names)?;
    let paths = order
        .iter()
        .map(|file| dir.join(file).display().to_string());
    Ok(paths.collect::<Vec<_>>().join(" "))
}

/// The arguments of bench `migrate`: initramfs, modules of the wire, how fast this machine itself is.
fn prepare_migrate(program: &str, results: &Path) -> Result<[String; 3]> {
    let initramfs = prepare_io(results)?;
    let mut command = std::process::Command::new(program);
    let said = command.arg("yardstick").output()?;
    if !said.status.success() {
        bail!("{program} yardstick: {}", said.status);
    }
    let below = String::from_utf8(said.stdout).context("the yardstick")?;
    Ok([initramfs, modules(&WIRE)?, below.trim().to_owned()])
}

/// Makes the guest's initramfs for the benches of devices, their argument.
fn prepare_io(results: &Path) -> Result<String> {
    assets::ensure_io()?;
    let initramfs = costs::guest_with(results, "io-guest.cpio", &files::io()?)?;
    Ok(initramfs.display().to_string())
}
