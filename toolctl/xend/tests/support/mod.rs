//! A private xend with a real xenstored and fake monitors, under a directory of its own.
#![allow(dead_code)] // Each test file uses its part.

use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, ClientError, DomainConfig, DomainInfo, Fault, Request, Response};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One private node.
pub struct Lab {
    root: PathBuf,
    guard: String,
    kvm: PathBuf,
}

/// The xenstored program, built if need be.
pub fn xenstored() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("noxen-xenstored", "xenstored"))
}

/// The toolctl program, built if need be.
pub fn toolctl() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("noxen-toolctl", "toolctl"))
}

fn build(package: &str, program: &str) -> PathBuf {
    let xend = Path::new(env!("CARGO_BIN_EXE_xend"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", package]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let directory = xend.parent().unwrap();
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.env("CARGO_TARGET_DIR", directory.parent().unwrap());
    assert!(
        cargo.status().unwrap().success(),
        "{program} does not build"
    );
    directory.join(program)
}

/// A file or directory that `cargo xtask assets` made.
pub fn asset(name: &str) -> PathBuf {
    let assets = std::env::var_os("NOXEN_ASSETS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/assets"),
        PathBuf::from,
    );
    let path = assets.join(name);
    assert!(
        path.exists(),
        "run `cargo xtask assets` first: {} is missing",
        path.display()
    );
    path.canonicalize().unwrap()
}

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}

/// A key and a certificate for localhost that signed itself, in `directory`.
pub fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let (key, cert) = (directory.join("key.pem"), directory.join("cert.pem"));
    let words =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -days 2";
    let made = Command::new("openssl")
        .args(words.split_whitespace())
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (key, cert)
}

