//! A hub of eight ports (USB 1.1, chapter 11), which comes by itself when the ports before it run out (tree.rs).
//!
//! ```text
//!   endpoint 0 --control.rs--> requests: descriptors, address, configuration, status and features of the hub's ports
//!   port: off --SET power--> on --something there--> connected --SET reset--> enabled --SET suspend--> suspended
//!   endpoint 1 IN --> the ports that have a change to tell, a bit each, or NAK
//! ```
//! It has a power supply of its own and knows no error: a port that is reset is enabled when the request ends.

use super::control::{Control, Outcome, Reply, Request};
use super::{text_descriptor, LANGUAGES};
use serde::{Deserialize, Serialize};

/// Ports of a hub.
pub const PORTS: u8 = 8;
const VENDOR: [u8; 2] = 0x0627u16.to_le_bytes();
const PRODUCT: [u8; 2] = 0x0003u16.to_le_bytes();

/// wPortStatus (table 11-15): somebody is there, enabled, suspended, powered.
const CONNECTED: u16 = 1;
const ENABLED: u16 = 1 << 1;
const SUSPENDED: u16 = 1 << 2;
const POWERED: u16 = 1 << 8;
/// wPortChange (table 11-16): the same of the first and the third, and a reset that has ended.
const CHANGES: u16 = 0x1f;
const RESET_DONE: u16 = 1 << 4;

/// Feature selectors (table 11-12); changes are their bit in wPortChange and 16.
const F_ENABLE: u16 = 1;
const F_SUSPEND: u16 = 2;
const F_RESET: u16 = 4;
const F_POWER: u16 = 8;
const F_CHANGES: std::ops::RangeInclusive<u16> = 16..=20;

/// A port of the hub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Port {
    status: u16,
    change: u16,
}

/// A hub, without what is plugged into it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    address: u8,
    /// Counts once the request that brought it has ended.
    next_address: Option<u8>,
    configuration: u8,
    control: Control,
    halted: bool,
    wakes: bool,
    ports: [Port; PORTS as usize],
    /// Ports with something in them, a bit each from bit 0 on.
    there: u8,
    /// Ports whose device is to be reset; empty between two packets.
    #[serde(skip)]
    resets: u8,
}

/// The index of port `number`, which counts from 1.
fn index(number: u16) -> Option<usize> {
    let index = usize::from(number.checked_sub(1)?);
    (index < usize::from(PORTS)).then_some(index)
}

fn string(number: u8) -> Option<Vec<u8>> {
    let text = match number {
        0 => return Some(LANGUAGES.into()),
        1 => "Noxen",
        2 => "Noxen USB Hub",
        _ => return None,
    };
    Some(text_descriptor(text))
}

fn descriptor(value: u16) -> Option<Vec<u8>> {
    let [number, kind] = value.to_le_bytes();
    match (kind, number) {
        (1, 0) => Some(
            [
                // USB 1.1, a hub, packets of 8 bytes.
                &[18, 1, 0x10, 0x01, 9, 0, 0, 8][..],
                &VENDOR,
                &PRODUCT,
                &[0x00, 0x01, 1, 2, 0, 1],
            ]
            .concat(),
        ),
        (2, 0) => Some(
            [
                // 25 bytes, one interface, self-powered, can wake the host.
                &[9, 2, 25, 0, 1, 1, 0, 0xe0, 0][..],
                &[9, 4, 0, 0, 1, 9, 0, 0, 0],
                // Endpoint 1 IN, interrupts, nine bits, looked at every 255 ms.
                &[7, 5, 0x81, 3, 2, 0, 255],
            ]
            .concat(),
        ),
        (3, number) => string(number),
        _ => None,
    }
}

/// The hub descriptor (11.15.2.1): power by port, no overcurrent detection, good at once; nothing is fixed in place.
const OWN: [u8; 11] = [11, 0x29, PORTS, 0x11, 0, 1, 0, 0, 0, 0xff, 0xff];

impl Hub {
    /// Its address on the bus.
    pub fn address(&self) -> u8 {
        self.address
    }

    /// Its port was reset: its own ports are off.
    pub fn reset(&mut self) {
        *self = Hub {
            there: self.there,
            ..Hub::default()
        };
    }

