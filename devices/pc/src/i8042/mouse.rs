//! A PS/2 mouse on its cable: plain, with a wheel (IntelliMouse), with five buttons (IntelliMouse Explorer).
//!
//! ```text
//!   movements, buttons --> sums --(stream: enabled; remote: when asked)--> packet of 3 or 4 bytes --next()--> controller
//!   sample rates 200, 100, 80 --> wheel (id 3); then 200, 200, 80 --> five buttons (id 4)
//! ```
//! Movements are summed while nobody reads, so nothing grows.

use super::keyboard::REPLIES;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const ACK: u8 = 0xfa;
/// Largest movement of a packet: nine bits with a sign.
const FARTHEST: i32 = 255;
/// What is summed at most; a pointer that far away is at the edge anyhow.
const MOST: i32 = 1 << 16;

/// One mouse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mouse {
    replies: VecDeque<u8>,
    /// What is left of a packet that was begun.
    packet: VecDeque<u8>,
    x: i32,
    y: i32,
    wheel: i32,
    buttons: u8,
    /// A button has changed since the last packet.
    clicked: bool,
    command: Option<u8>,
    streaming: bool,
    remote: bool,
    wrapping: bool,
    doubled: bool,
    resolution: u8,
    rate: u8,
    /// 0, 3 or 4.
    id: u8,
    /// The last three sample rates.
    rates: [u8; 3],
    last: u8,
}

impl Mouse {
    pub(super) fn new() -> Mouse {
        Mouse {
            replies: VecDeque::new(),
            packet: VecDeque::new(),
            x: 0,
            y: 0,
            wheel: 0,
            buttons: 0,
            clicked: false,
            command: None,
            streaming: false,
            remote: false,
            wrapping: false,
            doubled: false,
            resolution: 2,
            rate: 100,
            id: 0,
            rates: [0; 3],
            last: 0,
        }
    }

    /// It moves: to the right, down, wheel towards the person.
    pub(super) fn moved(&mut self, x: i32, y: i32, wheel: i32) {
        if !self.streaming && !self.remote {
            return;
        }
        let sum = |sum: i32, more: i32| sum.saturating_add(more).clamp(-MOST, MOST);
        self.x = sum(self.x, x);
        self.y = sum(self.y, y);
        // Wheels that nobody listens to do not turn later.
        if self.id != 0 {
            self.wheel = sum(self.wheel, wheel);
        }
    }

    /// A button (bits as in a packet: left, right, middle, and two more) goes down or up.
    pub(super) fn button(&mut self, bit: u8, pressed: bool) {
        let buttons = if pressed {
            self.buttons | bit
        } else {
            self.buttons & !bit
        };
        self.clicked |= buttons != self.buttons && self.streaming;
        self.buttons = buttons;
    }

    fn has_news(&self) -> bool {
        self.clicked || (self.x, self.y, self.wheel) != (0, 0, 0)
    }

    /// Something is to be sent.
    pub(super) fn is_ready(&self) -> bool {
        let streams = self.streaming && !self.remote && !self.wrapping;
        !self.replies.is_empty() || !self.packet.is_empty() || (streams && self.has_news())
    }

    /// The next byte for the controller.
    pub(super) fn next(&mut self) -> Option<u8> {
        if !self.is_ready() {
            return None;
        }
        if self.replies.is_empty() && self.packet.is_empty() {
            self.packet = self.make_packet().into();
        }
        let byte = self
            .replies
            .pop_front()
            .or_else(|| self.packet.pop_front())?;
        self.last = byte;
        Some(byte)
    }

    fn make_packet(&mut self) -> Vec<u8> {
        let take = |sum: &mut i32, most: i32| {
            let part = (*sum).clamp(-most - 1, most);
            *sum -= part;
            part
        };
        let (mut x, mut y) = (self.x, self.y);
        let right = take(&mut x, FARTHEST);
        let down = take(&mut y, FARTHEST);
        (self.x, self.y) = (x, y);
        // Up is positive here.
        let up = (-down).min(FARTHEST);
        let signs = u8::from(right < 0) << 4 | u8::from(up < 0) << 5;
        let mut packet = vec![self.buttons & 7 | 8 | signs, right as u8, up as u8];
        if self.id != 0 {
            let wheel = take(&mut self.wheel, 7);
            packet.push(match self.id {
                4 => (wheel as u8 & 0x0f) | (self.buttons & 0x18) << 1,
                _ => wheel as u8,
            });
        }
        self.clicked = false;
        packet
    }

    fn reply(&mut self, bytes: &[u8]) {
        self.replies = bytes.iter().copied().collect();
        self.packet.clear();
    }

    fn defaults(&mut self) {
        (self.x, self.y, self.wheel) = (0, 0, 0);
        self.clicked = false;
        self.streaming = false;
        self.remote = false;
        self.wrapping = false;
        self.doubled = false;
        self.resolution = 2;
        self.rate = 100;
        self.rates = [0; 3];
    }

    /// The controller sends it a byte.
    pub(super) fn take(&mut self, byte: u8) {
        if self.wrapping && !matches!(byte, 0xec | 0xff) {
            return self.reply(&[byte]);
        }
        if let Some(command) = self.command.take() {
            return self.argument(command, byte);
        }
        match byte {
            0xe6 | 0xe7 => self.doubled = byte == 0xe7,
            0xe8 | 0xf3 => self.command = Some(byte),
            0xe9 => {
                let modes = u8::from(self.remote) << 6
                    | u8::from(self.streaming) << 5
                    | u8::from(self.doubled) << 4;
                // Here left is the third bit, right the first.
                let buttons = self.buttons;
                let turned = buttons << 2 & 4 | buttons >> 1 & 1 | buttons >> 1 & 2;
                return self.reply(&[ACK, modes | turned, self.resolution, self.rate]);
            }
            0xea | 0xf0 => self.remote = byte == 0xf0,
            0xeb => {
                self.reply(&[ACK]);
                self.packet = self.make_packet().into();
                return;
            }
            0xec | 0xee => self.wrapping = byte == 0xee,
            0xf2 => return self.reply(&[ACK, self.id]),
            0xf4 => {
                (self.x, self.y, self.wheel) = (0, 0, 0);
                self.clicked = false;
                self.streaming = true;
            }
            0xf5 => self.streaming = false,
            0xf6 => self.defaults(),
            0xfe => return self.reply(&[self.last]),
            0xff => {
                self.defaults();
                self.id = 0;
                return self.reply(&[ACK, 0xaa, 0]);
            }
            _ => return self.reply(&[0xfe]),
        }
        self.reply(&[ACK]);
    }

    fn argument(&mut self, command: u8, byte: u8) {
        if command == 0xe8 {
            self.resolution = byte & 3;
            return self.reply(&[ACK]);
        }
        self.rate = byte;
        self.rates = [self.rates[1], self.rates[2], byte];
        match self.rates {
            [200, 100, 80] => self.id = self.id.max(3),
            [200, 200, 80] if self.id >= 3 => self.id = 4,
            _ => {}
        }
        self.reply(&[ACK]);
    }

    /// No mouse could have saved this.
    pub(super) fn is_wild(&self) -> bool {
        let far = |sum: i32| !(-MOST..=MOST).contains(&sum);
        self.replies.len() > REPLIES
            || self.packet.len() > 4
            || !matches!(self.id, 0 | 3 | 4)
            || far(self.x)
            || far(self.y)
            || far(self.wheel)
    }
}
