//! Requests, answers and faults.

use crate::change::{Change, Share};
use crate::config::DomainConfig;
use crate::device::{DeviceClass, DeviceConfig, DeviceInfo};
use crate::info::{DomainInfo, DomainVcpus, NodeInfo, StateFilter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest line that either side accepts, bytes (newline included).
pub const MAX_LINE: u64 = 16 << 20;

/// Longest request that xend accepts, bytes (newline included).
pub const MAX_REQUEST: u64 = 256 << 10;

/// How a guest is asked to stop: the word written to its `control/shutdown`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownKind {
    /// Power off.
    Poweroff,
    /// Halt (Linux ends it as a power-off).
    Halt,
    /// Reboot.
    Reboot,
}

impl ShutdownKind {
    /// By that word.
    pub fn parse(word: &str) -> Option<ShutdownKind> {
        [
            ShutdownKind::Poweroff,
            ShutdownKind::Halt,
            ShutdownKind::Reboot,
        ]
        .into_iter()
        .find(|kind| kind.word() == word)
    }

    /// The word that the guest reads in `control/shutdown`.
    pub fn word(self) -> &'static str {
        match self {
            ShutdownKind::Poweroff => "poweroff",
            ShutdownKind::Halt => "halt",
            ShutdownKind::Reboot => "reboot",
        }
    }
}

