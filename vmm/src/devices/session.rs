//! The back ends' connection to the store, as domain 0.
//!
//! ```text
//!   connected --error of the connection--> lost --try every RETRY--> connected (renewed: watch and read again)
//! ```

use noxen_xenstore::client::{Client, ClientError, Event};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a lost daemon is looked for.
pub const RETRY: Duration = Duration::from_millis(300);
/// How long a reply may take; then the connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the store is reached.
#[derive(Debug)]
pub enum Door {
    /// The daemon's socket.
    Socket(PathBuf),
    /// Connections made before, each used once, last one first (`noxen-vmm run`).
    Streams(Vec<UnixStream>),
}

/// The connection, when there is one.
#[derive(Debug)]
pub struct Session {
    door: Door,
    client: Option<Client>,
    tried: Option<Instant>,
}

impl Session {
    /// Not connected yet.
    pub fn new(door: Door) -> Session {
        Session {
            door,
            client: None,
            tried: None,
        }
    }

    /// The client, if connected.
    pub fn client(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }

    /// For polling.
    pub fn connected(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Connects if it is not and the time has come; true: there is a new connection, without watches.
    pub fn renew(&mut self, now: Instant) -> bool {
        let early = self
            .tried
            .is_some_and(|then| now.duration_since(then) < RETRY);
        if self.client.is_some() || early {
            return false;
        }
        self.tried = Some(now);
        let client = match &mut self.door {
            Door::Socket(path) => Client::connect_to(path).ok(),
            Door::Streams(streams) => streams.pop().map(Client::from_stream),
        };
        self.client = client.and_then(patient);
        self.client.is_some()
    }

    /// Does `work` if connected; `None`: it is not, or no longer. An error of the store itself is the
    /// caller's.
    pub fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Option<Result<T, ClientError>> {
        let result = work(self.client.as_mut()?);
        match result {
            Err(error) if error.errno().is_none() => {
                self.lose();
                None
            }
            result => Some(result),
        }
    }

    /// Gives the connection up.
    pub fn lose(&mut self) {
        self.client = None;
    }

    /// The next watch event that is there already.
    pub fn event(&mut self) -> Option<Event> {
        self.with(|client| client.next_event(Some(Duration::ZERO)))?
            .ok()?
    }
}

fn patient(mut client: Client) -> Option<Client> {
    client.set_timeout(Some(PATIENCE)).ok()?;
    Some(client)
}
