//! An MF2 keyboard on its cable (IBM PS/2 Technical Reference, "Keyboard").
//!
//! ```text
//!   command byte --> (argument) --> replies ---.
//!   key --scancodes--> keys (at most KEYS) ----+--next()--> controller, replies first
//! ```
//! It repeats no keys: whoever shows the screen to people does.

use super::scancodes::{self, Set};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Bytes of keys that it keeps; a key that does not fit is lost.
pub(super) const KEYS: usize = 64;
/// Answers to a command: two, and a third after a reset.
pub(super) const REPLIES: usize = 4;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const PASSED: u8 = 0xaa;

/// One keyboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keyboard {
    replies: VecDeque<u8>,
    keys: VecDeque<u8>,
    /// The command that waits for its argument.
    command: Option<u8>,
    scanning: bool,
    /// Sends set 1 instead of 2.
    set_1: bool,
    leds: u8,
    rate: u8,
    last: u8,
}

impl Keyboard {
    pub(super) fn new() -> Keyboard {
        Keyboard {
            replies: VecDeque::new(),
            keys: VecDeque::new(),
            command: None,
            scanning: true,
            set_1: false,
            leds: 0,
            rate: 0x2b,
            last: 0,
        }
    }

    fn set(&self) -> Set {
        if self.set_1 {
            Set::One
        } else {
            Set::Two
        }
    }

    /// A key goes down or up.
    pub(super) fn key(&mut self, code: u16, pressed: bool) {
        let bytes = scancodes::bytes(self.set(), code, pressed);
        if self.scanning && self.keys.len() + bytes.len() <= KEYS {
            self.keys.extend(bytes);
        }
    }

    /// Something is to be sent.
    pub(super) fn is_ready(&self) -> bool {
        !self.replies.is_empty() || !self.keys.is_empty()
    }

    /// The next byte for the controller.
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.replies.pop_front().or_else(|| self.keys.pop_front())?;
        self.last = byte;
        Some(byte)
    }

    fn reply(&mut self, bytes: &[u8]) {
        // A command ends what the one before had to say.
        self.replies = bytes.iter().copied().collect();
    }

    fn defaults(&mut self) {
        self.keys.clear();
        self.set_1 = false;
        self.leds = 0;
        self.rate = 0x2b;
    }

    /// The controller sends it a byte.
    pub(super) fn take(&mut self, byte: u8) {
        if let Some(command) = self.command.take() {
            if byte < 0x80 || command == 0xed {
                return self.argument(command, byte);
            }
            // A new command in place of an argument.
        }
        match byte {
            0xed | 0xf0 | 0xf3 | 0xfb..=0xfd => {
                self.command = Some(byte);
                self.reply(&[ACK]);
            }
            0xee => self.reply(&[0xee]),
            0xf2 => self.reply(&[ACK, 0xab, 0x83]),
            0xf4 => {
                self.keys.clear();
                self.scanning = true;
                self.reply(&[ACK]);
            }
            0xf5 | 0xf6 => {
                self.defaults();
                self.scanning = byte == 0xf6;
                self.reply(&[ACK]);
            }
            // What keys do in set 3, which it does not have.
            0xf7..=0xfa => self.reply(&[ACK]),
            0xfe => self.reply(&[self.last]),
            0xff => {
                self.defaults();
                self.scanning = true;
                self.reply(&[ACK, PASSED]);
            }
            _ => self.reply(&[RESEND]),
        }
    }

    fn argument(&mut self, command: u8, byte: u8) {
        match (command, byte) {
            (0xed, leds) => self.leds = leds & 7,
            (0xf0, 0) => return self.reply(&[ACK, if self.set_1 { 1 } else { 2 }]),
            (0xf0, 1 | 2) => {
                self.set_1 = byte == 1;
                self.keys.clear();
            }
            (0xf0, _) => return self.reply(&[RESEND]),
            (0xf3, rate) => self.rate = rate,
            _ => {}
        }
        self.reply(&[ACK]);
    }

    /// No keyboard could have saved this.
    pub(super) fn is_wild(&self) -> bool {
        self.replies.len() > REPLIES || self.keys.len() > KEYS
    }
}
