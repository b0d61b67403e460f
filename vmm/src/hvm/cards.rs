//! The PC's network cards: which interface of the domain is which card.
//!
//! ```text
//!   before the first start:  attach(vif N, model) --> slots --start()--> card in PCI slot 4 + N
//!   tap's thread: a frame --> Pc::attend(card)
//! ```

use crate::devices::Given;
use crate::hvm::cable::TapEnd;
use crate::hvm::drives::{again, Pv};
use crate::hvm::pc::Pc;
use crate::prompt::subject;
use noxen_control::device::{
    DeviceClass, DeviceId, DeviceSpec, DeviceState, DeviceStatus, NicModel,
};
use noxen_pc::bus::Place;
use noxen_pc::net::e1000::E1000;
use noxen_pc::net::ne2k::Ne2k;
use noxen_pc::net::pcnet::Pcnet;
use noxen_pc::net::rtl8139::Rtl8139;
use noxen_pc::net::Mac;
use noxen_pc::Device;
use rustix::fs::{memfd_create, MemfdFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock, Weak};

/// Slot of the first card.
const FIRST_SLOT: u8 = 4;
/// Cards at most: up to slot 30.
const CARDS: u32 = 27;

/// Bytes of an expansion ROM at most.
pub const MAX_ROM: usize = 128 << 10;

/// A card with its cable.
#[derive(Debug)]
struct Slot {
    mac: Mac,
    model: NicModel,
    end: TapEnd,
    number: Arc<OnceLock<usize>>,
    rom: Vec<u8>,
    /// As it was attached, for another process.
    given: Pv,
    /// What a paravirtual interface in its place is made from, where the guest can have one.
    pv: Option<Pv>,
}

/// All cards of a PC.
#[derive(Debug)]
pub struct Cards {
    pc: Weak<Pc>,
    slots: BTreeMap<u32, Slot>,
    started: bool,
}

