//! What a device class implements, and what it is given for that.

use crate::devices::bus::{Command, Commands};
use crate::domain::calls::Shared;
use crate::domain::hub::Hub;
use crate::domain::region::GRANT_FRAMES;
use crate::log::Level;
use crate::vstate::irq::{Channel, Links};
use crate::vstate::memory::GuestMemory;
use noxen_control::DeviceId;
use noxen_devices::pv::grant::{GrantTable, PAGE_SIZE};
use noxen_devices::pv::written::Written;
use noxen_monitor_abi::layout::{HOLE_PAGES, HOLE_START_PFN};
use noxen_saved_image::Device;
use noxen_xenstore::client::{Client, ClientError, Nodes};
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryBackend};

/// Longest value of a front end's node that is looked at, bytes.
const MAX_VALUE: usize = 256;

/// Nodes to be written below the back end's directory: (name, value).
pub type Published = Vec<(&'static str, String)>;

/// One device. Called on the bus thread only; `connect` and `disconnect` alternate.
pub trait Backend: Send {
    /// What the front end is to know before it sets up its rings.
    fn features(&self) -> Published;

    /// Takes the rings that the front end describes into use; returns nodes to be written before the
    /// back end's state becomes Connected. On an error nothing stays in use.
    fn connect(
        &mut self,
        frontend: &mut Frontend<'_>,
        reporter: Reporter,
    ) -> Result<Published, ConnectError>;

    /// Lets go of the rings: ends the threads after what they have begun, gives grants and channels back.
    fn disconnect(&mut self);

    /// The same while the guest stands still, for a moment or for good: all that was taken is answered, the rest stays in
    /// the rings, and the host's side stays up. Returns what a later [`Self::take_up`] needs; it is followed by
    /// [`Self::connect`], here or in another process, or by the end.
    fn freeze(&mut self) -> Device;

    /// Goes on with `saved`, which is of this class, as soon as it is connected.
    fn take_up(&mut self, saved: Device);

    /// What it was made of, once more, for another process that is to go on with it; an error line where that cannot be.
    fn again(&self) -> Result<Vec<OwnedFd>, String>;

    /// Closes what only one process may have open, while it is frozen: images whose tables are cached. [`Self::connect`] opens it
    /// again.
    fn put_away(&mut self) {}
}

/// Why a front end could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The store did not answer; it is tried again once it does.
    #[error(transparent)]
    Store(#[from] ClientError),
    /// What the front end wrote cannot be used; one line.
    #[error("{0}")]
    Refused(String),
}

impl ConnectError {
    /// Refused, because of `why`.
    pub fn refused(why: impl Display) -> ConnectError {
        ConnectError::Refused(why.to_string())
    }
}

/// The front end's nodes. All of them are the guest's and may change while they are read.
#[derive(Debug)]
pub struct Frontend<'a> {
    client: &'a mut Client,
    base: &'a str,
}

impl<'a> Frontend<'a> {
    pub(super) fn new(client: &'a mut Client, base: &'a str) -> Frontend<'a> {
        Frontend { client, base }
    }

    /// Value of the node `key` (relative to the front end's directory), if it is there.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, ConnectError> {
        let path = format!("{}/{key}", self.base);
        match self.client.read_if_present(&path)? {
            Some(value) if value.len() > MAX_VALUE => Err(ConnectError::Refused(format!(
                "{key} is {} bytes long",
                value.len()
            ))),
            value => Ok(value),
        }
    }

    /// A number in the node `key`, if it is there.
    pub fn number(&mut self, key: &str) -> Result<Option<u32>, ConnectError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ConnectError::Refused(format!(
                "{key} is {text:?}, which is not a number"
            ))),
        }
    }

    /// A number in the node `key`, which must be there.
    pub fn needed(&mut self, key: &str) -> Result<u32, ConnectError> {
        self.number(key)?
            .ok_or_else(|| ConnectError::Refused(format!("{key} is missing")))
    }
}

/// What a device may use of its domain; clones are the same domain.
#[derive(Debug, Clone)]
pub struct Context {
    hub: Arc<Hub>,
    links: Arc<dyn Links>,
    memory: GuestMemory,
    grants: GrantTable,
    written: &'static Written,
    ram_end: u64,
}

/// Where a domain's grant table is, and what it may name.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    /// Guest-physical address of the table.
    pub table: u64,
    /// Its frames.
    pub frames: u32,
    /// First frame number that is not the guest's RAM.
    pub ram_end: u64,
    /// What this process writes of the guest's memory.
    pub written: &'static Written,
}

impl Context {
    /// The domain around `hub`, with its event channels; `memory` has the guest's RAM and the grant table.
    pub fn new(
        hub: Arc<Hub>,
        links: Arc<dyn Links>,
        memory: GuestMemory,
        granted: Granted,
    ) -> Context {
        let Granted {
            table,
            frames,
            ram_end,
            written,
        } = granted;
        let grants = GrantTable::new(GuestAddress(table), frames, ram_end)
            // A 32-bit domain with RAM above the hole has the monitor in it, a PC its devices.
            .without(HOLE_START_PFN..HOLE_START_PFN + HOLE_PAGES)
            .noting(written);
        Context {
            hub,
            links,
            memory,
            grants,
            written,
            ram_end,
        }
    }

    /// A PV domain's.
    pub fn of_pv(shared: &Shared, links: Arc<dyn Links>) -> Context {
        let granted = Granted {
            table: shared.region.grants,
            frames: GRANT_FRAMES,
            ram_end: shared.region.ram_end_mfn,
            written: shared.written,
        };
        Context::new(shared.hub.clone(), links, shared.memory.clone(), granted)
    }

    /// This page of the guest is written to at any time from now on, without a grant.
    pub fn writes_to(&self, page: GuestAddress) {
        self.written.stays(page.0 / PAGE_SIZE);
    }

    /// Guest-physical memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// What the guest grants.
    pub fn grants(&self) -> &GrantTable {
        &self.grants
    }

    /// First frame number that is not the guest's RAM.
    pub fn ram_end(&self) -> u64 {
        self.ram_end
    }

    /// A page of the guest's RAM by its frame number.
    pub fn ram_page(&self, frame: u32) -> Option<GuestAddress> {
        let page = GuestAddress(u64::from(frame) * PAGE_SIZE);
        let in_ram = u64::from(frame) < self.ram_end();
        let there = self.memory().get_slice(page, PAGE_SIZE as usize).is_ok();
        (in_ram && there).then_some(page)
    }

    /// Binds an event-channel port that the front end has allocated for domain 0. Look at the ring once
    /// afterwards: earlier notifications are lost.
    pub fn bind(&self, port: u32) -> Result<Channel, ConnectError> {
        Channel::bind(&self.links, port).map_err(ConnectError::refused)
    }

    /// Logs what a guest may cause as often as it likes.
    pub fn guest_line(&self, id: DeviceId, text: impl Display) {
        let line = format_args!("{id}: {text}");
        self.hub.log.guest_line(Level::Warning, line);
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

/// A connected device's way to say that its front end broke a rule.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub(super) id: DeviceId,
    pub(super) generation: u64,
    pub(super) commands: Commands,
}

impl Reporter {
    /// The device cannot go on; it is disconnected soon (from the bus thread) and stays broken.
    pub fn broken(&self, reason: impl Display) {
        self.commands.send(Command::Broken {
            id: self.id,
            generation: self.generation,
            reason: reason.to_string(),
        });
    }
}
