//! xend's link to xenstored: one connection, made again when it breaks, xenstored started when it is missing.
//!
//! ```text
//!   apply(ops) -> transaction { write mkdir perms rm .. } -> commit, repeated as a whole on a conflict
//!        \--connection lost--> connect (start xenstored) -> once more: every op may be done twice
//! ```

use crate::{info, warning};
use noxen_systemd::PRIVATE_VARIABLES;
use noxen_xenstore::client::{Client, ClientError, Nodes};
use noxen_xenstore::{locations, DomId, Errno, Perms};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Environment variable: the systemd unit that is started instead of the program when there is no xenstored. Set by
/// xend.service, so that xenstored is not one of its processes.
pub const UNIT_ENV: &str = "NOXEN_XENSTORED_UNIT";

/// How long xenstored may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a xenstored that is being started by somebody else may take to listen.
const START: Duration = Duration::from_secs(10);
/// The same, where it is not known that there is one.
const START_OF_OTHERS: Duration = Duration::from_secs(1);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// Sets a value; parents are made.
    Write(String, String),
    /// Makes a node if there is none.
    Mkdir(String),
    /// Sets permissions: wire strings separated by blanks, owner first (`n0 r3`).
    Perms(String, String),
    /// Removes a node with what is below; it need not exist.
    Remove(String),
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// xenstored said no, or cannot be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It is not there and cannot be started.
    #[error("cannot start {}: {reason}; is it installed beside xend, on PATH or named by NOXEN_XENSTORED?", .program.display())]
    Start {
        /// Program.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not a domain id.
    #[error("{0} is no domain id")]
    DomId(u32),
}

impl StoreError {
    /// May it be otherwise in a moment?
    fn passing(&self) -> bool {
        match self {
            StoreError::Client(ClientError::Io(_)) => true,
            StoreError::Client(ClientError::Connect { source, .. }) => absent(source),
            _ => false,
        }
    }

    /// Must the connection be given up?
    fn broken(&self) -> bool {
        matches!(
            self,
            StoreError::Client(
                ClientError::Io(_) | ClientError::Protocol(_) | ClientError::Connect { .. }
            )
        )
    }
}

fn dom_id(domid: u32) -> Result<DomId, StoreError> {
    DomId::try_from(domid).map_err(|_| StoreError::DomId(domid))
}

/// The link.
pub struct StoreLink {
    program: PathBuf,
    client: Mutex<Option<Client>>,
}

