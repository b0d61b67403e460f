//! Sockets: accept, a thread a connection, bounded in number and time.
//!
//! ```text
//!   accept ──> peer allowed? ──> fewer than 64 others? ──> thread: read, handle, write, until the peer ends
//!                                                                  '-- a relay: the connection is a WebSocket from then on
//! ```

use crate::allow::Allow;
use crate::http::read::{read, NoRequest};
use crate::http::{Answer, Response};
use crate::relay::Duplex;
use crate::slot::Slot;
use crate::tls::Tls;
use crate::Handler;
use rustls::{ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections of one listener that are served at once.
const MOST_CONNECTIONS: usize = 64;
/// A kept connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// A request has to be whole within so long.
const WHOLE: Duration = Duration::from_secs(30);
/// A peer that takes nothing of its answer for so long is dropped.
const WRITE: Duration = Duration::from_secs(10);
/// The deepest user is a configuration of 90 levels.
const STACK: usize = 2 << 20;

/// What both kinds of stream have.
trait Stream: Read + Write + AsFd + Send + 'static {
    fn limit(&self, read: Duration, write: Duration) -> io::Result<()>;
    fn unblock(&self) -> io::Result<()>;
}

impl Stream for std::os::unix::net::UnixStream {
    fn limit(&self, read: Duration, write: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(read))?;
        self.set_write_timeout(Some(write))
    }

    fn unblock(&self) -> io::Result<()> {
        self.set_nonblocking(true)
    }
}

impl Stream for std::net::TcpStream {
    fn limit(&self, read: Duration, write: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(read))?;
        self.set_write_timeout(Some(write))
    }

    fn unblock(&self) -> io::Result<()> {
        self.set_nonblocking(true)
    }
}

/// A connection, timed.
trait Peer: Duplex + Send + 'static {
    /// The next request begins with its first octet.
    fn expect_request(&mut self);
    /// Has something of the request come?
    fn has_begun(&self) -> bool;
    /// Says why it is not served, where that takes no waiting.
    fn refuse(&mut self, response: &Response);
}

