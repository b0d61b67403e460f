//! The card's registers: control and status (CSR), bus configuration (BCR), and the ways to them (Am79C970A data sheet, "User accessible registers").
//!
//! ```text
//!   0x00..0x0f address PROM     words: 0x10 data, 0x12 number, 0x14 reset, 0x16 BCR     dwords: 0x10, 0x14, 0x18, 0x1c
//!   after power-on by words; a dword written to 0x10 switches over, until power-off
//! ```

use super::{Pcnet, State};
use crate::device::{Turn, Width};

/// CSR0: initialise, start, stop, look at the ring of frames to send; both directions are on; interrupts on.
pub const INIT: u16 = 1;
pub const START: u16 = 1 << 1;
pub const STOP: u16 = 1 << 2;
pub const DEMAND: u16 = 1 << 3;
pub const SENDS: u16 = 1 << 4;
pub const RECEIVES: u16 = 1 << 5;
pub const ENABLE: u16 = 1 << 6;
pub const INTERRUPT: u16 = 1 << 7;
/// Initialised, sent, received, memory error, missed, no heartbeat, too long, any error of them.
pub const INITIALISED: u16 = 1 << 8;
pub const SENT: u16 = 1 << 9;
pub const RECEIVED: u16 = 1 << 10;
pub const MEMORY: u16 = 1 << 11;
pub const TOO_LONG: u16 = 1 << 14;
pub const ERROR: u16 = 1 << 15;
/// Those that are cleared by writing them, those of them that are errors, and those that interrupt.
const CLEARED: u16 = 0x7f00;
const ERRORS: u16 = 0x7800;
const INTERRUPTS: u16 = 0x5f00;
/// CSR3: the masks of those; sending goes on after a frame that was cut short.
pub const GOES_ON: u16 = 1 << 6;
/// CSR4: events, their masks one bit below; frames are padded; a command that makes an event.
const EVENTS: u16 = 0x022a;
pub const PADS: u16 = 1 << 11;
const USER_COMMAND: u16 = 1 << 7;
const USER: u16 = 1 << 6;
pub const SEND_BEGAN: u16 = 1 << 3;
/// CSR5: stands still with all it knows; a frame that was sent well is not told of.
pub const SUSPEND: u16 = 1;
pub const QUIET: u16 = 1 << 15;
/// CSR15: takes all frames, none to all, none to it; no checksum behind what it sends; hears itself; sends, receives nothing.
pub const ALL: u16 = 1 << 15;
pub const NO_BROADCAST: u16 = 1 << 14;
pub const NOT_OWN: u16 = 1 << 13;
pub const NO_CHECK: u16 = 1 << 3;
pub const LOOP: u16 = 1 << 2;
pub const NO_SEND: u16 = 1 << 1;
pub const NO_RECEIVE: u16 = 1;

/// Numbers of CSRs.
pub const MODE: usize = 15;
pub const FILTER: usize = 8;
pub const OWN: usize = 12;
/// Base addresses and lengths of the rings: receive, send.
pub const BASE: [usize; 2] = [24, 30];
const COUNT: [usize; 2] = [72, 74];
pub const LENGTH: [usize; 2] = [76, 78];
const STYLE: usize = 58;
/// What chip it is (Am79C970A), in two registers.
const CHIP: [(usize, u16); 2] = [(88, 0x1003), (89, 0x0262)];
/// CSRs and BCRs.
pub const CSRS: usize = 128;
pub const BCRS: usize = 32;
/// BCRs: the lamp for the link, how it is accessed, software style.
const LINK_LAMP: usize = 4;
const ACCESS: usize = 18;
pub const SOFTWARE: usize = 20;
/// [`ACCESS`]: by dwords. [`SOFTWARE`]: 32 bits. [`LINK_LAMP`]: on.
const DWORDS: u16 = 1 << 7;
pub const WIDE: u16 = 1 << 8;
const ON: u16 = 1 << 15;

/// What a place among the ports is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Prom(usize),
    Data,
    Number,
    Reset,
    Bus,
    Nothing,
}

impl State {
    /// Power-on.
    pub fn new(mac: &[u8; 6]) -> State {
        let mut state = State {
            csr: vec![0; CSRS],
            bcr: vec![0; BCRS],
            number: 0,
            at: [0; 2],
            level: false,
            hungry: None,
        };
        for (number, value) in [
            (0, 0x0005),
            (1, 0x0005),
            (2, 0x0002),
            (LINK_LAMP, 0x00c0),
            (5, 0x0084),
            (6, 0x0088),
            (7, 0x0090),
            (ACCESS, 0x9001),
            (19, 0x0002),
            (SOFTWARE, 0x0200),
            (22, 0xff06),
        ] {
            state.bcr[number] = value;
        }
        state.soft_reset(mac);
        state
    }

