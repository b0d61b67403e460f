//! Who moves a guest, and what a move came to.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A stretch of a move in which memory was sent.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Step {
    /// When it began, µs since the first.
    pub from_us: u64,
    /// How long it took.
    pub micros: u64,
    /// Bytes of memory sent.
    pub bytes: u64,
    /// Bytes of memory that the guest wrote meanwhile.
    pub written: u64,
}

/// What a mover says of a move.
#[derive(Clone, Debug)]
pub struct Moved {
    /// From the command to its end; the other side's process is started in it.
    pub total: Duration,
    /// How long the guest stood still, as the mover saw it.
    pub own_downtime: Duration,
    /// Bytes of memory sent.
    pub bytes: u64,
    /// What its downtime is made of, where it says so: µs.
    pub parts: Vec<(String, u64)>,
    /// How it went.
    pub steps: Vec<Step>,
}

/// A guest that can be moved to and fro.
pub trait Mover {
    /// Moves it to the other side; it is not to stand still for longer than that.
    fn move_live(&mut self, downtime_ms: u32) -> Result<Moved>;
}
