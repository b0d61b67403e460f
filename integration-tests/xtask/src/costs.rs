//! `cargo xtask bench costs [--guests LIST] [--rows LIST]`: what the cost table's guests need made for them.
//!
//! ```text
//!   noxen-1 noxen-2 hvm-1 hvm-2   in one boot of the lab
//!   xen-1 xen-2                   on a machine of their own, before it ──> costs-xen.log
//! ```

use crate::choice::{Choice, Offer};
use crate::{assets, xen};
use anyhow::{Context, Result};
use noxen_integration_tests::assets::{self as files, Flavour};
use std::path::{Path, PathBuf};

/// Writes `NAME` in `results`: our guest's initramfs and what `addition` adds.
pub fn guest_with(results: &Path, name: &str, addition: &Path) -> Result<PathBuf> {
    let initramfs = results.join(name);
    let mut bytes = std::fs::read(files::guest_initramfs(Flavour::Generic)?)?;
    bytes.extend(std::fs::read(addition)?);
    std::fs::write(&initramfs, bytes)?;
    Ok(initramfs)
}

/// What can be chosen.
pub const OFFER: Offer = Offer {
    bench: "costs",
    guests: &["xen-1", "xen-2", "noxen-1", "noxen-2", "hvm-1", "hvm-2"],
    rows: true,
    soak: None,
};

/// The chosen guests that are real Xen's, or the others.
fn guests(choice: &Choice, xen: bool) -> Vec<&'static str> {
    let chosen = choice.guests(&OFFER);
    chosen
        .filter(|guest| guest.starts_with("xen-") == xen)
        .collect()
}

/// Makes the guest's initramfs and real Xen's transcript; the arguments of the bench's program.
/// `$NOXEN_XEN_LOG` names a transcript of an earlier run to take instead.
pub fn prepare(choice: &Choice, results: &Path) -> Result<Vec<String>> {
    assets::ensure_costs()?;
    let initramfs = guest_with(results, "costs-guest.cpio", &files::costs()?)?;
    let vcpus: Vec<u32> = guests(choice, true)
        .iter()
        .filter_map(|guest| guest.strip_prefix("xen-")?.parse().ok())
        .collect();
    let log = match std::env::var_os("NOXEN_XEN_LOG") {
        Some(path) => Some(path.into()),
        None if vcpus.is_empty() => None,
        None => {
            eprintln!("xtask: real Xen's guests first");
            let log = results.join("costs-xen.log");
            let rows = choice.rows.clone();
            xen::run(&initramfs, &xen::Order { vcpus, rows }, results, &log)?;
            Some(log)
        }
    };
    let log = match log {
        Some(log) => std::fs::canonicalize(&log)
            .with_context(|| log.display().to_string())?
            .display()
            .to_string(),
        None => String::new(),
    };
    Ok(vec![
        initramfs.display().to_string(),
        log,
        guests(choice, false).join(" "),
        choice.rows.join(" "),
        choice.earlier(&OFFER, results),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Choice {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Choice::parse(&OFFER, &words).unwrap()
    }

    #[test]
    fn without_switches_every_guest_is_measured() {
        let choice = parse(&[]);
        assert_eq!(guests(&choice, true), ["xen-1", "xen-2"]);
        assert_eq!(
            guests(&choice, false),
            ["noxen-1", "noxen-2", "hvm-1", "hvm-2"]
        );
    }

    #[test]
    fn chosen_guests_and_rows_are_told_apart() {
        let choice = parse(&["--guests=hvm-1,xen-2", "--rows", "pipe,build"]);
        assert_eq!(guests(&choice, true), ["xen-2"]);
        assert_eq!(guests(&choice, false), ["hvm-1"]);
        assert_eq!(choice.rows, ["pipe", "build"]);
    }
}
