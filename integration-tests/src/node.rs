//! A whole node of its own: daemons, domains, logs, all under one private directory.
//!
//! ```text
//!   Node ── NOXEN_ROOT=/tmp/noxen-node-PID-N ── toolctl ──> xend (started on demand) ──> xenstored, noxen-vmm
//!     └─ drop: every process with that NOXEN_ROOT killed, logs kept if the test failed, directory removed
//! ```

use crate::console::Console;
use crate::guest::Domain;
use crate::process::{self, Process};
use crate::{layout, wait};
use anyhow::{bail, Context, Result};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a finished command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The exit status; 128 + signal when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Its standard output, if the status was 0.
    ///
    /// # Panics
    /// On any other status, with all that was said.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(
            self.status, 0,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self.stdout
    }
}

/// Longest that a single toolctl command may take in the lab.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// A running node.
pub struct Node {
    root: PathBuf,
    /// Network namespace that all its programs run in.
    netns: Option<String>,
}

impl Node {
    /// A fresh node. Daemons start with the first command that needs them.
    pub fn new() -> Result<Node> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = PathBuf::from(format!("/tmp/noxen-node-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&root)?;
        let node = Node { root, netns: None };
        node.binary("toolctl")?;
        Ok(node)
    }

    /// A fresh node with our scripts.
    pub fn with_scripts() -> Result<Node> {
        let node = Node::new()?;
        let etc = node.root().join("etc/xen");
        std::fs::create_dir_all(&etc)?;
        let scripts = layout::repo_root().join("configs/scripts");
        std::os::unix::fs::symlink(scripts, etc.join("scripts"))?;
        Ok(node)
    }

    /// The same that takes domains in from other hosts at `port` of the loopback; its daemons run.
    pub fn taking_in(port: u16) -> Result<Node> {
        let node = Node::with_scripts()?;
        node.take_in("127.0.0.1", port)?;
        Ok(node)
    }

    /// The same, as a host of its own: in the network namespace `netns`, taking domains in at `port` of its `address`.
    pub fn host(netns: &str, address: &str, port: u16) -> Result<Node> {
        let mut node = Node::with_scripts()?;
        node.netns = Some(netns.to_owned());
        node.take_in(address, port)?;
        Ok(node)
    }

    fn take_in(&self, address: &str, port: u16) -> Result<()> {
        let settings = format!(
            "(xend-relocation-server yes)\n(xend-relocation-port {port})\n(xend-relocation-address {address})\n"
        );
        std::fs::write(self.root().join("etc/xen/xend-config.sxp"), settings)?;
        self.try_toolctl(&["list"], COMMAND_LIMIT)?.ok();
        Ok(())
    }

    /// The directory that stands for `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A built program; the error says what to run.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        let path = layout::bin_dir().join(name);
        if !path.exists() {
            bail!(
                "{} is not built: run `cargo build --release --workspace`",
                path.display()
            );
        }
        Ok(path)
    }

