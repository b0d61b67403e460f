//! A running domain to another noxen-vmm of the same host, normally a newer program (`xm upgrade`, docs/save-restore.md).
//!
//! ```text
//!   old: expect() <-- waiting -- new: receive()
//!        guest still, images closed: give() --memory, state, console, devices--> new: memory mapped, VM, vCPUs, images opened, "ready"
//!        held                                <--xend: Hold                  xend: TakeOver--> rings into use (Coming)
//!        killed                              <--xend                        xend: Unpause--> runs
//!   old gone, or running on, before TakeOver --> the link ends --> new: watch() ends the process
//! ```
//! The memory is not copied: both map the same files. Until it takes over, the new one writes nothing of it, of the images and of the store, so
//! that the old one can run on at any moment. What is said is judged as if anybody had said it.

use crate::devices::{Devices, Given, Held};
use crate::domain::calls::Shared;
use crate::hvm::saved;
use crate::hvm::video::Video;
use crate::log::{Level, Log};
use crate::save::memory::VIDEO;
use crate::save::restore::RestoreError;
use crate::save::WRITER;
use crate::store::port::StorePort;
use crate::store::Connection;
use crate::vstate::irq::{Channel, Links};
use noxen_control::device::MAX_DEVICES;
use noxen_control::handover::{send, HandoverError, Incoming, Part, VERSION};
use noxen_saved_image::{Header, ImageError, Reader, Record, Saved, State, Writer};
use rustix::fs::{memfd_create, MemfdFlags};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;
use vm_memory::GuestAddress;

/// How long the other process may take for a part. It is said while the guest stands still.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take until it can begin: a program is loaded, on a busy host.
const START: Duration = Duration::from_secs(60);
/// Longest state, bytes: hundreds of devices and vCPUs have less, and a display has 256 MiB at most.
const MAX_STATE: u64 = 320 << 20;

/// Descriptors of a domain.
#[derive(Debug)]
pub struct Goods {
    /// Files behind its memory, that of RAM first.
    pub memory: Vec<File>,
    /// Its console's pseudo-terminal.
    pub console: Option<OwnedFd>,
    /// Where viewers of a PC's display connect.
    pub viewers: Option<OwnedFd>,
    /// Its devices.
    pub devices: Vec<Given>,
    /// Memory of a PC's display, which no file is behind: it goes along with the state.
    pub video: Option<Arc<Video>>,
}

/// What came.
#[derive(Debug)]
pub struct Handed {
    /// Its state.
    pub state: Saved,
    /// The image that it is in, at its start; of a PC with the memory of its display.
    pub image: File,
    /// Its descriptors.
    pub goods: Goods,
}

/// Why nothing could be taken over.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum UpgradeError {
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("its noxen-vmm hands domains over by rule {there}, this one takes them by {VERSION}; save and restore it instead")]
    Version { there: u32 },
    #[error("{0} comes where it cannot")]
    Order(&'static str),
    #[error("no {0} was handed over")]
    Missing(&'static str),
    #[error("{told} devices were announced, {there} came")]
    Devices { told: u32, there: usize },
    #[error("its state has more than {} MiB", MAX_STATE >> 20)]
    State,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("device {0} was handed over without what it is, or what it is without the device")]
    Device(String),
    #[error("{0}")]
    Line(String),
    #[error("cannot {what}: {source}")]
    Os {
        what: &'static str,
        source: io::Error,
    },
}

/// Waits until the process at the other end has all that it needs but the domain; an error line: it never will.
pub fn expect(link: &UnixStream) -> Result<(), String> {
    let limited = link.set_read_timeout(Some(START));
    limited.map_err(|error| error.to_string())?;
    match Incoming::new(link).part() {
        Ok((Part::Waiting { version: VERSION }, _)) => {}
        Ok((Part::Waiting { version }, _)) => {
            return Err(format!(
                "the new noxen-vmm takes domains by rule {version}, this one hands them over by {VERSION}; save and restore the domain instead"
            ))
        }
        Ok((part, _)) => return Err(format!("the new noxen-vmm says {} first", part.name())),
        Err(HandoverError::Ended) => return Err("the new noxen-vmm has ended".into()),
        Err(error) => return Err(error.to_string()),
    }
    let limited = link.set_write_timeout(Some(PATIENCE));
    limited.map_err(|error| error.to_string())
}

