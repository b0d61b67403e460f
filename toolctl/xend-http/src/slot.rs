//! [`Slot`]: a place among the connections that are served at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// One connection's place; it is given back when dropped. Those too many have one as well, to be turned away with.
#[derive(Debug)]
pub struct Slot {
    counter: Arc<AtomicUsize>,
    free: bool,
}

impl Slot {
    /// Counts one more in `counter`, of which `most` are served.
    pub fn take(counter: &Arc<AtomicUsize>, most: usize) -> Slot {
        let before = counter.fetch_add(1, Ordering::AcqRel);
        Slot {
            counter: counter.clone(),
            free: before < most,
        }
    }

    /// It is among those that are served.
    pub fn is_free(&self) -> bool {
        self.free
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::AcqRel);
    }
}
