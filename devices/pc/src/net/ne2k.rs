//! Realtek's RTL8029AS, an NE2000 on PCI (RTL8029AS data sheet; National Semiconductor DP8390D data sheet for the core; 10ec:8029).
//!
//! ```text
//!   0x00..0x0f  core's registers, four pages (CR bits 7, 6)     0x10..0x17 data port     0x18..0x1f reset port
//!   data port <--remote DMA (RSAR, RBCR)--> 0x0000 address PROM, 0x4000..0x7fff buffer memory
//!   cable --> ring of 256-byte pages PSTART..PSTOP (CURR: card, BNRY: host)       TPSR, TBCR --> cable
//! ```

use super::{hash, lose, pad, to, with_rom, Cable, Mac, To, CARD, FRAMES, MAX_FRAME};
use crate::device::{Device, Region, Turn, Width};
use crate::pci::{self, Bar, BarKind, Function, Identity, Pci};
use crate::state::StateError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VERSION: u64 = 1;
/// Buffer memory: where it begins, bytes.
const START: usize = 0x4000;
const MEMORY: usize = 0x4000;
const PAGE: usize = 256;
const PROM: usize = 32;

/// Command register (DP8390D, 10.3).
const CR: usize = 0;
const STOP: u8 = 0x01;
const TRANSMIT: u8 = 0x04;
const REMOTE_READ: u8 = 0x08;
const REMOTE_WRITE: u8 = 0x10;
const REMOTE: u8 = 0x38;
/// Interrupt status.
const RECEIVED: u8 = 0x01;
const SENT: u8 = 0x02;
const SEND_ERROR: u8 = 0x08;
const REMOTE_DONE: u8 = 0x40;
const IN_RESET: u8 = 0x80;
/// Receive configuration.
const BROADCAST: u8 = 0x04;
const MULTICAST: u8 = 0x08;
const PROMISCUOUS: u8 = 0x10;
const MONITOR: u8 = 0x20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    command: u8,
    status: u8,
    mask: u8,
    /// Pages: first of the ring, behind its last, last that the host has read, next to be written, of the frame to send.
    first: u8,
    behind: u8,
    boundary: u8,
    current: u8,
    send_page: u8,
    send_bytes: u16,
    remote_at: u16,
    remote_left: u16,
    receive: u8,
    transmit: u8,
    data: u8,
    receive_status: u8,
    transmit_status: u8,
    address: Mac,
    groups: [u8; 8],
    memory: Vec<u8>,
    level: bool,
}

/// The card.
#[derive(Debug)]
pub struct Ne2k {
    name: String,
    function: Function,
    mac: Mac,
    cable: Box<dyn Cable>,
    rom: Vec<u8>,
    state: State,
    frame: Vec<u8>,
}

impl Ne2k {
    /// Card `number` with an address, at a cable; `rom` is its expansion ROM (network boot), at most 128 KiB, empty for none.
    pub fn new(number: usize, mac: Mac, cable: Box<dyn Cable>, rom: Vec<u8>) -> Ne2k {
        let identity = Identity {
            vendor: 0x10ec,
            device: 0x8029,
            revision: 0,
            subsystem: (0x10ec, 0x8029),
            ..CARD
        };
        let mut bars = [None; 6];
        bars[0] = Some(Bar {
            kind: BarKind::Io,
            size: 32,
        });
        let function = with_rom(Function::new(identity, bars), &rom);
        Ne2k {
            name: format!("ne2k-{number}"),
            function,
            mac,
            cable,
            rom,
            state: State {
                command: STOP | 0x20,
                status: IN_RESET,
                mask: 0,
                first: 0,
                behind: 0,
                boundary: 0,
                current: 0,
                send_page: 0,
                send_bytes: 0,
                remote_at: 0,
                remote_left: 0,
                receive: 0,
                transmit: 0,
                data: 0,
                receive_status: 0,
                transmit_status: 0,
                address: [0; 6],
                groups: [0; 8],
                memory: vec![0; MEMORY],
                level: false,
            },
            frame: Vec::new(),
        }
    }