    /// Something is in `port` now, or is not any more.
    pub fn plug(&mut self, port: u8, there: bool) {
        let Some(index) = index(port.into()) else {
            return;
        };
        self.there = self.there & !(1 << index) | u8::from(there) << index;
        let port = &mut self.ports[index];
        if port.status & POWERED == 0 {
            return;
        }
        port.status &= !(CONNECTED | ENABLED | SUSPENDED);
        port.status |= if there { CONNECTED } else { 0 };
        port.change |= CONNECTED;
    }

    /// Ports with something in them, a bit each.
    pub fn there(&self) -> u8 {
        self.there
    }

    /// What is behind a suspended port woke up.
    pub fn resume(&mut self, port: u8) {
        if let Some(index) = index(port.into()) {
            let port = &mut self.ports[index];
            if port.status & SUSPENDED != 0 {
                port.status &= !SUSPENDED;
                port.change |= SUSPENDED;
            }
        }
    }

    /// What is in `port` answers.
    pub fn passes(&self, port: u8) -> bool {
        let port = index(port.into()).map(|index| self.ports[index].status);
        port.is_some_and(|status| status & (ENABLED | SUSPENDED) == ENABLED)
    }

    /// Ports that were reset since the last call, a bit each.
    pub fn take_resets(&mut self) -> u8 {
        std::mem::take(&mut self.resets)
    }

    /// A SETUP packet.
    pub fn setup(&mut self, bytes: [u8; 8]) -> Outcome {
        let request = Request::of(bytes);
        self.next_address = None;
        let reply = self.request(request);
        self.control.setup(request, reply);
        Outcome::Done(Vec::new())
    }

    /// The guest wants up to `room` bytes of endpoint `endpoint`.
    pub fn input(&mut self, endpoint: u8, room: usize) -> Outcome {
        match endpoint {
            0 => {
                let (outcome, ended) = self.control.input(room);
                if let Some(address) = self.next_address.take_if(|_| ended) {
                    self.address = address;
                }
                outcome
            }
            1 if self.configuration != 0 && !self.halted => {
                let changed = |(bits, index): (u16, usize)| match self.ports[index].change {
                    0 => bits,
                    _ => bits | 2 << index,
                };
                // Bit 0 is the hub's own, which never has anything to tell.
                match (0..self.ports.len()).fold(0, |bits, index| changed((bits, index))) {
                    0 => Outcome::Nak,
                    bits => Outcome::Done(bits.to_le_bytes().into()),
                }
            }
            _ => Outcome::Stall,
        }
    }

    /// The guest brings bytes to endpoint `endpoint`.
    pub fn output(&mut self, endpoint: u8, bytes: &[u8]) -> Outcome {
        match endpoint {
            // No request brings data that matters.
            0 => self.control.output(bytes).0,
            _ => Outcome::Stall,
        }
    }

    fn request(&mut self, request: Request) -> Reply {
        let Request {
            kind,
            request,
            value,
            index: at,
            ..
        } = request;
        let [low, high] = value.to_le_bytes();
        let or_refused = |bytes: Option<Vec<u8>>| bytes.map_or(Reply::Refused, Reply::Answer);
        match (kind, request) {
            // Self-powered.
            (0x80, 0) => Reply::Answer(vec![1 | u8::from(self.wakes) << 1, 0]),
            (0x81, 0) => Reply::Answer(vec![0, 0]),
            (0x82, 0) => Reply::Answer(vec![u8::from(at == 0x81 && self.halted), 0]),
            (0x00, 1 | 3) if value == 1 => {
                self.wakes = request == 3;
                Reply::Done
            }
            (0x02, 1 | 3) if value == 0 => {
                if at == 0x81 {
                    self.halted = request == 3;
                }
                Reply::Done
            }
            (0x00, 5) if value < 128 => {
                self.next_address = Some(low);
                Reply::Done
            }
            (0x80, 6) => or_refused(descriptor(value)),
            (0x80, 8) => Reply::Answer(vec![self.configuration]),
            (0x00, 9) if value < 2 => {
                self.configuration = low;
                self.halted = false;
                self.ports = Default::default();
                Reply::Done
            }
            (0x81, 10) => Reply::Answer(vec![0]),
            (0x01, 11) if value == 0 => Reply::Done,
            // Of hubs (11.16.2): descriptor, status, features; nothing of the hub as a whole ever changes.
            (0xa0, 6) if high == 0x29 || high == 0 => Reply::Answer(OWN.into()),
            (0xa0, 0) => Reply::Answer(vec![0; 4]),
            (0x20, 1 | 3) if value < 2 => Reply::Done,
            (0xa3, 0) => or_refused(index(at).map(|index| {
                let Port { status, change } = self.ports[index];
                [status.to_le_bytes(), change.to_le_bytes()].concat()
            })),
            // The ports have no power before the hub is configured (11.11).
            (0x23, 1 | 3) if self.configuration != 0 => match index(at) {
                Some(index) => self.feature(index, value, request == 3),
                None => Reply::Refused,
            },
            _ => Reply::Refused,
        }
    }

