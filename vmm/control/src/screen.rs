//! A domain's screen, keyboard and pointer as the control socket has them.
//!
//! ```text
//!   Screen --> size, parts changed since the last Screen        Pixels{part} --> the guest's bytes, as hexadecimal text
//!   Input{key, motion, position} --> the guest
//! ```
//! For a display server in another process, and for tests.

use serde::{Deserialize, Serialize};

/// Most bytes of pixels in one answer.
pub const MAX_PIXEL_BYTES: usize = 256 << 10;
/// Most events in one request.
pub const MAX_INPUTS: usize = 64;

/// A part of a screen, pixels from the upper left corner.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// From the left.
    pub x: u32,
    /// From the top.
    pub y: u32,
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
}

/// A screen that the guest uses.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Picture {
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits per pixel: 8, 16, 24 or 32, little-endian, blue in the lowest ones.
    pub depth: u32,
    /// What has changed since this was asked last.
    pub changed: Vec<Part>,
}

/// Something that a person did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// A key or button, by its Linux input code (linux/input-event-codes.h).
    Key {
        /// Code.
        code: u32,
        /// Down.
        pressed: bool,
    },
    /// The pointer moved by so many pixels, the wheel by so many clicks.
    Motion {
        /// To the right.
        x: i32,
        /// Down.
        y: i32,
        /// Wheel.
        wheel: i32,
    },
    /// The pointer is there.
    Position {
        /// From the left.
        x: i32,
        /// From the top.
        y: i32,
        /// Wheel.
        wheel: i32,
    },
}
