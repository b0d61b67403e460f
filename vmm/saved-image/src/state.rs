//! The parts of a domain's state, as they are written. Other types than those that run: what is saved is an
//! interface of its own, and changes only with its version.
//!
//! ```text
//!   domain, clock, vcpu (one each), console, store, nodes, vbd, vif, vfb, vkbd (device.rs; one for each)
//!        -- all before the first memory record --> State::read      of an HVM domain: hvm.rs
//! ```
//! A field that is missing, unknown or of another type is an error; so is a part that comes twice.

use crate::device::{self, Device};
use crate::error::ImageError;
use crate::hvm;
use crate::read::{Reader, Record};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io::Read;

/// Most vCPUs of an image.
pub const MAX_VCPUS: usize = 32;
/// Most watches of a guest on the store.
pub const MAX_WATCHES: usize = 8192;
/// Most nodes of a guest in the store.
pub const MAX_NODES: usize = 8192;

/// A part with a name and a version.
pub trait Unit: Serialize + DeserializeOwned {
    /// Its name in the file.
    const NAME: &'static str;
    /// Version of its structure.
    const VERSION: u32;
}

/// Bytes, in hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let text: String = self
            .0
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|digit| char::from(DIGITS[usize::from(digit)]))
            .collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .map(Bytes)
            .ok_or_else(|| D::Error::custom("not bytes in hexadecimal digits"))
    }
}

/// What the domain is and how it lies in memory.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Domain id that it had.
    pub domid: u32,
    /// Frames at boot.
    pub boot_pages: u64,
    /// Most frames, ever: bytes of the memory "ram", in pages.
    pub max_pages: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Its kernel is a 32-bit one.
    pub bits32: bool,
    /// Number of the rule by which the monitor's region is laid out.
    pub layout: u32,
    /// Bytes of the monitor's image in memory, which the layout depends on.
    pub image_size: u64,
    /// Bytes of the memory "monitor".
    pub region_size: u64,
    /// Version of the interface between monitor and noxen-vmm.
    pub monitor_abi: u32,
    /// Machine frames of the two rings.
    pub store_mfn: u64,
    /// See `store_mfn`.
    pub console_mfn: u64,
    /// CPU features that the guest may have found: it runs only where all of them are.
    pub features: Vec<Feature>,
}

/// Bits of one register of a CPUID leaf.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Leaf.
    pub leaf: u32,
    /// Subleaf.
    pub subleaf: u32,
    /// `eax`, `ebx`, `ecx` or `edx`.
    pub register: String,
    /// The bits.
    pub bits: u32,
}

/// When it was saved, on both clocks.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// The guest's time-stamp counter.
    pub tsc: u64,
    /// Its rate.
    pub tsc_khz: u32,
    /// Nanoseconds since the epoch by the host's clock, at the same moment.
    pub host_ns: u64,
}

/// A vCPU: KVM's own structures (linux/kvm.h, asm/kvm.h of x86), which are a stable interface, as bytes.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Vcpu {
    /// Which.
    pub id: u32,
    /// struct kvm_regs.
    pub regs: Bytes,
    /// struct kvm_sregs.
    pub sregs: Bytes,
    /// struct kvm_xsave.
    pub xsave: Bytes,
    /// struct kvm_xcrs; empty where the CPU has no XSAVE.
    pub xcrs: Bytes,
    /// struct kvm_debugregs.
    pub debug: Bytes,
    /// struct kvm_lapic_state.
    pub lapic: Bytes,
    /// struct kvm_vcpu_events.
    pub events: Bytes,
    /// KVM_MP_STATE_*.
    pub mp_state: u32,
    /// Model-specific registers but the time-stamp counter, in the order in which they are to be set.
    pub msrs: Vec<(u32, u64)>,
}

/// The console: what lies in noxen-vmm between the guest's ring and the terminal.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// What the guest wrote and nobody has read.
    pub output: Bytes,
    /// What was typed and the guest has not taken.
    pub input: Bytes,
}

