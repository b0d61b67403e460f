//! Watch events by a channel, read by a thread of their own.
//!
//! ```text
//!   owner --- watch(), unwatch() ---> socket ---> daemon
//!     ^  \<-- acknowledgement --- thread <--- replies, events
//!     '------ Receiver<Event> ------'
//! ```
//!
//! The channel ends when the daemon goes away or the [`Watcher`] is dropped.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use super::{Client, ClientError, Event, Message};
use crate::wire::{append_message, Op};
use crate::Errno;

/// Registers watches whose events come by a channel.
#[derive(Debug)]
pub struct Watcher {
    stream: UnixStream,
    acknowledged: Receiver<(u32, Vec<u8>)>,
    thread: Option<JoinHandle<()>>,
    last_id: u32,
}

impl Watcher {
    /// Gives the connection to a thread. Events that the client has not read
    /// yet come first.
    pub fn start(client: Client) -> Result<(Watcher, Receiver<Event>), ClientError> {
        let stream = client.stream.try_clone()?;
        stream.set_read_timeout(None)?;
        let last_id = client.last_id;
        let (to_owner, events) = mpsc::channel();
        let (acknowledge, acknowledged) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-watch".to_owned())
            .spawn(move || read_all(client, &to_owner, &acknowledge))?;
        Ok((
            Watcher {
                stream,
                acknowledged,
                thread: Some(thread),
                last_id,
            },
            events,
        ))
    }

    /// Asks to be told of changes to `path` and below; one event comes at once.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), ClientError> {
        self.ask(Op::Watch, path, token)
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), ClientError> {
        self.ask(Op::Unwatch, path, token)
    }

    fn ask(&mut self, op: Op, path: &str, token: &str) -> Result<(), ClientError> {
        let refused = |errno| ClientError::Store {
            op: op.name(),
            subject: path.to_owned(),
            errno,
        };
        if path.len() + token.len() + 2 > crate::wire::PAYLOAD_MAX {
            return Err(refused(Errno::E2BIG));
        }
        self.last_id = self.last_id.wrapping_add(1);
        let mut out = Vec::new();
        append_message(
            &mut out,
            op as u32,
            self.last_id,
            0,
            &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"],
        );
        self.stream.write_all(&out)?;
        let gone = |_| {
            ClientError::Io(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "xenstored closed it",
            ))
        };
        let (kind, payload) = self.acknowledged.recv().map_err(gone)?;
        if kind == op as u32 {
            Ok(())
        } else if kind == Op::Error as u32 {
            Err(refused(Errno::from_wire(&payload).unwrap_or(Errno::EINVAL)))
        } else {
            Err(ClientError::Protocol(format!(
                "a reply of type {kind} to {}",
                op.name()
            )))
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Ends the thread's read; it has nothing else to wait for.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs until the connection ends or nobody listens any more; either way both
/// channels close, which is how the owner learns.
fn read_all(mut client: Client, events: &Sender<Event>, acknowledge: &Sender<(u32, Vec<u8>)>) {
    for event in client.events.drain(..) {
        if events.send(event).is_err() {
            return;
        }
    }
    loop {
        let sent = match client.take_message() {
            Ok(Some(Message::Event(event))) => events.send(event).is_ok(),
            Ok(Some(Message::Reply { kind, payload, .. })) => {
                acknowledge.send((kind, payload)).is_ok()
            }
            Ok(None) => client.receive().is_ok(),
            Err(_) => false,
        };
        if !sent {
            return;
        }
    }
}
