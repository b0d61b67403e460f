//! Sound cards, and what they play into.
//!
//! ```text
//!   guest's ring of samples, or its DMA channel --card, each 10 ms of guest time--> mixed frames, 44100 a second --Speaker::play--> a file
//! ```

pub mod es1370;
pub mod sb16;
#[cfg(any(test, feature = "conformance"))]
pub mod subject;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

/// Frames a second that a [`Speaker`] gets.
pub const RATE: u32 = 44_100;

/// One sample for the left, one for the right.
pub type Frame = [i16; 2];

/// What a card plays into. It never waits, and may lose what it is given.
pub trait Speaker: Send + Debug {
    /// Plays frames, [`RATE`] a second, behind those before them.
    fn play(&mut self, frames: &[Frame]);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silence;

impl Speaker for Silence {
    fn play(&mut self, _frames: &[Frame]) {}
}
