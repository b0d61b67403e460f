//! The host's side of a lab in QEMU.
//!
//! ```text
//!   main ── starts QEMU ── waits: exit status | connection gone | time limit ── kills QEMU
//!    ├── relay: frames from the agent ──> stdout, stderr
//!    └── feeder: stdin ──> frames to the agent
//! ```

use super::frames::{Frame, Run};
use super::terminal::{self, RawTerminal};
use super::{initramfs, nudge, qemu, RunDir, Spec, LAB_FAILED, TIMED_OUT};
use crate::assets;
use anyhow::{Context, Result};
use noxen_integration_tests::{assets as files, layout};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Instant;

/// What the relay reports.
enum Event {
    Up,
    /// It has said something.
    Said,
    Exit(u8),
    /// Our own standard output is gone.
    OutputGone,
    /// The connection ended without an exit status.
    Lost(String),
}

/// QEMU, which does not outlive this value.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `spec`.
pub fn run(spec: &Spec, run_dir: &RunDir) -> Result<u8> {
    let start = Instant::now();
    if std::env::var_os("CARGO").is_some() {
        // `cargo xtask` stands between us and the user: if cargo is killed, end too.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    let image = {
        let _lock = assets::lock()?;
        initramfs::ensure(&layout::assets_dir())?
    };
    let (ours, theirs) = UnixStream::pair()?;
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
    let qemu_log = run_dir.path.join("qemu.log");
    let log = std::fs::File::create(&qemu_log)?;
    let mut machine = Machine(
        qemu::command(spec, run_dir, &image, theirs.as_fd())?
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("setpriv (package util-linux) does not run")?,
    );
    drop(theirs);

    let terminal = terminal::size();
    let mut to_agent = ours.try_clone()?;
    // If QEMU fails at once the relay sees the end of the connection and tells.
    let _ = Frame::Run(Box::new(order(spec, run_dir, terminal)?)).write(&mut to_agent);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || relay(ours, &tell));
    std::thread::spawn(move || feed(to_agent));
    let raw = terminal.and_then(|_| RawTerminal::enter());

    let status = loop {
        let left = spec.timeout.saturating_sub(start.elapsed());
        match told.recv_timeout(left.min(nudge::SILENCE)) {
            Ok(Event::Up) => {
                if spec.verbose {
                    eprintln!("lab: up after {:.1} s\r", start.elapsed().as_secs_f64());
                }
            }
            Ok(Event::Exit(status)) => break Ok(status),
            // What a shell reports of a command ended by SIGPIPE.
            Ok(Event::OutputGone) => break Ok(141),
            Ok(Event::Lost(why)) => {
                break Err(format!("the lab died without an exit status: {why}"))
            }
            Ok(Event::Said) => {}
            Err(_) if start.elapsed() < spec.timeout => stir(spec, run_dir),
            Err(_) => break Err(String::new()),
        }
    };
    drop(raw);
    let status = match status {
        Ok(status) => status,
        Err(why) if why.is_empty() => {
            eprintln!(
                "lab: time limit of {} s reached, everything is killed",
                spec.timeout.as_secs()
            );
            show_tail(run_dir);
            TIMED_OUT
        }
        Err(why) => {
            let _ = machine.0.kill();
            let _ = machine.0.wait();
            eprintln!("lab: {why}");
            show_tail(run_dir);
            LAB_FAILED
        }
    };
    if spec.verbose {
        eprintln!(
            "lab: ended after {:.1} s with {status}",
            start.elapsed().as_secs_f64()
        );
    }
    Ok(status)
}

fn order(spec: &Spec, run_dir: &RunDir, terminal: Option<(u16, u16)>) -> Result<Run> {
    let text = |path: std::path::PathBuf| -> Result<String> {
        path.into_os_string()
            .into_string()
            .map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))
    };
    let out = text(run_dir.out())?;
    let mut env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    env.extend(spec.env.iter().cloned());
    env.push(("NOXEN_LAB".to_owned(), "1".to_owned()));
    env.push(("NOXEN_LAB_OUT".to_owned(), out.clone()));
    if spec.icount {
        let pace = 1u32 << spec.icount_shift;
        env.push(("NOXEN_LAB_ICOUNT".to_owned(), pace.to_string()));
    }
    Ok(Run {
        argv: spec.argv.clone(),
        env,
        cwd: text(layout::repo_root())?,
        out,
        modules: text(files::modules(files::Flavour::Generic)?)?,
        terminal,
    })
}

/// Nudges a lab that is silent; where time is counted by instructions it has one thread, and no such fault.
fn stir(spec: &Spec, run_dir: &RunDir) {
    if spec.icount {
        return;
    }
    let outcome = nudge::nudge(&run_dir.debugger());
    match outcome {
        Err(error) => eprintln!("lab: silent, and not to be nudged: {error}\r"),
        Ok(()) if spec.verbose => eprintln!("lab: silent; nudged\r"),
        Ok(()) => {}
    }
}

/// Copies frames to our streams until the end.
fn relay(mut from: UnixStream, tell: &mpsc::Sender<Event>) {
    let mut stdout = std::io::stdout();
    let mut stderr = std::io::stderr();
    let last = loop {
        let written = match Frame::read(&mut from) {
            Ok(Some(Frame::Up)) => {
                let _ = tell.send(Event::Up);
                Ok(())
            }
            Ok(Some(Frame::Stdout(data))) => {
                let _ = tell.send(Event::Said);
                stdout.write_all(&data).and_then(|()| stdout.flush())
            }
            Ok(Some(Frame::Stderr(data))) => {
                let _ = tell.send(Event::Said);
                stderr.write_all(&data).and_then(|()| stderr.flush())
            }
            Ok(Some(Frame::Exit(status))) => break Event::Exit(status),
            Ok(Some(other)) => break Event::Lost(format!("it sent {other:?}")),
            Ok(None) => break Event::Lost("QEMU closed the connection".to_owned()),
            Err(error) => break Event::Lost(error.to_string()),
        };
        if written.is_err() {
            break Event::OutputGone;
        }
    };
    let _ = tell.send(last);
}

/// Copies our standard input into frames.
fn feed(mut to: UnixStream) {
    let mut stdin = std::io::stdin();
    let mut buffer = [0u8; 4096];
    loop {
        let frame = match stdin.read(&mut buffer) {
            Ok(0) => Frame::StdinEnd,
            Ok(n) => Frame::Stdin(buffer[..n].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => Frame::StdinEnd,
        };
        let end = frame == Frame::StdinEnd;
        if frame.write(&mut to).is_err() || end {
            return;
        }
    }
}

/// The ends of QEMU's and the kernel's words.
fn show_tail(run_dir: &RunDir) {
    for (name, path) in [
        ("QEMU", run_dir.path.join("qemu.log")),
        ("lab kernel", run_dir.console_log()),
    ] {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            continue;
        }
        eprintln!("lab: last lines of the {name} ({}):", path.display());
        for line in &lines[lines.len().saturating_sub(25)..] {
            eprintln!("    {}", line.trim_end());
        }
    }
}