    /// The reset port: it stands still and has forgotten its rings; how it is accessed stays.
    pub fn soft_reset(&mut self, mac: &[u8; 6]) {
        self.csr.fill(0);
        for (number, value) in [(0, STOP), (4, 0x0115), (80, 0x1410), (100, 0x0200)] {
            self.csr[number] = value;
        }
        for (number, value) in CHIP {
            self.csr[number] = value;
        }
        for (index, pair) in mac.chunks_exact(2).enumerate() {
            self.csr[OWN + index] = u16::from_le_bytes([pair[0], pair[1]]);
        }
        self.csr[STYLE] = self.bcr[SOFTWARE];
        self.number = 0;
        self.at = [0; 2];
        self.hungry = None;
    }

    /// The address that a pair of CSRs is.
    pub fn pair(&self, first: usize) -> u64 {
        u64::from(self.csr[first]) | u64::from(self.csr[first + 1]) << 16
    }

    /// Sets such a pair.
    pub fn set_pair(&mut self, first: usize, value: u32) {
        (self.csr[first], self.csr[first + 1]) = (value as u16, (value >> 16) as u16);
    }

    fn stands(&self) -> bool {
        self.csr[0] & STOP != 0 || self.csr[5] & SUSPEND != 0
    }

    /// Entries of a ring.
    pub fn entries(&self, ring: usize) -> u32 {
        (0x1_0000 - u32::from(self.csr[LENGTH[ring]])) & 0xffff
    }

    /// Something has come up that interrupts.
    pub fn interrupts(&self) -> bool {
        let events = self.csr[4] & EVENTS & !((self.csr[4] & EVENTS >> 1) << 1);
        self.csr[0] & INTERRUPTS & !self.csr[3] != 0 || events != 0 || self.csr[4] & USER != 0
    }

    fn is_by_dwords(&self) -> bool {
        self.bcr[ACCESS] & DWORDS != 0
    }

    fn port(&self, offset: usize) -> Port {
        let step = if self.is_by_dwords() { 4 } else { 2 };
        match (offset, offset.wrapping_sub(0x10) / step) {
            (0..0x10, _) => Port::Prom(offset),
            (_, 0) => Port::Data,
            (_, 1) => Port::Number,
            (_, 2) => Port::Reset,
            (_, 3) => Port::Bus,
            _ => Port::Nothing,
        }
    }
}

impl Pcnet {
    /// The address PROM: address, checksum, two letters W.
    fn prom(&self, at: usize) -> u8 {
        let byte = |at: usize| match at {
            0..6 => self.mac[at],
            14 | 15 => 0x57,
            _ => 0,
        };
        let sum: u16 = (0..16).map(|at| u16::from(byte(at))).sum();
        match at {
            12 | 13 => sum.to_le_bytes()[at - 12],
            at => byte(at),
        }
    }

    /// A read of any width; registers are read as wholes, the bytes asked for are cut out.
    pub fn read_ports(&mut self, offset: usize, width: Width, turn: &mut Turn) -> u32 {
        let mut bytes = [0; 4];
        let mut seen: Option<(Port, [u8; 4])> = None;
        let step = if self.state.is_by_dwords() { 4 } else { 2 };
        for (index, byte) in bytes.iter_mut().take(width.bytes()).enumerate() {
            let at = offset + index;
            let port = self.state.port(at);
            *byte = match (port, seen) {
                (Port::Prom(at), _) => self.prom(at),
                (port, Some((before, value))) if before == port => value[at % step],
                (port, _) => {
                    let value = self.read_port(port, turn).to_le_bytes();
                    seen = Some((port, value));
                    value[at % step]
                }
            };
        }
        u32::from_le_bytes(bytes)
    }

    fn read_port(&mut self, port: Port, turn: &mut Turn) -> u32 {
        match port {
            Port::Data => self.csr(usize::from(self.state.number)).into(),
            Port::Number => self.state.number.into(),
            Port::Reset => {
                self.state.soft_reset(&self.mac);
                self.settle(turn);
                0
            }
            Port::Bus => self.bcr(usize::from(self.state.number)).into(),
            Port::Prom(_) | Port::Nothing => 0,
        }
    }

