//! Talking to a domain's noxen-vmm.
//!
//! Each request has its own short connection, so that a monitor which hangs holds up nobody but its own caller,
//! and that for a bounded time. Only the watcher keeps one open.

use noxen_control::client::{Client, ClientError, Line};
use noxen_control::device::{DeviceId, DeviceSpec, DeviceState, DeviceStatus};
use noxen_control::message::{CaseButton, Move, Moved, Pages, SaveHow};
use noxen_control::{Event, Reply, Request, Status};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a monitor may take to answer a question.
const ANSWER: Duration = Duration::from_secs(2);
/// How long one that did not answer last time may take.
const ANSWER_AGAIN: Duration = Duration::from_millis(200);
/// How long it may take to stop with many vCPUs on a busy host.
const ACT: Duration = Duration::from_secs(10);

/// How long it may take to hand a domain over: the new process has to start, the guest perhaps to end a transaction.
const HAND_OVER: Duration = Duration::from_secs(120);

/// How long it may take to write all its memory to a slow disk.
const SAVE: Duration = Duration::from_secs(4 * 3600);

/// Between two looks at whether a device has gone.
const LOOK: Duration = Duration::from_millis(20);

/// Why a monitor did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// No connection, or no answer in time.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// Answered with the wrong kind of reply.
    #[error("the domain's monitor answered {asked} with something else; are xend and noxen-vmm of one version?")]
    Unexpected {
        /// The request.
        asked: &'static str,
    },
}

/// The way to one monitor.
#[derive(Clone, Debug)]
pub struct Monitor {
    socket: PathBuf,
}

impl Monitor {
    /// The monitor behind `socket`.
    pub fn new(socket: PathBuf) -> Monitor {
        Monitor { socket }
    }

