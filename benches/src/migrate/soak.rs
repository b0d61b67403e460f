//! Soak: a domain at work that goes to and fro many times, and nothing may be lost.
//!
//! ```text
//!   noxen, noxen-hvm ── writes memory, ticks, stream ── move ──┬── one copy, one monitor process?
//!          ^                                                   ├── stream alive, ticks come?
//!          └────────────── N times ────────────────────────────┴── hvm: the screen is there by VNC?   ── soak.json
//! ```
//! Not in virtual time: what counts is that it goes well each time.

use super::network::{Network, GUEST, HOST, SIDES};
use super::noxen::{Kind, Noxen};
use super::watch::Watch;
use super::{contender::Mover, guest, DOWNTIME_MS, OURS, READY};
use crate::contender::LIMIT;
use crate::costs::Wanted;
use crate::report;
use anyhow::{bail, Context, Result};
use noxen_integration_tests::console::command;
use noxen_integration_tests::node::said;
use noxen_integration_tests::wait;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// Memory of the guest, and what of it its program fills and writes.
const MEMORY_MIB: u32 = 192;
const NOISE_MIB: u64 = 32;
/// Pages that it writes in a second.
const PAGES: u64 = 1000;
/// The display that the domain is told to have.
const DISPLAY: u16 = 1;

/// One way of one domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// From the command to its end, µs.
    pub total_us: u64,
    /// Longest silence of the ticker, µs.
    pub silence_us: u64,
    /// What the mover calls its downtime, µs.
    pub own_downtime_us: u64,
    /// Ticks that never came.
    pub missing: u64,
}

/// All ways of one domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Soak {
    /// Its kind.
    pub contender: String,
    /// Each way.
    pub ways: Vec<Way>,
    /// What went wrong at the last one.
    pub wrong: Option<String>,
}

/// Moves each kind that is wanted so many times; an error names the first thing that went wrong.
pub fn run(initramfs: &Path, modules: &str, count: u32, wanted: &Wanted) -> Result<()> {
    let mut soaks: Vec<Soak> = Vec::new();
    for kind in OURS
        .into_iter()
        .filter(|kind| wanted.has_guest(kind.name()))
    {
        let mut soak = Soak {
            contender: kind.name().to_owned(),
            ways: Vec::new(),
            wrong: None,
        };
        let outcome = of_kind(kind, initramfs, modules, count, &mut soak);
        soak.wrong = outcome.err().map(|error| format!("{error:#}"));
        println!("{}", soak.line());
        soaks.push(soak);
        report::write_json("soak", &soaks)?;
    }
    let wrong: Vec<&str> = soaks.iter().filter_map(|s| s.wrong.as_deref()).collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    Ok(())
}

fn of_kind(kind: Kind, initramfs: &Path, modules: &str, count: u32, soak: &mut Soak) -> Result<()> {
    let _network = Network::new(modules, None)?;
    let mut noxen = Noxen::start(kind, &guest(initramfs, MEMORY_MIB, NOISE_MIB), READY)?;
    let mut watch = Watch::begin(HOST, GUEST)?;
    watch.rate(PAGES)?;
    for number in 1..=count {
        let way = way(kind, &mut noxen, &watch)
            .with_context(|| format!("{}, move {number} of {count}", kind.name()))?;
        soak.ways.push(way);
        if number % 10 == 0 {
            eprintln!("{}: {number} of {count}", kind.name());
        }
    }
    Ok(())
}

fn way(kind: Kind, noxen: &mut Noxen, watch: &Watch) -> Result<Way> {
    watch.look();
    let moved = noxen.move_live(DOWNTIME_MS)?;
    let there = Instant::now();
    wait::try_until(LIMIT, || watch.first_tick_after(there))
        .context("no tick comes from the other side")?;
    let (copies, monitors) = (noxen.copies(), noxen.monitors());
    if (copies, monitors) != (1, 1) {
        bail!("{copies} domains of its name, {monitors} monitor processes");
    }
    if kind == Kind::Hvm {
        screen(noxen.side())?;
    }
    let seen = watch.look();
    if let Some(why) = seen.lost {
        bail!("the stream was lost: {why}");
    }
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Ok(Way {
        total_us: us(moved.total),
        silence_us: us(seen.silence),
        own_downtime_us: us(moved.own_downtime),
        missing: seen.missing,
    })
}

/// A viewer's greeting at the screen on that side.
fn screen(side: usize) -> Result<()> {
    let port = 5900 + DISPLAY;
    // The shell of that side: its loopback is not ours.
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && head -c 12 <&3");
    let inside = SIDES[side].inside(&command("bash", &["-c", &script]));
    let mut inside = inside;
    let heard = said(&mut inside, LIMIT)?;
    if heard.stdout != "RFB 003.008\n" {
        bail!(
            "the screen does not answer: {} {}",
            heard.stdout,
            heard.stderr.trim()
        );
    }
    Ok(())
}

impl Soak {
    fn line(&self) -> String {
        let most = |of: fn(&Way) -> u64| self.ways.iter().map(of).max().unwrap_or(0);
        let mut silences: Vec<u64> = self.ways.iter().map(|way| way.silence_us).collect();
        silences.sort_unstable();
        let middle = silences.get(silences.len() / 2).copied().unwrap_or(0);
        let ms = |us: u64| us as f64 / 1000.0;
        format!(
            "soak: {} went {} times; still {:.1} ms in the middle, {:.1} at most; a move took {:.1} ms at most; {} ticks missing{}",
            self.contender,
            self.ways.len(),
            ms(middle),
            ms(most(|way| way.silence_us)),
            ms(most(|way| way.total_us)),
            self.ways.iter().map(|way| way.missing).sum::<u64>(),
            self.wrong.as_deref().map(|why| format!("; then {why}")).unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_middle_and_worst_and_what_went_wrong() {
        let way = |silence_us| Way {
            total_us: 2 * silence_us,
            silence_us,
            own_downtime_us: 0,
            missing: 1,
        };
        let soak = Soak {
            contender: "noxen".into(),
            ways: vec![way(9000), way(1000), way(2000)],
            wrong: Some("the stream was lost".into()),
        };
        assert_eq!(
            soak.line(),
            "soak: noxen went 3 times; still 2.0 ms in the middle, 9.0 at most; a move took 18.0 ms at most; 3 ticks missing; then the stream was lost"
        );
    }
}
