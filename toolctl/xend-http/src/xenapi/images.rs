//! Images that a client has named and no disk has yet.
//!
//! ```text
//!   VDI.create(other_config.location) ──note──> VBD.create(VDI) ──> the disk has it     VDI.destroy ──> forgotten
//! ```
//! xend keeps no store of images; what a VDI says is where one is. So nothing is lost when these are forgotten, but a client's own steps.

use super::devices;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most that are remembered; the oldest go.
const MOST: usize = 1024;

/// Their places, such as `phy:vg0/a`.
#[derive(Default)]
pub struct Images {
    named: Mutex<VecDeque<String>>,
}

impl Images {
    fn named(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers `place`; its reference.
    pub fn note(&self, place: &str) -> String {
        let mut named = self.named();
        named.retain(|known| known != place);
        while named.len() >= MOST {
            named.pop_front();
        }
        named.push_back(place.to_owned());
        devices::vdi_reference(place)
    }

    /// All of them.
    pub fn all(&self) -> Vec<String> {
        self.named().iter().cloned().collect()
    }

    /// Forgets the one of that reference; was there one?
    pub fn forget(&self, handle: &str) -> bool {
        let mut named = self.named();
        let before = named.len();
        named.retain(|place| devices::vdi_reference(place) != handle);
        named.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_too_many_are_forgotten() {
        let images = Images::default();
        let first = images.note("file:/0");
        for n in 1..=MOST {
            images.note(&format!("file:/{n}"));
        }
        assert!(!images.forget(&first));
        assert!(images.forget(&devices::vdi_reference("file:/1")));
        assert_eq!(images.all().len(), MOST - 1);
    }
}
