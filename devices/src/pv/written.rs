//! Which pages of the guest back ends have written, for whoever copies its memory while it runs.
//!
//! ```text
//!   back end writes a granted page --unmap--> mark(frame)     Written::take() -> frames since the last call
//!   rings of events, console, store --stays(frame)--> written at any time: copied last of all
//! ```
//! KVM's dirty log has what the guest's CPUs write, and nothing of what this process does. A page is marked when its use ends, so
//! what is under way at a look is seen at the next one. Off, it costs a load for each page.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Frames that were written.
#[derive(Debug)]
pub struct Written {
    frames: u64,
    on: AtomicBool,
    words: OnceLock<Box<[AtomicU64]>>,
    stays: Mutex<BTreeSet<u64>>,
}

impl Written {
    /// Nothing yet, of `frames` frames, and nothing is noted until [`Self::watch`].
    pub fn new(frames: u64) -> Written {
        Written {
            frames,
            on: AtomicBool::new(false),
            words: OnceLock::new(),
            stays: Mutex::default(),
        }
    }

    /// Notes what is written from now on, or no more.
    pub fn watch(&self, on: bool) {
        if on {
            let count = self.frames.div_ceil(64) as usize;
            let empty = || (0..count).map(|_| AtomicU64::new(0)).collect();
            let words = self.words.get_or_init(empty);
            words
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
        self.on.store(on, Ordering::SeqCst);
    }

    /// The frame was written.
    pub fn mark(&self, frame: u64) {
        if !self.on.load(Ordering::SeqCst) {
            return;
        }
        let word = self.words.get().and_then(|w| w.get((frame / 64) as usize));
        if let Some(word) = word {
            word.fetch_or(1 << (frame % 64), Ordering::SeqCst);
        }
    }

    /// The frame is written to at any time, from now on.
    pub fn stays(&self, frame: u64) {
        let mut stays = self.stays.lock().unwrap_or_else(PoisonError::into_inner);
        stays.insert(frame);
    }

    /// The frames of [`Self::stays`].
    pub fn staying(&self) -> Vec<u64> {
        let stays = self.stays.lock().unwrap_or_else(PoisonError::into_inner);
        stays.iter().copied().collect()
    }

    /// The frames marked since the last call.
    pub fn take(&self) -> Vec<u64> {
        let mut frames = Vec::new();
        for (index, word) in (0u64..).zip(self.words.get().into_iter().flatten()) {
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                frames.push(index * 64 + u64::from(bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_once_and_only_while_somebody_watches() {
        let written = Written::new(200);
        written.mark(7);
        assert!(written.take().is_empty());
        written.watch(true);
        for frame in [199, 7, 7, 64, 1 << 40] {
            written.mark(frame);
        }
        assert_eq!(written.take(), [7, 64, 199]);
        assert!(written.take().is_empty());
        written.mark(3);
        written.watch(false);
        written.mark(4);
        written.watch(true);
        assert!(written.take().is_empty());
        written.stays(9);
        written.stays(9);
        assert_eq!(written.staying(), [9]);
    }
}
