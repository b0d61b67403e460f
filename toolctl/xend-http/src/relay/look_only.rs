//! What a viewer that may only look says to a screen: everything but its hands.
//!
//! ```text
//!   "RFB 003.00[78]\n", security type 1, shared ──pass──>
//!   SetPixelFormat, SetEncodings, FramebufferUpdateRequest, Fence, ContinuousUpdates ──pass──> the domain's VNC server
//!   KeyEvent, PointerEvent, ClientCutText, SetDesktopSize, QEMU's keys, xvp ──dropped
//!   everything else ──> an error, since where it ends is not known
//! ```
//! Shapes: RFC 6143, 7.1 and 7.5; the community's rfbproto for the extensions. One message is held at most until it is whole;
//! clipboard texts are counted, not held.

/// Longest clipboard text that is passed over.
const MAX_TEXT: u32 = 16 << 20;
/// Longest message that is held: SetEncodings with this many encodings.
const MAX_ENCODINGS: usize = 1024;
/// Extension by which the pointer's messages become longer; it is not passed on, so that all lengths are known.
const LONG_BUTTONS: i32 = -316;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Version,
    Security,
    Shared,
    Messages,
}

/// The filter on one viewer's words.
#[derive(Debug)]
pub struct LookOnly {
    phase: Phase,
    held: Vec<u8>,
    skip: u32,
}

/// What begins at the front of what is held.
enum Piece {
    /// So many bytes are for the screen.
    Pass(usize),
    /// So many bytes are for nobody, and so many after them.
    Drop(usize, u32),
    /// SetEncodings of so many bytes.
    Encodings(usize),
}

impl Default for LookOnly {
    /// A viewer that has just connected.
    fn default() -> LookOnly {
        LookOnly {
            phase: Phase::Version,
            held: Vec::new(),
            skip: 0,
        }
    }
}

impl LookOnly {
    /// Takes what the viewer sent; what the screen may hear is appended to `out`. An error ends the connection.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.skip > 0 {
                return Ok(());
            }
            self.held.extend_from_slice(bytes);
            bytes = &[];
            match self.piece()? {
                None => return Ok(()),
                Some(Piece::Pass(length)) => out.extend(self.held.drain(..length)),
                Some(Piece::Encodings(length)) => {
                    let message: Vec<u8> = self.held.drain(..length).collect();
                    encodings(&message, out);
                }
                Some(Piece::Drop(length, more)) => {
                    self.held.drain(..length);
                    let held = self.held.len().min(more as usize);
                    self.held.drain(..held);
                    self.skip = more - held as u32;
                }
            }
        }
    }

    /// The next whole piece, if there is one.
    fn piece(&mut self) -> Result<Option<Piece>, String> {
        let held = self.held.as_slice();
        let pass = |length: usize| (held.len() >= length).then_some(Piece::Pass(length));
        let drop = |length: usize| (held.len() >= length).then_some(Piece::Drop(length, 0));
        match self.phase {
            Phase::Version => {
                let Some(version) = held.first_chunk::<12>() else {
                    return Ok(None);
                };
                // Before 3.7 the server chooses the security type, so what follows could not be told from here.
                if !matches!(version, b"RFB 003.007\n" | b"RFB 003.008\n") {
                    return Err("the viewer does not speak RFB 3.7 or 3.8".into());
                }
                self.phase = Phase::Security;
                Ok(Some(Piece::Pass(12)))
            }
            Phase::Security => match held.first() {
                None => Ok(None),
                Some(1) => {
                    self.phase = Phase::Shared;
                    Ok(Some(Piece::Pass(1)))
                }
                Some(other) => Err(format!(
                    "security type {other}: a screen with a password is for those who are signed in"
                )),
            },
            Phase::Shared => {
                let piece = pass(1);
                if piece.is_some() {
                    self.phase = Phase::Messages;
                }
                Ok(piece)
            }
            Phase::Messages => {
                let Some(kind) = held.first() else {
                    return Ok(None);
                };
                Ok(match kind {
                    0 => pass(20),
                    3 | 150 => pass(10),
                    2 => match held.get(2..4) {
                        Some(&[high, low]) => {
                            let count = usize::from(u16::from_be_bytes([high, low]));
                            if count > MAX_ENCODINGS {
                                return Err(format!(
                                    "{count} encodings; {MAX_ENCODINGS} are possible"
                                ));
                            }
                            let length = 4 + 4 * count;
                            (held.len() >= length).then_some(Piece::Encodings(length))
                        }
                        _ => None,
                    },
                    248 => held
                        .get(8)
                        .and_then(|payload| pass(9 + usize::from(*payload))),
                    4 => drop(8),
                    5 => drop(6),
                    250 => drop(4),
                    251 => held
                        .get(6)
                        .and_then(|screens| drop(8 + 16 * usize::from(*screens))),
                    255 => match held.get(1) {
                        None => None,
                        Some(0) => drop(12),
                        Some(other) => return Err(format!("message 255, {other}, is not known")),
                    },
                    6 => match held.get(4..8).and_then(|four| four.first_chunk()) {
                        None => None,
                        // The extended clipboard's lengths are negative.
                        Some(length) => match i32::from_be_bytes(*length).unsigned_abs() {
                            length if length <= MAX_TEXT => Some(Piece::Drop(8, length)),
                            length => return Err(format!("a text of {length} bytes")),
                        },
                    },
                    other => return Err(format!("message {other} is not known")),
                })
            }
        }
    }
}