/// One line from toolctl. `domain` is a name, a domain id or a UUID, looked up in that order.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Is xend there? Answered by [`Response::Ok`].
    Ping,
    /// Build a domain and leave it paused: [`Response::Domain`].
    Create {
        /// What to build.
        config: Box<DomainConfig>,
    },
    /// Keep a configuration as a managed domain, halted: [`Response::Ok`].
    New {
        /// What to keep.
        config: Box<DomainConfig>,
    },
    /// What a domain is built from: [`Response::Config`]. Domain 0 has none.
    Config {
        /// Which.
        domain: String,
    },
    /// Give the halted managed domain of that UUID another configuration: [`Response::Ok`].
    Configure {
        /// What to keep.
        config: Box<DomainConfig>,
    },
    /// Build a halted managed domain and leave it paused: [`Response::Domain`].
    Start {
        /// Which.
        domain: String,
    },
    /// Forget a halted managed domain: [`Response::Ok`].
    Delete {
        /// Which.
        domain: String,
    },
    /// Wait until the domain's devices are connected: [`Response::Ok`].
    WaitForDevices {
        /// Which.
        domain: String,
    },
    /// All domains sorted by name, or those named in the order named: [`Response::Domains`].
    List {
        /// Empty: all of them, domain 0 included.
        #[serde(default)]
        domains: Vec<String>,
        /// Which states count.
        #[serde(default)]
        state: StateFilter,
    },
    /// One domain: [`Response::Domain`].
    Domain {
        /// Which.
        domain: String,
    },
    /// `list -l`: one S-expression text a domain, same selection as `List`: [`Response::Texts`].
    Sxp {
        /// Empty: all of them.
        #[serde(default)]
        domains: Vec<String>,
        /// Which states count.
        #[serde(default)]
        state: StateFilter,
    },
    /// Stop the vCPUs; answered once they have stopped: [`Response::Ok`].
    Pause {
        /// Which.
        domain: String,
    },
    /// Let them run: [`Response::Ok`].
    Unpause {
        /// Which.
        domain: String,
    },
    /// Ask the guest to stop; does not wait for it: [`Response::Ok`].
    Shutdown {
        /// Which.
        domain: String,
        /// How.
        kind: ShutdownKind,
    },
    /// Destroy at once; answered when it is gone: [`Response::Ok`].
    Destroy {
        /// Which.
        domain: String,
    },
    /// Write a running domain to a file and end it: [`Response::Ok`]. A file that is there is replaced.
    Save {
        /// Which.
        domain: String,
        /// Absolute path.
        file: String,
        /// Let it run on instead.
        #[serde(default)]
        checkpoint: bool,
        /// How.
        #[serde(default)]
        how: crate::migrate::SaveHow,
    },
    /// Judge a configuration, and look for the files that it names, without making anything of it: [`Response::Ok`].
    Check {
        /// It.
        config: Box<DomainConfig>,
    },
    /// Write a core file of a domain for debuggers: [`Response::Ok`]. A file that is there is replaced.
    DumpCore {
        /// Which.
        domain: String,
        /// Absolute path; none: a new name in /var/xen/dump.
        #[serde(default)]
        file: Option<String>,
        /// It runs on while its memory is written.
        #[serde(default)]
        live: bool,
        /// It is destroyed afterwards.
        #[serde(default)]
        crash: bool,
        /// It is built anew afterwards.
        #[serde(default)]
        reset: bool,
    },
    /// Make a domain of a file that [`Request::Save`] wrote: [`Response::Domain`].
    Restore {
        /// Absolute path.
        file: String,
        /// Do not let it run.
        #[serde(default)]
        paused: bool,
        /// The domain runs before its memory is read.
        #[serde(default)]
        lazy: bool,
    },
    /// Move a running domain to another host: [`Response::Moved`].
    Migrate {
        /// Which.
        domain: String,
        /// How.
        how: crate::migrate::Wanted,
    },
    /// Let a running domain go on in a noxen-vmm that is started now: [`Response::Ok`].
    Upgrade {
        /// Which.
        domain: String,
    },
    /// How far a save or a move of a domain is: [`Response::Transfer`].
    Transfer {
        /// Which.
        domain: String,
    },
    /// Give up a save or a move of a domain, which runs on; whoever asked for that is answered with an error:
    /// [`Response::Ok`].
    Cancel {
        /// Which.
        domain: String,
    },
    /// Write a running managed domain to its own place and end it: [`Response::Ok`].
    Suspend {
        /// Which.
        domain: String,
    },
    /// Let a suspended managed domain go on: [`Response::Ok`].
    Resume {
        /// Which.
        domain: String,
        /// Do not let it run.
        #[serde(default)]
        paused: bool,
    },
    /// Destroy and create again with the same configuration: [`Response::Domain`].
    Reset {
        /// Which.
        domain: String,
    },
    /// Change something of a domain: [`Response::Ok`].
    Change {
        /// Which.
        domain: String,
        /// What.
        change: Change,
    },
    /// Shares of the host's CPUs, of the domains named or of all: [`Response::Shares`].
    Shares {
        /// Empty: all of them.
        #[serde(default)]
        domains: Vec<String>,
    },
    /// Write what the keys ask for to where [`Request::Dmesg`] reads: [`Response::Ok`].
    DebugKeys {
        /// Keys of the hypervisor's console.
        keys: String,
    },
    /// vCPUs of the domains named, or of all: [`Response::Vcpus`].
    VcpuList {
        /// Empty: all of them.
        #[serde(default)]
        domains: Vec<String>,
    },
    /// The host: [`Response::Node`].
    Info,
    /// The settings of xend that are in force: [`Response::Settings`].
    Settings,
    /// The guests' console_io text and the monitors' messages: [`Response::Text`].
    Dmesg {
        /// Forget the text once answered.
        #[serde(default)]
        clear: bool,
    },
    /// Where xend's log is: [`Response::Text`] holding the path.
    LogPath,
    /// Pseudo-terminal of the domain's console: [`Response::Console`].
    Console {
        /// Which.
        domain: String,
    },
    /// Where the domain's screen is shown by VNC: [`Response::Vnc`].
    Vnc {
        /// Which.
        domain: String,
    },
    /// Exit, hypercall and trap counters of a domain: [`Response::Counters`].
    Counters {
        /// Which.
        domain: String,
    },
    /// Registers of every vCPU as text: [`Response::Text`].
    Registers {
        /// Which.
        domain: String,
    },
    /// Give a running domain one more device; answered once its back end waits for the guest: [`Response::Ok`].
    AttachDevice {
        /// Which.
        domain: String,
        /// What.
        device: DeviceConfig,
    },
    /// Take a device; answered once the guest has let go of it: [`Response::Ok`].
    DetachDevice {
        /// Which.
        domain: String,
        /// Kind of device.
        class: DeviceClass,
        /// Its number, name, `CLASS/NUMBER` or, of an interface, MAC address.
        device: String,
        /// Do not wait for the guest.
        #[serde(default)]
        force: bool,
    },
    /// Change the medium of a removable drive: [`Response::Ok`].
    ConfigureDevice {
        /// Which.
        domain: String,
        /// The drive, with its new medium.
        device: DeviceConfig,
    },
    /// The devices of a class, by number: [`Response::Devices`].
    Devices {
        /// Which.
        domain: String,
        /// Kind of device.
        class: DeviceClass,
    },
}

