//! A guest's connection that outlives the daemon.
//!
//! ```text
//!   guest ring <-> Link <-> stream -> daemon
//!                    |  connection lost (daemon killed, upgraded)
//!                    |  resume_domain(): ATTACH "<domid>\0<replies seen>\0"
//!                    |                   <- "OK\0<requests answered>\0"
//!                    '- resends what is not answered; the daemon sends the
//!                       replies and events that were not seen
//! ```
//!
//! Both sides count: every request has exactly one reply and replies come in
//! order, so two numbers tell what is missing on either side. Only whole
//! messages pass a [`Link`], thus a guest never sees half of one from before
//! and half from after. A watch event may come twice over such a break, never
//! not at all.
//!
//! The daemon keeps at most [`OUTSTANDING_MAX`] replies for a guest that it
//! has lost sight of; a link therefore never has more requests unanswered.

use std::collections::VecDeque;

use thiserror::Error;

use crate::holdings::{Holdings, Watch};
use crate::wire::{append_message, Decoder, Header, Op, WireError, ATTACH_DOMAIN, HEADER_LEN};
use crate::{DomId, Errno};

/// Requests that a link has sent and that were not answered yet, at most.
pub const OUTSTANDING_MAX: usize = 64;

/// What the first message on the daemon's `domains` socket asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// In whose name the connection speaks.
    pub domid: DomId,
    /// How many replies the other side has seen, when it goes on with a
    /// session of before; `None` begins a new one.
    pub replies_seen: Option<u64>,
}

impl Attach {
    /// Reads the message's payload.
    pub fn parse(payload: &[u8]) -> Result<Attach, Errno> {
        let mut words = crate::wire::strings(payload).ok_or(Errno::EINVAL)?;
        let domid = words
            .next()
            .and_then(crate::perms::parse_domid)
            .ok_or(Errno::EINVAL)?;
        if domid == 0 || domid >= crate::perms::DOMID_FIRST_RESERVED {
            return Err(Errno::EINVAL);
        }
        let replies_seen = words.next().map(parse_count).transpose()?;
        match words.next() {
            None => Ok(Attach {
                domid,
                replies_seen,
            }),
            Some(_) => Err(Errno::EINVAL),
        }
    }

    /// The message as bytes.
    pub fn encode(self) -> Vec<u8> {
        let mut payload = format!("{}\0", self.domid);
        if let Some(seen) = self.replies_seen {
            payload.push_str(&format!("{seen}\0"));
        }
        let mut out = Vec::new();
        append_message(&mut out, ATTACH_DOMAIN, 0, 0, &[payload.as_bytes()]);
        out
    }
}

fn parse_count(digits: &[u8]) -> Result<u64, Errno> {
    let text = std::str::from_utf8(digits).map_err(|_| Errno::EINVAL)?;
    text.parse().map_err(|_| Errno::EINVAL)
}

/// Reads the daemon's answer to an [`Attach`] that resumes: how many requests
/// of the session it has answered.
pub fn parse_answer(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"OK\0")?.strip_suffix(b"\0")?;
    parse_count(digits).ok()
}

/// A link cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// The guest sends what is no message: its ring is to be stopped.
    #[error("the guest broke the store's protocol: {0}")]
    Guest(WireError),
    /// The daemon sends what is no message, or a reply to nothing.
    #[error("xenstored broke the protocol: {0}")]
    Daemon(String),
}

/// One guest's end of the conversation. Bytes in, bytes out; no sockets.
#[derive(Debug)]
pub struct Link {
    domid: DomId,
    from_guest: Decoder,
    from_daemon: Decoder,
    unanswered: VecDeque<Request>,
    /// Requests of this side, not of the guest, that wait for room.
    own: VecDeque<Box<[u8]>>,
    holdings: Holdings,
    replies_seen: u64,
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Request {
    bytes: Box<[u8]>,
    /// Of this side: its answer is not the guest's.
    own: bool,
}

impl Link {
    /// A link for a session that begins; the stream was or will be attached
    /// with [`Link::greeting`].
    pub fn new(domid: DomId) -> Link {
        Link {
            domid,
            from_guest: Decoder::new(),
            from_daemon: Decoder::new(),
            unanswered: VecDeque::new(),
            own: VecDeque::new(),
            holdings: Holdings::default(),
            replies_seen: 0,
        }
    }

    /// The first message of a new session; answered by `OK`.
    pub fn greeting(&self) -> Vec<u8> {
        Attach {
            domid: self.domid,
            replies_seen: None,
        }
        .encode()
    }

    /// Whether more of the guest's bytes may be taken now.
    pub fn has_room(&self) -> bool {
        self.unanswered.len() < OUTSTANDING_MAX && !self.from_guest.ready()
    }

    /// Takes bytes from the guest's ring; whole requests go to `out`, as far
    /// as there is room for them to be unanswered.
    pub fn take_requests(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), LinkError> {
        self.from_guest.feed(bytes);
        self.forward_requests(out)
    }

