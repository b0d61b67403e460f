//! A cable for tests: keeps what was sent, hands out what a test puts in.

use super::Cable;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Inside {
    sent: Vec<Vec<u8>>,
    coming: VecDeque<Vec<u8>>,
}

/// Both ends of it.
#[derive(Debug, Clone, Default)]
pub struct Lan(Arc<Mutex<Inside>>);

impl Lan {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame comes, if not too many wait.
    pub fn put(&self, frame: Vec<u8>) {
        let mut inside = self.lock();
        if inside.coming.len() < 64 {
            inside.coming.push_back(frame);
        }
    }

    #[cfg(test)]
    /// What was sent since the last time.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.lock().sent)
    }

    #[cfg(test)]
    /// Frames that no card took yet.
    pub fn waiting(&self) -> usize {
        self.lock().coming.len()
    }
}

impl Cable for Lan {
    fn send(&mut self, frame: &[u8]) {
        let mut inside = self.lock();
        // A random script may send without end.
        if inside.sent.len() < 1024 {
            inside.sent.push(frame.to_vec());
        }
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> bool {
        match self.lock().coming.pop_front() {
            Some(frame) => {
                *into = frame;
                true
            }
            None => false,
        }
    }
}

/// A frame of `length` bytes to `to`, with content that tells them apart.
pub fn frame(to: [u8; 6], length: usize, seed: u8) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0, seed, 0x88, 0xb5]);
    frame.extend((14..length.max(14)).map(|at| (at as u8).wrapping_mul(seed)));
    frame
}
