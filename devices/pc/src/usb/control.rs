//! Endpoint 0 of a device: requests in two or three stages (USB 1.1, 8.5.2 and chapter 9).
//!
//! ```text
//!   SETUP --request--> In(bytes) --IN.. OUT--> Idle        with an answer
//!                      Out(bytes) --OUT.. IN--> Idle       with data
//!                      Status --IN--> Idle                 with neither; a new address counts from here
//!                      Stall --IN, OUT--> Stall            refused, until the next SETUP
//! ```

use serde::{Deserialize, Serialize};

/// Largest packet of endpoint 0.
pub const PACKET: usize = 8;
/// Most data that a request brings.
const MOST: usize = 64;

/// A request as a SETUP packet brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// bmRequestType: direction, kind, recipient.
    pub kind: u8,
    /// bRequest.
    pub request: u8,
    /// wValue.
    pub value: u16,
    /// wIndex.
    pub index: u16,
    /// wLength.
    pub length: u16,
}

impl Request {
    /// From the eight bytes of a SETUP packet.
    pub fn of(bytes: [u8; 8]) -> Request {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Request {
            kind: bytes[0],
            request: bytes[1],
            value: word(2),
            index: word(4),
            length: word(6),
        }
    }
}

/// What a device makes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// That is the answer.
    Answer(Vec<u8>),
    /// It is done, or will be once its data is there.
    Done,
    /// It is none.
    Refused,
}

/// What a packet came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Data from the device, or taken by it (then empty).
    Done(Vec<u8>),
    /// Nothing now.
    Nak,
    /// Refused.
    Stall,
    /// Nobody answers.
    Silence,
}

/// Where a request is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    Idle,
    In(Vec<u8>),
    Out(Request, Vec<u8>),
    Status,
    Stall,
}

/// The pipe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    stage: Stage,
}

impl Control {
    /// A request, with what the device makes of it.
    pub fn setup(&mut self, request: Request, reply: Reply) {
        let wanted = usize::from(request.length);
        let asks = request.kind & 0x80 != 0;
        self.stage = match reply {
            Reply::Answer(mut bytes) if asks => {
                bytes.truncate(wanted);
                Stage::In(bytes)
            }
            Reply::Done if !asks && wanted == 0 => Stage::Status,
            Reply::Done if !asks && wanted <= MOST => Stage::Out(request, Vec::new()),
            _ => Stage::Stall,
        };
    }

    /// The guest takes up to `room` bytes. True: the request has ended.
    pub fn input(&mut self, room: usize) -> (Outcome, bool) {
        match &mut self.stage {
            Stage::In(bytes) => {
                let part = bytes.len().min(PACKET).min(room);
                (Outcome::Done(bytes.drain(..part).collect()), false)
            }
            Stage::Status | Stage::Out(..) => {
                self.stage = Stage::Idle;
                (Outcome::Done(Vec::new()), true)
            }
            Stage::Stall => (Outcome::Stall, false),
            Stage::Idle => (Outcome::Nak, false),
        }
    }

    /// The guest brings bytes; with the last of them comes the request that they are for.
    pub fn output(&mut self, bytes: &[u8]) -> (Outcome, Option<(Request, Vec<u8>)>) {
        match &mut self.stage {
            Stage::In(_) => {
                self.stage = Stage::Idle;
                (Outcome::Done(Vec::new()), None)
            }
            Stage::Out(request, data) => {
                let wanted = usize::from(request.length);
                if data.len() + bytes.len() > wanted {
                    self.stage = Stage::Stall;
                    return (Outcome::Stall, None);
                }
                data.extend(bytes);
                let whole = (data.len() == wanted).then(|| (*request, data.clone()));
                if whole.is_some() {
                    self.stage = Stage::Status;
                }
                (Outcome::Done(Vec::new()), whole)
            }
            Stage::Status => (Outcome::Nak, None),
            Stage::Idle | Stage::Stall => (Outcome::Stall, None),
        }
    }

    /// No pipe has such.
    pub fn is_wild(&self) -> bool {
        match &self.stage {
            Stage::In(bytes) => bytes.len() > usize::from(u16::MAX),
            Stage::Out(request, bytes) => {
                let wanted = usize::from(request.length);
                wanted > MOST || bytes.len() >= wanted
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: u8, length: u16) -> Request {
        Request::of([kind, 1, 2, 3, 4, 5, length as u8, (length >> 8) as u8])
    }

    #[test]
    fn answer_comes_in_packets_and_is_cut_to_what_was_asked() {
        let mut pipe = Control::default();
        pipe.setup(request(0x80, 10), Reply::Answer((0..18).collect()));
        let mut part = || pipe.input(64).0;
        assert_eq!(part(), Outcome::Done((0..8).collect()));
        assert_eq!(part(), Outcome::Done(vec![8, 9]));
        assert_eq!(part(), Outcome::Done(Vec::new()));
        assert_eq!(pipe.output(&[]).0, Outcome::Done(Vec::new()));
        assert_eq!(pipe.input(64).0, Outcome::Nak);
    }

    #[test]
    fn data_is_given_over_once_it_is_whole() {
        let mut pipe = Control::default();
        let asked = request(0x21, 3);
        pipe.setup(asked, Reply::Done);
        assert_eq!(pipe.output(&[1, 2]), (Outcome::Done(Vec::new()), None));
        assert_eq!(pipe.output(&[3]).1, Some((asked, vec![1, 2, 3])));
        assert_eq!(pipe.input(0), (Outcome::Done(Vec::new()), true));
        pipe.setup(asked, Reply::Done);
        assert_eq!(pipe.output(&[0; 4]).0, Outcome::Stall);
    }

    #[test]
    fn refusal_lasts_until_the_next_request() {
        let mut pipe = Control::default();
        pipe.setup(request(0x80, 8), Reply::Refused);
        assert_eq!(pipe.input(8).0, Outcome::Stall);
        assert_eq!(pipe.output(&[]).0, Outcome::Stall);
        pipe.setup(request(0, 0), Reply::Done);
        assert_eq!(pipe.input(0), (Outcome::Done(Vec::new()), true));
        // An answer to one that brings data, and more data than anybody has, are no requests.
        pipe.setup(request(0, 8), Reply::Answer(vec![1]));
        assert_eq!(pipe.input(8).0, Outcome::Stall);
        pipe.setup(request(0, 65), Reply::Done);
        assert_eq!(pipe.input(8).0, Outcome::Stall);
    }
}
