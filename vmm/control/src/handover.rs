//! A running domain from one noxen-vmm to another of the same host, over a unix socket (docs/save-restore.md).
//!
//! ```text
//!   new noxen-vmm --waiting-->  old noxen-vmm: the guest stands still, images closed
//!                 <-- memory + fds -- state + fd -- console + fd -- viewers + fd -- device + fds, ... -- end --
//! ```
//! A part is a line of JSON; its descriptors come along with its first byte. Who sends may be of an earlier version than who
//! receives, so a new field is optional and a new part needs another [`VERSION`].

use crate::device::{DeviceSpec, MAX_DEVICES};
use crate::fds::{receive, send_with_fds, FdQueue, MAX_FDS};
use crate::framing::{LineBuffer, TooLong};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Version of what is said.
pub const VERSION: u32 = 1;
/// Longest line, bytes: a screen's certificates and key are the longest that there is.
const MAX_LINE: usize = 1 << 20;
/// Most parts: all devices, and what is there once.
const MAX_PARTS: usize = MAX_DEVICES + 8;

/// One part.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "part", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Part {
    /// The new one's only line: it has all that it needs but the domain.
    Waiting {
        /// [`VERSION`].
        version: u32,
    },
    /// What the old one begins with: the files behind the domain's memory.
    Memory {
        /// [`VERSION`].
        version: u32,
        /// RAM, and what is no RAM where that is in another file: 1 or 2.
        fds: u32,
    },
    /// A saved domain's image without its memory.
    State {
        /// 1.
        fds: u32,
    },
    /// The console's pseudo-terminal, its master.
    Console {
        /// 1.
        fds: u32,
    },
    /// The listening socket of a PC's display.
    Viewers {
        /// 1.
        fds: u32,
    },
    /// A device as it was attached.
    Device {
        /// It.
        device: Box<DeviceSpec>,
        /// Its descriptors, as when it was attached.
        fds: u32,
    },
    /// That was all.
    End {
        /// Devices that there were.
        devices: u32,
    },
}

impl Part {
    /// What it is called in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Part::Waiting { .. } => "waiting",
            Part::Memory { .. } => "memory",
            Part::State { .. } => "state",
            Part::Console { .. } => "console",
            Part::Viewers { .. } => "viewers",
            Part::Device { .. } => "device",
            Part::End { .. } => "end",
        }
    }

    /// How many descriptors it says that it has, and how many it may have.
    fn fds(&self) -> (u32, std::ops::RangeInclusive<u32>) {
        match self {
            Part::Waiting { .. } | Part::End { .. } => (0, 0..=0),
            Part::Memory { fds, .. } => (*fds, 1..=2),
            Part::State { fds } | Part::Console { fds } | Part::Viewers { fds } => (*fds, 1..=1),
            Part::Device { fds, .. } => (*fds, 0..=MAX_FDS as u32),
        }
    }
}

/// What is wrong with what the other side says.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The connection.
    #[error("the connection between the two noxen-vmm failed: {0}")]
    Io(#[from] io::Error),
    /// It ended.
    #[error("the other noxen-vmm ended before the domain was handed over")]
    Ended,
    /// A line without an end.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// Not a part.
    #[error("the other noxen-vmm says what is no part of a domain: {0}")]
    Unknown(serde_json::Error),
    /// Wrong number of descriptors.
    #[error("{part}: {told} descriptors were announced and {there} came; {least} to {most} are possible")]
    Descriptors {
        /// Which part.
        part: &'static str,
        /// As it says.
        told: u32,
        /// As there were.
        there: usize,
        /// Least possible.
        least: u32,
        /// Most possible.
        most: u32,
    },
    /// It never ends.
    #[error("more than {MAX_PARTS} parts of one domain")]
    TooMany,
}

/// Sends a part with its descriptors, whose number `part` says.
pub fn send(mut socket: &UnixStream, part: &Part, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut line = serde_json::to_vec(part)?;
    line.push(b'\n');
    let sent = send_with_fds(socket, &line, fds)?;
    socket.write_all(&line[sent..])
}