/// The guest's conversation with xenstored, at a moment without open requests and transactions.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Its watches.
    pub watches: Vec<Watch>,
    /// Bytes for the guest that its ring has no room for yet.
    pub to_guest: Bytes,
    /// The beginning of a request.
    pub from_guest: Bytes,
}

/// A watch, in the guest's words.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Path, or an event's name.
    pub path: Bytes,
    /// Token.
    pub token: Bytes,
}

/// Nodes of the store that the guest wrote below its home, or found there and may write.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    /// Parents before children.
    pub nodes: Vec<Node>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Path below the domain's home.
    pub path: String,
    /// Value.
    pub value: Bytes,
}

macro_rules! units {
    ($($unit:ident $name:literal $version:literal)*) => {
        $(impl Unit for $unit {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
        })*
    };
}

units! {
    Domain "domain" 1
    Clock "clock" 1
    Vcpu "vcpu" 1
    Console "console" 1
    Store "store" 1
    Nodes "nodes" 1
    Outline "outline" 1
    Mark "mark" 1
}

/// A place in a stream of which the other side says that it has come there; in a stream only, between pages.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Rounds of memory before it.
    pub rounds: u32,
}

/// All parts of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What it is.
    pub domain: Domain,
    /// When.
    pub clock: Clock,
    /// By id, each there.
    pub vcpus: Vec<Vcpu>,
    /// Console.
    pub console: Console,
    /// Store; none for a domain that had no connection to one.
    pub store: Option<Store>,
    /// Its nodes; none where there is no store.
    pub nodes: Option<Nodes>,
    /// Its devices.
    pub devices: Vec<Device>,
}

#[derive(Default)]
pub(crate) struct Parts {
    domain: Option<Domain>,
    pc: Option<hvm::Pc>,
    chips: Option<hvm::Chips>,
    board: Option<hvm::Board>,
    pc_devices: Vec<hvm::PcDevice>,
    clock: Option<Clock>,
    vcpus: Vec<Vcpu>,
    console: Option<Console>,
    store: Option<Store>,
    nodes: Option<Nodes>,
    devices: Vec<Device>,
}

impl State {
    /// Reads the parts; also gives the first memory record, if there is one.
    pub fn read<R: Read>(reader: &mut Reader<R>) -> Result<(State, Option<Record>), ImageError> {
        let (parts, rest) = Parts::read(reader)?;
        Ok((parts.whole()?, rest))
    }
}

/// What a stream begins with, before any memory.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Outline {
    /// The devices that are to be made ready meanwhile; the state of each comes at the end.
    pub devices: Vec<Outlined>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Outlined {
    /// `vbd`, `vif`, `vfb` or `vkbd`.
    pub class: String,
    /// Number.
    pub devid: u32,
    /// Address of an interface, else empty.
    pub mac: String,
}

/// The first two parts of a stream: what the domain is, and its devices.
pub fn read_outline<R: Read>(reader: &mut Reader<R>) -> Result<(Domain, Outline), ImageError> {
    Ok((one(reader)?, one(reader)?))
}

/// What a stream begins with: what the domain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Paravirtual.
    Pv(Box<Domain>),
    /// A PC.
    Hvm(Box<hvm::Pc>),
}

/// The first two parts of a stream of either kind. A PC's devices are in its configuration, so its outline is empty.
pub fn read_announced<R: Read>(reader: &mut Reader<R>) -> Result<(Announced, Outline), ImageError> {
    let writer = reader.header().writer.clone();
    let announced = match reader.next()? {
        Some(Record::Unit {
            name,
            version,
            body,
        }) if name == hvm::Pc::NAME && version == hvm::Pc::VERSION => {
            Announced::Hvm(Box::new(parse(&body, &writer)?))
        }
        Some(Record::Unit {
            name,
            version,
            body,
        }) if name == Domain::NAME && version == Domain::VERSION => {
            Announced::Pv(Box::new(parse(&body, &writer)?))
        }
        _ => {
            return Err(structure(&format!(
                "a stream that does not begin with what the domain is (from {writer})"
            )))
        }
    };
    Ok((announced, one(reader)?))
}

