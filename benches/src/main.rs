//! Benches: contenders side by side in one boot of the lab, raw samples kept.
//!
//! ```text
//!   cargo xtask bench NAME ── lab --icount ── noxen-benches NAME ──┬── NAME.json in $NOXEN_LAB_OUT
//!                                                                   └── ratio table, one-line summary last
//! ```
//! Virtual time comes from QEMU's instruction counter, so figures repeat and compare; only ratios
//! within one run mean anything.

mod block;
mod boot;
mod contender;
mod costs;
mod cpu_time;
mod exits;
mod kvm;
mod list;
mod migrate;
mod modules;
mod net;
mod patience;
mod rates;
mod report;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

/// The names that exist now; the others of `cargo xtask bench` come with what they measure.
const NAMES: [&str; 8] = [
    "boot GUESTS EARLIER",
    "costs INITRAMFS XEN-LOG GUESTS ROWS EARLIER",
    "block INITRAMFS GUESTS ROWS EARLIER",
    "net INITRAMFS PROGRAM MODULES GUESTS ROWS EARLIER",
    "store",
    "list",
    "migrate INITRAMFS MODULES YARDSTICK GUESTS ROWS EARLIER",
    "migrate-soak INITRAMFS MODULES COUNT GUESTS",
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let file = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
    let list = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let wanted = |guests: &str, rows: &str, earlier: &str| costs::Wanted {
        guests: list(guests),
        rows: list(rows),
        earlier: file(earlier),
    };
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["boot", guests, earlier] => boot::run(&list(guests), file(earlier).as_deref()),
        ["costs", initramfs, xen, guests, rows, earlier] => {
            let wanted = wanted(guests, rows, earlier);
            costs::run(initramfs.as_ref(), file(xen).as_deref(), &wanted)
        }
        ["block", initramfs, guests, rows, earlier] => {
            block::run(initramfs.as_ref(), &wanted(guests, rows, earlier))
        }
        ["net", initramfs, program, modules, guests, rows, earlier] => net::run(
            initramfs.as_ref(),
            program.as_ref(),
            modules,
            &wanted(guests, rows, earlier),
        ),
        ["store"] => store::run().and_then(|report| report.write_and_show()),
        // What the bench `store` starts itself as.
        ["store-floor", socket] => store::floor::serve(socket.as_ref()),
        ["migrate", initramfs, modules, below, guests, rows, earlier] => migrate::run(
            initramfs.as_ref(),
            modules,
            below,
            &wanted(guests, rows, earlier),
        ),
        ["migrate-soak", initramfs, modules, count, guests] => match count.parse() {
            Ok(count) => {
                migrate::soak::run(initramfs.as_ref(), modules, count, &wanted(guests, "", ""))
            }
            Err(error) => Err(anyhow::anyhow!("moves of a soak: {count:?}: {error}")),
        },
        // What xtask asks of the machine below the lab.
        ["yardstick"] => migrate::yardstick(),
        ["list"] => list::run().and_then(|report| report.write_and_show()),
        _ => {
            eprintln!("noxen-benches: give one of {NAMES:?}, not {args:?}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("noxen-benches: {error:#}");
            ExitCode::from(1)
        }
    }
}