impl StoreLink {
    /// A link to the store where `noxen_xenstore::locations` says; `program` is started when nothing listens.
    pub fn new(program: PathBuf) -> StoreLink {
        StoreLink {
            program,
            client: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` on the connection; when that breaks, again on a new one, as often as xenstored dies within [`START`].
    fn with<T>(
        &self,
        work: impl Fn(&mut Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut guard = self.lock();
        patiently(|| {
            let client = match guard.as_mut() {
                Some(client) => client,
                None => guard.insert(self.connect()?),
            };
            let result = work(client);
            if matches!(&result, Err(e) if e.broken()) {
                *guard = None;
            }
            result
        })
    }

    /// Connects; starts xenstored when nothing listens.
    fn connect(&self) -> Result<Client, StoreError> {
        let client = match Client::connect() {
            Err(ClientError::Connect { source, .. }) if absent(&source) => {
                match self.start_xenstored() {
                    Ok(()) => connect_soon(START),
                    // It does not start beside another one that was started meanwhile.
                    Err(e) => Ok(connect_soon(START_OF_OTHERS).map_err(|_| e)?),
                }
            }
            other => other,
        };
        let mut client = client?;
        client.set_timeout(Some(ANSWER))?;
        Ok(client)
    }

    /// Runs xenstored, which goes into the background once its sockets accept.
    fn start_xenstored(&self) -> Result<(), StoreError> {
        info!("starting {}", self.program.display());
        let failed = |reason: String| StoreError::Start {
            program: self.program.clone(),
            reason,
        };
        let mut command = match std::env::var_os(UNIT_ENV).filter(|unit| !unit.is_empty()) {
            Some(unit) => {
                let mut command = Command::new("systemctl");
                command.arg("start").arg(unit);
                command
            }
            None => Command::new(&self.program),
        };
        for variable in PRIVATE_VARIABLES {
            command.env_remove(variable);
        }
        let output = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().next().unwrap_or("it gave no reason");
        Err(failed(format!("{line} ({})", output.status)))
    }

    /// Makes sure that there is a connection that works. True when it had to be made anew.
    pub fn check(&self) -> Result<bool, StoreError> {
        let mut guard = self.lock();
        if let Some(client) = guard.as_mut() {
            if client.exists("/").is_ok() {
                return Ok(false);
            }
            *guard = None;
        }
        *guard = Some(self.connect()?);
        Ok(true)
    }

    /// Does all of `ops`, or none of them.
    pub fn apply(&self, ops: &[StoreOp]) -> Result<(), StoreError> {
        self.with(|client| {
            let done = client.transaction(|tx| ops.iter().try_for_each(|op| apply_one(tx, op)));
            Ok(done?)
        })
    }

    /// A value; none when there is no such node.
    pub fn read(&self, path: &str) -> Result<Option<String>, StoreError> {
        self.with(|client| Ok(client.read_if_present(path)?))
    }

    /// Names of children; none when there is no such node.
    pub fn directory(&self, path: &str) -> Result<Vec<String>, StoreError> {
        self.with(|client| Ok(client.directory_if_present(path)?.unwrap_or_default()))
    }

    /// Makes a domain known: its ring page's frame and event channel.
    pub fn introduce(&self, domid: u32, mfn: u64, port: u32) -> Result<(), StoreError> {
        let domid = dom_id(domid)?;
        self.with(|client| Ok(client.introduce(domid, mfn, port)?))
    }

    /// Is the domain introduced?
    pub fn is_introduced(&self, domid: u32) -> Result<bool, StoreError> {
        let domid = dom_id(domid)?;
        self.with(|client| Ok(client.is_introduced(domid)?))
    }

    /// Releases a domain, which fires @releaseDomain, and does `ops`.
    pub fn forget(&self, domid: u32, ops: &[StoreOp]) -> Result<(), StoreError> {
        let domid = dom_id(domid)?;
        self.with(|client| match client.release(domid) {
            Err(e) if e.is_missing() => Ok(()),
            other => Ok(other?),
        })?;
        self.apply(ops)
    }

    /// A connection on which every request is `domid`'s own, to be passed to its monitor.
    pub fn attach(&self, domid: u32) -> Result<UnixStream, StoreError> {
        let domid = dom_id(domid)?;
        patiently(|| {
            // A missing xenstored is started by this. It may die right after.
            self.check()?;
            attach_once(domid)
        })
    }
}

/// Tries until it works, or fails for another reason than a xenstored that is just going or coming, or [`START`] is over.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let deadline = Instant::now() + START;
    loop {
        match attempt() {
            Err(e) if e.passing() && Instant::now() < deadline => {
                warning!("{e}; making a new connection");
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn attach_once(domid: DomId) -> Result<UnixStream, StoreError> {
    let mut client = Client::connect_to(&locations::domains_socket())?;
    client.set_timeout(Some(ANSWER))?;
    let mut client = client.attach(domid)?;
    // The time limit is the socket's, and the monitor is to wait as long as it likes.
    client.set_timeout(None)?;
    Ok(client.into_stream()?)
}

/// Somebody may be starting xenstored at the same time: ours then ended well, theirs may not listen yet.
fn connect_soon(within: Duration) -> Result<Client, ClientError> {
    let deadline = Instant::now() + within;
    loop {
        match Client::connect() {
            Err(ClientError::Connect { source, .. })
                if absent(&source) && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn apply_one(nodes: &mut impl Nodes, op: &StoreOp) -> Result<(), ClientError> {
    match op {
        StoreOp::Write(path, value) => nodes.write(path, value),
        StoreOp::Mkdir(path) => nodes.mkdir(path),
        StoreOp::Perms(path, perms) => {
            let perms = Perms::parse(perms.split(' ').map(str::as_bytes));
            let perms = perms.map_err(|errno| malformed(path, errno))?;
            nodes.set_perms(path, &perms)
        }
        StoreOp::Remove(path) => nodes.rm_if_present(path),
    }
}

fn malformed(path: &str, errno: Errno) -> ClientError {
    ClientError::Store {
        op: "SetPerms",
        subject: path.to_owned(),
        errno,
    }
}

fn absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
