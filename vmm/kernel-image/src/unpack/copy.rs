//! Copies inside the output, the second half of every LZ77 decoder.
//!
//! Half of a kernel is zeros: .bss lies in the middle of vmlinux. A fresh buffer is zero already and has no pages behind it
//! before they are written, so runs of zeros are left out where that is known. Wide copies write up to 15 bytes too many,
//! hence the mark up to which the buffer may hold something else.

/// Bytes moved at a time.
pub(super) const WIDE: usize = 16;

/// How much of the output ahead is known to be zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// From here on everything is zero.
    zero_from: usize,
}

impl Ahead {
    /// A buffer of which only the bytes before `written` may be other than zero; or, if not `zeroed`, any.
    pub(super) fn new(zeroed: bool, written: usize) -> Self {
        Self {
            zero_from: if zeroed { written } else { usize::MAX },
        }
    }

    /// Bytes before `end` may have been written.
    #[inline(always)]
    pub(super) fn wrote_to(&mut self, end: usize) {
        self.zero_from = self.zero_from.max(end);
    }

    /// Copies `length` bytes from `back` before `at` to `at`, byte after byte: with `back < length` the pattern repeats.
    ///
    /// The caller has checked `0 < back <= at` and `at + length <= out.len()`. Up to 15 bytes after the copy may be
    /// overwritten; they are not decoded yet.
    #[inline(always)]
    pub(super) fn repeat(&mut self, out: &mut [u8], at: usize, back: usize, length: usize) {
        let from = at - back;
        if back >= WIDE && at + length + WIDE <= out.len() {
            let mut done = 0;
            while done < length {
                // Source and target of a wide step never overlap, since they are at least as far apart.
                let mut step = [0; WIDE];
                step.copy_from_slice(&out[from + done..from + done + WIDE]);
                out[at + done..at + done + WIDE].copy_from_slice(&step);
                done += WIDE;
            }
            self.wrote_to(at + done);
        } else {
            self.narrow(out, at, from, length);
        }
    }

    /// Short distances, and the end of the output.
    fn narrow(&self, out: &mut [u8], at: usize, from: usize, length: usize) {
        let back = at - from;
        if back == 1 {
            let byte = out[from];
            let end = if byte == 0 {
                (at + length).min(self.zero_from).max(at)
            } else {
                at + length
            };
            out[at..end].fill(byte);
            return;
        }
        // What is there already is copied, which doubles what is there.
        let mut done = 0;
        while done < length {
            let step = (back + done).min(length - done);
            out.copy_within(from..from + step, at + done);
            done += step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ahead;

    #[test]
    fn repeat_any_distance_and_length_equals_byte_by_byte() {
        for back in 1..40 {
            for length in 1..100 {
                for room in [0, 5, 40] {
                    let start: Vec<u8> = (0..50_u8).collect();
                    let mut wanted = start.clone();
                    for _ in 0..length {
                        wanted.push(wanted[wanted.len() - back]);
                    }
                    let mut out = start;
                    out.resize(50 + length + room, 0);
                    Ahead::new(true, 50).repeat(&mut out, 50, back, length);
                    assert_eq!(
                        out[..50 + length],
                        wanted,
                        "back {back} length {length} room {room}"
                    );
                }
            }
        }
    }

    #[test]
    fn zeros_after_a_wide_copy_overwrite_what_it_wrote_too_much() {
        for zeroed in [true, false] {
            let mut out = vec![7; 40];
            out.resize(200, if zeroed { 0 } else { 9 });
            let mut ahead = Ahead::new(zeroed, 40);
            out[19] = 0;
            // 20 bytes, the last of which is zero; 12 more sevens lie behind them.
            ahead.repeat(&mut out, 40, 40, 20);
            assert_eq!((out[59], out[60]), (0, 7));
            ahead.repeat(&mut out, 60, 1, 100);
            assert!(out[59..160].iter().all(|b| *b == 0), "zeroed {zeroed}");
        }
    }
}
