//! Connections of the control socket, none of which can block or flood the others.

use crate::control::answer::{answer, After, Asked};
use noxen_control::client::MAX_LINE;
use noxen_control::fds::{receive, FdQueue};
use noxen_control::framing::LineBuffer;
use noxen_control::{Event, Reply};
use serde::Serialize;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};

/// Connections at a time; xend needs two or three.
const MAX_CONNECTIONS: usize = 16;
/// Output that a peer may leave unread before it is cut off, bytes.
const MAX_UNREAD: usize = 4 << 20;

/// One peer.
#[derive(Debug)]
pub struct Connection {
    /// No other has or had it.
    number: u64,
    stream: UnixStream,
    input: LineBuffer,
    fds: FdQueue,
    output: Vec<u8>,
    subscribed: bool,
    end_after_output: bool,
    dead: bool,
}

/// The socket and its peers.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    connections: Vec<Connection>,
    accepted: u64,
}

impl Server {
    /// Serves `listener`.
    pub fn new(listener: UnixListener) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        Ok(Server {
            listener,
            connections: Vec::new(),
            accepted: 0,
        })
    }

    /// For polling: readable means [`Self::accept`].
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// For polling, in the order of the index that [`Self::serve`] takes.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// Takes waiting peers.
    pub fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            // One too many is closed at once; its client sees end of file.
            if self.connections.len() < MAX_CONNECTIONS && stream.set_nonblocking(true).is_ok() {
                self.accepted += 1;
                self.connections
                    .push(Connection::new(self.accepted, stream));
            }
        }
    }

    /// Reads from and answers connection `index`.
    pub fn serve(&mut self, index: usize, domain: &mut dyn Asked) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.serve(domain);
        }
    }

    /// Is that connection still there?
    pub fn has(&self, number: u64) -> bool {
        let there = |c: &Connection| c.number == number && !c.dead;
        self.connections.iter().any(there)
    }

    /// Sends the reply that a connection waits for.
    pub fn reply(&mut self, number: u64, reply: &Reply) {
        for connection in &mut self.connections {
            if connection.number == number {
                connection.send(reply);
            }
        }
    }

    /// Sends `event` to all subscribers.
    pub fn broadcast(&mut self, event: &Event) {
        for connection in &mut self.connections {
            if connection.subscribed {
                connection.send(event);
            }
        }
    }

    /// Somebody hears events.
    pub fn is_heard(&self) -> bool {
        self.connections
            .iter()
            .any(|connection| connection.subscribed)
    }

    /// Writes what can be written and forgets the dead; true when a peer's request to end the process
    /// has been answered (or its asker is gone).
    pub fn flush(&mut self) -> bool {
        let mut end = false;
        for connection in &mut self.connections {
            connection.flush();
            end |= connection.end_after_output && (connection.output.is_empty() || connection.dead);
        }
        self.connections.retain(|connection| !connection.dead);
        end
    }
}

impl Connection {
    fn new(number: u64, stream: UnixStream) -> Connection {
        Connection {
            number,
            stream,
            input: LineBuffer::new(MAX_LINE as usize),
            fds: FdQueue::default(),
            output: Vec::new(),
            subscribed: false,
            end_after_output: false,
            dead: false,
        }
    }

    /// For polling.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// There is output that the peer has not taken.
    pub fn wants_write(&self) -> bool {
        !self.output.is_empty()
    }

    fn serve(&mut self, domain: &mut dyn Asked) {
        let mut buffer = [0u8; 4096];
        match receive(&self.stream, &mut buffer, &mut self.fds) {
            Ok(0) => self.dead = true,
            Ok(n) => {
                if self.input.push(&buffer[..n]).is_err() {
                    self.dead = true;
                }
            }
            Err(error) if is_transient(&error) => {}
            Err(_) => self.dead = true,
        }
        while let Some(line) = self.input.next_line() {
            let (reply, after) = answer(domain, self.number, &line, &mut self.fds);
            if let Some(reply) = reply {
                self.send(&reply);
            }
            match after {
                After::Nothing => {}
                After::Subscribe => {
                    self.subscribed = true;
                    for event in domain.news() {
                        self.send(&event);
                    }
                }
                After::End => self.end_after_output = true,
            }
        }
    }

    fn send(&mut self, message: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(message) else {
            self.dead = true;
            return;
        };
        line.push(b'\n');
        self.output.extend_from_slice(&line);
        if self.output.len() > MAX_UNREAD {
            self.dead = true;
        }
    }

    fn flush(&mut self) {
        while !self.output.is_empty() && !self.dead {
            match self.stream.write(&self.output) {
                Ok(n) => {
                    self.output.drain(..n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.dead = true,
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_control::ShutdownReason;
    use std::io::Read;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    /// A server on an address that no file stands for.
    fn server(name: &str) -> (Server, SocketAddr) {
        let name = format!("noxen-control-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        (Server::new(listener).unwrap(), address)
    }

    #[test]
    fn seventeenth_connection_is_closed_at_once() {
        let (mut server, address) = server("connections");
        let mut peers: Vec<UnixStream> = (0..=MAX_CONNECTIONS)
            .map(|_| UnixStream::connect_addr(&address).unwrap())
            .collect();
        server.accept();
        assert_eq!(server.connections().len(), MAX_CONNECTIONS);
        let mut one_too_many = peers.pop().unwrap();
        assert_eq!(one_too_many.read(&mut [0; 1]).unwrap(), 0);
        // Room again when one of them has gone.
        server.connections[0].dead = true;
        assert!(!server.flush());
        let _next = UnixStream::connect_addr(&address).unwrap();
        server.accept();
        assert_eq!(server.connections().len(), MAX_CONNECTIONS);
    }

    #[test]
    fn subscriber_that_reads_nothing_is_cut_off_and_the_others_are_not() {
        let (mut server, address) = server("unread");
        let _silent = UnixStream::connect_addr(&address).unwrap();
        let mut reader = UnixStream::connect_addr(&address).unwrap();
        reader.set_nonblocking(true).unwrap();
        server.accept();
        for connection in &mut server.connections {
            connection.subscribed = true;
        }
        let event = Event::Shutdown {
            reason: ShutdownReason::Crash,
            detail: Some("x".repeat(1000)),
        };
        let (mut sent, mut buffer) = (0, vec![0; 1 << 16]);
        while server.connections().len() == 2 {
            assert!(sent < 2 * MAX_UNREAD, "nobody was cut off");
            server.broadcast(&event);
            server.flush();
            sent += serde_json::to_vec(&event).unwrap().len() + 1;
            let _ = reader.read(&mut buffer);
        }
        // The kernel's own buffer for the socket comes on top.
        assert!(sent >= MAX_UNREAD);
        assert_eq!(server.connections().len(), 1);
        assert!(!server.connections()[0].dead);
    }
}
