//! The daemon's own life.
//!
//! ```text
//!   socket from systemd? -> lock -> pid file -> log -> registry, store -> adopt -> network script -> listen -> "ready"
//!     SIGTERM, SIGINT: socket away -> wait for work under way -> pid file away -> end (domains run on)
//!     SIGHUP: settings read again, log opened anew
//! ```

use crate::node::{Node, Options};
use crate::registry::{self, Registry};
use crate::servers::Servers;
use crate::settings::Settings;
use crate::store::StoreLink;
use crate::{
    adopt, atomic, clock, error, housekeeper, info, kernel_cache, log, managed, network_script,
    server, warning,
};
use noxen_systemd::activation;
use noxen_xend_api::paths::Paths;
use rustix::fs::{flock, FlockOperation};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for work under way when told to stop: a domain being built.
const FINISH: Duration = Duration::from_secs(130);

/// Settings that are looked at when xend starts.
const AT_START_ONLY: [&str; 16] = [
    "network-script",
    "vif-script",
    "device-create-timeout",
    "device-destroy-timeout",
    "xend-unix-xmlrpc-server",
    "xend-tcp-xmlrpc-server",
    "xend-tcp-xmlrpc-server-address",
    "xend-tcp-xmlrpc-server-port",
    "xend-tcp-xmlrpc-server-ssl-key-file",
    "xend-tcp-xmlrpc-server-ssl-cert-file",
    "xend-unix-server",
    "xend-unix-path",
    "xend-http-server",
    "xend-address",
    "xend-port",
    "xen-api-server",
];

/// Who waits to hear that the daemon listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// systemd, if it is there: `xend start --foreground`.
    ServiceManager,
    /// `xend start`, at the other end of standard output.
    StandardOutput,
}

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How it is run.
    pub options: Options,
    /// xend-config.sxp.
    pub settings: Settings,
    /// Where that is.
    pub config: PathBuf,
}

/// Runs until told to stop.
pub fn run(setup: Setup, announce: Announce, echo: bool) -> Result<(), String> {
    let paths = setup.options.paths.clone();
    let passed = activation::take(&[paths.xend_socket()], "xend.socket")?;
    let passed = match passed.and_then(|mut listeners| listeners.pop()) {
        Some(listener) => {
            listener.set_nonblocking(false).map_err(|e| e.to_string())?;
            Some(listener)
        }
        None => None,
    };
    let activated = passed.is_some();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    raise_descriptor_limit();
    let config = setup.config.clone();
    let outcome = set_up(setup, passed, echo);
    let (node, listener, servers, signals, lock) = match outcome {
        Ok(parts) => parts,
        Err(Failure::Running) if announce == Announce::StandardOutput => {
            say("running");
            return Ok(());
        }
        Err(Failure::Running) => return Err("another xend is running".into()),
        Err(Failure::Reason(reason)) => {
            error!("xend cannot start: {reason}");
            if announce == Announce::StandardOutput {
                say(&format!("error: {}", reason.replace('\n', " ")));
                return Ok(());
            }
            return Err(reason);
        }
    };
    if announce == Announce::StandardOutput {
        // Standard error is the debug log already.
        eprintln!("Xend started at {}.", clock::stamp(clock::now()));
        say("ready");
        let null = File::options().write(true).open("/dev/null");
        let gone = null.and_then(|null| Ok(rustix::stdio::dup2_stdout(&null)?));
        if let Err(e) = gone {
            error!("cannot let go of standard output: {e}");
        }
    }
    if announce == Announce::ServiceManager {
        tell_systemd(noxen_systemd::ready);
    }
    info!("xend listens on {}", paths.xend_socket().display());
    let starters = managed::starters(&node);
    spawn("accept", {
        let node = node.clone();
        move || server::serve(&node, &listener, server::LIMITS)
    })?;
    let sockets = servers.serve(&node)?;
    spawn("housekeeper", {
        let node = node.clone();
        move || housekeeper::run(&node)
    })?;
    spawn("on-start", {
        let node = node.clone();
        move || managed::at_start(&node, &starters)
    })?;
    wait_for_stop(signals, &config, echo, &node);
    managed::at_stop(&node);
    if announce == Announce::ServiceManager {
        tell_systemd(noxen_systemd::stopping);
    }
    // From here on nobody new gets in; a later xend makes its own socket. systemd's stays: who connects to it waits for
    // the next xend.
    let own_socket = (!activated).then(|| paths.xend_socket());
    for path in own_socket
        .into_iter()
        .chain(sockets)
        .chain([paths.xend_pid()])
    {
        if let Err(e) = std::fs::remove_file(&path) {
            error!("cannot remove {}: {e}", path.display());
        }
    }
    if !node.wait_idle(FINISH) {
        error!("xend stops while a domain is still being changed; the next one takes it apart");
    }
    info!("xend ends; its domains run on");
    drop(lock);
    Ok(())
}

