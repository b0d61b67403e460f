//! Requests, replies and events of the control socket.

use crate::device::{DeviceClass, DeviceId, DeviceSpec, DeviceState, DeviceStatus};
use crate::screen::{Input, Part, Picture};
use crate::wish::Wish;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line from xend.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What the domain is doing: answered by [`Reply::Status`].
    Status,
    /// Stop all vCPUs; idempotent; answered once they have stopped.
    Pause,
    /// Let them run; a fresh domain starts paused.
    Unpause,
    /// End the process; answered before it goes.
    Destroy,
    /// Exit, hypercall and trap counters by kind: answered by [`Reply::Counters`].
    Counters,
    /// The guest's console_io text and the monitor's messages, last 64 KiB: [`Reply::Text`].
    ConsoleLog,
    /// Registers of every vCPU as text (paused for the moment): [`Reply::Text`].
    Registers,
    /// Bound the memory that the guest may populate from now on; what it has stays.
    SetMaxMemory {
        /// KiB, at most the domain's `maxmem_mib`.
        kib: u64,
    },
    /// Give a vCPU a non-maskable interrupt.
    Nmi {
        /// Index.
        vcpu: u32,
    },
    /// Have a vCPU of an HVM domain begin again as after INIT.
    Init {
        /// Index.
        vcpu: u32,
    },
    /// Ask the guest of an HVM domain to have these of its vCPUs, a bit for each; the first always stays.
    SetVcpus {
        /// Which.
        present: u64,
    },
    /// Press a button on an HVM domain's case.
    Press {
        /// Which.
        button: CaseButton,
    },
    /// From now on this connection also carries [`Event`] lines.
    Subscribe,
    /// Serve one more device, in a paused or a running domain. Answered once its back end is set up and
    /// waits for the front end; an error leaves nothing behind.
    AttachDevice {
        /// The device.
        device: DeviceSpec,
        /// Descriptors sent along (SCM_RIGHTS, in the message that carries the start of this line).
        fds: u32,
    },
    /// Let go of a device: asks the front end by its xenbus state, then [`Event::DeviceState`] tells when it
    /// is closed. `force` does not wait for the front end.
    DetachDevice {
        /// Kind.
        class: DeviceClass,
        /// Number.
        devid: u32,
        /// Without asking.
        #[serde(default)]
        force: bool,
    },
    /// What is attached: answered by [`Reply::Devices`].
    Devices,
    /// A screen's size and what has changed: answered by [`Reply::Screen`].
    Screen {
        /// Number of the vfb.
        devid: u32,
    },
    /// Pixels of a screen, at most [`crate::screen::MAX_PIXEL_BYTES`]: answered by [`Reply::Pixels`].
    Pixels {
        /// Number of the vfb.
        devid: u32,
        /// Which; it must lie within the screen.
        part: Part,
    },
    /// What a person did, for the guest, at most [`crate::screen::MAX_INPUTS`] at a time.
    Input {
        /// Number of the vkbd.
        devid: u32,
        /// In order.
        events: Vec<Input>,
    },
    /// Write the domain into the one file that comes along, from where it stands: answered by [`Reply::Saved`] once all
    /// is written (not synced). The domain stands still then until it is destroyed or unpaused, or until this connection
    /// ends: then it does what it did before, as it does after an error. Other connections are answered meanwhile.
    Save {
        /// The domain's configuration, an S-expression.
        config: String,
        /// Directories of the store that are the guest's own, below its home.
        directories: Vec<String>,
        /// How.
        // A monitor that was started by an earlier version does not know it.
        #[serde(default, skip_serializing_if = "SaveHow::is_plain")]
        how: SaveHow,
        /// Descriptors sent along: 1.
        fds: u32,
    },
    /// Write a core file for debuggers into the one fresh file that comes along, also of a domain that has shut down: answered by
    /// [`Reply::Saved`] once all is written (not synced). The domain does what it did before then.
    DumpCore {
        /// It runs on while its memory is written.
        live: bool,
        /// Descriptors sent along: 1.
        fds: u32,
    },
    /// Send the domain over the stream that comes along: answered by [`Reply::Moved`] once all is sent. As after a save,
    /// it stands still then. With [`Move::postcopy`] a second connection comes along, by which pages go that the guest lacks over there.
    Move {
        /// How.
        how: Move,
        /// Descriptors sent along: 1, or 2 by post-copy.
        fds: u32,
    },
    /// Hand the domain over to the noxen-vmm at the other end of the one unix socket that comes along (`handover.rs`): answered by
    /// [`Reply::Saved`] (bytes of its state) once all is said. As after a save, it stands still then.
    HandOver {
        /// Directories of the store that are the guest's own, below its home.
        directories: Vec<String>,
        /// Descriptors sent along: 1.
        fds: u32,
    },
    /// The domain that was handed over to this noxen-vmm is its own from now on: its rings and devices are taken into use. It stands still
    /// until it is unpaused. Nothing is done if that was said before.
    TakeOver {
        /// Descriptors sent along: 1, a connection to xenstored's domain socket, attached as this domain.
        fds: u32,
    },
    /// Wait until a domain that was sent by post-copy has all its pages over there: answered by [`Reply::Pages`], or an error once it
    /// can have them no more.
    Pages,
    /// A domain that is saved, sent or handed over stands still from now on also when the connection that asked for it ends.
    Hold,
    /// What a domain that came over a stream brought along: answered by [`Reply::Arrived`].
    Arrived,
    /// Write what an HVM domain's guest shows into the one file that comes along, as a PPM.
    Screendump {
        /// Descriptors sent along: 1.
        fds: u32,
    },
    /// The wish of [`Event::Wished`] has been done, or not.
    Fulfilled {
        /// Which.
        number: u64,
        /// Why not, one line.
        #[serde(default)]
        refusal: Option<String>,
    },
}

