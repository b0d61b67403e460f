//! Benches: contenders side by side in one boot of the lab, raw samples kept.
//!
//! ```text
//!   cargo xtask bench NAME ── lab --icount ── noxen-benches NAME ──┬── NAME.json in $NOXEN_LAB_OUT
//!                                                                   └── ratio table, one-line summary last
//! ```
//! Virtual time comes from QEMU's instruction counter, so figures repeat and compare; only ratios
//! within one run mean anything.

mod boot;
mod contender;
mod costs;
mod cpu_time;
mod exits;
mod kvm;
mod list;
mod report;
mod store;

use std::process::ExitCode;

/// The names that exist now; the others of `cargo xtask bench` come with what they measure.
const NAMES: [&str; 4] = [
    "boot",
    "costs INITRAMFS XEN-LOG GUESTS ROWS MODE",
    "store",
    "list",
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["boot"] => boot::run().and_then(|report| report.write_and_show()),
        ["costs", initramfs, xen, guests, rows, mode] => {
            let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
            let wanted = costs::Wanted {
                guests: list(guests),
                rows: list(rows),
                keep: mode == "keep",
            };
            let xen = (!xen.is_empty()).then(|| xen.as_ref());
            costs::run(initramfs.as_ref(), xen, &wanted)
        }
        ["store"] => store::run().and_then(|report| report.write_and_show()),
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