    /// The reset port and the machine's reset: the core stops.
    fn restart(&mut self) {
        let state = &mut self.state;
        state.command = STOP | 0x20;
        state.status = IN_RESET;
        state.mask = 0;
        state.remote_left = 0;
        state.receive_status = 0;
        state.transmit_status = 0;
    }

    /// The ring as byte offsets into buffer memory, if it lies there.
    fn ring(&self) -> Option<(usize, usize)> {
        let first = (usize::from(self.state.first) * PAGE).checked_sub(START)?;
        let behind = (usize::from(self.state.behind) * PAGE).checked_sub(START)?;
        (first < behind && behind <= MEMORY).then_some((first, behind))
    }

    /// A page of the ring as such an offset.
    fn page(&self, page: u8) -> Option<usize> {
        let (first, behind) = self.ring()?;
        let at = (usize::from(page) * PAGE).checked_sub(START)?;
        (first..behind).contains(&at).then_some(at)
    }

    /// Pages that the card may fill.
    fn room(&self) -> usize {
        let (Some((first, behind)), Some(current), Some(boundary)) = (
            self.ring(),
            self.page(self.state.current),
            self.page(self.state.boundary),
        ) else {
            return 0;
        };
        match current < boundary {
            true => (boundary - current) / PAGE,
            false => (behind - first - (current - boundary)) / PAGE,
        }
    }

    fn accepts(&self, frame: &[u8]) -> bool {
        let filter = self.state.receive;
        match to(frame) {
            _ if filter & PROMISCUOUS != 0 => true,
            To::All => filter & BROADCAST != 0,
            To::One => frame[..6] == self.state.address,
            To::Many => {
                let bit = (hash(&frame[..6]) >> 26) as usize;
                filter & MULTICAST != 0 && self.state.groups[bit / 8] >> (bit % 8) & 1 != 0
            }
        }
    }

    /// Takes frames while there is room for the longest.
    fn receive(&mut self) {
        let off = self.state.command & STOP != 0 || self.state.receive & MONITOR != 0;
        if off || self.ring().is_none() {
            return lose(self.cable.as_mut());
        }
        for _ in 0..FRAMES {
            // The ring is never filled up to the host's page.
            if self.room() <= (MAX_FRAME + 8).div_ceil(PAGE) {
                return;
            }
            let mut frame = std::mem::take(&mut self.frame);
            let came = self.cable.receive(&mut frame);
            if came && frame.len() >= 14 && frame.len() <= MAX_FRAME && self.accepts(&frame) {
                pad(&mut frame);
                self.store(&frame);
            }
            self.frame = frame;
            if !came {
                return;
            }
        }
    }

    fn store(&mut self, frame: &[u8]) {
        let (Some((first, behind)), Some(at)) = (self.ring(), self.page(self.state.current)) else {
            return;
        };
        let length = frame.len() + 8;
        let mut next = at + length.div_ceil(PAGE) * PAGE;
        if next >= behind {
            next -= behind - first;
        }
        let next_page = ((next + START) / PAGE) as u8;
        let group = if to(frame) == To::One { 0 } else { 0x20 };
        let [low, high, ..] = (frame.len() + 4).to_le_bytes();
        let status = 0x01 | group;
        let mut bytes = vec![status, next_page, low, high];
        bytes.extend(frame);
        bytes.extend(crc32fast::hash(frame).to_le_bytes());
        let head = bytes.len().min(behind - at);
        self.state.memory[at..at + head].copy_from_slice(&bytes[..head]);
        let rest = &bytes[head..];
        self.state.memory[first..first + rest.len()].copy_from_slice(rest);
        self.state.current = next_page;
        self.state.receive_status = status;
        self.state.status |= RECEIVED;
    }

