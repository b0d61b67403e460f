//! The store daemons beside each other, each in a directory of its own.
//!
//! ```text
//!   noxen       xenstored of this tree, NOXEN_ROOT
//!   C           Debian's xenstored, XENSTORED_RUNDIR     \ a shim in place of
//!   oxenstored  Debian's, --no-domain-init, its own /run /  Xen (shim.c)
//!   floor       what no daemon can be below (floor.rs): this program itself
//! ```

use super::talk::Talk;
use anyhow::{ensure, Context, Result};
use noxen_integration_tests::{assets, layout};
use rustix::process::Pid;
use rustix::thread::{sched_setaffinity, CpuSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon; gone when dropped.
pub struct Daemon {
    /// What the tables call it.
    pub name: &'static str,
    /// Where it listens.
    pub socket: PathBuf,
    child: Child,
}

impl Daemon {
    /// Ours, with further options.
    pub fn noxen(name: &'static str, dir: &Path, options: &[&str]) -> Result<Daemon> {
        let root = dir.join(name);
        std::fs::create_dir_all(&root)?;
        let mut command = Command::new(layout::bin_dir().join("xenstored"));
        command.arg("--foreground").args(options);
        command.env("NOXEN_ROOT", &root);
        Daemon::start(name, command, root.join("var/run/xenstored/socket"))
    }

    /// Xen's daemon in C. Without its domain part (`--no-domain-init`) Debian's 4.17.7 crashes at
    /// the first write, so it gets an empty ring page for domain 0 that nobody ever uses.
    pub fn c(dir: &Path) -> Result<Daemon> {
        let run = dir.join("c");
        std::fs::create_dir_all(&run)?;
        let mut command = debian("xenstored")?;
        command
            .args(["--no-fork", "--pid-file"])
            .arg(run.join("pid"))
            .env("LD_PRELOAD", shim(&run)?)
            .env("XENSTORED_RUNDIR", &run)
            .env("XENSTORED_ROOTDIR", &run);
        Daemon::start("C xenstored", command, run.join("socket"))
    }

    /// Xen's daemon in OCaml. Its socket's place is built in, so it gets a `/run` of its own.
    pub fn ocaml(dir: &Path) -> Result<Daemon> {
        let run = dir.join("ocaml");
        std::fs::create_dir_all(&run)?;
        let config = run.join("conf");
        std::fs::write(
            &config,
            "persistent = false\nxenstored-log-file = /dev/null\n",
        )?;
        let daemon = debian("oxenstored")?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg(
                "mount -t tmpfs none /run && mkdir /run/xen /run/xenstored \
                 && mount --bind \"$RUN\" /run/xenstored \
                 && LD_PRELOAD=\"$SHIM\" exec \"$0\" --no-fork --no-domain-init --no-access-log --config-file \"$CONF\"",
            )
            .arg(daemon.get_program())
            .env("RUN", &run)
            .env("SHIM", shim(&run)?)
            .env("CONF", &config);
        for (name, value) in daemon.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        Daemon::start("oxenstored", command, run.join("socket"))
    }

    /// The server that does nothing.
    pub fn floor(dir: &Path) -> Result<Daemon> {
        let socket = dir.join("floor");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("store-floor").arg(&socket);
        Daemon::start("floor", command, socket)
    }

    fn start(name: &'static str, mut command: Command, socket: PathBuf) -> Result<Daemon> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let mut daemon = Daemon {
            name,
            socket,
            child,
        };
        let deadline = Instant::now() + PATIENCE;
        while Talk::connect(&daemon.socket).is_err() {
            let ended = daemon.child.try_wait()?;
            ensure!(ended.is_none(), "{name} ended: {ended:?}");
            ensure!(Instant::now() < deadline, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    /// Where noxen-vmm would connect (ours only).
    pub fn domains_socket(&self) -> PathBuf {
        self.socket.with_file_name("domains")
    }

    /// Nanoseconds that its threads have run on a CPU.
    pub fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().and_then(|w| w.parse().ok());
            sum += first.unwrap_or(0u64);
        }
        ensure!(sum > 0, "/proc/PID/task/TID/schedstat holds no number");
        Ok(sum)
    }

    /// Keeps it on these processors.
    pub fn keep_on(&self, processors: &CpuSet) -> Result<()> {
        let pid = Pid::from_raw(self.child.id() as i32);
        Ok(sched_setaffinity(pid, processors)?)
    }

    /// Its memory (anonymous pages in RAM), in bytes.
    pub fn memory(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let kib: Option<u64> = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok());
        Ok(kib.context("/proc/PID/status holds no RssAnon")? * 1024)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of the package xen-utils-4.17 with its libraries.
fn debian(program: &str) -> Result<Command> {
    let tree = assets::xen_stores()?;
    let mut command = Command::new(tree.join("usr/lib/xen-4.17/bin").join(program));
    command.env("LD_LIBRARY_PATH", tree.join("usr/lib/x86_64-linux-gnu"));
    Ok(command)
}

/// Builds the shim; the path of its library.
fn shim(dir: &Path) -> Result<PathBuf> {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, include_str!("shim.c"))?;
    let built = Command::new("gcc")
        .args(["-w", "-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .context("gcc does not run")?;
    ensure!(built.success(), "gcc cannot build {}", source.display());
    Ok(library)
}
