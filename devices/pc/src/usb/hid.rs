//! Tablet, mouse and keyboard (USB 1.1 chapter 9, USB HID 1.11): descriptors, requests, the endpoint that reports.
//!
//! ```text
//!   endpoint 0 --control.rs--> requests: descriptors, address, configuration, HID's own
//!   endpoint 1 IN --> the next report (reports.rs), the last one again when its idle time is over, or NAK
//! ```

use super::control::{Control, Outcome, Reply, Request};
use super::reports::{Reports, RANGE};
use super::{text_descriptor, LANGUAGES};
use crate::device::Touch;
use serde::{Deserialize, Serialize};

/// ns of one unit of an idle time.
const IDLE_NS: u64 = 4_000_000;
const VENDOR: u16 = 0x0627;
const PRODUCT: u16 = 0x0001;

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Tells places.
    Tablet,
    /// Tells movements.
    Mouse,
    /// Tells keys.
    Keyboard,
}

impl Kind {
    fn product(self) -> &'static str {
        match self {
            Kind::Tablet => "Noxen USB Tablet",
            Kind::Mouse => "Noxen USB Mouse",
            Kind::Keyboard => "Noxen USB Keyboard",
        }
    }

    /// bInterfaceSubClass and bInterfaceProtocol: firmware knows the last two.
    fn boot(self) -> [u8; 2] {
        match self {
            Kind::Tablet => [0, 0],
            Kind::Mouse => [1, 2],
            Kind::Keyboard => [1, 1],
        }
    }

    /// Bytes of a report.
    #[cfg(test)]
    fn length(self) -> u8 {
        match self {
            Kind::Tablet => 6,
            Kind::Mouse => 4,
            Kind::Keyboard => 8,
        }
    }

    /// Report descriptor (HID 1.11, 6.2.2).
    fn report(self) -> Vec<u8> {
        let [low, high, ..] = RANGE.to_le_bytes();
        // Generic desktop, pointer: three buttons, five bits of nothing.
        let pointer = [
            &[0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00][..],
            &[0x05, 0x09, 0x19, 0x01, 0x29, 0x03, 0x15, 0x00, 0x25, 0x01],
            &[0x95, 0x03, 0x75, 0x01, 0x81, 0x02],
            &[0x95, 0x01, 0x75, 0x05, 0x81, 0x01],
        ]
        .concat();
        let wheel = [
            0x05, 0x01, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06,
            0xc0, 0xc0,
        ];
        match self {
            Kind::Tablet => [
                &pointer[..],
                &[0x05, 0x01, 0x09, 0x30, 0x09, 0x31],
                &[0x15, 0x00, 0x26, low, high, 0x35, 0x00, 0x46, low, high],
                &[0x75, 0x10, 0x95, 0x02, 0x81, 0x02],
                &[0x35, 0x00, 0x45, 0x00],
                &wheel,
            ]
            .concat(),
            Kind::Mouse => [
                &pointer[..],
                &[0x05, 0x01, 0x09, 0x30, 0x09, 0x31],
                &[0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x02, 0x81, 0x06],
                &wheel,
            ]
            .concat(),
            Kind::Keyboard => [
                &[0x05, 0x01, 0x09, 0x06, 0xa1, 0x01][..],
                // Eight modifiers, a byte of nothing.
                &[0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01],
                &[0x75, 0x01, 0x95, 0x08, 0x81, 0x02],
                &[0x95, 0x01, 0x75, 0x08, 0x81, 0x01],
                // Five lamps, three bits of nothing.
                &[
                    0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02,
                ],
                &[0x95, 0x01, 0x75, 0x03, 0x91, 0x01],
                // Six keys.
                &[0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x26, 0xff, 0x00],
                &[0x05, 0x07, 0x19, 0x00, 0x2a, 0xff, 0x00, 0x81, 0x00, 0xc0],
            ]
            .concat(),
        }
    }

    fn device(self) -> Vec<u8> {
        let [vendor, product] = [VENDOR.to_le_bytes(), PRODUCT.to_le_bytes()];
        [
            // USB 1.1, class of the interface, packets of 8 bytes.
            &[18, 1, 0x10, 0x01, 0, 0, 0, 8][..],
            &vendor,
            &product,
            &[0x00, 0x01, 1, 2, 0, 1],
        ]
        .concat()
    }

    /// The HID descriptor.
    fn class(self) -> [u8; 9] {
        let [low, high] = (self.report().len() as u16).to_le_bytes();
        [9, 0x21, 0x11, 0x01, 0, 1, 0x22, low, high]
    }

    fn configuration(self) -> Vec<u8> {
        let [subclass, protocol] = self.boot();
        [
            // 34 bytes, one interface, can wake the host, 100 mA.
            &[9, 2, 34, 0, 1, 1, 0, 0xa0, 50][..],
            &[9, 4, 0, 0, 1, 3, subclass, protocol, 0],
            &self.class(),
            // Endpoint 1 IN, interrupts, looked at every 10 ms.
            &[7, 5, 0x81, 3, 8, 0, 10],
        ]
        .concat()
    }

    fn string(self, number: u8) -> Option<Vec<u8>> {
        let text = match number {
            0 => return Some(LANGUAGES.into()),
            1 => "Noxen",
            2 => self.product(),
            _ => return None,
        };
        Some(text_descriptor(text))
    }
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hid {
    kind: Kind,
    address: u8,
    /// Counts once the request that brought it has ended.
    next_address: Option<u8>,
    configuration: u8,
    control: Control,
    reports: Reports,
    /// Units until a report is repeated; 0: never.
    idle: u8,
    /// HID's boot protocol (0) or its own reports (1); they are the same.
    protocol: u8,
    halted: bool,
    wakes: bool,
    lamps: u8,
    /// When it reported last, ns.
    reported: u64,
    /// Somebody has asked for its reports since it was configured.
    polled: bool,
}