    fn send(&mut self) {
        let length = usize::from(self.state.send_bytes);
        let at = (usize::from(self.state.send_page) * PAGE).checked_sub(START);
        let frame = at.and_then(|at| self.state.memory.get(at..at + length));
        self.state.command &= !TRANSMIT;
        match frame.filter(|frame| (14..=MAX_FRAME).contains(&frame.len())) {
            Some(frame) => {
                // Loopback modes keep it off the wire.
                if self.state.transmit & 0x06 == 0 {
                    self.cable.send(frame);
                }
                self.state.transmit_status = 0x01;
                self.state.status |= SENT;
            }
            None => {
                self.state.transmit_status = 0x08;
                self.state.status |= SEND_ERROR;
            }
        }
    }

    fn memory_byte(&self, at: u16) -> u8 {
        match usize::from(at) {
            // Words: each byte of the address twice, then 0x57.
            at @ 0..PROM => match at / 2 {
                index @ 0..6 => self.mac[index],
                14 | 15 => 0x57,
                _ => 0,
            },
            at => at
                .checked_sub(START)
                .and_then(|at| self.state.memory.get(at))
                .copied()
                .unwrap_or(0xff),
        }
    }

    /// A byte of remote DMA has gone by.
    fn remote_step(&mut self) {
        let state = &mut self.state;
        state.remote_at = state.remote_at.wrapping_add(1);
        if state.remote_at == u16::from(state.behind) << 8 {
            state.remote_at = u16::from(state.first) << 8;
        }
        state.remote_left = state.remote_left.saturating_sub(1);
        if state.remote_left == 0 {
            state.status |= REMOTE_DONE;
        }
    }

    fn data_in(&mut self, width: Width) -> u32 {
        let mut value = 0;
        for index in 0..width.bytes() {
            let reading = self.state.command & REMOTE == REMOTE_READ && self.state.remote_left > 0;
            let byte = if reading {
                self.memory_byte(self.state.remote_at)
            } else {
                0xff
            };
            if reading {
                self.remote_step();
            }
            value |= u32::from(byte) << (8 * index);
        }
        value
    }

    fn data_out(&mut self, width: Width, value: u32) {
        for byte in &value.to_le_bytes()[..width.bytes()] {
            if self.state.command & REMOTE != REMOTE_WRITE || self.state.remote_left == 0 {
                return;
            }
            let at = usize::from(self.state.remote_at).checked_sub(START);
            if let Some(place) = at.and_then(|at| self.state.memory.get_mut(at)) {
                *place = *byte;
            }
            self.remote_step();
        }
    }

    fn read_register(&mut self, at: usize) -> u8 {
        let state = &self.state;
        let [low, high] = state.remote_at.to_le_bytes();
        match (state.command >> 6, at) {
            (_, CR) => state.command,
            (0, 3) => state.boundary,
            (0, 4) => state.transmit_status,
            (0, 7) => state.status,
            (0, 8) => low,
            (0, 9) => high,
            // "PC": the chip's own mark.
            (0, 10) => 0x50,
            (0, 11) => 0x43,
            (0, 12) => state.receive_status,
            (1, 1..=6) => state.address[at - 1],
            (1, 7) => state.current,
            (1, _) => state.groups[at - 8],
            (2, 1) => state.first,
            (2, 2) => state.behind,
            (2, 4) => state.send_page,
            (2, 12) => state.receive,
            (2, 13) => state.transmit,
            (2, 14) => state.data,
            (2, 15) => state.mask,
            _ => 0,
        }
    }