    /// A command on this node, by a built program's name.
    pub fn command(&self, program: &str, args: &[&str]) -> Result<Command> {
        let program = self.binary(program)?;
        let mut command = match &self.netns {
            Some(netns) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", netns]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(args)
            .env("NOXEN_ROOT", &self.root)
            .env("NOXEN_SOUND", &self.root);
        // A failing test must not leave a process behind that holds the runner's output open.
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs toolctl to its end.
    ///
    /// # Panics
    /// When it takes longer than [`COMMAND_LIMIT`] or does not start.
    #[track_caller]
    pub fn toolctl(&self, args: &[&str]) -> Said {
        match self.try_toolctl(args, COMMAND_LIMIT) {
            Ok(said) => said,
            Err(error) => panic!("toolctl {args:?}: {error:#}"),
        }
    }

    /// Runs toolctl to its end, within `limit`.
    pub fn try_toolctl(&self, args: &[&str], limit: Duration) -> Result<Said> {
        said(&mut self.command("toolctl", args)?, limit)
    }

    /// Writes a config file; its path.
    pub fn config(&self, domain: &Domain) -> Result<String> {
        self.config_text(&domain.name, &domain.text())
    }

    /// Writes a config file of any text; its path.
    pub fn config_text(&self, name: &str, text: &str) -> Result<String> {
        let path = self.root.join(format!("{name}.cfg"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// Creates the domain (running).
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn create(&self, domain: &Domain) -> String {
        match self.config(domain) {
            Ok(path) => self.toolctl(&["create", &path]).ok(),
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Attaches `toolctl console NAME`.
    pub fn console(&self, domain: &str) -> Result<Console> {
        Console::spawn(&self.command("toolctl", &["console", domain])?)
    }

    /// Creates the domain with `create -c`, so that the console shows its first line.
    pub fn create_on_console(&self, domain: &Domain) -> Result<Console> {
        let path = self.config(domain)?;
        Console::spawn(&self.command("toolctl", &["create", "-c", &path])?)
    }

    /// Names of the domains in `list`, domain 0 not among them.
    #[track_caller]
    pub fn domains(&self) -> Vec<String> {
        let table = self.toolctl(&["list"]).ok();
        table
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "Domain-0")
            .map(str::to_owned)
            .collect()
    }

    /// Waits until `list` has no such domain.
    #[track_caller]
    pub fn wait_gone(&self, domain: &str, limit: Duration) {
        wait::until(&format!("the end of domain {domain}"), limit, || {
            (!self.domains().iter().any(|name| name == domain)).then_some(())
        });
    }

    /// This node's processes (daemons, monitors, tools).
    pub fn processes(&self) -> Vec<Process> {
        process::with_env("NOXEN_ROOT", &self.root.display().to_string())
    }

    /// The processes of one program.
    pub fn processes_of(&self, program: &str) -> Vec<Process> {
        let mut found = self.processes();
        found.retain(|process| process.program() == program);
        found
    }

    /// The only running noxen-vmm.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    pub fn only_vmm(&self) -> Process {
        let mut found = self.processes_of("noxen-vmm");
        assert_eq!(found.len(), 1, "noxen-vmm processes: {found:?}");
        found.remove(0)
    }

    /// The control socket of the only domain; none when there is none.
    pub fn control_socket(&self) -> Option<PathBuf> {
        let domains = std::fs::read_dir(self.root.join("var/run/noxen/domains")).ok()?;
        let sockets = domains
            .flatten()
            .map(|entry| entry.path().join("control.sock"));
        sockets.into_iter().find(|path| path.exists())
    }

    /// Every file of this node, its daemons' own ones among them.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.root);
        files.sort();
        files
    }

    /// A domain's own log.
    pub fn domain_log(&self, domain: &str) -> String {
        let path = self.root.join(format!("var/log/xen/domains/{domain}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Kills every process of this node and waits for their end.
    fn kill_all(&self) {
        let gone = wait::try_until(Duration::from_secs(20), || {
            let left = self.processes();
            for process in &left {
                process::signal(process.pid, Signal::KILL);
            }
            left.is_empty().then_some(())
        });
        if gone.is_none() {
            eprintln!(
                "node {}: still running: {:?}",
                self.root.display(),
                self.processes()
            );
        }
    }

    /// Shows the ends of the logs and copies them to where the host can read them.
    fn keep_logs(&self) {
        let logs = self.root.join("var/log/xen");
        for path in files_below(&logs) {
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("---- {}", path.display());
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("  {line}");
            }
            if let Some(out) = std::env::var_os("NOXEN_LAB_OUT") {
                let flat = path
                    .display()
                    .to_string()
                    .trim_start_matches('/')
                    .replace('/', "_");
                let _ = std::fs::write(Path::new(&out).join(flat), text.as_bytes());
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
        self.kill_all();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Runs a command to its end, within `limit`; both streams to the end.
pub fn said(command: &mut Command, limit: Duration) -> Result<Said> {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    fn reader(stream: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<Vec<u8>> {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                let _ = stream.read_to_end(&mut bytes);
            }
            let _ = tell.send(bytes);
        });
        told
    }
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let Some(status) = wait::try_until(limit, || child.try_wait().transpose()) else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("still running after {} s", limit.as_secs());
    };
    let status = status?;
    // A daemon that it left behind and that kept the stream open is a fault, not a reason to hang.
    let collect = |told: std::sync::mpsc::Receiver<Vec<u8>>| -> Result<String> {
        let bytes = told
            .recv_timeout(Duration::from_secs(10))
            .context("it ended, but something that it started holds its output open")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Said {
        status: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: collect(out)?,
        stderr: collect(err)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn said_holds_both_streams_and_status() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 5"]);
        let said = said(&mut command, Duration::from_secs(20)).unwrap();
        assert_eq!(
            (said.status, said.stdout.as_str(), said.stderr.as_str()),
            (5, "out\n", "err\n")
        );
    }

    #[test]
    fn said_gives_up_on_a_command_that_does_not_end() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        assert!(said(&mut command, Duration::from_millis(100)).is_err());
    }
}