/// `aa:bb:cc:dd:ee:ff`.
fn mac_of(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let pair = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let part = parts.next().filter(pair)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

impl Cards {
    /// No card yet.
    pub fn new(pc: &Arc<Pc>) -> Cards {
        Cards {
            pc: Arc::downgrade(pc),
            slots: BTreeMap::new(),
            started: false,
        }
    }

    /// Puts a card into the machine; `rom` is what firmware boots by from the network, or empty. The line says why not.
    pub fn attach(
        &mut self,
        spec: &DeviceSpec,
        queues: Vec<OwnedFd>,
        rom: Vec<u8>,
    ) -> Result<(), String> {
        let DeviceSpec::Vif {
            devid, mac, model, ..
        } = spec
        else {
            return Err(format!("{} is no network interface", spec.id()));
        };
        let (devid, model) = (*devid, *model);
        if self.started {
            return Err(format!(
                "vif {devid}: a card cannot be put into a running PC; shut the domain down first"
            ));
        }
        if devid >= CARDS || self.slots.contains_key(&devid) {
            return Err(format!(
                "vif {devid}: an HVM domain has cards 0 to {}, each once",
                CARDS - 1
            ));
        }
        if rom.len() > MAX_ROM {
            let length = rom.len();
            return Err(format!(
                "vif {devid}: a ROM of {length} bytes; {MAX_ROM} are possible"
            ));
        }
        let mac = mac_of(mac).ok_or_else(|| format!("vif {devid}: '{mac}' is no address"))?;
        let number: Arc<OnceLock<usize>> = Arc::default();
        let unplugs = self.pc.upgrade().is_some_and(|pc| pc.xen().is_some());
        let once_more = || -> Result<Pv, String> {
            Ok(Pv {
                spec: spec.clone(),
                fds: again(&queues).map_err(|error| format!("vif {devid}: {error}"))?,
            })
        };
        let pv = match unplugs {
            true => Some(once_more()?),
            false => None,
        };
        let given = once_more()?;
        let (pc, known) = (self.pc.clone(), number.clone());
        let notify = move || {
            if let Some((pc, number)) = pc.upgrade().zip(known.get()) {
                pc.attend(*number);
            }
        };
        let end = TapEnd::new(&format!("vif-{devid}"), queues, notify)
            .map_err(|line| format!("vif {devid}: {line}"))?;
        self.slots.insert(
            devid,
            Slot {
                mac,
                model,
                end,
                number,
                rom,
                given,
                pv,
            },
        );
        Ok(())
    }

    /// The guest unplugs its cards: they are gone from the bus, and their taps are free.
    pub fn unplug(&mut self) -> Vec<Pv> {
        let Some(pc) = self.pc.upgrade() else {
            return Vec::new();
        };
        let mut gone = Vec::new();
        for slot in std::mem::take(&mut self.slots).into_values() {
            if let Some(number) = slot.number.get() {
                pc.unplug(*number);
            }
            gone.extend(slot.pv);
        }
        gone
    }

    /// What another process makes the same cards of. The line says why not.
    pub fn again(&self) -> Result<Vec<Given>, String> {
        let given = |(devid, slot): (&u32, &Slot)| {
            let failed = |error: std::io::Error| format!("vif {devid}: {error}");
            let mut spec = slot.given.spec.clone();
            let mut fds = again(&slot.given.fds).map_err(failed)?;
            if let DeviceSpec::Vif { rom, .. } = &mut spec {
                *rom = !slot.rom.is_empty();
            }
            if !slot.rom.is_empty() {
                let memory = memfd_create("rom", MemfdFlags::CLOEXEC);
                let file = File::from(memory.map_err(|errno| failed(errno.into()))?);
                file.write_all_at(&slot.rom, 0).map_err(failed)?;
                fds.push(file.into());
            }
            Ok((spec, fds))
        };
        self.slots.iter().map(given).collect()
    }

    /// The cards as the monitor window shows them.
    pub fn shown(&self) -> Vec<subject::Card> {
        let card = |(number, slot): (&u32, &Slot)| subject::Card {
            number: *number,
            model: slot.model.name(),
            mac: slot.mac.map(|byte| format!("{byte:02x}")).join(":"),
        };
        self.slots.iter().map(card).collect()
    }

    /// What is attached.
    pub fn list(&self) -> Vec<DeviceStatus> {
        let status = |devid: &u32| DeviceStatus {
            id: DeviceId {
                class: DeviceClass::Vif,
                devid: *devid,
            },
            state: DeviceState::Connected,
            reason: None,
            disk: None,
        };
        self.slots.keys().map(status).collect()
    }

    /// Puts the cards into the machine, once, before its firmware runs; false: it was done before.
    pub fn start(&mut self) -> bool {
        let Some(pc) = self.pc.upgrade().filter(|_| !self.started) else {
            return false;
        };
        self.started = true;
        for (devid, slot) in &self.slots {
            let (index, mac, cable) = (*devid as usize, slot.mac, slot.end.cable());
            let rom = slot.rom.clone();
            let card: Box<dyn Device> = match slot.model {
                NicModel::Rtl8139 => Box::new(Rtl8139::new(index, mac, cable, rom)),
                NicModel::Ne2kPci => Box::new(Ne2k::new(index, mac, cable, rom)),
                NicModel::Pcnet => Box::new(Pcnet::new(index, mac, cable, rom)),
                NicModel::E1000 => Box::new(E1000::new(index, mac, cable, rom)),
            };
            let place = Place {
                slot: FIRST_SLOT + *devid as u8,
                function: 0,
            };
            let number = pc.add(|bus| bus.add(card, Some(place)));
            // Nobody else sets it.
            let _ = slot.number.set(number);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_six_pairs_of_digits() {
        assert_eq!(
            mac_of("00:16:3e:0a:Bb:ff"),
            Some([0, 0x16, 0x3e, 10, 0xbb, 255])
        );
        for text in [
            "",
            "00:16:3e:0a:bb",
            "00:16:3e:0a:bb:ff:00",
            "0:16:3e:0a:bb:ff",
            "00:16:3e:0a:bb:+f",
        ] {
            assert_eq!(mac_of(text), None, "{text}");
        }
    }
}