fn one<U: Unit, R: Read>(reader: &mut Reader<R>) -> Result<U, ImageError> {
    let writer = reader.header().writer.clone();
    match reader.next()? {
        Some(Record::Unit {
            name,
            version,
            body,
        }) if name == U::NAME && version == U::VERSION => parse(&body, &writer),
        _ => Err(structure(&format!(
            "a stream that does not have {:?} of version {} where it should (from {writer})",
            U::NAME,
            U::VERSION
        ))),
    }
}

impl State {
    /// Reads the rest of a stream, to its end: memory goes to `take` as it comes.
    pub fn read_stream<R: Read>(
        reader: &mut Reader<R>,
        domain: Domain,
        mut take: impl FnMut(Record) -> Result<(), ImageError>,
    ) -> Result<State, ImageError> {
        let parts = Parts {
            domain: Some(domain),
            ..Parts::default()
        };
        parts.read_stream(reader, &mut take)?.whole()
    }
}

impl Parts {
    /// What a PC's stream has begun with.
    pub(crate) fn of_pc(pc: hvm::Pc) -> Parts {
        Parts {
            pc: Some(pc),
            ..Parts::default()
        }
    }

    /// Reads all parts; also gives the first memory record, if there is one.
    pub(crate) fn read<R: Read>(
        reader: &mut Reader<R>,
    ) -> Result<(Parts, Option<Record>), ImageError> {
        let writer = reader.header().writer.clone();
        let mut parts = Parts::default();
        let memory = parts.take_units(reader, &writer)?;
        Ok((parts, memory))
    }

    /// Reads the rest of a stream, to its end: memory goes to `take` as it comes.
    pub(crate) fn read_stream<R: Read>(
        mut self,
        reader: &mut Reader<R>,
        take: &mut dyn FnMut(Record) -> Result<(), ImageError>,
    ) -> Result<Parts, ImageError> {
        let writer = reader.header().writer.clone();
        while let Some(memory) = self.take_units(reader, &writer)? {
            take(memory)?;
        }
        Ok(self)
    }