/// How a domain is to be saved.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SaveHow {
    /// The guest suspends itself first (`control/shutdown` = `suspend`).
    #[serde(default)]
    pub guest: bool,
    /// Memory is compressed.
    #[serde(default)]
    pub compress: bool,
}

impl SaveHow {
    /// As every version saves.
    pub fn is_plain(&self) -> bool {
        *self == SaveHow::default()
    }
}

/// How a domain is to be moved.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// Name of this move, which no other has.
    pub token: String,
    /// The domain's configuration, an S-expression.
    pub config: String,
    /// Directories of the store that are the guest's own, below its home.
    pub directories: Vec<String>,
    /// Its devices: class, number, address of an interface or nothing.
    pub devices: Vec<(String, u32, String)>,
    /// It runs while its memory is sent.
    pub live: bool,
    /// Seconds after which rounds end whatever is left; none: by their number and size only.
    // A monitor that was started by an earlier version does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_s: Option<u32>,
    /// How long it may stand still while the last of its memory is sent, milliseconds; rounds go on until that is foreseen.
    pub downtime_ms: u32,
    /// The guest suspends itself before the last of its memory is sent (`control/shutdown` = `suspend`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guest: bool,
    /// Its vCPUs are not held back, also if it writes faster than it is sent.
    // A monitor of before holds none back, and does not know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unthrottled: bool,
    /// Where it writes faster than it is sent it goes on over there before its memory is there; the way for the rest comes along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub postcopy: bool,
}

/// What a move came to, as far as its source knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Moved {
    /// All memory, then what was written meanwhile.
    pub rounds: Vec<Round>,
    /// Bytes of memory sent.
    pub bytes: u64,
    /// Until the guest stood still, its devices at rest, microseconds.
    pub stop_us: u64,
    /// The last of its memory, microseconds; all of it where it was not live.
    pub last_us: u64,
    /// The rest of its state, microseconds.
    pub state_us: u64,
}

/// What was sent after a domain by post-copy.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Pages {
    /// Bytes of memory.
    pub bytes: u64,
    /// Pages that the guest touched before they were there, as often as the source was asked for one.
    pub asked: u64,
    /// From the first page until all was there, microseconds.
    pub micros: u64,
}

/// A round of a move.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Round {
    /// Bytes of memory that it sent.
    pub bytes: u64,
    /// How long it took, microseconds.
    pub micros: u64,
    /// Bytes of memory that were written meanwhile.
    pub written: u64,
    /// For how much of the time its vCPUs were held back meanwhile, per cent.
    #[serde(default)]
    pub throttle: u32,
}

/// A button on a PC's case.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum CaseButton {
    /// Power.
    Power,
    /// Sleep.
    Sleep,
    /// Reset: the machine begins anew, whatever its guest is at.
    Reset,
    /// None on the case: the machine sleeps (ACPI S3) and wakes.
    Wake,
}

/// Why a guest stopped (public/sched.h SHUTDOWN_*).
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownReason {
    /// 0
    Poweroff,
    /// 1
    Reboot,
    /// 2
    Suspend,
    /// 3, or the monitor found that the guest cannot go on
    Crash,
    /// 4
    Watchdog,
    /// 5
    SoftReset,
}

/// One vCPU in [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct VcpuStatus {
    /// The guest has it up.
    pub online: bool,
    /// Halted, waiting for an event.
    pub blocked: bool,
    /// CPU time used, ns.
    pub cpu_ns: u64,
    /// Host CPU it ran on last.
    pub cpu: Option<u32>,
}

