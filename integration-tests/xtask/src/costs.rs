//! `cargo xtask bench costs [--guests LIST] [--rows LIST]`: what of the cost table is to be measured.
//!
//! ```text
//!   noxen-1 noxen-2 hvm-1 hvm-2   in one boot of the lab
//!   xen-1 xen-2                   on a machine of their own, before it ──> costs-xen.log
//! ```
//! Without switches everything is measured anew. With one, the figures take their places among those that
//! target/bench/costs.json holds already, so that the table can be made in pieces.

use crate::options::{Arg, Args};
use crate::{assets, xen};
use anyhow::{bail, Context, Result};
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

const GUESTS: [&str; 6] = ["xen-1", "xen-2", "noxen-1", "noxen-2", "hvm-1", "hvm-2"];

/// Guests and rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// None are all.
    guests: Vec<String>,
    /// None are all.
    rows: Vec<String>,
}

fn words(list: &str) -> Vec<String> {
    let words = list.split(',').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

impl Choice {
    /// From what follows `costs` on the command line.
    pub fn parse(args: &[String]) -> Result<Choice> {
        let mut choice = Choice::default();
        let mut args = Args::new(args);
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Switch(switch) if switch == "--guests" => {
                    choice.guests = words(&args.value(&switch)?);
                }
                Arg::Switch(switch) if switch == "--rows" => {
                    choice.rows = words(&args.value(&switch)?);
                }
                Arg::Switch(other) | Arg::Word(other) => {
                    bail!("bench costs takes --guests and --rows, not {other}")
                }
            }
        }
        for guest in &choice.guests {
            if !GUESTS.contains(&guest.as_str()) {
                bail!("bench costs has the guests {GUESTS:?}, not {guest:?}");
            }
        }
        Ok(choice)
    }

    fn guests(&self, xen: bool) -> Vec<&str> {
        let all = GUESTS.into_iter();
        all.filter(|guest| guest.starts_with("xen-") == xen)
            .filter(|guest| self.guests.is_empty() || self.guests.iter().any(|g| g == guest))
            .collect()
    }

    /// Makes the guest's initramfs and real Xen's transcript; the arguments of the bench's program.
    /// `$NOXEN_XEN_LOG` names a transcript of an earlier run to take instead.
    pub fn prepare(&self, results: &Path) -> Result<Vec<String>> {
        assets::ensure_costs()?;
        let initramfs = guest_with(results, "costs-guest.cpio", &files::costs()?)?;
        let vcpus: Vec<u32> = self
            .guests(true)
            .iter()
            .filter_map(|guest| guest.strip_prefix("xen-")?.parse().ok())
            .collect();
        let log = match std::env::var_os("NOXEN_XEN_LOG") {
            Some(path) => Some(path.into()),
            None if vcpus.is_empty() => None,
            None => {
                eprintln!("xtask: real Xen's guests first");
                let log = results.join("costs-xen.log");
                let rows = self.rows.clone();
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
        let earlier = match *self == Choice::default() {
            true => String::new(),
            false => results.join("costs.json").display().to_string(),
        };
        Ok(vec![
            initramfs.display().to_string(),
            log,
            self.guests(false).join(" "),
            self.rows.join(" "),
            earlier,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Choice> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Choice::parse(&words)
    }

    #[test]
    fn without_switches_every_guest_is_measured() {
        let choice = parse(&[]).unwrap();
        assert_eq!(choice.guests(true), ["xen-1", "xen-2"]);
        assert_eq!(
            choice.guests(false),
            ["noxen-1", "noxen-2", "hvm-1", "hvm-2"]
        );
    }

    #[test]
    fn chosen_guests_and_rows_are_told_apart() {
        let choice = parse(&["--guests=hvm-1,xen-2", "--rows", "pipe,build"]).unwrap();
        assert_eq!(choice.guests(true), ["xen-2"]);
        assert_eq!(choice.guests(false), ["hvm-1"]);
        assert_eq!(choice.rows, ["pipe", "build"]);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert!(parse(&["--guests=hvm-3"]).is_err());
        assert!(parse(&["hvm-1"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }
}
