//! What a viewer says once it is let in (RFC 6143, 7.5; extensions: the community's rfbproto).

use noxen_control::screen::Part;

/// Bytes of a fence's own that come back to it.
const MAX_FENCE: usize = 64;
/// Longest text that is passed over; more is no text that a person has copied.
const MAX_TEXT: u32 = 16 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Pixels in this form, please.
    Format([u8; 16]),
    /// That many encodings follow, four bytes each.
    Encodings(u16),
    /// A picture of this part, please.
    Request { incremental: bool, part: Part },
    /// A key by its keysym.
    Key { pressed: bool, keysym: u32 },
    /// A key by its scancode, too; 0: unknown.
    Scancode {
        pressed: bool,
        keysym: u32,
        scancode: u32,
    },
    /// Buttons and place of the pointer.
    Pointer { buttons: u16, x: u16, y: u16 },
    /// Pictures of this part without asking, or no more.
    Continuous { on: bool, part: Part },
    /// To be sent back.
    Fence { flags: u32, payload: Vec<u8> },
    /// The screen shall have another size.
    SetSize,
    /// Nothing for us; that many bytes follow.
    Skip(u32),
}

/// A message from the front of `bytes` and its length; nothing while it is not whole. `long_buttons`: the viewer was told
/// that its pointer may have nine buttons.
pub(crate) fn parse(bytes: &[u8], long_buttons: bool) -> Result<Option<(Message, usize)>, String> {
    let Some(kind) = bytes.first() else {
        return Ok(None);
    };
    let Some(length) = length(*kind, bytes, long_buttons)? else {
        return Ok(None);
    };
    let Some(bytes) = bytes.get(..length) else {
        return Ok(None);
    };
    let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
    let part = |at: usize| Part {
        x: half(at).into(),
        y: half(at + 2).into(),
        width: half(at + 4).into(),
        height: half(at + 6).into(),
    };
    let message = match kind {
        0 => {
            let mut format = [0; 16];
            format.copy_from_slice(&bytes[4..20]);
            Message::Format(format)
        }
        2 => Message::Encodings(half(2)),
        3 => Message::Request {
            incremental: bytes[1] != 0,
            part: part(2),
        },
        4 => Message::Key {
            pressed: bytes[1] != 0,
            keysym: word(4),
        },
        5 => {
            let more = bytes.get(6).map_or(0, |more| u16::from(more & 3) << 7);
            Message::Pointer {
                buttons: u16::from(bytes[1] & if long_buttons { 0x7f } else { 0xff }) | more,
                x: half(2),
                y: half(4),
            }
        }
        6 => match word(4) {
            length if length <= MAX_TEXT => Message::Skip(length),
            length => {
                return Err(format!(
                    "a text of {length} bytes; up to {MAX_TEXT} are passed over"
                ))
            }
        },
        150 => Message::Continuous {
            on: bytes[1] != 0,
            part: part(2),
        },
        248 => Message::Fence {
            flags: word(4),
            payload: bytes[9..].to_vec(),
        },
        251 => Message::SetSize,
        // 255, 0; `length` knows no other.
        _ => Message::Scancode {
            pressed: half(2) != 0,
            keysym: word(4),
            scancode: word(8),
        },
    };
    Ok(Some((message, length)))
}

/// Bytes of a message of `kind`, once enough of it is there to tell.
fn length(kind: u8, bytes: &[u8], long_buttons: bool) -> Result<Option<usize>, String> {
    let after = |at: usize, length: fn(usize) -> usize| {
        bytes.get(at).map(|byte| length(usize::from(*byte)))
    };
    Ok(match kind {
        0 => Some(20),
        2 => Some(4),
        3 | 150 => Some(10),
        4 | 6 => Some(8),
        // The top bit says that more buttons follow.
        5 if long_buttons => after(1, |buttons| 6 + (buttons >> 7)),
        5 => Some(6),
        248 => match after(8, |payload| payload) {
            Some(payload) if payload > MAX_FENCE => {
                return Err(format!(
                    "a fence of {payload} bytes; {MAX_FENCE} are possible"
                ))
            }
            payload => payload.map(|payload| 9 + payload),
        },
        251 => after(6, |screens| 8 + 16 * screens),
        255 => match bytes.get(1) {
            Some(0) => Some(12),
            Some(other) => return Err(format!("message 255, {other}, which was not offered")),
            None => None,
        },
        other => return Err(format!("message {other}, which is not known")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_read_when_it_is_whole() {
        let bytes = [5, 0x81, 0, 10, 0, 20, 0x3, 4];
        for end in 0..6 {
            assert_eq!(parse(&bytes[..end], false), Ok(None));
        }
        let short = Message::Pointer {
            buttons: 0x81,
            x: 10,
            y: 20,
        };
        assert_eq!(parse(&bytes, false), Ok(Some((short, 6))));
        assert_eq!(parse(&bytes[..6], true), Ok(None));
        let long = Message::Pointer {
            buttons: 0x181,
            x: 10,
            y: 20,
        };
        assert_eq!(parse(&bytes, true), Ok(Some((long, 7))));
    }

    #[test]
    fn what_was_not_offered_is_an_error() {
        for bytes in [
            &[1u8, 0][..],
            &[7],
            &[255, 1],
            &[6, 0, 0, 0, 0xff, 0, 0, 0],
            &[248, 0, 0, 0, 0, 0, 0, 0, 65],
        ] {
            assert!(parse(bytes, false).is_err(), "{bytes:?}");
        }
    }
}