impl Hid {
    /// One that was just plugged in.
    pub fn new(kind: Kind) -> Hid {
        Hid {
            kind,
            address: 0,
            next_address: None,
            configuration: 0,
            control: Control::default(),
            reports: Reports::default(),
            idle: 0,
            protocol: 1,
            halted: false,
            wakes: false,
            lamps: 0,
            reported: 0,
            polled: false,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its address on the bus.
    pub fn address(&self) -> u8 {
        self.address
    }

    /// The guest wants its reports; firmware configures also what it then leaves alone.
    pub fn is_used(&self) -> bool {
        self.polled
    }

    /// Its port was reset.
    pub fn reset(&mut self) {
        let mut reports = std::mem::take(&mut self.reports);
        reports.reset();
        *self = Hid {
            reports,
            ..Hid::new(self.kind)
        };
    }

    /// A person did something; true if the guest uses it and it is this device's.
    pub fn touch(&mut self, touch: Touch) -> bool {
        self.polled && self.reports.touch(self.kind, touch)
    }

    /// A SETUP packet.
    pub fn setup(&mut self, bytes: [u8; 8]) -> Outcome {
        let request = Request::of(bytes);
        self.next_address = None;
        let reply = self.request(request);
        self.control.setup(request, reply);
        Outcome::Done(Vec::new())
    }

    /// The guest wants up to `room` bytes of endpoint `endpoint` at `now`.
    pub fn input(&mut self, endpoint: u8, room: usize, now: u64) -> Outcome {
        match endpoint {
            0 => {
                let (outcome, ended) = self.control.input(room);
                if let Some(address) = self.next_address.take_if(|_| ended) {
                    self.address = address;
                }
                outcome
            }
            1 if self.configuration != 0 => {
                self.polled = true;
                self.tell(now)
            }
            _ => Outcome::Stall,
        }
    }

    fn tell(&mut self, now: u64) -> Outcome {
        if self.halted {
            return Outcome::Stall;
        }
        let waited = now.saturating_sub(self.reported);
        let over = self.idle != 0 && waited >= u64::from(self.idle) * IDLE_NS;
        let again = || self.reports.again(self.kind);
        let again = over.then(again);
        match self.reports.take(self.kind).or(again) {
            Some(report) => {
                self.reported = now;
                Outcome::Done(report)
            }
            None => Outcome::Nak,
        }
    }

    /// The guest brings bytes to endpoint `endpoint`.
    pub fn output(&mut self, endpoint: u8, bytes: &[u8]) -> Outcome {
        if endpoint != 0 {
            return Outcome::Stall;
        }
        let (outcome, whole) = self.control.output(bytes);
        // The one request with data is a report to the keyboard: its lamps.
        if let Some((_, data)) = whole {
            self.lamps = data.first().copied().unwrap_or(0);
        }
        outcome
    }

    fn request(&mut self, request: Request) -> Reply {
        let Request {
            kind,
            request,
            value,
            index,
            ..
        } = request;
        let [low, high] = value.to_le_bytes();
        let answer = |bytes: &[u8]| Reply::Answer(bytes.to_vec());
        match (kind, request) {
            // GET_STATUS of the device, an interface, an endpoint.
            (0x80, 0) => answer(&[u8::from(self.wakes) << 1, 0]),
            (0x81, 0) => answer(&[0, 0]),
            (0x82, 0) => answer(&[u8::from(index == 0x81 && self.halted), 0]),
            // CLEAR_FEATURE and SET_FEATURE: wake the host, halt.
            (0x00, 1 | 3) if value == 1 => {
                self.wakes = request == 3;
                Reply::Done
            }
            (0x02, 1 | 3) if value == 0 && index == 0x81 => {
                self.halted = request == 3;
                Reply::Done
            }
            (0x02, 1) if value == 0 => Reply::Done,
            // SET_ADDRESS.
            (0x00, 5) if value < 128 => {
                self.next_address = Some(low);
                Reply::Done
            }
            // GET_DESCRIPTOR.
            (0x80, 6) => match (high, low) {
                (1, 0) => Reply::Answer(self.kind.device()),
                (2, 0) => Reply::Answer(self.kind.configuration()),
                (3, number) => match self.kind.string(number) {
                    Some(text) => Reply::Answer(text),
                    None => Reply::Refused,
                },
                _ => Reply::Refused,
            },
            (0x81, 6) => match high {
                0x21 => answer(&self.kind.class()),
                0x22 => Reply::Answer(self.kind.report()),
                _ => Reply::Refused,
            },
            // GET_CONFIGURATION, SET_CONFIGURATION, GET_INTERFACE, SET_INTERFACE.
            (0x80, 8) => answer(&[self.configuration]),
            (0x00, 9) if value < 2 => {
                self.configuration = low;
                (self.halted, self.polled) = (false, false);
                self.reports.reset();
                Reply::Done
            }
            (0x81, 10) => answer(&[0]),
            (0x01, 11) if value == 0 => Reply::Done,
            // HID (7.2): GET_REPORT, GET_IDLE, GET_PROTOCOL, SET_REPORT, SET_IDLE, SET_PROTOCOL.
            (0xa1, 1) => Reply::Answer(self.reports.again(self.kind)),
            (0xa1, 2) => answer(&[self.idle]),
            (0xa1, 3) => answer(&[self.protocol]),
            (0x21, 9) if self.kind == Kind::Keyboard => Reply::Done,
            (0x21, 10) => {
                self.idle = high;
                Reply::Done
            }
            (0x21, 11) if value < 2 => {
                self.protocol = low;
                Reply::Done
            }
            _ => Reply::Refused,
        }
    }

    /// No device has such.
    pub fn is_wild(&self) -> bool {
        let addresses = [Some(self.address), self.next_address];
        addresses.iter().flatten().any(|address| *address > 127)
            || self.configuration > 1
            || self.control.is_wild()
            || self.reports.is_wild()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 3] = [Kind::Tablet, Kind::Mouse, Kind::Keyboard];

    fn ask(hid: &mut Hid, packet: [u8; 8]) -> Option<Vec<u8>> {
        hid.setup(packet);
        let mut all = Vec::new();
        loop {
            match hid.input(0, 64, 0) {
                Outcome::Done(part) => {
                    let last = part.len() < 8;
                    all.extend(part);
                    if last {
                        hid.output(0, &[]);
                        return Some(all);
                    }
                }
                _ => return None,
            }
        }
    }

    #[test]
    fn descriptors_have_the_lengths_that_they_say() {
        for kind in KINDS {
            let mut hid = Hid::new(kind);
            let device = ask(&mut hid, [0x80, 6, 0, 1, 0, 0, 64, 0]).unwrap();
            assert_eq!((device.len(), device[0]), (18, 18));
            let all = ask(&mut hid, [0x80, 6, 0, 2, 0, 0, 255, 0]).unwrap();
            assert_eq!(all.len(), usize::from(all[2]));
            let mut at = 0;
            while at < all.len() {
                at += usize::from(all[at]);
            }
            assert_eq!(at, all.len());
            let report = ask(&mut hid, [0x81, 6, 0, 0x22, 0, 0, 255, 0]).unwrap();
            assert_eq!(all[25], report.len() as u8);
            let name = ask(&mut hid, [0x80, 6, 2, 3, 9, 4, 255, 0]).unwrap();
            assert_eq!(usize::from(name[0]), name.len());
            assert_eq!(ask(&mut hid, [0x80, 6, 9, 3, 9, 4, 255, 0]), None);
        }
    }

    #[test]
    fn report_descriptor_tells_as_many_bits_as_a_report_has() {
        for kind in KINDS {
            let bytes = kind.report();
            let (mut size, mut count, mut bits, mut at) = (0u32, 0u32, 0, 0);
            while at < bytes.len() {
                let item = bytes[at];
                let data = [0, 1, 2, 4][usize::from(item & 3)];
                let value = u32::from(bytes.get(at + 1).copied().unwrap_or(0));
                match item & 0xfc {
                    0x74 => size = value,
                    0x94 => count = value,
                    0x80 => bits += size * count,
                    _ => {}
                }
                at += 1 + data;
            }
            assert_eq!(bits, 8 * u32::from(kind.length()), "{kind:?}");
        }
    }

    #[test]
    fn address_counts_from_the_end_of_its_request() {
        let mut hid = Hid::new(Kind::Tablet);
        hid.setup([0, 5, 7, 0, 0, 0, 0, 0]);
        assert_eq!(hid.address(), 0);
        assert_eq!(hid.input(0, 0, 0), Outcome::Done(Vec::new()));
        assert_eq!(hid.address(), 7);
        hid.reset();
        assert_eq!(hid.address(), 0);
    }

    #[test]
    fn it_reports_once_the_guest_uses_it_and_again_when_idle_is_over() {
        let mut hid = Hid::new(Kind::Keyboard);
        let press = Touch::Key {
            code: 30,
            pressed: true,
        };
        assert!(!hid.touch(press));
        assert_eq!(hid.input(1, 8, 0), Outcome::Stall);
        ask(&mut hid, [0, 9, 1, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(hid.input(1, 8, 0), Outcome::Nak);
        assert!(hid.touch(press));
        let report = Outcome::Done(vec![0, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(hid.input(1, 8, 1000), report);
        assert_eq!(hid.input(1, 8, 1_000_000_000), Outcome::Nak);
        ask(&mut hid, [0x21, 10, 0, 8, 0, 0, 0, 0]).unwrap();
        assert_eq!(hid.input(1, 8, 2_000_000_000), report);
        assert_eq!(hid.input(1, 8, 2_031_999_999), Outcome::Nak);
        assert_eq!(hid.input(1, 8, 2_032_000_000), report);
        // Halted, it refuses; cleared, it goes on.
        ask(&mut hid, [2, 3, 0, 0, 0x81, 0, 0, 0]).unwrap();
        assert_eq!(hid.input(1, 8, 0), Outcome::Stall);
        ask(&mut hid, [2, 1, 0, 0, 0x81, 0, 0, 0]).unwrap();
        assert_eq!(hid.input(1, 8, 0), Outcome::Nak);
    }
}
