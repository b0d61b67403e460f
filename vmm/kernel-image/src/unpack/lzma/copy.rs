//! Copies inside the output, the second half of every LZ77 decoder.

/// Bytes moved at a time.
const WIDE: usize = 16;

/// Copies `length` bytes from `back` before `at` to `at`, byte after byte: with `back < length` the pattern repeats.
///
/// The caller has checked `0 < back <= at` and `at + length <= out.len()`. Up to 15 bytes after the copy may be
/// overwritten; they are not decoded yet.
#[inline(always)]
pub(super) fn within(out: &mut [u8], at: usize, back: usize, length: usize) {
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
    } else {
        narrow(out, at, from, length);
    }
}

/// Short distances, and the end of the output.
fn narrow(out: &mut [u8], at: usize, from: usize, length: usize) {
    let back = at - from;
    if back == 1 {
        let byte = out[from];
        out[at..at + length].fill(byte);
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

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn within_any_distance_and_length_equals_byte_by_byte() {
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
                    within(&mut out, 50, back, length);
                    assert_eq!(
                        out[..50 + length],
                        wanted,
                        "back {back} length {length} room {room}"
                    );
                }
            }
        }
    }
}