/// Gives a domain away that stands still; the bytes of its state.
pub fn give(link: &UnixStream, state: &Saved, goods: &Goods) -> Result<u64, String> {
    try_to_give(link, state, goods)
        .map_err(|error| format!("the new noxen-vmm does not take the domain: {error}"))
}

fn try_to_give(link: &UnixStream, state: &Saved, goods: &Goods) -> io::Result<u64> {
    let one = |part: Part, fd: &OwnedFd| send(link, &part, &[fd.as_fd()]);
    let memory = Part::Memory {
        version: VERSION,
        fds: goods.memory.len() as u32,
    };
    let files: Vec<BorrowedFd<'_>> = goods.memory.iter().map(AsFd::as_fd).collect();
    send(link, &memory, &files)?;
    let (file, bytes) = image(state, goods.video.as_deref())?;
    one(Part::State { fds: 1 }, &file.into())?;
    if let Some(console) = &goods.console {
        one(Part::Console { fds: 1 }, console)?;
    }
    if let Some(viewers) = &goods.viewers {
        one(Part::Viewers { fds: 1 }, viewers)?;
    }
    for (device, fds) in &goods.devices {
        let part = Part::Device {
            device: Box::new(device.clone()),
            fds: fds.len() as u32,
        };
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        send(link, &part, &fds)?;
    }
    let devices = goods.devices.len() as u32;
    send(link, &Part::End { devices }, &[])?;
    Ok(bytes)
}

/// A saved domain's image without memory, in memory.
fn image(state: &Saved, video: Option<&Video>) -> io::Result<(File, u64)> {
    let mut file = File::from(memfd_create("noxen-state", MemfdFlags::CLOEXEC)?);
    let seconds = match state {
        Saved::Pv(state) => state.clock.host_ns,
        Saved::Hvm(state) => state.clock.host_ns,
    } / 1_000_000_000;
    let out = BufWriter::new(file.try_clone()?);
    let mut writer = Writer::begin(out, "(domain)", &Header::new(WRITER, seconds))?;
    match state {
        Saved::Pv(state) => writer.state(state)?,
        Saved::Hvm(state) => writer.hvm_state(state)?,
    }
    if let Some(video) = video {
        saved::write_video(&mut writer, video)?;
    }
    let (mut out, _) = writer.end()?;
    out.flush()?;
    let bytes = file.stream_position()?;
    file.rewind()?;
    Ok((file, bytes))
}

/// Says that all is there but the domain, and takes it in; whatever is wrong with it is an error.
pub fn receive(link: &UnixStream) -> Result<Handed, UpgradeError> {
    let io = |error: io::Error| UpgradeError::from(HandoverError::from(error));
    send(link, &Part::Waiting { version: VERSION }, &[]).map_err(io)?;
    let mut incoming = Incoming::new(link);
    // Its guest may have to end a transaction first, or its memory to be read to the end.
    let (first, mut fds) = incoming.part()?;
    link.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    match first {
        Part::Memory {
            version: VERSION, ..
        } => {}
        Part::Memory { version, .. } => return Err(UpgradeError::Version { there: version }),
        other => return Err(UpgradeError::Order(other.name())),
    }
    let mut goods = Goods {
        memory: fds.drain(..).map(File::from).collect(),
        console: None,
        viewers: None,
        devices: Vec::new(),
        video: None,
    };
    let mut state = None;
    loop {
        let (part, mut fds) = incoming.part()?;
        let name = part.name();
        let mut once = |place: &mut Option<OwnedFd>| match place.is_some() {
            true => Err(UpgradeError::Order(name)),
            false => {
                *place = fds.pop();
                Ok(())
            }
        };
        match part {
            Part::State { .. } => once(&mut state)?,
            Part::Console { .. } => once(&mut goods.console)?,
            Part::Viewers { .. } => once(&mut goods.viewers)?,
            Part::Device { device, .. } if goods.devices.len() < MAX_DEVICES => {
                goods.devices.push((*device, fds));
            }
            Part::End { devices } if devices as usize == goods.devices.len() => break,
            Part::End { devices } => {
                return Err(UpgradeError::Devices {
                    told: devices,
                    there: goods.devices.len(),
                })
            }
            other => return Err(UpgradeError::Order(other.name())),
        }
    }
    let (state, image) = read(state.ok_or(UpgradeError::Missing("state"))?)?;
    Ok(Handed {
        state,
        image,
        goods,
    })
}

