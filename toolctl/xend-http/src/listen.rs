//! Sockets: accept, a thread a connection, bounded in number and time.
//!
//! ```text
//!   accept ──> peer allowed? ──> fewer than 64 others? ──> thread: read, handle, write, until the peer ends
//! ```

use crate::allow::Allow;
use crate::http::read::{read, NoRequest};
use crate::http::Response;
use crate::slot::Slot;
use crate::Handler;
use std::io::{self, Read, Write};
use std::net::TcpListener;
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
trait Stream: Read + Write + Send + 'static {
    fn limit(&self, read: Duration, write: Duration) -> io::Result<()>;
}

impl Stream for std::os::unix::net::UnixStream {
    fn limit(&self, read: Duration, write: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(read))?;
        self.set_write_timeout(Some(write))
    }
}

impl Stream for std::net::TcpStream {
    fn limit(&self, read: Duration, write: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(read))?;
        self.set_write_timeout(Some(write))
    }
}

/// Serves a unix socket for ever. Who may open it is a matter of the file's mode, which the caller has set.
pub fn serve_unix(listener: &UnixListener, handler: Arc<Handler>) {
    let accept = || listener.accept().map(|(stream, _)| (stream, true));
    serve(accept, &handler);
}

/// Serves a TCP socket for ever, to those whom `allow` takes.
pub fn serve_tcp(listener: &TcpListener, allow: &Allow, handler: Arc<Handler>) {
    let accept = || {
        let (stream, peer) = listener.accept()?;
        stream.set_nodelay(true)?;
        Ok((stream, allow.takes(peer.ip())))
    };
    serve(accept, &handler);
}

/// `accept` gives a connection, and whether its peer is one who may have it.
fn serve<S: Stream>(accept: impl Fn() -> io::Result<(S, bool)>, handler: &Arc<Handler>) {
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
        if stream.limit(IDLE, WRITE).is_err() {
            continue;
        }
        if !allowed {
            let line = "this address is not among those that are allowed here";
            // The peer may be gone; nothing depends on its reading this.
            let _ = Response::text(403, line).write(&mut stream, true, false);
            continue;
        }
        if !slot.is_free() {
            let busy =
                format!("{MOST_CONNECTIONS} connections are served already; try again later");
            // The peer may be gone; nothing depends on its reading this.
            let _ = Response::text(503, busy).write(&mut stream, true, false);
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
}

impl<S: Stream> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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

fn converse<S: Stream>(stream: S, handler: &Handler) {
    let mut timed = Timed {
        stream,
        deadline: None,
    };
    let mut rest = Vec::new();
    loop {
        timed.deadline = None;
        let (response, with_body, keep) = match read(&mut timed, &mut rest) {
            Ok(request) => {
                let with_body = request.method != "HEAD";
                (handler(&request), with_body, request.keep)
            }
            Err(NoRequest::Refused(response)) => (response, true, false),
            Err(NoRequest::Broken(_)) if timed.deadline.is_some() => (
                Response::text(408, "the request was not whole within 30 s"),
                true,
                false,
            ),
            Err(NoRequest::Ended | NoRequest::Broken(_)) => return,
        };
        // A failed write means that the peer is gone.
        if response.write(&mut timed, with_body, keep).is_err() || !keep {
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
            converse(theirs, &|request: &Request| {
                Response::text(200, request.path.clone())
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