impl<S: Stream> Duplex for Timed<S> {
    fn unblock(&mut self) -> io::Result<()> {
        self.relayed = true;
        self.stream.unblock()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl<S: Stream> Duplex for StreamOwned<ServerConnection, Timed<S>> {
    fn unblock(&mut self) -> io::Result<()> {
        self.sock.unblock()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.sock.descriptor()
    }
}

impl<S: Stream> Peer for Timed<S> {
    fn expect_request(&mut self) {
        self.deadline = None;
    }

    fn has_begun(&self) -> bool {
        self.deadline.is_some()
    }

    fn refuse(&mut self, response: &Response) {
        // The peer may be gone; nothing depends on its reading this.
        let _ = response.write(self, true, false);
    }
}

/// The time of a request begins with the first octet on the wire, so a slow handshake is bounded as well.
impl<S: Stream> Peer for StreamOwned<ServerConnection, Timed<S>> {
    fn expect_request(&mut self) {
        self.sock.expect_request();
    }

    fn has_begun(&self) -> bool {
        self.sock.has_begun()
    }

    /// Nothing can be said before the handshake, which is not waited for.
    fn refuse(&mut self, _: &Response) {}
}

/// Serves a unix socket for ever. Who may open it is a matter of the file's mode, which the caller has set.
pub fn serve_unix(listener: &UnixListener, handler: Arc<Handler>) {
    let accept = || {
        let (stream, _) = listener.accept()?;
        Ok((Timed::new(stream)?, true))
    };
    serve(accept, &handler);
}

/// Serves a TCP socket for ever, to those whom `allow` takes.
pub fn serve_tcp(listener: &TcpListener, allow: &Allow, tls: Option<&Tls>, handler: Arc<Handler>) {
    let accept = || {
        let (stream, peer) = listener.accept()?;
        stream.set_nodelay(true)?;
        Ok((Timed::new(stream)?, allow.takes(peer.ip())))
    };
    let Some(tls) = tls else {
        return serve(accept, &handler);
    };
    let accept = || {
        let (stream, allowed) = accept()?;
        let stream = tls.wrap(stream).map_err(io::Error::other)?;
        Ok((stream, allowed))
    };
    serve(accept, &handler);
}

/// `accept` gives a connection, and whether its peer is one who may have it.
fn serve<P: Peer>(accept: impl Fn() -> io::Result<(P, bool)>, handler: &Arc<Handler>) {
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        let (mut stream, allowed) = match accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(_) => {
                // Out of descriptors: wait for some to be closed instead of spinning.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let slot = Slot::take(&connections, MOST_CONNECTIONS);
        if !allowed {
            let line = "this address is not among those that are allowed here";
            stream.refuse(&Response::text(403, line));
            continue;
        }
        if !slot.is_free() {
            let busy =
                format!("{MOST_CONNECTIONS} connections are served already; try again later");
            stream.refuse(&Response::text(503, busy));
            continue;
        }
        let handler = handler.clone();
        // A thread that cannot be started drops the connection, which is all that can be said to the peer.
        let _ = std::thread::Builder::new()
            .name("http".into())
            .stack_size(STACK)
            .spawn(move || {
                let _slot = slot;
                converse(stream, &*handler)
            });
    }
}

/// A stream whose reads end at a deadline once a request has begun, however slowly its bytes drip.
struct Timed<S> {
    stream: S,
    deadline: Option<Instant>,
    /// It is HTTP no more: whoever has it now waits by himself.
    relayed: bool,
}

impl<S: Stream> Timed<S> {
    fn new(stream: S) -> io::Result<Timed<S>> {
        stream.limit(IDLE, WRITE)?;
        Ok(Timed {
            stream,
            deadline: None,
            relayed: false,
        })
    }
}

impl<S: Stream> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.relayed {
            return self.stream.read(buffer);
        }
        let wait = match self.deadline {
            None => IDLE,
            Some(deadline) => deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
                .ok_or(io::ErrorKind::TimedOut)?,
        };
        self.stream.limit(wait, WRITE)?;
        let count = self.stream.read(buffer)?;
        self.deadline.get_or_insert_with(|| Instant::now() + WHOLE);
        Ok(count)
    }
}

impl<S: Stream> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Was the peer too slow? Of everything else that breaks a connection, such as a handshake that is none, nothing can be said on it.
fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

fn converse<P: Peer>(mut peer: P, handler: &Handler) {
    let mut rest = Vec::new();
    loop {
        peer.expect_request();
        let (response, with_body, keep) = match read(&mut peer, &mut rest) {
            Ok(request) => {
                let with_body = request.method != "HEAD";
                match handler(&request) {
                    Answer::Whole(response) => (response, with_body, request.keep),
                    Answer::Relay(relay) => {
                        // A broken connection ends it, as it does elsewhere.
                        let _ = relay.run(peer, rest);
                        return;
                    }
                }
            }
            Err(NoRequest::Refused(response)) => (response, true, false),
            Err(NoRequest::Broken(error)) if peer.has_begun() && is_late(&error) => (
                Response::text(408, "the request was not whole within 30 s"),
                true,
                false,
            ),
            Err(NoRequest::Ended | NoRequest::Broken(_)) => return,
        };
        // A failed write means that the peer is gone.
        if response.write(&mut peer, with_body, keep).is_err() || !keep {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;
    use std::os::unix::net::UnixStream;

    fn served() -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            converse(Timed::new(theirs).unwrap(), &|request: &Request| {
                Response::text(200, request.path.clone()).into()
            });
        });
        ours
    }

    #[test]
    fn connection_is_kept_until_the_client_closes_it() {
        let mut client = served();
        for path in ["/a", "/b"] {
            write!(client, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
            let mut text = String::new();
            while !text.ends_with(&format!("\r\n\r\n{path}\n")) {
                let mut buffer = [0u8; 512];
                let count = client.read(&mut buffer).unwrap();
                assert!(count > 0, "{text}");
                text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            }
        }
    }

    #[test]
    fn nonsense_is_answered_and_the_connection_closed() {
        let mut client = served();
        client.write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    }
}