    /// Takes the units that come next; also gives the record behind them, if there is one.
    fn take_units<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        writer: &str,
    ) -> Result<Option<Record>, ImageError> {
        loop {
            match reader.next()? {
                // Whoever takes the memory answers it.
                Some(mark @ Record::Unit { .. }) if mark.is_mark() => return Ok(Some(mark)),
                Some(Record::Unit {
                    name,
                    version,
                    body,
                }) => self.take(&name, version, &body, writer)?,
                rest => return Ok(rest),
            }
        }
    }

    pub(crate) fn is_hvm(&self) -> bool {
        self.pc.is_some()
    }

    fn take(
        &mut self,
        name: &str,
        version: u32,
        body: &[u8],
        writer: &str,
    ) -> Result<(), ImageError> {
        match (name, version) {
            (Domain::NAME, Domain::VERSION) => once(&mut self.domain, body, writer),
            (Clock::NAME, Clock::VERSION) => once(&mut self.clock, body, writer),
            (Console::NAME, Console::VERSION) => once(&mut self.console, body, writer),
            (Store::NAME, Store::VERSION) => {
                once(&mut self.store, body, writer)?;
                let watches = self.store.as_ref().map_or(0, |s| s.watches.len());
                if watches > MAX_WATCHES {
                    return Err(structure("it has more watches than a guest can have"));
                }
                Ok(())
            }
            (Nodes::NAME, Nodes::VERSION) => {
                once(&mut self.nodes, body, writer)?;
                let nodes = self.nodes.as_ref().map_or(0, |n| n.nodes.len());
                if nodes > MAX_NODES {
                    return Err(structure("it has more nodes than a guest can have"));
                }
                Ok(())
            }
            (Vcpu::NAME, Vcpu::VERSION) => {
                if self.vcpus.len() >= MAX_VCPUS {
                    return Err(structure("it has more vCPUs than a domain can have"));
                }
                self.vcpus.push(parse(body, writer)?);
                Ok(())
            }
            (hvm::Pc::NAME, hvm::Pc::VERSION) => once(&mut self.pc, body, writer),
            (hvm::Chips::NAME, hvm::Chips::VERSION) => once(&mut self.chips, body, writer),
            (hvm::Board::NAME, hvm::Board::VERSION) => once(&mut self.board, body, writer),
            (hvm::PcDevice::NAME, hvm::PcDevice::VERSION) => {
                if self.pc_devices.len() >= hvm::MAX_PC_DEVICES {
                    return Err(structure("it has more devices than a PC can have"));
                }
                self.pc_devices.push(parse(body, writer)?);
                Ok(())
            }
            _ => {
                let device = Device::of_unit(name, version, body, writer).ok_or_else(|| {
                    ImageError::UnknownUnit {
                        name: name.to_owned(),
                        version,
                        writer: writer.to_owned(),
                    }
                })??;
                if self.devices.len() >= device::MAX_DEVICES {
                    return Err(structure("it has more devices than a domain can have"));
                }
                self.devices.push(device);
                Ok(())
            }
        }
    }

    /// The vCPUs by id, if all `count` are there.
    fn each_vcpu(&mut self, count: u32) -> Result<Vec<Vcpu>, ImageError> {
        let mut vcpus = std::mem::take(&mut self.vcpus);
        vcpus.sort_by_key(|vcpu| vcpu.id);
        match vcpus.iter().map(|vcpu| vcpu.id).eq(0..count) {
            true => Ok(vcpus),
            false => Err(structure("it does not have each of its vCPUs once")),
        }
    }

    pub(crate) fn whole_hvm(mut self) -> Result<hvm::HvmState, ImageError> {
        let of_pv = self.domain.is_some() || self.store.is_some() || !self.devices.is_empty();
        if of_pv || self.nodes.is_some() {
            return Err(structure("it has parts of both kinds of domain"));
        }
        let pc = self.pc.take().ok_or_else(|| missing(hvm::Pc::NAME))?;
        let state = hvm::HvmState {
            vcpus: self.each_vcpu(pc.vcpus)?,
            pc,
            clock: self.clock.ok_or_else(|| missing(Clock::NAME))?,
            console: self.console.ok_or_else(|| missing(Console::NAME))?,
            chips: self.chips.ok_or_else(|| missing(hvm::Chips::NAME))?,
            board: self.board.ok_or_else(|| missing(hvm::Board::NAME))?,
            devices: self.pc_devices,
        };
        hvm::check(&state)?;
        Ok(state)
    }

    pub(crate) fn whole(mut self) -> Result<State, ImageError> {
        if self.pc.is_some() || self.chips.is_some() || self.board.is_some() {
            return Err(structure("it has parts of both kinds of domain"));
        }
        if !self.pc_devices.is_empty() {
            return Err(structure("it has a PC's devices and no PC"));
        }
        let domain = self.domain.take().ok_or_else(|| missing(Domain::NAME))?;
        let vcpus = self.each_vcpu(domain.vcpus)?;
        device::check(&self.devices)?;
        Ok(State {
            domain,
            clock: self.clock.ok_or_else(|| missing(Clock::NAME))?,
            vcpus,
            console: self.console.ok_or_else(|| missing(Console::NAME))?,
            store: self.store,
            nodes: self.nodes,
            devices: self.devices,
        })
    }
}

fn missing(name: &str) -> ImageError {
    structure(&format!("its part {name:?} is missing"))
}

pub(crate) fn structure(text: &str) -> ImageError {
    ImageError::Structure(text.to_owned())
}

pub(crate) fn parse<U: Unit>(body: &[u8], writer: &str) -> Result<U, ImageError> {
    serde_json::from_slice(body).map_err(|error| ImageError::Unit {
        name: U::NAME.to_owned(),
        writer: writer.to_owned(),
        reason: error.to_string(),
    })
}

fn once<U: Unit>(place: &mut Option<U>, body: &[u8], writer: &str) -> Result<(), ImageError> {
    if place.is_some() {
        return Err(structure(&format!("its part {:?} comes twice", U::NAME)));
    }
    *place = Some(parse(body, writer)?);
    Ok(())
}
