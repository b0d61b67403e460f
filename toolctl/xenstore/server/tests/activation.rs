//! The store on systemd's sockets: started by the first connection, gone and
//! come again behind them.

mod daemon;

use std::io::ErrorKind::ConnectionRefused;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use daemon::{wait_for, xenstored, PATIENCE};
use noxen_xenstore::client::{Client, ClientError, Nodes};
use rustix::process::{kill_process, Pid, Signal};

const DOORS: [&str; 3] = ["socket", "socket_ro", "domains"];

/// systemd-socket-activate, which is systemd's side of the protocol by itself:
/// it waits for a connection and becomes the daemon.
struct Activated {
    child: Child,
}

impl Activated {
    fn new(root: &Path, listen: &[&str], options: &[&str]) -> Activated {
        let run = root.join("var/run/xenstored");
        std::fs::create_dir_all(&run).unwrap();
        let mut command = Command::new("systemd-socket-activate");
        command.arg("--setenv=NOXEN_ROOT").env("NOXEN_ROOT", root);
        for name in listen {
            // It does not remove an old one.
            let _ = std::fs::remove_file(run.join(name));
            command.arg(format!("--listen={}", run.join(name).display()));
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(root.join("stderr"))
            .unwrap();
        let child = command
            .arg(env!("CARGO_BIN_EXE_xenstored"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("systemd-socket-activate (package systemd)");
        wait_for("systemd's sockets", || {
            listen.iter().all(|name| run.join(name).exists())
        });
        Activated { child }
    }

    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn door(root: &Path, name: &str) -> PathBuf {
    root.join("var/run/xenstored").join(name)
}

fn connect(root: &Path, name: &str) -> Client {
    let mut client = None;
    // A socket has its name before it listens.
    wait_for("a connection", || {
        match Client::connect_to(&door(root, name)) {
            Err(ClientError::Connect { source, .. }) if source.kind() == ConnectionRefused => false,
            connected => {
                client = Some(connected.unwrap());
                true
            }
        }
    });
    let mut client = client.unwrap();
    client.set_timeout(Some(PATIENCE)).unwrap();
    client
}

#[test]
fn first_connection_starts_the_store_and_its_sockets_outlive_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    // In another order than the daemon's own.
    let mut systemd = Activated::new(root, &["socket_ro", "domains", "socket"], &["-N"]);
    assert!(!root.join("var/run/xenstore.pid").exists());
    let mut tool = connect(root, "socket");
    tool.write("/kept", "1").unwrap();
    assert_eq!(connect(root, "socket_ro").read("/kept").unwrap(), "1");
    tool.introduce(5, 1, 2).unwrap();
    let guest = Client::connect_to(&door(root, "domains")).unwrap();
    guest.attach(5).unwrap();
    let pid = std::fs::read_to_string(root.join("var/run/xenstore.pid")).unwrap();
    assert_eq!(pid.trim(), systemd.child.id().to_string());
    let mode = |name| {
        let found = std::fs::metadata(door(root, name)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!(DOORS.map(mode), [0o600, 0o660, 0o600]);
    systemd.stop();
    for name in DOORS {
        assert!(door(root, name).exists(), "{name} went with the daemon");
    }
    drop(systemd);
    let mut next = Activated::new(root, &DOORS, &[]);
    assert_eq!(connect(root, "socket").read("/kept").unwrap(), "1");
    next.stop();
}

#[test]
fn sockets_stay_systemds_after_an_upgrade_in_place() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let mut systemd = Activated::new(root, &DOORS, &["-N"]);
    let mut tool = connect(root, "socket");
    let program = env!("CARGO_BIN_EXE_xenstored");
    tool.control(&["live-update", "-f", program]).unwrap();
    let said = tool.control(&["live-update", "-s", "-t", "60"]).unwrap();
    assert_eq!(said, "OK");
    tool.write("/after", "1").unwrap();
    assert_eq!(connect(root, "socket").read("/after").unwrap(), "1");
    systemd.stop();
    for name in DOORS {
        assert!(door(root, name).exists(), "{name} went with the daemon");
    }
}

#[test]
fn other_sockets_than_the_stores_are_refused_in_one_line() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let mut systemd = Activated::new(root, &["socket"], &["-N"]);
    let waits = std::os::unix::net::UnixStream::connect(door(root, "socket")).unwrap();
    assert!(!systemd.child.wait().unwrap().success());
    drop(waits);
    let said = std::fs::read_to_string(root.join("stderr")).unwrap();
    let line = said.lines().find(|line| line.starts_with("xenstored: "));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains("systemd passed 1 sockets, but 3 are needed; give xenstored.socket "),
        "{line}"
    );
}

#[test]
fn systemd_is_told_once_the_store_serves() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("notify");
    let notify = UnixDatagram::bind(&path).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut store = xenstored(root.path())
        .arg("--foreground")
        .env("NOTIFY_SOCKET", &path)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut buffer = [0; 256];
    let n = notify.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"READY=1\n");
    connect(root.path(), "socket").write("/x", "1").unwrap();
    kill_process(Pid::from_child(&store), Signal::TERM).unwrap();
    assert!(store.wait().unwrap().success());
}
