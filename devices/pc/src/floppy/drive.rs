//! A floppy drive: where its head is, what disk is in it.

use crate::medium::{Disc, Medium};
use serde::{Deserialize, Serialize};

pub(super) const SECTOR: u64 = 512;

/// How a disk is divided, and the data rate it needs (82077AA data sheet, table 2-5: 0 is 500 kbit/s, 1 300, 2 250, 3 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) tracks: u8,
    pub(super) heads: u8,
    pub(super) sectors: u8,
    slow: bool,
    fast: bool,
}

const fn shape(tracks: u8, heads: u8, sectors: u8) -> Shape {
    Shape {
        tracks,
        heads,
        sectors,
        slow: sectors < 15,
        fast: sectors > 18,
    }
}

/// Disks of PCs by their size.
const SHAPES: [Shape; 8] = [
    shape(40, 1, 8),
    shape(40, 1, 9),
    shape(40, 2, 8),
    shape(40, 2, 9),
    shape(80, 2, 9),
    shape(80, 2, 15),
    shape(80, 2, 18),
    shape(80, 2, 36),
];

impl Shape {
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.tracks) * u64::from(self.heads) * u64::from(self.sectors) * SECTOR
    }

    /// That of an image; one of no known size is the beginning of the next larger disk of 80 tracks.
    fn of(bytes: u64) -> Shape {
        let exact = SHAPES.into_iter().find(|shape| shape.bytes() == bytes);
        let larger = SHAPES[6..]
            .iter()
            .copied()
            .find(|shape| shape.bytes() >= bytes);
        exact.or(larger).unwrap_or(SHAPES[7])
    }

    /// Whether a disk of this shape is read at that data rate.
    pub(super) fn reads_at(self, rate: u8) -> bool {
        match (self.slow, self.fast) {
            (true, _) => rate == 1 || rate == 2,
            (_, true) => rate == 3,
            _ => rate == 0,
        }
    }

    /// First byte of a sector, counted from 1.
    pub(super) fn offset(self, track: u8, head: u8, sector: u8) -> u64 {
        let tracks = u64::from(track) * u64::from(self.heads) + u64::from(head);
        (tracks * u64::from(self.sectors) + u64::from(sector) - 1) * SECTOR
    }
}

/// What of a drive changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DriveState {
    pub(super) track: u8,
    /// The change line: set when a disk is taken out, cleared by a step with one in.
    pub(super) changed: bool,
    seen: u64,
}

/// A drive.
#[derive(Debug)]
pub(super) struct FloppyDrive {
    pub(super) medium: Box<dyn Medium>,
    pub(super) state: DriveState,
}

/// The furthest track that a head goes to.
const LAST_TRACK: u8 = 83;

impl FloppyDrive {
    pub(super) fn new(medium: Box<dyn Medium>) -> FloppyDrive {
        let state = DriveState {
            track: 0,
            changed: true,
            seen: medium.disc().changes,
        };
        FloppyDrive { medium, state }
    }

    pub(super) fn disc(&self) -> Disc {
        self.medium.disc()
    }

    pub(super) fn shape(&self) -> Option<Shape> {
        self.medium.disc().bytes.map(Shape::of)
    }

    /// Finds out whether there is another disk now.
    pub(super) fn look(&mut self) {
        let disc = self.medium.disc();
        if disc.changes != self.state.seen || disc.bytes.is_none() {
            self.state.seen = disc.changes;
            self.state.changed = true;
        }
    }

    /// Moves the head.
    pub(super) fn seek(&mut self, track: u8) {
        self.look();
        self.state.track = track.min(LAST_TRACK);
        if self.medium.disc().bytes.is_some() {
            self.state.changed = false;
        }
    }

    pub(super) fn is_sound(state: &DriveState) -> bool {
        state.track <= LAST_TRACK
    }
}
