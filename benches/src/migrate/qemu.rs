//! The peer: QEMU/KVM's own migration from a process on one side to one on the other.
//!
//! ```text
//!   qemu, side 0 <──QMP: migrate, query-migrate── here ──QMP: query-status──> qemu -incoming, side 1      and back
//! ```

use super::contender::{Moved, Mover, Step};
use super::{network, MAC};
use crate::contender::{Contender, Guest, Qemu, LIMIT};
use anyhow::{bail, Context, Result};
use noxen_integration_tests::console::Console;
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PORT: u16 = 8851;
/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes a second that it is allowed, above what the wire carries.
const BANDWIDTH: u64 = 8 << 30;

/// A QEMU and its QMP socket.
struct Process {
    // Ended when it is dropped.
    _console: Console,
    qmp: BufReader<UnixStream>,
}

impl Process {
    fn start(guest: &Guest, number: usize, incoming: bool) -> Result<Process> {
        let side = network::SIDES[number % 2];
        let tap = network::TAP;
        let socket = format!("noxen-bench-qmp-{}-{number}.sock", std::process::id());
        let socket: PathBuf = std::env::temp_dir().join(socket);
        let mut options = vec![
            "-netdev".to_owned(),
            format!("tap,id=net,ifname={tap},script=no,downscript=no"),
            "-device".to_owned(),
            format!("virtio-net-pci,netdev=net,romfile=,mac={MAC}"),
            "-qmp".to_owned(),
            format!("unix:{},server=on,wait=off", socket.display()),
        ];
        if incoming {
            options.extend([
                "-incoming".to_owned(),
                format!("tcp:{}:{PORT}", side.address),
            ]);
        }
        let qemu = Qemu::q35(guest)?.with("qemu-q35", &options);
        let mut console = Console::spawn(&side.inside(&qemu.command()?))?;
        let deadline = Instant::now() + LIMIT;
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("QEMU's monitor")
                }
                // It has ended already, or is not that far.
                Err(_) => {
                    if let Ok(status) = console.wait(Duration::from_millis(1)) {
                        bail!("QEMU ended ({status:?}): {}", console.transcript());
                    }
                }
            }
        };
        let _ = std::fs::remove_file(&socket);
        stream.set_read_timeout(Some(LIMIT))?;
        let mut process = Process {
            _console: console,
            qmp: BufReader::new(stream),
        };
        process.read()?;
        process.ask("qmp_capabilities", json!({}))?;
        Ok(process)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.qmp.read_line(&mut line).context("QEMU's monitor")? == 0 {
            bail!("QEMU has ended: {}", self._console.transcript());
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU said {line:?}"))
    }

    fn ask(&mut self, what: &str, arguments: Value) -> Result<Value> {
        let line = json!({"execute": what, "arguments": arguments});
        writeln!(self.qmp.get_mut(), "{line}")?;
        loop {
            let said = self.read()?;
            match (said.get("return"), said.get("error")) {
                (Some(value), _) => return Ok(value.clone()),
                (_, Some(error)) => bail!("QEMU refuses {what}: {error}"),
                // An event.
                _ => {}
            }
        }
    }
}

/// The guest, wherever it is.
pub struct Peer {
    guest: Guest,
    process: Process,
    count: usize,
}

impl Peer {
    /// Starts it; its console says when it is ready.
    pub fn start(guest: &Guest, ready: &str) -> Result<Peer> {
        let mut process = Process::start(guest, 0, false)?;
        process._console.expect(ready, LIMIT)?;
        Ok(Peer {
            guest: guest.clone(),
            process,
            count: 0,
        })
    }
}

impl Mover for Peer {
    fn move_live(&mut self, downtime_ms: u32) -> Result<Moved> {
        let begun = Instant::now();
        let mut other = Process::start(&self.guest, self.count + 1, true)?;
        self.process.ask(
            "migrate-set-parameters",
            json!({"max-bandwidth": BANDWIDTH, "downtime-limit": downtime_ms}),
        )?;
        let there = network::SIDES[(self.count + 1) % 2].address;
        self.process
            .ask("migrate", json!({"uri": format!("tcp:{there}:{PORT}")}))?;
        let first = Instant::now();
        let mut steps = Vec::new();
        let (mut sent, mut from) = (0, 0);
        let last = loop {
            let said = self.process.ask("query-migrate", json!({}))?;
            let number = |path: &str| said.pointer(path).and_then(Value::as_u64).unwrap_or(0);
            let now = u64::try_from(first.elapsed().as_micros()).unwrap_or(u64::MAX);
            let transferred = number("/ram/transferred");
            let micros = now - from;
            steps.push(Step {
                from_us: from,
                micros,
                bytes: transferred.saturating_sub(sent),
                written: number("/ram/dirty-pages-rate") * 4096 * micros / 1_000_000,
            });
            (sent, from) = (transferred, now);
            match said["status"].as_str() {
                Some("completed") => break said,
                Some("failed" | "cancelled") => bail!("QEMU's migration: {said}"),
                _ => std::thread::sleep(LOOK),
            }
        };
        let deadline = Instant::now() + LIMIT;
        while other.ask("query-status", json!({}))?["status"] != "running" {
            if Instant::now() > deadline {
                bail!("QEMU does not run over there");
            }
        }
        let total = begun.elapsed();
        self.process = other;
        self.count += 1;
        let number = |path: &str| last.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        Ok(Moved {
            total,
            own_downtime: Duration::from_millis(number("/downtime")),
            bytes: number("/ram/transferred"),
            parts: vec![
                ("setup".into(), number("/setup-time") * 1000),
                ("total by itself".into(), number("/total-time") * 1000),
            ],
            steps,
        })
    }
}