    fn write_register(&mut self, at: usize, value: u8) {
        let state = &mut self.state;
        let low = |word: u16| word & 0xff00 | u16::from(value);
        let high = |word: u16| word & 0x00ff | u16::from(value) << 8;
        match (state.command >> 6, at) {
            (_, CR) => self.write_command(value),
            (0, 1) => state.first = value,
            (0, 2) => state.behind = value,
            (0, 3) => state.boundary = value,
            (0, 4) => state.send_page = value,
            (0, 5) => state.send_bytes = low(state.send_bytes),
            (0, 6) => state.send_bytes = high(state.send_bytes),
            (0, 7) => state.status &= !value | IN_RESET,
            (0, 8) => state.remote_at = low(state.remote_at),
            (0, 9) => state.remote_at = high(state.remote_at),
            (0, 10) => state.remote_left = low(state.remote_left),
            (0, 11) => state.remote_left = high(state.remote_left),
            (0, 12) => state.receive = value,
            (0, 13) => state.transmit = value,
            (0, 14) => state.data = value,
            (0, 15) => state.mask = value,
            (1, 1..=6) => state.address[at - 1] = value,
            (1, 7) => state.current = value,
            (1, _) => state.groups[at - 8] = value,
            _ => {}
        }
    }

    fn write_command(&mut self, value: u8) {
        self.state.command = value;
        match value & STOP != 0 {
            true => self.state.status |= IN_RESET,
            false => self.state.status &= !IN_RESET,
        }
        // Remote DMA of no bytes is over at once.
        if matches!(value & REMOTE, REMOTE_READ | REMOTE_WRITE) && self.state.remote_left == 0 {
            self.state.status |= REMOTE_DONE;
        }
        if value & TRANSMIT != 0 && value & STOP == 0 {
            self.send();
        }
    }

    fn settle(&mut self, turn: &mut Turn) {
        let level = self.state.status & self.state.mask & !IN_RESET != 0;
        turn.set_pin(&mut self.state.level, level);
    }
}

impl Device for Ne2k {
    fn name(&self) -> &str {
        &self.name
    }

    fn pci(&mut self) -> Option<&mut dyn Pci> {
        Some(self)
    }

    fn read(&mut self, region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        let value = match (region, offset) {
            (Region::Bar(0), 0x10..=0x17) => self.data_in(width),
            _ => (0..width.bytes() as u64).fold(0, |value, index| {
                let byte = match (region, offset + index) {
                    (Region::Rom, at) => self.rom.get(at as usize).copied().unwrap_or(0xff),
                    (_, at @ 0..=0x0f) => self.read_register(at as usize),
                    (_, 0x18..=0x1f) => {
                        self.restart();
                        0
                    }
                    _ => 0xff,
                };
                value | u32::from(byte) << (8 * index)
            }),
        };
        self.settle(turn);
        value
    }

    fn write(&mut self, region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        match (region, offset) {
            (Region::Rom, _) => return,
            (_, 0x10..=0x17) => self.data_out(width, value),
            _ => {
                for index in 0..width.bytes() as u64 {
                    let byte = (value >> (8 * index)) as u8;
                    match offset + index {
                        at @ 0..=0x0f => self.write_register(at as usize, byte),
                        0x18..=0x1f => self.restart(),
                        _ => {}
                    }
                }
            }
        }
        self.receive();
        self.settle(turn);
    }

    fn attend(&mut self, turn: &mut Turn) {
        self.receive();
        self.settle(turn);
    }

    fn reset(&mut self, turn: &mut Turn) {
        self.function.reset();
        self.restart();
        self.settle(turn);
    }

    fn save(&self) -> Value {
        self.function.wrap(VERSION, &self.state)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (config, state): (_, State) = pci::unwrap(&self.name, VERSION, saved)?;
        if state.memory.len() != MEMORY {
            return Err(StateError::wrong(
                &self.name,
                "buffer memory of another size than 16 KiB",
            ));
        }
        self.function.restore(&config, &self.name)?;
        self.state = state;
        Ok(())
    }
}

impl Pci for Ne2k {
    fn function(&mut self) -> &mut Function {
        &mut self.function
    }
}

/// The card for the conformance suite.
#[cfg(any(test, feature = "conformance"))]
pub(crate) mod subject {
    use super::*;
    use crate::conformance::{Step, Subject};
    use crate::net::lan::{frame, Lan};

    /// The card's address.
    pub const MAC: Mac = [0, 0x16, 0x3e, 7, 8, 9];