    /// SetPortFeature, ClearPortFeature.
    fn feature(&mut self, index: usize, feature: u16, set: bool) -> Reply {
        let there = self.there >> index & 1 != 0;
        let port = &mut self.ports[index];
        match (feature, set) {
            (F_POWER, true) if port.status & POWERED == 0 => {
                port.status = POWERED;
                if there {
                    port.status |= CONNECTED;
                    port.change |= CONNECTED;
                }
            }
            (F_POWER, true) => {}
            (F_POWER, false) => *port = Port::default(),
            (F_RESET, true) => {
                if port.status & CONNECTED != 0 {
                    port.status = port.status & !SUSPENDED | ENABLED;
                    port.change |= RESET_DONE;
                    self.resets |= 1 << index;
                }
            }
            (F_SUSPEND, true) => {
                if port.status & ENABLED != 0 {
                    port.status |= SUSPENDED;
                }
            }
            (F_SUSPEND, false) => {
                if port.status & SUSPENDED != 0 {
                    port.status &= !SUSPENDED;
                    port.change |= SUSPENDED;
                }
            }
            (F_ENABLE, false) => port.status &= !(ENABLED | SUSPENDED),
            (change, false) if F_CHANGES.contains(&change) => port.change &= !(1 << (change - 16)),
            // What a port only tells: asked for all the same, it is no error (11.16.2.2, 11.16.2.13).
            (0 | F_ENABLE | 3 | 9, _) => {}
            (change, true) if F_CHANGES.contains(&change) => {}
            _ => return Reply::Refused,
        }
        Reply::Done
    }

