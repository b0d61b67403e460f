//! A daemon of its own for one test, in a directory of its own.

// Each test program uses its own part of this.
#![allow(dead_code)]

pub mod crowd;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use noxen_xenstore::client::Client;

/// How long anything may take before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A file or directory of Debian's that `cargo xtask assets` has fetched.
pub fn asset(name: &str) -> PathBuf {
    let assets = std::env::var_os("NOXEN_ASSETS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/assets"),
        PathBuf::from,
    );
    let path = assets.join(name);
    let shown = path.display();
    assert!(
        path.exists(),
        "{shown} is missing: run `cargo xtask assets`"
    );
    path
}

/// A running daemon, stopped when dropped.
pub struct Daemon {
    root: tempfile::TempDir,
    child: Option<Child>,
}

/// The program under test with its private root set.
pub fn xenstored(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenstored"));
    command
        .env("NOXEN_ROOT", root)
        .env_remove("XENSTORED_PATH")
        .env_remove("XENSTORED_RUNDIR")
        .stdin(Stdio::null());
    command
}

impl Daemon {
    /// Starts one in the foreground and waits until it accepts.
    pub fn start() -> Daemon {
        Daemon::start_with(&[])
    }

    /// The same with further options.
    pub fn start_with(options: &[&str]) -> Daemon {
        let root = tempfile::tempdir().unwrap();
        let mut daemon = Daemon { root, child: None };
        daemon.launch(options);
        daemon
    }

    /// Starts the daemon (again) in the same root.
    pub fn launch(&mut self, options: &[&str]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.root().join("stderr"))
            .unwrap();
        let mut command = xenstored(self.root());
        let child = command
            .arg("--foreground")
            .args(options)
            .stderr(log)
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let socket = self.root.path().join("var/run/xenstored/socket");
        let mut ended = None;
        wait_for("the daemon's socket", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || answers(&socket)
        });
        assert!(ended.is_none(), "{ended:?}: {}", self.log());
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn run_dir(&self) -> PathBuf {
        self.root().join("var/run/xenstored")
    }

    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("socket")
    }

    /// A connection with domain 0's rights.
    pub fn client(&self) -> Client {
        let mut client = Client::connect_to(&self.socket()).unwrap();
        client.set_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// A connection in a guest's name.
    pub fn guest(&self, domid: u16) -> Client {
        let client = Client::connect_to(&self.run_dir().join("domains")).unwrap();
        let mut client = client.attach(domid).unwrap();
        client.set_timeout(Some(PATIENCE)).unwrap();
        client
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal by number.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Stops it in its tracks, until SIGCONT.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
        let path = format!("/proc/{}/stat", self.pid());
        wait_for("the daemon to stand still", || {
            let text = std::fs::read_to_string(&path).unwrap();
            text.rsplit(") ").next().unwrap().starts_with('T')
        });
    }

    /// Waits for the daemon to end by itself; true if it ended well.
    pub fn ends_well(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        wait_for("the daemon's end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().success()
    }

    /// Kills it as hard as can be and reaps it.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        let mut text = String::new();
        std::fs::File::open(self.root().join("stderr"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// A program from a Debian package, pointed at this daemon.
    pub fn tool(&self, program: &str, package: &str, args: &[&str]) -> Command {
        let found = ["/usr/bin", "/usr/sbin"].map(|d| Path::new(d).join(program));
        let path = found.iter().find(|p| p.exists());
        let path =
            path.unwrap_or_else(|| panic!("{program} is missing: apt-get install {package}"));
        let mut command = Command::new(path);
        command
            .args(args)
            .env("XENSTORED_PATH", self.socket())
            .stdin(Stdio::null());
        command
    }

    /// Runs such a program to its end, for no longer than the patience.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut child = self
            .tool(program, "xenstore-utils", args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(&format!("{program} {args:?}"), || {
            child.try_wait().unwrap().is_some()
        });
        child.wait_with_output().unwrap()
    }

    /// The same, which must end well; its standard output.
    pub fn ok(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a daemon answers there: a socket may outlive the one that has died.
fn answers(socket: &Path) -> bool {
    let Ok(mut client) = Client::connect_to(socket) else {
        return false;
    };
    let patient = client.set_timeout(Some(Duration::from_secs(5)));
    patient.is_ok() && client.is_introduced(0).is_ok()
}

/// Polls until `done`, or panics naming what did not come.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