/// What comes over a socket.
#[derive(Debug)]
pub struct Incoming<'a> {
    socket: &'a UnixStream,
    lines: LineBuffer,
    fds: FdQueue,
    parts: usize,
}

impl<'a> Incoming<'a> {
    /// Nothing yet.
    pub fn new(socket: &'a UnixStream) -> Incoming<'a> {
        Incoming {
            socket,
            lines: LineBuffer::new(MAX_LINE),
            fds: FdQueue::default(),
            parts: 0,
        }
    }

    /// Waits for the next part, as long as the socket's time limit lets it.
    pub fn part(&mut self) -> Result<(Part, Vec<OwnedFd>), HandoverError> {
        let mut bytes = vec![0; 64 << 10];
        let line = loop {
            if let Some(line) = self.lines.next_line() {
                break line;
            }
            match receive(self.socket.as_fd(), &mut bytes, &mut self.fds) {
                Ok(0) => return Err(HandoverError::Ended),
                Ok(count) => self.lines.push(&bytes[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(HandoverError::TooMany);
        }
        let part: Part = serde_json::from_slice(&line).map_err(HandoverError::Unknown)?;
        let (told, possible) = part.fds();
        let wrong = |there| HandoverError::Descriptors {
            part: part.name(),
            told,
            there,
            least: *possible.start(),
            most: *possible.end(),
        };
        if !possible.contains(&told) {
            return Err(wrong(self.fds.len()));
        }
        let fds = self.fds.take(told).map_err(wrong)?;
        Ok((part, fds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn memory(fds: u32) -> Part {
        Part::Memory {
            version: VERSION,
            fds,
        }
    }

    /// What the receiver says of these lines.
    fn refused(lines: &[(&str, usize)]) -> String {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        for (line, fds) in lines {
            let fds = vec![null.as_fd(); *fds];
            let sent = send_with_fds(&ours, line.as_bytes(), &fds).unwrap();
            (&ours).write_all(&line.as_bytes()[sent..]).unwrap();
        }
        drop(ours);
        let mut incoming = Incoming::new(&theirs);
        loop {
            if let Err(error) = incoming.part() {
                return error.to_string();
            }
        }
    }

    #[test]
    fn parts_come_with_the_descriptors_that_they_name() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        send(&ours, &memory(2), &[null.as_fd(), null.as_fd()]).unwrap();
        send(&ours, &Part::State { fds: 1 }, &[null.as_fd()]).unwrap();
        send(&ours, &Part::End { devices: 0 }, &[]).unwrap();
        let mut incoming = Incoming::new(&theirs);
        let counts = [2, 1, 0].map(|_| incoming.part().unwrap().1.len());
        assert_eq!(counts, [2, 1, 0]);
    }

    #[test]
    fn peer_that_says_something_else_is_refused_in_one_line() {
        let memory = "{\"part\":\"memory\",\"version\":1,\"fds\":2}\n";
        for (lines, expected) in [
            (vec![], "ended before"),
            (vec![(&memory[..9], 1)], "ended before"),
            (
                vec![(memory, 1)],
                "memory: 2 descriptors were announced and 1 came; 1 to 2",
            ),
            (
                vec![("{\"part\":\"state\",\"fds\":2}\n", 2)],
                "state: 2 descriptors",
            ),
            (
                vec![("{\"part\":\"console\",\"fds\":0}\n", 0)],
                "console: 0 descriptors",
            ),
            (
                vec![("{\"part\":\"soul\",\"fds\":1}\n", 1)],
                "no part of a domain",
            ),
            (vec![("hello\n", 0)], "no part of a domain"),
            (
                vec![("{\"part\":\"end\",\"devices\":0}\n", MAX_FDS), (memory, 2)],
                "more descriptors",
            ),
        ] {
            let line = refused(&lines);
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
        let end = "{\"part\":\"end\",\"devices\":0}\n".repeat(MAX_PARTS + 1);
        assert!(refused(&[(&end, 0)]).contains("parts of one domain"));
        let endless = "x".repeat(MAX_LINE + 1);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || (&ours).write_all(endless.as_bytes()));
        let error = Incoming::new(&theirs).part().unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        drop(theirs);
        let _ = writer.join();
    }
}