    /// No hub has such.
    pub fn is_wild(&self) -> bool {
        let addresses = [Some(self.address), self.next_address];
        let wild = |(index, port): (usize, &Port)| {
            let connected = port.status & CONNECTED != 0;
            port.status & !(CONNECTED | ENABLED | SUSPENDED | POWERED) != 0
                || port.change & !CHANGES != 0
                || (port.status & POWERED == 0 && port.status != 0)
                || (!connected && port.status & (ENABLED | SUSPENDED) != 0)
                || (connected && self.there >> index & 1 == 0)
        };
        addresses.iter().flatten().any(|address| *address > 127)
            || self.configuration > 1
            || self.control.is_wild()
            || self.ports.iter().enumerate().any(wild)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(hub: &mut Hub, packet: [u8; 8]) -> Option<Vec<u8>> {
        hub.setup(packet);
        let mut all = Vec::new();
        loop {
            match hub.input(0, 64) {
                Outcome::Done(part) => {
                    let last = part.len() < 8;
                    all.extend(part);
                    if last {
                        hub.output(0, &[]);
                        return Some(all);
                    }
                }
                _ => return None,
            }
        }
    }

    fn set(hub: &mut Hub, feature: u8, port: u8) {
        ask(hub, [0x23, 3, feature, 0, port, 0, 0, 0]).unwrap();
    }

    fn clear(hub: &mut Hub, feature: u8, port: u8) {
        ask(hub, [0x23, 1, feature, 0, port, 0, 0, 0]).unwrap();
    }

    fn status(hub: &mut Hub, port: u8) -> [u16; 2] {
        let bytes = ask(hub, [0xa3, 0, 0, 0, port, 0, 4, 0]).unwrap();
        [
            u16::from_le_bytes([bytes[0], bytes[1]]),
            u16::from_le_bytes([bytes[2], bytes[3]]),
        ]
    }

    fn configured() -> Hub {
        let mut hub = Hub::default();
        ask(&mut hub, [0, 9, 1, 0, 0, 0, 0, 0]).unwrap();
        hub
    }

    #[test]
    fn descriptors_have_the_lengths_that_they_say() {
        let mut hub = Hub::default();
        let device = ask(&mut hub, [0x80, 6, 0, 1, 0, 0, 64, 0]).unwrap();
        assert_eq!((device.len(), device[4]), (18, 9));
        let all = ask(&mut hub, [0x80, 6, 0, 2, 0, 0, 255, 0]).unwrap();
        assert_eq!(all.len(), usize::from(all[2]));
        let own = ask(&mut hub, [0xa0, 6, 0, 0x29, 0, 0, 64, 0]).unwrap();
        assert_eq!(
            (own.len(), own[0], own[2]),
            (usize::from(own[0]), 11, PORTS)
        );
        let name = ask(&mut hub, [0x80, 6, 2, 3, 9, 4, 255, 0]).unwrap();
        assert_eq!(usize::from(name[0]), name.len());
        assert_eq!(ask(&mut hub, [0x80, 6, 9, 3, 9, 4, 255, 0]), None);
    }

    #[test]
    fn port_is_powered_told_of_reset_and_used() {
        let mut hub = Hub::default();
        hub.plug(3, true);
        // No power before it is configured.
        assert_eq!(ask(&mut hub, [0x23, 3, 8, 0, 3, 0, 0, 0]), None);
        ask(&mut hub, [0, 9, 1, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(hub.input(1, 8), Outcome::Nak);
        set(&mut hub, 8, 3);
        assert_eq!(status(&mut hub, 3), [0x101, 1]);
        assert_eq!(hub.input(1, 8), Outcome::Done(vec![1 << 3, 0]));
        clear(&mut hub, 16, 3);
        assert_eq!(hub.input(1, 8), Outcome::Nak);
        assert!(!hub.passes(3));
        set(&mut hub, 4, 3);
        assert_eq!(status(&mut hub, 3), [0x103, 0x10]);
        assert_eq!((hub.take_resets(), hub.take_resets()), (1 << 2, 0));
        assert!(hub.passes(3) && !hub.passes(4) && !hub.passes(0) && !hub.passes(9));
        set(&mut hub, 2, 3);
        assert!(!hub.passes(3));
        hub.resume(3);
        assert_eq!(status(&mut hub, 3), [0x103, 0x14]);
        assert!(!hub.is_wild());
        hub.reset();
        assert_eq!((hub.there(), hub.passes(3)), (1 << 2, false));
    }

    #[test]
    fn what_comes_and_goes_while_it_runs_is_told_of() {
        let mut hub = configured();
        (1..=PORTS).for_each(|port| set(&mut hub, 8, port));
        hub.plug(8, true);
        assert_eq!(hub.input(1, 8), Outcome::Done(vec![0, 1]));
        set(&mut hub, 4, 8);
        clear(&mut hub, 16, 8);
        clear(&mut hub, 20, 8);
        hub.plug(8, false);
        assert_eq!(status(&mut hub, 8), [0x100, 1]);
        // Nobody is there to be reset.
        hub.take_resets();
        set(&mut hub, 4, 8);
        assert_eq!((hub.take_resets(), hub.passes(8)), (0, false));
    }

    #[test]
    fn requests_to_no_port_and_of_no_feature_are_refused() {
        let mut hub = configured();
        for packet in [
            [0x23, 3, 8, 0, 0, 0, 0, 0],
            [0x23, 3, 8, 0, 9, 0, 0, 0],
            [0x23, 3, 30, 0, 1, 0, 0, 0],
            [0xa3, 0, 0, 0, 9, 0, 4, 0],
            [0x20, 1, 2, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(ask(&mut hub, packet), None, "{packet:x?}");
        }
        assert_eq!(hub.input(2, 8), Outcome::Stall);
    }
}
