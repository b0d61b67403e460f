//! The wire format: a 16-byte header, then a payload of at most 4096 bytes.
//!
//! ```text
//!  0      4        8       12     16
//!  | type | req_id | tx_id | len  | payload (len bytes)
//!  little-endian u32 each (the guest's own byte order; x86 here)
//! ```
//!
//! The same bytes flow through the guest's ring page and through unix
//! sockets, in pieces of any size; [`Decoder`] finds the messages again.
//! Source: `xen/io/xs_wire.h`.

use thiserror::Error;

/// Bytes in a message header.
pub const HEADER_LEN: usize = 16;
/// `XENSTORE_PAYLOAD_MAX`: the largest payload either side may send.
pub const PAYLOAD_MAX: usize = 4096;
/// Noxen's own first message on the daemon's `domains` socket: payload is the
/// domain id in decimal and a NUL. Xen's types stay far below.
pub const ATTACH_DOMAIN: u32 = 0x4e58;

macro_rules! operations {
    ($($name:ident = $number:literal $text:literal),+ $(,)?) => {
        /// The message types of `enum xsd_sockmsg_type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Op {
            $(#[doc = $text] $name = $number),+
        }

        impl Op {
            /// Every type, in order of number.
            pub const ALL: &'static [Op] = &[$(Op::$name),+];

            /// The type with this number, if the protocol has one.
            pub const fn from_raw(raw: u32) -> Option<Op> {
                match raw { $($number => Some(Op::$name),)+ _ => None }
            }

            /// The type's name, for logs and counters.
            pub const fn name(self) -> &'static str {
                match self { $(Op::$name => stringify!($name)),+ }
            }
        }
    };
}

operations! {
    Control = 0 "`XS_CONTROL`, once `XS_DEBUG`: command and arguments for the daemon itself.",
    Directory = 1 "`XS_DIRECTORY`: names of a node's children.",
    Read = 2 "`XS_READ`: a node's value.",
    GetPerms = 3 "`XS_GET_PERMS`: a node's permissions.",
    Watch = 4 "`XS_WATCH`: path and token to be told with.",
    Unwatch = 5 "`XS_UNWATCH`: ends a watch.",
    TransactionStart = 6 "`XS_TRANSACTION_START`: answers a transaction id.",
    TransactionEnd = 7 "`XS_TRANSACTION_END`: `T` commits, `F` forgets.",
    Introduce = 8 "`XS_INTRODUCE`: domid, ring frame, event channel.",
    Release = 9 "`XS_RELEASE`: the domain is gone.",
    GetDomainPath = 10 "`XS_GET_DOMAIN_PATH`: a domain's home path.",
    Write = 11 "`XS_WRITE`: sets a value, makes the node and its parents.",
    Mkdir = 12 "`XS_MKDIR`: makes an empty node and its parents.",
    Rm = 13 "`XS_RM`: removes a node and all below it.",
    SetPerms = 14 "`XS_SET_PERMS`: replaces a node's permissions.",
    WatchEvent = 15 "`XS_WATCH_EVENT`: from the daemon only; path and token.",
    Error = 16 "`XS_ERROR`: from the daemon only; an error's name.",
    IsDomainIntroduced = 17 "`XS_IS_DOMAIN_INTRODUCED`: `T` or `F`.",
    Resume = 18 "`XS_RESUME`: the domain runs again after a suspend.",
    SetTarget = 19 "`XS_SET_TARGET`: one domain acts with another's rights (stub domains).",
    ResetWatches = 21 "`XS_RESET_WATCHES`: drops all watches and transactions (kexec).",
    DirectoryPart = 22 "`XS_DIRECTORY_PART`: a slice of a long child list.",
    GetFeature = 23 "`XS_GET_FEATURE`: which extensions the daemon offers a domain.",
    SetFeature = 24 "`XS_SET_FEATURE`: limits the extensions offered to a domain.",
    GetQuota = 25 "`XS_GET_QUOTA`: a quota's name list or value.",
    SetQuota = 26 "`XS_SET_QUOTA`: sets a quota, for one domain or as default.",
}

/// A message header as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// Message type: an [`Op`] number or anything a hostile peer made up.
    pub kind: u32,
    /// Echoed in the reply.
    pub req_id: u32,
    /// Transaction id, 0 for none; echoed in the reply.
    pub tx_id: u32,
    /// Payload bytes that follow.
    pub len: u32,
}

