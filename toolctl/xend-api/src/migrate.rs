//! Moving a domain to another host.

use serde::{Deserialize, Serialize};

/// How a domain is to be moved.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Where to: a name or an address.
    pub host: String,
    /// Port of the other xend; none: `xend-relocation-port` of this one.
    #[serde(default)]
    pub port: Option<u16>,
    /// It runs while its memory is sent.
    #[serde(default)]
    pub live: bool,
    /// How long it may stand still while the last of its memory is sent, milliseconds.
    #[serde(default = "downtime")]
    pub downtime_ms: u32,
    /// How long it may take until it is all sent, seconds; none: as long as it takes.
    #[serde(default)]
    pub timeout_s: Option<u32>,
    /// What becomes of it then.
    #[serde(default)]
    pub at_timeout: AtTimeout,
    /// Over TLS.
    #[serde(default)]
    pub ssl: bool,
    /// A managed domain's configuration is forgotten here.
    #[serde(default)]
    pub change_home_server: bool,
    /// The guest suspends itself before the last of its memory is sent.
    #[serde(default)]
    pub by_guest: bool,
    /// Its vCPUs are not held back, also if it writes faster than it is sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_throttle: bool,
    /// Where it writes faster than it is sent it goes on over there before its memory is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub postcopy: bool,
}

/// How a domain is to be saved.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SaveHow {
    /// The guest suspends itself first.
    #[serde(default)]
    pub by_guest: bool,
    /// Memory is compressed in the file.
    #[serde(default)]
    pub compress: bool,
}

/// What becomes of a move that has taken too long.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AtTimeout {
    /// It is given up; the domain runs on where it was.
    #[default]
    Cancel,
    /// The guest is stopped whatever is left of its memory, and the move goes on.
    Force,
}

/// How far a save or a move is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Rounds that are over; a save has none.
    pub rounds: u32,
    /// Bytes of memory looked at so far in this round.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Bytes of memory looked at in all.
    pub passed: u64,
    /// Bytes per second that the guest has written during the last round.
    pub dirty_rate: u64,
    /// For how much of the time the vCPUs are held back, per cent.
    #[serde(default)]
    pub throttle: u32,
    /// The guest stands still.
    pub still: bool,
    /// It is sent, and by post-copy its pages go after it.
    #[serde(default)]
    pub follows: bool,
}

/// What a guest that is moved live may stand still for, unless another limit is asked for, milliseconds (the users' manual,
/// chapter 8).
pub const DOWNTIME_MS: u32 = 60;

fn downtime() -> u32 {
    DOWNTIME_MS
}

/// What a move came to; times in microseconds, as its source saw them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// All memory, then what was written meanwhile.
    pub rounds: Vec<Round>,
    /// Bytes of memory sent.
    pub bytes: u64,
    /// Until the guest stood still, its devices at rest.
    pub stop_us: u64,
    /// The last of its memory; all of it where it was not live.
    pub last_us: u64,
    /// The rest of its state.
    pub state_us: u64,
    /// Until it ran on the other host.
    pub start_us: u64,
    /// All of it.
    pub total_us: u64,
    /// It was paused, and is.
    pub paused: bool,
    /// It went by TLS.
    #[serde(default)]
    pub encrypted: bool,
    /// What went after it, if it was to go by post-copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postcopy: Option<Postcopy>,
}

/// Memory that went after a domain which ran over there already.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Postcopy {
    /// Bytes of memory.
    pub bytes: u64,
    /// Pages that were asked for, since the guest touched them before they came.
    pub asked: u64,
    /// How long it took from the first page until all was there, microseconds.
    pub micros: u64,
}

impl Ledger {
    /// How long the guest stood still.
    pub fn downtime_us(&self) -> u64 {
        self.stop_us + self.last_us + self.state_us + self.start_us
    }
}

/// A round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Bytes of memory that it sent.
    pub bytes: u64,
    /// How long it took.
    pub micros: u64,
    /// Bytes of memory that were written meanwhile.
    pub written: u64,
    /// For how much of the time the vCPUs were held back meanwhile, per cent.
    #[serde(default)]
    pub throttle: u32,
}