    fn forward_requests(&mut self, out: &mut Vec<u8>) -> Result<(), LinkError> {
        while self.unanswered.len() < OUTSTANDING_MAX {
            if let Some(bytes) = self.own.pop_front() {
                out.extend_from_slice(&bytes);
                self.unanswered.push_back(Request { bytes, own: true });
                continue;
            }
            let next = self.from_guest.next_message().map_err(LinkError::Guest)?;
            let Some((header, payload)) = next else { break };
            let mut request = Vec::with_capacity(HEADER_LEN + payload.len());
            append_message(
                &mut request,
                header.kind,
                header.req_id,
                header.tx_id,
                &[payload],
            );
            out.extend_from_slice(&request);
            self.unanswered.push_back(Request {
                bytes: request.into(),
                own: false,
            });
        }
        Ok(())
    }

    /// Takes bytes from the daemon; whole messages go to `to_guest`, requests
    /// that have waited for room to `to_daemon`.
    pub fn take_replies(
        &mut self,
        bytes: &[u8],
        to_guest: &mut Vec<u8>,
        to_daemon: &mut Vec<u8>,
    ) -> Result<(), LinkError> {
        self.from_daemon.feed(bytes);
        loop {
            let next = self
                .from_daemon
                .next_message()
                .map_err(|e| LinkError::Daemon(e.to_string()))?;
            let Some((header, payload)) = next else { break };
            if header.kind != Op::WatchEvent as u32 {
                let request = self
                    .unanswered
                    .pop_front()
                    .ok_or_else(|| LinkError::Daemon("a reply that nobody asked for".to_owned()))?;
                self.replies_seen += 1;
                if let Some((asked, body)) = request.bytes.split_first_chunk::<HEADER_LEN>() {
                    let asked = Header::decode(asked);
                    self.holdings.answered(asked, body, header.kind, payload);
                }
                if request.own {
                    continue;
                }
            }
            append_message(
                to_guest,
                header.kind,
                header.req_id,
                header.tx_id,
                &[payload],
            );
        }
        self.forward_requests(to_daemon)
    }

    /// The connection is lost: forgets half a message of it.
    ///
    /// First read the old stream to its very end, also when it was a write
    /// that failed: what the daemon had sent before it went is in there and
    /// will not be sent again.
    pub fn forget_half(&mut self) {
        self.from_daemon = Decoder::new();
    }

    /// How many replies have come: for whoever attaches in the link's place
    /// (see [`crate::client::resume_domain`]).
    pub fn replies_seen(&self) -> u64 {
        self.replies_seen
    }

    /// The daemon took the session up again and says how many requests it has
    /// answered in all; the later ones go to `out` once more. What it answered
    /// and this side has not seen follows on the stream by itself.
    pub fn resumed(&mut self, answered: u64, out: &mut Vec<u8>) -> Result<(), LinkError> {
        let done = answered.checked_sub(self.replies_seen).map(|n| n as usize);
        let done = done.filter(|n| *n <= self.unanswered.len());
        let done = done.ok_or_else(|| {
            let (seen, open) = (self.replies_seen, self.unanswered.len());
            LinkError::Daemon(format!(
                "{answered} requests answered, but {seen} replies came and {open} are open"
            ))
        })?;
        for request in self.unanswered.iter().skip(done) {
            out.extend_from_slice(&request.bytes);
        }
        self.forward_requests(out)
    }

    /// Whether a request waits for its answer.
    pub fn is_busy(&self) -> bool {
        !self.unanswered.is_empty() || !self.own.is_empty() || self.from_guest.ready()
    }

    /// Whether a transaction is open: it cannot be taken up elsewhere.
    pub fn in_transaction(&self) -> bool {
        self.holdings.in_transaction()
    }

    /// The guest's watches.
    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.holdings.watches()
    }

    /// The beginning of a request that the guest has not sent whole.
    pub fn half_request(&self) -> &[u8] {
        self.from_guest.held()
    }

