//! A guest into a file on a tmpfs beside `cp` of it, and out of it beside reading the file.
//!
//! ```text
//!   save ──> FILE ── cp ──> FILE.copy       restore FILE ── the guest's next tick      FILE ── read(2), all of it
//! ```

use super::noxen::{Kind, Noxen};
use super::watch::Watch;
use super::{guest, GUEST, HOST, READY};
use crate::contender::LIMIT;
use anyhow::{Context, Result};
use noxen_integration_tests::console::command;
use noxen_integration_tests::node::said;
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Memory of the guest, and what of it is no zeros.
const MEMORY_MIB: u32 = 1024;
const NOISE_MIB: u64 = 768;
/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;

/// One file; times in µs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Switches of `restore`.
    pub switches: Vec<String>,
    /// Its bytes.
    pub bytes: u64,
    /// `save`, the whole command.
    pub save_us: u64,
    /// `cp`, the whole command.
    pub cp_us: u64,
    /// All of it read.
    pub read_us: u64,
    /// `restore`, the whole command.
    pub restore_us: u64,
    /// From its beginning to the guest's next tick.
    pub first_us: u64,
}

impl Sample {
    /// For the table.
    pub fn line(&self) -> String {
        let ms = |us: u64| us as f64 / 1000.0;
        let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
        format!(
            "saved      {} MiB: save {:.0} ms, cp {:.0} ms ({:.0} % of its rate); restore {}{:.0} ms, its first tick after {:.1} ms; read {:.0} ms (first/read {:.3})\n",
            self.bytes >> 20,
            ms(self.save_us),
            ms(self.cp_us),
            100.0 * ratio(self.cp_us, self.save_us),
            self.switches.iter().map(|s| format!("{s} ")).collect::<String>(),
            ms(self.restore_us),
            ms(self.first_us),
            ms(self.read_us),
            ratio(self.first_us, self.read_us)
        )
    }
}

/// A tmpfs of its own.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new() -> Result<Tmpfs> {
        let dir = std::env::temp_dir().join(format!("noxen-saved-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        mount("none", &dir, "tmpfs", MountFlags::empty(), None).context("cannot mount a tmpfs")?;
        Ok(Tmpfs(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Saves and restores; the network is there.
pub fn run(initramfs: &Path) -> Result<Vec<Sample>> {
    let dir = Tmpfs::new()?;
    let guest = guest(initramfs, MEMORY_MIB, NOISE_MIB);
    let mut noxen = Noxen::start(Kind::Pv, &guest, READY)?;
    let watch = Watch::begin(HOST, GUEST)?;
    let mut samples = Vec::new();
    for switches in [&[][..], &["--lazy"]] {
        let file = dir.0.join("image");
        let (saved, first) = {
            let saved = noxen.save_and_restore(&file, switches)?;
            let first = next_tick(&watch, saved.began)?;
            (saved, first)
        };
        let copy = dir.0.join("copy");
        let words = [file.display().to_string(), copy.display().to_string()];
        let begun = Instant::now();
        said(&mut command("cp", &[&words[0], &words[1]]), LIMIT)?.ok();
        let cp = begun.elapsed();
        std::fs::remove_file(&copy)?;
        let begun = Instant::now();
        let bytes = read(&file)?;
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let sample = Sample {
            switches: switches.iter().map(|s: &&str| (*s).to_owned()).collect(),
            bytes,
            save_us: us(saved.save),
            cp_us: us(cp),
            read_us: us(begun.elapsed()),
            restore_us: us(saved.restore),
            first_us: us(first),
        };
        eprint!("{}", sample.line());
        samples.push(sample);
        std::fs::remove_file(&file)?;
    }
    Ok(samples)
}

/// How long after `began` the guest's first tick came.
fn next_tick(watch: &Watch, began: Instant) -> Result<Duration> {
    let first = noxen_integration_tests::wait::try_until(LIMIT, || watch.first_tick_after(began));
    Ok(first
        .context("no tick after restore")?
        .duration_since(began))
}

fn read(path: &Path) -> Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            count => bytes += count as u64,
        }
    }
}