fn tell_systemd(news: fn() -> io::Result<()>) {
    if let Err(e) = news() {
        warning!("systemd could not be told: {e}");
    }
}

enum Failure {
    /// Another one has the lock.
    Running,
    /// In a line.
    Reason(String),
}

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(e: E) -> Failure {
        Failure::Reason(e.to_string())
    }
}

type Parts = (Arc<Node>, UnixListener, Servers, Signals, File);

fn set_up(setup: Setup, passed: Option<UnixListener>, echo: bool) -> Result<Parts, Failure> {
    let Setup {
        options,
        settings,
        config,
    } = setup;
    let paths = &options.paths;
    atomic::make_directory(&paths.xend_run_dir(), 0o700)?;
    let lock_path = paths.xend_lock();
    let lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|e| format!("cannot open {}: {e}", lock_path.display()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(Failure::Running);
    }
    atomic::make_directory(&paths.log_dir(), 0o755)?;
    open_log(&settings, paths, echo)?;
    let pid = format!("{}\n", std::process::id());
    atomic::write(&paths.xend_pid(), pid.as_bytes(), 0o644)
        .map_err(|e| format!("cannot write {}: {e}", paths.xend_pid().display()))?;
    // Before anything is started, so that a signal from now on is not lost.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    info!(
        "xend {} starts (pid {}, monitor {}, store {})",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        options.vmm.display(),
        options.xenstored.display()
    );
    for remark in settings.remarks() {
        warning!("{}: {remark}", config.display());
    }
    atomic::make_directory(&paths.domains_run_dir(), 0o700)?;
    kernel_cache::sweep(paths);
    let boot_id = registry::boot_id()?;
    let registry = Registry::open(paths, &boot_id)?;
    let store = StoreLink::new(options.xenstored.clone());
    store.check()?;
    let socket = paths.xend_socket();
    let node = Arc::new(Node::new(options, registry, store));
    node.set_settings(settings);
    adopt::adopt(&node).map_err(|e| e.message)?;
    network_script::run(&node.settings(), &node.options.paths);
    let listener = match passed {
        Some(listener) => listener,
        None => server::listen(&socket)
            .map_err(|e| format!("cannot listen on {}: {e}", socket.display()))?,
    };
    let servers = Servers::bind(&node.settings(), &node.options.paths)?;
    Ok((node, listener, servers, signals, lock))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map(drop)
        .map_err(|e| format!("cannot start thread {name}: {e}"))
}

/// Opens the log where `settings` want it, with the least level that they want.
fn open_log(settings: &Settings, paths: &Paths, echo: bool) -> Result<(), String> {
    let path = settings.log_file(paths);
    log::init(&path, echo).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    log::set_least(settings.text("loglevel"));
    Ok(())
}

/// Takes what the file says now; a mistake in it leaves everything as it was. `xend reload` has looked at it before.
fn reload(node: &Node, config: &Path, echo: bool) {
    let settings = match Settings::load(config) {
        Ok(settings) => settings,
        Err(e) => return error!("the settings are not reloaded: {e}"),
    };
    if let Err(e) = open_log(&settings, &node.options.paths, echo) {
        return error!("the settings are not reloaded: {e}");
    }
    for remark in settings.remarks() {
        warning!("{}: {remark}", config.display());
    }
    let before = node.settings();
    for key in AT_START_ONLY {
        if settings.text(key) != before.text(key) {
            warning!(
                "{key} has changed; that takes effect when xend is restarted, which disturbs no domain"
            );
        }
    }
    node.set_settings(settings);
    info!("xend reloaded");
}

fn wait_for_stop(mut signals: Signals, config: &Path, echo: bool, node: &Node) {
    for signal in signals.forever() {
        if signal != SIGHUP {
            return;
        }
        reload(node, config, echo);
    }
}

/// One line to whoever started the daemon; they may have gone.
fn say(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// A thousand domains need more descriptors than the usual soft limit.
fn raise_descriptor_limit() {
    let now = getrlimit(Resource::Nofile);
    let more = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    // Failing leaves the soft limit, which is enough for most hosts.
    let _ = setrlimit(Resource::Nofile, more);
}