    /// A new session goes on for a guest that had one elsewhere: asks for its watches again, each of which fires once
    /// as a new one does, and goes on with the request that it had begun. Nothing else has passed this link.
    pub fn take_up(
        &mut self,
        watches: &[(&[u8], &[u8])],
        half_request: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), LinkError> {
        for (path, token) in watches {
            let mut request = Vec::new();
            let length = path.len() + token.len() + 2;
            if length > crate::wire::PAYLOAD_MAX {
                continue; // No daemon ever granted it.
            }
            let payload: [&[u8]; 4] = [path, b"\0", token, b"\0"];
            append_message(&mut request, Op::Watch as u32, 0, 0, &payload);
            self.own.push_back(request.into());
        }
        self.take_requests(half_request, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: Op, id: u32, payload: &str) -> Vec<u8> {
        let mut m = Vec::new();
        append_message(&mut m, kind as u32, id, 0, &[payload.as_bytes()]);
        m
    }

    #[test]
    fn attach_encodes_and_parses_back() {
        for attach in [
            Attach {
                domid: 5,
                replies_seen: None,
            },
            Attach {
                domid: 9,
                replies_seen: Some(77),
            },
        ] {
            assert_eq!(Attach::parse(&attach.encode()[HEADER_LEN..]), Ok(attach));
        }
        for bad in ["", "5", "0\0", "x\0", "5\0x\0", "5\x001\x002\0", "40000\0"] {
            assert_eq!(Attach::parse(bad.as_bytes()), Err(Errno::EINVAL), "{bad:?}");
        }
    }

    #[test]
    fn resumed_link_repeats_only_what_was_not_answered() {
        let mut link = Link::new(5);
        let (mut sent, mut guest) = (Vec::new(), Vec::new());
        let requests: Vec<_> = (1..=4).map(|i| message(Op::Read, i, "x\0")).collect();
        link.take_requests(&requests.concat(), &mut sent).unwrap();
        assert_eq!(sent, requests.concat());
        // One reply and half of the next come; then the daemon is gone.
        let replies: Vec<_> = (1..=4).map(|i| message(Op::Read, i, "v")).collect();
        link.take_replies(
            &[&replies[0][..], &replies[1][..9]].concat(),
            &mut guest,
            &mut sent,
        )
        .unwrap();
        assert_eq!(guest, replies[0]);
        assert_eq!(link.replies_seen(), 1);
        link.forget_half();
        // The daemon had answered three.
        sent.clear();
        link.resumed(3, &mut sent).unwrap();
        assert_eq!(sent, requests[3]);
        link.take_replies(&replies[1..].concat(), &mut guest, &mut sent)
            .unwrap();
        assert_eq!(guest, replies.concat());
        assert!(matches!(
            link.take_replies(&replies[0], &mut guest, &mut sent),
            Err(LinkError::Daemon(_))
        ));
    }

    #[test]
    fn link_holds_requests_beyond_the_limit_until_replies_come() {
        let mut link = Link::new(5);
        let (mut sent, mut guest) = (Vec::new(), Vec::new());
        let one = message(Op::Read, 1, "x\0");
        link.take_requests(&one.repeat(OUTSTANDING_MAX + 3), &mut sent)
            .unwrap();
        assert_eq!(sent.len(), one.len() * OUTSTANDING_MAX);
        assert!(!link.has_room());
        sent.clear();
        link.take_replies(&message(Op::Read, 1, "v").repeat(2), &mut guest, &mut sent)
            .unwrap();
        assert_eq!(sent, one.repeat(2));
    }

    #[test]
    fn link_that_takes_a_session_up_asks_for_its_watches_and_keeps_the_answers() {
        let mut link = Link::new(5);
        let (mut sent, mut guest) = (Vec::new(), Vec::new());
        let read = message(Op::Read, 9, "x\0");
        link.take_up(&[(b"device", b"t1"), (b"@x", b"t2")], &read[..7], &mut sent)
            .unwrap();
        let asked = [
            message(Op::Watch, 0, "device\0t1\0"),
            message(Op::Watch, 0, "@x\0t2\0"),
        ];
        assert_eq!(sent, asked.concat());
        assert!(link.is_busy());
        assert_eq!(link.half_request(), &read[..7]);
        sent.clear();
        link.take_requests(&read[7..], &mut sent).unwrap();
        assert_eq!(sent, read);
        let event = message(Op::WatchEvent, 0, "device\0t1\0");
        let value = message(Op::Read, 9, "v");
        let ok = message(Op::Watch, 0, "OK\0");
        let replies = [&ok[..], &event[..], &ok[..], &value[..]].concat();
        link.take_replies(&replies, &mut guest, &mut sent).unwrap();
        assert_eq!(guest, [event, value].concat());
        assert!(!link.is_busy());
        let tokens: Vec<&[u8]> = link.watches().map(|(_, token)| &token[..]).collect();
        assert_eq!(tokens, [b"t2", b"t1"]);
    }

    #[test]
    fn resumed_impossible_counts_are_refused() {
        let mut link = Link::new(5);
        let mut out = Vec::new();
        link.take_requests(&message(Op::Read, 1, "x\0"), &mut out)
            .unwrap();
        let mut guest = Vec::new();
        link.take_replies(&message(Op::Read, 1, "v"), &mut guest, &mut out)
            .unwrap();
        for count in [0, 2, u64::MAX] {
            let got = link.resumed(count, &mut out);
            assert!(matches!(got, Err(LinkError::Daemon(_))), "{count}");
        }
    }

    #[test]
    fn answer_that_is_none_is_refused() {
        assert_eq!(parse_answer(b"OK\x0017\0"), Some(17));
        for bad in [&b"OK\0"[..], b"OK\0x\0", b"NO\x001\0", b"", b"OK\x001"] {
            assert_eq!(parse_answer(bad), None, "{bad:?}");
        }
    }
}