impl Header {
    /// Reads a header from its 16 bytes.
    pub fn decode(raw: &[u8; HEADER_LEN]) -> Header {
        let word = |i: usize| u32::from_le_bytes([raw[i], raw[i + 1], raw[i + 2], raw[i + 3]]);
        Header {
            kind: word(0),
            req_id: word(4),
            tx_id: word(8),
            len: word(12),
        }
    }

    /// The header's 16 bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut raw = [0; HEADER_LEN];
        for (chunk, word) in
            raw.chunks_exact_mut(4)
                .zip([self.kind, self.req_id, self.tx_id, self.len])
        {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        raw
    }
}

/// Appends one message to `out`. `payload` comes in parts so that callers need
/// not join them first; the parts together must fit [`PAYLOAD_MAX`].
pub fn append_message(out: &mut Vec<u8>, kind: u32, req_id: u32, tx_id: u32, payload: &[&[u8]]) {
    let len = payload.iter().map(|p| p.len()).sum::<usize>();
    debug_assert!(len <= PAYLOAD_MAX, "message of {len} bytes");
    out.extend_from_slice(
        &Header {
            kind,
            req_id,
            tx_id,
            len: len as u32,
        }
        .encode(),
    );
    for part in payload {
        out.extend_from_slice(part);
    }
}

/// The stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// A header promises more than the protocol allows.
    #[error("message type {kind} announces {len} payload bytes, the protocol allows {PAYLOAD_MAX}; the connection is closed")]
    TooLong {
        /// The header's type.
        kind: u32,
        /// The header's length.
        len: u32,
    },
}

/// Finds messages in a byte stream that arrives in arbitrary pieces.
///
/// ```text
///   feed(bytes) / spare() + advance(n)  ->  [ read | unread ....... ]
///   next() -> header and payload borrowed from the buffer
/// ```
///
/// Memory stays bounded by what the owner feeds between two drained states;
/// after an error the decoder stays in error.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Decoder {
    /// An empty decoder that owns no memory yet.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Appends received bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.spare(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// Room for at least `want` more bytes to be received into.
    pub fn spare(&mut self, want: usize) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < want {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() - self.end < want {
            self.buffer.resize(self.end + want, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Counts in `n` bytes that were received into [`Decoder::spare`].
    pub fn advance(&mut self, n: usize) {
        self.end = (self.end + n).min(self.buffer.len());
    }

    /// Bytes held that no message was made of yet.
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// The bytes that no message was made of yet.
    pub fn held(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Gives memory back when nothing is pending.
    pub fn shrink(&mut self) {
        if self.pending() == 0 {
            *self = Decoder::default();
        }
    }

    /// Whether [`Decoder::next_message`] would return a message or an error.
    pub fn ready(&self) -> bool {
        match self.peek() {
            None => false,
            Some(h) => {
                h.len as usize > PAYLOAD_MAX || self.pending() >= HEADER_LEN + h.len as usize
            }
        }
    }

    fn peek(&self) -> Option<Header> {
        self.buffer[self.start..self.end]
            .first_chunk::<HEADER_LEN>()
            .map(Header::decode)
    }

    /// The next whole message, `None` when more bytes are needed.
    pub fn next_message(&mut self) -> Result<Option<(Header, &[u8])>, WireError> {
        let Some(header) = self.peek() else {
            return Ok(None);
        };
        let len = header.len as usize;
        if len > PAYLOAD_MAX {
            return Err(WireError::TooLong {
                kind: header.kind,
                len: header.len,
            });
        }
        let body = self.start + HEADER_LEN;
        if self.end < body + len {
            return Ok(None);
        }
        self.start = body + len;
        Ok(Some((header, &self.buffer[body..body + len])))
    }
}

/// Splits a payload into its NUL-terminated strings; `None` if the last one
/// lacks its NUL.
pub fn strings(payload: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let body = match payload {
        [] => return Some(Strings { rest: None }),
        [body @ .., 0] => body,
        _ => return None,
    };
    Some(Strings { rest: Some(body) })
}

struct Strings<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        match rest.iter().position(|b| *b == 0) {
            Some(i) => {
                self.rest = Some(&rest[i + 1..]);
                Some(&rest[..i])
            }
            None => {
                self.rest = None;
                Some(rest)
            }
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
