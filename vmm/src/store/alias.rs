//! A guest that has another domain id than the one it knows: its paths in the store, both ways.
//!
//! ```text
//!   guest: /local/domain/7/..  /local/domain/0/backend/CLASS/7/..   (7: the id it had when its front ends read their nodes)
//!     --requests: the path--------------------------->  the same with 9, the id it has here
//!     <--watch events: the path; READ: a value that is such a path--
//! ```
//! Front ends keep the paths of their back ends, and compare watch events with them; relative paths need none of this.
//! Only whole messages are changed; the beginning of one waits here.

use noxen_xenstore::wire::{append_message, Header, Op, HEADER_LEN, PAYLOAD_MAX};

const HOMES: &[u8] = b"/local/domain/";
const BACK_ENDS: &[u8] = b"/local/domain/0/backend/";

/// Both ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    guests: String,
    real: String,
    /// The beginning of the guest's next request.
    begun: Vec<u8>,
}

impl Alias {
    /// For a guest that takes itself for `guests` and is `real`; none where that is the same.
    pub fn of(guests: u32, real: u32) -> Option<Alias> {
        (guests != real).then(|| Alias {
            guests: guests.to_string(),
            real: real.to_string(),
            begun: Vec::new(),
        })
    }

    /// The beginning of a request, in the guest's words.
    pub fn begun(&self) -> &[u8] {
        &self.begun
    }

    /// Bytes from the guest: its whole requests, as the daemon is to get them.
    pub fn requests(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.begun.extend_from_slice(bytes);
        let begun = std::mem::take(&mut self.begun);
        let (out, rest) = each_message(&begun, |header, payload| {
            has_path(header.kind).then(|| self.to_real(payload))?
        });
        self.begun = rest;
        out
    }

    /// Whole messages from the daemon, as the guest is to get them.
    pub fn replies(&self, bytes: &[u8]) -> Vec<u8> {
        let (mut out, rest) = each_message(bytes, |header, payload| {
            let changes = header.kind == Op::WatchEvent as u32 || header.kind == Op::Read as u32;
            changes.then(|| self.to_guest(payload))?
        });
        out.extend(rest);
        out
    }

    /// A path, and what follows it, from the guest's words to the daemon's; none where it is the same.
    pub fn to_real(&self, path: &[u8]) -> Option<Vec<u8>> {
        exchange(path, self.guests.as_bytes(), self.real.as_bytes())
    }

    /// The other way round.
    pub fn to_guest(&self, path: &[u8]) -> Option<Vec<u8>> {
        exchange(path, self.real.as_bytes(), self.guests.as_bytes())
    }
}

/// Does a request's payload begin with a path?
fn has_path(kind: u32) -> bool {
    const OPS: [Op; 10] = [
        Op::Directory,
        Op::Read,
        Op::GetPerms,
        Op::Watch,
        Op::Unwatch,
        Op::Write,
        Op::Mkdir,
        Op::Rm,
        Op::SetPerms,
        Op::DirectoryPart,
    ];
    OPS.iter().any(|op| *op as u32 == kind)
}

/// Copies whole messages with other payloads where `change` gives one that fits; and what follows the last whole one. What is
/// no message is not for this to judge: it is passed on as it is.
fn each_message(
    bytes: &[u8],
    change: impl Fn(&Header, &[u8]) -> Option<Vec<u8>>,
) -> (Vec<u8>, Vec<u8>) {
    let mut out = Vec::with_capacity(bytes.len());
    let mut left = bytes;
    while let Some((raw, after)) = left.split_first_chunk::<HEADER_LEN>() {
        let header = Header::decode(raw);
        let length = header.len as usize;
        if length > PAYLOAD_MAX {
            out.extend_from_slice(left);
            return (out, Vec::new());
        }
        let Some((payload, next)) = after.split_at_checked(length) else {
            break;
        };
        match change(&header, payload).filter(|new| new.len() <= PAYLOAD_MAX) {
            Some(new) => {
                append_message(&mut out, header.kind, header.req_id, header.tx_id, &[&new]);
            }
            None => out.extend_from_slice(&left[..HEADER_LEN + length]),
        }
        left = next;
    }
    (out, left.to_vec())
}

/// `path` with the domain id `to` where it has `from`.
fn exchange(path: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let at = match path.strip_prefix(BACK_ENDS) {
        Some(rest) => {
            let class = rest.iter().position(|b| *b == b'/')?;
            BACK_ENDS.len() + class + 1
        }
        None if path.starts_with(HOMES) => HOMES.len(),
        None => return None,
    };
    let rest = path[at..].strip_prefix(from)?;
    // The id is a whole part of the path.
    if !matches!(rest.first(), None | Some(b'/' | b'\0')) {
        return None;
    }
    Some([&path[..at], to, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(op: Op, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        append_message(&mut out, op as u32, 5, 6, &[payload]);
        out
    }

    #[test]
    fn paths_of_home_and_back_ends_change_both_ways_and_no_others() {
        let mut alias = Alias::of(7, 12).unwrap();
        assert_eq!(Alias::of(7, 7), None);
        for (guests, real) in [
            ("/local/domain/7/device\0", "/local/domain/12/device\0"),
            ("/local/domain/7", "/local/domain/12"),
            (
                "/local/domain/0/backend/vbd/7/51712/state\0token\0",
                "/local/domain/0/backend/vbd/12/51712/state\0token\0",
            ),
        ] {
            let request = message(Op::Watch, guests.as_bytes());
            assert_eq!(
                alias.requests(&request),
                message(Op::Watch, real.as_bytes())
            );
            let event = message(Op::WatchEvent, real.as_bytes());
            let told = message(Op::WatchEvent, guests.as_bytes());
            assert_eq!(alias.replies(&event), told);
        }
        for same in [
            "/local/domain/70/x\0",
            "/local/domain/0/x\0",
            "device/7\0",
            "/local/domain/0/backend/7\0",
            "@releaseDomain\0",
            "",
        ] {
            let request = message(Op::Read, same.as_bytes());
            assert_eq!(alias.requests(&request), request, "{same}");
        }
        // Values that the guest writes are its own; those that it reads and that are such paths are not.
        let write = message(Op::Write, b"a\0/local/domain/7/x");
        assert_eq!(alias.requests(&write), write);
        let read = message(Op::Read, b"/local/domain/0/backend/vif/12/0");
        let told = message(Op::Read, b"/local/domain/0/backend/vif/7/0");
        assert_eq!(alias.replies(&read), told);
    }

    #[test]
    fn requests_may_come_in_pieces_and_nonsense_is_passed_on() {
        let mut alias = Alias::of(1, 2).unwrap();
        let both = [
            message(Op::Mkdir, b"/local/domain/1/a\0"),
            message(Op::Mkdir, b"b\0"),
        ]
        .concat();
        let mut out = Vec::new();
        for byte in &both {
            out.extend(alias.requests(&[*byte]));
        }
        let wanted = [
            message(Op::Mkdir, b"/local/domain/2/a\0"),
            message(Op::Mkdir, b"b\0"),
        ]
        .concat();
        assert_eq!(out, wanted);
        assert!(alias.begun().is_empty());
        assert!(alias.requests(&both[..3]).is_empty());
        assert_eq!(alias.begun(), &both[..3]);
        let mut alias = Alias::of(1, 2).unwrap();
        assert_eq!(alias.requests(&[0xff; 20]), [0xff; 20]);
    }
}