/// The state in that file, all of which is checked, and the file.
fn read(file: OwnedFd) -> Result<(Saved, File), UpgradeError> {
    let mut file = File::from(file);
    let os = |source| UpgradeError::Os {
        what: "read the state that was handed over",
        source,
    };
    let bytes = file.metadata().map_err(os)?.len();
    if bytes > MAX_STATE {
        return Err(UpgradeError::State);
    }
    let whole = file.try_clone().map_err(os)?;
    let mut reader = Reader::open(BufReader::new(whole.take(MAX_STATE)))?;
    let (state, mut memory) = Saved::read(&mut reader)?;
    // Only a display's memory may be there; how much of it there is, whoever takes it in checks.
    while let Some(record) = memory {
        match (&state, record) {
            (Saved::Hvm(_), Record::Memory { space, .. }) if space == VIDEO => {}
            _ => return Err(UpgradeError::Order("a page of memory")),
        }
        memory = reader.next()?;
    }
    file.rewind().map_err(os)?;
    Ok((state, file))
}

/// Ends this process as soon as the other one lets go of the link, unless `taken` is set by then.
pub fn watch(mut link: UnixStream, taken: Arc<AtomicBool>, log: Log) -> io::Result<()> {
    link.set_read_timeout(None)?;
    let thread = std::thread::Builder::new().name("handover".into());
    let watches = move || {
        // Nothing more is said: this is its end.
        let _ = link.read(&mut [0; 1]);
        if !taken.load(Ordering::SeqCst) {
            log.line(
                Level::Info,
                "the domain is not handed over after all; it is the other noxen-vmm's",
            );
            std::process::exit(1);
        }
    };
    thread.spawn(watches).map(drop)
}

/// A store's ring.
#[derive(Debug)]
pub struct Ring {
    /// Its page.
    pub page: GuestAddress,
    /// Its event channel in the guest.
    pub port: u32,
    /// The way there.
    pub links: Arc<dyn Links>,
}

/// A domain that is here, and not this process's yet.
#[derive(Debug)]
pub struct Coming {
    /// Its state.
    pub state: State,
    /// Its devices, made and held back.
    devices: Vec<Held>,
    ring: Ring,
    taken: Arc<AtomicBool>,
    /// It is to be taken over now, with this connection to xenstored.
    granted: Option<UnixStream>,
}

impl Coming {
    /// The domain of `state`, whose `devices` are made now; `ring` is that of its store.
    pub fn new(
        state: State,
        given: Vec<Given>,
        devices: &Devices,
        ring: Ring,
        taken: Arc<AtomicBool>,
    ) -> Result<Coming, UpgradeError> {
        devices.expect(state.devices.clone());
        let mut held = Vec::new();
        for (device, fds) in given {
            held.push(devices.hold(&device, fds).map_err(UpgradeError::Line)?);
        }
        if held.len() != state.devices.len() {
            let missed = devices.missed();
            return Err(UpgradeError::Device(missed.unwrap_or_default()));
        }
        Ok(Coming {
            state,
            devices: held,
            ring,
            taken,
            granted: None,
        })
    }

    /// It is to be taken over, with a connection to xenstored.
    pub fn grant(&mut self, store: UnixStream) {
        self.granted = Some(store);
    }

    /// Is it?
    pub fn is_granted(&self) -> bool {
        self.granted.is_some()
    }

    /// From now on the domain is this process's: takes its devices into use, and gives its store. Only what is to be served by the main loop is
    /// left to be done.
    pub fn take_over(
        self,
        domid: u32,
        shared: &Shared,
        devices: &Devices,
    ) -> (State, io::Result<StorePort>) {
        // Before the other process is ended, and the link with it.
        self.taken.store(true, Ordering::SeqCst);
        let Ring { page, port, links } = self.ring;
        let failed = || io::Error::other("no connection to xenstored came along");
        let store = self.granted.ok_or_else(failed).and_then(|stream| {
            let connection = Connection {
                stream,
                domid,
                door: Some(noxen_xenstore::locations::domains_socket()),
            };
            let port = Channel::bind(&links, port);
            let port = port.map_err(|error| io::Error::other(error.to_string()))?;
            StorePort::new(&shared.memory, page, connection, port)
        });
        devices.serve(self.devices);
        devices.reach();
        (self.state, store)
    }
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