/// What a request is answered with when it is done.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// Done.
    Ok,
    /// A domain runs on another host now.
    Moved {
        /// What it came to.
        ledger: Box<crate::migrate::Ledger>,
    },
    /// How far a save or a move is.
    Transfer {
        /// None: there is none.
        transfer: Option<crate::migrate::Transfer>,
    },
    /// One domain.
    Domain {
        /// It.
        domain: Box<DomainInfo>,
    },
    /// What a domain is built from.
    Config {
        /// It.
        config: Box<DomainConfig>,
    },
    /// Several.
    Domains {
        /// They.
        domains: Vec<DomainInfo>,
    },
    /// vCPUs by domain.
    Vcpus {
        /// They.
        domains: Vec<DomainVcpus>,
    },
    /// Shares of the host's CPUs.
    Shares {
        /// They.
        domains: Vec<Share>,
    },
    /// The host.
    Node {
        /// It.
        node: Box<NodeInfo>,
    },
    /// Keys of xend-config.sxp and their values, defaults included.
    Settings {
        /// They. A password is not among them; `(set)` stands for it.
        settings: BTreeMap<String, String>,
    },
    /// Text as it is to be printed.
    Text {
        /// It.
        text: String,
    },
    /// Texts as they are to be printed, one after the other.
    Texts {
        /// They.
        texts: Vec<String>,
    },
    /// Devices.
    Devices {
        /// They.
        devices: Vec<DeviceInfo>,
    },
    /// A console.
    Console {
        /// Domain id.
        domid: u32,
        /// Path of the pseudo-terminal.
        tty: String,
    },
    /// Where a viewer has to go.
    Vnc {
        /// Address or name.
        host: String,
        /// TCP port.
        port: u16,
        /// What it will be asked for; nothing if it is let in without.
        password: Option<String>,
        /// It has to speak TLS (VeNCrypt, with a certificate).
        #[serde(default)]
        tls: bool,
    },
    /// Counters: group -> kind -> count.
    Counters {
        /// They.
        groups: BTreeMap<String, BTreeMap<String, u64>>,
    },
}

/// A request that was not done. The text is shown to the user after `Error: `. It is one line, but for what xm said in
/// two: why a disk is not shared.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// [`Fault::INTERNAL`], [`Fault::GENERIC`] or [`Fault::INVALID_DOMAIN`].
    pub code: i32,
    /// The line. For code 3 it is `Domain 'X' does not exist.`
    pub message: String,
}

impl Fault {
    /// xend itself is at fault.
    pub const INTERNAL: i32 = 1;
    /// The request cannot be done.
    pub const GENERIC: i32 = 2;
    /// No such domain; the tool exits with status 3.
    pub const INVALID_DOMAIN: i32 = 3;

    /// A fault of code 2.
    pub fn generic(message: impl Into<String>) -> Fault {
        Fault {
            code: Fault::GENERIC,
            message: message.into(),
        }
    }

    /// A fault of code 1.
    pub fn internal(message: impl Into<String>) -> Fault {
        Fault {
            code: Fault::INTERNAL,
            message: message.into(),
        }
    }

    /// The fault of code 3 for `domain`.
    pub fn invalid_domain(domain: &str) -> Fault {
        Fault {
            code: Fault::INVALID_DOMAIN,
            message: format!("Domain '{domain}' does not exist."),
        }
    }
}

/// One line from xend.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done.
    Ok(Response),
    /// Not done.
    Fault(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_roundtrips_on_one_line() {
        let request = Request::Shutdown {
            domain: "a\nb".into(),
            kind: ShutdownKind::Halt,
        };
        let text = serde_json::to_string(&request).unwrap();
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn request_with_unknown_field_is_refused() {
        let text = r#"{"request":"pause","domain":"a","force":true}"#;
        assert!(serde_json::from_str::<Request>(text).is_err());
    }

    #[test]
    fn list_without_arguments_means_all() {
        let request: Request = serde_json::from_str(r#"{"request":"list"}"#).unwrap();
        assert_eq!(
            request,
            Request::List {
                domains: vec![],
                state: StateFilter::All
            }
        );
    }

    #[test]
    fn answer_fault_roundtrips() {
        let answer = Answer::Fault(Fault::invalid_domain("x"));
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(
            text,
            r#"{"fault":{"code":3,"message":"Domain 'x' does not exist."}}"#
        );
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
    }
}