    /// A write: of words by words, of dwords by dwords and by their lower words; others are no register's.
    pub fn write_ports(&mut self, offset: usize, width: Width, value: u32, turn: &mut Turn) {
        let pieces: &[(usize, u16)] = match (self.state.is_by_dwords(), width) {
            (false, Width::Word) => &[(offset, value as u16)],
            (false, Width::Dword) if offset == 0x10 => {
                // From now on by dwords.
                self.state.bcr[ACCESS] |= DWORDS;
                &[(offset, value as u16)]
            }
            (false, Width::Dword) => &[(offset, value as u16), (offset + 2, (value >> 16) as u16)],
            (true, Width::Word | Width::Dword) if offset.is_multiple_of(4) => {
                &[(offset, value as u16)]
            }
            _ => &[],
        };
        for (offset, value) in pieces.iter().filter(|(offset, _)| offset.is_multiple_of(2)) {
            let number = usize::from(self.state.number);
            match self.state.port(*offset) {
                Port::Data => self.set_csr(number, *value, turn),
                Port::Number => self.state.number = *value as u8 & 0x7f,
                Port::Bus => self.set_bcr(number, *value),
                Port::Reset | Port::Prom(_) | Port::Nothing => {}
            }
        }
    }

    fn csr(&self, number: usize) -> u16 {
        let state = &self.state;
        match number {
            0 => {
                let mut value = state.csr[0];
                value |= if value & ERRORS != 0 { ERROR } else { 0 };
                value | if state.interrupts() { INTERRUPT } else { 0 }
            }
            16 | 17 => state.csr[number - 15],
            _ => match COUNT.iter().position(|count| *count == number) {
                // Counts up to 0 at the end of the ring.
                Some(ring) => 0u16.wrapping_sub((state.entries(ring) - state.at[ring]) as u16),
                None => state.csr[number],
            },
        }
    }

    fn set_csr(&mut self, number: usize, value: u16, turn: &mut Turn) {
        match number {
            0 => self.set_status(value, turn),
            1 | 2 | 8..=15 | 24 | 25 | 30 | 31 if self.state.stands() => {
                self.state.csr[number] = value
            }
            16 | 17 if self.state.stands() => self.state.csr[number - 15] = value,
            3 => self.state.csr[3] = value & 0x5f7c,
            4 => {
                let before = self.state.csr[4];
                let kept = before & EVENTS & !value;
                let user = match value & USER_COMMAND {
                    0 => before & USER & !value,
                    _ => USER,
                };
                self.state.csr[4] = value & !(EVENTS | USER | USER_COMMAND) | kept | user;
            }
            // Events of power management never come.
            5 => self.state.csr[5] = value & !0x0a08,
            STYLE => self.set_style(value),
            46 | 47 | 80 | 82 | 100 | 112 | 114 | 122 | 124 => self.state.csr[number] = value,
            76 | 78 if self.state.stands() => {
                self.state.csr[number] = value;
                self.state.at = [0; 2];
            }
            _ => {}
        }
    }

    fn set_status(&mut self, value: u16, turn: &mut Turn) {
        let csr = &mut self.state.csr;
        csr[0] &= !(value & CLEARED);
        csr[0] = csr[0] & !ENABLE | value & ENABLE;
        if value & STOP != 0 {
            csr[0] = STOP;
            csr[4] &= !(EVENTS | USER);
            csr[5] &= !SUSPEND;
            self.state.hungry = None;
            return;
        }
        if value & INIT != 0 && csr[0] & INIT == 0 {
            self.initialise(turn);
        }
        let csr = &mut self.state.csr;
        if value & START != 0 && csr[0] & START == 0 {
            csr[0] = csr[0] & !STOP | START;
            csr[0] |= if csr[MODE] & NO_SEND == 0 { SENDS } else { 0 };
            csr[0] |= match csr[MODE] & NO_RECEIVE {
                0 => RECEIVES,
                _ => 0,
            };
        }
        if value & (DEMAND | START) != 0 {
            self.send(turn);
        }
    }

    fn bcr(&self, number: usize) -> u16 {
        let value = self.state.bcr.get(number).copied().unwrap_or(0);
        match number {
            LINK_LAMP if value & 0x40 != 0 && self.cable.is_up() => value | ON,
            _ => value,
        }
    }

    fn set_bcr(&mut self, number: usize, value: u16) {
        let value = match number {
            SOFTWARE => return self.set_style(value),
            ACCESS => value & !DWORDS | self.state.bcr[ACCESS] & DWORDS,
            LINK_LAMP..=7 => value & !ON,
            2 | 9 | 16 | 17 | 19 | 21 | 22 => value,
            _ => return,
        };
        self.state.bcr[number] = value;
    }

    /// Software style: 0 has 16 bits, the others 32; 1 is taken for 2, with which it shares its descriptors.
    fn set_style(&mut self, value: u16) {
        if !self.state.stands() {
            return;
        }
        let style = value & 0xff;
        let flags = match style {
            0 => 0x0200,
            1 => 0x0100,
            2 | 3 => 0x0300,
            // There is none such: as after power-on.
            _ => 0x0200,
        };
        let style = if style > 3 { 0 } else { style };
        self.state.bcr[SOFTWARE] = style | flags;
        self.state.csr[STYLE] = style | flags;
    }
}
