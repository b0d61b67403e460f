//! The main loop's side of the devices: asks and lists, waits for nothing.

use crate::devices::backend::Context;
use crate::devices::bus::{self, Command, Commands, Given};
use crate::devices::registry::{self, Head, Made};
use crate::devices::session::Door;
use crate::devices::vfb::Display;
use crate::devices::vkbd::Keys;
use crate::domain::hub::lock;
use crate::viewers::Touch;
use noxen_control::device::MAX_DEVICES;
use noxen_control::screen::Input;
use noxen_control::{DeviceClass, DeviceId, DeviceSpec, DeviceState, DeviceStatus};
use noxen_display::Size;
use noxen_saved_image::Device;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long devices may take to finish what they have begun.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is attached, as last told.
#[derive(Debug, Default)]
pub struct Listing {
    pub(super) devices: Mutex<BTreeMap<DeviceId, DeviceStatus>>,
    /// Other sides of those that have one.
    pub(super) heads: Mutex<BTreeMap<DeviceId, Head>>,
}

impl Listing {
    fn head(&self, class: DeviceClass, devid: u32) -> Head {
        let id = DeviceId { class, devid };
        let heads = lock(&self.heads);
        heads.get(&id).cloned().unwrap_or(Head::None)
    }
}

/// What the viewers of a screen do.
struct Fingers {
    listing: Arc<Listing>,
    devid: u32,
}

impl Fingers {
    fn keys(&self) -> Option<Arc<Keys>> {
        match self.listing.head(DeviceClass::Vkbd, self.devid) {
            Head::Keyboard(keys) => Some(keys),
            _ => None,
        }
    }
}

impl Touch for Fingers {
    fn push(&self, inputs: &[Input], size: Size) {
        if let Some(keys) = self.keys().filter(|_| !inputs.is_empty()) {
            keys.push_scaled(inputs, size);
        }
    }

    fn is_absolute(&self) -> bool {
        self.keys().is_none_or(|keys| keys.is_absolute())
    }
}

/// A device that is made and not served yet.
pub struct Held(Command);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

/// All PV devices of a domain.
#[derive(Debug)]
pub struct Devices {
    context: Context,
    listing: Arc<Listing>,
    commands: Commands,
    /// State of devices that a saved domain had and that are still to be attached.
    expected: Mutex<Vec<Device>>,
    /// Closed by the bus thread's end.
    ended: Receiver<()>,
}

impl Devices {
    /// None yet; the store is reached through `door` once there is one.
    pub fn new(context: Context, door: Door) -> io::Result<Devices> {
        let listing = Arc::new(Listing::default());
        let (commands, ended) = bus::start(context.hub().clone(), door, listing.clone())?;
        Ok(Devices {
            context,
            listing,
            commands,
            expected: Mutex::new(Vec::new()),
            ended,
        })
    }

    /// The domain was saved with these: each goes on where it stood when it is attached.
    pub fn expect(&self, devices: Vec<Device>) {
        *lock(&self.expected) = devices;
    }

    /// Lets go of all rings while the guest stands still, and tells what to go on with; [`Self::thaw`] ends that.
    pub fn freeze(&self) -> Result<Vec<Device>, String> {
        let (answer, answered) = channel();
        self.commands.send(Command::Freeze(answer));
        match answered.recv_timeout(PATIENCE) {
            Ok(devices) => Ok(devices),
            Err(_) => Err(format!(
                "the devices do not finish what they have begun within {} s; does a disk hang?",
                PATIENCE.as_secs()
            )),
        }
    }

    /// Nodes of the store below `home`, in `directories` of it: path and value, parents before children.
    pub fn nodes(
        &self,
        home: String,
        directories: Vec<String>,
    ) -> Result<Vec<(String, String)>, String> {
        let (answer, answered) = channel();
        self.commands.send(Command::Nodes {
            home,
            directories,
            answer,
        });
        let nodes = answered.recv_timeout(PATIENCE);
        nodes.map_err(|_| "xenstored does not answer; is it running?".to_owned())?
    }

    /// Writes a node of the store, as domain 0.
    pub fn write_node(&self, path: String, value: &str) -> Result<(), String> {
        let (answer, answered) = channel();
        self.commands.send(Command::Write {
            path,
            value: value.to_owned(),
            answer,
        });
        let written = answered.recv_timeout(PATIENCE);
        written.map_err(|_| "xenstored does not answer; is it running?".to_owned())?
    }

    /// Takes the rings into use again.
    pub fn thaw(&self) {
        let (answer, answered) = channel();
        self.commands.send(Command::Thaw(answer));
        // One that takes longer comes back later; the guest waits for its answers, not for this.
        let _ = answered.recv_timeout(PATIENCE);
    }

    /// Closes the images of devices that are frozen, and gives what all of them were made of to another process; an error line:
    /// nothing was closed. [`Self::thaw`] opens them again.
    pub fn put_away(&self) -> Result<Vec<Given>, String> {
        let (answer, answered) = channel();
        self.commands.send(Command::PutAway(answer));
        let given = answered.recv_timeout(PATIENCE);
        given.map_err(|_| "the devices do not close their images; does a disk hang?".to_owned())?
    }