/// What a domain is doing.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// Domain id.
    pub domid: u32,
    /// Process id of noxen-vmm.
    pub pid: u32,
    /// Paused by request (or never started).
    pub paused: bool,
    /// Set once the guest has shut down or crashed.
    pub shutdown: Option<ShutdownReason>,
    /// One line for the log: why it crashed.
    pub crash_reason: Option<String>,
    /// vCPUs.
    pub vcpus: Vec<VcpuStatus>,
    /// Memory now, KiB.
    pub memory_kib: u64,
    /// CPU time of all vCPUs, ns.
    pub cpu_ns: u64,
    /// Seconds since the domain was built.
    pub uptime_s: u64,
    /// Slave path of the console's pseudo-terminal.
    pub console_tty: String,
    /// Machine frame of the xenstore ring page.
    pub store_mfn: u64,
    /// Event channel of the xenstore ring.
    pub store_port: u32,
    /// Machine frame of the console ring page.
    pub console_mfn: u64,
    /// Event channel of the console ring.
    pub console_port: u32,
    /// How far a save is, while there is one.
    #[serde(default)]
    pub saving: Option<Saving>,
}

/// How far a save is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Saving {
    /// Bytes of memory looked at so far, of this round where it is a move.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Rounds that are over.
    #[serde(default)]
    pub rounds: u32,
    /// Bytes of memory looked at in all.
    #[serde(default)]
    pub passed: u64,
    /// Bytes per second that the guest has written during the last round.
    #[serde(default)]
    pub dirty_rate: u64,
    /// For how much of the time the vCPUs are held back, per cent.
    #[serde(default)]
    pub throttle: u32,
    /// The guest stands still.
    #[serde(default)]
    pub still: bool,
    /// It is sent, and pages go after it.
    #[serde(default)]
    pub follows: bool,
}

/// One line from noxen-vmm in answer to one [`Request`].
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// Done.
    Ok,
    /// Not done, with one line why.
    Error {
        /// The line.
        message: String,
    },
    /// Answer to [`Request::Status`].
    Status(Box<Status>),
    /// Answer to [`Request::Counters`]: group -> kind -> count.
    Counters {
        /// `exit` (to noxen-vmm), `kvm` (KVM's own), `hypercall`, `refused`, `trap`, `emulated`, `other`.
        groups: BTreeMap<String, BTreeMap<String, u64>>,
    },
    /// Answer to [`Request::Save`] and [`Request::DumpCore`].
    Saved {
        /// Memory written, bytes.
        bytes: u64,
    },
    /// Answer to [`Request::Move`].
    Moved {
        /// What it came to.
        ledger: Moved,
    },
    /// Answer to [`Request::Pages`].
    Pages {
        /// What it came to.
        pages: Pages,
    },
    /// Answer to [`Request::Arrived`].
    Arrived {
        /// The guest's nodes of the store, below its home: path and value.
        nodes: Vec<(String, String)>,
        /// Devices that a front end used.
        connected: Vec<DeviceId>,
    },
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// Answer to [`Request::Devices`], by class and number.
    Devices {
        /// All there are.
        devices: Vec<DeviceStatus>,
    },
    /// Answer to [`Request::Screen`].
    Screen {
        /// Nothing while no front end uses it.
        picture: Option<Picture>,
    },
    /// Answer to [`Request::Pixels`].
    Pixels {
        /// Line after line without gaps, two hexadecimal digits a byte.
        hex: String,
    },
}

/// One line from noxen-vmm that nobody asked for; only on a subscribed connection.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The guest has shut down or crashed. Also sent at once to a new subscriber when it already has.
    Shutdown {
        /// Why.
        reason: ShutdownReason,
        /// A line for the log.
        detail: Option<String>,
    },
    /// An HVM domain's guest has set its clock. Also sent at once to a new subscriber when it already has.
    ClockMoved {
        /// By how much in all since the domain was built, seconds.
        seconds: i64,
    },
    /// The domain's monitor window wants something.
    Wished {
        /// For the answer.
        number: u64,
        /// What.
        wish: Wish,
    },
    /// A vCPU went up or down.
    VcpuOnline {
        /// Index.
        vcpu: u32,
        /// Up.
        online: bool,
    },
    /// A device came to another state.
    DeviceState {
        /// Kind.
        class: DeviceClass,
        /// Number.
        devid: u32,
        /// Now.
        state: DeviceState,
        /// One line: why it is closed or broken.
        reason: Option<String>,
    },
}