    /// Its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn ask(&self, request: &Request, timeout: Duration) -> Result<Reply, MonitorError> {
        let mut client = Client::connect(&self.socket, Some(timeout))?;
        match client.ask(request)? {
            Reply::Error { message } => Err(MonitorError::Refused(message)),
            reply => Ok(reply),
        }
    }

    fn act(&self, request: &Request, asked: &'static str) -> Result<(), MonitorError> {
        match self.ask(request, ACT)? {
            Reply::Ok => Ok(()),
            _ => Err(MonitorError::Unexpected { asked }),
        }
    }

    fn text(&self, request: &Request, asked: &'static str) -> Result<String, MonitorError> {
        match self.ask(request, ANSWER)? {
            Reply::Text { text } => Ok(text),
            _ => Err(MonitorError::Unexpected { asked }),
        }
    }

    /// What the domain is doing.
    pub fn status(&self) -> Result<Status, MonitorError> {
        self.status_within(ANSWER)
    }

    /// The same of a monitor that did not answer last time: many of them must not make a listing slow.
    pub fn status_of_silent(&self) -> Result<Status, MonitorError> {
        self.status_within(ANSWER_AGAIN)
    }

    fn status_within(&self, timeout: Duration) -> Result<Status, MonitorError> {
        match self.ask(&Request::Status, timeout)? {
            Reply::Status(status) => Ok(*status),
            _ => Err(MonitorError::Unexpected { asked: "status" }),
        }
    }

    /// Stops the vCPUs.
    pub fn pause(&self) -> Result<(), MonitorError> {
        self.act(&Request::Pause, "pause")
    }

    /// Lets them run.
    pub fn unpause(&self) -> Result<(), MonitorError> {
        self.act(&Request::Unpause, "unpause")
    }

    /// Bounds the memory that the guest may populate, KiB.
    pub fn set_max_memory(&self, kib: u64) -> Result<(), MonitorError> {
        self.act(&Request::SetMaxMemory { kib }, "set-max-memory")
    }

    /// Gives a vCPU a non-maskable interrupt.
    pub fn nmi(&self, vcpu: u32) -> Result<(), MonitorError> {
        self.act(&Request::Nmi { vcpu }, "nmi")
    }

    /// Has a vCPU of an HVM domain begin again.
    pub fn init(&self, vcpu: u32) -> Result<(), MonitorError> {
        self.act(&Request::Init { vcpu }, "init")
    }

    /// Presses a button of an HVM domain.
    pub fn press(&self, button: CaseButton) -> Result<(), MonitorError> {
        self.act(&Request::Press { button }, "press")
    }

    /// Asks the guest of an HVM domain to have these of its vCPUs, a bit for each.
    pub fn set_vcpus(&self, present: u64) -> Result<(), MonitorError> {
        self.act(&Request::SetVcpus { present }, "vcpu-set")
    }

    /// Ends it. One that takes long is killed by the caller: there is nothing in it to lose any more.
    pub fn destroy(&self) -> Result<(), MonitorError> {
        match self.ask(&Request::Destroy, ANSWER)? {
            Reply::Ok => Ok(()),
            _ => Err(MonitorError::Unexpected { asked: "destroy" }),
        }
    }

    /// console_io text and the monitor's own lines.
    pub fn console_log(&self) -> Result<String, MonitorError> {
        self.text(&Request::ConsoleLog, "console-log")
    }

    /// Registers of the vCPUs.
    pub fn registers(&self) -> Result<String, MonitorError> {
        self.text(&Request::Registers, "registers")
    }

    /// Counters: group -> kind -> count.
    pub fn counters(
        &self,
    ) -> Result<
        std::collections::BTreeMap<String, std::collections::BTreeMap<String, u64>>,
        MonitorError,
    > {
        match self.ask(&Request::Counters, ANSWER)? {
            Reply::Counters { groups } => Ok(groups),
            _ => Err(MonitorError::Unexpected { asked: "counters" }),
        }
    }

    /// Has it serve one more device, with `fds`.
    pub fn attach(&self, device: DeviceSpec, fds: &[OwnedFd]) -> Result<(), MonitorError> {
        let mut client = Client::connect(&self.socket, Some(ACT))?;
        let request = Request::AttachDevice {
            device,
            fds: fds.len() as u32,
        };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match client.ask_with(&request, &fds)? {
            Reply::Ok => Ok(()),
            Reply::Error { message } => Err(MonitorError::Refused(message)),
            _ => Err(MonitorError::Unexpected {
                asked: "attach-device",
            }),
        }
    }

    /// Has it let go of a device and waits until it has. False when the guest does not let go within `timeout`.
    pub fn detach(
        &self,
        id: DeviceId,
        force: bool,
        timeout: Duration,
    ) -> Result<bool, MonitorError> {
        let has = |devices: Vec<DeviceStatus>| {
            let there = |d: &DeviceStatus| d.id == id && d.state != DeviceState::Closed;
            devices.iter().any(there)
        };
        if !has(self.devices()?) {
            return Ok(true);
        }
        let (class, devid) = (id.class, id.devid);
        let request = Request::DetachDevice {
            class,
            devid,
            force,
        };
        self.act(&request, "detach-device")?;
        let deadline = Instant::now() + timeout;
        while has(self.devices()?) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
        Ok(true)
    }

    /// A connection for [`Self::save`].
    pub fn saver(&self) -> Result<Client, MonitorError> {
        Ok(Client::connect(&self.socket, Some(SAVE))?)
    }

    /// Has it write the domain into `file`. The domain stands still then, as long as the answer is kept.
    pub fn save(
        mut client: Client,
        config: String,
        directories: Vec<String>,
        how: noxen_xend_api::migrate::SaveHow,
        file: &File,
    ) -> Result<Standing, MonitorError> {
        let request = Request::Save {
            config,
            directories,
            how: SaveHow {
                guest: how.by_guest,
                compress: how.compress,
            },
            fds: 1,
        };
        match client.ask_with(&request, &[file.as_fd()])? {
            Reply::Saved { bytes } => Ok(Standing {
                bytes,
                _connection: client,
            }),
            Reply::Error { message } => Err(MonitorError::Refused(message)),
            _ => Err(MonitorError::Unexpected { asked: "save" }),
        }
    }

    /// Has it write a core into the fresh `file`; the domain does what it did before then. Returns the bytes of memory in it.
    pub fn dump_core(&self, live: bool, file: &File) -> Result<u64, MonitorError> {
        let mut client = Client::connect(&self.socket, Some(SAVE))?;
        let request = Request::DumpCore { live, fds: 1 };
        match client.ask_with(&request, &[file.as_fd()])? {
            Reply::Saved { bytes } => Ok(bytes),
            Reply::Error { message } => Err(MonitorError::Refused(message)),
            _ => Err(MonitorError::Unexpected { asked: "dump-core" }),
        }
    }

    /// Has it write what the guest shows into `file`.
    pub fn screendump(&self, file: &File) -> Result<(), MonitorError> {
        let mut client = Client::connect(&self.socket, Some(ACT))?;
        let request = Request::Screendump { fds: 1 };
        match client.ask_with(&request, &[file.as_fd()])? {
            Reply::Ok => Ok(()),
            Reply::Error { message } => Err(MonitorError::Refused(message)),
            _ => Err(MonitorError::Unexpected {
                asked: "screendump",
            }),
        }
    }

    /// What its window wished for has been done, or not.
    pub fn fulfilled(&self, number: u64, refusal: Option<String>) -> Result<(), MonitorError> {
        self.act(&Request::Fulfilled { number, refusal }, "fulfilled")
    }

    /// Has it send the domain over `stream`, and by `pages` what comes later. The domain stands still then, as long as the answer is kept.
    pub fn migrate(
        &self,
        how: Move,
        stream: &impl AsFd,
        pages: Option<&impl AsFd>,
    ) -> Result<(Moved, Standing), MonitorError> {
        let mut client = Client::connect(&self.socket, Some(SAVE))?;
        let ways: Vec<_> = std::iter::once(stream.as_fd())
            .chain(pages.map(AsFd::as_fd))
            .collect();
        let request = Request::Move {
            how,
            fds: ways.len() as u32,
        };
        match client.ask_with(&request, &ways)? {
            Reply::Moved { ledger } => {
                let standing = Standing {
                    bytes: ledger.bytes,
                    _connection: client,
                };
                Ok((ledger, standing))
            }
            Reply::Error { message } => Err(MonitorError::Refused(message)),
            _ => Err(MonitorError::Unexpected { asked: "move" }),
        }
    }

    /// Has it hand the domain over to the noxen-vmm at the other end of `link`. The domain stands still then, as long as the answer is
    /// kept.
    pub fn hand_over(
        &self,
        directories: Vec<String>,
        link: &UnixStream,
    ) -> Result<Standing, MonitorError> {
        let mut client = Client::connect(&self.socket, Some(HAND_OVER))?;
        let request = Request::HandOver {
            directories,
            fds: 1,
        };
        match client.ask_with(&request, &[link.as_fd()])? {
            Reply::Saved { bytes } => Ok(Standing {
                bytes,
                _connection: client,
            }),
            Reply::Error { message } => Err(MonitorError::Refused(message)),
            _ => Err(MonitorError::Unexpected { asked: "hand-over" }),
        }
    }

    /// Has it take the domain over that was handed over to it, with a connection to xenstored. Without one it says whether it has done so
    /// before.
    pub fn take_over(&self, store: Option<&UnixStream>) -> Result<(), MonitorError> {
        let mut client = Client::connect(&self.socket, Some(ACT))?;
        let fds: Vec<_> = store.into_iter().map(AsFd::as_fd).collect();
        let request = Request::TakeOver {
            fds: fds.len() as u32,
        };
        match client.ask_with(&request, &fds)? {
            Reply::Ok => Ok(()),
            Reply::Error { message } => Err(MonitorError::Refused(message)),
            _ => Err(MonitorError::Unexpected { asked: "take-over" }),
        }
    }

    /// Waits until a domain that was sent by post-copy has all its pages over there.
    pub fn pages(&self) -> Result<Pages, MonitorError> {
        match self.ask(&Request::Pages, SAVE)? {
            Reply::Pages { pages } => Ok(pages),
            _ => Err(MonitorError::Unexpected { asked: "pages" }),
        }
    }

    /// Keeps a domain that was saved or sent still, whatever becomes of this process.
    pub fn hold(&self) -> Result<(), MonitorError> {
        self.act(&Request::Hold, "hold")
    }

    /// What a domain that came from another host brought along: its nodes, and which devices are in use.
    pub fn arrived(&self) -> Result<Arrived, MonitorError> {
        match self.ask(&Request::Arrived, ANSWER)? {
            Reply::Arrived { nodes, connected } => Ok(Arrived { nodes, connected }),
            _ => Err(MonitorError::Unexpected { asked: "arrived" }),
        }
    }

    /// Its devices.
    pub fn devices(&self) -> Result<Vec<DeviceStatus>, MonitorError> {
        match self.ask(&Request::Devices, ANSWER)? {
            Reply::Devices { devices } => Ok(devices),
            _ => Err(MonitorError::Unexpected { asked: "devices" }),
        }
    }

    /// A connection that carries events from now on.
    pub fn subscribe(&self) -> Result<Events, MonitorError> {
        let mut client = Client::connect(&self.socket, Some(ANSWER))?;
        client.send(&Request::Subscribe)?;
        // The event of a domain that has shut down already may come before the reply; keep it.
        let mut early = Vec::new();
        loop {
            match client.next_line()? {
                Line::Reply(Reply::Ok) => break,
                Line::Reply(Reply::Error { message }) => {
                    return Err(MonitorError::Refused(message))
                }
                Line::Reply(_) => return Err(MonitorError::Unexpected { asked: "subscribe" }),
                Line::Event(event) => early.push(event),
            }
            if early.len() > 1024 {
                return Err(MonitorError::Unexpected { asked: "subscribe" });
            }
        }
        let unlimited = client.stream().set_read_timeout(None);
        unlimited.map_err(|source| ClientError::Io {
            path: self.socket.display().to_string(),
            source,
        })?;
        early.reverse();
        Ok(Events { client, early })
    }
}

/// What a domain from another host brought along.
pub struct Arrived {
    /// Its nodes of the store, below its home.
    pub nodes: Vec<(String, String)>,
    /// Devices that a front end uses.
    pub connected: Vec<DeviceId>,
}

/// A domain that is saved and stands still. Once this is dropped it does what it did before, unless it was told
/// otherwise: a xend that dies holds nothing up.
pub struct Standing {
    /// Bytes of memory written.
    pub bytes: u64,
    _connection: Client,
}

/// The events of one domain.
pub struct Events {
    client: Client,
    early: Vec<Event>,
}

impl Events {
    /// Waits for the next one, at most until `deadline`; none then.
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Option<Event>, ClientError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        // A timeout is not waited for again on this connection.
        let _ = self.client.stream().set_read_timeout(Some(left));
        match self.wait() {
            Ok(event) => Ok(Some(event)),
            Err(_) if Instant::now() >= deadline => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next one; an error means that the connection has ended.
    pub fn wait(&mut self) -> Result<Event, ClientError> {
        if let Some(event) = self.early.pop() {
            return Ok(event);
        }
        loop {
            if let Line::Event(event) = self.client.next_line()? {
                return Ok(event);
            }
        }
    }
}