/// Appends SetEncodings without the extension that changes the shape of what is to be dropped.
fn encodings(message: &[u8], out: &mut Vec<u8>) {
    let all = message.get(4..).unwrap_or_default().as_chunks::<4>().0;
    let wanted: Vec<[u8; 4]> = all
        .iter()
        .copied()
        .filter(|number| i32::from_be_bytes(*number) != LONG_BUTTONS)
        .collect();
    out.extend([2, 0]);
    // No more than there were.
    out.extend((wanted.len() as u16).to_be_bytes());
    out.extend(wanted.concat());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: &[u8] = b"RFB 003.008\n\x01\x01";

    fn filtered(pieces: &[&[u8]]) -> Result<Vec<u8>, String> {
        let (mut filter, mut out) = (LookOnly::default(), Vec::new());
        for piece in pieces {
            filter.feed(piece, &mut out)?;
        }
        Ok(out)
    }

    /// A message of each kind that is known: those for the screen, and those that are dropped.
    fn messages() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let mut format = vec![0; 20];
        format[4] = 32;
        let fence = [&[248, 0, 0, 0, 0, 0, 0, 1, 2][..], &[4, 5]].concat();
        let pass = vec![
            format,
            vec![2, 0, 0, 2, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0x21],
            vec![3, 1, 0, 0, 0, 0, 4, 0, 3, 0],
            vec![150, 1, 0, 0, 0, 0, 4, 0, 3, 0],
            fence,
        ];
        let resize = [&[251, 0, 4, 0, 3, 0, 1, 0][..], &[4; 16]].concat();
        let drop = vec![
            vec![4, 1, 0, 0, 0, 0, 0, 0x61],
            vec![5, 1, 0, 4, 0, 5],
            [&[6, 0, 0, 0, 0, 0, 0, 5][..], b"\x04\x01abc"].concat(),
            [&[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc][..], &[4; 4]].concat(),
            vec![250, 0, 1, 2],
            resize,
            vec![255, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 0x1e],
        ];
        (pass, drop)
    }

    #[test]
    fn screen_hears_what_is_asked_and_nothing_of_what_is_typed() {
        let (pass, drop) = messages();
        let mut said = HELLO.to_vec();
        for (index, dropped) in drop.iter().enumerate() {
            said.extend_from_slice(dropped);
            said.extend_from_slice(&pass[index % pass.len()]);
        }
        let heard: Vec<u8> = (0..drop.len())
            .flat_map(|index| pass[index % pass.len()].clone())
            .collect();
        let out = filtered(&[&said]).unwrap();
        assert_eq!(out, [HELLO, &heard].concat());
    }

    #[test]
    fn longer_pointer_messages_are_never_agreed_upon() {
        let asked = [&[2, 0, 0, 2][..], &(-316i32).to_be_bytes(), &[0, 0, 0, 7]].concat();
        let out = filtered(&[HELLO, &asked]).unwrap();
        assert_eq!(out[HELLO.len()..], [2, 0, 0, 1, 0, 0, 0, 7]);
    }

    #[test]
    fn what_has_no_known_end_is_an_error() {
        for said in [
            &b"RFB 003.003\n"[..],
            b"RFB 003.008\n\x02",
            b"RFB 003.008\n\x01\x01\x01",
            b"RFB 003.008\n\x01\x01\xff\x01",
            b"RFB 003.008\n\x01\x01\x06\0\0\0\x7f\0\0\0",
            b"RFB 003.008\n\x01\x01\x02\0\xff\xff",
        ] {
            assert!(filtered(&[said]).is_err(), "{said:?}");
        }
    }

    proptest! {
        /// However it is cut into pieces, the screen hears the same; and of that nothing more would be dropped.
        #[test]
        fn cuts_change_nothing_and_nothing_is_left_to_drop(
            order in proptest::collection::vec((any::<bool>(), 0usize..7), 0..20),
            cut in 1usize..9,
        ) {
            let (pass, drop) = messages();
            let mut said = HELLO.to_vec();
            for (passed, index) in order {
                let kinds = if passed { &pass } else { &drop };
                said.extend_from_slice(&kinds[index % kinds.len()]);
            }
            let whole = filtered(&[&said]).unwrap();
            let pieces: Vec<&[u8]> = said.chunks(cut).collect();
            prop_assert_eq!(&filtered(&pieces).unwrap(), &whole);
            prop_assert_eq!(&filtered(&[&whole]).unwrap(), &whole);
        }

        #[test]
        fn nonsense_is_held_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let (mut filter, mut out) = (LookOnly::default(), Vec::new());
            let _ = filter.feed(HELLO, &mut out);
            for piece in bytes.chunks(97) {
                if filter.feed(piece, &mut out).is_err() {
                    break;
                }
                prop_assert!(filter.held.len() <= 4 + 4 * MAX_ENCODINGS + 97);
            }
        }
    }
}
