//! What a sound card plays, in a file (WAV: RIFF, 44100 frames a second, 16 bits, two channels).
//!
//! ```text
//!   card (under the board's lock) --frames, never waits--> queue (bounded) --thread--> file: head, frames
//! ```
//! A file that cannot keep up loses what is played meanwhile. Its head is right after every piece, so that a domain may end at
//! any time.

use noxen_pc::sound::{Frame, Speaker, RATE};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};

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
