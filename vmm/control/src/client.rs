//! A blocking client of a domain's control socket.

use crate::fds::send_with_fds;
use crate::message::{Event, Reply, Request};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest line either side accepts, bytes.
pub const MAX_LINE: u64 = 1 << 20;

/// What went wrong with a control connection.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The monitor process is gone, or never was there.
    #[error("cannot talk to the domain's monitor at {path}: {source}")]
    Io {
        /// Socket.
        path: String,
        /// OS error.
        source: io::Error,
    },
    /// It answered something else than JSON of this protocol.
    #[error(
        "the domain's monitor at {path} answered {line:?}, which is not this protocol: {source}"
    )]
    Protocol {
        /// Socket.
        path: String,
        /// What it said, cut.
        line: String,
        /// Parser's word.
        source: serde_json::Error,
    },
}

/// A reply or an event.
#[derive(Debug)]
pub enum Line {
    /// Answer to a request.
    Reply(Reply),
    /// Unasked.
    Event(Event),
}

/// One connection.
pub struct Client {
    path: String,
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects; `timeout` bounds every later read and write (None: wait for ever).
    pub fn connect(path: &Path, timeout: Option<Duration>) -> Result<Client, ClientError> {
        let name = path.display().to_string();
        let io = |source| ClientError::Io {
            path: name.clone(),
            source,
        };
        let stream = UnixStream::connect(path).map_err(io)?;
        stream.set_read_timeout(timeout).map_err(io)?;
        stream.set_write_timeout(timeout).map_err(io)?;
        Ok(Client {
            path: name,
            reader: BufReader::new(stream),
        })
    }

    /// Sends `request` and waits for its reply; events that arrive before it are dropped.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send(request)?;
        self.reply()
    }

    /// [`Self::ask`] with descriptors sent along; the request states their count.
    pub fn ask_with(
        &mut self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Reply, ClientError> {
        let text = line(request);
        let sent = send_with_fds(self.stream(), text.as_bytes(), fds);
        let sent = sent.map_err(|source| self.io(source))?;
        self.reader
            .get_mut()
            .write_all(&text.as_bytes()[sent..])
            .map_err(|source| self.io(source))?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply, ClientError> {
        loop {
            if let Line::Reply(reply) = self.next_line()? {
                return Ok(reply);
            }
        }
    }

    /// Sends `request` without waiting.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        self.reader
            .get_mut()
            .write_all(line(request).as_bytes())
            .map_err(|source| self.io(source))
    }

    /// Next line of either kind.
    pub fn next_line(&mut self) -> Result<Line, ClientError> {
        let mut line = String::new();
        let n = (&mut self.reader)
            .take(MAX_LINE)
            .read_line(&mut line)
            .map_err(|source| self.io(source))?;
        if n == 0 {
            return Err(self.io(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Ok(event) = serde_json::from_str::<Event>(&line) {
            return Ok(Line::Event(event));
        }
        serde_json::from_str(&line)
            .map(Line::Reply)
            .map_err(|source| ClientError::Protocol {
                path: self.path.clone(),
                line: line.chars().take(80).collect(),
                source,
            })
    }

    /// The stream, for polling.
    pub fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    fn io(&self, source: io::Error) -> ClientError {
        ClientError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

fn line(request: &Request) -> String {
    let mut text = serde_json::to_string(request).unwrap_or_default();
    text.push('\n');
    text
}