/// Waits until `condition` gives something; fails after 20 s.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "it never came to pass: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Lab {
    /// A node whose xend runs; domains may be restarted at once.
    pub fn new() -> Lab {
        Lab::with_guard("0")
    }

    /// A node whose domains are restarted only after `seconds`.
    pub fn with_guard(seconds: &str) -> Lab {
        Lab::with(seconds, Path::new("/dev/null"))
    }

    /// A node whose KVM device is `kvm`.
    pub fn with_kvm(kvm: &Path) -> Lab {
        Lab::with("0", kvm)
    }

    fn with(seconds: &str, kvm: &Path) -> Lab {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("noxen-xend-{}-{n}", std::process::id());
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&root).unwrap();
        let lab = Lab {
            root,
            guard: seconds.into(),
            kvm: kvm.to_owned(),
        };
        lab.kernel("ok", "ok");
        lab.start();
        lab
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn paths(&self) -> Paths {
        Paths::under(&self.root)
    }

    /// Runs `xend ARGS`.
    pub fn xend(&self, args: &[&str]) -> Output {
        let xend = Path::new(env!("CARGO_BIN_EXE_xend"));
        self.command(xend).args(args).output().unwrap()
    }

    /// A program with this node's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("NOXEN_ROOT", &self.root)
            .env("NOXEN_XEND", env!("CARGO_BIN_EXE_xend"))
            .env("NOXEN_VMM", env!("CARGO_BIN_EXE_xend-fake-monitor"))
            .env("NOXEN_XENSTORED", xenstored())
            .env("NOXEN_KVM", &self.kvm)
            .env("NOXEN_TUN", "/dev/null")
            .env("NOXEN_VGA_BIOS", self.root.join("kernel-ok"))
            .env("NOXEN_DEVICE_TIMEOUT", "2")
            .env_remove("XENSTORED_PATH")
            .env_remove("XENSTORED_RUNDIR")
            .env_remove("XEND_CONFIG");
        command
    }

    pub fn start(&self) {
        let output = self.xend(&["start", "--restart-guard", &self.guard]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}\n{}", self.log());
    }

    pub fn stop(&self) {
        let output = self.xend(&["stop"]);
        assert!(output.status.success(), "{output:?}");
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.paths().xend_pid()).unwrap();
        text.trim().parse().unwrap()
    }

    /// xenstored's process id.
    pub fn store_pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.root.join("var/run/xenstore.pid")).unwrap();
        text.trim().parse().unwrap()
    }

    /// kill -9 of the daemon and of the supervisor that would start it again.
    pub fn kill_all_of_xend(&self) {
        let pid = self.pid();
        kill(parent_of(pid));
        kill(pid);
        // Its leader is a zombie before its last thread lets go of the lock.
        eventually("xend is dead", || {
            (self.xend(&["status"]).status.code() == Some(3)).then_some(())
        });
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.paths().xend_log()).unwrap_or_default()
    }

    /// A kernel file that tells the fake monitor what to do.
    pub fn kernel(&self, name: &str, text: &str) -> String {
        let path = self.root.join(format!("kernel-{name}"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A hotplug script; its body gets `say NODE VALUE`, which writes a node of the back end.
    pub fn script(&self, name: &str, body: &str) {
        use std::os::unix::fs::PermissionsExt;
        let directory = self.paths().scripts_dir();
        std::fs::create_dir_all(&directory).unwrap();
        let write = env!("CARGO_BIN_EXE_xend-fake-monitor");
        let text =
            format!("#!/bin/sh\nsay() {{ {write} --say \"$XENBUS_PATH/$1\" \"$2\"; }}\n{body}\n");
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A file for a disk.
    pub fn image(&self, name: &str, text: &str) -> String {
        let path = self.root.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// xend-config.sxp.
    pub fn settings(&self, text: &str) {
        let path = self.paths().xend_config();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A program that the node is to find as `name`; the directory that it is in.
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let directory = self.root.join("bin");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        directory
    }

    /// What the monitor of a domain has logged.
    pub fn domain_log(&self, name: &str) -> String {
        let path = self.paths().domain_log_dir().join(format!("{name}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    pub fn config(&self, name: &str) -> DomainConfig {
        DomainConfig {
            name: name.into(),
            kernel: self.root.join("kernel-ok").display().to_string(),
            memory: 64,
            ..DomainConfig::default()
        }
    }

    pub fn client(&self) -> Client {
        let client = Client::connect(&self.paths()).unwrap();
        client.set_timeout(Some(Duration::from_secs(60))).unwrap();
        client
    }

    pub fn ask(&self, request: &Request) -> Result<Response, Fault> {
        match self.client().ask(request) {
            Ok(response) => Ok(response),
            Err(ClientError::Fault(fault)) => Err(fault),
            Err(e) => panic!("{e}\n{}", self.log()),
        }
    }

    pub fn create(&self, config: DomainConfig) -> Result<DomainInfo, Fault> {
        let config = Box::new(config);
        match self.ask(&Request::Create { config })? {
            Response::Domain { domain } => Ok(*domain),
            other => panic!("{other:?}"),
        }
    }

    /// Creates a domain and lets it run.
    pub fn run(&self, config: DomainConfig) -> DomainInfo {
        let name = config.name.clone();
        let domain = self.create(config).unwrap();
        self.ask(&Request::Unpause { domain: name }).unwrap();
        domain
    }

    pub fn refusal(&self, config: DomainConfig) -> String {
        let fault = self.create(config).unwrap_err();
        assert!(!fault.message.contains('\n'), "{}", fault.message);
        fault.message
    }

    pub fn destroy(&self, domain: &str) {
        let domain = domain.into();
        self.ask(&Request::Destroy { domain }).unwrap();
    }

    /// Guests, by name.
    pub fn guests(&self) -> Vec<DomainInfo> {
        let all = Request::List {
            domains: vec![],
            state: Default::default(),
        };
        match self.ask(&all).unwrap() {
            Response::Domains { domains } => {
                domains.into_iter().filter(|d| d.domid != Some(0)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn guest(&self, name: &str) -> Option<DomainInfo> {
        self.guests().into_iter().find(|d| d.name == name)
    }

    pub fn letters(&self, name: &str) -> String {
        self.guest(name).unwrap().state.letters()
    }

    /// A connection to this node's store, with domain 0's rights.
    pub fn store(&self) -> noxen_xenstore::client::Client {
        let socket = self.root.join("var/run/xenstored/socket");
        noxen_xenstore::client::Client::connect_to(&socket).unwrap()
    }

    /// Every node of the store below `path`; the root is the empty path.
    pub fn store_tree(&self, path: &str) -> Vec<String> {
        use noxen_xenstore::client::Nodes;
        let mut store = self.store();
        let mut out = Vec::new();
        let mut todo = vec![path.to_owned()];
        while let Some(path) = todo.pop() {
            let shown = if path.is_empty() { "/" } else { &path };
            let children = store.directory_if_present(shown).unwrap();
            for child in children.unwrap_or_default() {
                todo.push(format!("{path}/{child}"));
            }
            out.push(path);
        }
        out.sort();
        out
    }

    /// What exists of guests: store nodes, run directories, records.
    pub fn traces(&self) -> Vec<String> {
        let mut out: Vec<String> = self
            .store_tree("/local/domain")
            .into_iter()
            .chain(self.store_tree("/vm"))
            .filter(|p| p.len() > 14)
            .filter(|p| !p.starts_with("/local/domain/0") || is_of_a_backend(p))
            .filter(|p| !p.starts_with("/vm/00000000-0000-0000-0000-000000000000"))
            .collect();
        for directory in [self.paths().domains_run_dir(), self.paths().running_dir()] {
            for entry in std::fs::read_dir(directory).unwrap() {
                out.push(entry.unwrap().path().display().to_string());
            }
        }
        out
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("xend.log:\n{}", self.log());
        }
        // Adopting is how the monitors of a failed test are found. Nothing here may panic.
        if self.xend(&["start"]).status.success() {
            for domid in self.guests().iter().filter_map(|guest| guest.domid) {
                let domain = domid.to_string();
                let _ = self.ask(&Request::Destroy { domain });
            }
            let _ = self.xend(&["stop"]);
        }
        let pid = std::fs::read_to_string(self.root.join("var/run/xenstore.pid"));
        if let Some(pid) = pid.ok().and_then(|text| text.trim().parse().ok()) {
            kill(pid);
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// `/local/domain/0/backend/CLASS/DOMID` and below.
fn is_of_a_backend(path: &str) -> bool {
    path.starts_with("/local/domain/0/backend/") && path.split('/').count() > 6
}

/// kill -9.
pub fn kill(pid: u32) {
    use rustix::process::{kill_process, Pid, Signal};
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Runs and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields[0] != "Z")
}

/// Parent's process id.
pub fn parent_of(pid: u32) -> u32 {
    stat_fields(pid).unwrap()[1].parse().unwrap()
}

/// Of /proc/PID/stat, from field 3 (the state) on.
pub fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}