    /// A cable with this card.
    #[derive(Debug, Default)]
    pub struct Plugged(pub Lan);

    /// The guest writes registers of the core.
    pub fn set(values: &[(u64, u8)]) -> Vec<Step> {
        let write = |(at, value): &(u64, u8)| {
            Step::Write(Region::Bar(0), *at, Width::Byte, (*value).into())
        };
        values.iter().map(write).collect()
    }

    /// As a driver starts it: ring 0x46 to 0x80, frames to send at 0x40.
    pub fn start() -> Vec<Step> {
        let mut steps = set(&[
            (0, 0x21),
            (1, 0x46),
            (2, 0x80),
            (3, 0x46),
            (4, 0x40),
            (12, 0x0c),
            (13, 0),
            (14, 0x49),
            (0, 0x61),
        ]);
        for (index, byte) in MAC.into_iter().enumerate() {
            steps.extend(set(&[(1 + index as u64, byte)]));
        }
        steps.extend(set(&[(7, 0x47), (0, 0x22), (7, 0xff), (15, 0x1f)]));
        steps
    }

    /// Remote DMA by words.
    pub fn remote(command: u8, at: u16, bytes: u16) -> Vec<Step> {
        let ([low, high], [few, many]) = (at.to_le_bytes(), bytes.to_le_bytes());
        set(&[(8, low), (9, high), (10, few), (11, many), (0, command)])
    }

    impl Subject for Plugged {
        type Device = Ne2k;

        fn make(&self) -> Ne2k {
            Ne2k::new(0, MAC, Box::new(self.0.clone()), vec![0x55; 512])
        }

        fn happen(&self, device: &mut Ne2k, choice: u8, turn: &mut Turn) {
            let to = [MAC, [0xff; 6], [1, 0, 0x5e, 0, 0, choice], [2; 6]][usize::from(choice % 4)];
            self.0.put(frame(to, 40 + 6 * usize::from(choice), choice));
            device.attend(turn);
        }

