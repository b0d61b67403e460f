//! What sound cards play, in a file (WAV: RIFF, 44100 frames a second, 16 bits, two channels).
//!
//! ```text
//!   several cards: share() --> Mix: what all of them have is added up; what only one has waits a little for the others
//!   card (under the board's lock) --frames, never waits--> queue (bounded) --thread--> file: head, frames
//! ```
//! A file that cannot keep up loses what is played meanwhile. Its head is right after every piece, so that a domain may end at
//! any time.

use crate::domain::hub::lock;
use noxen_pc::sound::{Frame, Speaker, RATE};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex};

/// Pieces that wait at most; each is up to a tenth of a second.
const WAITING: usize = 64;
/// Bytes before the frames.
const HEAD: u64 = 44;
/// Bytes of frames at most: the head counts in 32 bits.
const MOST: u64 = u32::MAX as u64 - HEAD;
const STACK: usize = 128 << 10;

/// Plays into a file.
#[derive(Debug)]
pub struct Recorder(SyncSender<Vec<u8>>);

impl Recorder {
    /// Into `file`, which is empty.
    pub fn start(file: File) -> io::Result<Recorder> {
        file.write_all_at(&head(0), 0)?;
        let (sender, pieces) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("sound".into())
            .stack_size(STACK)
            .spawn(move || record(&file, &pieces))?;
        Ok(Recorder(sender))
    }
}

impl Speaker for Recorder {
    fn play(&mut self, frames: &[Frame]) {
        let samples = frames.iter().flatten();
        let bytes = samples.flat_map(|sample| sample.to_le_bytes()).collect();
        // What does not fit is lost.
        let _ = self.0.try_send(bytes);
    }
}

/// Frames of one card that wait for another one's: cards tell of what they play each 10 ms.
const APART: usize = 882;

/// What several cards play at the same time, as one.
#[derive(Debug)]
struct Mix {
    speaker: Box<dyn Speaker>,
    waiting: Vec<VecDeque<Frame>>,
}

impl Mix {
    /// Plays all that waits but `kept` frames of a card that is alone.
    fn go_on(&mut self, kept: usize) {
        let all = || self.waiting.iter().map(VecDeque::len);
        let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        let count = least.max(most.saturating_sub(kept));
        let mut frames = vec![Frame::default(); count];
        for queue in &mut self.waiting {
            let count = count.min(queue.len());
            for (sum, frame) in frames.iter_mut().zip(queue.drain(..count)) {
                *sum = [0, 1].map(|side| sum[side].saturating_add(frame[side]));
            }
        }
        if !frames.is_empty() {
            self.speaker.play(&frames);
        }
    }
}

impl Drop for Mix {
    fn drop(&mut self) {
        self.go_on(0);
    }
}

/// One card's way into a mix.
#[derive(Debug)]
struct Input(Arc<Mutex<Mix>>, usize);

impl Speaker for Input {
    fn play(&mut self, frames: &[Frame]) {
        let mut mix = lock(&self.0);
        mix.waiting[self.1].extend(frames);
        mix.go_on(APART);
    }
}

/// What each of `cards` plays into, so that all are heard from `speaker`.
pub fn share(speaker: Box<dyn Speaker>, cards: usize) -> Vec<Box<dyn Speaker>> {
    if cards == 1 {
        return vec![speaker];
    }
    let mix = Arc::new(Mutex::new(Mix {
        speaker,
        waiting: vec![VecDeque::new(); cards],
    }));
    let input = |number| Box::new(Input(mix.clone(), number)) as Box<dyn Speaker>;
    (0..cards).map(input).collect()
}

/// Ends with the card, or when the file takes no more.
fn record(file: &File, pieces: &Receiver<Vec<u8>>) {
    let mut length = 0;
    for piece in pieces {
        let longer = length + piece.len() as u64;
        let written = longer <= MOST && file.write_all_at(&piece, HEAD + length).is_ok();
        if !written || file.write_all_at(&head(longer), 0).is_err() {
            return;
        }
        length = longer;
    }
}

/// The head of a file with so many bytes of frames.
fn head(length: u64) -> Vec<u8> {
    let long = |value: u64| (value as u32).to_le_bytes();
    let rate = u64::from(RATE);
    // PCM, two channels; bytes a second, bytes of a frame, bits of a sample.
    let format = [
        &[1, 0, 2, 0][..],
        &long(rate),
        &long(rate * 4),
        &[4, 0, 16, 0],
    ]
    .concat();
    [
        &b"RIFF"[..],
        &long(length + HEAD - 8),
        b"WAVEfmt ",
        &long(16),
        &format,
        b"data",
        &long(length),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it is given.
    #[derive(Debug, Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Frame>>>);

    impl Speaker for Heard {
        fn play(&mut self, frames: &[Frame]) {
            lock(&self.0).extend(frames);
        }
    }

    #[test]
    fn cards_that_play_together_are_heard_together_and_one_alone_soon() {
        let heard = Heard::default();
        let mut cards = share(Box::new(heard.clone()), 2);
        cards[0].play(&[[1, 10]; 441]);
        assert!(lock(&heard.0).is_empty());
        cards[1].play(&[[2, i16::MAX]; 400]);
        assert_eq!(*lock(&heard.0), [[3, i16::MAX]; 400]);
        // The rest waits for the other card, but not for long.
        lock(&heard.0).clear();
        (0..3).for_each(|_| cards[0].play(&[[1, 10]; 441]));
        assert_eq!(*lock(&heard.0), [[1, 10]; 41 + 3 * 441 - APART]);
        lock(&heard.0).clear();
        drop(cards);
        assert_eq!(*lock(&heard.0), [[1, 10]; APART]);
        // One card has the speaker for itself.
        // A PC without a card.
        assert!(share(Box::new(heard.clone()), 0).is_empty());
        let mut only = share(Box::new(heard.clone()), 1);
        lock(&heard.0).clear();
        only[0].play(&[[5, 5]]);
        assert_eq!(*lock(&heard.0), [[5, 5]]);
    }

    #[test]
    fn file_is_whole_after_every_piece() {
        let fd = rustix::fs::memfd_create("sound", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        let (sender, pieces) = sync_channel(WAITING);
        let mut recorder = Recorder(sender);
        recorder.play(&[[1, -1], [2, -2]]);
        recorder.play(&[[3, -3]]);
        drop(recorder);
        record(&file, &pieces);
        let mut bytes = vec![0; 100];
        let count = file.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(count);
        assert_eq!(count, 44 + 12);
        assert_eq!(bytes[..4], *b"RIFF");
        assert_eq!(bytes[4..8], 48u32.to_le_bytes());
        assert_eq!(bytes[24..28], 44_100u32.to_le_bytes());
        assert_eq!(bytes[40..44], 12u32.to_le_bytes());
        assert_eq!(bytes[44..48], [1, 0, 0xff, 0xff]);
    }
}
