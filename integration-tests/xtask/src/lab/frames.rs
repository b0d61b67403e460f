//! The frames that travel between `xtask` on the host and its agent in the lab.
//!
//! ```text
//!   host ── Run, Stdin, StdinEnd ──> agent        one virtio-serial port, both ways
//!   host <── Up, Stdout, Stderr, Exit ── agent    frame = type (1), length (4, little-endian), payload
//! ```
//! One port keeps the order of the two output streams as the agent saw it, and leaves no doubt where
//! the command's output ends.

use anyhow::{bail, Result};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// The name of the virtio-serial port.
pub const PORT: &str = "noxen.lab";

/// Longest payload. Output is cut into pieces far below; a `Run` frame holds an environment.
const LONGEST: usize = 8 << 20;

/// What to run, and in which surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Program and arguments; non-UTF-8 arguments are not supported.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// Directory that the lab may write through to the host.
    pub out: String,
    /// Module directory to show at /lib/modules/<version>.
    pub modules: String,
    /// The command gets a terminal of that many rows and columns.
    pub terminal: Option<(u16, u16)>,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Host to agent, first and once.
    Run(Box<Run>),
    /// Host to agent: bytes for the command's standard input.
    Stdin(Vec<u8>),
    /// Host to agent: no more standard input.
    StdinEnd,
    /// Agent to host: the command is about to start.
    Up,
    /// Agent to host.
    Stdout(Vec<u8>),
    /// Agent to host.
    Stderr(Vec<u8>),
    /// Agent to host, last: the exit status, 128 + signal number if a signal ended the command.
    Exit(u8),
}

impl Frame {
    /// Writes the frame in one go.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let json;
        let (kind, payload): (u8, &[u8]) = match self {
            Frame::Run(run) => {
                json = serde_json::to_vec(run).map_err(io::Error::other)?;
                (1, &json)
            }
            Frame::Stdin(data) => (2, data),
            Frame::StdinEnd => (3, &[]),
            Frame::Up => (4, &[]),
            Frame::Stdout(data) => (5, data),
            Frame::Stderr(data) => (6, data),
            Frame::Exit(status) => (7, std::slice::from_ref(status)),
        };
        if payload.len() > LONGEST {
            return Err(io::Error::other("frame too long"));
        }
        let mut bytes = Vec::with_capacity(5 + payload.len());
        bytes.push(kind);
        bytes.extend_from_slice(
            &u32::try_from(payload.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        bytes.extend_from_slice(payload);
        out.write_all(&bytes)?;
        out.flush()
    }

    /// The next frame, or None when the other side has gone between frames.
    pub fn read(from: &mut impl Read) -> Result<Option<Frame>> {
        let mut head = [0u8; 5];
        let mut have = 0;
        while have < head.len() {
            match from.read(&mut head[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => bail!("the other side left within a frame"),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > LONGEST {
            bail!("a frame of {length} bytes is announced, more than {LONGEST}");
        }
        let mut payload = vec![0u8; length];
        from.read_exact(&mut payload)?;
        Ok(Some(match head[0] {
            1 => Frame::Run(serde_json::from_slice(&payload)?),
            2 => Frame::Stdin(payload),
            3 => Frame::StdinEnd,
            4 => Frame::Up,
            5 => Frame::Stdout(payload),
            6 => Frame::Stderr(payload),
            7 if length == 1 => Frame::Exit(payload[0]),
            other => bail!("frame of unknown type {other}, {length} bytes"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_written_are_read_back_in_order() {
        let run = Run {
            argv: vec!["ls".into(), "-l".into()],
            env: vec![("A".into(), "b".into())],
            cwd: "/".into(),
            out: "/out".into(),
            modules: "/m".into(),
            terminal: Some((24, 80)),
        };
        let all = [
            Frame::Run(Box::new(run)),
            Frame::Stdin(b"in\0".to_vec()),
            Frame::StdinEnd,
            Frame::Up,
            Frame::Stdout(vec![]),
            Frame::Stderr(b"err".to_vec()),
            Frame::Exit(137),
        ];
        let mut bytes = Vec::new();
        for frame in &all {
            frame.write(&mut bytes).unwrap();
        }
        let mut from = bytes.as_slice();
        for frame in &all {
            assert_eq!(Frame::read(&mut from).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).unwrap(), None);
    }

    #[test]
    fn frame_cut_short_is_an_error() {
        let mut bytes = Vec::new();
        Frame::Stdout(b"abc".to_vec()).write(&mut bytes).unwrap();
        assert!(Frame::read(&mut &bytes[..3]).is_err());
        assert!(Frame::read(&mut &bytes[..7]).is_err());
    }

    #[test]
    fn frame_announcing_gigabytes_is_refused_before_allocation() {
        assert!(Frame::read(&mut &[5, 0xff, 0xff, 0xff, 0xff][..]).is_err());
    }
}