        fn moves(&self) -> Vec<Vec<Step>> {
            let data = Step::Write(Region::Bar(0), 0x10, Width::Dword, 0x1234_5678);
            let read = Step::Read(Region::Bar(0), 0x10, Width::Word);
            vec![
                start(),
                [
                    remote(0x12, 0x4000, 64),
                    vec![data; 16],
                    set(&[(5, 64), (6, 0), (0, 0x26)]),
                ]
                .concat(),
                [
                    vec![Step::Happen(4)],
                    remote(0x0a, 0x4700, 128),
                    vec![read; 64],
                    set(&[(3, 0x47), (7, 0xff)]),
                ]
                .concat(),
                vec![Step::Read(Region::Bar(0), 0x1f, Width::Byte)],
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::subject::*;
    use super::*;
    use crate::conformance::{Ram, Run, Step, Subject};
    use crate::device::Effect;
    use crate::net::lan::frame;

    struct Host<'a>(Run<'a, Plugged>);

    impl<'a> Host<'a> {
        fn new(lan: &'a Plugged) -> Host<'a> {
            let mut run = Run::new(lan, lan.make(), Ram::new());
            run.go(&start());
            Host(run)
        }

        fn get(&mut self, at: u64) -> u8 {
            self.0
                .step(&Step::Read(Region::Bar(0), at, Width::Byte))
                .value as u8
        }

        fn set(&mut self, values: &[(u64, u8)]) -> Vec<Effect> {
            self.0
                .go(&set(values))
                .into_iter()
                .flat_map(|seen| seen.effects)
                .collect()
        }

        fn remote_read(&mut self, at: u16, bytes: u16) -> Vec<u8> {
            self.0.go(&remote(0x0a, at, bytes));
            let read = Step::Read(Region::Bar(0), 0x10, Width::Word);
            (0..bytes / 2)
                .flat_map(|_| (self.0.step(&read).value as u16).to_le_bytes())
                .collect()
        }
    }

    #[test]
    fn address_is_in_the_prom_twice() {
        let lan = Plugged::default();
        let mut host = Host::new(&lan);
        let prom = host.remote_read(0, 32);
        assert_eq!(prom[..4], [0, 0, 0x16, 0x16]);
        assert_eq!(prom[10..12], [9, 9]);
        assert_eq!(prom[28..], [0x57; 4]);
        assert_eq!([host.get(10), host.get(11)], [0x50, 0x43]);
        assert_eq!(host.get(7) & REMOTE_DONE, REMOTE_DONE);
    }

    #[test]
    fn frame_is_sent_from_buffer_memory() {
        let lan = Plugged::default();
        let mut host = Host::new(&lan);
        let sent = frame([9; 6], 100, 3);
        host.0.go(&remote(0x12, 0x4000, 100));
        for part in sent.chunks(4) {
            let word = u32::from_le_bytes(part.try_into().unwrap());
            host.0
                .step(&Step::Write(Region::Bar(0), 0x10, Width::Dword, word));
        }
        assert_eq!(
            host.set(&[(5, 100), (6, 0), (0, 0x26)]),
            vec![Effect::Pin(true)]
        );
        assert_eq!(lan.0.sent(), [sent]);
        assert_eq!((host.get(4), host.get(0) & TRANSMIT), (1, 0));
        assert_eq!(host.set(&[(7, 0xff)]), vec![Effect::Pin(false)]);
        // Outside of the memory, or longer than a frame.
        host.set(&[(4, 0x10), (0, 0x26)]);
        assert_eq!(host.get(7), SEND_ERROR);
        assert!(lan.0.sent().is_empty());
    }

    #[test]
    fn frames_lie_in_the_ring_in_order_and_around_its_end() {
        let lan = Plugged::default();
        let mut host = Host::new(&lan);
        let one = frame(MAC, 100, 5);
        lan.0.put(one.clone());
        assert_eq!(host.set(&[(15, 0x1f)]), vec![Effect::Pin(true)]);
        let got = host.remote_read(0x4700, 104);
        assert_eq!(got[..4], [0x01, 0x48, 104, 0]);
        assert_eq!(got[4..], one);
        // Long ones: six pages each; the ring has 58, of which some stay free.
        for seed in 0..12 {
            lan.0.put(frame(MAC, 1500, seed));
        }
        host.set(&[(7, 0xff)]);
        assert_eq!(lan.0.waiting(), 3);
        host.set(&[(0, 0x62)]);
        assert_eq!(host.get(7), 0x48 + 9 * 6);
        host.set(&[(0, 0x22), (3, 0x77)]);
        assert_eq!(lan.0.waiting(), 0);
        host.set(&[(0, 0x62)]);
        assert_eq!(host.get(7), 0x48 + 12 * 6 - 58);
        host.set(&[(0, 0x22)]);
        // Read on beyond the last page, remote DMA comes to the first.
        assert_eq!(host.remote_read(0x7ffe, 4).len(), 4);
        assert_eq!([host.get(8), host.get(9)], [0x02, 0x46]);
    }

    #[test]
    fn filter_and_monitor_mode() {
        let lan = Plugged::default();
        let mut host = Host::new(&lan);
        for (filter, expected) in [(0x00, 1), (0x04, 2), (0x10, 4), (0x30, 0)] {
            host.set(&[(0, 0x61), (7, 0x47), (0, 0x22), (3, 0x46), (12, filter)]);
            for to in [MAC, [0xff; 6], [2; 6], [1, 0, 0x5e, 0, 0, 1]] {
                lan.0.put(frame(to, 60, 1));
            }
            host.set(&[(12, filter), (0, 0x62)]);
            assert_eq!(host.get(7) - 0x47, expected, "filter {filter:#x}");
        }
    }

    #[test]
    fn reset_port_stops_it() {
        let lan = Plugged::default();
        let mut host = Host::new(&lan);
        host.get(0x1f);
        assert_eq!((host.get(0), host.get(7)), (0x21, IN_RESET));
    }
}