    /// Serves one more device with the descriptors that came along; an error line leaves nothing behind.
    pub fn attach(&self, spec: &DeviceSpec, fds: Vec<OwnedFd>) -> Result<(), String> {
        self.make(spec, fds, false).map(|held| self.serve([held]))
    }

    /// Makes a device that another process was the back end of until now, and holds it back: its rings are taken into use by
    /// [`Self::serve`].
    pub fn hold(&self, spec: &DeviceSpec, fds: Vec<OwnedFd>) -> Result<Held, String> {
        self.make(spec, fds, true)
    }

    /// Serves these.
    pub fn serve(&self, held: impl IntoIterator<Item = Held>) {
        for Held(command) in held {
            self.commands.send(command);
        }
    }

    /// Waits until all that was asked for so far has been done.
    pub fn reach(&self) {
        let (answer, answered) = channel();
        self.commands.send(Command::Reach(answer));
        // What takes longer comes later; the guest waits for its devices, not for this.
        let _ = answered.recv_timeout(PATIENCE);
    }

    /// A device that was expected and did not come.
    pub fn missed(&self) -> Option<String> {
        let expected = lock(&self.expected);
        let (class, devid) = expected.first()?.id();
        Some(format!("{class} {devid}"))
    }

    fn make(&self, spec: &DeviceSpec, fds: Vec<OwnedFd>, goes_on: bool) -> Result<Held, String> {
        spec.check()?;
        let id = spec.id();
        let mut devices = lock(&self.listing.devices);
        if devices.contains_key(&id) {
            return Err(format!("{id} is attached already; detach it first"));
        }
        if devices.len() >= MAX_DEVICES {
            return Err(format!("{id}: a domain has at most {MAX_DEVICES} devices"));
        }
        let Made { mut backend, head } =
            registry::make(spec, fds, &self.context, goes_on, |devid| self.touch(devid))
                .map_err(|line| format!("{id}: {line}"))?;
        let mut expected = lock(&self.expected);
        if let Some(at) = expected.iter().position(|saved| is(saved, id)) {
            backend.take_up(expected.remove(at));
        }
        drop(expected);
        let status = DeviceStatus {
            id,
            state: DeviceState::Waiting,
            reason: None,
            disk: None,
        };
        devices.insert(id, status);
        lock(&self.listing.heads).insert(id, head);
        drop(devices);
        let (frontend, backend_path) = spec.paths();
        Ok(Held(Command::Attach {
            id,
            frontend: frontend.into(),
            backend_path: backend_path.into(),
            spec: Some(Box::new(spec.clone())),
            backend,
        }))
    }

    /// Begins to let a device go; its event tells when that is done.
    pub fn detach(&self, id: DeviceId, force: bool) -> Result<(), String> {
        if !lock(&self.listing.devices).contains_key(&id) {
            return Err(format!("{id} is not attached"));
        }
        self.commands.send(Command::Detach { id, force });
        Ok(())
    }

    fn head(&self, class: DeviceClass, devid: u32) -> Head {
        self.listing.head(class, devid)
    }

    /// The way of a screen's viewers to the keyboard of the same number, whenever that is attached.
    fn touch(&self, devid: u32) -> Box<dyn Touch> {
        Box::new(Fingers {
            listing: self.listing.clone(),
            devid,
        })
    }

    /// A screen by its number.
    pub fn display(&self, devid: u32) -> Result<Arc<Display>, String> {
        match self.head(DeviceClass::Vfb, devid) {
            Head::Screen(display) => Ok(display),
            _ => Err(format!("vfb {devid} is not attached")),
        }
    }

    /// A keyboard by its number.
    pub fn keys(&self, devid: u32) -> Result<Arc<Keys>, String> {
        match self.head(DeviceClass::Vkbd, devid) {
            Head::Keyboard(keys) => Ok(keys),
            _ => Err(format!("vkbd {devid} is not attached")),
        }
    }

    /// What is attached.
    pub fn list(&self) -> Vec<DeviceStatus> {
        let mut all: Vec<_> = lock(&self.listing.devices).values().cloned().collect();
        let heads = lock(&self.listing.heads);
        for status in &mut all {
            if let Some(Head::Disk(counts)) = heads.get(&status.id) {
                status.disk = Some(counts.told());
            }
        }
        all
    }
}

/// Is `saved` the state of device `id`?
fn is(saved: &Device, id: DeviceId) -> bool {
    let (class, devid) = saved.id();
    devid == id.devid && class == id.class.to_string()
}

impl Drop for Devices {
    /// Finishes what the devices have begun, so that images are left whole.
    fn drop(&mut self) {
        finish(&self.commands, &self.ended, PATIENCE);
    }
}

/// Has all devices finish, for at most `patience`; whether they have.
///
/// An image that hangs (NFS, NBD) must not keep the process, and what the front end was not told is done it does not
/// count on.
pub(super) fn finish(commands: &Commands, ended: &Receiver<()>, patience: Duration) -> bool {
    commands.send(Command::Stop);
    // The end of the channel is what is waited for.
    ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
}
