//! KVM exits by kind, counted by the kernel's own trace histogram.
//!
//! Source: Linux, Documentation/trace/histogram.rst; the numbers are AMD's VMEXIT codes (APM volume 2, appendix C),
//! on Intel the basic exit reasons (SDM volume 3, appendix C).

use anyhow::{Context, Result};
use rustix::mount::{mount, MountFlags};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const TRIGGER: &str = "hist:keys=exit_reason:size=2048";

/// A histogram that counts until dropped.
pub struct Exits {
    event: PathBuf,
}

impl Exits {
    /// Starts to count every exit on this host.
    pub fn start() -> Result<Exits> {
        let tracing = Path::new("/sys/kernel/tracing");
        let event = tracing.join("events/kvm/kvm_exit");
        if !event.exists() {
            mount("tracefs", tracing, "tracefs", MountFlags::empty(), None)
                .context("cannot mount tracefs")?;
        }
        let exits = Exits { event };
        fs::write(exits.event.join("trigger"), TRIGGER).context("cannot count kvm_exit")?;
        Ok(exits)
    }

    /// The counts so far.
    pub fn counts(&self) -> Result<BTreeMap<String, u64>> {
        Ok(parse(&fs::read_to_string(self.event.join("hist"))?))
    }
}

impl Drop for Exits {
    fn drop(&mut self) {
        let _ = fs::write(self.event.join("trigger"), format!("!{TRIGGER}"));
    }
}

fn parse(hist: &str) -> BTreeMap<String, u64> {
    hist.lines()
        .filter_map(|line| {
            let (reason, count) = line
                .strip_prefix("{ exit_reason:")?
                .split_once("} hitcount:")?;
            Some((
                name(reason.trim().parse().ok()?),
                count.trim().parse().ok()?,
            ))
        })
        .fold(
            BTreeMap::new(),
            |mut counts, (name, count): (String, u64)| {
                *counts.entry(name).or_default() += count;
                counts
            },
        )
}

/// A word for an exit code of AMD's; the number for others.
fn name(code: u32) -> String {
    let word = match code {
        0x000..=0x01f => "control-register",
        0x020..=0x03f => "debug-register",
        0x040..=0x05f => "exception",
        0x060 => "interrupt",
        0x061 => "nmi",
        0x064 => "interrupt-window",
        0x072 => "cpuid",
        0x078 => "hlt",
        0x07b => "io",
        0x07c => "msr",
        0x081 => "vmmcall",
        0x08d => "xsetbv",
        0x400 => "nested-page-fault",
        other => return format!("code-{other:#x}"),
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_lines_are_named_and_summed() {
        let text = "# event histogram\n\n{ exit_reason:        123 } hitcount:     125758\n\
                    { exit_reason:          0 } hitcount:          4\n{ exit_reason:         16 } hitcount:          3\n\n\
                    Totals:\n    Hits: 144137\n";
        let counts = parse(text);
        assert_eq!(counts.get("io"), Some(&125_758));
        assert_eq!(counts.get("control-register"), Some(&7));
        assert_eq!(counts.len(), 2);
    }
}
